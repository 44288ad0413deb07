//! Tasks and their queue: who is ready runs, in the order of the wakes.
//!
//! A future is polled and dropped outside of every borrow, since it may spawn, wake or cancel.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::{
    core::Core,
    current,
    slab::{Key, Slab},
    waker::Remote,
};

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What a task's waker points to; any thread may hold it.
struct Wakeup {
    task: Key,
    /// Set while the task is queued, so that it is queued once for many wakes.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let queued = self.queued.swap(true, Ordering::AcqRel);
        if !queued && !current::wake_locally(&self.remote, self.task) {
            self.remote.wake_task(self.task);
        }
    }
}

struct TaskSlot {
    /// `None` while it is being polled.
    future: Option<LocalFuture>,
    wakeup: Arc<Wakeup>,
    waker: Option<Waker>,
}

/// The tasks of one reactor.
pub(crate) struct Executor {
    tasks: RefCell<Slab<TaskSlot>>,
    ready: RefCell<VecDeque<Key>>,
    remote: Arc<Remote>,
    root: Arc<Wakeup>,
}

/// What came off the queue.
pub(crate) enum Ready {
    /// The future `block_on` was called with.
    Root,
    /// A spawned task.
    Task(Key),
}

impl Executor {
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        let root = Wakeup {
            task: Key::NONE,
            queued: AtomicBool::new(false),
            remote: Arc::clone(&remote),
        };
        Executor {
            tasks: RefCell::new(Slab::new()),
            ready: RefCell::new(VecDeque::new()),
            remote,
            root: Arc::new(root),
        }
    }

    pub(crate) fn root_waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.root))
    }

    pub(crate) fn queue(&self, task: Key) {
        self.ready.borrow_mut().push_back(task);
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Moves what other threads woke into the local queue.
    pub(crate) fn take_remote(&self) {
        while let Some(task) = self.remote.next_woken() {
            self.queue(task);
        }
    }

    pub(crate) fn next(&self) -> Option<Ready> {
        let task = self.ready.borrow_mut().pop_front()?;
        if task == Key::NONE {
            self.root.queued.store(false, Ordering::Release);
            return Some(Ready::Root);
        }
        Some(Ready::Task(task))
    }

    fn insert(&self, future: LocalFuture) -> Key {
        let task = self.tasks.borrow_mut().insert_with(|task| {
            let wakeup = Arc::new(Wakeup {
                task,
                queued: AtomicBool::new(true),
                remote: Arc::clone(&self.remote),
            });
            let waker = Some(Waker::from(Arc::clone(&wakeup)));
            TaskSlot {
                future: Some(future),
                wakeup,
                waker,
            }
        });
        self.queue(task);
        task
    }

    /// Polls a task; one that has ended or been cancelled meanwhile is skipped.
    pub(crate) fn poll(&self, task: Key) {
        let Some((mut future, waker)) = self.begin_poll(task) else {
            return;
        };
        let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
        let ended = match outcome {
            Poll::Ready(()) => self
                .tasks
                .borrow_mut()
                .remove(task)
                .map(|slot| (slot, future)),
            Poll::Pending => {
                let mut tasks = self.tasks.borrow_mut();
                match tasks.get_mut(task) {
                    Some(slot) => {
                        slot.future = Some(future);
                        slot.waker = Some(waker);
                        return;
                    }
                    // It cancelled itself: the future goes here, outside of the borrow.
                    None => None,
                }
            }
        };
        drop(ended);
    }

    fn begin_poll(&self, task: Key) -> Option<(LocalFuture, Waker)> {
        let mut tasks = self.tasks.borrow_mut();
        let slot = tasks.get_mut(task)?;
        // Before the poll: a wake during it must queue the task again.
        slot.wakeup.queued.swap(false, Ordering::AcqRel);
        Some((slot.future.take()?, slot.waker.take()?))
    }

    fn cancel(&self, task: Key) {
        let slot = self.tasks.borrow_mut().remove(task);
        drop(slot);
    }

    /// Drops every task, and those that their destructors spawn.
    pub(crate) fn clear(&self) {
        loop {
            let keys = self.tasks.borrow().keys();
            if keys.is_empty() {
                break;
            }
            for task in keys {
                self.cancel(task);
            }
        }
        self.ready.borrow_mut().clear();
    }
}

/// Where a task leaves its output.
struct Join<T> {
    output: Cell<Option<T>>,
    waiter: Cell<Option<Waker>>,
}

/// A spawned task. Dropping it detaches the task; awaiting it gives the output.
pub struct Task<T> {
    task: Key,
    join: Rc<Join<T>>,
    core: Weak<Core>,
}

impl<T> Task<T> {
    /// Drops the task's future now. Operations it had started keep what they own until they have
    /// completed.
    pub fn cancel(self) {
        if let Some(core) = self.core.upgrade() {
            core.executor().cancel(self.task);
        }
    }

    /// Lets the task run on by itself.
    pub fn detach(self) {}
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.join.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                drop(self.join.waiter.replace(Some(context.waker().clone())));
                Poll::Pending
            }
        }
    }
}

/// Runs a future beside the caller, on this thread.
///
/// # Panics
/// Outside of a reactor.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let core = current::get();
    let join = Rc::new(Join {
        output: Cell::new(None),
        waiter: Cell::new(None),
    });
    let target = Rc::clone(&join);
    let task = core.executor().insert(Box::pin(async move {
        target.output.set(Some(future.await));
        if let Some(waiter) = target.waiter.take() {
            waiter.wake();
        }
    }));
    Task {
        task,
        join,
        core: Rc::downgrade(&core),
    }
}

/// Lets every other ready task run first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
