//! The way from a connection to the shard that owns a partition, and back: a call on the same
//! core, a ring to another.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use spate_net::reactor::Notify;
use spate_storage::types::{ShardId, TopicPartition};

use crate::{
    image::{Image, shard_of},
    mesh::{Mesh, Reply},
    shard::{
        logs::{Logs, Pending},
        message::{Answer, Ask, WatchKey},
    },
};

/// A shard's way to all partitions of the node.
pub struct Router {
    shards: u16,
    logs: Rc<Logs>,
    mesh: Rc<Mesh>,
    /// Connections of this shard that wait for watches, here or elsewhere.
    waiting: RefCell<HashMap<u64, Waiting>>,
    local: Cell<u64>,
}

/// A connection that has armed watches.
#[derive(Default)]
struct Waiting {
    /// Woken when one fires.
    fired: Rc<Notify>,
    /// Who was ever asked to arm one, in no order: only they are told when the connection is gone.
    owners: Vec<ShardId>,
}

impl Router {
    /// The router of one of `shards` shards.
    pub fn new(shards: u16, logs: Rc<Logs>, mesh: Rc<Mesh>) -> Router {
        Router {
            shards,
            logs,
            mesh,
            waiting: RefCell::default(),
            local: Cell::new(0),
        }
    }

    /// The image that this shard answers from now.
    pub fn image(&self) -> Arc<Image> {
        self.logs.image()
    }

    /// The shard that this is.
    pub fn me(&self) -> ShardId {
        self.logs.me()
    }

    /// The shard that owns a partition.
    pub fn owner(&self, target: TopicPartition) -> ShardId {
        shard_of(target, self.shards)
    }

    /// Shards of the node.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Requests that stayed on this shard since the start.
    pub fn local(&self) -> u64 {
        self.local.get()
    }

    /// Sends a request to its owner. When this returns, the request has its place in the owner's
    /// order; the answer comes from the future that it returns. Waits only for a credit.
    pub async fn send(&self, target: ShardId, ask: Ask) -> OwnersAnswer {
        if let Some(key) = ask.watch() {
            self.note_watch(key, target);
        }
        if target == self.logs.me() {
            self.local.set(self.local.get() + 1);
            return match self.logs.accept(ask) {
                Pending::Ready(answer) => OwnersAnswer::Ready(Some(answer)),
                Pending::Later(future) => OwnersAnswer::Here(future),
            };
        }
        let credit = self.mesh.credit(target).await;
        OwnersAnswer::There(self.mesh.ask(target, ask, credit))
    }

    fn note_watch(&self, key: WatchKey, owner: ShardId) {
        let mut waiting = self.waiting.borrow_mut();
        let owners = &mut waiting.entry(key.connection).or_default().owners;
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }

    /// The name for watches of a connection of this shard.
    pub fn watch_key(&self, connection: u64) -> WatchKey {
        WatchKey {
            asker: self.logs.me(),
            connection,
        }
    }

    /// What to wait on after arming watches with this key.
    pub fn listen(&self, key: WatchKey) -> Rc<Notify> {
        let mut waiting = self.waiting.borrow_mut();
        Rc::clone(&waiting.entry(key.connection).or_default().fired)
    }

    /// Wakes the connection whose watch fired.
    pub fn wake(&self, key: WatchKey) {
        if let Some(waiting) = self.waiting.borrow().get(&key.connection) {
            waiting.fired.notify_one();
        }
    }

    /// Forgets a connection that is gone, here and with the owners that it has watched at.
    pub async fn forget(&self, key: WatchKey) {
        let waiting = self.waiting.borrow_mut().remove(&key.connection);
        for owner in waiting.unwrap_or_default().owners {
            self.send(owner, Ask::Unwatch(key)).await.await;
        }
    }
}

/// The answer to come of [`Router::send`].
pub enum OwnersAnswer {
    /// Was there at once; `None` once taken.
    Ready(Option<Answer>),
    /// From this shard's own logs.
    Here(Pin<Box<dyn Future<Output = Answer>>>),
    /// From a neighbour.
    There(Reply),
}

impl Future for OwnersAnswer {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        match &mut *self {
            OwnersAnswer::Ready(answer) => {
                Poll::Ready(answer.take().expect("polled after it was done"))
            }
            OwnersAnswer::Here(future) => future.as_mut().poll(cx),
            OwnersAnswer::There(reply) => Pin::new(reply).poll(cx),
        }
    }
}
