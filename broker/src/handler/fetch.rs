//! Fetch: stored batches to a reader, as they lie.
//!
//! In order: what is wanted (a session may know it from earlier requests); how much of it is there,
//! waiting until that is worth an answer; grants in the order of the request, so that `max_bytes`
//! and memory hold over the sum of all shards; the reads; the answer, slices of stored bytes.

use std::{collections::HashMap, rc::Rc, time::Instant};

use bytes::Bytes;
use spate_net::{
    kafka::{
        api::fetch::{
            FINAL_EPOCH, FetchRequest, FetchResponse, INITIAL_EPOCH, PartitionResponse,
            READ_COMMITTED, READ_UNCOMMITTED, TopicResponse,
        },
        error::ErrorCode,
        header::RequestHeader,
    },
    reactor,
};
use spate_storage::types::Offset;

use crate::{
    budget::{Budget, Grant},
    connection::{Client, Closed},
    handler::{Answered, Context, unreadable},
    shard::session::{News, Wanted},
};

mod grant;
mod plan;
mod wait;

use plan::Plan;

/// The first version that names topics by id.
const IDS_FROM: i16 = 13;

/// What bounds fetches.
pub struct FetchLimits {
    /// The most bytes of one answer, whatever the client allows (`fetch.max.bytes`).
    pub max_bytes: usize,
    /// Memory of answers on their way.
    pub memory: Rc<Budget>,
}

/// The session that a request belongs to.
#[derive(Clone, Copy)]
struct Membership {
    id: i32,
    /// Whether the answer leaves unchanged partitions out.
    incremental: bool,
}

/// Answers when there is enough, or when time is up.
pub async fn answer(
    context: &Rc<Context>,
    client: Client,
    header: &RequestHeader,
    body: &Bytes,
) -> Result<Answered, Closed> {
    let asked =
        FetchRequest::parse(body, header.version).map_err(|error| unreadable(header, &error))?;
    if !matches!(asked.isolation_level, READ_UNCOMMITTED | READ_COMMITTED) {
        return frame(header, &senseless(header.version, &asked), None);
    }
    let (wanted, membership) = match enter(context, &asked, header.version >= IDS_FROM) {
        Ok(entered) => entered,
        Err(code) => {
            let refused = FetchResponse {
                error: code,
                ..FetchResponse::default()
            };
            return frame(header, &refused, None);
        }
    };
    let mut plan = Plan::new(&context.router, wanted);
    wait::until_worth_answering(context, client, &asked, &mut plan).await;
    let (outcomes, memory) = grant::read(context, &asked, &plan).await;
    let committed_only = asked.isolation_level == READ_COMMITTED;
    let partitions = plan.answer(outcomes, committed_only);
    let is_refused = |(_, answer): &&(Wanted, PartitionResponse)| answer.error != ErrorCode::None;
    let refused = partitions.iter().filter(is_refused).count();
    context.stats.fetches_refused.add(refused as u64);
    let response = respond(context, membership, partitions);
    frame(header, &response, Some(memory))
}

fn frame(
    header: &RequestHeader,
    response: &FetchResponse,
    memory: Option<Grant>,
) -> Result<Answered, Closed> {
    let parts = response
        .encode(header.version, header.correlation_id)
        .map_err(|error| Closed::Request(format!("a fetch answer cannot be written: {error}")))?;
    Ok(Answered::Frame { parts, memory })
}

/// Finds out what is wanted: all that the request names, or what its session remembers.
fn enter(
    context: &Context,
    asked: &FetchRequest,
    by_id: bool,
) -> Result<(Vec<Wanted>, Membership), ErrorCode> {
    let mut sessions = context.sessions.borrow_mut();
    let now = reactor::now();
    if matches!(asked.session_epoch, FINAL_EPOCH | INITIAL_EPOCH) {
        if asked.session_id != 0 {
            sessions.close(asked.session_id);
        }
        let wanted = named(asked);
        let wants_session = asked.session_epoch == INITIAL_EPOCH;
        let opened = if wants_session {
            sessions.open(wanted.clone(), by_id, now)
        } else {
            None
        };
        return Ok((
            wanted,
            Membership {
                id: opened.unwrap_or(0),
                incremental: false,
            },
        ));
    }
    let session = sessions.resume(asked.session_id, asked.session_epoch, by_id, now)?;
    for topic in &asked.forgotten {
        for partition in &topic.partitions {
            session.forget(&topic.topic, *partition);
        }
    }
    for wanted in named(asked) {
        session.want(wanted);
    }
    Ok((
        session.wanted(),
        Membership {
            id: asked.session_id,
            incremental: true,
        },
    ))
}

/// What Kafka says to an isolation level that is none; up to v12 also for each partition.
fn senseless(version: i16, asked: &FetchRequest) -> FetchResponse {
    let code = ErrorCode::UnknownServerError;
    let named = named(asked).into_iter().filter(|_| version < IDS_FROM);
    FetchResponse {
        error: code,
        topics: named
            .map(|wanted| TopicResponse {
                topic: wanted.topic,
                partitions: vec![PartitionResponse {
                    aborted_transactions: Some(Vec::new()),
                    ..PartitionResponse::empty(wanted.partition, code)
                }],
            })
            .collect(),
        ..FetchResponse::default()
    }
}

/// What the request names, each partition once: the last mention counts, as in Kafka.
fn named(asked: &FetchRequest) -> Vec<Wanted> {
    let of_topic = |topic: &spate_net::kafka::api::fetch::FetchTopic| {
        let name = topic.topic.clone();
        topic
            .partitions
            .iter()
            .map(|partition| Wanted {
                topic: name.clone(),
                partition: partition.index,
                from: Offset(partition.fetch_offset),
                max_bytes: partition.max_bytes,
                leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            })
            .collect::<Vec<_>>()
    };
    let mentioned: Vec<Wanted> = asked.topics.iter().flat_map(of_topic).collect();
    let mut places = HashMap::with_capacity(mentioned.len());
    let mut named: Vec<Wanted> = Vec::with_capacity(mentioned.len());
    for wanted in mentioned {
        let key = (wanted.topic.clone(), wanted.partition);
        match places.get(&key) {
            Some(&place) => named[place] = wanted,
            None => {
                places.insert(key, named.len());
                named.push(wanted);
            }
        }
    }
    named
}

/// Groups the partitions by topic, leaving out what an incremental answer need not say.
fn respond(
    context: &Context,
    membership: Membership,
    partitions: Vec<(Wanted, PartitionResponse)>,
) -> FetchResponse {
    let mut sessions = context.sessions.borrow_mut();
    let mut session = sessions.get_mut(membership.id);
    let mut topics: Vec<TopicResponse> = Vec::new();
    for (wanted, partition) in partitions {
        let speaks = session.as_mut().is_none_or(|session| {
            session.tell(&wanted.topic, wanted.partition, news_of(&partition))
        });
        if membership.incremental && !speaks {
            continue;
        }
        match topics.last_mut() {
            Some(last) if last.topic == wanted.topic => last.partitions.push(partition),
            _ => topics.push(TopicResponse {
                topic: wanted.topic,
                partitions: vec![partition],
            }),
        }
    }
    FetchResponse {
        session_id: membership.id,
        topics,
        ..FetchResponse::default()
    }
}

fn news_of(partition: &PartitionResponse) -> News {
    News {
        has_data: !partition.records.is_empty() || partition.diverging_epoch.is_some(),
        is_error: partition.error != ErrorCode::None,
        high_watermark: Offset(partition.high_watermark),
        log_start: Offset(partition.log_start_offset),
    }
}

/// When a request that waits at most this long must be answered.
fn deadline(max_wait_ms: i32) -> Instant {
    let wait = std::time::Duration::from_millis(u64::try_from(max_wait_ms).unwrap_or(0));
    reactor::now() + wait
}
