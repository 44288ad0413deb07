//! The groups of one partition of `__consumer_offsets`, and the order in which what was written
//! there takes effect: that of the log.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use spate_net::kafka::error::ErrorCode;

use super::{gather::Gathered, group::Group};

/// A group's id.
pub type GroupId = Rc<str>;

/// One partition's groups.
#[derive(Default)]
pub struct Groups {
    by_id: RefCell<HashMap<GroupId, Group>>,
    standing: Cell<Standing>,
    /// Writes begun since the start.
    begun: Cell<u64>,
    /// Writes that have taken effect.
    settled: Cell<u64>,
    /// Who waits for which turn: each is woken once, by the one before it.
    waiting: RefCell<HashMap<u64, Waker>>,
    /// Commits that go into the log at the end of the shard's turn.
    gathered: RefCell<Gathered>,
}

/// Whether the groups are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Standing {
    /// Being read from the log.
    #[default]
    Loading,
    /// Known.
    Loaded,
    /// The log could not be read.
    Unreadable,
    /// The topic is gone.
    Dropped,
}

impl Groups {
    /// The groups, if they may be used.
    ///
    /// # Errors
    /// 14, 15 or 16: the client asks again, or finds its coordinator anew.
    pub fn check(&self) -> Result<(), ErrorCode> {
        match self.standing.get() {
            Standing::Loaded => Ok(()),
            Standing::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            Standing::Unreadable => Err(ErrorCode::CoordinatorNotAvailable),
            Standing::Dropped => Err(ErrorCode::NotCoordinator),
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.standing.get()
    }

    /// Changes how it stands.
    pub fn set_standing(&self, standing: Standing) {
        self.standing.set(standing);
    }

    /// All groups. Not to be held over an await.
    pub fn by_id(&self) -> &RefCell<HashMap<GroupId, Group>> {
        &self.by_id
    }

    /// A write takes its place in the order.
    pub fn begin(&self) -> Turn {
        Turn(self.begun.replace(self.begun.get() + 1))
    }

    /// Waits until every write before this one has taken effect.
    pub async fn reach(&self, turn: &Turn) {
        poll_fn(|context| {
            if self.settled.get() == turn.0 {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            self.waiting.borrow_mut().insert(turn.0, waker);
            Poll::Pending
        })
        .await;
    }

    /// The write has taken effect.
    pub fn settle(&self, turn: Turn) {
        assert_eq!(self.settled.get(), turn.0, "writes settle in their order");
        let next = turn.0 + 1;
        self.settled.set(next);
        let waker = self.waiting.borrow_mut().remove(&next);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Commits that wait for the end of the turn. Not to be held over an await.
    pub(super) fn gathered(&self) -> &RefCell<Gathered> {
        &self.gathered
    }
}

/// A write's place in the order.
pub struct Turn(u64);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn writes_take_effect_in_the_order_of_the_log_whichever_is_durable_first() {
        let groups = Groups::default();
        let (first, second, third) = (groups.begin(), groups.begin(), groups.begin());
        assert!(groups.reach(&third).now_or_never().is_none());
        assert!(groups.reach(&second).now_or_never().is_none());
        assert!(groups.reach(&first).now_or_never().is_some());
        groups.settle(first);
        assert!(groups.reach(&third).now_or_never().is_none());
        assert!(groups.reach(&second).now_or_never().is_some());
        groups.settle(second);
        assert!(groups.reach(&third).now_or_never().is_some());
        groups.settle(third);
        assert!(groups.waiting.borrow().is_empty(), "nobody is left waiting");
    }
}
