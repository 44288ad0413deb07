//! Wakes: a read of the eventfd that is always in flight, for threads without a ring, and a message
//! from ring to ring.
//!
//! A neighbour's message costs no system call of its own: it goes out with the next turn. An
//! eventfd write *through the ring* would be four times slower than a message.

use std::sync::Arc;

use super::{
    Ring,
    queue::{Operation, Sink},
    request::Request,
};
use crate::reactor::waker::Remote;

impl Ring {
    /// Keeps a read of the eventfd in flight.
    pub(crate) fn await_wake(&self) {
        let remote = Arc::clone(self.remote());
        let request = Request::AwaitWake {
            remote,
            count: Box::new([0; 8]),
        };
        // Refused only while the ring is being closed, when nobody needs waking.
        self.start(request, Sink::Eventfd);
    }

    pub(crate) fn woken_by_eventfd(&self, operation: Operation) {
        drop(operation);
        self.tally().wakes_received.add(1);
        self.await_wake();
    }

    /// Wakes another reactor through its ring; false if it has none, or if this one is closing.
    pub(crate) fn wake_other(&self, target: &Arc<Remote>) -> bool {
        let Some(ring) = target.ring().filter(|_| !self.closing.get()) else {
            return false;
        };
        self.queue.borrow_mut().wake_other(target, ring);
        self.tally.ring_wakes.add(1);
        true
    }

    /// A message may fail, for instance when the target runs out of memory for it: its eventfd
    /// always works.
    pub(crate) fn could_not_wake(&self, target: &Remote) {
        target.wake_by_eventfd();
        self.tally.eventfd_wakes.add(1);
    }
}
