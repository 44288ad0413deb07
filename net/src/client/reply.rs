//! The place where an answer arrives.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::error::ClientError;

/// One request that waits for its answer.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) correlation_id: i32,
    state: RefCell<State>,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Done(Result<Bytes, Rc<str>>),
}

impl Slot {
    pub(super) fn new(correlation_id: i32) -> Rc<Slot> {
        Rc::new(Slot {
            correlation_id,
            state: RefCell::new(State::Waiting(None)),
        })
    }

    /// Hands over the answer's frame, or the reason why none will come.
    pub(super) fn complete(&self, outcome: Result<Bytes, Rc<str>>) {
        let before = self.state.replace(State::Done(outcome));
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// An answer to come: the frame without its size, header and all. Dropping it lets the answer
/// come and be forgotten.
#[derive(Debug)]
pub struct Reply {
    slot: Rc<Slot>,
    peer: SocketAddr,
}

impl Reply {
    pub(super) fn new(slot: Rc<Slot>, peer: SocketAddr) -> Reply {
        Reply { slot, peer }
    }
}

impl Future for Reply {
    type Output = Result<Bytes, ClientError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state.borrow_mut();
        match &mut *state {
            State::Done(outcome) => {
                Poll::Ready(outcome.clone().map_err(|reason| ClientError::Closed {
                    peer: self.peer,
                    reason,
                }))
            }
            State::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
