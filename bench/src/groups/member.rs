//! One member of a classic group, of which the driver sees every request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::find_coordinator;
use spate_net::kafka::api::find_coordinator::FindCoordinatorRequest;
use spate_net::kafka::api::heartbeat::HeartbeatRequest;
use spate_net::kafka::api::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use spate_net::kafka::api::leave_group::{self, LeaveGroupRequest, MemberIdentity};
use spate_net::kafka::api::sync_group::SyncGroupRequest;
use spate_net::kafka::error::ErrorCode;
use spate_net::reactor::sleep;

use crate::assignor::{PROTOCOL, PROTOCOL_TYPE, deal, partitions_of, subscription};
use crate::connection::{ClientError, Connection};
use crate::topic::text;

/// The Java consumer's own settings.
const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
/// Coordinators that load are asked again, for so long.
const READY_WITHIN: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// From this version on groups are asked for in a list.
const KEYS_FROM: i16 = 4;
/// From this version on several members leave at once.
const MEMBERS_FROM: i16 = 3;

/// A member and its connection.
pub struct Member {
    pub connection: Connection,
    pub group: String,
    pub member_id: KafkaString,
    pub generation: i32,
    /// What it asks for, as consumers write it.
    subscription: Bytes,
    /// Partitions given to it; it owns them when it joins again.
    pub assigned: Vec<i32>,
    /// Part of what it asks for: a member that asks for the same again changes nothing.
    joins: i32,
}

/// A group's next generation, as its leader sees it.
pub struct Led {
    members: Vec<KafkaString>,
}

impl Member {
    /// A connection to the group's coordinator.
    ///
    /// # Errors
    /// If there is none.
    pub async fn connect(peer: SocketAddr, group: &str) -> Result<Member, ClientError> {
        let mut connection = Connection::to(peer).await?;
        let version = connection.version(&find_coordinator::RANGE, i16::MAX)?;
        let mut request = FindCoordinatorRequest::default();
        if version >= KEYS_FROM {
            request.coordinator_keys = vec![text(group)];
        } else {
            request.key = text(group);
        }
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = connection.call(&request).await?;
            let code = answer.coordinators.first().map(|found| found.error_code);
            let code = ErrorCode::from(code.unwrap_or(answer.error_code));
            if !code.is_retriable() || Instant::now() > deadline {
                connection.check(code.code(), "the group's coordinator", None)?;
                break;
            }
            sleep(RETRY_PAUSE).await;
        }
        Ok(Member {
            connection,
            group: group.to_owned(),
            member_id: KafkaString::default(),
            generation: -1,
            subscription: Bytes::new(),
            assigned: Vec::new(),
            joins: 0,
        })
    }

    /// Joins the group's next generation, with a member id of the broker's first if need be.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn join(&mut self, topic: &str) -> Result<Option<Led>, ClientError> {
        self.joins += 1;
        self.subscription = subscription(topic, &self.joins.to_be_bytes(), &self.assigned);
        let deadline = Instant::now() + READY_WITHIN;
        let joined = loop {
            let joined = self.join_once().await?;
            let code = ErrorCode::from(joined.error_code);
            match code {
                ErrorCode::MemberIdRequired => self.member_id = joined.member_id,
                _ if code.is_retriable() && Instant::now() < deadline => sleep(RETRY_PAUSE).await,
                _ => break joined,
            }
        };
        self.connection.check(joined.error_code, "to join", None)?;
        self.generation = joined.generation_id;
        let is_leader = joined.leader == joined.member_id;
        self.member_id = joined.member_id;
        let members = joined.members.into_iter().map(|member| member.member_id);
        Ok(is_leader.then(|| Led {
            members: members.collect(),
        }))
    }

    async fn join_once(&mut self) -> Result<JoinGroupResponse, ClientError> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(KafkaString::from_static(PROTOCOL))
            .with_metadata(self.subscription.clone());
        let request = JoinGroupRequest::default()
            .with_group_id(text(&self.group))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(KafkaString::from_static(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        self.connection.call(&request).await
    }

    /// Takes its part; a leader hands out all. False if another rebalance has begun meanwhile.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn sync(
        &mut self,
        led: Option<Led>,
        topic: &str,
        partitions: i32,
    ) -> Result<bool, ClientError> {
        let all: Vec<i32> = (0..partitions).collect();
        let assignments = led.map_or(Vec::new(), |led| deal(led.members, topic, &all));
        let request = SyncGroupRequest::default()
            .with_group_id(text(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(Some(KafkaString::from_static(PROTOCOL_TYPE)))
            .with_protocol_name(Some(KafkaString::from_static(PROTOCOL)))
            .with_assignments(assignments);
        let answer = self.connection.call(&request).await?;
        if ErrorCode::from(answer.error_code) == ErrorCode::RebalanceInProgress {
            return Ok(false);
        }
        self.connection.check(answer.error_code, "to sync", None)?;
        self.assigned = partitions_of(answer.assignment, topic);
        Ok(true)
    }

    /// Joins and syncs until a generation stands.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn enter(&mut self, topic: &str, partitions: i32) -> Result<(), ClientError> {
        loop {
            let led = self.join(topic).await?;
            if self.sync(led, topic, partitions).await? {
                return Ok(());
            }
        }
    }

    /// Whether the group goes on as it is.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn is_settled(&mut self) -> Result<bool, ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(text(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let answer = self.connection.call(&request).await?;
        if ErrorCode::from(answer.error_code) == ErrorCode::RebalanceInProgress {
            return Ok(false);
        }
        self.connection
            .check(answer.error_code, "a heartbeat", None)?;
        Ok(true)
    }

    /// Leaves the group.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn leave(&mut self) -> Result<(), ClientError> {
        let version = self.connection.version(&leave_group::RANGE, i16::MAX)?;
        let mut request = LeaveGroupRequest::default().with_group_id(text(&self.group));
        if version >= MEMBERS_FROM {
            let identity = MemberIdentity::default().with_member_id(self.member_id.clone());
            request.members = vec![identity];
        } else {
            request.member_id = self.member_id.clone();
        }
        let answer = self.connection.call(&request).await?;
        self.connection.check(answer.error_code, "to leave", None)
    }
}
