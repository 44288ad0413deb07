//! How compaction goes about it, on this node: Kafka's `log.cleaner` settings, typed.

use std::time::Duration;

use super::{source::Settings, value::Value};

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
    /// The settings as they hold now: compaction asks again for each round.
    ///
    /// # Panics
    /// If the table lacks one, which is a mistake in it.
    #[must_use]
    pub fn of(settings: &Settings) -> CleanerConfig {
        let number = |key: &str| match settings.value(key) {
            Value::Int(number) => number.unsigned_abs(),
            other => panic!("{key} is {other}, which is no number"),
        };
        let load = match settings.value("log.cleaner.io.buffer.load.factor") {
            Value::Ratio(load) => *load,
            other => panic!("the load factor is {other}, which is no fraction"),
        };
        CleanerConfig {
            is_enabled: *settings.value("log.cleaner.enable") == Value::Bool(true),
            backoff: Duration::from_millis(number("log.cleaner.backoff.ms")),
            dedupe_buffer_bytes: number("log.cleaner.dedupe.buffer.size"),
            buffer_load: load,
            bytes_per_second: number("log.cleaner.io.max.bytes.per.second"),
        }
    }

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
