//! Offset commits as fast as a broker takes them: members that commit one offset again and again,
//! with some commits on their way on each connection.
//!
//! The request is encoded once; only its number and its offset change. Answers are compared with
//! the first one, which the codec has read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::Args;
use spate_net::kafka::api::Message;
use spate_net::kafka::api::offset_commit::{
    self, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use spate_net::kafka::header::{encode_request, parse_response};
use spate_net::reactor::{sleep, spawn};

use super::member::Member;
use super::{GroupsError, Look, Outcome, unique, with_topic};
use crate::answer::Frames;
use crate::connection::{CLIENT_ID, ClientError, Connection};
use crate::histogram::Latencies;
use crate::scenario::parse_duration;
use crate::topic::text;

/// The last version that names topics by name.
const VERSION_MAX: i16 = 9;
/// An offset that is nowhere else in a request: it shows the place to fill in.
const OFFSET_MARK: i64 = 0x5350_4154_454d_4152;
/// Where the number of a request lies in its frame: behind the size, the API and its version.
const CORRELATION_AT: usize = 4 + 2 + 2;

/// How many, how long.
#[derive(Debug, Args)]
pub struct CommitOptions {
    /// Connections, each a member of a group of its own
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Commits on their way on each connection
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Time before measuring
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    warm_up: Duration,
    /// Time of measuring
    #[arg(long, default_value = "4s", value_parser = parse_duration)]
    duration: Duration,
}

/// What all connections add to.
struct Tally {
    is_measuring: Cell<bool>,
    is_over: Cell<bool>,
    commits: Cell<u64>,
    latencies: RefCell<Latencies>,
}

/// Lets every connection commit.
///
/// # Errors
/// If the broker cannot be talked to or refuses something.
pub async fn run(
    peer: SocketAddr,
    broker: Option<u32>,
    options: &CommitOptions,
) -> Result<Outcome, GroupsError> {
    let topic = unique("commits");
    with_topic(peer, &topic, 1, async || {
        let tally = Rc::new(Tally {
            is_measuring: Cell::new(false),
            is_over: Cell::new(false),
            commits: Cell::new(0),
            latencies: RefCell::new(Latencies::new()),
        });
        let mut committers = Vec::new();
        for _ in 0..options.connections {
            committers.push(Committer::connect(peer, &topic).await?);
        }
        let running: Vec<_> = committers
            .into_iter()
            .map(|committer| spawn(committer.run(options.in_flight, Rc::clone(&tally))))
            .collect();
        sleep(options.warm_up).await;
        let before = Look::take(broker)?;
        let began = Instant::now();
        tally.is_measuring.set(true);
        sleep(options.duration).await;
        tally.is_measuring.set(false);
        let seconds = began.elapsed().as_secs_f64();
        let (broker_usage, driver_usage) = Look::take(broker)?.since(&before);
        tally.is_over.set(true);
        for task in running {
            task.await?;
        }
        let latency = tally.latencies.borrow().summary();
        Ok(Outcome {
            counted: "commits",
            count: tally.commits.get(),
            seconds,
            latency,
            broker_usage,
            driver_usage,
        })
    })
    .await
}

struct Committer {
    member: Member,
    template: Template,
    expected: Vec<u8>,
}

/// A request with two places to fill in.
struct Template {
    frame: Bytes,
    offset_at: usize,
}

impl Template {
    fn new(member: &Member, version: i16, topic: &str) -> Result<Template, ClientError> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(OFFSET_MARK)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("")));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(text(topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(text(&member.group))
            .with_generation_id_or_member_epoch(member.generation)
            .with_member_id(member.member_id.clone())
            .with_retention_time_ms(-1)
            .with_topics(vec![topic]);
        let frame = encode_request(&offset_commit::RANGE, version, 0, Some(CLIENT_ID), &request);
        let frame = frame.map_err(|source| wire(&member.connection, source))?;
        let mark = OFFSET_MARK.to_be_bytes();
        let offset_at = frame.windows(mark.len()).position(|bytes| bytes == mark);
        let offset_at = offset_at.expect("the offset was written as it is");
        Ok(Template { frame, offset_at })
    }

    fn fill(&self, number: i32, into: &mut BytesMut) {
        let begin = into.len();
        into.extend_from_slice(&self.frame);
        let place = |at: usize, bytes: usize| begin + at..begin + at + bytes;
        into[place(CORRELATION_AT, 4)].copy_from_slice(&number.to_be_bytes());
        into[place(self.offset_at, 8)].copy_from_slice(&i64::from(number).to_be_bytes());
    }
}

impl Committer {
    async fn connect(peer: SocketAddr, topic: &str) -> Result<Committer, ClientError> {
        let mut member = Member::connect(peer, &unique("committing")).await?;
        member.enter(topic, 1).await?;
        let connection = &mut member.connection;
        let version = connection.version(&offset_commit::RANGE, VERSION_MAX)?;
        let template = Template::new(&member, version, topic)?;
        let mut first = BytesMut::new();
        template.fill(0, &mut first);
        let connection = &mut member.connection;
        connection.send(first.freeze()).await?;
        let frame = connection.receive().await?;
        let parsed = parse_response(&offset_commit::RANGE, version, &frame);
        let (_, mut body) = parsed.map_err(|source| wire(connection, source))?;
        let answer = <OffsetCommitResponse as Message>::read(&mut body, version);
        let answer = answer.map_err(|source| wire(connection, source))?;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            connection.check(partition.error_code, "to commit", None)?;
        }
        Ok(Committer {
            member,
            template,
            expected: frame[4..].to_vec(),
        })
    }

    async fn run(mut self, in_flight: usize, tally: Rc<Tally>) -> Result<(), ClientError> {
        let peer = self.member.connection.peer;
        let io = |source| ClientError::Io { peer, source };
        let (mut frames, mut sent) = (Frames::default(), VecDeque::new());
        let mut next = 1;
        loop {
            let mut requests = BytesMut::new();
            while sent.len() < in_flight && !tally.is_over.get() {
                self.template.fill(next, &mut requests);
                sent.push_back((next, Instant::now()));
                next += 1;
            }
            if sent.is_empty() {
                return self.member.leave().await;
            }
            let stream = &self.member.connection.stream;
            if !requests.is_empty() {
                stream.send(vec![requests.freeze()]).await.map_err(io)?;
            }
            let chunk = stream.receive().await.map_err(io)?;
            if chunk.is_empty() {
                return Err(ClientError::Closed { peer });
            }
            let mut failure = None;
            let fed = frames.feed(&chunk, |frame| {
                let taken = take(&self.expected, frame, sent.pop_front(), peer, &tally);
                failure = failure.take().or(taken.err());
            });
            fed.map_err(|_| ClientError::FrameLength { peer, bytes: -1 })?;
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
    }
}

/// Counts an answer, which must be to the oldest request and like the first one.
fn take(
    expected: &[u8],
    frame: &[u8],
    oldest: Option<(i32, Instant)>,
    peer: SocketAddr,
    tally: &Tally,
) -> Result<(), ClientError> {
    let Some((wanted, sent)) = oldest else {
        let message = "the broker answers what nobody asked";
        return Err(refused(peer, message));
    };
    let Some((found, rest)) = frame.split_first_chunk::<4>() else {
        return Err(refused(peer, "an answer without a number"));
    };
    let found = i32::from_be_bytes(*found);
    if found != wanted {
        return Err(ClientError::OutOfOrder {
            peer,
            wanted,
            found,
        });
    }
    if rest != expected {
        return Err(refused(peer, "a commit was not taken as the first one was"));
    }
    if tally.is_measuring.get() {
        tally.commits.set(tally.commits.get() + 1);
        let nanos = sent.elapsed().as_nanos() as u64;
        tally.latencies.borrow_mut().record(nanos, 1);
    }
    Ok(())
}

fn refused(peer: SocketAddr, message: &'static str) -> ClientError {
    ClientError::Refused {
        peer,
        what: "a commit".to_owned(),
        code: spate_net::kafka::error::ErrorCode::UnknownServerError,
        message: Some(spate_net::kafka::KafkaString::from_static(message)),
    }
}

fn wire(connection: &Connection, source: spate_net::kafka::error::WireError) -> ClientError {
    ClientError::Wire {
        peer: connection.peer,
        source,
    }
}
