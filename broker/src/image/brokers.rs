//! Which brokers a client is told of. Through the node's own listener that is the node; through a
//! shard's own port every shard is a broker of its own, so that an unmodified client talks straight
//! to the core that owns a partition, and no request hops.
//!
//! ```text
//! node 7 with 3 shards, listeners = host:9092, shard.listeners = host:9192
//! asked on host:9092                  brokers: 7 host:9092
//! asked on host:9192, 9193 or 9194    brokers: 7000 host:9192 | 7001 host:9193 | 7002 host:9194
//! ```
//! An id above 999 is a shard's alias and never another node: node ids end at 999. Everything that
//! counts nodes (replication factors) counts aliases once.

use std::sync::Arc;

use spate_storage::types::{ShardId, TopicPartition};

use super::{Image, NodeInfo, shard_of};

/// A shard's alias is the node's id times this, plus the shard's number.
const ALIASES_PER_NODE: i32 = 1000;

/// Shards that can have an alias.
pub const ALIASED_SHARDS_MAX: u16 = ALIASES_PER_NODE as u16;

/// The kind of listener that a client has come through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Listener {
    /// The node's, which all shards share.
    #[default]
    Node,
    /// One shard's own.
    Shard,
}

/// The alias of one shard of a node.
#[must_use]
pub fn alias(node_id: i32, shard: ShardId) -> i32 {
    node_id * ALIASES_PER_NODE + i32::from(shard.0)
}

/// Whether `id` names this node: by its own id, or by the alias of one of its shards.
#[must_use]
pub fn names_node(id: i32, node_id: i32, shards: u16) -> bool {
    // Any number may come from the wire.
    let shard = id.wrapping_sub(alias(node_id, ShardId(0)));
    id == node_id || (0..i32::from(shards.min(ALIASED_SHARDS_MAX))).contains(&shard)
}

/// The node's shards as brokers of their own; none without ports of their own.
#[must_use]
pub fn aliases(node: &NodeInfo, ports: &[u16]) -> Arc<[NodeInfo]> {
    let of_shard = |(number, port): (usize, &u16)| NodeInfo {
        node_id: alias(node.node_id, ShardId(number as u16)),
        port: *port,
        ..node.clone()
    };
    ports.iter().enumerate().map(of_shard).collect()
}

/// The brokers that clients of one kind of listener know.
#[derive(Clone, Copy, Debug)]
pub struct Brokers<'a> {
    node: &'a NodeInfo,
    aliases: &'a [NodeInfo],
}

impl Image {
    /// The brokers that a client which has come through `listener` is told of.
    #[must_use]
    pub fn brokers(&self, listener: Listener) -> Brokers<'_> {
        let aliases: &[NodeInfo] = match listener {
            Listener::Node => &[],
            Listener::Shard => &self.aliases,
        };
        Brokers {
            node: &self.node,
            aliases,
        }
    }

    /// Whether `id` names this node, by its own id or by that of one of its shards.
    #[must_use]
    pub fn is_this_node(&self, id: i32) -> bool {
        names_node(id, self.node.node_id, self.aliases.len() as u16)
    }
}

impl<'a> Brokers<'a> {
    /// All of them.
    #[must_use]
    pub fn all(self) -> &'a [NodeInfo] {
        match self.aliases {
            [] => std::slice::from_ref(self.node),
            aliases => aliases,
        }
    }

    /// Where requests for a partition go: its leader, or the coordinator of its groups.
    #[must_use]
    pub fn owner_of(self, partition: TopicPartition) -> &'a NodeInfo {
        match self.aliases {
            [] => self.node,
            aliases => self.shard(shard_of(partition, aliases.len() as u16)),
        }
    }

    /// Where requests for one shard go.
    #[must_use]
    pub fn shard(self, shard: ShardId) -> &'a NodeInfo {
        self.aliases.get(usize::from(shard.0)).unwrap_or(self.node)
    }

    /// Where requests for the controller go: any shard forwards them, so it is the first, which
    /// stays the same for all clients.
    #[must_use]
    pub fn controller(self) -> &'a NodeInfo {
        self.shard(ShardId(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use spate_storage::types::{PartitionIndex, TopicId};

    use super::*;
    use crate::image::ImageVersion;

    fn image(ports: &[u16]) -> Image {
        let node = NodeInfo {
            node_id: 7,
            host: "host".into(),
            port: 9092,
            rack: None,
        };
        let aliases = aliases(&node, ports);
        Image::new(ImageVersion(1), "c".into(), node, []).with_aliases(aliases)
    }

    fn partition(number: i32) -> TopicPartition {
        TopicPartition {
            topic: TopicId([3; 16]),
            partition: PartitionIndex(number),
        }
    }

    #[test]
    fn each_kind_of_listener_shows_its_own_brokers() {
        let image = image(&[9192, 9193, 9194]);
        let told = |listener| {
            let brokers = image.brokers(listener).all().iter();
            brokers
                .map(|one| (one.node_id, one.port))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(Listener::Node), [(7, 9092)]);
        let aliases = [(7000, 9192), (7001, 9193), (7002, 9194)];
        assert_eq!(told(Listener::Shard), aliases);
        let shard = image.brokers(Listener::Shard);
        let owners = (0..3).map(|number| shard.owner_of(partition(number)).node_id);
        assert_eq!(
            owners.collect::<BTreeSet<_>>(),
            BTreeSet::from([7000, 7001, 7002])
        );
        assert_eq!(
            image.brokers(Listener::Node).owner_of(partition(2)).node_id,
            7
        );
        assert_eq!(shard.controller().node_id, 7000);
    }

    #[test]
    fn only_aliases_that_exist_name_the_node() {
        let image = image(&[9192, 9193]);
        for id in [7, 7000, 7001] {
            assert!(image.is_this_node(id), "{id}");
        }
        for id in [0, 1, 8, 6999, 7002, 8000, -1, i32::MIN] {
            assert!(!image.is_this_node(id), "{id}");
        }
        let plain = super::tests::image(&[]);
        assert!(!plain.is_this_node(7000));
        assert_eq!(
            plain.brokers(Listener::Shard).all(),
            plain.brokers(Listener::Node).all()
        );
    }
}
