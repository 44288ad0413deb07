//! What can be known of a producer's batch without its log, and the texts that Kafka gives to a
//! refused record. The order is Kafka's: the topic, the shape of the request, acks, the batch.

use std::fmt::Write as _;

use bytes::Bytes;
use spate_net::kafka::{
    api::produce::{PartitionData, PartitionResponse, RecordError, ZSTD_FROM},
    error::ErrorCode,
    record_batch::{
        BatchError, BatchHeader, Codec, Rules, Scratch, Suspect, Validated, check_shape, inspect,
        validate,
    },
};
use spate_storage::types::TopicPartition;

use crate::{
    config::topic::{TimestampType, TopicConfig},
    control::message::Refusal,
    disk::wall_ms,
    handler::{locate, message},
    image::TopicImage,
    shard::message::AppendItem,
};

/// A record's timestamp when its producer gave none.
const NO_TIMESTAMP: i64 = -1;

/// Records of one batch that are told to be at fault: Kafka names all, which may be a hundred
/// times the size of the batch.
const RECORD_ERRORS_MAX: usize = 1000;

/// What checking a batch needs besides the batch; one for a shard.
pub struct Checker {
    /// How far compressed batches may grow.
    pub rules: Rules,
    /// Reused memory of the decompressors.
    pub scratch: Scratch,
}

/// A batch's refusal, with the records that are at fault.
pub struct Fault {
    refusal: Refusal,
    records: Vec<RecordError>,
}

/// What of the request matters for its batches.
#[derive(Clone, Copy)]
pub struct Terms {
    /// The version of the request.
    pub version: i16,
    /// The acks of the request.
    pub acks: i16,
}

/// A batch that may go to its log, perhaps in another codec.
pub struct Checked {
    /// The batch and where it goes.
    pub item: AppendItem,
    /// The codec that it has.
    pub codec: Codec,
    /// How many records it has.
    pub record_count: i32,
}

/// Checks one partition's part of a request.
///
/// # Errors
/// What the client is to be told.
pub fn check(
    topic: &TopicImage,
    data: PartitionData,
    terms: Terms,
    checker: &mut Checker,
) -> Result<Checked, Fault> {
    let target = locate::partition(topic, data.index, locate::ANY_EPOCH).map_err(|code| {
        let text = format!(
            "topic {:?} has {} partitions, there is no partition {}",
            topic.name, topic.partitions, data.index
        );
        Fault::new(code, text)
    })?;
    let batch = data.records.unwrap_or_default();
    let rules = Rules {
        zstd_allowed: terms.version >= ZSTD_FROM,
        ..checker.rules
    };
    check_shape(&batch, &rules).map_err(Fault::of_batch)?;
    check_acks(terms.acks)?;
    check_sizes(topic, batch.len())?;
    let valid = validate(&batch, &rules, &mut checker.scratch).map_err(Fault::of_batch)?;
    if BatchHeader::of(&batch).is_some_and(|header| header.is_transactional()) {
        let text = "transactions are not served yet: unset transactional.id";
        return Err(Fault::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            text,
        ));
    }
    if is_suspicious(&topic.config, &valid) {
        check_records(topic, target, &batch, &valid, checker)?;
    }
    // Also where the type of the timestamps has to be set right.
    let rewrites = valid.max_timestamp_is_wrong || valid.claims_append_time;
    Ok(Checked {
        codec: valid.codec,
        record_count: valid.record_count,
        item: AppendItem {
            target,
            max_timestamp: rewrites.then_some(valid.max_timestamp),
            batch,
            owns_frame: false,
        },
    })
}

fn check_acks(acks: i16) -> Result<(), Fault> {
    if (-1..=1).contains(&acks) {
        return Ok(());
    }
    let text = format!("acks={acks} is not allowed: -1 (all), 0 or 1");
    Err(Fault::new(ErrorCode::InvalidRequiredAcks, text))
}

/// Limits of a batch's size, as it came or as it is to be stored.
///
/// # Errors
/// 10 above the topic's limit, 18 above its segments' size.
pub fn check_sizes(topic: &TopicImage, bytes: usize) -> Result<(), Fault> {
    let limit = topic.config.max_message_bytes as usize;
    if bytes > limit {
        let text = format!(
            "a batch of {bytes} bytes exceeds max.message.bytes = {limit} of topic {:?}",
            topic.name
        );
        return Err(Fault::new(ErrorCode::MessageTooLarge, text));
    }
    let segment_bytes = topic.config.segment_bytes;
    if bytes as u64 > segment_bytes {
        let text = format!(
            "a batch of {bytes} bytes exceeds segment.bytes = {segment_bytes} of topic {:?}",
            topic.name
        );
        return Err(Fault::new(ErrorCode::RecordListTooLarge, text));
    }
    Ok(())
}

/// The times that a topic takes now.
fn admitted_times(config: &TopicConfig) -> std::ops::RangeInclusive<i64> {
    let now = wall_ms();
    let earliest = now.saturating_sub(config.timestamp_before_max_ms);
    earliest..=now.saturating_add(config.timestamp_after_max_ms)
}

/// Whether the topic may refuse a record of it: what the walk over the batch found says so.
fn is_suspicious(config: &TopicConfig, valid: &Validated) -> bool {
    let lacks_key = config.cleanup.compact && valid.first_keyless.is_some();
    lacks_key
        || match config.timestamp_type {
            TimestampType::LogAppendTime => valid.claims_append_time,
            TimestampType::CreateTime => {
                let admitted = admitted_times(config);
                let is_fine = |time| admitted.contains(&time);
                !is_fine(valid.min_timestamp) || !is_fine(valid.max_timestamp)
            }
        }
}

/// Finds the records that the topic refuses, with Kafka's texts; there may be none: a record
/// without a timestamp is fine.
fn check_records(
    topic: &TopicImage,
    target: TopicPartition,
    batch: &Bytes,
    valid: &Validated,
    checker: &mut Checker,
) -> Result<(), Fault> {
    let config = &topic.config;
    let admitted = admitted_times(config);
    let (mut count, mut is_about_time) = (0, false);
    let mut records = Vec::new();
    let look = |record: Suspect| {
        let text = if config.cleanup.compact && !record.has_key {
            format!(
                "Compacted topic cannot accept message without key in topic partition {}-{}",
                topic.name, target.partition.0
            )
        } else if let Some(text) = wrong_time(config, &admitted, &record, valid) {
            is_about_time = true;
            text
        } else {
            return;
        };
        count += 1;
        if records.len() < RECORD_ERRORS_MAX {
            records.push(RecordError {
                batch_index: record.index,
                message: message(&text),
            });
        }
    };
    let Checker { rules, scratch } = checker;
    inspect(batch, rules, scratch, look);
    if count == 0 {
        return Ok(());
    }
    let refusal = if is_about_time {
        let text = "One or more records have been rejected due to invalid timestamp";
        Refusal::new(ErrorCode::InvalidTimestamp, text)
    } else {
        Refusal::new(ErrorCode::InvalidRecord, rejected(count, &records))
    };
    Err(Fault { refusal, records })
}

fn wrong_time(
    config: &TopicConfig,
    admitted: &std::ops::RangeInclusive<i64>,
    record: &Suspect,
    valid: &Validated,
) -> Option<String> {
    let (time, index) = (record.timestamp, record.index);
    if config.timestamp_type == TimestampType::CreateTime && time != NO_TIMESTAMP {
        return (!admitted.contains(&time)).then(|| {
            format!(
                "Timestamp {time} of message with offset {index} is out of range. The timestamp \
                 should be within [{}, {}]",
                admitted.start(),
                admitted.end()
            )
        });
    }
    valid.claims_append_time.then(|| {
        format!(
            "Invalid timestamp type in message {index}. Producer should not set timestamp type to \
             LogAppendTime."
        )
    })
}

/// Kafka's summary.
fn rejected(count: usize, records: &[RecordError]) -> String {
    let mut text = format!(
        "One or more records have been rejected due to {count} record errors in total, and only \
         showing the first three errors at most: ["
    );
    for (place, record) in records.iter().take(3).enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let said = record.message.as_ref().map_or("null", |text| text.as_str());
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{comma}RecordError(batchIndex={}, message='{said}')",
            record.batch_index
        );
    }
    text.push(']');
    text
}

impl Fault {
    /// A refusal of the whole batch.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Fault {
        Refusal::new(code, text).into()
    }

    fn of_batch(error: BatchError) -> Fault {
        let text = error.to_string();
        let record = |batch_index| RecordError {
            batch_index,
            message: message(&text),
        };
        Fault {
            records: error.record_index().map(record).into_iter().collect(),
            refusal: Refusal::new(error.code(), text),
        }
    }

    /// The partition's part of the answer.
    pub fn answer(self, index: i32) -> PartitionResponse {
        PartitionResponse {
            record_errors: self.records,
            error_message: message(&self.refusal.message),
            ..PartitionResponse::failed(index, self.refusal.code)
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault {
            refusal,
            records: Vec::new(),
        }
    }
}
