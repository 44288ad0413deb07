//! A small producer: whoever calls makes the batches, and gets each one's offset. Idempotent by
//! default: a batch that is sent again after a lost answer is not written twice.
//!
//! One batch of a partition is under way at a time, so that order and sequences hold however often
//! it has to be tried. Many partitions overlap. Load drivers that pipeline one partition use
//! [`Connection`](super::Connection) and their own sequences.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::cluster::{Cluster, Leader, RETRY_PAUSE};
use super::error::ClientError;
use crate::kafka::api::init_producer_id::InitProducerIdRequest;
use crate::kafka::api::produce::{
    IDS_FROM, PartitionData, PartitionResponse, ProduceRequest, RANGE, TopicData,
};
use crate::kafka::error::ErrorCode;
use crate::kafka::record_batch::{BatchBuilder, ProducerStamp};
use crate::reactor::{Notify, now, sleep};

/// How to produce.
#[derive(Clone, Copy, Debug)]
pub struct ProducerSettings {
    /// When the broker answers: 0 never, 1 when the leader has it, -1 when all replicas have it.
    pub acks: i16,
    /// How long the broker may wait for replicas.
    pub timeout_ms: i32,
    /// Whether to take a producer id; needs acks -1.
    pub is_idempotent: bool,
}

impl Default for ProducerSettings {
    fn default() -> ProducerSettings {
        ProducerSettings {
            acks: -1,
            timeout_ms: 30_000,
            is_idempotent: true,
        }
    }
}

/// Where a batch came to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Produced {
    /// The offset of its first record; -1 with acks 0.
    pub base_offset: i64,
    /// The time the broker gave it, -1 if the records keep their own.
    pub log_append_time_ms: i64,
}

/// Writes batches.
pub struct Producer {
    cluster: Rc<Cluster>,
    settings: ProducerSettings,
    identity: Cell<Option<Identity>>,
    lanes: RefCell<HashMap<(String, i32), Rc<Lane>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    producer_id: i64,
    producer_epoch: i16,
}

/// One partition: who goes first, and with which sequence number.
struct Lane {
    is_busy: Cell<bool>,
    freed: Notify,
    identity: Cell<Option<Identity>>,
    next_sequence: Cell<i32>,
}

/// The right to send to a partition.
struct Turn(Rc<Lane>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_busy.set(false);
        self.0.freed.notify_one();
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let identity = self.identity.get();
        f.debug_struct("Producer")
            .field("settings", &self.settings)
            .field("identity", &identity)
            .finish()
    }
}

impl Producer {
    /// A producer for a cluster.
    #[must_use]
    pub fn new(cluster: Rc<Cluster>, settings: ProducerSettings) -> Producer {
        let lanes = RefCell::default();
        Producer {
            cluster,
            settings,
            identity: Cell::new(None),
            lanes,
        }
    }

    /// Writes what the builder holds to a partition. What can be tried again is, for as long as
    /// the cluster's `retry_for` says.
    ///
    /// An error of an idempotent producer leaves open whether the records were written; it goes on
    /// with a new identity.
    pub async fn send(
        &self,
        topic: &str,
        partition: i32,
        builder: &mut BatchBuilder,
    ) -> Result<Produced, ClientError> {
        let turn = self.turn(topic, partition).await;
        let stamp = self.stamp(&turn.0).await?;
        let count = builder.record_count();
        let batch = builder.finish(stamp).map_err(ClientError::Build)?;
        let Some(batch) = batch else {
            return Ok(Produced {
                base_offset: -1,
                log_append_time_ms: -1,
            });
        };
        let outcome = self.deliver(topic, partition, batch).await;
        match (&outcome, stamp) {
            (Ok(_), Some(stamp)) => {
                turn.0
                    .next_sequence
                    .set(sequence_after(stamp.base_sequence, count));
            }
            (Err(_), Some(_)) => self.identity.set(None),
            _ => {}
        }
        outcome
    }

    async fn turn(&self, topic: &str, partition: i32) -> Turn {
        let key = (topic.to_owned(), partition);
        let lane = Rc::clone(self.lanes.borrow_mut().entry(key).or_insert_with(|| {
            Rc::new(Lane {
                is_busy: Cell::new(false),
                freed: Notify::new(),
                identity: Cell::new(None),
                next_sequence: Cell::new(0),
            })
        }));
        while lane.is_busy.replace(true) {
            lane.freed.notified().await;
        }
        Turn(lane)
    }

    /// What makes the lane's next batch idempotent.
    async fn stamp(&self, lane: &Lane) -> Result<Option<ProducerStamp>, ClientError> {
        if !self.settings.is_idempotent {
            return Ok(None);
        }
        let identity = match self.identity.get() {
            Some(identity) => identity,
            None => self.take_identity().await?,
        };
        // A new identity starts its sequences at 0 in every partition.
        if lane.identity.replace(Some(identity)) != Some(identity) {
            lane.next_sequence.set(0);
        }
        let Identity {
            producer_id,
            producer_epoch,
        } = identity;
        let base_sequence = lane.next_sequence.get();
        Ok(Some(ProducerStamp {
            producer_id,
            producer_epoch,
            base_sequence,
            is_transactional: false,
        }))
    }

    async fn take_identity(&self) -> Result<Identity, ClientError> {
        let deadline = now() + self.cluster.settings().retry_for;
        loop {
            let outcome = self.ask_identity().await;
            match outcome {
                Err(error) if error.is_retriable() && now() < deadline => {
                    sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn ask_identity(&self) -> Result<Identity, ClientError> {
        let connection = self.cluster.any().await?;
        // Several lanes may have asked at once: one identity serves all.
        let response = connection.call(&InitProducerIdRequest::default()).await?;
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let code = ErrorCode::from(response.error_code);
        if code != ErrorCode::None {
            return Err(ClientError::refused(
                "InitProducerId".to_owned(),
                code,
                None,
            ));
        }
        let (producer_id, producer_epoch) = (response.producer_id, response.producer_epoch);
        let identity = Identity {
            producer_id,
            producer_epoch,
        };
        self.identity.set(Some(identity));
        Ok(identity)
    }

    async fn deliver(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<Produced, ClientError> {
        let deadline = now() + self.cluster.settings().retry_for;
        loop {
            let outcome = self.attempt(topic, partition, batch.clone()).await;
            match outcome {
                Err(error) if error.is_retriable() && now() < deadline => {
                    tracing::debug!(%error, topic, partition, "producing again");
                    self.cluster.forget_topic(topic);
                    sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<Produced, ClientError> {
        let leader = self.cluster.leader(topic, partition).await?;
        let (version, request) = self.request(&leader, topic, partition, batch)?;
        if self.settings.acks == 0 {
            let connection = &leader.connection;
            let id = connection.next_correlation_id();
            let frame = request.encode(version, id, Some(connection.client_id()));
            let frame = frame.map_err(|source| ClientError::Wire {
                api: RANGE.key,
                source,
            })?;
            connection.send_unanswered(frame)?;
            return Ok(Produced {
                base_offset: -1,
                log_append_time_ms: -1,
            });
        }
        let response = leader.connection.call_at(version, &request).await?;
        let mut answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        let what = || format!("producing to {topic}-{partition}");
        match answers.find(|answer| answer.index == partition) {
            Some(answer) => judge(answer, what),
            None => {
                let code = ErrorCode::UnknownServerError;
                Err(ClientError::refused(
                    what(),
                    code,
                    Some("it is missing in the answer"),
                ))
            }
        }
    }

    fn request(
        &self,
        leader: &Leader,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<(i16, ProduceRequest), ClientError> {
        let version = leader.connection.version_of(&RANGE)?;
        let (topic, version) = leader.topic_ref(topic, version, IDS_FROM);
        let partitions = vec![PartitionData {
            index: partition,
            records: Some(batch),
        }];
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.settings.acks,
            timeout_ms: self.settings.timeout_ms,
            topics: vec![TopicData { topic, partitions }],
        };
        Ok((version, request))
    }
}

/// What a partition's answer means. A duplicate that older brokers report as one was written.
fn judge(answer: &PartitionResponse, what: impl Fn() -> String) -> Result<Produced, ClientError> {
    match answer.error {
        ErrorCode::None | ErrorCode::DuplicateSequenceNumber => Ok(Produced {
            base_offset: answer.base_offset,
            log_append_time_ms: answer.log_append_time_ms,
        }),
        code => {
            let first = answer
                .record_errors
                .first()
                .and_then(|error| error.message.as_ref());
            let message = answer.error_message.as_ref().or(first);
            Err(ClientError::refused(
                what(),
                code,
                message.map(|text| text.as_str()),
            ))
        }
    }
}

/// Sequences go from 2^31-1 on to 0.
fn sequence_after(base: i32, count: i32) -> i32 {
    base.wrapping_add(count) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::sequence_after;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_after(5, 3), 8);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 4), 2);
    }
}
