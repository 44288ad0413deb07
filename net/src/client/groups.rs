//! Groups, as a tool sees them: who coordinates one, who is in it, and how far it has come.

use super::cluster::{Cluster, RETRY_PAUSE};
use super::connection::Connection;
use super::error::ClientError;
use crate::kafka::api::Call as _;
use crate::kafka::api::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use crate::kafka::api::find_coordinator::FindCoordinatorRequest;
use crate::kafka::api::list_groups::{ListGroupsRequest, ListedGroup};
use crate::kafka::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::kafka::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use crate::kafka::error::ErrorCode;
use crate::reactor::{now, sleep};

/// The last versions that name topics by name.
const NAMED_UP_TO: i16 = 9;
/// The first version of OffsetFetch that asks about many groups.
const FETCH_GROUPS_FROM: i16 = 8;
/// The first version of FindCoordinator that asks for many keys.
const FIND_MANY_FROM: i16 = 4;

/// How far a group has come in one partition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommittedOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
}

impl Cluster {
    /// The way to a group's coordinator.
    pub async fn coordinator(&self, group: &str) -> Result<Connection, ClientError> {
        let deadline = now() + self.settings().retry_for;
        loop {
            match self.ask_coordinator(group).await {
                Err(error) if error.is_retriable() && now() < deadline => {
                    sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn ask_coordinator(&self, group: &str) -> Result<Connection, ClientError> {
        let any = self.any().await?;
        let version = any.version_of(&FindCoordinatorRequest::RANGE)?;
        let mut asked = FindCoordinatorRequest::default();
        if version >= FIND_MANY_FROM {
            asked.coordinator_keys = vec![group.to_owned().into()];
        } else {
            asked.key = group.to_owned().into();
        }
        let answer = any.call_at(version, &asked).await?;
        let many = answer.coordinators.first();
        let (code, node_id) = many.map_or((answer.error_code, answer.node_id), |found| {
            (found.error_code, found.node_id)
        });
        check(code, || format!("the coordinator of group `{group}`"))?;
        self.node(node_id).await
    }

    /// The groups of every broker.
    pub async fn groups(&self) -> Result<Vec<ListedGroup>, ClientError> {
        let mut groups = Vec::new();
        for node_id in self.node_ids() {
            let node = self.node(node_id).await?;
            let answer = node.call(&ListGroupsRequest::default()).await?;
            check(answer.error_code, || {
                format!("the groups of broker {node_id}")
            })?;
            groups.extend(answer.groups);
        }
        groups.sort_by_key(|group| group.group_id.to_string());
        Ok(groups)
    }

    /// A group with its members.
    pub async fn describe_group(&self, group: &str) -> Result<DescribedGroup, ClientError> {
        let asked = DescribeGroupsRequest::default().with_groups(vec![group.to_owned().into()]);
        let answer = self.coordinator(group).await?.call(&asked).await?;
        let found = answer.groups.into_iter().next().unwrap_or_default();
        check(found.error_code, || format!("group `{group}`"))?;
        Ok(found)
    }

    /// All offsets that a group has committed, by topic and partition.
    pub async fn committed(&self, group: &str) -> Result<Vec<CommittedOffset>, ClientError> {
        let coordinator = self.coordinator(group).await?;
        let version = coordinator.version_of(&OffsetFetchRequest::RANGE)?;
        let version = version.min(NAMED_UP_TO);
        let mut committed = Vec::new();
        let mut add = |topic: &str, partition, offset, code| {
            check(code, || {
                format!("an offset of group `{group}` in {topic}-{partition}")
            })?;
            if offset >= 0 {
                committed.push(CommittedOffset {
                    topic: topic.to_owned(),
                    partition,
                    offset,
                });
            }
            Ok::<_, ClientError>(())
        };
        let what = || format!("the offsets of group `{group}`");
        if version >= FETCH_GROUPS_FROM {
            let one = OffsetFetchRequestGroup::default()
                .with_group_id(group.to_owned().into())
                .with_topics(None);
            let asked = OffsetFetchRequest::default().with_groups(vec![one]);
            let answer = coordinator.call_at(version, &asked).await?;
            for found in answer.groups {
                check(found.error_code, what)?;
                for topic in found.topics {
                    for each in topic.partitions {
                        let (index, offset) = (each.partition_index, each.committed_offset);
                        add(topic.name.as_str(), index, offset, each.error_code)?;
                    }
                }
            }
        } else {
            let asked = OffsetFetchRequest::default().with_group_id(group.to_owned().into());
            let answer = coordinator
                .call_at(version, &asked.with_topics(None))
                .await?;
            check(answer.error_code, what)?;
            for topic in answer.topics {
                for each in topic.partitions {
                    let (index, offset) = (each.partition_index, each.committed_offset);
                    add(topic.name.as_str(), index, offset, each.error_code)?;
                }
            }
        }
        committed.sort();
        Ok(committed)
    }

    /// Sets offsets of a group that nobody is in.
    pub async fn commit(
        &self,
        group: &str,
        offsets: &[CommittedOffset],
    ) -> Result<(), ClientError> {
        let coordinator = self.coordinator(group).await?;
        let version = coordinator.version_of(&OffsetCommitRequest::RANGE)?;
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for each in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(each.partition)
                .with_committed_offset(each.offset)
                .with_committed_metadata(Some(String::new().into()));
            match topics.last_mut() {
                Some(last) if last.name.as_str() == each.topic => last.partitions.push(partition),
                _ => topics.push(
                    OffsetCommitRequestTopic::default()
                        .with_name(each.topic.clone().into())
                        .with_partitions(vec![partition]),
                ),
            }
        }
        let asked = OffsetCommitRequest::default()
            .with_group_id(group.to_owned().into())
            .with_topics(topics);
        let answer = coordinator
            .call_at(version.min(NAMED_UP_TO), &asked)
            .await?;
        for topic in answer.topics {
            for each in topic.partitions {
                check(each.error_code, || {
                    let (topic, index) = (topic.name.as_str(), each.partition_index);
                    format!("the offset of group `{group}` in {topic}-{index}")
                })?;
            }
        }
        Ok(())
    }
}

fn check(code: i16, what: impl FnOnce() -> String) -> Result<(), ClientError> {
    match ErrorCode::from(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::refused(what(), code, None)),
    }
}
