//! The ids and measures of the log, each a type of its own so that an offset never meets a
//! position by accident. Plain data: nothing here does I/O.

use std::fmt;

macro_rules! measure {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

measure! {
    /// A record's place in its partition, counted from 0; never reused.
    Offset(i64)
}
measure! {
    /// A byte's place in a file.
    Position(u64)
}
measure! {
    /// Kafka's leader epoch (KIP-101): rises with each leadership, so also with each start.
    LeaderEpoch(i32)
}
measure! {
    /// A partition's number inside its topic, counted from 0.
    PartitionIndex(i32)
}
measure! {
    /// A shard's number inside its node, counted from 0.
    ShardId(u16)
}
measure! {
    /// An idempotent producer's id (KIP-98).
    ProducerId(i64)
}
measure! {
    /// An idempotent producer's epoch (KIP-98).
    ProducerEpoch(i16)
}

impl Offset {
    /// The offset of the record that follows a record at this one.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// A topic's id: 16 random bytes, as KIP-516 has them; a topic deleted and created again has
/// another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0).hyphenated(), f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition of one topic: what a log belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// Its partition.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
