//! How compaction goes about it, on this node: Kafka's `log.cleaner` settings, typed.

use std::time::Duration;

/// Memory of a round besides its keys: the blocks of the file being written (16 MiB), one that is
/// read, and what a batch of it becomes decompressed.
const ROUND_BYTES: u64 = 32 << 20;

/// The settings.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CleanerConfig {
    /// Whether anything is compacted.
    pub is_enabled: bool,
    /// How long to wait when nothing wants it.
    pub backoff: Duration,
    /// Memory for keys, of all shards together.
    pub dedupe_buffer_bytes: u64,
    /// How full that may become.
    pub buffer_load: f64,
    /// Bytes read and written in a second, of each shard.
    pub bytes_per_second: u64,
}

impl CleanerConfig {
    /// One shard's memory for keys: each compacts one log at a time.
    #[must_use]
    pub fn key_memory_bytes(&self, shards: u16) -> u64 {
        self.dedupe_buffer_bytes / u64::from(shards.max(1))
    }

    /// One shard's memory for compaction at most.
    #[must_use]
    pub fn shard_bytes(&self, shards: u16) -> u64 {
        if !self.is_enabled {
            return 0;
        }
        self.key_memory_bytes(shards) + ROUND_BYTES
    }
}
