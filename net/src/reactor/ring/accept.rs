//! Accepting: one multishot operation per listener, cancelled while nobody takes what it brings.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Poll, Waker},
};

use super::{
    Ring,
    queue::{Completion, Sink},
    request::{Request, own_descriptor},
};
use crate::reactor::slab::Key;

/// Connections accepted ahead of their taker: enough for a burst, few beside the listen backlog.
const WAITING_MAX: usize = 64;

#[derive(Default)]
struct State {
    waiting: VecDeque<OwnedFd>,
    error: Option<i32>,
    armed: Option<Key>,
    stopping: bool,
    takers: Vec<Waker>,
}

/// A listener, shared with the operation in flight for it.
pub(crate) struct Shared {
    socket: Rc<OwnedFd>,
    state: RefCell<State>,
}

impl Shared {
    pub(crate) fn new(socket: Rc<OwnedFd>) -> Rc<Self> {
        Rc::new(Shared {
            socket,
            state: RefCell::new(State::default()),
        })
    }

    /// Books a completion of the multishot.
    pub(crate) fn arrived(&self, ring: &Ring, completion: Completion) {
        let mut state = self.state.borrow_mut();
        match completion.result {
            fd if fd >= 0 => state.waiting.push_back(own_descriptor(fd)),
            n if n == -libc::ECANCELED => {}
            n => state.error = Some(-n),
        }
        if completion.is_final() {
            state.armed = None;
            state.stopping = false;
        }
        let full = state.waiting.len() >= WAITING_MAX;
        let takers = std::mem::take(&mut state.takers);
        drop(state);
        if full {
            self.stop(ring);
        }
        for waker in takers {
            waker.wake();
        }
    }

    fn stop(&self, ring: &Ring) {
        let mut state = self.state.borrow_mut();
        if let (Some(key), false) = (state.armed, state.stopping) {
            state.stopping = true;
            ring.cancel(key);
        }
    }

    fn arm(self: &Rc<Self>, ring: &Ring) {
        let mut state = self.state.borrow_mut();
        if state.armed.is_some() {
            return;
        }
        let request = Request::Accept {
            socket: Rc::clone(&self.socket),
        };
        match ring.start(request, Sink::Listener(Rc::clone(self))) {
            Some(key) => state.armed = Some(key),
            None => state.error = Some(libc::ECANCELED),
        }
    }

    fn next(&self) -> Option<io::Result<OwnedFd>> {
        let mut state = self.state.borrow_mut();
        match state.waiting.pop_front() {
            Some(socket) => Some(Ok(socket)),
            None => state
                .error
                .take()
                .map(|code| Err(io::Error::from_raw_os_error(code))),
        }
    }

    /// The handle is gone: what was accepted and not taken is closed.
    pub(crate) fn close(&self, ring: &Ring) {
        self.stop(ring);
        let waiting = std::mem::take(&mut self.state.borrow_mut().waiting);
        drop(waiting);
    }

    /// The next connection.
    pub(crate) async fn accept(self: &Rc<Self>, ring: &Rc<Ring>) -> io::Result<OwnedFd> {
        std::future::poll_fn(|context| match self.next() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.arm(ring);
                self.state.borrow_mut().takers.push(context.waker().clone());
                self.next().map_or(Poll::Pending, Poll::Ready)
            }
        })
        .await
    }
}
