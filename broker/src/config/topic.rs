//! A topic's settings as the data path wants them: typed, with the broker's defaults filled in.
//!
//! Which keys there are, their ranges and defaults is the one table's business
//! (`config::table`); here is only the typed form and the way from keys to it. Nothing here may
//! fail for a topic that was accepted once: values were checked when they came in.

use std::collections::BTreeMap;

use super::{
    source::Settings,
    table::topic_setting,
    value::{Setting, Value},
};

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
    /// How hard gzip tries; `None`: its default.
    pub gzip_level: Option<i32>,
    /// How hard zstd tries.
    pub zstd_level: i32,
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
            gzip_level: None,
            zstd_level: 3,
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

impl TopicConfig {
    /// The settings of a topic with these values of its own (by topic key) on this broker.
    ///
    /// They were checked when they came in. One that is no longer a value, because a later version
    /// has a narrower range, falls back to the broker's: a start must not fail on it.
    #[must_use]
    pub fn effective(broker: &Settings, overrides: &BTreeMap<String, String>) -> TopicConfig {
        TopicConfig::of(|setting| {
            let given = setting.topic_key.and_then(|key| overrides.get(key));
            let parsed = given.and_then(|text| {
                let refused = |error| tracing::warn!(%error, "topic setting ignored");
                setting.parse_for_topic(text).map_err(refused).ok()
            });
            parsed.unwrap_or_else(|| broker.value(setting.key).clone())
        })
    }

    /// When a Kafka segment rolls by age: a compacted topic's in time for its bound on how old an
    /// uncompacted record may be, since the active segment is never compacted.
    #[must_use]
    pub fn roll_ms(&self) -> i64 {
        if self.cleanup.compact && self.max_compaction_lag_ms > 0 {
            return self.segment_ms.min(self.max_compaction_lag_ms);
        }
        self.segment_ms
    }

    /// The settings for which `value` gives the values.
    pub(super) fn of(value: impl Fn(&'static Setting) -> Value) -> TopicConfig {
        let read = Reader { value };
        TopicConfig {
            max_message_bytes: read.number("max.message.bytes"),
            segment_bytes: read.number("segment.bytes"),
            segment_ms: read.number("segment.ms"),
            retention_ms: read.limit("retention.ms"),
            retention_bytes: read.limit("retention.bytes").map(i64::unsigned_abs),
            timestamp_type: read.timestamp_type("message.timestamp.type"),
            timestamp_before_max_ms: read.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: read.number("message.timestamp.after.max.ms"),
            compression: read.compression("compression.type"),
            gzip_level: Some(read.number("compression.gzip.level")).filter(|level| *level > 0),
            zstd_level: read.number("compression.zstd.level"),
            cleanup: read.cleanup("cleanup.policy"),
            delete_retention_ms: read.number("delete.retention.ms"),
            min_compaction_lag_ms: read.number("min.compaction.lag.ms"),
            max_compaction_lag_ms: read.number("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: read.ratio("min.cleanable.dirty.ratio"),
            min_insync_replicas: read.number("min.insync.replicas"),
            durability: Durability::Disk,
        }
    }
}

/// Typed access to checked values by topic key.
struct Reader<F> {
    value: F,
}

impl<F: Fn(&'static Setting) -> Value> Reader<F> {
    fn value(&self, key: &str) -> Value {
        let setting = topic_setting(key).unwrap_or_else(|| panic!("no topic setting {key}"));
        (self.value)(setting)
    }

    fn number<T: TryFrom<i64>>(&self, key: &str) -> T {
        let Value::Int(number) = self.value(key) else {
            panic!("{key} is no number")
        };
        T::try_from(number).unwrap_or_else(|_| panic!("the table's range of {key} is too wide"))
    }

    fn limit(&self, key: &str) -> Option<i64> {
        Some(self.number(key)).filter(|limit| *limit >= 0)
    }

    fn ratio(&self, key: &str) -> f64 {
        let Value::Ratio(ratio) = self.value(key) else {
            panic!("{key} is no fraction")
        };
        ratio
    }

    fn timestamp_type(&self, key: &str) -> TimestampType {
        match self.value(key).to_string().as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }

    fn compression(&self, key: &str) -> Compression {
        match self.value(key).to_string().as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => Compression::Producer,
        }
    }

    fn cleanup(&self, key: &str) -> CleanupPolicy {
        let words = self.value(key).to_string();
        let has = |policy| words.split(',').any(|word| word == policy);
        CleanupPolicy {
            delete: has("delete"),
            compact: has("compact"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_topics_own_values_win_over_the_brokers() {
        let mut broker = Settings::default();
        broker.set_pair("log.retention.ms=-1").expect("a value");
        broker.set_pair("log.roll.ms=5000").expect("a value");
        let own = overrides(&[("segment.ms", "7"), ("cleanup.policy", "compact,delete")]);
        let config = TopicConfig::effective(&broker, &own);
        assert_eq!(config.segment_ms, 7);
        assert_eq!(config.retention_ms, None);
        assert_eq!(
            config.cleanup,
            CleanupPolicy {
                delete: true,
                compact: true
            }
        );
        assert_eq!(
            TopicConfig::effective(&broker, &overrides(&[])).segment_ms,
            5000
        );
    }

    #[test]
    fn a_value_that_is_none_any_more_falls_back() {
        let own = overrides(&[("segment.ms", "soon")]);
        let config = TopicConfig::effective(&Settings::default(), &own);
        assert_eq!(config, TopicConfig::default());
    }
}
