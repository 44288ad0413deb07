//! The simulation's executor: one thread, and among the tasks that can run the seed picks. When
//! none can, time moves on to the next event.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{SimulatedClock, SimulatedDisk, world::World};
use crate::hash::ChainHash;

/// How a simulated machine goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The power fails: what was not flushed survives in any part.
    Power,
    /// The process is killed: what was written stays, and what was under way lands later or not
    /// at all.
    Kill,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Ids of tasks that can run. A waker must be `Send`, hence the lock.
#[derive(Default)]
struct Ready(Mutex<Vec<u64>>);

struct TaskWaker {
    id: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.id) {
            ready.push(self.id);
        }
    }
}

#[derive(Default)]
struct Tasks {
    next: u64,
    waiting: BTreeMap<u64, Task>,
}

/// Spawns tasks, also from inside of tasks.
#[derive(Clone)]
pub struct Spawner {
    tasks: Rc<RefCell<Tasks>>,
    ready: Arc<Ready>,
}

/// What a spawned task gives. Dropping it lets the task run on.
pub struct Joined<T>(Rc<RefCell<(Option<T>, Option<Waker>)>>);

impl<T> Future for Joined<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.borrow_mut();
        match state.0.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Spawner {
    /// Runs `future` beside the others.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Joined<T> {
        let state = Rc::new(RefCell::new((None, None::<Waker>)));
        let joined = Joined(Rc::clone(&state));
        let task = async move {
            let result = future.await;
            let waker = {
                let mut state = state.borrow_mut();
                state.0 = Some(result);
                state.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        let mut tasks = self.tasks.borrow_mut();
        tasks.next += 1;
        let id = tasks.next;
        tasks.waiting.insert(id, Box::pin(task));
        Arc::new(TaskWaker {
            id,
            ready: Arc::clone(&self.ready),
        })
        .wake();
        joined
    }
}

/// A machine with one disk, one clock and tasks, all decided by a seed.
pub struct Simulation {
    world: Rc<RefCell<World>>,
    spawner: Spawner,
}

impl Simulation {
    /// An empty disk at time 0.
    #[must_use]
    pub fn new(seed: u64) -> Simulation {
        Simulation::on(World::new(seed))
    }

    fn on(world: World) -> Simulation {
        let spawner = Spawner {
            tasks: Rc::default(),
            ready: Arc::default(),
        };
        Simulation {
            world: Rc::new(RefCell::new(world)),
            spawner,
        }
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> SimulatedDisk {
        SimulatedDisk {
            world: Rc::clone(&self.world),
        }
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> SimulatedClock {
        SimulatedClock {
            world: Rc::clone(&self.world),
        }
    }

    /// Its spawner, for tasks that spawn.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Runs `future` beside the others, whenever the simulation runs.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Joined<T> {
        self.spawner.spawn(future)
    }

    /// A number from the seed, below `limit`: for the test's own choices.
    #[must_use]
    pub fn random_below(&self, limit: u64) -> u64 {
        self.world.borrow_mut().dice.below(limit)
    }

    /// The hash of everything that happened so far.
    #[must_use]
    pub fn trace(&self) -> ChainHash {
        self.world.borrow().trace()
    }

    /// Runs everything until `future` is done.
    ///
    /// # Panics
    /// When nothing can ever happen again and it is not: a lost wake-up.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let joined = self.spawn(future);
        loop {
            if let Some(result) = joined.0.borrow_mut().0.take() {
                return result;
            }
            assert!(
                self.turn(Duration::MAX),
                "the simulation is stuck: all tasks wait and nothing is under way"
            );
        }
    }

    /// Runs everything for exactly that long.
    pub fn run_for(&self, duration: Duration) {
        let end = self.world.borrow().now() + duration;
        while self.turn(end) {}
        self.world.borrow_mut().advance_to(end);
    }

    /// Lets at most `count` more steps happen, so that a crash can be put behind any one of them.
    pub fn limit_turns(&self, count: u64) {
        let mut world = self.world.borrow_mut();
        world.turns_limit = world.turns_taken.saturating_add(count);
    }

    /// Steps so far: turns of tasks, and events.
    #[must_use]
    pub fn turns_taken(&self) -> u64 {
        self.world.borrow().turns_taken
    }

    /// Whether the limit was reached: nothing moves any more but to crash.
    #[must_use]
    pub fn is_out_of_turns(&self) -> bool {
        let world = self.world.borrow();
        world.turns_taken >= world.turns_limit
    }

    /// One task's turn, or else one event not after `end`. False when there is neither.
    fn turn(&self, end: Duration) -> bool {
        if self.is_out_of_turns() {
            return false;
        }
        if !self.step(end) {
            return false;
        }
        self.world.borrow_mut().turns_taken += 1;
        true
    }

    fn step(&self, end: Duration) -> bool {
        let Some(id) = self.pick_ready() else {
            let Some(waker) = self.world.borrow_mut().step(end) else {
                return false;
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            return true;
        };
        let task = self.spawner.tasks.borrow_mut().waiting.remove(&id);
        let Some(mut task) = task else { return true };
        let waker = Waker::from(Arc::new(TaskWaker {
            id,
            ready: Arc::clone(&self.spawner.ready),
        }));
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            self.spawner.tasks.borrow_mut().waiting.insert(id, task);
        }
        true
    }

    fn pick_ready(&self) -> Option<u64> {
        let mut ready = self
            .spawner
            .ready
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let i = self.world.borrow_mut().dice.below(ready.len() as u64) as usize;
        Some(ready.swap_remove(i))
    }

    /// Ends this machine at this moment; the one that comes up has its disk. Tasks are dropped
    /// where they stand.
    #[must_use]
    pub fn crash(self, crash: Crash) -> Simulation {
        let next = match crash {
            Crash::Power => self.world.borrow_mut().after_power_failure(),
            Crash::Kill => self.world.borrow_mut().after_kill(),
        };
        drop(self);
        Simulation::on(next)
    }
}

impl Drop for Simulation {
    /// Tasks hold handles of the disk, which hold the world, and ways to spawn more of them, which
    /// hold the tasks: dropped here or never.
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut self.spawner.tasks.borrow_mut().waiting);
        drop(tasks);
    }
}
