//! A producing connection: one task sends what the schedule says is due, as far as the window of
//! requests in flight allows; another takes the answers. Neither waits for the other's sake.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use spate_net::kafka::api::produce;
use spate_net::kafka::error::ErrorCode;
use spate_net::reactor::{Notify, TcpStream, sleep_until, spawn, timeout};

use crate::answer::{AnswerLayout, Frames};
use crate::connection::{ClientError, Connection};
use crate::scenario::{Acks, PartitionChoice, Scenario};
use crate::schedule::{Clock, Moment, Phases, Schedule};
use crate::tally::Produced;
use crate::template::{Patch, ProduceTemplate, Shape, VERSION_MAX};
use crate::topic;
use crate::verify::StreamId;

/// Requests that go out with one send: as many pieces as the kernel takes at once by far, and the
/// first of them does not wait for the preparation of hundreds.
const REQUESTS_PER_SEND: u64 = 32;

/// What one connection is to do.
#[derive(Clone, Debug)]
pub struct ProducerPlan {
    /// Its place among all producers.
    pub index: u64,
    /// Its name in records.
    pub stream: StreamId,
    /// The broker it sends to.
    pub leader: SocketAddr,
    /// The partitions it sends to.
    pub partitions: Vec<i32>,
}

/// A request that waits for its answer.
struct Pending {
    correlation_id: i32,
    batch: u64,
    lane: usize,
    sent: Moment,
    frame: Bytes,
}

/// The stream's records in one partition.
struct Lane {
    partition: i32,
    next_sequence: u64,
    acknowledged: u64,
}

struct State {
    next_batch: u64,
    correlation_id: i32,
    pending: VecDeque<Pending>,
    /// Requests that were answered: their memory is used again.
    spare: Vec<Bytes>,
    lanes: Vec<Lane>,
    /// Since when a request could have gone, but for the schedule.
    open_since: Moment,
    failure: Option<String>,
}

/// A connection that is ready to send.
pub struct Producer {
    stream: TcpStream,
    template: ProduceTemplate,
    layout: AnswerLayout,
    index: u64,
    name: StreamId,
    partitions: Vec<i32>,
}

impl Producer {
    /// Connects and encodes the request.
    pub async fn connect(
        scenario: &Scenario,
        topic: &str,
        plan: &ProducerPlan,
    ) -> Result<Producer, ClientError> {
        let mut connection = Connection::open(plan.leader).await?;
        let version = connection.version(&produce::RANGE, VERSION_MAX)?;
        let identity = match scenario.idempotent {
            true => Some(topic::identify(&mut connection).await?),
            false => None,
        };
        let shape = Shape {
            topic,
            version,
            acks: scenario.acks.code(),
            record_bytes: scenario.record_bytes,
            batch_records: scenario.batch_records,
            stream: plan.stream,
            identity,
        };
        let template = ProduceTemplate::new(&shape);
        let template = template.map_err(|source| ClientError::Wire {
            peer: plan.leader,
            source,
        })?;
        let partitions = match scenario.partition_choice {
            PartitionChoice::RoundRobin => plan.partitions.clone(),
            PartitionChoice::Pinned => {
                vec![plan.partitions[plan.index as usize % plan.partitions.len()]]
            }
        };
        Ok(Producer {
            stream: connection.stream,
            template,
            layout: AnswerLayout::new(version, topic),
            index: plan.index,
            name: plan.stream,
            partitions,
        })
    }

    /// Sends its share of the run, and waits for the answers. Errors are counted, not returned.
    pub async fn run(
        self,
        scenario: &Scenario,
        clock: Clock,
        phases: Phases,
        tally: Rc<RefCell<Produced>>,
    ) {
        let (rate, batch_records) = (scenario.rate.per_second(), scenario.batch_records);
        let connections = scenario.producers.into();
        let schedule = Schedule::new(phases.start, rate, batch_records, self.index, connections);
        let lanes = self.partitions.iter();
        let lanes = lanes.map(|&partition| Lane {
            partition,
            next_sequence: 0,
            acknowledged: 0,
        });
        let state = State {
            next_batch: 0,
            correlation_id: 0,
            pending: VecDeque::with_capacity(scenario.in_flight),
            spare: Vec::with_capacity(scenario.in_flight),
            lanes: lanes.collect(),
            open_since: phases.start,
            failure: None,
        };
        let run = Rc::new(Run {
            producer: self,
            clock,
            phases,
            schedule,
            in_flight: scenario.in_flight,
            batch_records,
            record_bytes: scenario.record_bytes as u64,
            answers: scenario.acks != Acks::None,
            state: RefCell::new(state),
            changed: Notify::new(),
            tally,
        });
        let receiver = spawn(Rc::clone(&run).receive_all());
        let rest = Duration::from_nanos(phases.measure_until.nanos_since(clock.now()));
        // Whoever is late at the end is given the drain time, no longer.
        let _ = timeout(rest + scenario.drain, run.send_all()).await;
        receiver.cancel();
        run.producer.stream.shutdown();
        run.settle();
    }
}

/// A producer at work.
struct Run {
    producer: Producer,
    clock: Clock,
    phases: Phases,
    schedule: Schedule,
    in_flight: usize,
    batch_records: u64,
    record_bytes: u64,
    /// Whether the broker answers at all.
    answers: bool,
    state: RefCell<State>,
    /// The window has room again, or the connection has failed.
    changed: Notify,
    tally: Rc<RefCell<Produced>>,
}

impl Run {
    /// Sends everything that becomes due, then waits until all is answered.
    async fn send_all(&self) {
        while !self.has_failed() {
            let now = self.clock.now();
            let (next, room) = {
                let state = self.state.borrow();
                (
                    state.next_batch,
                    (self.in_flight - state.pending.len()) as u64,
                )
            };
            if self.schedule.is_over(next, now, &self.phases) {
                break;
            }
            if room == 0 {
                self.changed.notified().await;
                continue;
            }
            let limit = room.min(REQUESTS_PER_SEND);
            let due = self.schedule.due(next, now, &self.phases, limit);
            if due.is_empty() {
                sleep_until(self.clock.instant(self.schedule.batch_due(next))).await;
                continue;
            }
            let frames = due.map(|batch| self.prepare(batch)).collect();
            if let Err(error) = self.producer.stream.send(frames).await {
                self.fail(format!("sending: {error}"));
            }
            self.state.borrow_mut().open_since = self.clock.now();
            if !self.answers {
                self.take_as_answered();
            }
        }
        while !self.has_failed() && !self.state.borrow().pending.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Stamps the next request and books it as under way.
    fn prepare(&self, batch: u64) -> Bytes {
        let now = self.clock.now();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let closed = self.schedule.is_closed_loop();
        let intended = |record| {
            if closed {
                now
            } else {
                self.schedule.record_due(batch, record)
            }
        };
        // Dealt over all connections, so that they do not march through the partitions in step.
        let lane = (self.schedule.global_batch(batch) % state.lanes.len() as u64) as usize;
        let patch = Patch {
            correlation_id: state.correlation_id,
            partition: state.lanes[lane].partition,
            sequence: state.lanes[lane].next_sequence,
            timestamp_ms: (self.clock.unix_ns(now) / 1_000_000) as i64,
            intended_unix_ns: |record| self.clock.unix_ns(intended(record)),
        };
        let frame = self.producer.template.stamp(state.spare.pop(), &patch);
        state.lanes[lane].next_sequence += self.batch_records;
        let (correlation_id, sent) = (state.correlation_id, now);
        let pending = Pending {
            correlation_id,
            batch,
            lane,
            sent,
            frame: frame.clone(),
        };
        state.pending.push_back(pending);
        state.correlation_id = state.correlation_id.wrapping_add(1);
        state.next_batch = batch + 1;
        if self.phases.measures(now) {
            let possible = self.schedule.batch_due(batch).max(state.open_since);
            self.tally
                .borrow_mut()
                .lag
                .record(now.nanos_since(possible), 1);
        }
        frame
    }

    async fn receive_all(self: Rc<Self>) {
        let mut frames = Frames::default();
        loop {
            let chunk = match self.producer.stream.receive().await {
                Ok(chunk) if chunk.is_empty() => {
                    return self.fail("the broker closed the connection".to_owned());
                }
                Ok(chunk) => chunk,
                Err(error) => return self.fail(format!("receiving: {error}")),
            };
            let now = self.clock.now();
            let fed = frames.feed(&chunk, |frame| self.answered(frame, now));
            if let Err(error) = fed {
                return self.fail(error.to_string());
            }
            self.changed.notify_one();
        }
    }

    fn answered(&self, frame: &[u8], now: Moment) {
        let answer = match self.producer.layout.read(frame) {
            Ok(answer) => answer,
            Err(error) => return self.fail(format!("an answer cannot be read: {error}")),
        };
        let mut state = self.state.borrow_mut();
        if state.pending.len() == self.in_flight {
            state.open_since = now;
        }
        let Some(pending) = state.pending.pop_front() else {
            drop(state);
            return self.fail("an answer that nobody waits for".to_owned());
        };
        if answer.correlation_id != pending.correlation_id {
            drop(state);
            let (found, wanted) = (answer.correlation_id, pending.correlation_id);
            return self.fail(format!("answer {found} came where {wanted} was next"));
        }
        if answer.error == ErrorCode::None {
            self.count(&mut state, pending, now);
            return;
        }
        drop(state);
        let message = answer
            .message
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        let text = format!("{} (error {}){message}", answer.error, answer.error.code());
        self.tally.borrow_mut().refused(text, self.batch_records);
    }

    /// With acks=0 nobody answers: what is handed to the kernel is done.
    fn take_as_answered(&self) {
        let now = self.clock.now();
        let mut state = self.state.borrow_mut();
        while let Some(pending) = state.pending.pop_front() {
            self.count(&mut state, pending, now);
        }
    }

    fn count(&self, state: &mut State, pending: Pending, now: Moment) {
        let Pending {
            batch,
            lane,
            sent,
            frame,
            ..
        } = pending;
        state.spare.push(frame);
        state.lanes[lane].acknowledged += self.batch_records;
        let mut tally = self.tally.borrow_mut();
        if self.phases.measures(now) {
            let bytes = self.batch_records * self.record_bytes;
            tally.answered.add(self.batch_records, bytes);
            tally
                .answered_by_second
                .add(self.phases.second(now), self.batch_records, bytes);
        }
        let second = self.phases.second(now);
        let service = now.nanos_since(sent);
        if self.schedule.is_closed_loop() {
            if self.phases.measures(sent) {
                tally.answered(second, service, service, self.batch_records);
            }
            return;
        }
        for record in 0..self.batch_records {
            let due = self.schedule.record_due(batch, record);
            if self.phases.measures(due) {
                tally.answered(second, now.nanos_since(due), service, 1);
            }
        }
    }

    /// Counts what was never answered, or never sent although it was due: it waited at least until
    /// now, and leaving it out would hide the worst.
    fn settle(&self) {
        let now = self.clock.now();
        let second = self.phases.second(now);
        let state = self.state.borrow();
        let mut tally = self.tally.borrow_mut();
        if let Some(failure) = &state.failure {
            tally.errors.add(failure.clone(), 1);
        }
        let name = self.producer.name;
        let lanes = state.lanes.iter();
        tally
            .acknowledged
            .extend(lanes.map(|lane| (lane.partition, name, lane.acknowledged)));
        if self.schedule.is_closed_loop() {
            let in_flight = state.pending.iter();
            let late = in_flight.filter(|pending| self.phases.measures(pending.sent));
            for pending in late {
                tally.missed(second, now.nanos_since(pending.sent), self.batch_records);
            }
            return;
        }
        let mut missed = |batch| {
            for record in 0..self.batch_records {
                let due = self.schedule.record_due(batch, record);
                if self.phases.measures(due) {
                    tally.missed(second, now.nanos_since(due), 1);
                }
            }
        };
        state
            .pending
            .iter()
            .for_each(|pending| missed(pending.batch));
        let mut batch = state.next_batch;
        while self.schedule.batch_due(batch) < self.phases.measure_until {
            missed(batch);
            batch += 1;
        }
    }

    fn fail(&self, text: String) {
        self.state.borrow_mut().failure.get_or_insert(text);
        self.changed.notify_one();
    }

    fn has_failed(&self) -> bool {
        self.state.borrow().failure.is_some()
    }
}
