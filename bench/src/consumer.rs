//! A fetching connection: asks for its partitions as fast as answers come, and verifies every
//! record. The next request leaves before the last answer is verified, so that the broker does not
//! wait for the driver.
//!
//! When a connection breaks or a partition has another leader, it goes on at its positions with
//! whoever leads then.

mod group;
mod reader;

use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use spate_net::kafka::record_batch::{BatchError, Scratch};
use spate_net::reactor::sleep;

use self::group::Member;
use self::reader::{Position, Reader};
use crate::connection::{Access, ClientError, Connection};
use crate::producer::Setting;
use crate::tally::{Consumed, Read};
use crate::topic::{self, Leader};
use crate::verify::Verifier;

/// The pause before a broken connection is made anew.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a member says that it is alive.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What a consumer is for.
#[derive(Clone, Debug)]
pub enum Role {
    /// It reads to the end and follows it; from now on, or from the beginning.
    Tail {
        /// Whether what is already there is left out.
        from_end: bool,
    },
    /// It reads everything again and again.
    Repeat,
    /// The same beside others, at most so many bytes per second.
    Backfill(Option<NonZeroU64>),
    /// It reads what its group gives it.
    Member(Arc<Group>),
}

/// A group of consumers, on whichever threads they are.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The partitions that its members share.
    pub partitions: Vec<i32>,
    /// Watches what all its members get.
    pub verifier: Arc<Mutex<Verifier>>,
    /// Set when a member ended before all was read.
    pub has_given_up: AtomicBool,
}

impl Group {
    /// A group that nobody has joined yet.
    pub fn new(name: String, partitions: Vec<i32>) -> Group {
        Group {
            name,
            partitions,
            verifier: Arc::new(Mutex::new(Verifier::of_group())),
            has_given_up: AtomicBool::new(false),
        }
    }

    /// What it has seen, once all members are done.
    pub fn read(&self) -> Read {
        let finished = !self.has_given_up.load(Ordering::Acquire);
        read_by(&self.verifier, self.partitions.clone(), finished)
    }
}

/// What one consumer is to read.
#[derive(Clone, Debug)]
pub struct ConsumerPlan {
    /// The brokers it asks, and the partitions it reads there; a member asks its group.
    pub shares: Vec<Leader>,
    /// What it is for.
    pub role: Role,
    /// The run whose records must all come; others may have begun before.
    pub run_number: u32,
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

    /// Whether all are.
    pub fn all_done(&self) -> bool {
        self.producers_left.load(Ordering::Acquire) == 0
    }
}

/// Why a consumer stopped.
#[derive(Debug, thiserror::Error)]
enum ConsumeError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a fetched batch is broken: {0}")]
    Batch(#[from] BatchError),
}

/// A connection, and where it is in the partitions that are read over it.
type Link = (Connection, Vec<Position>);

/// A consumer that is ready to fetch.
pub struct Consumer {
    plan: ConsumerPlan,
    links: Vec<Link>,
    verifier: Arc<Mutex<Verifier>>,
}

impl Consumer {
    /// Connects, and finds out where to begin.
    pub async fn connect(
        access: &Access,
        topic: &str,
        plan: &ConsumerPlan,
        keeps_reads: bool,
    ) -> Result<Consumer, ClientError> {
        let mut links = Vec::new();
        for Leader {
            endpoint,
            partitions,
        } in &plan.shares
        {
            let mut connection = Connection::open(endpoint, access).await?;
            let all = partitions.iter();
            let mut positions: Vec<Position> = all.map(|index| Position::new(*index, 0)).collect();
            if let Role::Tail { from_end: true } = plan.role {
                let ends = topic::offsets(&mut connection, topic, partitions, topic::LATEST);
                let ends = ends.await?.unwrap_or_default().into_iter();
                positions = ends.map(|(index, end)| Position::new(index, end)).collect();
            }
            links.push((connection, positions));
        }
        let verifier = match &plan.role {
            Role::Member(group) => Arc::clone(&group.verifier),
            Role::Tail { from_end: true } => {
                let own = Verifier::joining_late(plan.run_number);
                Arc::new(Mutex::new(own.keeping_reads(keeps_reads)))
            }
            _ => Arc::new(Mutex::new(Verifier::default().keeping_reads(keeps_reads))),
        };
        Ok(Consumer {
            plan: plan.clone(),
            links,
            verifier,
        })
    }

    /// Fetches until the end of the run. Errors are counted, not returned.
    pub async fn run(
        self,
        setting: Setting<'_>,
        progress: &Progress,
        tally: Rc<RefCell<Consumed>>,
    ) {
        let (scenario, access, topic) = (setting.scenario, setting.access, setting.topic);
        let (clock, phases) = (setting.clock, setting.phases);
        let (plan, verifier, links) = (self.plan, self.verifier, self.links);
        let (repeats, rate) = match plan.role {
            Role::Repeat => (true, None),
            Role::Backfill(rate) => (true, rate),
            _ => (false, None),
        };
        let reader = Reader {
            topic: topic::text(topic),
            fetch_bytes: paced(scenario.fetch_bytes, rate),
            partition_bytes: paced(scenario.fetch_partition_bytes, rate),
            is_backfill: matches!(plan.role, Role::Backfill(_)),
            request_timeout: scenario.request_timeout,
            repeats,
            rate,
            clock,
            phases,
            progress,
            verifier: Arc::clone(&verifier),
            scratch: RefCell::new(Scratch::new()),
            tally: Rc::clone(&tally),
            stop: Cell::new(false),
            pace: Cell::new((clock.now(), 0)),
            has_moved: Cell::new(false),
            reached: RefCell::default(),
        };
        let at_work = AtWork {
            reader: &reader,
            access,
            topic,
        };
        let consuming = async {
            match &plan.role {
                Role::Member(group) => {
                    let every = scenario.commit_interval;
                    at_work
                        .consume_in(&group.name, &group.partitions, every)
                        .await
                }
                _ => at_work.consume(links).await,
            }
        };
        let outcome = reader.in_time(scenario, consuming).await;
        let finished = matches!(outcome, Some(Ok(())));
        let error = match outcome {
            Some(outcome) => outcome.err().map(|error| error.to_string()),
            None => Some("a consumer was not done in time".to_owned()),
        };
        let mut tally = tally.borrow_mut();
        error.into_iter().for_each(|text| tally.errors.add(text, 1));
        tally.verified.extend(plan.read(&verifier, finished));
    }
}

impl ConsumerPlan {
    /// What was read by it; that of a group is looked at once all members are done.
    fn read(self, verifier: &Mutex<Verifier>, finished: bool) -> Option<Read> {
        let all = self.shares.into_iter().flat_map(|share| share.partitions);
        let partitions = match self.role {
            Role::Member(group) => {
                group.has_given_up.fetch_or(!finished, Ordering::Release);
                return None;
            }
            // One that starts over again and again is somewhere in the middle at the end.
            Role::Repeat | Role::Backfill(_) => Vec::new(),
            Role::Tail { .. } => all.collect(),
        };
        Some(read_by(verifier, partitions, finished))
    }
}

/// What one consumer has seen.
fn read_by(verifier: &Mutex<Verifier>, partitions: Vec<i32>, finished: bool) -> Read {
    let mut verifier = verifier.lock().unwrap_or_else(PoisonError::into_inner);
    Read {
        partitions,
        finished,
        verifier: std::mem::take(&mut *verifier),
    }
}

/// What a fetch of a paced consumer may bring: a tenth of a second's bytes, or it would come in
/// jumps and wait beyond the end of the run.
fn paced(fetch_bytes: i32, rate: Option<NonZeroU64>) -> i32 {
    let tenth = rate.map(|rate| i32::try_from(rate.get() / 10).unwrap_or(i32::MAX));
    tenth.map_or(fetch_bytes, |tenth| fetch_bytes.min(tenth.max(1)))
}

/// A consumer at work.
struct AtWork<'a> {
    reader: &'a Reader<'a>,
    access: &'a Access,
    topic: &'a str,
}

impl AtWork<'_> {
    /// Reads from these positions until the end or until it is stopped.
    async fn consume(&self, mut links: Vec<Link>) -> Result<(), ConsumeError> {
        loop {
            self.reader.pace.set((self.reader.clock.now(), 0));
            let reading = links
                .drain(..)
                .map(|(connection, positions)| self.reader.read(connection, positions));
            let (mut positions, mut trouble) = (Vec::new(), None);
            for (mut reached, outcome) in join_all(reading).await {
                positions.append(&mut reached);
                match outcome {
                    Ok(()) => {}
                    Err(ConsumeError::Client(error)) if error.is_retriable() => {
                        trouble = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(trouble) = trouble else {
                return Ok(());
            };
            let text = format!("{trouble}: connected again");
            self.reader.tally.borrow_mut().errors.add(text, 1);
            self.reader.stop.set(false);
            links = self.connect_patiently(positions).await?;
        }
    }

    async fn connect_patiently(&self, positions: Vec<Position>) -> Result<Vec<Link>, ConsumeError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            match self.connect_all(&positions).await {
                Ok(links) => return Ok(links),
                Err(error) if error.is_retriable() => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn connect_all(&self, positions: &[Position]) -> Result<Vec<Link>, ClientError> {
        let mut links = Vec::new();
        for leader in topic::find_leaders(self.access, self.topic).await? {
            let led = |position: &&Position| leader.partitions.contains(&position.partition);
            let positions: Vec<Position> = positions.iter().filter(led).cloned().collect();
            if !positions.is_empty() {
                let connection = Connection::open(&leader.endpoint, self.access).await?;
                links.push((connection, positions));
            }
        }
        Ok(links)
    }

    /// Reads as a member of a group: joins, reads what it is given, and joins again whenever the
    /// group changes, until all is read.
    async fn consume_in(
        &self,
        group: &str,
        partitions: &[i32],
        commit_interval: Duration,
    ) -> Result<(), ConsumeError> {
        loop {
            let outcome = self.membership(group, partitions, commit_interval).await;
            match outcome {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(ConsumeError::Client(error)) if error.is_retriable() => {
                    // Before, a coordinator may just be starting: no harm is done.
                    if self.reader.has_begun() {
                        let text = format!("group {group}: {error}: joined again");
                        self.reader.tally.borrow_mut().errors.add(text, 1);
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One life as a member; true if all was read.
    async fn membership(
        &self,
        group: &str,
        partitions: &[i32],
        commit_interval: Duration,
    ) -> Result<bool, ConsumeError> {
        let mut member = Member::find(self.access, group, self.topic).await?;
        loop {
            let assigned = member.join(partitions).await?;
            self.reader.tally.borrow_mut().rebalances += 1;
            let positions = member.positions(&assigned).await?;
            self.reader.begin(&positions);
            let done = {
                let reading = Box::pin(self.read_or_wait(positions));
                let alive = Box::pin(self.keep_alive(&mut member, commit_interval));
                match select(reading, alive).await {
                    Either::Left((read, _)) => read.map(|()| true)?,
                    Either::Right((alive, reading)) => {
                        alive?;
                        // What has come is read to its end, and committed before others take over.
                        self.reader.stop.set(true);
                        reading.await?;
                        false
                    }
                }
            };
            member.commit(&self.reader.reached()).await?;
            if done {
                member.leave().await?;
                return Ok(true);
            }
        }
    }

    /// A member without partitions waits for the end, or for a change.
    async fn read_or_wait(&self, positions: Vec<Position>) -> Result<(), ConsumeError> {
        let has_work = !positions.is_empty();
        let links = self.connect_patiently(positions).await?;
        self.consume(links).await?;
        while !has_work && !self.reader.stop.get() && !self.reader.is_over() {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Heartbeats and commits, until the group changes.
    async fn keep_alive(
        &self,
        member: &mut Member,
        commit_interval: Duration,
    ) -> Result<(), ConsumeError> {
        let mut since_commit = Duration::ZERO;
        loop {
            sleep(HEARTBEAT).await;
            since_commit += HEARTBEAT;
            if !member.heartbeat().await? {
                return Ok(());
            }
            if since_commit >= commit_interval {
                since_commit = Duration::ZERO;
                member.commit(&self.reader.reached()).await?;
                self.reader.tally.borrow_mut().commits += 1;
            }
        }
    }
}
