//! Which backend does the work. An enum and not a trait object: the loop asks it every turn.

use std::{rc::Rc, time::Instant};

use super::{epoll::Poller, ring::Ring};

/// How long a turn may sleep in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Not at all: there is work.
    No,
    /// Until something completes, or until then.
    Until(Option<Instant>),
}

/// The backend of one reactor.
pub(crate) enum Driver {
    Ring(Rc<Ring>),
    Epoll(Rc<Poller>),
}

impl Driver {
    /// Whether a turn would find something: asked while spinning.
    pub(crate) fn has_news(&self) -> bool {
        match self {
            Driver::Ring(ring) => ring.has_news(),
            Driver::Epoll(poller) => poller.has_news(),
        }
    }

    /// One visit to the kernel, and the wakes that follow from it.
    pub(crate) fn turn(&self, wait: Wait) {
        match self {
            Driver::Ring(ring) => ring.turn(wait),
            Driver::Epoll(poller) => poller.turn(wait),
        }
    }

    /// Ends every operation and waits until the kernel has let go of its buffers.
    pub(crate) fn close(&self) {
        match self {
            Driver::Ring(ring) => ring.close(),
            Driver::Epoll(poller) => poller.close(),
        }
    }
}
