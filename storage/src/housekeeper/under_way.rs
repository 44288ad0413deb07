//! How many tasks are under way, and waiting for none: the end of the housekeeper's thread.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

#[derive(Default)]
pub(super) struct UnderWay {
    tasks: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

/// One task; over when dropped.
pub(super) struct Begun(Rc<UnderWay>);

impl UnderWay {
    pub(super) fn begin(self: &Rc<Self>) -> Begun {
        self.tasks.set(self.tasks.get() + 1);
        Begun(Rc::clone(self))
    }

    /// Completes when no task is under way.
    pub(super) async fn none(&self) {
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

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
        if let Some(waker) = self.0.waiting.borrow_mut().take() {
            waker.wake();
        }
    }
}
