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
        self.pending.borrow_mut().insert(entry, waker.clone());
    }

    /// Whether it has yet to fire; then it wakes that waker. A sleep beside other futures is
    /// polled whenever they are: this needs no clock.
    fn is_pending(&self, entry: Entry, waker: &Waker) -> bool {
        let mut pending = self.pending.borrow_mut();
        let Some(kept) = pending.get_mut(&entry) else {
            return false;
        };
        if !kept.will_wake(waker) {
            let replaced = std::mem::replace(kept, waker.clone());
            drop(pending);
            drop(replaced);
        }
        true
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
        if let Some((timers, entry)) = &self.armed {
            return match timers.is_pending(*entry, context.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            };
        }
        if self.deadline <= Instant::now() {
            return Poll::Ready(());
        }
        let timers = Rc::clone(current::get().timers());
        let sequence = timers.next.get();
        timers.next.set(sequence + 1);
        let entry = (self.deadline, sequence);
        timers.set(entry, context.waker());
        self.armed = Some((timers, entry));
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
    sleep_until(deadline_in(duration))
}

fn deadline_in(duration: Duration) -> Instant {
    // A duration past the end of time, as "for ever" is written by some callers: 30 years do.
    const FOREVER: Duration = Duration::from_secs(30 * 365 * 86400);
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now + FOREVER)
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

/// One time limit for many operations, one after another, of which nearly all end long before it.
///
/// The timer of an operation that has ended stays; the next one takes it over, and only if it
/// fires is it set to what is left. So a request costs one look at the clock, and no timer.
pub struct Patience {
    limit: Duration,
    sleep: Option<Sleep>,
}

impl Patience {
    /// Each operation may take so long.
    pub fn new(limit: Duration) -> Patience {
        Patience { limit, sleep: None }
    }

    /// How long each may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Gives `future` up after the limit, as [`timeout`] does.
    ///
    /// # Errors
    /// If it took longer.
    pub async fn with<F: Future>(&mut self, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut deadline = None;
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            let deadline = *deadline.get_or_insert_with(|| deadline_in(self.limit));
            let sleep = self.sleep.get_or_insert_with(|| sleep_until(deadline));
            while Pin::new(&mut *sleep).poll(context).is_ready() {
                if sleep.deadline() >= deadline {
                    self.sleep = None;
                    return Poll::Ready(Err(Elapsed));
                }
                // That was the time of an operation before this one.
                *sleep = sleep_until(deadline);
            }
            Poll::Pending
        })
        .await
    }
}
