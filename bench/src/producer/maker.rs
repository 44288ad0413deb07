//! Requests out of drafts: stamped into a ready-made frame where all are alike, built record by
//! record where sizes, keys or codecs differ.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::TopicRef;
use spate_net::kafka::api::produce::{PartitionData, ProduceRequest, TopicData};
use spate_net::kafka::record_batch::{BatchBuilder, NewRecord, ProducerStamp};

use super::draft::Planned;
use crate::connection::CLIENT_ID;
use crate::payload::{Content, key_bytes};
use crate::schedule::Clock;
use crate::template::{Patch, ProduceTemplate, TIMEOUT_MS};
use crate::verify::{Stamp, StreamId, filler_hash};

/// A request's bytes, kept until it is answered.
#[derive(Clone, Debug)]
pub enum Frame {
    /// In one piece, whose memory can be used again.
    Whole(Bytes),
    /// In several.
    Parts(Vec<Bytes>),
}

impl Frame {
    /// Hands the pieces out.
    pub fn pieces(&self, into: &mut Vec<Bytes>) {
        match self {
            Frame::Whole(bytes) => into.push(bytes.clone()),
            Frame::Parts(parts) => into.extend(parts.iter().cloned()),
        }
    }
}

/// What a request is to be.
pub struct Wanted<'a> {
    /// Its number.
    pub correlation_id: i32,
    /// Where it goes.
    pub partition: i32,
    /// The stream's number of its first record in that partition.
    pub sequence: u64,
    /// The time in its batch.
    pub timestamp_ms: i64,
    /// Who the broker takes it from, if that is idempotent.
    pub producer: Option<ProducerStamp>,
    /// Its records.
    pub records: &'a [Planned],
}

/// Makes one connection's requests.
pub enum Maker {
    /// From a template.
    Stamped(ProduceTemplate),
    /// One by one.
    Built(Box<Builder>),
}

/// What requests that are built one by one have in common.
pub struct Builder {
    /// The batch under construction.
    pub batch: BatchBuilder,
    /// What records hold.
    pub content: Rc<Content>,
    /// Headers of each.
    pub headers: Vec<(String, String)>,
    /// The topic.
    pub topic: String,
    /// The request's version.
    pub version: i16,
    /// Kafka's number for whose confirmation is awaited.
    pub acks: i16,
    /// The connection, as records name it.
    pub stream: StreamId,
    /// A value under construction.
    pub value: Vec<u8>,
}

impl Maker {
    /// The next request, in the memory of one that was answered if there is such.
    pub fn make(
        &mut self,
        clock: Clock,
        spare: Option<Bytes>,
        wanted: &Wanted<'_>,
    ) -> io::Result<Frame> {
        match self {
            // The last batch of a run may be shorter than the template.
            Maker::Stamped(template) if template.records() == wanted.records.len() => {
                let patch = Patch {
                    correlation_id: wanted.correlation_id,
                    partition: wanted.partition,
                    sequence: wanted.sequence,
                    timestamp_ms: wanted.timestamp_ms,
                    producer: wanted.producer,
                    intended_unix_ns: |index| clock.unix_ns(wanted.records[index as usize].due),
                };
                Ok(Frame::Whole(template.stamp(spare, &patch)))
            }
            Maker::Stamped(template) => {
                let short = template.shortened(wanted.records.len() as u64);
                let short = short.map_err(io::Error::other)?;
                Maker::Stamped(short).make(clock, None, wanted)
            }
            Maker::Built(builder) => builder.build(clock, wanted).map(Frame::Parts),
        }
    }
}

impl Builder {
    fn build(&mut self, clock: Clock, wanted: &Wanted<'_>) -> io::Result<Vec<Bytes>> {
        let headers = self.headers.iter();
        let headers: Vec<(&str, Option<&[u8]>)> = headers
            .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
            .collect();
        for (index, record) in (0..).zip(wanted.records) {
            record.plan.fill(&self.content, &mut self.value);
            let hash = filler_hash(&self.value);
            let stamp = Stamp {
                sequence: wanted.sequence + index,
                intended_unix_ns: clock.unix_ns(record.due),
                stream: self.stream,
                partition: wanted.partition,
            };
            stamp.write(&mut self.value, hash);
            let key = record.plan.key.map(key_bytes);
            self.batch.append(&NewRecord {
                timestamp: wanted.timestamp_ms,
                key: key.as_ref().map(|key| &key[..]),
                value: Some(&self.value),
                headers: &headers,
            });
        }
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.acks,
            timeout_ms: TIMEOUT_MS,
            topics: vec![TopicData {
                topic: TopicRef::Name(KafkaString::from(self.topic.clone())),
                partitions: vec![PartitionData {
                    index: wanted.partition,
                    records: self.batch.finish(wanted.producer)?,
                }],
            }],
        };
        let frame = request.encode(self.version, wanted.correlation_id, Some(CLIENT_ID));
        frame.map_err(io::Error::other)
    }
}
