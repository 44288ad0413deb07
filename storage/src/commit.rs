//! When an append counts: the durable end of one partition, who waits for it, and the fence that
//! ends all waiting after a failed write (S3, S10).

use crate::types::Offset;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

/// One disk's fence, shared by every shard that writes to it: a write that failed may have left
/// anything behind, and a flush that failed may have dropped pages the kernel calls clean, so
/// nothing is retried and nobody writes any more (S10).
#[derive(Clone, Default, Debug)]
pub struct Fence(Arc<OnceLock<Arc<str>>>);

/// The disk is fenced.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no more writes to this disk, because one failed: {reason}; check the device and its file \
     system, then restart: everything acknowledged is recovered"
)]
pub struct Fenced {
    /// The first failure.
    pub reason: Arc<str>,
}

impl Fence {
    /// A fence that stands open.
    #[must_use]
    pub fn new() -> Fence {
        Fence::default()
    }

    /// Closes it for everyone; the first reason stays.
    pub fn trip(&self, reason: String) {
        if self.0.set(reason.into()).is_ok() {
            let reason = self.0.get().map_or("", |reason| reason);
            tracing::error!(
                reason,
                "the disk is fenced: a write failed, so nothing more is written to it; produce \
                 requests are refused, reads go on; check the device (dmesg, SMART) and its file \
                 system, then restart: everything acknowledged is recovered"
            );
        }
    }

    /// `Err` once tripped; one atomic load otherwise.
    pub fn check(&self) -> Result<(), Fenced> {
        match self.0.get() {
            None => Ok(()),
            Some(reason) => Err(Fenced {
                reason: reason.clone(),
            }),
        }
    }
}

/// Why an append will never be durable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk failed first.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The topic was deleted first.
    #[error("the topic was deleted before offset {end} became durable")]
    Dropped {
        /// End of the append.
        end: Offset,
    },
}

/// How far one partition is durable, and who waits for more.
#[derive(Debug)]
pub(crate) struct Progress {
    durable_end: Cell<Offset>,
    is_dropped: Cell<bool>,
    /// In the order of their ends, nearly: a duplicate waits for an older end. Bounded by the
    /// requests in flight, which the caller limits.
    waiters: RefCell<VecDeque<(Offset, Waker)>>,
    /// Who waits for the log's start to move.
    start_waiters: RefCell<Vec<Waker>>,
    fence: Fence,
}

impl Progress {
    pub(crate) fn new(durable_end: Offset, fence: Fence) -> Rc<Progress> {
        Rc::new(Progress {
            durable_end: Cell::new(durable_end),
            is_dropped: Cell::new(false),
            waiters: RefCell::default(),
            start_waiters: RefCell::default(),
            fence,
        })
    }

    pub(crate) fn durable_end(&self) -> Offset {
        self.durable_end.get()
    }

    /// Moves the durable end and wakes whom it satisfies.
    pub(crate) fn advance(&self, end: Offset) {
        assert!(
            end >= self.durable_end.get(),
            "a durable end never goes back"
        );
        self.durable_end.set(end);
        let mut waiters = self.waiters.borrow_mut();
        while waiters.front().is_some_and(|(wanted, _)| *wanted <= end) {
            if let Some((_, waker)) = waiters.pop_front() {
                waker.wake();
            }
        }
    }

    /// Wakes everybody: the fence has tripped, or the topic is gone.
    pub(crate) fn wake_all(&self) {
        for (_, waker) in self.waiters.borrow_mut().drain(..) {
            waker.wake();
        }
        self.wake_start();
    }

    /// Has those look again who wait for the log's start.
    pub(crate) fn wake_start(&self) {
        self.start_waiters
            .borrow_mut()
            .drain(..)
            .for_each(Waker::wake);
    }

    /// Registers for the next change, unless there will be none.
    pub(crate) fn await_start(&self, end: Offset, waker: &Waker) -> Result<(), CommitError> {
        if self.is_dropped.get() {
            return Err(CommitError::Dropped { end });
        }
        self.fence.check()?;
        self.start_waiters.borrow_mut().push(waker.clone());
        Ok(())
    }

    pub(crate) fn drop_topic(&self) {
        self.is_dropped.set(true);
        self.wake_all();
    }

    fn poll(&self, end: Offset) -> Poll<Result<(), CommitError>> {
        if self.durable_end.get() >= end {
            return Poll::Ready(Ok(()));
        }
        if self.is_dropped.get() {
            return Poll::Ready(Err(CommitError::Dropped { end }));
        }
        match self.fence.check() {
            Ok(()) => Poll::Pending,
            Err(fenced) => Poll::Ready(Err(fenced.into())),
        }
    }
}

/// A promise that one append becomes durable; clones wait for the same.
#[derive(Clone, Debug)]
pub struct Commit {
    progress: Rc<Progress>,
    end: Offset,
}

impl Commit {
    pub(crate) fn new(progress: Rc<Progress>, end: Offset) -> Commit {
        Commit { progress, end }
    }

    /// Whether waiting would return at once.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.progress.poll(self.end).is_ready()
    }

    /// Resolves when the append and everything before it are durable, or never will be.
    #[must_use]
    pub fn wait(&self) -> Wait {
        Wait {
            commit: self.clone(),
            registered: None,
        }
    }
}

/// The future of [`Commit::wait`].
#[derive(Debug)]
pub struct Wait {
    commit: Commit,
    /// Kept so that a task polled for other reasons does not register twice.
    registered: Option<Waker>,
}

impl Future for Wait {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.commit.progress.poll(self.commit.end);
        let is_known = self
            .registered
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()));
        if polled.is_pending() && !is_known {
            let entry = (self.commit.end, cx.waker().clone());
            self.commit.progress.waiters.borrow_mut().push_back(entry);
            self.registered = Some(cx.waker().clone());
        }
        polled
    }
}
