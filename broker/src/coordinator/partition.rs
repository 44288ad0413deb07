//! The groups of one partition of `__consumer_offsets`, and the order in which what was written
//! there takes effect: that of the log.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use spate_net::{kafka::error::ErrorCode, reactor::Notify};

use super::group::Group;

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
    has_settled: Notify,
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
        while self.settled.get() != turn.0 {
            self.has_settled.notified().await;
        }
    }

    /// The write has taken effect.
    pub fn settle(&self, turn: Turn) {
        assert_eq!(self.settled.get(), turn.0, "writes settle in their order");
        self.settled.set(turn.0 + 1);
        self.has_settled.notify_all();
    }
}

/// A write's place in the order.
pub struct Turn(u64);
