//! Timers: an ordered map from deadline to waker, so that a cancelled one leaves at once.
//!
//! A binary heap would keep the deadline of every request that was answered in time, and a wheel
//! would round: the loop passes the nearest deadline to the kernel as it is.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::current;

type Entry = (Instant, u64);

/// The timers of one reactor.
pub(crate) struct Timers {
    pending: RefCell<BTreeMap<Entry, Waker>>,
    /// Makes equal deadlines distinct, and fires them in the order in which they were set.
    next: Cell<u64>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Timers {
            pending: RefCell::new(BTreeMap::new()),
            next: Cell::new(0),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.pending
            .borrow()
            .keys()
            .next()
            .map(|(deadline, _)| *deadline)
    }

    /// Wakes everyone whose time has come.
    pub(crate) fn fire(&self) {
        let Some(first) = self.next_deadline() else {
            return;
        };
        let now = Instant::now();
        if first > now {
            return;
        }
        while let Some(waker) = self.pop_expired(now) {
            waker.wake();
        }
    }

    fn pop_expired(&self, now: Instant) -> Option<Waker> {
        let mut pending = self.pending.borrow_mut();
        let entry = pending.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn set(&self, entry: Entry, waker: &Waker) {
        let mut pending = self.pending.borrow_mut();
        // Mostly it is there: a sleep beside other futures is polled whenever they are.
        if pending
            .get(&entry)
            .is_some_and(|kept| kept.will_wake(waker))
        {
            return;
        }
        let replaced = pending.insert(entry, waker.clone());
        drop(pending);
        drop(replaced);
    }

    fn forget(&self, entry: Entry) {
        let removed = self.pending.borrow_mut().remove(&entry);
        drop(removed);
    }

    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.pending.borrow_mut());
        drop(all);
    }
}

/// Completes at its deadline. Registered at the first poll.
pub struct Sleep {
    deadline: Instant,
    armed: Option<(Rc<Timers>, Entry)>,
}

impl Sleep {
    /// When it completes.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.deadline <= Instant::now() {
            return Poll::Ready(());
        }
        let deadline = self.deadline;
        let (timers, entry) = self.armed.get_or_insert_with(|| {
            let timers = Rc::clone(current::get().timers());
            let sequence = timers.next.get();
            timers.next.set(sequence + 1);
            (timers, (deadline, sequence))
        });
        timers.set(*entry, context.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((timers, entry)) = self.armed.take() {
            timers.forget(entry);
        }
    }
}

/// The time as timers see it.
pub fn now() -> Instant {
    Instant::now()
}

/// Completes after `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    // A duration past the end of time, as "for ever" is written by some callers: 30 years do.
    const FOREVER: Duration = Duration::from_secs(30 * 365 * 86400);
    let now = Instant::now();
    let deadline = now.checked_add(duration).unwrap_or(now + FOREVER);
    sleep_until(deadline)
}

/// Completes at `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        armed: None,
    }
}

/// The time given to [`timeout`] has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("deadline has passed")]
pub struct Elapsed;

/// Gives `future` up after `duration`. A result that is ready in time wins over the deadline.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut deadline = pin!(sleep(duration));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        deadline.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}
