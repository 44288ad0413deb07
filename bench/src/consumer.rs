//! A fetching connection: asks for its partitions as fast as answers come, and verifies every
//! record. The next request leaves before the last answer is verified, so that the broker does not
//! wait for the driver.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::TopicRef;
use spate_net::kafka::api::fetch::{
    self, FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionResponse,
};
use spate_net::kafka::error::ErrorCode;
use spate_net::kafka::record_batch::{
    BatchError, BatchHeader, Batches, DecompressionLimits, Records, Scratch,
};
use spate_net::reactor::timeout;

use crate::connection::{CLIENT_ID, ClientError, Connection};
use crate::scenario::Scenario;
use crate::schedule::{Clock, Moment, Phases};
use crate::tally::Consumed;
use crate::topic;
use crate::verify::Verifier;

/// The highest version that names topics by name.
const VERSION_MAX: i16 = 12;
/// How long a fetch may wait for records: the end of a run waits once for this.
const MAX_WAIT_MS: i32 = 100;

/// What one consumer is to read.
#[derive(Clone, Debug)]
pub struct ConsumerPlan {
    /// The broker it asks.
    pub leader: SocketAddr,
    /// The partitions it reads.
    pub partitions: Vec<i32>,
}

/// How far the producers of a run are: consumers stop when they have everything.
#[derive(Debug)]
pub struct Progress {
    producers_left: AtomicU64,
}

impl Progress {
    /// So many producers are at work.
    pub fn new(producers: u64) -> Progress {
        Progress {
            producers_left: AtomicU64::new(producers),
        }
    }

    /// One is done: all its records are acknowledged, or given up.
    pub fn producer_done(&self) {
        self.producers_left.fetch_sub(1, Ordering::Release);
    }

    fn all_done(&self) -> bool {
        self.producers_left.load(Ordering::Acquire) == 0
    }
}

struct Position {
    partition: i32,
    offset: i64,
    /// The last answer said that nothing follows.
    at_end: bool,
    /// It starts over from the beginning once the last answer is verified.
    rewinds: bool,
}

/// A consumer that is ready to fetch.
pub struct Consumer {
    connection: Connection,
    version: i16,
    topic: KafkaString,
    fetch_bytes: i32,
    partition_bytes: i32,
    repeat: bool,
    positions: Vec<Position>,
    verifier: Verifier,
    scratch: Scratch,
}

/// Why a consumer stopped early.
#[derive(Debug, thiserror::Error)]
enum ConsumeError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a fetched batch is broken: {0}")]
    Batch(#[from] BatchError),
}

impl Consumer {
    /// Connects.
    pub async fn connect(
        scenario: &Scenario,
        topic: &str,
        plan: &ConsumerPlan,
    ) -> Result<Consumer, ClientError> {
        let connection = Connection::open(plan.leader).await?;
        let version = connection.version(&fetch::RANGE, VERSION_MAX)?;
        let position = |&partition| Position {
            partition,
            offset: 0,
            at_end: false,
            rewinds: false,
        };
        Ok(Consumer {
            connection,
            version,
            topic: topic::text(topic),
            fetch_bytes: scenario.fetch_bytes,
            partition_bytes: scenario.fetch_partition_bytes,
            repeat: scenario.repeat,
            positions: plan.partitions.iter().map(position).collect(),
            verifier: Verifier::default(),
            scratch: Scratch::new(),
        })
    }

    /// Fetches until the end of the run. Errors are counted, not returned.
    pub async fn run(
        mut self,
        clock: Clock,
        phases: Phases,
        drain: Duration,
        progress: &Progress,
        tally: Rc<RefCell<Consumed>>,
    ) {
        let rest = Duration::from_nanos(phases.measure_until.nanos_since(clock.now()));
        let fetching = self.fetch_all(clock, phases, progress, &tally);
        let outcome = timeout(rest + drain, fetching).await;
        let mut tally = tally.borrow_mut();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tally.errors.add(error.to_string(), 1),
            Err(_) => tally
                .errors
                .add("a consumer was not done in time".to_owned(), 1),
        }
        let partitions = self.positions.iter().map(|position| position.partition);
        tally.verified.push((partitions.collect(), self.verifier));
    }

    async fn fetch_all(
        &mut self,
        clock: Clock,
        phases: Phases,
        progress: &Progress,
        tally: &RefCell<Consumed>,
    ) -> Result<(), ConsumeError> {
        let mut complete = progress.all_done();
        let mut request = self.request().await?;
        loop {
            let response = self
                .connection
                .answer::<FetchRequest>(self.version, request)
                .await?;
            let now = clock.now();
            self.connection
                .check(response.error.code(), "a fetch", None)?;
            self.advance(&response)?;
            let all_read = complete && self.positions.iter().all(|position| position.at_end);
            let over = now >= phases.measure_until && (all_read || self.repeat);
            if !over {
                // Before the request goes: only what is asked after the last answer is complete.
                complete = progress.all_done();
                request = self.request().await?;
            }
            self.verify(&response, clock, now, phases, tally)?;
            if over {
                return Ok(());
            }
        }
    }

    async fn request(&mut self) -> Result<i32, ClientError> {
        let partitions = self.positions.iter().map(|position| FetchPartition {
            index: position.partition,
            fetch_offset: position.offset,
            max_bytes: self.partition_bytes,
            ..FetchPartition::default()
        });
        let topic = TopicRef::Name(self.topic.clone());
        let request = FetchRequest {
            max_wait_ms: MAX_WAIT_MS,
            max_bytes: self.fetch_bytes,
            topics: vec![FetchTopic {
                topic,
                partitions: partitions.collect(),
            }],
            ..FetchRequest::default()
        };
        let id = self.connection.next_correlation_id();
        let frame = request.encode(self.version, id, Some(CLIENT_ID));
        let peer = self.connection.peer;
        let frame = frame.map_err(|source| ClientError::Wire { peer, source })?;
        self.connection.send(frame).await?;
        Ok(id)
    }

    /// Moves the positions behind what has come, from the batches' headers alone.
    fn advance(&mut self, response: &FetchResponse) -> Result<(), ConsumeError> {
        for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let mut positions = self.positions.iter_mut();
            let position = positions.find(|position| position.partition == found.index);
            let Some(position) = position else { continue };
            if found.error == ErrorCode::OffsetOutOfRange && found.log_start_offset >= 0 {
                // Retention was faster.
                position.offset = found.log_start_offset;
                continue;
            }
            let what = format!("to fetch partition {}", found.index);
            self.connection.check(found.error.code(), &what, None)?;
            for batch in batches(found) {
                let batch = batch?;
                if let Some(header) = BatchHeader::of(&batch) {
                    position.offset = header.last_offset() + 1;
                }
            }
            position.at_end = position.offset >= found.high_watermark;
            if self.repeat && position.at_end && position.offset > 0 {
                position.offset = found.log_start_offset.max(0);
                position.rewinds = true;
            }
        }
        // Rotated, so that each comes first at times: the limit of bytes favours the first.
        self.positions.rotate_left(1);
        Ok(())
    }

    fn verify(
        &mut self,
        response: &FetchResponse,
        clock: Clock,
        now: Moment,
        phases: Phases,
        tally: &RefCell<Consumed>,
    ) -> Result<(), ConsumeError> {
        let mut tally = tally.borrow_mut();
        let in_window = phases.measures(now);
        let second = phases.second(now);
        tally.fetches += u64::from(in_window);
        let limits = DecompressionLimits::default();
        for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
            for batch in batches(found) {
                let records = Records::open(&batch?, &limits, &mut self.scratch)?;
                for record in records.iter() {
                    let record = record?;
                    let stamp = self
                        .verifier
                        .observe(found.index, record.offset, record.value);
                    if in_window {
                        let bytes = record.value.map_or(0, <[u8]>::len) as u64;
                        tally.fetched.add(1, bytes);
                        tally.fetched_by_second.add(second, 1, bytes);
                    }
                    // Old records were not meant to be read when they were sent.
                    let Some(stamp) = stamp.filter(|_| !self.repeat) else {
                        continue;
                    };
                    let intended = clock.moment(stamp.intended_unix_ns);
                    if phases.measures(intended) {
                        let nanos = now.nanos_since(intended);
                        tally.end_to_end.record(nanos, 1);
                        tally.end_to_end_by_second.record(second, nanos, 1);
                    }
                }
            }
        }
        for position in self
            .positions
            .iter_mut()
            .filter(|position| position.rewinds)
        {
            position.rewinds = false;
            self.verifier.rewind(position.partition);
        }
        Ok(())
    }
}

fn batches(partition: &PartitionResponse) -> impl Iterator<Item = Result<Bytes, BatchError>> {
    partition
        .records
        .iter()
        .flat_map(|records| Batches::new(records.clone()))
}
