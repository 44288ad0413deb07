//! A produce request that is encoded once and then only patched: correlation id, partition,
//! timestamps, producer and sequence, the records' stamps, and the checksum over them.
//!
//! ```text
//! size i32 | key i16 | version i16 | correlation i32 | ... | partition i32 | length | batch | tags
//!                                  ^ CORRELATION_AT        ^ partition_at           ^ batch
//! ```

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::TopicRef;
use spate_net::kafka::api::produce::{PartitionData, ProduceRequest, RANGE, TopicData};
use spate_net::kafka::error::WireError;
use spate_net::kafka::record_batch::header::store_crc;
use spate_net::kafka::record_batch::{
    BatchBuilder, Codec, DecompressionLimits, NewRecord, ProducerStamp, Records, Scratch,
};

use crate::connection::CLIENT_ID;
use crate::verify::{STAMP_BYTES, Stamp, StreamId, filler_hash};

/// The highest version that names topics by name: with ids the answers would be no shorter.
pub const VERSION_MAX: i16 = 12;

/// How long a broker may wait for replicas.
pub const TIMEOUT_MS: i32 = 30_000;

const CORRELATION_AT: usize = 8;
/// Places in the batch's header.
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;

/// What the requests of one connection have in common.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The topic.
    pub topic: String,
    /// The version of the request.
    pub version: i16,
    /// Kafka's number for whose confirmation is awaited.
    pub acks: i16,
    /// Bytes of each value.
    pub record_bytes: usize,
    /// Records of each batch.
    pub batch_records: u64,
    /// Headers of each record.
    pub headers: Vec<(String, String)>,
    /// The connection, as records name it.
    pub stream: StreamId,
}

/// What differs from request to request.
pub struct Patch<F> {
    /// The request's number.
    pub correlation_id: i32,
    /// Where it goes.
    pub partition: i32,
    /// The stream's sequence number in that partition, of the first record.
    pub sequence: u64,
    /// The time in the batch's header.
    pub timestamp_ms: i64,
    /// Who the broker takes it from, if that is idempotent.
    pub producer: Option<ProducerStamp>,
    /// When each record, by its place in the batch, was meant to be sent.
    pub intended_unix_ns: F,
}

/// Where a record's value lies in the frame.
struct Slot {
    value: Range<usize>,
    filler_hash: u64,
}

/// The encoded request.
pub struct ProduceTemplate {
    frame: Bytes,
    partition_at: usize,
    batch: Range<usize>,
    slots: Vec<Slot>,
    shape: Shape,
}

impl ProduceTemplate {
    /// Encodes a request of that shape, its records filled with random bytes.
    pub fn new(shape: Shape) -> Result<ProduceTemplate, WireError> {
        let batch = batch(&shape);
        let request = ProduceRequest {
            transactional_id: None,
            acks: shape.acks,
            timeout_ms: TIMEOUT_MS,
            topics: vec![TopicData {
                topic: TopicRef::Name(KafkaString::from(shape.topic.clone())),
                partitions: vec![PartitionData {
                    index: 0,
                    records: Some(batch.clone()),
                }],
            }],
        };
        let frame = request.encode(shape.version, 0, Some(CLIENT_ID))?.concat();
        // Behind the batch come the tags of partition, topic and request, none each.
        let is_flexible = RANGE.is_flexible(shape.version);
        let batch_end = frame.len() - if is_flexible { 3 } else { 0 };
        let batch_at = batch_end - batch.len();
        let length_bytes = if is_flexible {
            compact_length_bytes(batch.len())
        } else {
            4
        };
        let slots = slots(&batch, batch_at);
        assert_eq!(slots.len() as u64, shape.batch_records);
        Ok(ProduceTemplate {
            frame: Bytes::from(frame),
            partition_at: batch_at - length_bytes - 4,
            batch: batch_at..batch_end,
            slots,
            shape,
        })
    }

    /// How many records a request of it has.
    pub fn records(&self) -> usize {
        self.slots.len()
    }

    /// The same for another number of records.
    pub fn shortened(&self, batch_records: u64) -> Result<ProduceTemplate, WireError> {
        ProduceTemplate::new(Shape {
            batch_records,
            ..self.shape.clone()
        })
    }

    /// The next request, in the memory of one that was answered if there is such.
    pub fn stamp(&self, spare: Option<Bytes>, patch: &Patch<impl Fn(u64) -> u64>) -> Bytes {
        let reusable = spare.and_then(|frame| frame.try_into_mut().ok());
        let mut frame = reusable.unwrap_or_else(|| BytesMut::from(&self.frame[..]));
        put(
            &mut frame,
            CORRELATION_AT,
            patch.correlation_id.to_be_bytes(),
        );
        put(&mut frame, self.partition_at, patch.partition.to_be_bytes());
        for (index, slot) in (0..).zip(&self.slots) {
            let stamp = Stamp {
                sequence: patch.sequence + index,
                intended_unix_ns: (patch.intended_unix_ns)(index),
                stream: self.shape.stream,
                partition: patch.partition,
            };
            stamp.write(&mut frame[slot.value.clone()], slot.filler_hash);
        }
        let batch = &mut frame[self.batch.clone()];
        put(batch, BASE_TIMESTAMP_AT, patch.timestamp_ms.to_be_bytes());
        put(batch, MAX_TIMESTAMP_AT, patch.timestamp_ms.to_be_bytes());
        if let Some(producer) = patch.producer {
            put(batch, PRODUCER_ID_AT, producer.producer_id.to_be_bytes());
            put(
                batch,
                PRODUCER_EPOCH_AT,
                producer.producer_epoch.to_be_bytes(),
            );
            put(
                batch,
                BASE_SEQUENCE_AT,
                producer.base_sequence.to_be_bytes(),
            );
        }
        store_crc(batch);
        frame.freeze()
    }
}

fn put<const N: usize>(target: &mut [u8], at: usize, bytes: [u8; N]) {
    target[at..at + N].copy_from_slice(&bytes);
}

fn batch(shape: &Shape) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    // A seed of its own for each stream: fillers differ between connections, not between runs.
    let mut random = StdRng::seed_from_u64(shape.stream.0.into());
    let mut value = vec![0; shape.record_bytes];
    let headers = shape.headers.iter();
    let headers: Vec<(&str, Option<&[u8]>)> = headers
        .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
        .collect();
    for _ in 0..shape.batch_records {
        random.fill(&mut value[..]);
        builder.append(&NewRecord {
            value: Some(&value),
            headers: &headers,
            ..NewRecord::default()
        });
    }
    let batch = builder
        .finish(None)
        .expect("memory takes what is written to it");
    batch.expect("a batch has at least one record")
}

fn slots(batch: &Bytes, batch_at: usize) -> Vec<Slot> {
    let limits = DecompressionLimits::default();
    let records = Records::open(batch, &limits, &mut Scratch::new()).expect("it was just built");
    let slot = |record| {
        let record: spate_net::kafka::record_batch::Record<'_> = record;
        let value = record.value.expect("every record has a value");
        // The batch is not compressed: its values are slices of it.
        let start = batch_at + (value.as_ptr().addr() - batch.as_ptr().addr());
        assert!(value.len() >= STAMP_BYTES);
        Slot {
            value: start..start + value.len(),
            filler_hash: filler_hash(value),
        }
    };
    records
        .iter()
        .map(|record| slot(record.expect("it was just built")))
        .collect()
}

/// Bytes of an unsigned varint of `length + 1`, as flexible versions write lengths.
fn compact_length_bytes(length: usize) -> usize {
    (usize::BITS - (length + 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use spate_net::kafka::header::parse_request;

    fn shape(version: i16, record_bytes: usize, batch_records: u64) -> Shape {
        let (topic, stream) = ("bench-topic".to_owned(), StreamId(9));
        Shape {
            topic,
            version,
            acks: -1,
            record_bytes,
            batch_records,
            headers: vec![("trace".to_owned(), "on".to_owned())],
            stream,
        }
    }

    fn producer() -> Option<ProducerStamp> {
        Some(ProducerStamp {
            producer_id: 77,
            producer_epoch: 2,
            base_sequence: 300,
            is_transactional: false,
        })
    }

    /// Reads a stamped request as a broker and then a consumer would.
    fn check(frame: &Bytes, version: i16, batch_records: u64) {
        assert_eq!(
            frame.len() - 4,
            i32::from_be_bytes(frame[..4].try_into().unwrap()) as usize
        );
        let request = parse_request(&frame.slice(4..)).unwrap();
        assert_eq!(request.header.correlation_id, 1234);
        let produce = ProduceRequest::parse(&request.body, version).unwrap();
        let partition = &produce.topics[0].partitions[0];
        assert_eq!((produce.acks, partition.index), (-1, 42));
        let batch = partition.records.as_ref().unwrap();
        let header = spate_net::kafka::record_batch::BatchHeader::of(batch).unwrap();
        assert_eq!((header.producer_id(), header.producer_epoch()), (77, 2));
        assert_eq!((header.base_sequence(), header.base_timestamp()), (300, 99));
        let limits = DecompressionLimits::default();
        let records = Records::open(batch, &limits, &mut Scratch::new()).unwrap();
        let stamps = records
            .iter()
            .map(|record| Stamp::read(record.unwrap().value.unwrap()));
        for (index, stamp) in (0..batch_records).zip(stamps) {
            let stamp = stamp.expect("the check holds");
            assert_eq!(
                (stamp.sequence, stamp.intended_unix_ns),
                (500 + index, 7_000 + index)
            );
            assert_eq!((stamp.stream, stamp.partition), (StreamId(9), 42));
        }
    }

    #[test]
    fn patched_requests_are_sound_in_every_version_and_size() {
        for version in RANGE.min..=VERSION_MAX {
            for (record_bytes, batch_records) in [(32, 1), (100, 3), (1024, 128), (20_000, 1)] {
                let template = ProduceTemplate::new(shape(version, record_bytes, batch_records));
                let template = template.unwrap();
                let patch = Patch {
                    correlation_id: 1234,
                    partition: 42,
                    sequence: 500,
                    timestamp_ms: 99,
                    producer: producer(),
                    intended_unix_ns: |index| 7_000 + index,
                };
                let frame = template.stamp(None, &patch);
                check(&frame, version, batch_records);
                let other = Patch {
                    correlation_id: 1,
                    partition: 1,
                    sequence: 0,
                    ..patch
                };
                let reused = template.stamp(Some(frame), &other);
                check(
                    &template.stamp(Some(reused), &patch),
                    version,
                    batch_records,
                );
            }
        }
    }
}
