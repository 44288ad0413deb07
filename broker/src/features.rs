//! Kafka's features: what the cluster may use, and what it uses. Clients decide by them, for
//! example Java's whether it may ask for the new consumer protocol.
//!
//! Each is supported at one level only, so there is nothing to raise or lower yet, and nothing to
//! keep. A level of 0 means that the feature is not there; such are not among the finalized.

/// A feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// The lowest and highest level that is supported, and the level in use.
    pub level: i16,
}

/// The level of the metadata's format that stands for what Kafka 4.3 does.
pub const METADATA_VERSION: i16 = 30;

const fn feature(name: &'static str, level: i16) -> Feature {
    Feature { name, level }
}

/// All features that Kafka 4.3 knows.
pub const FEATURES: [Feature; 7] = [
    feature("metadata.version", METADATA_VERSION),
    feature("kraft.version", 0),
    feature("transaction.version", 0),
    feature("group.version", 0),
    feature("share.version", 0),
    feature("streams.version", 0),
    feature("eligible.leader.replicas.version", 0),
];
