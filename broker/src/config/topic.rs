//! A topic's settings as the data path wants them: typed, with the broker's defaults filled in.
//!
//! Which keys there are, their ranges and defaults is the one table's business
//! (`config::table`); here is only the typed form and the way from keys to it. Nothing here may
//! fail for a topic that was accepted once: values were checked when they came in.

/// Which clock a record's timestamp is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// This broker's at append: batches are rewritten.
    LogAppendTime,
}

/// How stored batches are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// As the producer sent them.
    #[default]
    Producer,
    /// Not at all.
    Uncompressed,
    /// gzip
    Gzip,
    /// snappy
    Snappy,
    /// lz4
    Lz4,
    /// zstd
    Zstd,
}

/// What happens to old records; both may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    /// Whole segments go by age and size.
    pub delete: bool,
    /// Only the last record of each key stays.
    pub compact: bool,
}

/// When an acknowledged record is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Flushed to disk here.
    #[default]
    Disk,
}

/// A topic's effective settings. Sizes are in bytes and times in milliseconds, as Kafka's are.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    /// Largest batch, as it is on the wire.
    pub max_message_bytes: u32,
    /// A Kafka segment rolls when it would exceed this.
    pub segment_bytes: u64,
    /// A Kafka segment rolls when its first record is older than this.
    pub segment_ms: i64,
    /// Records older than this go; `None` keeps them.
    pub retention_ms: Option<i64>,
    /// A partition larger than this loses its oldest segments; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// Whose timestamps the records bear.
    pub timestamp_type: TimestampType,
    /// How far a record's timestamp may lie before the broker's clock.
    pub timestamp_before_max_ms: i64,
    /// How far a record's timestamp may lie after the broker's clock.
    pub timestamp_after_max_ms: i64,
    /// How stored batches are compressed.
    pub compression: Compression,
    /// What happens to old records.
    pub cleanup: CleanupPolicy,
    /// How long a tombstone stays after compaction.
    pub delete_retention_ms: i64,
    /// A record younger than this is not compacted.
    pub min_compaction_lag_ms: i64,
    /// A record older than this is compacted soon.
    pub max_compaction_lag_ms: i64,
    /// Share of a log that must be uncompacted before it is compacted.
    pub min_cleanable_dirty_ratio: f64,
    /// In-sync replicas that acks=all needs.
    pub min_insync_replicas: u32,
    /// When an acknowledged record is safe.
    pub durability: Durability,
}

impl Default for TopicConfig {
    /// Kafka's defaults.
    fn default() -> TopicConfig {
        TopicConfig {
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            retention_ms: Some(604_800_000),
            retention_bytes: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: Compression::Producer,
            cleanup: CleanupPolicy {
                delete: true,
                compact: false,
            },
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            min_insync_replicas: 1,
            durability: Durability::Disk,
        }
    }
}
