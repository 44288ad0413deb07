//! The reactor of the running thread.
//!
//! Set while `block_on` runs or a reactor is dropped; futures and constructors find their reactor
//! here, so that none has to be handed through every call.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{core::Core, slab::Key, waker::Remote};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// The running reactor.
///
/// # Panics
/// Outside of one.
pub(crate) fn get() -> Rc<Core> {
    let core = CURRENT.with(|current| current.borrow().clone());
    core.expect("no reactor runs on this thread: call this inside Reactor::block_on")
}

/// Queues a local wake if this thread runs the reactor of `remote`.
pub(crate) fn wake_locally(remote: &Arc<Remote>, task: Key) -> bool {
    let push = |current: &RefCell<Option<Rc<Core>>>| match &*current.borrow() {
        Some(core) if Arc::ptr_eq(core.remote(), remote) => {
            core.executor().queue(task);
            true
        }
        _ => false,
    };
    // A waker may outlive the thread's locals: then the remote queue takes it.
    CURRENT.try_with(push).unwrap_or(false)
}

/// Sends a wake through this thread's ring to another's, if both have one.
pub(crate) fn wake_through_ring(target: &Arc<Remote>) -> bool {
    let send = |current: &RefCell<Option<Rc<Core>>>| match &*current.borrow() {
        Some(core) => core.wake_other(target),
        None => false,
    };
    CURRENT.try_with(send).unwrap_or(false)
}

/// Whether a reactor runs on this thread.
pub(crate) fn is_set() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

/// Restores the previous reactor when dropped.
pub(crate) struct Entered {
    previous: Option<Rc<Core>>,
}

/// Makes `core` the thread's reactor for as long as the guard lives.
pub(crate) fn enter(core: Rc<Core>) -> Entered {
    Entered {
        previous: CURRENT.with(|current| current.borrow_mut().replace(core)),
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let previous = self.previous.take();
        let left = CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), previous));
        // Dropped outside of the borrow: it may be the last reference to a whole reactor.
        drop(left);
    }
}
