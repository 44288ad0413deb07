//! Taking jobs from the rings and spreading them over an executor's lanes, until the end is asked
//! for.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
};

use super::{
    Job, Keeper, Urgency,
    mail::{Mail, Outbox},
};
use crate::{disk::Disk, pool::SizeClass};

pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Hands a task to the executor.
pub(super) type Spawn = Rc<dyn Fn(Urgency, Task)>;

/// Takes jobs until the end is asked for, then waits for those under way.
pub(super) async fn serve<D: Disk>(keeper: Keeper<D>, mail: Mail, spawn: Spawn) {
    let Mail { mut inbox, outbox } = mail;
    let work = Rc::new(Work {
        keeper,
        outbox,
        spawn,
        under_way: UnderWay::default(),
    });
    while let Some((shard, job)) = inbox.next().await {
        work.begin(shard, job);
    }
    work.under_way.end().await;
    inbox.disarm();
}

/// What every task shares.
struct Work<D: Disk> {
    keeper: Keeper<D>,
    outbox: Outbox,
    spawn: Spawn,
    under_way: UnderWay,
}

impl<D: Disk> Work<D> {
    fn begin(self: &Rc<Self>, shard: usize, job: Job) {
        let taken = match &job {
            Job::PrepareSegment { class } => Some(*class),
            _ => None,
        };
        let urgency = job.urgency();
        let work = Rc::clone(self);
        self.spawn(urgency, async move {
            let done = work.keeper.run(job).await;
            work.outbox.answer(shard, done);
        });
        if let Some(class) = taken {
            self.restock(class);
        }
    }

    /// One file ahead of time, and the next only as a task of its own: jobs that shards wait for
    /// come between.
    fn restock(self: &Rc<Self>, class: SizeClass) {
        let work = Rc::clone(self);
        self.spawn(Urgency::Ahead, async move {
            if !work.under_way.ending.get() && work.keeper.restock(class).await {
                work.restock(class);
            }
        });
    }

    fn spawn(self: &Rc<Self>, urgency: Urgency, task: impl Future<Output = ()> + 'static) {
        let work = Rc::clone(self);
        work.under_way.begin();
        let counted = async move {
            task.await;
            work.under_way.finish();
        };
        (self.spawn)(urgency, Box::pin(counted));
    }
}

/// How many tasks are under way, and waiting for none.
#[derive(Default)]
struct UnderWay {
    tasks: Cell<usize>,
    ending: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl UnderWay {
    fn begin(&self) {
        self.tasks.set(self.tasks.get() + 1);
    }

    fn finish(&self) {
        self.tasks.set(self.tasks.get() - 1);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Completes when no task is under way; tasks that only work ahead stop.
    async fn end(&self) {
        self.ending.set(true);
        poll_fn(|cx| {
            if self.tasks.get() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
