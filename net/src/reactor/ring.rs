//! The io_uring backend: one ring, created on and entered by one thread only.
//!
//! `SINGLE_ISSUER | DEFER_TASKRUN`: completions are made when this thread enters the kernel and at
//! no other time, which saves the interrupts of the default mode (28-38 % of the CPU). Completions
//! are queued first and run after, so that no user code meets a half-drained ring.

pub(crate) mod accept;
pub(crate) mod connect;
pub(crate) mod provided;
mod queue;
pub(crate) mod receive;
mod request;
pub(crate) mod send;
mod setup;
pub(crate) mod transfer;
mod wake;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    io,
    os::fd::{AsRawFd, BorrowedFd},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use provided::ReceiveBuffers;
use queue::{Completion, Effect, Operation, Progress, Queue, Sink};
use request::Request;
pub(crate) use setup::build;

use super::{buffers::Pool, config::Tally, driver::Wait, slab::Key, waker::Remote};

/// One io_uring and everything registered with it.
pub(crate) struct Ring {
    queue: RefCell<Queue>,
    /// Taken off the completion queue, not yet run.
    arrived: RefCell<VecDeque<Completion>>,
    receive_buffers: Rc<ReceiveBuffers>,
    pool: Option<Arc<Pool>>,
    remote: Arc<Remote>,
    tally: Rc<Tally>,
    /// Nothing new may start: the ring is being drained, or is gone.
    closing: Cell<bool>,
    holds_file: Cell<bool>,
}

impl Ring {
    pub(crate) fn receive_buffers(&self) -> &Rc<ReceiveBuffers> {
        &self.receive_buffers
    }

    pub(crate) fn pool(&self) -> Option<&Arc<Pool>> {
        self.pool.as_ref()
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Registers a descriptor, so that what it locks stays locked until the ring is gone.
    pub(crate) fn hold_file(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.holds_file.get() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "this reactor already holds a file: one lock per data directory is enough",
            ));
        }
        self.queue
            .borrow()
            .ring()
            .submitter()
            .register_files(&[fd.as_raw_fd()])?;
        self.holds_file.set(true);
        Ok(())
    }

    /// Starts an operation; `None` if the ring is being closed.
    fn start(&self, request: Request, sink: Sink) -> Option<Key> {
        if self.closing.get() {
            return None;
        }
        Some(self.queue.borrow_mut().start(request, sink))
    }

    fn cancel(&self, key: Key) {
        self.queue.borrow_mut().cancel(key);
    }

    /// Runs a single operation; gives its result and the request back. If the future is dropped
    /// the operation goes on, or is cancelled first if `cancel` says so.
    fn run(self: &Rc<Self>, request: Request, cancel: bool) -> InFlight {
        let ring = Rc::clone(self);
        if self.closing.get() {
            return InFlight {
                ring,
                cancel,
                state: Flight::Refused(Some(request)),
            };
        }
        let sink = Sink::Future {
            waker: None,
            result: None,
        };
        let key = self.queue.borrow_mut().start(request, sink);
        InFlight {
            ring,
            cancel,
            state: Flight::Started(key),
        }
    }

    /// Whether a turn would find completions.
    pub(crate) fn has_news(&self) -> bool {
        self.queue.borrow_mut().has_news()
    }

    /// One visit to the kernel, then everything that has completed.
    pub(crate) fn turn(&self, wait: Wait) {
        {
            let mut queue = self.queue.borrow_mut();
            queue.enter(wait, &self.tally);
            queue.reap(&mut self.arrived.borrow_mut());
        }
        if matches!(wait, Wait::Until(_)) {
            // Before the wakes, so that nobody pays for a wake that is no longer needed.
            self.remote.retract_parked();
        }
        loop {
            // Its own statement: the borrow must end before anybody's code runs.
            let next = self.arrived.borrow_mut().pop_front();
            let Some(completion) = next else { break };
            self.tally.completions.add(1);
            self.dispatch(completion);
        }
    }

    fn dispatch(&self, completion: Completion) {
        let effect = self.queue.borrow_mut().settle(completion);
        match effect {
            Effect::Nothing => {}
            Effect::Wake(waker) => waker.wake(),
            Effect::Woken => self.tally.wakes_received.add(1),
            Effect::Discard(operation) => operation.request.discard(completion.result),
            Effect::Stream(shared, last) => {
                shared.arrived(self, completion);
                drop(last);
            }
            Effect::Listener(shared, last) => {
                shared.arrived(self, completion);
                drop(last);
            }
            Effect::Eventfd(operation) => self.woken_by_eventfd(operation),
            Effect::NotWoken(target) => self.could_not_wake(&target),
        }
    }

    /// Cancels everything and waits until the kernel has let go of every buffer and file.
    pub(crate) fn close(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.closing.set(true);
        loop {
            let in_flight = self.queue.borrow().in_flight();
            if in_flight == 0 {
                break;
            }
            // Again in every round: an operation that was queued behind the first cancel, or
            // that a kernel thread was just picking up, is not found by it.
            self.queue.borrow_mut().cancel_all();
            let began = Instant::now();
            self.turn(Wait::Until(Some(began + PATIENCE)));
            if began.elapsed() >= PATIENCE {
                let left = self.queue.borrow().in_flight();
                tracing::warn!(
                    left,
                    "the ring still waits for operations: is the disk stuck?"
                );
            }
        }
        self.unregister();
    }

    /// Wakers hold a duplicate of the ring's descriptor, which keeps the ring alive: what it has
    /// registered is released here, while the memory is still ours.
    fn unregister(&self) {
        let queue = self.queue.borrow();
        let submitter = queue.ring().submitter();
        if self.holds_file.get() {
            report(submitter.unregister_files(), "files");
        }
        if self.pool.is_some() {
            report(submitter.unregister_buffers(), "buffers");
        }
        report(
            submitter.unregister_buf_ring(provided::GROUP),
            "receive buffers",
        );
    }
}

fn report(outcome: io::Result<()>, what: &str) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "cannot unregister {what} from the ring");
    }
}

enum Flight {
    Started(Key),
    Refused(Option<Request>),
    Landed,
}

/// A single operation under way, as a future of `(result, request)`.
struct InFlight {
    ring: Rc<Ring>,
    cancel: bool,
    state: Flight,
}

impl Future for InFlight {
    type Output = (i32, Request);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let key = match &mut self.state {
            Flight::Started(key) => *key,
            Flight::Refused(request) => {
                let request = request.take().expect("polled after completion");
                return Poll::Ready((-libc::ECANCELED, request));
            }
            Flight::Landed => panic!("polled after completion"),
        };
        let progress = self.ring.queue.borrow_mut().poll(key, context.waker());
        match progress {
            Progress::Pending(replaced) => {
                drop(replaced);
                Poll::Pending
            }
            Progress::Done(result, Operation { request, sink }) => {
                self.state = Flight::Landed;
                drop(sink);
                Poll::Ready((result, request))
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Flight::Started(key) = self.state else {
            return;
        };
        let (completed, sink) = self.ring.queue.borrow_mut().orphan(key, self.cancel);
        drop(sink);
        if let Some((result, operation)) = completed {
            operation.request.discard(result);
        }
    }
}
