//! A node on a simulated machine: shards with their stores, one housekeeper for all of them, and
//! the start that found what the last one left.

use super::keyed::Keyed;
use spate_storage::{
    commit::Fence,
    disk::{
        Disk,
        simulated::{Crash, SimulatedClock, SimulatedDisk, Simulation, Spawner},
    },
    hash::{Incarnation, Incarnations},
    housekeeper::{Chores, Job, Keeper},
    node::{ClusterId, JournalSet, NodeFile, NodeId, NodeState},
    pool::SizeClass,
    recovery::{KnownTopics, RecoverError, RecoverOptions, Recovered, RecoveryReport, recover},
    store::{Store, StoreConfig},
    types::{ShardId, TopicPartition},
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

pub type SimStore = Store<SimulatedDisk, SimulatedClock>;

pub fn data() -> PathBuf {
    Path::new("/data").to_owned()
}

/// How long a killed process's writes may go on landing; the lock is held until then (S1).
const LANDING: Duration = Duration::from_secs(4);
/// Jobs under way before a shard is told to ask again later.
const MAILBOX_JOBS: usize = 8;

/// How a node is started.
#[derive(Clone)]
pub struct How {
    pub shards: u16,
    pub config: StoreConfig,
    pub accept_loss: bool,
    pub known: KnownTopics,
}

/// A running node.
pub struct Machine {
    pub sim: Simulation,
    pub stores: Vec<Rc<SimStore>>,
    pub report: RecoveryReport,
    has_housekeeper: Rc<Cell<bool>>,
}

/// Jobs of one shard on their way to the housekeeper.
#[derive(Clone, Default)]
struct Mailbox(Rc<RefCell<(VecDeque<Job>, Option<Waker>)>>);

impl Chores for Mailbox {
    fn send(&self, job: Job) -> Result<(), Job> {
        let mut state = self.0.borrow_mut();
        if state.0.len() >= MAILBOX_JOBS {
            return Err(job);
        }
        state.0.push_back(job);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
        Ok(())
    }
}

impl Mailbox {
    async fn next(&self) -> Job {
        poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            match state.0.pop_front() {
                Some(job) => Poll::Ready(job),
                None => {
                    state.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

pub fn place(tp: TopicPartition, shards: u16) -> ShardId {
    ShardId((tp.partition.0 as u16 + u16::from(tp.topic.0[0])) % shards)
}

/// Numbers that no other file of this history has.
fn incarnations(sim: &Simulation) -> Incarnations {
    let last = Cell::new(1 + sim.random_below(u64::MAX / 2));
    Incarnations::from_source(move || {
        last.set(last.get() + 1);
        Incarnation(last.get())
    })
}

/// Reads `node`, or writes it on a first start, and recovers.
async fn recover_on(
    disk: SimulatedDisk,
    clock: SimulatedClock,
    how: How,
    incarnations: Incarnations,
) -> Result<Recovered, RecoverError> {
    let io = |error| RecoverError::Io {
        path: data(),
        error,
    };
    disk.create_dir(&data()).await.map_err(io)?;
    let mut node = match NodeFile::open(&disk, &data()).await? {
        Some(node) => node,
        None => {
            let state = NodeState {
                cluster: ClusterId(uuid::Uuid::nil()),
                node: NodeId::new(1).unwrap(),
                disk: uuid::Uuid::nil(),
                journal_set: JournalSet::default(),
            };
            NodeFile::create(&disk, &data(), state).await?
        }
    };
    let shards = how.shards;
    let options = RecoverOptions {
        shards,
        store: how.config,
        accept_loss: how.accept_loss,
        incarnations,
    };
    recover(
        &disk,
        &clock,
        &mut node,
        &how.known,
        |tp| place(tp, shards),
        &options,
    )
    .await
}

/// Begins a start and lets only so many steps of it happen.
pub fn begin_start(sim: &Simulation, how: &How, turns: u64) {
    let recovering = recover_on(sim.disk(), sim.clock(), how.clone(), incarnations(sim));
    drop(sim.spawn(recovering));
    sim.limit_turns(turns);
    sim.run_for(Duration::from_secs(60));
}

impl Machine {
    pub fn start(sim: Simulation, how: &How) -> Result<Machine, (Simulation, RecoverError)> {
        let mut how = how.clone();
        how.config.fence = Fence::new();
        let incarnations = incarnations(&sim);
        let recovering = recover_on(sim.disk(), sim.clock(), how.clone(), incarnations.clone());
        let recovered = match sim.block_on(recovering) {
            Ok(recovered) => recovered,
            Err(error) => return Err((sim, error)),
        };
        let source = Box::new(move || incarnations.next());
        let keeper = Keeper::new(sim.disk(), data(), source).with_records(Arc::new(Keyed));
        let keeper = Rc::new(keeper);
        let mut machine = Machine {
            sim,
            stores: Vec::new(),
            report: recovered.report,
            has_housekeeper: Rc::new(Cell::new(true)),
        };
        let mut shards = Vec::new();
        for state in recovered.shards {
            let mail = Mailbox::default();
            let chores = Box::new(mail.clone());
            let (disk, clock) = (machine.sim.disk(), machine.sim.clock());
            let store = Store::open(how.config.clone(), disk, clock, state, chores);
            machine.sim.spawn(Rc::clone(&store).run());
            shards.push((mail, Rc::clone(&store)));
            machine.stores.push(store);
        }
        let spawner = machine.sim.spawner();
        let is_there = Rc::clone(&machine.has_housekeeper);
        let house = keep_house(keeper, shards, spawner);
        machine
            .sim
            .spawn(async move { is_there.set(house.await.is_ok()) });
        Ok(machine)
    }

    /// Whether the housekeeper could begin: a broker whose could not comes to its end.
    pub fn has_housekeeper(&self) -> bool {
        self.has_housekeeper.get()
    }

    pub fn store(&self, tp: TopicPartition) -> &Rc<SimStore> {
        &self.stores[usize::from(place(tp, self.stores.len() as u16).0)]
    }

    pub fn crash(self, crash: Crash) -> Simulation {
        drop(self.stores);
        let sim = self.sim.crash(crash);
        if crash == Crash::Kill {
            sim.run_for(LANDING);
        }
        sim
    }
}

/// Clears the pool, then does every shard's jobs, those of one shard one after the other.
async fn keep_house(
    keeper: Rc<Keeper<SimulatedDisk>>,
    shards: Vec<(Mailbox, Rc<SimStore>)>,
    spawner: Spawner,
) -> io::Result<()> {
    keeper.start().await?;
    for (mail, store) in shards {
        let keeper = Rc::clone(&keeper);
        drop(spawner.spawn(async move {
            loop {
                let job = mail.next().await;
                store.housekeeper_done(keeper.run(job).await);
                for class in SizeClass::ALL {
                    keeper.restock(class).await;
                }
            }
        }));
    }
    Ok(())
}
