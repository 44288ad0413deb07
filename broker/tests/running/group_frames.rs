//! Sound requests of the group APIs. None of them has to wait for another member.

use spate_net::kafka::{
    KafkaString,
    api::{
        delete_groups::DeleteGroupsRequest,
        describe_groups::DescribeGroupsRequest,
        find_coordinator::FindCoordinatorRequest,
        heartbeat::HeartbeatRequest,
        join_group::{JoinGroupRequest, JoinGroupRequestProtocol},
        leave_group::LeaveGroupRequest,
        list_groups::ListGroupsRequest,
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        },
        offset_delete::OffsetDeleteRequest,
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup},
        sync_group::SyncGroupRequest,
    },
    versions::ApiKey,
};

use super::frames::bare;

/// A request of an API about groups.
pub fn group_frame(key: ApiKey, version: i16) -> Option<Vec<u8>> {
    Some(match key {
        ApiKey::FindCoordinator => bare(version, &find_coordinator(version)),
        ApiKey::JoinGroup => bare(version, &join_group()),
        ApiKey::OffsetCommit => bare(version, &offset_commit(version)),
        ApiKey::OffsetFetch => bare(version, &offset_fetch(version)),
        ApiKey::Heartbeat => bare(version, &HeartbeatRequest::default().with_group_id(name())),
        ApiKey::LeaveGroup => bare(version, &LeaveGroupRequest::default().with_group_id(name())),
        ApiKey::SyncGroup => bare(version, &SyncGroupRequest::default().with_group_id(name())),
        ApiKey::ListGroups => bare(version, &ListGroupsRequest::default()),
        ApiKey::DescribeGroups => {
            let asked = DescribeGroupsRequest::default().with_groups(vec![name()]);
            bare(version, &asked)
        }
        ApiKey::DeleteGroups => {
            let asked = DeleteGroupsRequest::default().with_groups_names(vec![name()]);
            bare(version, &asked)
        }
        ApiKey::OffsetDelete => bare(
            version,
            &OffsetDeleteRequest::default().with_group_id(name()),
        ),
        _ => return None,
    })
}

/// Requests that groups take: members that come, and offsets of who is no member.
pub fn taken_frames() -> Vec<Vec<u8>> {
    let join = join_group().with_member_id(KafkaString::default());
    // Below v4 a new member is let in at once and waits for others.
    let mut frames: Vec<_> = (4..=9).map(|version| bare(version, &join)).collect();
    for version in 2..=9 {
        let commit = offset_commit(version).with_generation_id_or_member_epoch(-1);
        frames.push(bare(version, &commit));
    }
    frames
}

fn name() -> KafkaString {
    String::from("fuzz").into()
}

fn find_coordinator(version: i16) -> FindCoordinatorRequest {
    if version >= 4 {
        return FindCoordinatorRequest::default().with_coordinator_keys(vec![name()]);
    }
    FindCoordinatorRequest::default().with_key(name())
}

/// Of a member that is not known: the answer is an error and comes at once.
fn join_group() -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(String::from("range").into());
    JoinGroupRequest::default()
        .with_group_id(name())
        .with_member_id(String::from("nobody").into())
        .with_session_timeout_ms(10_000)
        .with_protocol_type(String::from("consumer").into())
        .with_protocols(vec![protocol])
}

fn offset_commit(version: i16) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(7)
        .with_committed_metadata(Some(String::from("note").into()));
    let mut topic = OffsetCommitRequestTopic::default().with_partitions(vec![partition]);
    if version < 10 {
        topic = topic.with_name(name());
    }
    OffsetCommitRequest::default()
        .with_group_id(name())
        .with_topics(vec![topic])
}

fn offset_fetch(version: i16) -> OffsetFetchRequest {
    if version < 8 {
        let topics = (version < 2).then(Vec::new);
        let asked = OffsetFetchRequest::default().with_topics(topics);
        return asked.with_group_id(name());
    }
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(name())
        .with_topics(None);
    OffsetFetchRequest::default().with_groups(vec![group])
}
