//! The offsets that one group has committed.
//!
//! What is here is durable: an offset enters when its record is, in the order of the log. Commits
//! under way are only remembered, so that a deletion deletes them too.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use spate_storage::types::TopicId;

use super::log::OffsetValue;

/// An offset costs about this much beside its metadata.
const OFFSET_OVERHEAD_BYTES: usize = 160;
/// A topic costs about this much beside its name.
const TOPIC_OVERHEAD_BYTES: usize = 96;

/// A group's offsets.
#[derive(Debug, Default)]
pub struct Offsets {
    by_topic: BTreeMap<String, BTreeMap<i32, OffsetValue>>,
    /// In the order of the log, in which they also come to their ends.
    under_way: HashMap<(String, i32), VecDeque<UnderWay>>,
    bytes: usize,
}

/// A commit on its way to the disk.
#[derive(Debug)]
struct UnderWay {
    topic_id: TopicId,
    /// Its topic was deleted meanwhile.
    is_void: bool,
}

/// When a group's offsets may go (KIP-211).
#[derive(Debug, Clone, Copy)]
pub enum Expiry<'a> {
    /// Nobody uses them: so long after the group became empty, or, where that is not known, after
    /// the commit.
    SinceEmpty(Option<i64>),
    /// So long after the commit, if no member reads the topic.
    Unread(&'a BTreeSet<String>),
    /// So long after the commit.
    SinceCommit,
    /// Not now.
    Never,
}

impl Offsets {
    /// An offset.
    pub fn get(&self, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.by_topic.get(topic)?.get(&partition)
    }

    /// All offsets, by topic.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, OffsetValue>)> {
        let topics = self.by_topic.iter();
        topics.map(|(topic, partitions)| (topic.as_str(), partitions))
    }

    /// Puts a durable offset in the place of the one before.
    pub fn set(&mut self, topic: &str, partition: i32, value: OffsetValue) {
        self.remove(topic, partition);
        self.bytes += OFFSET_OVERHEAD_BYTES + value.metadata.len();
        if !self.by_topic.contains_key(topic) {
            self.bytes += TOPIC_OVERHEAD_BYTES + topic.len();
            self.by_topic.insert(topic.to_owned(), BTreeMap::new());
        }
        if let Some(partitions) = self.by_topic.get_mut(topic) {
            partitions.insert(partition, value);
        }
    }

    /// Takes an offset out; none is fine.
    pub fn remove(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.by_topic.get_mut(topic) else {
            return;
        };
        if let Some(value) = partitions.remove(&partition) {
            self.bytes -= OFFSET_OVERHEAD_BYTES + value.metadata.len();
        }
        if partitions.is_empty() {
            self.bytes -= TOPIC_OVERHEAD_BYTES + topic.len();
            self.by_topic.remove(topic);
        }
    }

    /// A commit is on its way to the disk.
    pub fn begin(&mut self, topic: &str, partition: i32, topic_id: TopicId) {
        let key = (topic.to_owned(), partition);
        let is_void = false;
        let commit = UnderWay { topic_id, is_void };
        self.under_way.entry(key).or_default().push_back(commit);
    }

    /// The oldest commit of the partition has come to its end, one way or the other; whether its
    /// topic is still there.
    pub fn end(&mut self, topic: &str, partition: i32) -> bool {
        let key = (topic.to_owned(), partition);
        let Some(commits) = self.under_way.get_mut(&key) else {
            return true;
        };
        let ended = commits.pop_front();
        if commits.is_empty() {
            self.under_way.remove(&key);
        }
        ended.is_none_or(|commit| !commit.is_void)
    }

    /// Every partition that has an offset or is about to have one.
    pub fn keys(&self) -> BTreeSet<(String, i32)> {
        let mut keys: BTreeSet<_> = self.under_way.keys().cloned().collect();
        for (topic, partitions) in &self.by_topic {
            keys.extend(partitions.keys().map(|index| (topic.clone(), *index)));
        }
        keys
    }

    /// A topic is gone: voids its commits under way, and tells the partitions whose offsets are to
    /// be deleted. Those of another topic of that name stay, and so do those that such a topic's
    /// commit is about to replace: a deletion would come behind it in the log, and take it along.
    pub fn forget(&mut self, topic: &str, id: TopicId) -> Vec<i32> {
        let of_topic = self
            .under_way
            .iter_mut()
            .filter(|((name, _), _)| name == topic);
        let mut replaced = BTreeSet::new();
        for ((_, partition), commits) in of_topic {
            for commit in commits {
                commit.is_void |= commit.topic_id == id;
                if commit.topic_id != id {
                    replaced.insert(*partition);
                }
            }
        }
        let of_it = |value: &OffsetValue| value.topic_id.is_none_or(|known| known == id);
        let partitions = self.by_topic.get(topic).into_iter().flatten();
        partitions
            .filter(|(partition, value)| of_it(value) && !replaced.contains(*partition))
            .map(|(partition, _)| *partition)
            .collect()
    }

    /// A commit that was to replace the offset has failed: if that is of an earlier topic of this
    /// name, which [`Offsets::forget`] left for it, it goes. Its record names the deleted topic.
    pub fn forget_other(&mut self, topic: &str, partition: i32, id: Option<TopicId>) {
        let held = self.get(topic, partition).and_then(|value| value.topic_id);
        if held.is_some() && id.is_some() && held != id {
            self.remove(topic, partition);
        }
    }

    /// Whether it is known of an offset here or under way.
    pub fn has(&self, topic: &str, partition: i32) -> bool {
        self.get(topic, partition).is_some()
            || self.under_way.contains_key(&(topic.to_owned(), partition))
    }

    /// Offsets whose time has come.
    pub fn expired(&self, rule: Expiry<'_>, retention_ms: i64, now_ms: i64) -> Vec<(String, i32)> {
        let mut expired = Vec::new();
        for (topic, partitions) in &self.by_topic {
            for (partition, value) in partitions {
                let since_ms = match rule {
                    Expiry::Never => continue,
                    Expiry::Unread(topics) if topics.contains(topic) => continue,
                    Expiry::SinceEmpty(Some(since_ms)) => since_ms,
                    _ => value.commit_ms,
                };
                let is_over = match value.expire_ms {
                    Some(expire_ms) => now_ms >= expire_ms,
                    None => now_ms.saturating_sub(since_ms) >= retention_ms,
                };
                // A commit that is on its way is a sign of use.
                let key = (topic.clone(), *partition);
                if is_over && !self.under_way.contains_key(&key) {
                    expired.push(key);
                }
            }
        }
        expired
    }

    /// Whether there are none, and none under way.
    pub fn is_empty(&self) -> bool {
        self.by_topic.is_empty() && self.under_way.is_empty()
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: TopicId = TopicId([1; 16]);
    const NEW: TopicId = TopicId([2; 16]);

    fn value(commit_ms: i64) -> OffsetValue {
        OffsetValue {
            offset: 1,
            leader_epoch: -1,
            metadata: "note".into(),
            commit_ms,
            expire_ms: None,
            topic_id: None,
        }
    }

    #[test]
    fn an_offset_of_an_earlier_topic_goes_with_the_commit_that_was_to_replace_it() {
        let of = |id| OffsetValue {
            topic_id: Some(id),
            ..value(0)
        };
        let mut offsets = Offsets::default();
        offsets.set("t", 0, of(OLD));
        offsets.begin("t", 0, NEW);
        assert!(offsets.forget("t", OLD).is_empty());
        assert!(offsets.end("t", 0));
        offsets.forget_other("t", 0, Some(NEW));
        assert!(offsets.is_empty());
        offsets.set("t", 0, of(NEW));
        offsets.forget_other("t", 0, Some(NEW));
        assert!(offsets.get("t", 0).is_some());
    }

    #[test]
    fn memory_is_given_back_to_the_last_byte() {
        let mut offsets = Offsets::default();
        offsets.set("a", 0, value(1));
        offsets.set("a", 0, value(2));
        offsets.set("b", 3, value(1));
        offsets.remove("a", 0);
        offsets.remove("a", 9);
        offsets.remove("b", 3);
        assert_eq!(offsets.bytes(), 0);
        assert!(offsets.is_empty());
    }

    #[test]
    fn offsets_expire_by_the_rule_of_their_groups_state() {
        let mut offsets = Offsets::default();
        offsets.set("read", 0, value(100));
        offsets.set("unread", 0, value(100));
        let expired = |rule, now_ms| offsets.expired(rule, 50, now_ms).len();
        assert_eq!(expired(Expiry::SinceCommit, 149), 0);
        assert_eq!(expired(Expiry::SinceCommit, 150), 2);
        assert_eq!(expired(Expiry::SinceEmpty(Some(120)), 150), 0);
        assert_eq!(expired(Expiry::SinceEmpty(Some(120)), 170), 2);
        assert_eq!(expired(Expiry::SinceEmpty(None), 150), 2);
        assert_eq!(expired(Expiry::Never, 1000), 0);
        let read = BTreeSet::from(["read".to_owned()]);
        let unread = offsets.expired(Expiry::Unread(&read), 50, 150);
        assert_eq!(unread, [("unread".to_owned(), 0)]);
    }

    #[test]
    fn a_commit_under_way_is_deleted_with_the_others_and_expires_with_none() {
        let mut offsets = Offsets::default();
        offsets.set("a", 0, value(0));
        offsets.begin("a", 0, OLD);
        offsets.begin("b", 1, OLD);
        assert_eq!(offsets.keys().len(), 2);
        assert!(offsets.expired(Expiry::SinceCommit, 1, 1000).is_empty());
        offsets.end("a", 0);
        assert_eq!(offsets.expired(Expiry::SinceCommit, 1, 1000).len(), 1);
    }

    #[test]
    fn a_deleted_topic_takes_its_commits_under_way_along_and_no_other_topics() {
        let mut offsets = Offsets::default();
        let of = |id| OffsetValue {
            topic_id: Some(id),
            ..value(1)
        };
        offsets.set("a", 0, of(OLD));
        offsets.set("a", 1, of(OLD));
        offsets.set("a", 2, of(NEW));
        offsets.begin("a", 0, OLD);
        offsets.begin("a", 1, OLD);
        offsets.begin("a", 1, NEW);
        assert_eq!(offsets.forget("a", OLD), [0], "1 is about to be replaced");
        assert!(!offsets.end("a", 0));
        assert!(!offsets.end("a", 1));
        assert!(offsets.end("a", 1));
    }
}
