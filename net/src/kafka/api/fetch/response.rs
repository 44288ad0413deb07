//! The fetch response.
//!
//! ```text
//! throttle time i32 | error i16, session id i32 (v7)
//! | [topic | [index i32 | error i16 | high watermark i64 | last stable i64 | log start i64 (v5)
//!             | aborted [producer id i64 | first offset i64] | preferred replica i32 (v11)
//!             | records | tags 0: diverging epoch, 1: current leader, 2: snapshot (v12)]]
//! | tag 0: node endpoints (v16)
//! ```

use bytes::{Bytes, BytesMut};

use super::{IDS_FROM, LOG_START_FROM, RANGE, SESSIONS_FROM};
use crate::kafka::api::{LeaderIdAndEpoch, Message, NodeEndpoint, TopicRef};
use crate::kafka::error::{ErrorCode, WireError};
use crate::kafka::header::begin_response;
use crate::kafka::primitives::{Reader, tagged_content};
use crate::kafka::splice::Splicer;

const PREFERRED_REPLICA_FROM: i16 = 11;
const ENDPOINTS_FROM: i16 = 16;

/// A fetch response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchResponse {
    /// How long the client was, or should be, held back.
    pub throttle_time_ms: i32,
    /// What is wrong with the whole request, mostly its session.
    pub error: ErrorCode,
    /// The session, or 0.
    pub session_id: i32,
    /// What was read.
    pub topics: Vec<TopicResponse>,
    /// Where the leaders named in the partitions listen.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// What was read of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicResponse {
    /// The topic as the request named it.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<PartitionResponse>,
}

/// What was read of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionResponse {
    /// The partition.
    pub index: i32,
    /// What went wrong, or `None`.
    pub error: ErrorCode,
    /// Up to where records are committed, or -1.
    pub high_watermark: i64,
    /// Up to where transactions are decided, or -1.
    pub last_stable_offset: i64,
    /// Where the log starts, or -1.
    pub log_start_offset: i64,
    /// Transactions to leave out; null for read_uncommitted.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica to read from instead, or -1.
    pub preferred_read_replica: i32,
    /// Whole batches as they lie in the log, in as many slices as that takes. Reading a response
    /// gives one slice or none.
    pub records: Vec<Bytes>,
    /// Where the client's log leaves ours.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// The leader to go to.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// The snapshot to take instead; only in Raft's own log.
    pub snapshot_id: Option<SnapshotId>,
}

/// A transaction that was aborted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first record in this partition.
    pub first_offset: i64,
}

/// The end of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEndOffset {
    /// The epoch.
    pub epoch: i32,
    /// The offset after its last record.
    pub end_offset: i64,
}

/// A snapshot's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotId {
    /// The offset after its last record.
    pub end_offset: i64,
    /// The epoch of its last record.
    pub epoch: i32,
}

impl Default for FetchResponse {
    fn default() -> FetchResponse {
        FetchResponse {
            throttle_time_ms: 0,
            error: ErrorCode::None,
            session_id: 0,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        }
    }
}

impl PartitionResponse {
    /// No records, and the offsets that an error leaves unknown.
    #[must_use]
    pub fn empty(index: i32, error: ErrorCode) -> PartitionResponse {
        PartitionResponse {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Vec::new(),
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
        }
    }

    /// A partition that is not here: like Kafka with an empty list of aborted transactions, where
    /// one that cannot be read has none.
    #[must_use]
    pub fn refused(index: i32, error: ErrorCode) -> PartitionResponse {
        let is_unknown = matches!(
            error,
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId
        );
        PartitionResponse {
            aborted_transactions: is_unknown.then(Vec::new),
            ..PartitionResponse::empty(index, error)
        }
    }

    /// How many bytes of records it holds.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }

    fn read(reader: &mut Reader<'_>, version: i16) -> Result<PartitionResponse, WireError> {
        let index = reader.i32("partition")?;
        let mut response = PartitionResponse::empty(index, reader.i16("error code")?.into());
        response.high_watermark = reader.i64("high watermark")?;
        response.last_stable_offset = reader.i64("last stable offset")?;
        if version >= LOG_START_FROM {
            response.log_start_offset = reader.i64("log start offset")?;
        }
        if let Some(count) = reader.nullable_array("aborted transactions", 16)? {
            let mut aborted = Vec::with_capacity(count);
            for _ in 0..count {
                let producer_id = reader.i64("producer id")?;
                let first_offset = reader.i64("first offset")?;
                reader.skip_tagged_fields()?;
                aborted.push(AbortedTransaction {
                    producer_id,
                    first_offset,
                });
            }
            response.aborted_transactions = Some(aborted);
        }
        if version >= PREFERRED_REPLICA_FROM {
            response.preferred_read_replica = reader.i32("preferred read replica")?;
        }
        let records = reader.nullable_bytes("records")?;
        response
            .records
            .extend(records.filter(|records| !records.is_empty()));
        reader.tagged_fields(|tag, content| response.read_tag(tag, content))?;
        Ok(response)
    }

    fn read_tag(&mut self, tag: u32, content: &mut Reader<'_>) -> Result<(), WireError> {
        match tag {
            0 => {
                let epoch = content.i32("diverging epoch")?;
                let end_offset = content.i64("diverging epoch's end")?;
                self.diverging_epoch = Some(EpochEndOffset { epoch, end_offset });
            }
            1 => {
                self.current_leader = Some(LeaderIdAndEpoch::read(content)?);
                return Ok(());
            }
            2 => {
                let end_offset = content.i64("snapshot's end")?;
                let epoch = content.i32("snapshot's epoch")?;
                self.snapshot_id = Some(SnapshotId { end_offset, epoch });
            }
            _ => return Ok(()),
        }
        content.skip_tagged_fields()
    }

    fn write(&self, splicer: &mut Splicer, version: i16) {
        let writer = &mut splicer.writer;
        writer.i32(self.index);
        writer.i16(self.error.code());
        writer.i64(self.high_watermark);
        writer.i64(self.last_stable_offset);
        if version >= LOG_START_FROM {
            writer.i64(self.log_start_offset);
        }
        let aborted = self.aborted_transactions.as_ref();
        writer.length(aborted.map(Vec::len));
        for transaction in aborted.into_iter().flatten() {
            writer.i64(transaction.producer_id);
            writer.i64(transaction.first_offset);
            writer.no_tagged_fields();
        }
        if version >= PREFERRED_REPLICA_FROM {
            writer.i32(self.preferred_read_replica);
        }
        writer.length(Some(self.record_bytes()));
        for records in &self.records {
            splicer.splice(records);
        }
        if self.diverging_epoch.is_none()
            && self.current_leader.is_none()
            && self.snapshot_id.is_none()
        {
            splicer.writer.no_tagged_fields();
        } else {
            splicer.writer.tagged_fields(&self.tags());
        }
    }

    fn tags(&self) -> Vec<(u32, BytesMut)> {
        let diverging = self.diverging_epoch.map(|end| {
            let content = tagged_content(|writer| {
                writer.i32(end.epoch);
                writer.i64(end.end_offset);
                writer.no_tagged_fields();
            });
            (0, content)
        });
        let leader = self.current_leader.map(|leader| (1, leader.tagged()));
        let snapshot = self.snapshot_id.map(|snapshot| {
            let content = tagged_content(|writer| {
                writer.i64(snapshot.end_offset);
                writer.i32(snapshot.epoch);
                writer.no_tagged_fields();
            });
            (2, content)
        });
        [diverging, leader, snapshot]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl FetchResponse {
    /// The whole frame with size and header; large slices of records are not copied.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<Vec<Bytes>, WireError> {
        let mut splicer = Splicer::new(begin_response(&RANGE, version, correlation_id, 256));
        self.write_to(&mut splicer, version)?;
        splicer.finish()
    }

    fn write_to(&self, splicer: &mut Splicer, version: i16) -> Result<(), WireError> {
        splicer.writer.i32(self.throttle_time_ms);
        if version >= SESSIONS_FROM {
            splicer.writer.i16(self.error.code());
            splicer.writer.i32(self.session_id);
        }
        splicer.writer.length(Some(self.topics.len()));
        for topic in &self.topics {
            topic
                .topic
                .write(&mut splicer.writer, version >= IDS_FROM, version)?;
            splicer.writer.length(Some(topic.partitions.len()));
            for partition in &topic.partitions {
                partition.write(splicer, version);
            }
            splicer.writer.no_tagged_fields();
        }
        if version >= ENDPOINTS_FROM && !self.node_endpoints.is_empty() {
            let endpoints = NodeEndpoint::tagged(&self.node_endpoints);
            splicer.writer.tagged_fields(&[(0, endpoints)]);
        } else {
            splicer.writer.no_tagged_fields();
        }
        Ok(())
    }

    fn read_from(reader: &mut Reader<'_>, version: i16) -> Result<FetchResponse, WireError> {
        let mut response = FetchResponse {
            throttle_time_ms: reader.i32("throttle time")?,
            ..Self::default()
        };
        if version >= SESSIONS_FROM {
            response.error = reader.i16("error code")?.into();
            response.session_id = reader.i32("session id")?;
        }
        let count = reader.array("topics", 3)?;
        response.topics.reserve_exact(count);
        for _ in 0..count {
            let topic = TopicRef::read(reader, version >= IDS_FROM)?;
            // Index, error, high watermark and last stable offset are in every version.
            let count = reader.array("partitions", 22)?;
            let mut partitions = Vec::with_capacity(count);
            for _ in 0..count {
                partitions.push(PartitionResponse::read(reader, version)?);
            }
            reader.skip_tagged_fields()?;
            response.topics.push(TopicResponse { topic, partitions });
        }
        reader.tagged_fields(|tag, content| {
            if tag == 0 && version >= ENDPOINTS_FROM {
                response.node_endpoints = NodeEndpoint::read_all(content)?;
            }
            Ok(())
        })?;
        Ok(response)
    }
}

impl Message for FetchResponse {
    fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError> {
        let whole = body.clone();
        let mut reader = Reader::new(&whole, RANGE.is_flexible(version));
        let response = FetchResponse::read_from(&mut reader, version)?;
        *body = reader.rest();
        Ok(response)
    }

    fn write(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
        let flexible = RANGE.is_flexible(version);
        Splicer::body(flexible, |splicer| self.write_to(splicer, version), buffer)
    }
}
