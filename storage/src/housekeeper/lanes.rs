//! The executor of the plain thread: one job after the other, the most urgent first. Jobs there are
//! plain system calls, so a job is done when it has been polled once.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
    thread,
};

use futures_util::FutureExt as _;

use super::{Urgency, serve::Task};

/// Jobs that wait for their turn. Bounded by the credits of all shards, and one task for each size
/// class besides.
#[derive(Default)]
pub(super) struct Lanes {
    waiting: [RefCell<VecDeque<Task>>; 3],
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Lanes {
    pub(super) fn push(&self, urgency: Urgency, task: Task) {
        self.waiting[urgency as usize].borrow_mut().push_back(task);
    }

    fn pop(&self) -> Option<Task> {
        self.waiting
            .iter()
            .find_map(|lane| lane.borrow_mut().pop_front())
    }

    /// Runs `service`, which takes jobs and puts them in lanes, and between its turns the jobs.
    /// Parks the thread when there are none.
    pub(super) fn run(&self, service: impl Future<Output = ()>) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut service = pin!(service);
        // The service ends only when no job is under way, so none is left behind.
        while service.as_mut().poll(&mut context).is_pending() {
            match self.pop() {
                Some(task) => {
                    let done = task.now_or_never();
                    assert!(done.is_some(), "a job on the plain disk is done at once");
                }
                None => thread::park(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, rc::Rc, task::Poll};

    use super::*;

    #[test]
    fn urgent_jobs_go_first_whenever_they_came() {
        let (lanes, order) = (Rc::new(Lanes::default()), Rc::new(RefCell::new(Vec::new())));
        let push = |urgency| {
            let order = Rc::clone(&order);
            lanes.push(
                urgency,
                Box::pin(async move { order.borrow_mut().push(urgency) }),
            );
        };
        push(Urgency::Whenever);
        push(Urgency::Ahead);
        push(Urgency::Awaited);
        let all = poll_fn(|_| match order.borrow().len() {
            3 => Poll::Ready(()),
            _ => Poll::Pending,
        });
        lanes.run(all);
        assert_eq!(
            *order.borrow(),
            [Urgency::Awaited, Urgency::Ahead, Urgency::Whenever]
        );
    }
}
