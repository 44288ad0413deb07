//! The produce request.
//!
//! ```text
//! transactional id | acks i16 | timeout i32 | [topic | [index i32 | records]]
//! ```

use bytes::{Bytes, BytesMut};

use super::{IDS_FROM, RANGE};
use crate::kafka::KafkaString;
use crate::kafka::api::{Message, TopicRef};
use crate::kafka::error::WireError;
use crate::kafka::header::begin_request;
use crate::kafka::primitives::Reader;
use crate::kafka::splice::Splicer;

/// A produce request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProduceRequest {
    /// The transaction's name, if it is one.
    pub transactional_id: Option<KafkaString>,
    /// When to answer: 0 never, 1 when the leader has it, -1 when all replicas in sync have it.
    pub acks: i16,
    /// How long the broker may wait for replicas.
    pub timeout_ms: i32,
    /// What to write.
    pub topics: Vec<TopicData>,
}

/// What to write to one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicData {
    /// The topic.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<PartitionData>,
}

/// What to write to one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionData {
    /// The partition.
    pub index: i32,
    /// One record batch, unless the client is at fault.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Parses a request's body; records are slices of it.
    pub fn parse(body: &Bytes, version: i16) -> Result<ProduceRequest, WireError> {
        let mut reader = Reader::new(body, RANGE.is_flexible(version));
        ProduceRequest::parse_from(&mut reader, version)
    }

    fn parse_from(reader: &mut Reader<'_>, version: i16) -> Result<ProduceRequest, WireError> {
        check_version(version)?;
        let transactional_id = reader.nullable_string("transactional id")?;
        let acks = reader.i16("acks")?;
        let timeout_ms = reader.i32("timeout")?;
        // Name, partitions and tagged fields take at least a byte each, the old lengths more.
        let count = reader.array("topics", 3)?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            topics.push(TopicData::read(reader, version)?);
        }
        reader.skip_tagged_fields()?;
        Ok(ProduceRequest {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }

    /// The whole frame with size and header; large record batches are not copied.
    pub fn encode(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<Vec<Bytes>, WireError> {
        let writer = begin_request(&RANGE, version, correlation_id, client_id, 512);
        let mut splicer = Splicer::new(writer);
        self.write_to(&mut splicer, version)?;
        splicer.finish()
    }

    fn write_to(&self, splicer: &mut Splicer, version: i16) -> Result<(), WireError> {
        check_version(version)?;
        let writer = &mut splicer.writer;
        writer.nullable_string(self.transactional_id.as_ref().map(KafkaString::as_str));
        writer.i16(self.acks);
        writer.i32(self.timeout_ms);
        writer.length(Some(self.topics.len()));
        for topic in &self.topics {
            topic
                .topic
                .write(&mut splicer.writer, version >= IDS_FROM, version)?;
            splicer.writer.length(Some(topic.partitions.len()));
            for partition in &topic.partitions {
                splicer.writer.i32(partition.index);
                splicer
                    .writer
                    .length(partition.records.as_ref().map(Bytes::len));
                if let Some(records) = &partition.records {
                    splicer.splice(records);
                }
                splicer.writer.no_tagged_fields();
            }
            splicer.writer.no_tagged_fields();
        }
        splicer.writer.no_tagged_fields();
        Ok(())
    }
}

impl TopicData {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<TopicData, WireError> {
        let topic = TopicRef::read(reader, version >= IDS_FROM)?;
        // Index, and a byte each for records and tagged fields (or four for the old length).
        let count = reader.array("partitions", 6)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            let index = reader.i32("partition")?;
            let records = reader.nullable_bytes("records")?;
            reader.skip_tagged_fields()?;
            partitions.push(PartitionData { index, records });
        }
        reader.skip_tagged_fields()?;
        Ok(TopicData { topic, partitions })
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

impl Message for ProduceRequest {
    fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError> {
        let whole = body.clone();
        let mut reader = Reader::new(&whole, RANGE.is_flexible(version));
        let request = ProduceRequest::parse_from(&mut reader, version)?;
        *body = reader.rest();
        Ok(request)
    }

    fn write(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
        let flexible = RANGE.is_flexible(version);
        Splicer::body(flexible, |splicer| self.write_to(splicer, version), buffer)
    }
}
