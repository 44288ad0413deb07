//! The loop of one reactor, and what its futures see of it.
//!
//! ```text
//! turn:  timers -> wakes from other threads -> inbox -> up to 256 polls -> kernel -> completions
//! ```
//!
//! The number of polls is bounded so that disk completions never wait behind a crowd of busy tasks.
//! The thread parks inside the kernel visit, and only when no task is ready.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    os::fd::BorrowedFd,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    config::{Counters, Tally},
    driver::{Driver, Wait},
    executor::{Executor, Ready},
    notify::Notify,
    timer::Timers,
    waker::Remote,
};

/// Polls between two visits to the kernel: some 100 us of small requests. With 16 the visits
/// dominate, with thousands a finished flush waits too long.
const POLLS_MAX: usize = 256;

/// What other threads put messages into, as its owner explained it.
struct Inbox {
    probe: Box<dyn FnMut() -> bool>,
    notify: Rc<Notify>,
}

/// How long the next idle turn may spin.
struct Spin {
    limit: Duration,
    budget: Cell<Duration>,
}

/// One reactor's parts.
pub(crate) struct Core {
    executor: Executor,
    timers: Rc<Timers>,
    driver: Driver,
    remote: Arc<Remote>,
    inbox: RefCell<Option<Inbox>>,
    spin: Spin,
    tally: Rc<Tally>,
}

impl Core {
    pub(crate) fn new(
        driver: Driver,
        remote: Arc<Remote>,
        spin: Duration,
        tally: Rc<Tally>,
    ) -> Self {
        Core {
            executor: Executor::new(Arc::clone(&remote)),
            timers: Rc::new(Timers::new()),
            driver,
            remote,
            inbox: RefCell::new(None),
            spin: Spin {
                limit: spin,
                budget: Cell::new(spin),
            },
            tally,
        }
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.executor
    }

    pub(crate) fn timers(&self) -> &Rc<Timers> {
        &self.timers
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    pub(crate) fn counters(&self) -> Counters {
        self.tally.read()
    }

    pub(crate) fn hold_file(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match &self.driver {
            Driver::Ring(ring) => ring.hold_file(fd),
            Driver::Epoll(poller) => poller.hold_file(fd),
        }
    }

    /// Wakes another reactor through the ring, if both have one.
    pub(crate) fn wake_other(&self, target: &Arc<Remote>) -> bool {
        let sent = match &self.driver {
            Driver::Ring(ring) => ring.wake_other(target),
            Driver::Epoll(_) => false,
        };
        self.tally.eventfd_wakes.add(u64::from(!sent));
        sent
    }

    pub(crate) fn set_inbox(&self, probe: Box<dyn FnMut() -> bool>) -> Rc<Notify> {
        let notify = Rc::new(Notify::new());
        let inbox = Inbox {
            probe,
            notify: Rc::clone(&notify),
        };
        let previous = self.inbox.borrow_mut().replace(inbox);
        drop(previous);
        notify
    }

    /// Runs turns until `root` is done.
    pub(crate) fn run<F: Future>(&self, root: F) -> F::Output {
        let mut root = pin!(root);
        let waker = self.executor.root_waker();
        waker.wake_by_ref();
        loop {
            self.tally.turns.add(1);
            self.timers.fire();
            self.look_for_messages();
            for _ in 0..POLLS_MAX {
                let Some(ready) = self.executor.next() else {
                    break;
                };
                self.tally.polls.add(1);
                match ready {
                    Ready::Task(task) => self.executor.poll(task),
                    Ready::Root => {
                        let poll = root.as_mut().poll(&mut Context::from_waker(&waker));
                        if let Poll::Ready(output) = poll {
                            // Wakes for others may still be queued for submission.
                            self.driver.turn(Wait::No);
                            return output;
                        }
                    }
                }
            }
            self.visit_kernel();
        }
    }

    fn visit_kernel(&self) {
        if self.executor.has_ready() || self.spin_for_news() {
            self.driver.turn(Wait::No);
            return;
        }
        self.remote.announce_parked();
        if self.look_for_messages() {
            self.remote.retract_parked();
            self.driver.turn(Wait::No);
            return;
        }
        self.tally.parks.add(1);
        let parked = Instant::now();
        self.driver.turn(Wait::Until(self.timers.next_deadline()));
        let asleep = parked.elapsed();
        self.tally.parked_ns.add(asleep.as_nanos() as u64);
        if !self.spin.limit.is_zero() && asleep < self.spin.limit {
            self.spin.budget.set(self.spin.limit);
        }
    }

    /// Takes what other threads have sent; says whether a task became ready by it.
    fn look_for_messages(&self) -> bool {
        self.executor.take_remote();
        // Outside of its cell while it runs: the probe is not our code.
        let taken = self.inbox.borrow_mut().take();
        if let Some(mut inbox) = taken {
            if (inbox.probe)() {
                inbox.notify.notify_one();
            }
            let mut place = self.inbox.borrow_mut();
            // Unless the probe has set another.
            place.get_or_insert(inbox);
        }
        self.executor.has_ready()
    }

    /// Spins for as long as it has paid off lately; says whether there is work.
    fn spin_for_news(&self) -> bool {
        let budget = self.spin.budget.get();
        if budget.is_zero() {
            return false;
        }
        // What is queued must be under way before we wait for its completion.
        self.driver.turn(Wait::No);
        let began = Instant::now();
        loop {
            let now = Instant::now();
            let due = self
                .timers
                .next_deadline()
                .is_some_and(|deadline| deadline <= now);
            if due || self.look_for_messages() || self.driver.has_news() {
                self.spin.budget.set(self.spin.limit);
                return true;
            }
            if now - began >= budget {
                // Short of 1 us the clock costs more than the spinning.
                let half = budget / 2;
                let next = if half < Duration::from_micros(1) {
                    Duration::ZERO
                } else {
                    half
                };
                self.spin.budget.set(next);
                return false;
            }
            std::hint::spin_loop();
        }
    }

    /// Drops every task, then waits for the kernel.
    pub(crate) fn close(&self) {
        self.executor.clear();
        self.timers.clear();
        let inbox = self.inbox.borrow_mut().take();
        drop(inbox);
        self.driver.close();
        // Completions may have woken tasks, never spawned any.
        self.executor.clear();
    }
}
