//! Fetches over one connection: the request, the positions behind what has come, the records.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
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
use spate_net::reactor::{sleep, timeout};

use super::{ConsumeError, Progress};
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

/// Where a consumer is in a partition.
#[derive(Clone, Debug)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The next offset.
    pub offset: i64,
    /// The last answer said that nothing follows.
    at_end: bool,
    /// It starts over from the beginning once the last answer is verified.
    rewinds: bool,
    /// Where the last fetch began: batches may begin before.
    from: i64,
    /// The last fetch was outside of what is there.
    is_outside: bool,
}

impl Position {
    /// At that offset.
    pub fn new(partition: i32, offset: i64) -> Position {
        Position {
            partition,
            offset,
            at_end: false,
            rewinds: false,
            from: offset,
            is_outside: false,
        }
    }
}

/// Whether it could be the end.
#[derive(Clone, Copy)]
struct End {
    /// Everything was produced before the last request went.
    complete: bool,
    /// Measuring is over.
    late: bool,
}

/// What follows on an answer.
enum Next {
    Over,
    /// The next request is under way.
    Asked {
        request: i32,
        is_complete: bool,
    },
    /// The next request goes once it is due.
    Pause,
}

/// What the connections of one consumer share.
pub struct Reader<'a> {
    pub(super) topic: KafkaString,
    pub(super) fetch_bytes: i32,
    pub(super) partition_bytes: i32,
    pub(super) repeats: bool,
    pub(super) is_backfill: bool,
    pub(super) rate: Option<NonZeroU64>,
    pub(super) request_timeout: Duration,
    pub(super) clock: Clock,
    pub(super) phases: Phases,
    pub(super) progress: &'a Progress,
    pub(super) verifier: Arc<Mutex<Verifier>>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) tally: Rc<RefCell<Consumed>>,
    /// All connections are to end after what they have.
    pub(super) stop: Cell<bool>,
    /// When it began to read over its connections, and how many bytes it has read since.
    pub(super) pace: Cell<(Moment, u64)>,
    /// It came on since somebody last looked.
    pub(super) has_moved: Cell<bool>,
    /// Verified up to here, by partition: what a member may commit.
    pub(super) reached: RefCell<BTreeMap<i32, i64>>,
}

impl Reader<'_> {
    /// Begins at these positions, and no others.
    pub(super) fn begin(&self, positions: &[Position]) {
        self.stop.set(false);
        let reached = positions.iter().map(|each| (each.partition, each.offset));
        *self.reached.borrow_mut() = reached.collect();
    }

    /// How far it is in each partition.
    pub(super) fn reached(&self) -> Vec<(i32, i64)> {
        self.reached
            .borrow()
            .iter()
            .map(|(index, offset)| (*index, *offset))
            .collect()
    }

    /// Whether records are due yet.
    pub(super) fn has_begun(&self) -> bool {
        self.clock.now() >= self.phases.start
    }

    /// Whether nothing more will be produced.
    pub(super) fn is_over(&self) -> bool {
        self.progress.all_done() && self.clock.now() >= self.phases.measure_until
    }

    /// Waits until a consumer is done, but no longer than the drain time behind the end; with
    /// patience, as long as it comes on within each such time. None if it was not done.
    pub(super) async fn in_time<T>(
        &self,
        scenario: &Scenario,
        consuming: impl Future<Output = T>,
    ) -> Option<T> {
        let mut consuming = Box::pin(consuming);
        let rest = Duration::from_nanos(self.phases.measure_until.nanos_since(self.clock.now()));
        let mut limit = rest + scenario.drain;
        loop {
            if let Ok(outcome) = timeout(limit, consuming.as_mut()).await {
                return Some(outcome);
            }
            if !scenario.is_patient || !self.has_moved.replace(false) {
                return None;
            }
            limit = scenario.drain;
        }
    }

    /// Fetches until all is read or it is to stop; says how far it came.
    pub(super) async fn read(
        &self,
        mut connection: Connection,
        mut positions: Vec<Position>,
    ) -> (Vec<Position>, Result<(), ConsumeError>) {
        let outcome = self.fetch_all(&mut connection, &mut positions).await;
        if outcome.is_err() {
            // The others' positions are needed to begin anew.
            self.stop.set(true);
        }
        connection.stream.shutdown();
        (positions, outcome)
    }

    async fn fetch_all(
        &self,
        connection: &mut Connection,
        positions: &mut [Position],
    ) -> Result<(), ConsumeError> {
        let version = connection.version(&fetch::RANGE, VERSION_MAX)?;
        let mut complete = self.progress.all_done();
        let mut request = self.request(connection, version, positions).await?;
        loop {
            let answering = connection.answer::<FetchRequest>(version, request);
            let response = timeout(self.request_timeout, answering).await;
            let response = response.map_err(|_| ClientError::Timeout {
                peer: connection.peer,
                what: "an answer to a fetch".to_owned(),
                seconds: self.request_timeout.as_secs(),
            })??;
            let now = self.clock.now();
            connection.check(response.error.code(), "a fetch", None)?;
            let late = now >= self.phases.measure_until;
            let end = End { complete, late };
            let next = self.go_on(connection, version, positions, (&response, end));
            let next = next.await;
            // In any case: positions are behind what has come, and it would be skipped.
            self.verify(positions, &response, now)?;
            request = match next? {
                Next::Over => return Ok(()),
                Next::Asked {
                    request,
                    is_complete,
                } => {
                    complete = is_complete;
                    request
                }
                Next::Pause => {
                    sleep(self.pause()).await;
                    complete = self.progress.all_done();
                    self.request(connection, version, positions).await?
                }
            };
        }
    }

    /// Moves the positions behind what has come, and asks for what follows.
    async fn go_on(
        &self,
        connection: &mut Connection,
        version: i16,
        positions: &mut [Position],
        (response, end): (&FetchResponse, End),
    ) -> Result<Next, ConsumeError> {
        self.advance(connection, positions, response)?;
        if positions.iter().any(|position| position.is_outside) {
            self.find_start(connection, positions).await?;
        }
        let all_read = end.complete && positions.iter().all(|position| position.at_end);
        if end.late && (all_read || self.repeats) || self.stop.get() {
            return Ok(Next::Over);
        }
        if self.rate.is_some() {
            return Ok(Next::Pause);
        }
        // Before the request goes: only what is asked after the last answer is complete.
        let is_complete = self.progress.all_done();
        let request = self.request(connection, version, positions).await?;
        Ok(Next::Asked {
            request,
            is_complete,
        })
    }

    /// How long a paced consumer has to wait for what it has read already.
    fn pause(&self) -> Duration {
        let (begun, bytes) = self.pace.get();
        let rate = self.rate.map_or(u64::MAX, NonZeroU64::get);
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let now = self.clock.now();
        let passed = Duration::from_nanos(now.nanos_since(begun));
        let left = Duration::from_nanos(self.phases.measure_until.nanos_since(now));
        due.saturating_sub(passed).min(left)
    }

    async fn request(
        &self,
        connection: &mut Connection,
        version: i16,
        positions: &[Position],
    ) -> Result<i32, ClientError> {
        let partitions = positions.iter().map(|position| FetchPartition {
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
        let id = connection.next_correlation_id();
        let frame = request.encode(version, id, Some(CLIENT_ID));
        connection
            .send(frame.map_err(|source| connection.wire(source))?)
            .await?;
        Ok(id)
    }

    /// Moves the positions behind what has come, from the batches' headers alone. Those of
    /// partitions with an error stay; the first such error is told.
    fn advance(
        &self,
        connection: &Connection,
        positions: &mut [Position],
        response: &FetchResponse,
    ) -> Result<(), ConsumeError> {
        let mut outcome = Ok(());
        for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let mut all = positions.iter_mut();
            let position = all.find(|position| position.partition == found.index);
            let Some(position) = position else { continue };
            position.from = position.offset;
            position.is_outside = found.error == ErrorCode::OffsetOutOfRange;
            if position.is_outside {
                position.at_end = false;
                continue;
            }
            let what = format!("to fetch partition {}", found.index);
            let checked = connection.check(found.error.code(), &what, None);
            let end = checked.map_err(ConsumeError::from);
            match end.and_then(|()| Ok(end_of(found)?)) {
                Ok(end) => self.move_to(position, end.unwrap_or(position.offset), found),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        // Rotated, so that each comes first at times: the limit of bytes favours the first.
        if !positions.is_empty() {
            positions.rotate_left(1);
        }
        outcome
    }

    fn move_to(&self, position: &mut Position, end: i64, found: &PartitionResponse) {
        if end > position.offset {
            self.has_moved.set(true);
        }
        position.offset = end;
        position.at_end = end >= found.high_watermark;
        if self.repeats && position.at_end && end > 0 {
            position.offset = found.log_start_offset.max(0);
            position.rewinds = true;
        }
    }

    /// Goes on at the first record that is there: retention was faster.
    async fn find_start(
        &self,
        connection: &mut Connection,
        positions: &mut [Position],
    ) -> Result<(), ClientError> {
        let outside = positions.iter().filter(|position| position.is_outside);
        let outside: Vec<i32> = outside.map(|position| position.partition).collect();
        let topic = self.topic.as_str();
        let starts = topic::offsets(connection, topic, &outside, topic::EARLIEST).await?;
        let mut verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, start) in starts.unwrap_or_default() {
            let mut all = positions.iter_mut();
            let position = all.find(|position| position.partition == partition);
            let Some(position) = position else { continue };
            if start > position.offset {
                verifier.expire(partition, position.offset, start);
            }
            position.offset = start;
            position.is_outside = false;
            self.has_moved.set(true);
        }
        Ok(())
    }

    /// Looks at every record.
    fn verify(
        &self,
        positions: &mut [Position],
        response: &FetchResponse,
        now: Moment,
    ) -> Result<(), ConsumeError> {
        let mut verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = self.scratch.borrow_mut();
        let mut tally = self.tally.borrow_mut();
        let in_window = self.phases.measures(now);
        tally.fetches += u64::from(in_window && !self.is_backfill);
        let limits = DecompressionLimits::default();
        let (mut records, mut bytes) = (0, 0);
        let all = response.topics.iter().flat_map(|topic| &topic.partitions);
        for found in all.filter(|found| found.error == ErrorCode::None) {
            let mut all = positions.iter();
            let position = all.find(|position| position.partition == found.index);
            let from = position.map_or(0, |position| position.from);
            for batch in batches(found) {
                let opened = Records::open(&batch?, &limits, &mut scratch)?;
                for record in opened.iter() {
                    let record = record?;
                    if record.offset < from {
                        continue;
                    }
                    records += 1;
                    bytes += record.value.map_or(0, <[u8]>::len) as u64;
                    let stamp = verifier.observe(found.index, record.offset, record.value);
                    // Old records were not meant to be read when they were sent.
                    if let Some(stamp) = stamp.filter(|_| !self.repeats) {
                        self.count(&mut tally, stamp.intended_unix_ns, now);
                    }
                }
                self.reached
                    .borrow_mut()
                    .insert(found.index, opened.last_offset() + 1);
            }
        }
        if let Some(live) = &tally.live {
            live.fetched(records);
        }
        if in_window && self.is_backfill {
            tally.backfilled.add(records, bytes);
        } else if in_window {
            tally.fetched.add(records, bytes);
            tally
                .fetched_by_second
                .add(self.phases.second(now), records, bytes);
        }
        for position in positions.iter_mut().filter(|position| position.rewinds) {
            position.rewinds = false;
            verifier.rewind(position.partition, position.offset);
        }
        let (begun, read) = self.pace.get();
        self.pace.set((begun, read + bytes));
        Ok(())
    }

    fn count(&self, tally: &mut Consumed, intended_unix_ns: u64, now: Moment) {
        let intended = self.clock.moment(intended_unix_ns);
        if self.phases.measures(intended) {
            let (nanos, second) = (now.nanos_since(intended), self.phases.second(now));
            tally.end_to_end.record(nanos, 1);
            tally.end_to_end_by_second.record(second, nanos, 1);
        }
    }
}

/// The offset behind the last record that has come; none if there was no record.
fn end_of(partition: &PartitionResponse) -> Result<Option<i64>, BatchError> {
    let mut end = None;
    for batch in batches(partition) {
        end = BatchHeader::of(&batch?)
            .map(|header| header.last_offset() + 1)
            .or(end);
    }
    Ok(end)
}

fn batches(partition: &PartitionResponse) -> impl Iterator<Item = Result<Bytes, BatchError>> {
    partition
        .records
        .iter()
        .flat_map(|records| Batches::new(records.clone()))
}
