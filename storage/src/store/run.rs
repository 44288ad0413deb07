//! The store's one task: forms frames, begins seals, takes completions, keeps time (S4).

use super::{Store, operation::Completion};
use crate::disk::{Clock, Disk, OpenMode};
use futures_util::stream::{FuturesUnordered, Stream};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// When something is due that nobody signals.
#[derive(Default)]
pub(super) struct Rhythm {
    /// Frames were written that no later frame's `durable_through` covers.
    pub is_run_open: Cell<bool>,
    /// When the last frame was formed.
    pub last_frame: Cell<Duration>,
    /// One frame is wanted although nothing waits for it.
    pub wants_frame: Cell<bool>,
    /// When to ask the housekeeper again for what failed.
    pub retry_at: Cell<Option<Duration>>,
    /// An append was refused for want of memory.
    pub is_short: Cell<bool>,
    pub is_ending: Cell<bool>,
    /// Not before then are all partitions looked at again for memory.
    pub scan_at: Cell<Duration>,
    has_failed: Cell<bool>,
}

/// Why the task goes on.
enum Turn<D: Disk> {
    Completed(Completion<D>),
    Signalled,
    TimeIsUp,
}

type Operations<D> = FuturesUnordered<super::operation::Operation<D>>;
type Timer = Option<(Duration, Pin<Box<dyn Future<Output = ()>>>)>;

impl<D: Disk, C: Clock> Store<D, C> {
    /// Drives the store until [`Store::shutdown`] and everything appended is durable, or the disk
    /// is fenced. Exactly one task runs it.
    pub async fn run(self: Rc<Self>) {
        self.begin().await;
        let mut operations = Operations::new();
        let mut timer: Timer = None;
        loop {
            self.turn();
            operations.extend(self.begun.take());
            if operations.is_empty() && self.is_at_end() {
                return;
            }
            self.set_timer(&mut timer);
            match self.next_turn(&mut operations, &mut timer).await {
                Turn::Completed(completion) => self.complete(completion),
                Turn::Signalled => {}
                Turn::TimeIsUp => timer = None,
            }
        }
    }

    async fn begin(&self) {
        let state = &self.first_file;
        match self.disk.open(&state.path(), OpenMode::Write).await {
            Ok(file) => self.journal.borrow_mut().begin(state, file),
            Err(error) => {
                let path = state.path();
                self.config
                    .fence
                    .trip(format!("cannot open {}: {error}", path.display()));
            }
        }
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        for partition in partitions {
            self.repin(&partition);
        }
        self.expect_files();
    }

    fn turn(&self) {
        if self.config.fence.check().is_err() {
            return self.fail();
        }
        self.note_time();
        self.make_room();
        while self.form_frame() {}
        self.begin_seals();
        self.close_excess();
        self.scrub_next();
        self.send_chores();
    }

    /// Has the store look at once whether the disk is fenced: another shard may have found out.
    pub fn look_at_fence(&self) {
        if self.config.fence.check().is_err() && !self.rhythm.has_failed.get() {
            self.signal.wake();
        }
    }

    /// Wakes everybody who waits for what will not happen (S10).
    fn fail(&self) {
        if !self.rhythm.has_failed.replace(true) {
            let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
            partitions
                .iter()
                .for_each(|partition| partition.progress.wake_all());
        }
        // Commits made before the fence was seen register after it; they see it when they do.
    }

    fn is_at_end(&self) -> bool {
        if self.config.fence.check().is_err() {
            return self.rhythm.is_ending.get();
        }
        let journal = self.journal.borrow();
        let queues = self.queues.borrow();
        let is_idle = journal.flights.is_empty() && queues.dirty.is_empty();
        let is_idle = is_idle && !self.rhythm.is_run_open.get();
        self.rhythm.is_ending.get() && is_idle && !self.has_waiting()
    }

    /// Whether the journal is being written to, or was a moment ago.
    pub(super) fn is_writing(&self) -> bool {
        self.rhythm.is_run_open.get() || !self.journal.borrow().flights.is_empty()
    }

    /// Whether batches wait that nobody queued: those too large for the journal wait for a file.
    fn has_waiting(&self) -> bool {
        let partitions = self.partitions.borrow();
        let mut logs = partitions.values().map(|partition| partition.log.borrow());
        logs.any(|log| !log.fresh.is_empty())
    }

    fn note_time(&self) {
        let now = self.elapsed();
        let is_idle = self.journal.borrow().flights.is_empty();
        let silence = now.saturating_sub(self.rhythm.last_frame.get());
        let is_silent = silence >= self.config.idle_frame_after || self.rhythm.is_ending.get();
        if self.rhythm.is_run_open.get() && is_idle && is_silent {
            self.rhythm.wants_frame.set(true);
        }
        if self.rhythm.retry_at.get().is_some_and(|at| at <= now) {
            self.rhythm.retry_at.set(None);
            self.ask_again();
        }
    }

    /// The next moment at which something is due. The timer is not moved for each frame: it fires
    /// once per silence at most and looks again. Nothing is due that [`Self::note_time`] would not
    /// do then: with a write in flight for longer than the silence, a deadline in the past would
    /// keep this task from ever letting the reactor take the write's completion.
    fn deadline(&self) -> Option<Duration> {
        if self.config.fence.check().is_err() {
            return None;
        }
        // A completion brings the next turn while anything is in flight, and a frame that is wanted
        // already waits for something else than time.
        let is_idle = self.journal.borrow().flights.is_empty();
        let closes = self.rhythm.is_run_open.get() && is_idle && !self.rhythm.wants_frame.get();
        let close_at = self.rhythm.last_frame.get() + self.config.idle_frame_after;
        let close_at = closes.then_some(close_at);
        // Looking for room moves this on, and ends when there is some.
        let is_short = self.rhythm.is_short.get() && self.is_crowded();
        let scan_at = is_short.then(|| self.rhythm.scan_at.get());
        let scrub_at = self.scrub_at();
        [close_at, self.rhythm.retry_at.get(), scan_at, scrub_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn set_timer(&self, timer: &mut Timer) {
        let Some(deadline) = self.deadline() else {
            return;
        };
        if timer.as_ref().is_none_or(|(at, _)| *at > deadline) {
            let clock = self.clock.clone();
            let wait = deadline.saturating_sub(self.elapsed());
            *timer = Some((deadline, Box::pin(async move { clock.sleep(wait).await })));
        }
    }

    async fn next_turn(&self, operations: &mut Operations<D>, timer: &mut Timer) -> Turn<D> {
        poll_fn(|cx| self.poll_turn(operations, timer, cx)).await
    }

    fn poll_turn(
        &self,
        operations: &mut Operations<D>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Turn<D>> {
        if let Poll::Ready(Some(completion)) = Pin::new(operations).poll_next(cx) {
            return Poll::Ready(Turn::Completed(completion));
        }
        if self.signal.poll(cx).is_ready() {
            return Poll::Ready(Turn::Signalled);
        }
        match timer {
            Some((_, sleep)) => sleep.as_mut().poll(cx).map(|()| Turn::TimeIsUp),
            None => Poll::Pending,
        }
    }
}
