//! A signal between tasks of one reactor.
//!
//! Never between threads: that is what [`RemoteWaker`](super::RemoteWaker) is for.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

struct Waiter {
    waker: Cell<Option<Waker>>,
    /// How it left the queue, while it has not yet been polled since.
    woken: Cell<Option<Woken>>,
    /// Nobody waits here any more; it is still in the queue.
    gone: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Woken {
    /// By `notify_one`: the permit must reach somebody, even if this waiter goes away.
    One,
    All,
}

/// Wakes one or all waiting tasks; remembers one notification nobody waited for.
#[derive(Default)]
pub struct Notify {
    permit: Cell<bool>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
    /// How many waiters in the queue are gone. They are swept out when they are the most of it:
    /// thousands of connections wait beside something else, and each leaves with every request.
    gone: Cell<usize>,
}

impl Notify {
    /// Nobody waits, no permit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the task that waits longest; if none does, the next [`Notify::notified`] completes at
    /// once. Permits do not add up.
    pub fn notify_one(&self) {
        self.offer();
    }

    /// As `notify_one`; says whether somebody was waiting.
    pub(crate) fn offer(&self) -> bool {
        match self.pop_first() {
            Some(waiter) => {
                waiter.wake(Woken::One);
                true
            }
            None => {
                self.permit.set(true);
                false
            }
        }
    }

    fn pop_first(&self) -> Option<Rc<Waiter>> {
        let mut waiters = self.waiters.borrow_mut();
        loop {
            let first = waiters.pop_front()?;
            if !first.gone.get() {
                return Some(first);
            }
            self.gone.set(self.gone.get() - 1);
        }
    }

    /// Wakes every task that waits now; leaves no permit.
    pub fn notify_all(&self) {
        let all = std::mem::take(&mut *self.waiters.borrow_mut());
        self.gone.set(0);
        for waiter in all {
            waiter.wake(Woken::All);
        }
    }

    fn leave(&self, waiter: &Waiter) {
        drop(waiter.waker.take());
        waiter.gone.set(true);
        let mut waiters = self.waiters.borrow_mut();
        self.gone.set(self.gone.get() + 1);
        if self.gone.get() * 2 > waiters.len() {
            waiters.retain(|waiter| !waiter.gone.get());
            self.gone.set(0);
        }
    }

    /// Waits for a notification. It counts as waiting from its first poll.
    pub async fn notified(&self) {
        Notified {
            notify: self,
            waiter: None,
        }
        .await;
    }
}

impl Waiter {
    fn wake(&self, how: Woken) {
        self.woken.set(Some(how));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct Notified<'a> {
    notify: &'a Notify,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        match &self.waiter {
            None if notify.permit.replace(false) => Poll::Ready(()),
            None => {
                let waiter = Rc::new(Waiter {
                    waker: Cell::new(Some(context.waker().clone())),
                    woken: Cell::new(None),
                    gone: Cell::new(false),
                });
                notify.waiters.borrow_mut().push_back(Rc::clone(&waiter));
                self.waiter = Some(waiter);
                Poll::Pending
            }
            Some(waiter) if waiter.woken.take().is_some() => {
                self.waiter = None;
                Poll::Ready(())
            }
            Some(waiter) => {
                drop(waiter.waker.replace(Some(context.waker().clone())));
                Poll::Pending
            }
        }
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        match waiter.woken.take() {
            Some(Woken::One) => self.notify.notify_one(),
            Some(Woken::All) => {}
            None => self.notify.leave(&waiter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn waiters_that_left_are_swept_and_pass_no_wake_on() {
        let notify = Notify::new();
        let mut first = pin!(notify.notified());
        assert!(first.as_mut().now_or_never().is_none());
        for _ in 0..1000 {
            assert!(notify.notified().now_or_never().is_none());
            assert!(notify.waiters.borrow().len() <= 4);
        }
        let mut last = pin!(notify.notified());
        assert!(last.as_mut().now_or_never().is_none());
        notify.notify_one();
        notify.notify_one();
        assert!(first.now_or_never().is_some());
        assert!(last.now_or_never().is_some());
        assert!(!notify.permit.get());
    }
}
