//! The metadata image: what a shard knows of topics, their settings and this node.
//!
//! The control thread builds a new image after each durable change and hands it to every shard as
//! an `Arc`; a shard reads it without a lock and without asking anyone. It is immutable: a change
//! is another image with a higher version. It must never carry anything that moves with traffic
//! (offsets, loads), or each record would need a new one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use spate_storage::types::{LeaderEpoch, PartitionIndex, ShardId, TopicId, TopicPartition};

use crate::config::{
    layers::{Layers, Texts},
    source::Settings,
    topic::TopicConfig,
};

pub mod brokers;

/// The number of an image. Rises by one with every image of a process, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ImageVersion(pub u64);

/// The number of a start of this data directory, counted from 0 for the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StartNumber(pub i32);

/// A node as clients are told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Kafka's broker id, 1-999.
    pub node_id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
    /// Where the node stands, if it was said.
    pub rack: Option<String>,
}

/// One topic as of one image.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicImage {
    /// Its id, for ever.
    pub id: TopicId,
    /// Its name; another topic may bear it after a deletion.
    pub name: Arc<str>,
    /// How many partitions it has: they are 0 up to this.
    pub partitions: i32,
    /// Kept by the broker itself; clients may read and not write it.
    pub internal: bool,
    /// The start in which it was created.
    pub created_at_start: StartNumber,
    /// The start of this process.
    pub present_start: StartNumber,
    /// What holds for it: its own settings over the broker's defaults.
    pub config: TopicConfig,
    /// Settings that were given for this topic, by Kafka's key.
    pub overrides: BTreeMap<String, String>,
}

impl TopicImage {
    /// The epoch of the node's present leadership: the number of starts since the topic's creation
    /// (S18), so that it rises with each start and begins at 0.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.present_start.0 - self.created_at_start.0)
    }

    /// Whether the topic has this partition.
    #[must_use]
    pub fn has_partition(&self, partition: PartitionIndex) -> bool {
        (0..self.partitions).contains(&partition.0)
    }
}

/// Settings that change while the broker runs, but for the topics'.
#[derive(Clone, PartialEq, Debug)]
pub struct Configs {
    /// The broker's.
    pub broker: Layers,
    /// Of groups that have some of their own.
    pub groups: BTreeMap<String, Texts>,
    /// Of subscriptions to clients' metrics.
    pub client_metrics: BTreeMap<String, Texts>,
}

impl Configs {
    /// Nothing set since the start.
    #[must_use]
    pub fn started_with(settings: Settings) -> Configs {
        Configs {
            broker: Layers::started_with(settings),
            groups: BTreeMap::new(),
            client_metrics: BTreeMap::new(),
        }
    }
}

/// Where the metadata log stood when an image was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MetadataEnd {
    /// The offset after its last record.
    pub offset: i64,
    /// The epoch of its leadership: the number of this start.
    pub epoch: i32,
}

/// All that a shard knows of the world outside its own logs.
#[derive(Clone, Debug)]
pub struct Image {
    /// Which of this process's images it is.
    pub version: ImageVersion,
    /// Kafka's cluster id.
    pub cluster_id: Arc<str>,
    /// This node.
    pub node: NodeInfo,
    /// Its shards as brokers of their own, where they have ports of their own.
    aliases: Arc<[NodeInfo]>,
    /// Settings that change while the broker runs.
    pub configs: Arc<Configs>,
    /// Where the metadata log stood.
    pub metadata: MetadataEnd,
    topics_by_name: BTreeMap<Arc<str>, Arc<TopicImage>>,
    topics_by_id: HashMap<TopicId, Arc<TopicImage>>,
}

impl Image {
    /// An image of these topics, whose names and ids are unique.
    #[must_use]
    pub fn new(
        version: ImageVersion,
        cluster_id: Arc<str>,
        node: NodeInfo,
        topics: impl IntoIterator<Item = Arc<TopicImage>>,
    ) -> Image {
        let mut topics_by_name = BTreeMap::new();
        let mut topics_by_id = HashMap::new();
        for topic in topics {
            topics_by_id.insert(topic.id, Arc::clone(&topic));
            topics_by_name.insert(Arc::clone(&topic.name), topic);
        }
        assert_eq!(
            topics_by_name.len(),
            topics_by_id.len(),
            "a topic name or id appears twice"
        );
        Image {
            version,
            cluster_id,
            node,
            aliases: Arc::new([]),
            configs: Arc::new(Configs::started_with(Settings::default())),
            metadata: MetadataEnd::default(),
            topics_by_name,
            topics_by_id,
        }
    }

    /// The same with the node's shards as brokers of their own.
    #[must_use]
    pub fn with_aliases(self, aliases: Arc<[NodeInfo]>) -> Image {
        Image { aliases, ..self }
    }

    /// The same image with these settings, made when the metadata log stood there.
    #[must_use]
    pub fn with_configs(self, configs: Arc<Configs>, metadata: MetadataEnd) -> Image {
        Image {
            configs,
            metadata,
            ..self
        }
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics_by_name.get(name)
    }

    /// The topic of this id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics_by_id.get(&id)
    }

    /// All topics, in the order of their names.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicImage>> {
        self.topics_by_name.values()
    }
}

/// The shard that owns a partition: a topic's partitions are dealt round-robin from a start that
/// its id decides, so that the first partitions of many small topics do not meet on one shard.
/// Nothing on disk depends on it: it is computed anew at every start, for any number of shards.
///
/// ```text
/// 3 shards, id starts with 07: first = 7 mod 3 = 1; partitions 0 1 2 3 go to shards 1 2 0 1
/// ```
#[must_use]
pub fn shard_of(topic_partition: TopicPartition, shards: u16) -> ShardId {
    assert!(shards > 0, "a node has at least one shard");
    let id = topic_partition.topic.0;
    let first = u64::from_le_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[10], id[11]]);
    let count = u64::from(shards);
    let index = u64::try_from(topic_partition.partition.0).unwrap_or(0);
    let shard = (first % count + index % count) % count;
    ShardId(u16::try_from(shard).expect("a remainder of a u16 fits a u16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: u8, name: &str, partitions: i32) -> TopicImage {
        TopicImage {
            id: TopicId([id; 16]),
            name: name.into(),
            partitions,
            internal: false,
            created_at_start: StartNumber(2),
            present_start: StartNumber(5),
            config: TopicConfig::default(),
            overrides: BTreeMap::new(),
        }
    }

    #[test]
    fn leader_epoch_counts_the_starts_since_creation() {
        assert_eq!(topic(1, "a", 1).leader_epoch(), LeaderEpoch(3));
    }

    #[test]
    fn a_topic_is_found_by_name_and_by_id() {
        let node = NodeInfo {
            node_id: 1,
            host: "localhost".into(),
            port: 9092,
            rack: None,
        };
        let topics = [topic(2, "b", 1), topic(1, "a", 3)].map(Arc::new);
        let image = Image::new(ImageVersion(1), "c".into(), node, topics);
        assert_eq!(image.topic("a").map(|topic| topic.partitions), Some(3));
        assert_eq!(
            image
                .topic_by_id(TopicId([2; 16]))
                .map(|topic| &*topic.name),
            Some("b")
        );
        assert_eq!(
            image.topics().map(|topic| &*topic.name).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn a_topics_partitions_go_round_all_shards() {
        let owner = |index, shards| {
            let partition = PartitionIndex(index);
            shard_of(
                TopicPartition {
                    topic: TopicId([7; 16]),
                    partition,
                },
                shards,
            )
            .0
        };
        for shards in 1..=5 {
            for index in 0..9 {
                assert_eq!(
                    owner(index + 1, shards),
                    (owner(index, shards) + 1) % shards
                );
            }
        }
    }

    #[test]
    fn single_partition_topics_spread_over_the_shards() {
        let mut load = [0_u32; 4];
        for _ in 0..4000 {
            let id = TopicId(*uuid::Uuid::new_v4().as_bytes());
            let partition = TopicPartition {
                topic: id,
                partition: PartitionIndex(0),
            };
            load[usize::from(shard_of(partition, 4).0)] += 1;
        }
        assert!(
            load.iter().all(|&count| (800..1200).contains(&count)),
            "{load:?}"
        );
    }
}
