//! Waking a reactor from another thread, and the protocol by which it falls asleep.
//!
//! The two sides, where "message" is an item in the remote queue or in the owner's inbox:
//!
//! ```text
//! sender                         reactor
//! push the message               parked = true
//! fence                          fence
//! parked? -> clear it and wake   look for messages again; none -> wait
//! ```
//!
//! Both fences are sequentially consistent, so at least one side sees the other: either the
//! reactor finds the message or the sender finds it parked. Without them both may miss.
//!
//! The one who clears `parked` owes the wake; others then skip it. A wake that arrives late costs
//! one empty turn.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
};

use crossbeam_queue::SegQueue;

use super::{current, slab::Key};

/// The part of a reactor that other threads see.
pub(crate) struct Remote {
    /// Tasks woken by other threads. Unbounded, but a task is in it at most once.
    woken: SegQueue<Key>,
    parked: AtomicBool,
    eventfd: OwnedFd,
    /// A duplicate of the ring's descriptor, so that a late message never hits a reused number.
    ring: OnceLock<OwnedFd>,
}

impl Remote {
    pub(crate) fn new(eventfd: OwnedFd) -> Self {
        Remote {
            woken: SegQueue::new(),
            parked: AtomicBool::new(false),
            eventfd,
            ring: OnceLock::new(),
        }
    }

    pub(crate) fn set_ring(&self, ring: OwnedFd) {
        let first = self.ring.set(ring).is_ok();
        assert!(first, "a reactor has one ring");
    }

    pub(crate) fn ring(&self) -> Option<BorrowedFd<'_>> {
        self.ring.get().map(OwnedFd::as_fd)
    }

    pub(crate) fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Queues a task for its reactor, and wakes that.
    pub(crate) fn wake_task(self: &Arc<Self>, task: Key) {
        self.woken.push(task);
        self.wake();
    }

    pub(crate) fn next_woken(&self) -> Option<Key> {
        self.woken.pop()
    }

    /// Announces that the reactor is about to wait; it must look for messages once more after.
    pub(crate) fn announce_parked(&self) {
        self.parked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn retract_parked(&self) {
        self.parked.store(false, Ordering::SeqCst);
    }

    fn wake(self: &Arc<Self>) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed)
            && self.parked.swap(false, Ordering::SeqCst)
            && !current::wake_through_ring(self)
        {
            self.wake_by_eventfd();
        }
    }

    /// One system call; works from any thread.
    pub(crate) fn wake_by_eventfd(&self) {
        // It can only fail with EAGAIN, when the counter is full: then it is awake already.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

/// Wakes a reactor from anywhere. Cheap while it is running: a fence and a load.
///
/// Push the message first, then wake.
#[derive(Clone)]
pub struct RemoteWaker {
    remote: Arc<Remote>,
}

impl RemoteWaker {
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        RemoteWaker { remote }
    }

    /// Makes the reactor probe its inbox, if it is parked. From a thread whose reactor is an
    /// io_uring it goes out with that ring's next submission; else it is an eventfd write.
    pub fn wake(&self) {
        self.remote.wake();
    }
}
