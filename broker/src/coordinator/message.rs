//! What a connection's shard asks the shard of a group's coordinator, and what it is told.
//!
//! A join or a sync may have to wait for other members for minutes. Its answer does not hold a slot
//! in the ring for so long, or a few thousand waiting members would shut out everybody else between
//! the two shards: the asker is told that it is parked, is woken by the same notice as a waiting
//! fetch, and collects the answer.

use spate_net::kafka::{
    KafkaString, KafkaUuid,
    api::{
        delete_groups::DeletableGroupResult,
        describe_groups::DescribedGroup,
        heartbeat::HeartbeatRequest,
        join_group::{JoinGroupRequest, JoinGroupResponse},
        leave_group::{LeaveGroupRequest, MemberResponse},
        list_groups::ListedGroup,
        sync_group::{SyncGroupRequest, SyncGroupResponse},
    },
    error::ErrorCode,
};
use spate_storage::types::TopicId;

use crate::shard::message::WatchKey;

/// A request to a coordinator.
#[derive(Debug)]
pub enum GroupAsk {
    /// JoinGroup.
    Join(Box<JoinAsk>),
    /// SyncGroup.
    Sync(WatchKey, Box<SyncGroupRequest>),
    /// What became of the connection's join or sync?
    Collect(WatchKey),
    /// Heartbeat.
    Heartbeat(Box<HeartbeatRequest>),
    /// LeaveGroup.
    Leave(Box<LeaveGroupRequest>),
    /// OffsetCommit.
    Commit(Box<CommitAsk>),
    /// OffsetFetch.
    Fetch(Box<FetchAsk>),
    /// ListGroups: all groups of the shard.
    List,
    /// DescribeGroups.
    Describe(Vec<KafkaString>),
    /// DeleteGroups.
    Delete(Vec<KafkaString>),
    /// OffsetDelete: a group's offsets of these topics and partitions.
    DeleteOffsets(KafkaString, Vec<(KafkaString, i32)>),
}

/// A join, with what its request does not say.
#[derive(Debug)]
pub struct JoinAsk {
    /// Who is to be woken.
    pub key: WatchKey,
    /// The request's version.
    pub version: i16,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// The request.
    pub asked: JoinGroupRequest,
}

/// Offsets to commit, of partitions that exist.
#[derive(Debug)]
pub struct CommitAsk {
    /// The request's version.
    pub version: i16,
    /// The group.
    pub group_id: KafkaString,
    /// Empty for a consumer that is no member.
    pub member_id: KafkaString,
    /// A static member's.
    pub instance_id: Option<KafkaString>,
    /// -1 for a consumer that is no member.
    pub generation: i32,
    /// How long they are to be kept; -1: as the settings say (up to v4).
    pub retention_ms: i64,
    /// In the order of the request.
    pub items: Vec<CommitItem>,
}

/// One offset to commit.
#[derive(Debug)]
pub struct CommitItem {
    /// The topic's name.
    pub topic: String,
    /// Its id.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The epoch of the record before it.
    pub leader_epoch: i32,
    /// The client's own; null counts as empty.
    pub metadata: Option<KafkaString>,
}

/// Offsets that are asked for.
#[derive(Debug)]
pub struct FetchAsk {
    /// The group.
    pub group_id: KafkaString,
    /// Of these topics and partitions; `None`: of all that it has.
    pub topics: Option<Vec<FetchTopic>>,
}

/// Offsets of a topic that are asked for.
#[derive(Debug)]
pub struct FetchTopic {
    /// The topic's name.
    pub name: KafkaString,
    /// What the request called it, if by id: the answer repeats it.
    pub id: KafkaUuid,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// Offsets of a topic.
#[derive(Debug)]
pub struct FetchedTopic {
    /// The topic's name.
    pub name: KafkaString,
    /// As in the question.
    pub id: KafkaUuid,
    /// In the order of the question.
    pub partitions: Vec<FetchedOffset>,
}

/// One offset.
#[derive(Debug)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: i32,
    /// -1 if there is none.
    pub offset: i64,
    /// -1 if it is not known.
    pub leader_epoch: i32,
    /// The client's own.
    pub metadata: String,
}

/// The answer to a [`GroupAsk`].
#[derive(Debug)]
pub enum GroupAnswer {
    /// To a join, a sync, or a [`GroupAsk::Collect`] that came too early: a notice will come.
    Parked,
    /// To a join.
    Joined(Box<JoinGroupResponse>),
    /// To a sync.
    Synced(Box<SyncGroupResponse>),
    /// To a heartbeat.
    Heard(ErrorCode),
    /// To a leave: an error for all, or each member's.
    Left(Result<Vec<MemberResponse>, ErrorCode>),
    /// To a commit: item by item.
    Committed(Vec<ErrorCode>),
    /// To a fetch.
    Fetched(Result<Vec<FetchedTopic>, ErrorCode>),
    /// To a list.
    Listed(Result<Vec<ListedGroup>, ErrorCode>),
    /// To a describe: group by group.
    Described(Vec<DescribedGroup>),
    /// To a delete: group by group.
    Deleted(Vec<DeletableGroupResult>),
    /// To a deletion of offsets: an error for all, or each partition's.
    OffsetsDeleted(Result<Vec<ErrorCode>, ErrorCode>),
}
