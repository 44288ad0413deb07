//! Jobs and answers between shards and the housekeeper: one pair of SPSC rings for each shard, and
//! a bell. A shard that sends never blocks; a job takes a credit that its answer gives back, so
//! the ring of answers always has room.

use std::{
    cell::RefCell,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use futures_util::task::AtomicWaker;

use super::{Chores, Done, Job};

/// Jobs of one shard that may be under way: a full set of prepared segment classes and journal
/// files, and as many files given back as a retention pass of one partition drops, with room.
pub const JOBS_MAX: usize = 256;

/// Wakes a parked shard from any thread: an answer lies in its ring.
pub type WakeShard = Arc<dyn Fn() + Send + Sync>;

/// Wakes the housekeeper. Ringing costs a few atomics, and a system call only when it sleeps.
#[derive(Default)]
pub(super) struct Bell {
    waker: AtomicWaker,
    ended: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        self.waker.wake();
    }

    /// Asks the housekeeper to finish what it has begun and to end.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.ring();
    }
}

/// A shard's end for jobs.
pub struct ChoreSender {
    jobs: RefCell<rtrb::Producer<Job>>,
    credits: Arc<AtomicUsize>,
    bell: Arc<Bell>,
}

/// A shard's end for answers. The shard's owner drains it when woken.
pub struct ChoreReceiver {
    dones: rtrb::Consumer<Done>,
    credits: Arc<AtomicUsize>,
}

impl Chores for ChoreSender {
    fn send(&self, job: Job) -> Result<(), Job> {
        // Only this shard takes credits, so nobody takes one between the check and the decrement.
        if self.credits.load(Ordering::Acquire) == 0 {
            return Err(job);
        }
        match self.jobs.borrow_mut().push(job) {
            Ok(()) => {
                self.credits.fetch_sub(1, Ordering::AcqRel);
                self.bell.ring();
                Ok(())
            }
            Err(rtrb::PushError::Full(job)) => Err(job),
        }
    }
}

impl ChoreReceiver {
    /// The next answer.
    pub fn receive(&mut self) -> Option<Done> {
        let done = self.dones.pop().ok()?;
        self.credits.fetch_add(1, Ordering::AcqRel);
        Some(done)
    }

    /// Whether an answer waits: for the probe that a shard asks before it parks.
    #[must_use]
    pub fn has_answer(&self) -> bool {
        !self.dones.is_empty()
    }
}

/// The housekeeper's end of all rings: jobs come out of it.
pub(super) struct Inbox {
    jobs: Vec<rtrb::Consumer<Job>>,
    bell: Arc<Bell>,
    /// Where to look first: no shard's ring is always served before the others.
    turn: usize,
}

/// The other half of it: answers go in.
pub(super) struct Outbox(Vec<(RefCell<rtrb::Producer<Done>>, WakeShard)>);

/// What the thread needs besides; made together with the shards' ends.
pub(super) struct Mail {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
}

/// The rings of all shards, in the order of `wakes`.
pub(super) fn connect(
    wakes: Vec<WakeShard>,
    bell: &Arc<Bell>,
) -> (Vec<(ChoreSender, ChoreReceiver)>, Mail) {
    let mut ends = Vec::new();
    let mut inbox = Inbox {
        jobs: Vec::new(),
        bell: Arc::clone(bell),
        turn: 0,
    };
    let mut outbox = Outbox(Vec::new());
    for wake in wakes {
        let (jobs_in, jobs_out) = rtrb::RingBuffer::new(JOBS_MAX);
        let (dones_in, dones_out) = rtrb::RingBuffer::new(JOBS_MAX);
        let credits = Arc::new(AtomicUsize::new(JOBS_MAX));
        let (jobs, bell) = (RefCell::new(jobs_in), Arc::clone(bell));
        let sender = ChoreSender {
            jobs,
            credits: Arc::clone(&credits),
            bell,
        };
        ends.push((
            sender,
            ChoreReceiver {
                dones: dones_out,
                credits,
            },
        ));
        inbox.jobs.push(jobs_out);
        outbox.0.push((RefCell::new(dones_in), wake));
    }
    (ends, Mail { inbox, outbox })
}

impl Inbox {
    /// The next job and the shard that asked, or nothing once the end was asked for.
    pub(super) async fn next(&mut self) -> Option<(usize, Job)> {
        poll_fn(|cx| {
            // Armed before looking: a job pushed after the look rings the bell.
            self.bell.waker.register(cx.waker());
            if self.bell.ended.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            self.pop()
                .map_or(Poll::Pending, |job| Poll::Ready(Some(job)))
        })
        .await
    }

    /// Drops the waker on the thread it belongs to: glommio's must not outlive its executor.
    pub(super) fn disarm(&self) {
        drop(self.bell.waker.take());
    }

    fn pop(&mut self) -> Option<(usize, Job)> {
        let shards = self.jobs.len();
        for step in 0..shards {
            let shard = (self.turn + step) % shards;
            if let Ok(job) = self.jobs[shard].pop() {
                self.turn = (shard + 1) % shards;
                return Some((shard, job));
            }
        }
        None
    }
}

impl Outbox {
    /// Answers a shard and wakes it.
    pub(super) fn answer(&self, shard: usize, done: Done) {
        let (ring, wake) = &self.0[shard];
        let pushed = ring.borrow_mut().push(done);
        assert!(pushed.is_ok(), "an answer without the credit of its job");
        wake();
    }
}
