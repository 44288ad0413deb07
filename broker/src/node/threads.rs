//! The shards' threads and the housekeeper's: started, introduced to each other, joined.
//!
//! A reactor lives on the thread that built it, and everyone needs everyone's waker, so a start has
//! two rounds: each thread builds its reactor and sends its waker; then each gets all wakers and
//! its ends of the rings, opens its store, listens, and says so.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use spate_net::reactor::{Backend, ReactorError, RemoteWaker, TcpListener};
use spate_storage::{
    commit::Fence,
    housekeeper::{ChoreReceiver, ChoreSender, Duties, Housekeeper},
    lock::DataLock,
    space::Space,
    store::{ShardState, Store, StoreConfig},
    types::ShardId,
};
use tokio::sync::Notify;

use crate::{
    config::Config,
    control::link::{self, ShardLink},
    disk::{self, ground},
    image::{Image, brokers::Listener},
    mesh,
    node::{ServeError, data::store_config},
    records::OpenedRecords,
    shard::{Shard, ShardParts, build_reactor},
    stats::NodeStats,
};

/// What all threads of a node have in common.
pub struct CrewPlan {
    /// The broker's settings.
    pub config: Arc<Config>,
    /// Where the shards listen.
    pub listen: SocketAddr,
    /// Where each listens by itself; empty: none does.
    pub shard_listen: Vec<SocketAddr>,
    /// The first image.
    pub image: Arc<Image>,
    /// Everybody's counters.
    pub stats: NodeStats,
    /// Wakes the control thread.
    pub control: Arc<Notify>,
    /// The disk's fence.
    pub fence: Fence,
    /// How full the disk is.
    pub space: Space,
}

/// The running threads.
pub struct Crew {
    shards: Vec<JoinHandle<()>>,
    housekeeper: Rc<Housekeeper>,
}

/// A shard's first word: how others wake it, and what its reactor does without.
struct Introduction {
    waker: RemoteWaker,
    backend: Backend,
    notes: Vec<String>,
}

/// What a shard gets when everybody is introduced.
struct Orders {
    parts: ShardParts,
    wakers: Vec<RemoteWaker>,
    state: ShardState,
    chores: (ChoreSender, ChoreReceiver),
    store: StoreConfig,
    lock: OwnedFd,
}

/// A thread between the two rounds.
struct Recruit {
    thread: JoinHandle<()>,
    orders: mpsc::Sender<Orders>,
    listening: mpsc::Receiver<Result<(), ServeError>>,
}

impl Crew {
    /// Starts all threads; when it returns every shard accepts connections.
    ///
    /// # Errors
    /// If a reactor, a thread or the listener cannot be had.
    pub fn start(
        plan: CrewPlan,
        lock: &DataLock,
        states: Vec<ShardState>,
    ) -> Result<(Crew, Vec<ShardLink>), ServeError> {
        let mut recruits = Vec::new();
        let mut introductions = Vec::new();
        for number in 0..plan.config.shards {
            let (recruit, introduction) = enlist(number, &plan.config)?;
            recruits.push(recruit);
            introductions.push(introduction);
        }
        log_notes(&introductions);
        let wakers: Vec<_> = introductions
            .iter()
            .map(|known| known.waker.clone())
            .collect();
        let on_rings = are_on_rings(&introductions);
        let (housekeeper, chores) = start_housekeeper(&plan, &introductions, on_rings)?;
        ground::say_what_costs(plan.config.data_dir.clone(), on_rings);
        let mut links = Vec::new();
        let rings = mesh::rings(plan.config.shards);
        let parts = rings.into_iter().zip(chores).zip(states).enumerate();
        for (number, ((ends, chores), state)) in parts {
            let waker = wakers[number].clone();
            let wake_shard = Box::new(move || waker.wake());
            let (port, link) = link::link(Arc::clone(&plan.control), wake_shard);
            links.push(link);
            let orders = Orders {
                parts: ShardParts {
                    id: ShardId(number as u16),
                    config: Arc::clone(&plan.config),
                    listen: plan.listen,
                    own_listen: plan.shard_listen.get(number).copied(),
                    ends,
                    port,
                    image: Arc::clone(&plan.image),
                    stats: plan.stats.clone(),
                    fence: plan.fence.clone(),
                    space: plan.space.clone(),
                },
                wakers: wakers.clone(),
                state,
                chores,
                store: store_config(&plan.config, plan.fence.clone(), plan.space.clone()),
                lock: share(lock)?,
            };
            // A thread that is gone says why on its other channel, or has panicked.
            drop(recruits[number].orders.send(orders));
        }
        let mut shards = Vec::new();
        for (number, recruit) in recruits.into_iter().enumerate() {
            recruit
                .listening
                .recv()
                .map_err(|_| ServeError::ShardLost(number))??;
            shards.push(recruit.thread);
        }
        Ok((
            Crew {
                shards,
                housekeeper: Rc::new(housekeeper),
            },
            links,
        ))
    }

    /// Says whether the housekeeper's thread is still there.
    pub fn housekeeper_watch(&self) -> Box<dyn Fn() -> bool> {
        let housekeeper = Rc::clone(&self.housekeeper);
        Box::new(move || housekeeper.is_running())
    }

    /// Waits for threads that have said that they are done.
    pub fn join(self) {
        for thread in self.shards {
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked while it ended; please report this");
            }
        }
        // The last owner ends it: whoever watched is gone.
        drop(self.housekeeper);
    }
}

fn enlist(number: u16, config: &Arc<Config>) -> Result<(Recruit, Introduction), ServeError> {
    let (introduce, introduced) = mpsc::channel();
    let (orders, ordered) = mpsc::channel();
    let (tell, listening) = mpsc::channel();
    let config = Arc::clone(config);
    let thread = thread::Builder::new()
        .name(format!("shard-{number}"))
        .spawn(move || live(number, &config, &introduce, &ordered, &tell))
        .map_err(|source| ServeError::Thread {
            what: "a shard's thread",
            source,
        })?;
    let lost = |_| ServeError::ShardLost(usize::from(number));
    let introduction: Result<Introduction, ReactorError> = introduced.recv().map_err(lost)?;
    Ok((
        Recruit {
            thread,
            orders,
            listening,
        },
        introduction?,
    ))
}

/// A shard's thread.
fn live(
    number: u16,
    config: &Config,
    introduce: &mpsc::Sender<Result<Introduction, ReactorError>>,
    ordered: &mpsc::Receiver<Orders>,
    tell: &mpsc::Sender<Result<(), ServeError>>,
) {
    if config.shard_pinning {
        pin(number);
    }
    let mut reactor = match build_reactor(config) {
        Ok(reactor) => reactor,
        Err(error) => return drop(introduce.send(Err(error))),
    };
    let introduction = Introduction {
        waker: reactor.waker(),
        backend: reactor.backend(),
        notes: reactor.notes().to_vec(),
    };
    // The start was given up: someone else failed and has said so.
    let Ok(()) = introduce.send(Ok(introduction)) else {
        return;
    };
    let Ok(orders) = ordered.recv() else { return };
    if let Err(source) = reactor.hold_file(orders.lock.as_fd()) {
        return drop(tell.send(Err(ServeError::Thread {
            what: "a ring with the lock",
            source,
        })));
    }
    let (listen, own_listen) = (orders.parts.listen, orders.parts.own_listen);
    let Orders {
        parts,
        wakers,
        state,
        chores: (sender, receiver),
        store,
        ..
    } = orders;
    reactor.block_on(async {
        let listeners = match listeners(listen, own_listen) {
            Ok(listeners) => listeners,
            Err(error) => return drop(tell.send(Err(error))),
        };
        let (disk, clock) = disk::of_this_shard();
        let store = Store::open(store, disk, clock, state, Box::new(sender));
        let shard = Shard::new(parts, &wakers, store, receiver);
        drop(tell.send(Ok(())));
        Rc::clone(&shard).serve(listeners).await;
    });
}

/// The port that all shards share, and the shard's own.
fn listeners(
    shared: SocketAddr,
    own: Option<SocketAddr>,
) -> Result<Vec<(TcpListener, Listener)>, ServeError> {
    let bind = |key, address, is_shared| {
        TcpListener::bind(address, is_shared).map_err(|source| ServeError::Listen {
            key,
            address,
            source,
        })
    };
    let mut listeners = vec![(bind("listeners", shared, true)?, Listener::Node)];
    if let Some(own) = own {
        listeners.push((bind("shard.listeners", own, false)?, Listener::Shard));
    }
    Ok(listeners)
}

/// Pins the calling thread to one of the cores that the process may use, in their order.
fn pin(number: u16) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let Some(core) = cores.get(usize::from(number) % cores.len().max(1)) else {
        return;
    };
    if !core_affinity::set_for_current(*core) {
        tracing::warn!(
            shard = number,
            core = core.id,
            "cannot pin the shard to its core; set \
            shard.pinning = false if the scheduler is to choose"
        );
    }
}

fn log_notes(introductions: &[Introduction]) {
    if let Some(first) = introductions.first() {
        tracing::info!(reactor = %first.backend, "shards run");
        for note in &first.notes {
            tracing::warn!("{note}");
        }
    }
}

fn are_on_rings(introductions: &[Introduction]) -> bool {
    introductions
        .iter()
        .all(|known| known.backend == Backend::IoUring)
}

fn start_housekeeper(
    plan: &CrewPlan,
    introductions: &[Introduction],
    on_rings: bool,
) -> Result<(Housekeeper, Vec<(ChoreSender, ChoreReceiver)>), ServeError> {
    let wakes = introductions
        .iter()
        .map(|known| {
            let waker = known.waker.clone();
            Arc::new(move || waker.wake()) as Arc<dyn Fn() + Send + Sync>
        })
        .collect();
    let duties = Duties {
        data: plan.config.data_dir.clone(),
        space: plan.space.clone(),
        records: Some(Arc::new(OpenedRecords::default())),
    };
    let (housekeeper, ends) =
        Housekeeper::start_with(duties, wakes, on_rings).map_err(|source| ServeError::Thread {
            what: "the housekeeper",
            source,
        })?;
    tracing::info!(backend = %housekeeper.backend(), "the housekeeper runs");
    if let Some(note) = housekeeper.note() {
        tracing::warn!("{note}");
    }
    Ok((housekeeper, ends))
}

fn share(lock: &DataLock) -> Result<OwnedFd, ServeError> {
    let fd: BorrowedFd<'_> = lock.as_fd();
    fd.try_clone_to_owned()
        .map_err(|source| ServeError::Thread {
            what: "a copy of the lock's descriptor",
            source,
        })
}
