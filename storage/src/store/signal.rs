//! Wakes the store's one task; a wake before it sleeps is kept.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

/// One waiting task's signal.
#[derive(Default)]
pub(super) struct Signal {
    is_set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    pub(super) fn wake(&self) {
        if !self.is_set.replace(true)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// Ready, and unset, if it was set.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_set.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
