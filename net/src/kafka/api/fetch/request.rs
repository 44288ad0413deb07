//! The fetch request.
//!
//! ```text
//! replica i32 (v4-14) | max wait i32 | min bytes i32 | max bytes i32 | isolation i8
//! | session id i32, epoch i32 (v7)
//! | [topic | [index i32 | leader epoch i32 (v9) | offset i64 | last fetched epoch i32 (v12)
//!             | log start i64 (v5) | max bytes i32 | tags 0: directory (v17), 1: high watermark]]
//! | forgotten [topic | [index i32]] (v7) | rack (v11)
//! | tags 0: cluster id, 1: replica state (v15)
//! ```

use bytes::{Bytes, BytesMut};

use super::{IDS_FROM, LOG_START_FROM, RANGE, SESSIONS_FROM};
use crate::kafka::api::{Message, TopicRef};
use crate::kafka::error::WireError;
use crate::kafka::header::{begin_request, finish_frame};
use crate::kafka::primitives::{Reader, Writer, tagged_content};
use crate::kafka::{KafkaString, KafkaUuid};

const LEADER_EPOCH_FROM: i16 = 9;
const RACK_FROM: i16 = 11;
const LAST_EPOCH_FROM: i16 = 12;
const REPLICA_STATE_FROM: i16 = 15;
const DIRECTORY_FROM: i16 = 17;
const HIGH_WATERMARK_FROM: i16 = 18;

/// A fetch request. Fields that a version lacks have the schema's default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// The cluster the client thinks it talks to.
    pub cluster_id: Option<KafkaString>,
    /// The node that fetches as a replica, or -1 for a consumer.
    pub replica_id: i32,
    /// That node's epoch, or -1.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// How many bytes are worth an answer.
    pub min_bytes: i32,
    /// How many bytes the answer may have.
    pub max_bytes: i32,
    /// See [`super::READ_UNCOMMITTED`] and [`super::READ_COMMITTED`].
    pub isolation_level: i8,
    /// The session, or 0.
    pub session_id: i32,
    /// The place of this request in the session.
    pub session_epoch: i32,
    /// What to fetch; in an incremental request, what changes.
    pub topics: Vec<FetchTopic>,
    /// What to take out of the session.
    pub forgotten: Vec<ForgottenTopic>,
    /// Where the consumer is.
    pub rack_id: KafkaString,
}

/// What to fetch of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchTopic {
    /// The topic.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// What to fetch of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchPartition {
    /// The partition.
    pub index: i32,
    /// The leader epoch the client knows, or -1.
    pub current_leader_epoch: i32,
    /// Where to read from.
    pub fetch_offset: i64,
    /// The epoch of the last record the client has, or -1.
    pub last_fetched_epoch: i32,
    /// A replica's log start, or -1.
    pub log_start_offset: i64,
    /// How many bytes of this partition.
    pub max_bytes: i32,
    /// A replica's directory, or zero.
    pub replica_directory_id: KafkaUuid,
    /// The high watermark a replica knows, or the largest number.
    pub high_watermark: i64,
}

/// Partitions to take out of the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForgottenTopic {
    /// The topic.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

impl Default for FetchRequest {
    fn default() -> FetchRequest {
        FetchRequest {
            cluster_id: None,
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: i32::MAX,
            isolation_level: super::READ_UNCOMMITTED,
            session_id: 0,
            session_epoch: super::FINAL_EPOCH,
            topics: Vec::new(),
            forgotten: Vec::new(),
            rack_id: KafkaString::default(),
        }
    }
}

impl Default for FetchPartition {
    fn default() -> FetchPartition {
        FetchPartition {
            index: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: i32::MAX,
            replica_directory_id: KafkaUuid::ZERO,
            high_watermark: i64::MAX,
        }
    }
}

impl FetchRequest {
    /// Parses a request's body.
    pub fn parse(body: &Bytes, version: i16) -> Result<FetchRequest, WireError> {
        FetchRequest::parse_from(&mut Reader::new(body, RANGE.is_flexible(version)), version)
    }

    fn parse_from(reader: &mut Reader<'_>, version: i16) -> Result<FetchRequest, WireError> {
        check_version(version)?;
        let mut request = FetchRequest::default();
        if version < REPLICA_STATE_FROM {
            request.replica_id = reader.i32("replica id")?;
        }
        request.max_wait_ms = reader.i32("max wait")?;
        request.min_bytes = reader.i32("min bytes")?;
        request.max_bytes = reader.i32("max bytes")?;
        request.isolation_level = reader.i8("isolation level")?;
        if version >= SESSIONS_FROM {
            request.session_id = reader.i32("session id")?;
            request.session_epoch = reader.i32("session epoch")?;
        }
        // Name, partitions and tagged fields take at least a byte each, the old lengths more.
        let count = reader.array("topics", 3)?;
        request.topics.reserve_exact(count);
        for _ in 0..count {
            request.topics.push(FetchTopic::read(reader, version)?);
        }
        if version >= SESSIONS_FROM {
            let count = reader.array("forgotten topics", 3)?;
            request.forgotten.reserve_exact(count);
            for _ in 0..count {
                request
                    .forgotten
                    .push(ForgottenTopic::read(reader, version)?);
            }
        }
        if version >= RACK_FROM {
            request.rack_id = reader.string("rack")?;
        }
        reader.tagged_fields(|tag, content| request.read_tag(tag, content, version))?;
        Ok(request)
    }

    fn read_tag(
        &mut self,
        tag: u32,
        content: &mut Reader<'_>,
        version: i16,
    ) -> Result<(), WireError> {
        if tag == 0 {
            self.cluster_id = content.nullable_string("cluster id")?;
        }
        if tag == 1 && version >= REPLICA_STATE_FROM {
            self.replica_id = content.i32("replica id")?;
            self.replica_epoch = content.i64("replica epoch")?;
            content.skip_tagged_fields()?;
        }
        Ok(())
    }

    /// The whole frame with size and header.
    pub fn encode(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<Bytes, WireError> {
        let mut writer = begin_request(&RANGE, version, correlation_id, client_id, 256);
        self.write_to(&mut writer, version)?;
        finish_frame(writer, 0)
    }

    fn write_to(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
        check_version(version)?;
        if version < REPLICA_STATE_FROM {
            writer.i32(self.replica_id);
        }
        writer.i32(self.max_wait_ms);
        writer.i32(self.min_bytes);
        writer.i32(self.max_bytes);
        writer.i8(self.isolation_level);
        if version >= SESSIONS_FROM {
            writer.i32(self.session_id);
            writer.i32(self.session_epoch);
        }
        writer.length(Some(self.topics.len()));
        for topic in &self.topics {
            topic.write(writer, version)?;
        }
        if version >= SESSIONS_FROM {
            writer.length(Some(self.forgotten.len()));
            for forgotten in &self.forgotten {
                forgotten.write(writer, version)?;
            }
        }
        if version >= RACK_FROM {
            writer.string(self.rack_id.as_str());
        }
        writer.tagged_fields(&self.tags(version));
        Ok(())
    }

    fn tags(&self, version: i16) -> Vec<(u32, BytesMut)> {
        let mut tags = Vec::new();
        if let Some(cluster_id) = &self.cluster_id {
            tags.push((
                0,
                tagged_content(|writer| writer.string(cluster_id.as_str())),
            ));
        }
        if version >= REPLICA_STATE_FROM && (self.replica_id, self.replica_epoch) != (-1, -1) {
            tags.push((
                1,
                tagged_content(|writer| {
                    writer.i32(self.replica_id);
                    writer.i64(self.replica_epoch);
                    writer.no_tagged_fields();
                }),
            ));
        }
        tags
    }
}

impl FetchTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<FetchTopic, WireError> {
        let topic = TopicRef::read(reader, version >= IDS_FROM)?;
        // Index, offset and limit are in every version.
        let count = reader.array("partitions", 16)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(FetchPartition::read(reader, version)?);
        }
        reader.skip_tagged_fields()?;
        Ok(FetchTopic { topic, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
        self.topic.write(writer, version >= IDS_FROM, version)?;
        writer.length(Some(self.partitions.len()));
        for partition in &self.partitions {
            partition.write(writer, version);
        }
        writer.no_tagged_fields();
        Ok(())
    }
}

impl FetchPartition {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<FetchPartition, WireError> {
        let mut partition = FetchPartition {
            index: reader.i32("partition")?,
            ..Self::default()
        };
        if version >= LEADER_EPOCH_FROM {
            partition.current_leader_epoch = reader.i32("current leader epoch")?;
        }
        partition.fetch_offset = reader.i64("fetch offset")?;
        if version >= LAST_EPOCH_FROM {
            partition.last_fetched_epoch = reader.i32("last fetched epoch")?;
        }
        if version >= LOG_START_FROM {
            partition.log_start_offset = reader.i64("log start offset")?;
        }
        partition.max_bytes = reader.i32("partition's max bytes")?;
        reader.tagged_fields(|tag, content| {
            if tag == 0 && version >= DIRECTORY_FROM {
                partition.replica_directory_id = content.uuid("replica's directory")?;
            }
            if tag == 1 && version >= HIGH_WATERMARK_FROM {
                partition.high_watermark = content.i64("high watermark")?;
            }
            Ok(())
        })?;
        Ok(partition)
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.i32(self.index);
        if version >= LEADER_EPOCH_FROM {
            writer.i32(self.current_leader_epoch);
        }
        writer.i64(self.fetch_offset);
        if version >= LAST_EPOCH_FROM {
            writer.i32(self.last_fetched_epoch);
        }
        if version >= LOG_START_FROM {
            writer.i64(self.log_start_offset);
        }
        writer.i32(self.max_bytes);
        let mut tags = Vec::new();
        if version >= DIRECTORY_FROM && !self.replica_directory_id.is_nil() {
            tags.push((
                0,
                tagged_content(|writer| writer.uuid(self.replica_directory_id)),
            ));
        }
        if version >= HIGH_WATERMARK_FROM && self.high_watermark != i64::MAX {
            tags.push((1, tagged_content(|writer| writer.i64(self.high_watermark))));
        }
        writer.tagged_fields(&tags);
    }
}

impl ForgottenTopic {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<ForgottenTopic, WireError> {
        let topic = TopicRef::read(reader, version >= IDS_FROM)?;
        let count = reader.array("forgotten partitions", 4)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(reader.i32("forgotten partition")?);
        }
        reader.skip_tagged_fields()?;
        Ok(ForgottenTopic { topic, partitions })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
        self.topic.write(writer, version >= IDS_FROM, version)?;
        writer.length(Some(self.partitions.len()));
        for partition in &self.partitions {
            writer.i32(*partition);
        }
        writer.no_tagged_fields();
        Ok(())
    }
}

fn check_version(version: i16) -> Result<(), WireError> {
    if RANGE.serves(version) {
        return Ok(());
    }
    Err(WireError::Version {
        key: RANGE.key as i16,
        version,
    })
}

impl Message for FetchRequest {
    fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError> {
        let whole = body.clone();
        let mut reader = Reader::new(&whole, RANGE.is_flexible(version));
        let request = FetchRequest::parse_from(&mut reader, version)?;
        *body = reader.rest();
        Ok(request)
    }

    fn write(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
        let mut writer = Writer::new(std::mem::take(buffer), RANGE.is_flexible(version));
        let written = self.write_to(&mut writer, version);
        *buffer = writer.buffer;
        written
    }
}
