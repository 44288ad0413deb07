//! A byte budget of one shard: what the memory plan allows for one purpose, taken before the memory
//! is, given back on drop. First come, first served: a large taker is not starved by small ones.
//!
//! Local to its shard, no atomics. Also counts other things than bytes, such as credits.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// A bounded amount of something, shared by the tasks of one shard.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: Cell<usize>,
    peak: Cell<usize>,
    queue: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    need: usize,
    state: Cell<WaiterState>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum WaiterState {
    Waiting,
    Granted,
    Gone,
}

/// An amount taken from a [`Budget`]; dropping it gives the amount back.
#[derive(Debug)]
pub struct Grant {
    budget: Rc<Budget>,
    amount: usize,
}

impl Budget {
    /// A budget of `limit` units, none of them taken.
    pub fn new(limit: usize) -> Rc<Budget> {
        Rc::new(Budget {
            limit,
            used: Cell::new(0),
            peak: Cell::new(0),
            queue: RefCell::new(VecDeque::new()),
        })
    }

    /// Units taken now.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Units that are not taken.
    pub fn free(&self) -> usize {
        self.limit - self.used.get()
    }

    /// The most units that were taken at any moment.
    pub fn peak(&self) -> usize {
        self.peak.get()
    }

    /// Takes `need` units if they are free and nobody waits; a need above the limit counts as the
    /// limit, so that it gets the whole budget and not a deadlock. Nothing is always free.
    pub fn try_take(self: &Rc<Self>, need: usize) -> Option<Grant> {
        let need = need.min(self.limit);
        let must_wait = need > self.free() || !self.queue.borrow().is_empty();
        if need > 0 && must_wait {
            return None;
        }
        self.charge(need);
        Some(Grant {
            budget: Rc::clone(self),
            amount: need,
        })
    }

    /// Takes `need` units, waiting its turn; see [`Budget::try_take`] for needs above the limit.
    pub async fn take(self: &Rc<Self>, need: usize) -> Grant {
        match self.try_take(need) {
            Some(grant) => grant,
            None => self.queue_for(need).await,
        }
    }

    fn queue_for(self: &Rc<Self>, need: usize) -> Take {
        let need = need.min(self.limit);
        let waiter = Rc::new(Waiter {
            need,
            state: Cell::new(WaiterState::Waiting),
            waker: RefCell::new(None),
        });
        self.queue.borrow_mut().push_back(Rc::clone(&waiter));
        self.serve_queue();
        Take {
            budget: Rc::clone(self),
            waiter,
        }
    }

    fn charge(&self, amount: usize) {
        let used = self.used.get() + amount;
        assert!(
            used <= self.limit,
            "budget of {} overdrawn: {used}",
            self.limit
        );
        self.used.set(used);
        self.peak.set(self.peak.get().max(used));
    }

    fn give_back(&self, amount: usize) {
        self.used.set(self.used.get() - amount);
        self.serve_queue();
    }

    fn serve_queue(&self) {
        loop {
            let waiter = {
                let mut queue = self.queue.borrow_mut();
                let Some(head) = queue.front() else { return };
                if head.state.get() == WaiterState::Gone {
                    queue.pop_front();
                    continue;
                }
                if head.need > self.limit - self.used.get() {
                    return;
                }
                queue.pop_front()
            };
            let Some(waiter) = waiter else { return };
            self.charge(waiter.need);
            waiter.state.set(WaiterState::Granted);
            let waker = waiter.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Grant {
    /// Gives back what is above `amount` now, and keeps the rest.
    pub fn shrink_to(&mut self, amount: usize) {
        if amount < self.amount {
            let excess = self.amount - amount;
            self.amount = amount;
            self.budget.give_back(excess);
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.give_back(self.amount);
    }
}

/// A place in the queue. Dropping it unfinished leaves the queue.
#[derive(Debug)]
struct Take {
    budget: Rc<Budget>,
    waiter: Rc<Waiter>,
}

impl Future for Take {
    type Output = Grant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Grant> {
        if self.waiter.state.get() == WaiterState::Granted {
            self.waiter.state.set(WaiterState::Gone);
            return Poll::Ready(Grant {
                budget: Rc::clone(&self.budget),
                amount: self.waiter.need,
            });
        }
        *self.waiter.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        match self.waiter.state.replace(WaiterState::Gone) {
            WaiterState::Granted => self.budget.give_back(self.waiter.need),
            WaiterState::Waiting => self.budget.serve_queue(),
            WaiterState::Gone => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn small_takers_do_not_overtake_a_waiting_large_one() {
        let budget = Budget::new(10);
        let held = budget.try_take(6).unwrap();
        let mut large = budget.queue_for(8);
        assert!((&mut large).now_or_never().is_none());
        assert!(budget.try_take(1).is_none());
        assert!(budget.try_take(0).is_some(), "nothing waits for nobody");
        drop(held);
        let grant = (&mut large).now_or_never().unwrap();
        assert_eq!(budget.used(), 8);
        drop(grant);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_abandoned_wait_gives_its_turn_and_its_grant_back() {
        let budget = Budget::new(4);
        let held = budget.try_take(4).unwrap();
        let first = budget.queue_for(4);
        let mut second = budget.queue_for(2);
        drop(first);
        drop(held);
        let grant = (&mut second).now_or_never().unwrap();
        assert_eq!(budget.used(), 2);
        drop(grant);
        let granted_unpolled = budget.queue_for(3);
        assert_eq!(budget.used(), 3);
        drop(granted_unpolled);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_need_above_the_limit_takes_the_whole_budget() {
        let budget = Budget::new(4);
        let grant = budget.try_take(100).unwrap();
        assert_eq!(budget.used(), 4);
        drop(grant);
        assert_eq!(budget.used(), 0);
    }
}
