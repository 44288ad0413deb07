//! Produce: batches to their logs.
//!
//! The connection's shard checks what can be checked without the log (the batch itself, limits,
//! timestamps), so that this work spreads over the cores; the owner checks sequences, stamps and
//! appends. Batches are slices of the frame until the owner copies them into its open block; a
//! large one that came alone is not copied: the open block keeps the frame's memory.

use std::{rc::Rc, time::Duration};

use spate_net::{
    frame::SMALL_FRAME_BYTES,
    kafka::{
        api::{
            TopicRef,
            produce::{
                PartitionData, PartitionResponse, ProduceRequest, ProduceResponse, TopicResponse,
            },
        },
        error::ErrorCode,
        header::{Request, RequestHeader},
    },
    reactor,
};

use crate::{
    budget::Grant,
    connection::{Closed, PendingAnswer},
    control::message::Refusal,
    handler::{Answered, Context, locate, message, unreadable},
    image::{Image, TopicImage},
    shard::{
        message::{Answer, AppendItem, Ask},
        outcome::AppendOutcome,
        scatter::Scatter,
    },
};

mod check;
pub mod recode;

pub use check::Checker;
use check::{Fault, Terms, check, check_sizes};

/// How long batches are checked before other tasks of the shard get a turn. Counting their bytes
/// does not do: a kilobyte may decompress to megabytes.
const CHECK_BETWEEN_TURNS: Duration = Duration::from_micros(100);

/// Puts the request's batches into their logs' orders; the future answers when they are durable.
pub async fn begin(context: &Rc<Context>, request: Request) -> Result<PendingAnswer, Closed> {
    let Request {
        mut header, body, ..
    } = request;
    let asked = ProduceRequest::parse(&body, header.version)
        .map_err(|error| unreadable(&header, &error))?;
    // A slice of the frame too, that nothing below asks for.
    header.client_id = None;
    let frame_bytes = body.len();
    drop(body);
    let wait_for_durable = asked.acks != 0;
    let Admitted {
        scatter,
        mut answer,
        memory,
    } = admit(context, &header, asked, frame_bytes).await;
    let ask = |items| Ask::Append {
        items,
        wait_for_durable,
    };
    let gather = scatter.send(&context.router, ask).await;
    let throttle = context.produce_throttle();
    let stats = Rc::clone(context);
    Ok(Box::pin(async move {
        let outcomes = gather.collect(|answer| match answer {
            Answer::Append(outcomes) => Some(outcomes),
            _ => None,
        });
        settle(&mut answer, outcomes.await);
        drop(memory);
        count_failures(&stats, &answer);
        finish(&header, wait_for_durable, throttle, answer)
    }))
}

/// What became of a request's batches before their logs have seen them.
struct Admitted {
    /// Those that may go there.
    scatter: Scatter<AppendItem>,
    /// The answer, with the others' errors.
    answer: Vec<TopicResponse>,
    /// What is taken by batches in a new codec, until they are stored.
    memory: Grant,
}

async fn admit(
    context: &Rc<Context>,
    header: &RequestHeader,
    asked: ProduceRequest,
    frame_bytes: usize,
) -> Admitted {
    let image = context.router.image();
    // Small frames share the connection's buffer.
    let is_for_one = frame_bytes > SMALL_FRAME_BYTES
        && matches!(&asked.topics[..], [only] if only.partitions.len() == 1);
    let mut memory = recode::reserve(context, &asked, &image).await;
    let mut recoded_bytes = 0;
    let terms = Terms {
        version: header.version,
        acks: asked.acks,
    };
    let is_transactional = asked.transactional_id.is_some();
    let mut scatter = Scatter::new();
    let mut place = 0;
    let mut turn_began = reactor::now();
    let mut answer = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let known = known_topic(&image, &topic.topic).and_then(|known| {
            may_write(header, is_transactional)?;
            Ok(known)
        });
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.index;
            let item = match &known {
                Ok(known) => admit_one(context, known, partition, terms, &mut recoded_bytes).await,
                Err(refusal) => Err(refusal.clone().into()),
            };
            partitions.push(match item {
                Ok(mut item) => {
                    let is_most = 2 * item.batch.len() > frame_bytes;
                    item.owns_frame = is_for_one && is_most;
                    scatter.add(context.router.owner(item.target), place, item);
                    PartitionResponse::failed(index, ErrorCode::None)
                }
                Err(fault) => fault.answer(index),
            });
            place += 1;
            if turn_began.elapsed() >= CHECK_BETWEEN_TURNS {
                reactor::yield_now().await;
                turn_began = reactor::now();
            }
        }
        answer.push(TopicResponse {
            // Its name would share the memory that the log is about to keep.
            topic: match is_for_one {
                true => topic.topic.detached(),
                false => topic.topic,
            },
            partitions,
        });
    }
    // Most batches have the right codec already: what was reserved for them is free again.
    memory.shrink_to(recoded_bytes);
    Admitted {
        scatter,
        answer,
        memory,
    }
}

async fn admit_one(
    context: &Context,
    topic: &TopicImage,
    data: PartitionData,
    terms: Terms,
    recoded_bytes: &mut usize,
) -> Result<AppendItem, Fault> {
    let checked = check(topic, data, terms, &mut context.checker.borrow_mut())?;
    let mut item = checked.item;
    if let Some(target) = recode::wanted(&topic.config, checked.codec) {
        item.batch = recode::recode(topic, &item.batch, checked.codec, target).await?;
        check_sizes(topic, item.batch.len())?;
        *recoded_bytes += item.batch.len();
        context.stats.batches_recoded.add(1);
    }
    context.stats.batches_in.add(1);
    context.stats.records_in.add(checked.record_count as u64);
    context.stats.batch_bytes_in.add(item.batch.len() as u64);
    Ok(item)
}

fn count_failures(context: &Context, answer: &[TopicResponse]) {
    let partitions = answer.iter().flat_map(|topic| &topic.partitions);
    let failed = partitions.filter(|partition| partition.error != ErrorCode::None);
    match failed.count() {
        0 => {}
        count => context.stats.batches_refused.add(count as u64),
    }
}

/// Errors of the whole request, which Kafka reports on each of its partitions.
fn may_write(header: &RequestHeader, transactional: bool) -> Result<(), Refusal> {
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
    let topic = locate::topic(image, named).map_err(|code| Refusal::new(code, unknown(named)))?;
    if topic.internal {
        let text = format!("topic {:?} is written by the broker only", topic.name);
        return Err(Refusal::new(ErrorCode::InvalidTopicException, text));
    }
    Ok(topic)
}

fn unknown(named: &TopicRef) -> String {
    match named {
        TopicRef::Name(name) => format!("there is no topic {:?}", name.as_str()),
        TopicRef::Id(id) => format!("there is no topic with id {id}"),
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
