//! Fetches that wait for data: which connection watches which partitions of this shard.
//!
//! A watch fires once, at the first batch that becomes readable in any of its partitions, and is
//! gone by that. The waiting fetch then asks for sizes anew and, if need be, arms another.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
};

use spate_storage::types::{TopicId, TopicPartition};

use crate::shard::message::WatchKey;

/// The watches over one shard's partitions.
#[derive(Default)]
pub struct Watches {
    tables: RefCell<Tables>,
}

#[derive(Default)]
struct Tables {
    /// In their order, so that what a deletion wakes is woken in the same order every time.
    by_key: BTreeMap<WatchKey, Vec<TopicPartition>>,
    by_partition: HashMap<TopicPartition, Vec<WatchKey>>,
}

impl Watches {
    /// Arms a watch in place of the one that the same connection had.
    pub fn arm(&self, key: WatchKey, partitions: Vec<TopicPartition>) {
        let mut tables = self.tables.borrow_mut();
        tables.disarm(key);
        for partition in &partitions {
            tables.by_partition.entry(*partition).or_default().push(key);
        }
        tables.by_key.insert(key, partitions);
    }

    /// Forgets a watch; none is fine.
    pub fn disarm(&self, key: WatchKey) {
        self.tables.borrow_mut().disarm(key);
    }

    /// Takes the watches that see this partition grow.
    pub fn fire(&self, partition: TopicPartition) -> Vec<WatchKey> {
        let mut tables = self.tables.borrow_mut();
        let Some(keys) = tables.by_partition.get(&partition).cloned() else {
            return Vec::new();
        };
        for key in &keys {
            tables.disarm(*key);
        }
        keys
    }

    /// Takes the watches over any partition of topics that are gone.
    pub fn fire_topics(&self, topics: &HashSet<TopicId>) -> Vec<WatchKey> {
        let mut tables = self.tables.borrow_mut();
        let is_of_topic = |partition: &TopicPartition| topics.contains(&partition.topic);
        let mut keys = Vec::new();
        for (key, partitions) in &tables.by_key {
            if partitions.iter().any(is_of_topic) {
                keys.push(*key);
            }
        }
        for key in &keys {
            tables.disarm(*key);
        }
        keys
    }

    /// Watches armed now.
    pub fn armed(&self) -> usize {
        self.tables.borrow().by_key.len()
    }
}

impl Tables {
    fn disarm(&mut self, key: WatchKey) {
        let Some(partitions) = self.by_key.remove(&key) else {
            return;
        };
        for partition in partitions {
            if let Some(keys) = self.by_partition.get_mut(&partition) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.by_partition.remove(&partition);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spate_storage::types::{PartitionIndex, ShardId, TopicId};

    fn partition(number: i32) -> TopicPartition {
        TopicPartition {
            topic: TopicId([7; 16]),
            partition: PartitionIndex(number),
        }
    }

    fn key(connection: u64) -> WatchKey {
        WatchKey {
            asker: ShardId(0),
            connection,
        }
    }

    #[test]
    fn a_watch_fires_once_and_for_all_its_partitions() {
        let watches = Watches::default();
        watches.arm(key(1), vec![partition(0), partition(1)]);
        watches.arm(key(2), vec![partition(1)]);
        assert_eq!(watches.fire(partition(1)), vec![key(1), key(2)]);
        assert!(watches.fire(partition(0)).is_empty());
        assert_eq!(watches.armed(), 0);
    }

    #[test]
    fn arming_again_replaces_the_earlier_watch() {
        let watches = Watches::default();
        watches.arm(key(1), vec![partition(0)]);
        watches.arm(key(1), vec![partition(1)]);
        assert!(watches.fire(partition(0)).is_empty());
        assert_eq!(watches.fire(partition(1)), vec![key(1)]);
    }

    #[test]
    fn a_deleted_topic_fires_its_watches_only() {
        let other = TopicPartition {
            topic: TopicId([8; 16]),
            ..partition(0)
        };
        let watches = Watches::default();
        watches.arm(key(1), vec![partition(0), other]);
        watches.arm(key(2), vec![other]);
        let gone = HashSet::from([TopicId([7; 16])]);
        assert_eq!(watches.fire_topics(&gone), vec![key(1)]);
        assert_eq!(watches.fire(other), vec![key(2)]);
    }
}
