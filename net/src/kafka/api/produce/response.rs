//! The produce response.
//!
//! ```text
//! [topic | [index i32 | error i16 | base offset i64 | append time i64 | log start i64 (v5)
//!           | record errors (v8) | message (v8) | tag 0: current leader (v10)]]
//! | throttle time i32 | tag 0: node endpoints (v10)
//! ```

use bytes::{Bytes, BytesMut};

use super::{IDS_FROM, RANGE};
use crate::kafka::KafkaString;
use crate::kafka::api::{LeaderIdAndEpoch, Message, NodeEndpoint, TopicRef};
use crate::kafka::error::{ErrorCode, WireError};
use crate::kafka::header::{begin_response, finish_frame};
use crate::kafka::primitives::{Reader, Writer};

/// Record errors and their message.
const RECORD_ERRORS_FROM: i16 = 8;
/// The current leader and its endpoint.
const LEADER_FROM: i16 = 10;
const LOG_START_FROM: i16 = 5;

/// A produce response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProduceResponse {
    /// What became of each topic's records.
    pub topics: Vec<TopicResponse>,
    /// How long the client was, or should be, held back.
    pub throttle_time_ms: i32,
    /// Where the leaders named in the partitions listen.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// What became of one topic's records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicResponse {
    /// The topic as the request named it.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<PartitionResponse>,
}

/// What became of one partition's records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionResponse {
    /// The partition.
    pub index: i32,
    /// What went wrong, or `None`.
    pub error: ErrorCode,
    /// The offset of the first record, or -1.
    pub base_offset: i64,
    /// The time the broker gave the records, or -1 if they keep their own.
    pub log_append_time_ms: i64,
    /// Where the partition's log starts, or -1.
    pub log_start_offset: i64,
    /// The records that had the batch refused.
    pub record_errors: Vec<RecordError>,
    /// What went wrong, in words.
    pub error_message: Option<KafkaString>,
    /// The leader to go to, with a `NotLeaderOrFollower`.
    pub current_leader: Option<LeaderIdAndEpoch>,
}

/// A record that had its batch refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordError {
    /// Its place in the batch.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: Option<KafkaString>,
}

impl PartitionResponse {
    /// Records written.
    #[must_use]
    pub fn written(index: i32, base_offset: i64, log_start_offset: i64) -> PartitionResponse {
        let failed = PartitionResponse::failed(index, ErrorCode::None);
        PartitionResponse {
            base_offset,
            log_start_offset,
            ..failed
        }
    }

    /// Records refused.
    #[must_use]
    pub fn failed(index: i32, error: ErrorCode) -> PartitionResponse {
        PartitionResponse {
            index,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }

    fn read(reader: &mut Reader<'_>, version: i16) -> Result<PartitionResponse, WireError> {
        let index = reader.i32("partition")?;
        let mut response = PartitionResponse::failed(index, reader.i16("error code")?.into());
        response.base_offset = reader.i64("base offset")?;
        response.log_append_time_ms = reader.i64("log append time")?;
        if version >= LOG_START_FROM {
            response.log_start_offset = reader.i64("log start offset")?;
        }
        if version >= RECORD_ERRORS_FROM {
            // Index, and a byte each for message and tagged fields (or two for the old length).
            let count = reader.array("record errors", 6)?;
            for _ in 0..count {
                let batch_index = reader.i32("batch index")?;
                let message = reader.nullable_string("record's error message")?;
                reader.skip_tagged_fields()?;
                response.record_errors.push(RecordError {
                    batch_index,
                    message,
                });
            }
            response.error_message = reader.nullable_string("error message")?;
        }
        reader.tagged_fields(|tag, content| {
            if tag == 0 && version >= LEADER_FROM {
                response.current_leader = Some(LeaderIdAndEpoch::read(content)?);
            }
            Ok(())
        })?;
        Ok(response)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.i32(self.index);
        writer.i16(self.error.code());
        writer.i64(self.base_offset);
        writer.i64(self.log_append_time_ms);
        if version >= LOG_START_FROM {
            writer.i64(self.log_start_offset);
        }
        if version >= RECORD_ERRORS_FROM {
            writer.length(Some(self.record_errors.len()));
            for error in &self.record_errors {
                writer.i32(error.batch_index);
                writer.nullable_string(error.message.as_ref().map(KafkaString::as_str));
                writer.no_tagged_fields();
            }
            writer.nullable_string(self.error_message.as_ref().map(KafkaString::as_str));
        }
        match &self.current_leader {
            Some(leader) if version >= LEADER_FROM => {
                writer.tagged_fields(&[(0, leader.tagged())]);
            }
            _ => writer.no_tagged_fields(),
        }
    }
}

impl ProduceResponse {
    /// The whole frame with size and header.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<Bytes, WireError> {
        let mut writer = begin_response(&RANGE, version, correlation_id, 128);
        self.write_to(&mut writer, version)?;
        finish_frame(writer, 0)
    }

    fn write_to(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
        writer.length(Some(self.topics.len()));
        for topic in &self.topics {
            topic.topic.write(writer, version >= IDS_FROM, version)?;
            writer.length(Some(topic.partitions.len()));
            for partition in &topic.partitions {
                partition.write(writer, version);
            }
            writer.no_tagged_fields();
        }
        writer.i32(self.throttle_time_ms);
        if version >= LEADER_FROM && !self.node_endpoints.is_empty() {
            writer.tagged_fields(&[(0, NodeEndpoint::tagged(&self.node_endpoints))]);
        } else {
            writer.no_tagged_fields();
        }
        Ok(())
    }

    fn read_from(reader: &mut Reader<'_>, version: i16) -> Result<ProduceResponse, WireError> {
        let count = reader.array("topics", 3)?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            let topic = TopicRef::read(reader, version >= IDS_FROM)?;
            // Index, error, base offset and append time are in every version.
            let count = reader.array("partitions", 22)?;
            let mut partitions = Vec::with_capacity(count);
            for _ in 0..count {
                partitions.push(PartitionResponse::read(reader, version)?);
            }
            reader.skip_tagged_fields()?;
            topics.push(TopicResponse { topic, partitions });
        }
        let throttle_time_ms = reader.i32("throttle time")?;
        let mut node_endpoints = Vec::new();
        reader.tagged_fields(|tag, content| {
            if tag == 0 && version >= LEADER_FROM {
                node_endpoints = NodeEndpoint::read_all(content)?;
            }
            Ok(())
        })?;
        Ok(ProduceResponse {
            topics,
            throttle_time_ms,
            node_endpoints,
        })
    }
}

impl Message for ProduceResponse {
    fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError> {
        let whole = body.clone();
        let mut reader = Reader::new(&whole, RANGE.is_flexible(version));
        let response = ProduceResponse::read_from(&mut reader, version)?;
        *body = reader.rest();
        Ok(response)
    }

    fn write(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
        let mut writer = Writer::new(std::mem::take(buffer), RANGE.is_flexible(version));
        let written = self.write_to(&mut writer, version);
        *buffer = writer.buffer;
        written
    }
}
