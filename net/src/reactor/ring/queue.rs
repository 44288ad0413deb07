//! The two queues of one io_uring, and the slab of operations in flight.
//!
//! The rule that makes the `unsafe` here sound: an operation's request stays in the slab from its
//! submission until the completion that says no more will follow, whatever becomes of the future
//! that asked. Nothing in here runs code of others: wakers and requests are handed out to be used
//! after the queue's borrow has ended.
#![allow(unsafe_code)]

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::{accept, receive, request::Request};
use crate::reactor::{
    buffers::Region,
    config::Tally,
    driver::Wait,
    slab::{Key, Slab},
    waker::Remote,
};

/// Low half of the `user_data` of a wake that another ring sent.
const WOKEN: u32 = u32::MAX - 1;
/// Of cancel requests, whose own outcome is of no interest: the operation that they mean completes
/// either way.
const CANCEL: u32 = u32::MAX - 2;
/// Of wakes to other rings; the high half is the neighbour's number. Only failures complete.
const WAKE_OTHER: u32 = u32::MAX - 3;

const ENTER_GETEVENTS: u32 = 1;

/// Who gets an operation's completions.
pub(crate) enum Sink {
    /// A future that waits for the only completion.
    Future {
        waker: Option<Waker>,
        result: Option<i32>,
    },
    /// Nobody: the future was dropped.
    Orphan,
    /// A stream's multishot receive.
    Stream(Rc<receive::Shared>),
    /// A listener's multishot accept.
    Listener(Rc<accept::Shared>),
    /// The reactor itself: the eventfd other threads write to.
    Eventfd,
}

/// An operation from submission to final completion.
pub(crate) struct Operation {
    pub(crate) request: Request,
    pub(crate) sink: Sink,
}

/// One completion as it came off the queue.
#[derive(Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Completion {
    /// No completion of the same operation will follow.
    pub(crate) fn is_final(&self) -> bool {
        !cqueue::more(self.flags)
    }

    /// The provided buffer that came with it.
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// What is to be done about a completion once the queue is no longer borrowed.
pub(crate) enum Effect {
    Nothing,
    Wake(Waker),
    Woken,
    Discard(Operation),
    Stream(Rc<receive::Shared>, Option<Operation>),
    Listener(Rc<accept::Shared>, Option<Operation>),
    Eventfd(Operation),
    /// This neighbour could not be woken through its ring.
    NotWoken(Arc<Remote>),
}

/// What a poll of an operation finds.
pub(crate) enum Progress {
    Pending(Option<Waker>),
    Done(i32, Operation),
}

/// The ring and its operations.
pub(crate) struct Queue {
    ring: IoUring,
    operations: Slab<Operation>,
    /// Everyone whom this ring has ever woken, as many as there are shards. They are kept, so that
    /// a message never goes to a reused descriptor.
    neighbours: Vec<Arc<Remote>>,
    /// Entries that found the submission queue full; they go first next turn, in order.
    backlog: VecDeque<squeue::Entry>,
}

impl Queue {
    pub(crate) fn new(ring: IoUring) -> Self {
        Queue {
            ring,
            operations: Slab::new(),
            neighbours: Vec::new(),
            backlog: VecDeque::new(),
        }
    }

    pub(crate) fn ring(&self) -> &IoUring {
        &self.ring
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.operations.len()
    }

    /// Queues an operation; it goes out with the next turn.
    pub(crate) fn start(&mut self, request: Request, sink: Sink) -> Key {
        let key = self.operations.insert(Operation { request, sink });
        let operation = self.operations.get_mut(key).expect("just inserted");
        let entry = operation.request.entry().user_data(key.to_bits());
        self.push(entry);
        key
    }

    pub(crate) fn cancel(&mut self, key: Key) {
        let entry = opcode::AsyncCancel::new(key.to_bits()).build();
        self.push_silent(entry, Key::reserved(CANCEL, 0));
    }

    pub(crate) fn cancel_all(&mut self) {
        let everything = types::CancelBuilder::any();
        let entry = opcode::AsyncCancel2::new(everything).build();
        self.push_silent(entry, Key::reserved(CANCEL, 0));
    }

    /// Queues a message that ends another ring's wait. It costs that one a completion and this one
    /// nothing, unless it fails.
    pub(crate) fn wake_other(&mut self, target: &Arc<Remote>, ring: BorrowedFd<'_>) {
        let known = self
            .neighbours
            .iter()
            .position(|other| Arc::ptr_eq(other, target));
        let neighbour = known.unwrap_or_else(|| {
            self.neighbours.push(Arc::clone(target));
            self.neighbours.len() - 1
        });
        let ring = types::Fd(ring.as_raw_fd());
        let entry = opcode::MsgRingData::new(ring, 0, Key::reserved(WOKEN, 0), None).build();
        self.push_silent(entry, Key::reserved(WAKE_OTHER, neighbour as u32));
    }

    fn push_silent(&mut self, entry: squeue::Entry, user_data: u64) {
        self.push(
            entry
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(user_data),
        );
    }

    fn push(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(entry);
            return;
        }
        // SAFETY: the entry points into heap memory and descriptors owned by a request that stays
        // in `operations` until its final completion; the silent ones point nowhere, and the
        // descriptor of a woken ring is kept in `neighbours`.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            self.backlog.push_back(entry);
        }
    }

    fn push_backlog(&mut self) {
        let mut submission = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as in `push`.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// Whether completions are there, or the kernel has some to make in the next enter.
    pub(crate) fn has_news(&mut self) -> bool {
        let submission = self.ring.submission();
        let pending = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        pending || !self.ring.completion().is_empty()
    }

    /// Submits what is queued, makes the kernel post what is ready, and waits if asked: all in
    /// one `io_uring_enter`, or in none if there is nothing to do.
    pub(crate) fn enter(&mut self, wait: Wait, tally: &Tally) {
        self.push_backlog();
        let submission = self.ring.submission();
        let queued = submission.len();
        let overdue = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        let has_completions = !self.ring.completion().is_empty();
        let outcome = match wait {
            Wait::Until(deadline) if self.backlog.is_empty() && !has_completions => {
                self.enter_and_wait(deadline)
            }
            _ if queued == 0 && !overdue => return,
            _ => {
                let submitter = self.ring.submitter();
                // SAFETY: plain submit-and-get-events without an argument struct; the entries
                // in the queue are valid as argued in `push`.
                unsafe {
                    submitter.enter::<libc::sigset_t>(queued as u32, 0, ENTER_GETEVENTS, None)
                }
            }
        };
        tally.enters.add(1);
        tally
            .submissions
            .add(outcome.map_or_else(tolerate, |submitted| submitted as u64));
    }

    fn enter_and_wait(&self, deadline: Option<Instant>) -> io::Result<usize> {
        let submitter = self.ring.submitter();
        let Some(deadline) = deadline else {
            return submitter.submit_and_wait(1);
        };
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let left = types::Timespec::from(left);
        submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&left))
    }

    /// Takes every completion that is there.
    pub(crate) fn reap(&mut self, target: &mut VecDeque<Completion>) {
        target.extend(self.ring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// Books one completion and says what follows from it.
    pub(crate) fn settle(&mut self, completion: Completion) -> Effect {
        let (low, high) = (completion.user_data as u32, completion.user_data >> 32);
        match low {
            WOKEN => return Effect::Woken,
            CANCEL => return Effect::Nothing,
            WAKE_OTHER => return Effect::NotWoken(Arc::clone(&self.neighbours[high as usize])),
            _ => {}
        }
        let key = Key::from_bits(completion.user_data);
        let operation = self
            .operations
            .get_mut(key)
            .expect("an operation lives to its last");
        match &mut operation.sink {
            Sink::Future { waker, result } => {
                assert!(completion.is_final(), "futures wait for single completions");
                operation.request.complete(completion.result);
                *result = Some(completion.result);
                return waker.take().map_or(Effect::Nothing, Effect::Wake);
            }
            Sink::Stream(shared) => {
                let shared = Rc::clone(shared);
                return Effect::Stream(shared, self.remove_final(key, completion));
            }
            Sink::Listener(shared) => {
                let shared = Rc::clone(shared);
                return Effect::Listener(shared, self.remove_final(key, completion));
            }
            Sink::Orphan | Sink::Eventfd => {}
        }
        let operation = self.operations.remove(key).expect("found above");
        match &operation.sink {
            Sink::Eventfd => Effect::Eventfd(operation),
            _ => Effect::Discard(operation),
        }
    }

    fn remove_final(&mut self, key: Key, completion: Completion) -> Option<Operation> {
        if completion.is_final() {
            self.operations.remove(key)
        } else {
            None
        }
    }

    /// Asks after a future's operation; leaves `waker` with it if it is still under way. What
    /// comes back must be dropped outside of the queue's borrow.
    pub(crate) fn poll(&mut self, key: Key, waker: &Waker) -> Progress {
        let operation = self
            .operations
            .get_mut(key)
            .expect("its future holds the key");
        let Sink::Future {
            waker: kept,
            result,
        } = &mut operation.sink
        else {
            unreachable!("only futures poll")
        };
        match *result {
            Some(result) => {
                let operation = self.operations.remove(key).expect("found above");
                Progress::Done(result, operation)
            }
            None if kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) => {
                Progress::Pending(None)
            }
            None => Progress::Pending(kept.replace(waker.clone())),
        }
    }

    /// The future is gone. If its operation is complete it comes back, with the result; else it
    /// stays until it is, and the old sink comes back.
    pub(crate) fn orphan(&mut self, key: Key, cancel: bool) -> (Option<(i32, Operation)>, Sink) {
        let operation = self
            .operations
            .get_mut(key)
            .expect("its future held the key");
        let sink = std::mem::replace(&mut operation.sink, Sink::Orphan);
        if let Sink::Future {
            result: Some(result),
            ..
        } = sink
        {
            let operation = self.operations.remove(key).expect("found above");
            return (Some((result, operation)), sink);
        }
        if cancel {
            self.cancel(key);
        }
        (None, sink)
    }
}

/// Errors of `io_uring_enter` that the next turn resolves; anything else is a bug of ours.
fn tolerate(error: io::Error) -> u64 {
    match error.raw_os_error() {
        // The timeout of the wait, a signal, or completions to be taken first.
        Some(libc::ETIME | libc::EINTR | libc::EBUSY) => 0,
        // Out of memory for now: what is queued stays queued.
        Some(libc::EAGAIN | libc::ENOMEM) => 0,
        _ => panic!("io_uring_enter refused what the reactor submitted: {error}"),
    }
}

/// Registers one region as fixed buffer 0.
pub(crate) fn register_region(ring: &IoUring, region: &Region) -> io::Result<()> {
    let all = libc::iovec {
        iov_base: region.start().as_ptr().cast(),
        iov_len: region.len(),
    };
    // SAFETY: the region is mapped; the ring unregisters it when it is closed, and its pool is
    // held by the ring until then. The kernel pins the pages by itself besides.
    unsafe { ring.submitter().register_buffers(&[all]) }
}

/// Another descriptor of the same ring.
pub(crate) fn duplicate_descriptor(ring: &IoUring) -> io::Result<OwnedFd> {
    // SAFETY: the ring is open for as long as it is borrowed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
    descriptor.try_clone_to_owned()
}
