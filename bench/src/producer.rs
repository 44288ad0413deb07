//! A producing connection: one task sends what the schedule says is due, as far as the window of
//! requests in flight allows; another takes the answers. Neither waits for the other's sake.
//!
//! When a connection breaks, a broker does not answer, or a partition has another leader, all
//! requests without an answer are sent again in their order, to whoever leads their partitions
//! then, with the sequence numbers they had. Their latency goes on counting.

mod draft;
mod lane;
mod maker;
mod recovery;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use spate_net::client::Channel;
use spate_net::kafka::api::produce;
use spate_net::kafka::error::ErrorCode;
use spate_net::kafka::record_batch::BatchBuilder;
use spate_net::reactor::{Notify, Task, timeout};

use self::draft::{Draft, Drafts, Planned};
use self::lane::Lane;
use self::maker::{Builder, Frame, Maker, Wanted};
use crate::answer::{Answer, AnswerLayout};
use crate::connection::{Access, ClientError, Connection};
use crate::payload::{Chooser, Content};
use crate::scenario::{Acks, Keys, Scenario};
use crate::schedule::{Arrivals, Clock, Moment, Pace, Phases};
use crate::tally::{Acknowledged, Batch, Fate, Produced};
use crate::template::{ProduceTemplate, Shape, VERSION_MAX};
use crate::topic::{self, Leader, ProducerIdentity};
use crate::verify::StreamId;

/// Requests that go out with one send: as many pieces as the kernel takes at once by far, and the
/// first of them does not wait for the preparation of hundreds.
const REQUESTS_PER_SEND: usize = 32;

/// What one connection is to do.
#[derive(Clone, Debug)]
pub struct ProducerPlan {
    /// Its place among all producers.
    pub index: u64,
    /// Its name in records.
    pub stream: StreamId,
    /// The brokers it sends to, and the partitions there.
    pub shares: Vec<Leader>,
}

/// A request that waits for its answer.
struct Pending {
    correlation_id: i32,
    lane: usize,
    /// Its place among all requests of the connection.
    number: u64,
    sequence: u64,
    records: Vec<Planned>,
    bytes: u64,
    sent: Moment,
    frame: Frame,
    /// It was sent, and may have been written then.
    is_unknown: bool,
}

/// A connection to a leader.
struct Link {
    stream: Channel,
    pending: VecDeque<Pending>,
    /// Since when a request could have gone, but for the schedule.
    open_since: Moment,
}

struct State {
    drafts: Drafts,
    maker: Maker,
    correlation_id: i32,
    next_number: u64,
    links: Vec<Link>,
    receivers: Vec<Task<()>>,
    lanes: Vec<Lane>,
    /// Some lane's epoch has a gap.
    has_broken: bool,
    /// Requests to be sent again, before any new one.
    again: VecDeque<Pending>,
    /// Requests that were answered: their memory is used again.
    spare: Vec<Bytes>,
    /// Why the links have to be made anew.
    trouble: Option<String>,
    /// They are shut down: no answer comes any more.
    cut: bool,
    /// Counts how often that was.
    round: u64,
    failure: Option<String>,
    batches: Vec<Batch>,
}

/// A connection that is ready to send.
pub struct Producer {
    /// The connections, and the partitions that are sent over each.
    links: Vec<(Channel, Vec<i32>)>,
    maker: Maker,
    layout: AnswerLayout,
    content: Rc<Content>,
    index: u64,
    name: StreamId,
    identity: Option<ProducerIdentity>,
}

impl Producer {
    /// Connects and prepares the requests.
    pub async fn connect(
        scenario: &Scenario,
        access: &Access,
        topic: &str,
        content: &Rc<Content>,
        plan: &ProducerPlan,
    ) -> Result<Producer, ClientError> {
        let (mut links, mut version, mut identity) = (Vec::new(), VERSION_MAX, None);
        for Leader {
            endpoint,
            partitions,
        } in &plan.shares
        {
            let mut connection = Connection::open(endpoint, access).await?;
            version = connection.version(&produce::RANGE, version)?;
            if scenario.idempotent && identity.is_none() {
                identity = Some(topic::identify(&mut connection).await?);
            }
            links.push((connection.stream, partitions.clone()));
        }
        let acks = scenario.acks.code();
        let maker = if scenario.is_uniform() {
            let shape = Shape {
                topic: topic.to_owned(),
                version,
                acks,
                record_bytes: scenario.record_bytes.max(),
                batch_records: scenario.batch_records,
                headers: scenario.headers.clone(),
                stream: plan.stream,
            };
            Maker::Stamped(ProduceTemplate::new(shape).map_err(ClientError::Request)?)
        } else {
            Maker::Built(Box::new(Builder {
                batch: BatchBuilder::new(scenario.codec.codec()),
                content: Rc::clone(content),
                headers: scenario.headers.clone(),
                topic: topic.to_owned(),
                version,
                acks,
                stream: plan.stream,
                value: Vec::new(),
            }))
        };
        Ok(Producer {
            links,
            maker,
            layout: AnswerLayout::new(version, topic),
            content: Rc::clone(content),
            index: plan.index,
            name: plan.stream,
            identity,
        })
    }

    /// Sends its share of the run, and waits for the answers. Errors are counted, not returned.
    pub async fn run(self, setting: Setting<'_>, tally: Rc<RefCell<Produced>>) {
        let Setting {
            scenario,
            access,
            topic,
            clock,
            phases,
            keeps_batches,
        } = setting;
        let share = (self.index, scenario.producers.into());
        let pace = Pace::new(&scenario.rate, phases);
        let (spacing, group) = (scenario.spacing, scenario.batch_records);
        let arrivals = Arrivals::new(pace, spacing, group, share, scenario.seed);
        let chooser = Chooser::new(scenario, share);
        let (mut links, mut lanes) = (Vec::new(), Vec::new());
        for (stream, partitions) in self.links {
            let link = links.len();
            let new = |index: &i32| Lane::new(*index, link, self.identity);
            lanes.extend(partitions.iter().map(new));
            links.push(Link {
                stream,
                pending: VecDeque::with_capacity(scenario.in_flight),
                open_since: phases.start,
            });
        }
        if scenario.keys != Keys::None {
            // A key's hash is a partition.
            lanes.sort_by_key(|lane| lane.partition);
        }
        let drafts = Drafts::new(scenario, arrivals, chooser, self.content, lanes.len());
        let run = Rc::new(Run {
            access: access.clone(),
            topic: topic.to_owned(),
            name: self.name,
            layout: self.layout,
            clock,
            phases,
            in_flight: scenario.in_flight,
            answers: scenario.acks != Acks::None,
            idempotent: scenario.idempotent,
            request_timeout: scenario.request_timeout,
            keeps_batches,
            state: RefCell::new(State {
                drafts,
                maker: self.maker,
                correlation_id: 0,
                next_number: 0,
                links,
                receivers: Vec::new(),
                lanes,
                has_broken: false,
                again: VecDeque::new(),
                spare: Vec::with_capacity(scenario.in_flight),
                trouble: None,
                cut: false,
                round: 0,
                failure: None,
                batches: Vec::new(),
            }),
            changed: Notify::new(),
            tally,
        });
        run.listen();
        let rest = Duration::from_nanos(phases.measure_until.nanos_since(clock.now()));
        // Whoever is late at the end is given the drain time, no longer.
        let _ = timeout(rest + scenario.drain, run.send_all()).await;
        run.hang_up();
        run.settle();
    }
}

/// What a run has in common for its producers.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// What is done.
    pub scenario: &'a Scenario,
    /// How brokers are reached.
    pub access: &'a Access,
    /// The topic.
    pub topic: &'a str,
    /// The time.
    pub clock: Clock,
    /// And its parts.
    pub phases: Phases,
    /// Whether each batch's fate is kept, for a judgement afterwards.
    pub keeps_batches: bool,
}

/// A producer at work.
struct Run {
    access: Access,
    topic: String,
    name: StreamId,
    layout: AnswerLayout,
    clock: Clock,
    phases: Phases,
    in_flight: usize,
    /// Whether the broker answers at all.
    answers: bool,
    idempotent: bool,
    request_timeout: Duration,
    keeps_batches: bool,
    state: RefCell<State>,
    /// The window has room again, or something went wrong.
    changed: Notify,
    tally: Rc<RefCell<Produced>>,
}

/// What a producer does next.
enum Step {
    Send(usize, Channel, Vec<Bytes>),
    AwaitAnswers,
    AwaitDue(Moment),
    /// A lane needs a new producer id.
    Identify(usize),
    Done,
}

impl Run {
    /// Sends everything that becomes due, until all is answered.
    async fn send_all(self: &Rc<Self>) {
        while self.state.borrow().failure.is_none() {
            if self.state.borrow().trouble.is_some() {
                self.recover().await;
                continue;
            }
            match self.next_step() {
                Step::Send(link, stream, frames) => {
                    let round = self.state.borrow().round;
                    let waited = self.request_timeout;
                    let failed = match timeout(waited, stream.send(frames)).await {
                        Ok(sent) => sent.err().map(|error| error.to_string()),
                        // A broker that stands still leaves the kernel's buffers full.
                        Err(_) => Some(format!("not taken within {waited:?}")),
                    };
                    if let Some(failed) = failed {
                        self.trouble(round, format!("sending: {failed}"));
                        continue;
                    }
                    let now = self.clock.now();
                    let mut state = self.state.borrow_mut();
                    if let Some(link) = state.links.get_mut(link) {
                        link.open_since = now;
                    }
                    if !self.answers {
                        self.take_as_answered(&mut state, now);
                    }
                }
                Step::AwaitAnswers => {
                    let round = self.state.borrow().round;
                    if timeout(self.request_timeout, self.changed.notified())
                        .await
                        .is_err()
                    {
                        let waited = self.request_timeout;
                        self.trouble(round, format!("no answer within {waited:?}"));
                    }
                }
                Step::AwaitDue(due) => {
                    let wait = Duration::from_nanos(due.nanos_since(self.clock.now()));
                    let _ = timeout(wait, self.changed.notified()).await;
                }
                Step::Identify(lane) => self.identify(lane).await,
                Step::Done => return,
            }
        }
    }

    fn next_step(&self) -> Step {
        let now = self.clock.now();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        match self.mend_lanes(state) {
            Ok(None) => {}
            Ok(Some(lane)) => return Step::Identify(lane),
            Err(error) => return fail(state, &error),
        }
        state.drafts.gather(now, REQUESTS_PER_SEND);
        let (mut frames, mut chosen) = (Vec::new(), None);
        for _ in 0..REQUESTS_PER_SEND {
            let again = state.first_again();
            let Some(lane) = again.map(|(_, lane)| lane).or_else(|| state.next_lane()) else {
                break;
            };
            let link = state.lanes[lane].link;
            let has_room = state.links[link].pending.len() < self.in_flight;
            if !has_room || chosen.is_some_and(|chosen| chosen != link) {
                break;
            }
            chosen = Some(link);
            let again = again.and_then(|(index, _)| state.again.remove(index));
            let pending = match again {
                Some(pending) => Ok(pending),
                None => match state.drafts.take() {
                    Some(draft) => self.prepare(state, draft),
                    None => break,
                },
            };
            match pending {
                Ok(pending) => {
                    pending.frame.pieces(&mut frames);
                    state.links[link].pending.push_back(pending);
                }
                Err(error) => return fail(state, &error),
            }
        }
        if let Some(link) = chosen {
            return Step::Send(link, state.links[link].stream.clone(), frames);
        }
        let is_idle = state.links.iter().all(|link| link.pending.is_empty());
        let waits = !state.again.is_empty() || state.drafts.next_lane().is_some();
        match state.drafts.next_event(now) {
            _ if waits => Step::AwaitAnswers,
            Some(due) => Step::AwaitDue(due),
            None if is_idle => Step::Done,
            None => Step::AwaitAnswers,
        }
    }

    /// Makes the next request, and books it as under way.
    fn prepare(&self, state: &mut State, draft: Draft) -> std::io::Result<Pending> {
        let now = self.clock.now();
        let lane = &mut state.lanes[draft.lane];
        let wanted = Wanted {
            correlation_id: state.correlation_id,
            partition: lane.partition,
            sequence: lane.next_sequence,
            timestamp_ms: (self.clock.unix_ns(now) / 1_000_000) as i64,
            producer: lane.stamp(draft.records.len()),
            records: &draft.records,
        };
        let frame = state.maker.make(self.clock, state.spare.pop(), &wanted)?;
        if self.phases.measures(now) {
            let possible = draft.ready.max(state.links[lane.link].open_since);
            let mut tally = self.tally.borrow_mut();
            tally.lag.record(now.nanos_since(possible), 1);
        }
        let pending = Pending {
            correlation_id: state.correlation_id,
            lane: draft.lane,
            number: state.next_number,
            sequence: lane.next_sequence,
            bytes: draft.bytes,
            sent: now,
            frame,
            records: draft.records,
            is_unknown: false,
        };
        lane.next_sequence += pending.records.len() as u64;
        state.correlation_id = state.correlation_id.wrapping_add(1);
        state.next_number += 1;
        Ok(pending)
    }

    /// Takes an answer on a link.
    fn answered(&self, link: usize, frame: &[u8], now: Moment) -> Result<(), String> {
        let answer = self
            .layout
            .read(frame)
            .map_err(|error| format!("an answer cannot be read: {error}"))?;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let link = &mut state.links[link];
        if link.pending.len() == self.in_flight {
            link.open_since = now;
        }
        let mut pending = link
            .pending
            .pop_front()
            .ok_or("an answer that nobody waits for")?;
        if answer.correlation_id != pending.correlation_id {
            let (found, wanted) = (answer.correlation_id, pending.correlation_id);
            link.pending.push_front(pending);
            return Err(format!("answer {found} came where {wanted} was next"));
        }
        // Those before it in its partition are to be sent again: this one was right to be refused.
        let behind = state.again.iter().any(|each| each.lane == pending.lane);
        match answer.error {
            // Written before, and the answer was lost.
            ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                self.count(state, pending, &answer, now);
            }
            // One before it in its partition was refused: it is to follow with a new epoch.
            ErrorCode::OutOfOrderSequenceNumber if state.lanes[pending.lane].is_broken => {
                pending.is_unknown = false;
                state.again.push_back(pending);
            }
            code if code.is_retriable()
                || (behind && code == ErrorCode::OutOfOrderSequenceNumber) =>
            {
                state.trouble.get_or_insert(describe(&answer));
                if !self.idempotent {
                    // It may have been written, and whatever followed it is before it now.
                    self.tally.borrow_mut().resent += pending.records.len() as u64;
                }
                pending.is_unknown |= may_be_written(code);
                state.again.push_back(pending);
            }
            code => {
                let records = pending.records.len() as u64;
                let lane = &mut state.lanes[pending.lane];
                lane.refused(pending.sequence..pending.sequence + records);
                state.has_broken |= lane.is_broken;
                self.tally.borrow_mut().refused(describe(&answer), records);
                let fate = match pending.is_unknown || may_be_written(code) {
                    true => Fate::Unknown,
                    false => Fate::Refused,
                };
                self.keep(state, &pending, fate);
                state.drafts.recycle(pending.records);
            }
        }
        Ok(())
    }

    /// With acks=0 nobody answers: what is handed to the kernel is done.
    fn take_as_answered(&self, state: &mut State, now: Moment) {
        let mut done = Vec::new();
        for link in &mut state.links {
            done.extend(link.pending.drain(..));
        }
        for pending in done {
            let answer = Answer {
                correlation_id: pending.correlation_id,
                error: ErrorCode::None,
                base_offset: -1,
                message: None,
            };
            self.count(state, pending, &answer, now);
        }
    }

    fn count(&self, state: &mut State, pending: Pending, answer: &Answer, now: Moment) {
        let records = pending.records.len() as u64;
        let base_offset = answer.base_offset;
        self.keep(state, &pending, Fate::Written { base_offset });
        let lane = &mut state.lanes[pending.lane];
        let last_offset = match base_offset {
            0.. => base_offset + records as i64 - 1,
            _ => -1,
        };
        lane.written(pending.sequence + records, last_offset);
        let due = pending.records.iter().map(|record| record.due);
        lane.measured += due.filter(|due| self.phases.measures(*due)).count() as u64;
        if let Frame::Whole(frame) = pending.frame {
            state.spare.push(frame);
        }
        let mut tally = self.tally.borrow_mut();
        let second = self.phases.second(now);
        if self.phases.measures(now) {
            tally.answered.add(records, pending.bytes);
            tally.answered_by_second.add(second, records, pending.bytes);
        }
        let service = now.nanos_since(pending.sent);
        if state.drafts.is_closed_loop() {
            if self.phases.measures(pending.sent) {
                tally.answered(second, service, service, records);
            }
        } else {
            for record in &pending.records {
                if self.phases.measures(record.due) {
                    tally.answered(second, now.nanos_since(record.due), service, 1);
                }
            }
        }
        drop(tally);
        state.drafts.recycle(pending.records);
    }

    fn keep(&self, state: &mut State, pending: &Pending, fate: Fate) {
        if self.keeps_batches {
            state.batches.push(Batch {
                partition: state.lanes[pending.lane].partition,
                stream: self.name,
                sequence: pending.sequence,
                records: pending.records.len() as u64,
                fate,
            });
        }
    }

    /// Counts what was never answered, or never sent although it was due: it waited at least until
    /// the window's end, and leaving it out would hide the worst.
    fn settle(&self) {
        let now = self.phases.given_up(self.clock.now());
        let second = self.phases.second(now);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut tally = self.tally.borrow_mut();
        if let Some(failure) = state.failure.take().or(state.trouble.take()) {
            tally.errors.add(failure, 1);
        }
        let stream = self.name;
        let lanes = state.lanes.iter_mut();
        tally.acknowledged.extend(lanes.map(|lane| Acknowledged {
            partition: lane.partition,
            stream,
            end: lane.acknowledged,
            last_offset: lane.last_offset,
            measured: lane.measured,
            refused: std::mem::take(&mut lane.refused),
        }));
        let closed = state.drafts.is_closed_loop();
        let links = state
            .links
            .iter_mut()
            .flat_map(|link| link.pending.drain(..));
        let unanswered: Vec<Pending> = links.chain(state.again.drain(..)).collect();
        for pending in &unanswered {
            self.keep(state, pending, Fate::Unknown);
            for record in &pending.records {
                let since = if closed { pending.sent } else { record.due };
                if self.phases.measures(since) {
                    tally.missed(second, now.nanos_since(since), 1);
                }
            }
        }
        state.drafts.leftovers(now, |due| {
            if !closed && self.phases.measures(due) {
                tally.missed(second, now.nanos_since(due), 1);
            }
        });
        tally.batches.append(&mut state.batches);
    }
}

fn fail(state: &mut State, error: &std::io::Error) -> Step {
    state.failure = Some(format!("a batch cannot be made: {error}"));
    Step::Done
}

/// Whether a batch may be there that a broker answered so. Others say so before they write it: of
/// these the broker may have waited for replicas, or no longer lead the partition.
fn may_be_written(code: ErrorCode) -> bool {
    let before = matches!(
        code,
        ErrorCode::NotEnoughReplicas
            | ErrorCode::CorruptMessage
            | ErrorCode::OutOfOrderSequenceNumber
    );
    code.is_retriable() && !before || code == ErrorCode::UnknownServerError
}

fn describe(answer: &Answer) -> String {
    let message = answer.message.as_ref();
    let message = message.map(|text| format!(": {text}")).unwrap_or_default();
    format!("{} (error {}){message}", answer.error, answer.error.code())
}
