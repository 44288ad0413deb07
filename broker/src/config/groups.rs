//! Settings of groups and of the topic that holds them.

use std::time::Duration;

use spate_net::kafka::record_batch::Codec;

use super::{Reader, source::ConfigError};

/// What holds for groups, typed.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Budget of a shard for groups, members and offsets.
    pub memory_bytes: u64,
    /// How long an empty group waits for more members.
    pub initial_rebalance_delay_ms: i64,
    /// Shortest session timeout of a member.
    pub min_session_timeout_ms: i32,
    /// Longest session timeout of a member.
    pub max_session_timeout_ms: i32,
    /// Most members of a group.
    pub max_size: u32,
    /// Partitions of the topic that holds groups and offsets.
    pub topic_partitions: i32,
    /// Its `segment.bytes`.
    pub topic_segment_bytes: u64,
    /// How its records are compressed.
    pub topic_codec: Codec,
    /// How long unused offsets are kept.
    pub retention_minutes: i64,
    /// How often expired ones are looked for.
    pub retention_check: Duration,
    /// Longest text kept with an offset.
    pub metadata_max_bytes: u32,
}

impl GroupConfig {
    pub(super) fn of(read: &Reader<'_>) -> GroupConfig {
        GroupConfig {
            memory_bytes: read.number("memory.groups.bytes"),
            initial_rebalance_delay_ms: read.number("group.initial.rebalance.delay.ms"),
            min_session_timeout_ms: read.number("group.min.session.timeout.ms"),
            max_session_timeout_ms: read.number("group.max.session.timeout.ms"),
            max_size: read.number("group.max.size"),
            topic_partitions: read.number("offsets.topic.num.partitions"),
            topic_segment_bytes: read.number("offsets.topic.segment.bytes"),
            topic_codec: codec(read.number("offsets.topic.compression.codec")),
            retention_minutes: read.number("offsets.retention.minutes"),
            retention_check: read.milliseconds("offsets.retention.check.interval.ms"),
            metadata_max_bytes: read.number("offset.metadata.max.bytes"),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (least, most) = (self.min_session_timeout_ms, self.max_session_timeout_ms);
        if least <= most {
            return Ok(());
        }
        Err(ConfigError::Contradiction(format!(
            "group.min.session.timeout.ms = {least} is above group.max.session.timeout.ms = \
             {most}: no member could join; lower the one or raise the other"
        )))
    }
}

/// Kafka's numbers, which the table bounds.
fn codec(number: i32) -> Codec {
    match number {
        1 => Codec::Gzip,
        2 => Codec::Snappy,
        3 => Codec::Lz4,
        4 => Codec::Zstd,
        _ => Codec::None,
    }
}
