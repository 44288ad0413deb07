//! A member of a consumer group, by the classic protocol that every broker since 0.9 speaks: it
//! joins, one of them deals the partitions out (as Kafka's range assignor does), and each commits
//! how far it came.

use spate_net::kafka::KafkaString;
use spate_net::kafka::api::Call;
use spate_net::kafka::api::find_coordinator::FindCoordinatorRequest;
use spate_net::kafka::api::heartbeat::HeartbeatRequest;
use spate_net::kafka::api::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use spate_net::kafka::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use spate_net::kafka::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use spate_net::kafka::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use spate_net::kafka::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use spate_net::kafka::error::ErrorCode;

use super::reader::Position;
use crate::assignor::{PROTOCOL, PROTOCOL_TYPE, deal, partitions_of, subscription};
use crate::connection::{Access, ClientError, Connection, Endpoint};
use crate::topic::text;

const SESSION_TIMEOUT_MS: i32 = 10_000;
const REBALANCE_TIMEOUT_MS: i32 = 30_000;
/// The last versions that ask for one coordinator or one group, and name topics by name.
const FIND_ONE_UP_TO: i16 = 3;
const FETCH_ONE_UP_TO: i16 = 7;
const NAMED_UP_TO: i16 = 9;
/// The first version that lets several members leave.
const LEAVE_MANY_FROM: i16 = 3;

/// A member.
pub struct Member {
    connection: Connection,
    group: KafkaString,
    topic: String,
    member_id: KafkaString,
    generation: i32,
}

impl Member {
    /// Finds the group's coordinator.
    pub async fn find(access: &Access, group: &str, topic: &str) -> Result<Member, ClientError> {
        let mut any = Connection::any(access).await?;
        let asked = FindCoordinatorRequest::default().with_key(text(group));
        let version = any.version(&FindCoordinatorRequest::RANGE, FIND_ONE_UP_TO)?;
        let answer = any.call_at(version, &asked).await?;
        let what = format!("the coordinator of group {group}");
        any.check(answer.error_code, &what, answer.error_message)?;
        let coordinator = Endpoint::of(answer.host.as_str(), answer.port)?;
        let connection = Connection::open(&coordinator, access).await?;
        Ok(Member {
            connection,
            group: text(group),
            topic: topic.to_owned(),
            member_id: KafkaString::default(),
            generation: -1,
        })
    }

    /// Joins, or joins again, and says which of the partitions it is given.
    pub async fn join(&mut self, partitions: &[i32]) -> Result<Vec<i32>, ClientError> {
        loop {
            let answer = self.ask_to_join().await?;
            match ErrorCode::from(answer.error_code) {
                ErrorCode::None => {}
                ErrorCode::MemberIdRequired => {
                    self.member_id = answer.member_id;
                    continue;
                }
                ErrorCode::UnknownMemberId => {
                    self.member_id = KafkaString::default();
                    continue;
                }
                _ => self.check(answer.error_code, "to let a member join")?,
            }
            self.generation = answer.generation_id;
            self.member_id = answer.member_id.clone();
            let assignments = self.deal(answer, partitions);
            let asked = SyncGroupRequest::default()
                .with_group_id(self.group.clone())
                .with_generation_id(self.generation)
                .with_member_id(self.member_id.clone())
                .with_protocol_type(Some(text(PROTOCOL_TYPE)))
                .with_protocol_name(Some(text(PROTOCOL)))
                .with_assignments(assignments);
            let answer = self.connection.call(&asked).await?;
            match ErrorCode::from(answer.error_code) {
                ErrorCode::None => return Ok(partitions_of(answer.assignment, &self.topic)),
                // Somebody else came meanwhile.
                ErrorCode::RebalanceInProgress
                | ErrorCode::IllegalGeneration
                | ErrorCode::UnknownMemberId => {}
                _ => self.check(answer.error_code, "to assign partitions")?,
            }
        }
    }

    async fn ask_to_join(&mut self) -> Result<JoinGroupResponse, ClientError> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(PROTOCOL))
            .with_metadata(subscription(&self.topic, &[], &[]));
        let asked = JoinGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        self.connection.call(&asked).await
    }

    /// What the leader of a group hands out; nothing of anybody else.
    fn deal(
        &self,
        joined: JoinGroupResponse,
        partitions: &[i32],
    ) -> Vec<SyncGroupRequestAssignment> {
        if joined.leader != joined.member_id {
            return Vec::new();
        }
        let members = joined.members.into_iter().map(|member| member.member_id);
        deal(members.collect(), &self.topic, partitions)
    }

    /// Says that it is alive; false if it has to join again.
    pub async fn heartbeat(&mut self) -> Result<bool, ClientError> {
        let asked = HeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let answer = self.connection.call(&asked).await?;
        match ErrorCode::from(answer.error_code) {
            ErrorCode::RebalanceInProgress
            | ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId => Ok(false),
            _ => self.check(answer.error_code, "a heartbeat").map(|()| true),
        }
    }

    /// Where to go on in these partitions: as committed, or at the beginning.
    pub async fn positions(&mut self, partitions: &[i32]) -> Result<Vec<Position>, ClientError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let topic = OffsetFetchRequestTopic::default()
            .with_name(text(&self.topic))
            .with_partition_indexes(partitions.to_vec());
        let asked = OffsetFetchRequest::default()
            .with_group_id(self.group.clone())
            .with_topics(Some(vec![topic]));
        let version = self
            .connection
            .version(&OffsetFetchRequest::RANGE, FETCH_ONE_UP_TO)?;
        let answer = self.connection.call_at(version, &asked).await?;
        self.check(answer.error_code, "to say what is committed")?;
        let mut positions = Vec::new();
        for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            self.check(found.error_code, "to say what is committed")?;
            let offset = found.committed_offset.max(0);
            positions.push(Position::new(found.partition_index, offset));
        }
        Ok(positions)
    }

    /// Commits how far it came. A group that has changed meanwhile refuses; then others read it
    /// once more.
    pub async fn commit(&mut self, reached: &[(i32, i64)]) -> Result<(), ClientError> {
        if reached.is_empty() {
            return Ok(());
        }
        let partition = |(index, offset): &(i32, i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(KafkaString::default()))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(text(&self.topic))
            .with_partitions(reached.iter().map(partition).collect());
        let asked = OffsetCommitRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member_id.clone())
            .with_topics(vec![topic]);
        let version = self
            .connection
            .version(&OffsetCommitRequest::RANGE, NAMED_UP_TO)?;
        let answer = self.connection.call_at(version, &asked).await?;
        for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            match ErrorCode::from(found.error_code) {
                ErrorCode::RebalanceInProgress
                | ErrorCode::IllegalGeneration
                | ErrorCode::UnknownMemberId => {}
                _ => self.check(found.error_code, "to commit offsets")?,
            }
        }
        Ok(())
    }

    /// Goes, so that the others need not wait for its session to end.
    pub async fn leave(&mut self) -> Result<(), ClientError> {
        let version = self
            .connection
            .version(&LeaveGroupRequest::RANGE, i16::MAX)?;
        let mut asked = LeaveGroupRequest::default().with_group_id(self.group.clone());
        if version >= LEAVE_MANY_FROM {
            asked.members = vec![MemberIdentity::default().with_member_id(self.member_id.clone())];
        } else {
            asked.member_id = self.member_id.clone();
        }
        self.connection.call_at(version, &asked).await.map(drop)
    }

    fn check(&self, code: i16, what: &str) -> Result<(), ClientError> {
        let what = format!("{what} of group {}", self.group.as_str());
        self.connection.check(code, &what, None)
    }
}
