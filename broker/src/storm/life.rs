//! One life of a node's shards: their logs over the machine's stores, the task of each that wakes
//! whoever waits, and the bells that connections wait for.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::{self, Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::future::{Either, select};
use spate_storage::{
    disk::Clock,
    types::{ShardId, TopicPartition},
};

use super::machine::{Machine, place};
use crate::{
    config::{Config, source::Settings},
    coordinator::GroupSettings,
    disk::ShardClock,
    image::Image,
    shard::{
        logs::{Logs, Pending},
        message::{Answer, Ask, WatchKey},
    },
};

/// As often a shard looks after those that wait, whether it has news or not.
const TICK: Duration = Duration::from_secs(1);

/// Which waiting fetches were woken, and who waits for that.
#[derive(Default)]
pub struct Bells {
    rung: RefCell<BTreeSet<WatchKey>>,
    waiting: RefCell<BTreeMap<WatchKey, Waker>>,
}

impl Bells {
    fn ring(&self, key: WatchKey) {
        self.rung.borrow_mut().insert(key);
        if let Some(waker) = self.waiting.borrow_mut().remove(&key) {
            waker.wake();
        }
    }

    /// Whether this one was woken.
    pub fn has_rung(&self, key: WatchKey) -> bool {
        self.rung.borrow().contains(&key)
    }

    /// Waits for that, but not longer than `patience`; false when time is up.
    pub async fn wait(&self, key: WatchKey, clock: &ShardClock, patience: Duration) -> bool {
        let woken = poll_fn(|cx| {
            if self.has_rung(key) {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().insert(key, cx.waker().clone());
            Poll::Pending
        });
        let patience = std::pin::pin!(clock.sleep(patience));
        matches!(select(woken, patience).await, Either::Left(_))
    }
}

/// The shards of a node that is up.
pub struct Life<'a> {
    pub node: &'a Machine,
    pub logs: Vec<Rc<Logs>>,
    pub bells: Rc<Bells>,
    /// Appends without an answer.
    pub unanswered: Rc<Cell<usize>>,
    next_connection: Cell<u64>,
}

impl<'a> Life<'a> {
    /// Opens the logs and lets their tasks run.
    pub fn begin(node: &'a Machine, image: &Arc<Image>) -> Life<'a> {
        let config = Config::new(Settings::default()).unwrap();
        let bells = Rc::<Bells>::default();
        let mut logs = Vec::new();
        for (number, store) in (0..).zip(&node.stores) {
            let groups = GroupSettings::of(&config);
            let one = Logs::new(ShardId(number), Rc::clone(store), Arc::clone(image), groups);
            node.sim.spawn(deliver(Rc::clone(&one), Rc::clone(&bells)));
            node.sim.spawn(tick(Rc::clone(&one), node.sim.clock()));
            logs.push(one);
        }
        Life {
            node,
            logs,
            bells,
            unanswered: Rc::default(),
            next_connection: Cell::new(0),
        }
    }

    /// The shard that has this partition.
    pub fn owner(&self, tp: TopicPartition) -> &Rc<Logs> {
        &self.logs[usize::from(place(tp, self.logs.len() as u16).0)]
    }

    /// A connection that nobody else has.
    pub fn connection(&self, to: &Logs) -> WatchKey {
        self.next_connection.set(self.next_connection.get() + 1);
        WatchKey {
            asker: to.me(),
            connection: self.next_connection.get(),
        }
    }
}

/// Asks a shard; what the question does is done when this returns.
pub fn ask(logs: &Rc<Logs>, ask: Ask) -> Pin<Box<dyn Future<Output = Answer>>> {
    match logs.accept(ask) {
        Pending::Ready(answer) => Box::pin(future::ready(answer)),
        Pending::Later(answer) => answer,
    }
}

/// As a shard does: wakes fetches whose partitions grew, and appends that waited for room.
async fn deliver(logs: Rc<Logs>, bells: Rc<Bells>) {
    loop {
        for key in logs.fired().await {
            bells.ring(key);
        }
        logs.resume_appends();
    }
}

/// As a shard does: a fenced disk makes no room, and those who wait get its error.
async fn tick(logs: Rc<Logs>, clock: ShardClock) {
    loop {
        clock.sleep(TICK).await;
        logs.store().look_at_fence();
        logs.resume_appends();
    }
}
