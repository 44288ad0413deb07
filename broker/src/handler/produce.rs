//! Produce: batches to their logs.
//!
//! The connection's shard checks what can be checked without the log (the batch itself, limits,
//! timestamps), so that this work spreads over the cores; the owner checks sequences, stamps and
//! appends. Batches are slices of the frame until the owner copies them into its open block.

use std::{rc::Rc, time::Duration};

use spate_net::{
    kafka::{
        api::{
            TopicRef,
            produce::{
                PartitionData, PartitionResponse, ProduceRequest, ProduceResponse, RecordError,
                TopicResponse, ZSTD_FROM,
            },
        },
        error::ErrorCode,
        header::{Request, RequestHeader},
        record_batch::{BatchError, BatchHeader, Rules, Scratch, Validated, validate},
    },
    reactor,
};

use crate::{
    config::topic::TimestampType,
    connection::{Closed, PendingAnswer},
    control::message::Refusal,
    disk::wall_ms,
    handler::{Answered, Context, locate, message, unreadable},
    image::{Image, TopicImage},
    shard::{
        message::{Answer, AppendItem, Ask},
        outcome::AppendOutcome,
        scatter::Scatter,
    },
};

/// How long batches are checked before other tasks of the shard get a turn. Counting their bytes
/// does not do: a kilobyte may decompress to megabytes.
const CHECK_BETWEEN_TURNS: Duration = Duration::from_micros(100);

/// A record's timestamp when its producer gave none.
const NO_TIMESTAMP: i64 = -1;

/// What checking a batch needs besides the batch; one for a shard.
pub struct Checker {
    /// How far compressed batches may grow.
    pub rules: Rules,
    /// Reused memory of the decompressors.
    pub scratch: Scratch,
}

/// A batch's refusal, with the records that are at fault.
struct Fault {
    refusal: Refusal,
    records: Vec<RecordError>,
}

/// Puts the request's batches into their logs' orders; the future answers when they are durable.
pub async fn begin(context: &Rc<Context>, request: Request) -> Result<PendingAnswer, Closed> {
    let Request { header, body, .. } = request;
    let asked = ProduceRequest::parse(&body, header.version)
        .map_err(|error| unreadable(&header, &error))?;
    drop(body);
    let mut scatter = Scatter::new();
    let mut place = 0;
    let mut turn_began = reactor::now();
    let image = context.router.image();
    let mut answer = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let known = may_write(&header, asked.acks, asked.transactional_id.is_some())
            .and_then(|()| known_topic(&image, &topic.topic));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.index;
            let item = match &known {
                Ok(known) => {
                    let mut checker = context.checker.borrow_mut();
                    check(known, partition, header.version, &mut checker)
                }
                Err(refusal) => Err(Fault {
                    refusal: refusal.clone(),
                    records: Vec::new(),
                }),
            };
            partitions.push(match item {
                Ok(item) => {
                    context.stats.batches_in.add(1);
                    scatter.add(context.router.owner(item.target), place, item);
                    PartitionResponse::failed(index, ErrorCode::None)
                }
                Err(fault) => refused(index, fault),
            });
            place += 1;
            if turn_began.elapsed() >= CHECK_BETWEEN_TURNS {
                reactor::yield_now().await;
                turn_began = reactor::now();
            }
        }
        answer.push(TopicResponse {
            topic: topic.topic,
            partitions,
        });
    }
    let wait_for_durable = asked.acks != 0;
    let ask = |items| Ask::Append {
        items,
        wait_for_durable,
    };
    let gather = scatter.send(&context.router, ask).await;
    let throttle = context.produce_throttle();
    Ok(Box::pin(async move {
        let outcomes = gather.collect(|answer| match answer {
            Answer::Append(outcomes) => Some(outcomes),
            _ => None,
        });
        settle(&mut answer, outcomes.await);
        finish(&header, wait_for_durable, throttle, answer)
    }))
}

/// Errors of the whole request, which Kafka reports on each of its partitions.
fn may_write(header: &RequestHeader, acks: i16, transactional: bool) -> Result<(), Refusal> {
    if !(-1..=1).contains(&acks) {
        let text = format!("acks={acks} is not allowed: -1 (all), 0 or 1");
        return Err(Refusal::new(ErrorCode::InvalidRequiredAcks, text));
    }
    if transactional {
        let text = format!(
            "transactions are not served yet (produce version {}); unset transactional.id",
            header.version
        );
        return Err(Refusal::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            text,
        ));
    }
    Ok(())
}

fn known_topic<'a>(image: &'a Image, named: &TopicRef) -> Result<&'a TopicImage, Refusal> {
    let topic = locate::topic(image, named)
        .map_err(|code| Refusal::new(code, format!("there is no topic {named:?}")))?;
    if topic.internal {
        let text = format!("topic {:?} is written by the broker only", topic.name);
        return Err(Refusal::new(ErrorCode::InvalidTopicException, text));
    }
    Ok(topic)
}

/// Everything that can be known of a batch without its log.
fn check(
    topic: &TopicImage,
    data: PartitionData,
    version: i16,
    checker: &mut Checker,
) -> Result<AppendItem, Fault> {
    let Checker { rules, scratch } = checker;
    let target = locate::partition(topic, data.index, locate::ANY_EPOCH).map_err(|code| {
        let text = format!(
            "topic {:?} has {} partitions, there is no partition {}",
            topic.name, topic.partitions, data.index
        );
        Fault::new(code, text)
    })?;
    let Some(batch) = data.records else {
        return Err(Fault::new(
            ErrorCode::InvalidRecord,
            "there is no record batch",
        ));
    };
    let limit = topic.config.max_message_bytes as usize;
    if batch.len() > limit {
        let text = format!(
            "a batch of {} bytes exceeds max.message.bytes = {limit} of topic {:?}",
            batch.len(),
            topic.name
        );
        return Err(Fault::new(ErrorCode::MessageTooLarge, text));
    }
    let rules = Rules {
        zstd_allowed: version >= ZSTD_FROM,
        ..*rules
    };
    let valid = validate(&batch, &rules, scratch).map_err(|error| Fault::of_batch(&error))?;
    if BatchHeader::of(&batch).is_some_and(|header| header.is_transactional()) {
        let text = "transactions are not served yet: unset transactional.id";
        return Err(Fault::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            text,
        ));
    }
    check_records(topic, &valid)?;
    let max_timestamp = valid.max_timestamp_is_wrong.then_some(valid.max_timestamp);
    Ok(AppendItem {
        target,
        batch,
        max_timestamp,
    })
}

fn check_records(topic: &TopicImage, valid: &Validated) -> Result<(), Fault> {
    if topic.config.cleanup.compact
        && let Some(index) = valid.first_keyless
    {
        let text = format!(
            "compacted topic {:?} takes no record without a key",
            topic.name
        );
        return Err(Fault::of_record(
            ErrorCode::InvalidRecord,
            Some(index),
            text,
        ));
    }
    if topic.config.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    let now = wall_ms();
    let earliest = now.saturating_sub(topic.config.timestamp_before_max_ms);
    let latest = now.saturating_add(topic.config.timestamp_after_max_ms);
    let largest = (valid.max_timestamp, Some(valid.max_timestamp_index));
    for (time, index) in [largest, (valid.min_timestamp, None)] {
        if time != NO_TIMESTAMP && !(earliest..=latest).contains(&time) {
            let text = format!(
                "timestamp {time} is out of range: it must lie between {earliest} and {latest} \
                 (message.timestamp.before.max.ms, message.timestamp.after.max.ms)"
            );
            return Err(Fault::of_record(ErrorCode::InvalidTimestamp, index, text));
        }
    }
    Ok(())
}

impl Fault {
    fn new(code: ErrorCode, text: impl Into<String>) -> Fault {
        Fault {
            refusal: Refusal::new(code, text),
            records: Vec::new(),
        }
    }

    fn of_batch(error: &BatchError) -> Fault {
        Fault::of_record(error.code(), error.record_index(), error.to_string())
    }

    fn of_record(code: ErrorCode, index: Option<i32>, text: String) -> Fault {
        let record = |batch_index| RecordError {
            batch_index,
            message: message(&text),
        };
        let records = index.map(record).into_iter().collect();
        Fault {
            refusal: Refusal::new(code, text),
            records,
        }
    }
}

fn refused(index: i32, fault: Fault) -> PartitionResponse {
    PartitionResponse {
        record_errors: fault.records,
        error_message: message(&fault.refusal.message),
        ..PartitionResponse::failed(index, fault.refusal.code)
    }
}

fn settle(answer: &mut [TopicResponse], outcomes: Vec<(usize, AppendOutcome)>) {
    let mut partitions: Vec<(&TopicRef, &mut PartitionResponse)> = Vec::new();
    for topic in answer {
        let named = &topic.topic;
        partitions.extend(
            topic
                .partitions
                .iter_mut()
                .map(|partition| (named, partition)),
        );
    }
    for (place, outcome) in outcomes {
        let (named, partition) = &mut partitions[place];
        match outcome {
            Ok(placed) => {
                partition.base_offset = placed.base_offset.0;
                partition.log_append_time_ms = placed.log_append_time.unwrap_or(-1);
                partition.log_start_offset = placed.log_start.0;
            }
            Err(refusal) => {
                partition.error = locate::told(named, refusal.code);
                partition.error_message = message(&refusal.message);
            }
        }
    }
}

fn finish(
    header: &RequestHeader,
    wants_answer: bool,
    throttle: Duration,
    topics: Vec<TopicResponse>,
) -> Answered {
    if wants_answer {
        let response = ProduceResponse {
            topics,
            throttle_time_ms: i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX),
            ..ProduceResponse::default()
        };
        return match response.encode(header.version, header.correlation_id) {
            Ok(frame) => Answered::Frame {
                parts: vec![frame],
                memory: None,
            },
            Err(error) => Answered::Close(format!("a produce answer cannot be written: {error}")),
        };
    }
    // With acks=0 a closed connection is the only way to tell the client of an error.
    let failed = topics.iter().flat_map(|topic| &topic.partitions);
    match failed
        .into_iter()
        .find(|partition| partition.error != ErrorCode::None)
    {
        None => Answered::Nothing,
        Some(partition) => Answered::Close(format!(
            "a produce request with acks=0 failed in partition {}: {:?}",
            partition.index, partition.error
        )),
    }
}
