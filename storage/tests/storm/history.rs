//! One history: everything that a seed decides, from the sizes of a node's files to the moment of
//! each crash. It ends with a verdict; the same seed always gives the same one.

use super::{
    audit::{Seen, audit},
    clients::Clients,
    harm,
    machine::{How, Machine, begin_start, data},
};
use spate_storage::{
    commit::Fence,
    disk::simulated::{Crash, Effect, Fault, Operation, Simulation},
    hash::ChainHash,
    recovery::{KnownTopics, RecoverError},
    store::StoreConfig,
};
use std::time::Duration;

pub const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What a history came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    /// The hash of everything that happened.
    pub trace: ChainHash,
    pub turns: u64,
    pub promises: u64,
    pub crashes: u64,
    /// Rounds of compaction that took effect.
    pub compactions: u64,
    /// Starts that refused, and reads that failed, because of damage done on purpose.
    pub reports: u64,
}

/// Says what happens next, where a single history is looked at.
pub fn tell(line: impl FnOnce() -> String) {
    if std::env::var_os("SPATE_STORM_TELL").is_some() {
        println!("  {}", line());
    }
}

/// The history of a seed, until its end or the first thing that must not be.
pub fn history(seed: u64) -> Result<Outcome, String> {
    let mut story = Story::new(seed);
    let lives = 1 + story.sim().random_below(4);
    for _ in 0..lives {
        story.life(None)?;
    }
    if story.sim().random_below(3) == 0 {
        story.damaged_life()?;
    }
    story.last_look()
}

/// A short history that crashes exactly at a step, counted from its first record on. Tells also
/// whether it came that far.
pub fn crash_at_step(seed: u64, step: u64) -> Result<(Outcome, bool), String> {
    let mut story = Story::new(seed);
    story.life(Some(step))?;
    let came_so_far = story.has_run_out;
    Ok((story.last_look()?, came_so_far))
}

struct Story {
    /// Taken while a node runs on it.
    sim: Option<Simulation>,
    clients: Clients,
    outcome: Outcome,
    has_run_out: bool,
}

impl Story {
    fn new(seed: u64) -> Story {
        let sim = Simulation::new(seed);
        let clients = Clients::new(&sim);
        let (outcome, has_run_out) = (Outcome::default(), false);
        Story {
            sim: Some(sim),
            clients,
            outcome,
            has_run_out,
        }
    }

    fn sim(&self) -> &Simulation {
        self.sim.as_ref().expect("no node runs")
    }

    fn take_sim(&mut self) -> Simulation {
        self.sim.take().expect("no node runs")
    }

    /// Any sizes that a node may have, the smallest more often: they walk the ring in a short life.
    fn how(&self) -> How {
        let sim = self.sim();
        let model = self.clients.model.borrow();
        let known = model.topics.iter().copied().collect();
        let deleted = model.deleted.iter().copied().collect();
        let config = StoreConfig {
            journal_bytes: 1 << (20 + sim.random_below(2)),
            journal_file_bytes: 256 << 10,
            open_block_budget_bytes: (200 << 10) << sim.random_below(6),
            cache_bytes: (64 << 10) << sim.random_below(5),
            open_files_max: 1 << (3 * sim.random_below(4)),
            block_bytes: 64 << 10,
            direct_threshold_bytes: (8 << 10) << sim.random_below(5),
            idle_frame_after: Duration::from_millis(1 + sim.random_below(100)),
            ..StoreConfig::new(data(), Fence::new())
        };
        How {
            shards: 1 + sim.random_below(4) as u16,
            config,
            accept_loss: false,
            known: KnownTopics { known, deleted },
        }
    }

    /// A start, often not at the first try: power fails in the middle of one, or the disk does.
    fn start(&mut self) -> Result<Machine, String> {
        let how = self.how();
        let mut sim = self.take_sim();
        sim.disk().heal();
        while sim.random_below(4) == 0 {
            let turns = sim.random_below(600);
            tell(|| format!("a start that crashes after {turns} steps"));
            begin_start(&sim, &how, turns);
            sim = crash_sim(sim);
            self.outcome.crashes += 1;
        }
        if sim.random_below(6) == 0 {
            let operation = *pick(&sim, &OPERATIONS);
            let skip = sim.random_below(80);
            tell(|| format!("EIO at operation {skip} of {operation:?}"));
            sim.disk().inject(Fault {
                skip,
                ..Fault::once(operation, "/data", EIO)
            });
        }
        let sim = match Machine::start(sim, &how) {
            Ok(node) => {
                tell(|| format!("started with {} shards: {:?}", how.shards, node.report));
                node.sim.disk().heal();
                return Ok(node);
            }
            Err((sim, error)) if sim.disk().is_harmed() && is_of_disk(&error) => sim,
            Err((_, error)) => return Err(format!("the start was refused: {error}")),
        };
        sim.disk().heal();
        Machine::start(sim, &how).map_err(|(_, error)| format!("the start was refused: {error}"))
    }

    /// A start, a look at everything, load, and a crash.
    fn life(&mut self, crash_step: Option<u64>) -> Result<(), String> {
        let node = self.start()?;
        self.look(&node)?;
        self.clients.reconnect();
        if let Some(step) = crash_step {
            node.sim.limit_turns(step);
        } else {
            make_weather(&node.sim);
        }
        let rounds = match crash_step {
            Some(_) => 60,
            None => 20 + node.sim.random_below(140),
        };
        self.clients.live(&node, rounds);
        self.complaint()?;
        if crash_step.is_none() {
            end(&node);
        }
        self.complaint()?;
        self.has_run_out = node.sim.is_out_of_turns();
        self.crash(node);
        Ok(())
    }

    fn crash(&mut self, node: Machine) {
        self.outcome.turns += node.sim.turns_taken();
        self.outcome.crashes += 1;
        let rounds = node.stores.iter().map(|store| store.counters().compactions);
        self.outcome.compactions += rounds.sum::<u64>();
        let crash = pick_crash(&node.sim);
        let now = node.sim.turns_taken();
        tell(|| format!("{crash:?} at step {now}"));
        self.sim = Some(node.crash(crash));
    }

    /// A life in which the disk lies, or damage is done to what lies on it, once; then starts and
    /// reads that must not give anything but what was promised, or say what is wrong.
    fn damaged_life(&mut self) -> Result<(), String> {
        let node = self.start()?;
        self.look(&node)?;
        self.clients.reconnect();
        self.clients.model.borrow_mut().is_damaged = true;
        let is_live = node.sim.random_below(2) == 0;
        if is_live {
            harm::lie_once(&node.sim);
        }
        let rounds = 20 + node.sim.random_below(140);
        self.clients.live(&node, rounds);
        // The last two writes before a crash cannot be told from a tear: here the run is closed.
        node.sim.run_for(Duration::from_secs(2));
        self.complaint()?;
        self.crash(node);
        if !is_live {
            harm::damage_once(self.sim());
        }
        self.damaged_start()
    }

    fn damaged_start(&mut self) -> Result<(), String> {
        let mut how = self.how();
        if self.sim().random_below(4) == 0 {
            harm::misread_once(self.sim());
        }
        let node = match Machine::start(self.take_sim(), &how) {
            Ok(node) => {
                tell(|| format!("started after damage: {:?}", node.report));
                node
            }
            Err((_, error @ RecoverError::Nonsense { .. })) => {
                return Err(format!("damage was taken for a bug: {error}"));
            }
            Err((sim, error)) => {
                tell(|| format!("reported: {error}"));
                self.outcome.reports += 1;
                how.accept_loss = true;
                let Ok(node) = Machine::start(sim, &how) else {
                    return Ok(());
                };
                node
            }
        };
        let report = &node.report;
        if report.lost_frames > 0 || !report.unreadable.is_empty() {
            if !how.accept_loss {
                return Err(format!("lost without leave: {report:?}"));
            }
            self.clients.model.borrow_mut().has_accepted_loss = true;
        }
        let Seen { unreadable } = audit(&node, &self.clients.model)?;
        self.outcome.reports += unreadable;
        self.crash(node);
        Ok(())
    }

    fn look(&mut self, node: &Machine) -> Result<(), String> {
        let looked = audit(node, &self.clients.model).map(drop);
        looked.and(self.complaint())
    }

    fn complaint(&self) -> Result<(), String> {
        self.clients
            .complaint
            .borrow_mut()
            .take()
            .map_or(Ok(()), Err)
    }

    fn last_look(mut self) -> Result<Outcome, String> {
        if self.sim.is_some() && !self.clients.model.borrow().is_damaged {
            let node = self.start()?;
            self.look(&node)?;
            self.outcome.turns += node.sim.turns_taken();
            self.outcome.trace = node.sim.trace();
        } else if let Some(sim) = &self.sim {
            self.outcome.trace = sim.trace();
        }
        self.outcome.promises = self.clients.model.borrow().promises;
        Ok(self.outcome)
    }
}

/// Whether a start says no more than that the disk failed.
fn is_of_disk(error: &RecoverError) -> bool {
    matches!(
        error,
        RecoverError::Io { .. }
            | RecoverError::Unreadable { .. }
            | RecoverError::Node(_)
            | RecoverError::Segment(_)
    )
}

const OPERATIONS: [Operation; 6] = [
    Operation::Open,
    Operation::Read,
    Operation::Write,
    Operation::Sync,
    Operation::SyncDir,
    Operation::Names,
];

pub fn pick<'a, T>(sim: &Simulation, from: &'a [T]) -> &'a T {
    &from[sim.random_below(from.len() as u64) as usize]
}

fn pick_crash(sim: &Simulation) -> Crash {
    match sim.random_below(3) {
        0 => Crash::Kill,
        _ => Crash::Power,
    }
}

fn crash_sim(sim: Simulation) -> Simulation {
    let crash = pick_crash(&sim);
    let sim = sim.crash(crash);
    if crash == Crash::Kill {
        sim.run_for(Duration::from_secs(4));
    }
    sim
}

/// Things that must cost no record: a disk that fails for good, is full, or is slow.
fn make_weather(sim: &Simulation) {
    let disk = sim.disk();
    let weather = sim.random_below(8);
    tell(|| format!("weather {weather}"));
    match weather {
        0 => {
            let operation = *pick(
                sim,
                &[Operation::Write, Operation::Sync, Operation::SyncDir],
            );
            let part = *pick(
                sim,
                &["/data/journal", "/data/topics", "/data/pool", "/data"],
            );
            let skip = sim.random_below(300);
            disk.inject(Fault {
                skip,
                ..Fault::once(operation, part, EIO)
            });
        }
        1 => {
            let times = 1 + sim.random_below(5);
            disk.inject(Fault {
                times,
                effect: Effect::Errno(ENOSPC),
                ..Fault::once(Operation::Open, "/data/pool", ENOSPC)
            });
        }
        2 => disk.slow_down(1 + sim.random_below(20) as u32),
        3 => {
            let used: u64 = disk.files().iter().map(|(_, len)| len).sum();
            disk.limit_space(used + sim.random_below(2 << 20));
        }
        _ => {}
    }
}

/// How a life ends: in the middle of things, a few steps later, after a silence, or as asked.
fn end(node: &Machine) {
    match node.sim.random_below(8) {
        0..4 => {
            node.sim.limit_turns(node.sim.random_below(400));
            node.sim.run_for(Duration::from_secs(1));
        }
        4 => node
            .sim
            .run_for(Duration::from_millis(node.sim.random_below(1_000))),
        5 => {
            node.stores.iter().for_each(|store| store.shutdown());
            node.sim.run_for(Duration::from_secs(2));
        }
        _ => {}
    }
}
