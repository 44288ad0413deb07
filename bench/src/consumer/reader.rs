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
        let (begun, mut bytes) = (self.clock.now(), 0u64);
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
            self.advance(connection, positions, &response)?;
            if positions.iter().any(|position| position.is_outside) {
                self.find_start(connection, positions).await?;
            }
            let all_read = complete && positions.iter().all(|position| position.at_end);
            let late = now >= self.phases.measure_until;
            let over = late && (all_read || self.repeats) || self.stop.get();
            let paced = self.rate.is_some();
            if !over && !paced {
                // Before the request goes: only what is asked after the last answer is complete.
                complete = self.progress.all_done();
                request = self.request(connection, version, positions).await?;
            }
            bytes += self.verify(positions, &response, now)?;
            if over {
                return Ok(());
            }
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
                let now = self.clock.now();
                let passed = Duration::from_nanos(now.nanos_since(begun));
                let left = Duration::from_nanos(self.phases.measure_until.nanos_since(now));
                sleep(due.saturating_sub(passed).min(left)).await;
                complete = self.progress.all_done();
                request = self.request(connection, version, positions).await?;
            }
        }
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

    /// Moves the positions behind what has come, from the batches' headers alone.
    fn advance(
        &self,
        connection: &Connection,
        positions: &mut [Position],
        response: &FetchResponse,
    ) -> Result<(), ConsumeError> {
        for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let mut all = positions.iter_mut();
            let position = all.find(|position| position.partition == found.index);
            let Some(position) = position else { continue };
            position.from = position.offset;
            position.is_outside = false;
            if found.error == ErrorCode::OffsetOutOfRange {
                position.is_outside = true;
                position.at_end = false;
                continue;
            }
            let what = format!("to fetch partition {}", found.index);
            connection.check(found.error.code(), &what, None)?;
            for batch in batches(found) {
                let batch = batch?;
                if let Some(header) = BatchHeader::of(&batch) {
                    position.offset = header.last_offset() + 1;
                }
            }
            position.at_end = position.offset >= found.high_watermark;
            if self.repeats && position.at_end && position.offset > 0 {
                position.offset = found.log_start_offset.max(0);
                position.rewinds = true;
            }
        }
        // Rotated, so that each comes first at times: the limit of bytes favours the first.
        if !positions.is_empty() {
            positions.rotate_left(1);
        }
        Ok(())
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
        }
        Ok(())
    }

    /// Looks at every record; says how many bytes they had.
    fn verify(
        &self,
        positions: &mut [Position],
        response: &FetchResponse,
        now: Moment,
    ) -> Result<u64, ConsumeError> {
        let mut verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = self.scratch.borrow_mut();
        let mut tally = self.tally.borrow_mut();
        let in_window = self.phases.measures(now);
        tally.fetches += u64::from(in_window && !self.is_backfill);
        let limits = DecompressionLimits::default();
        let (mut records, mut bytes) = (0, 0);
        for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
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
        Ok(bytes)
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

fn batches(partition: &PartitionResponse) -> impl Iterator<Item = Result<Bytes, BatchError>> {
    partition
        .records
        .iter()
        .flat_map(|records| Batches::new(records.clone()))
}
