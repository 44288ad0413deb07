//! A shard's questions to the control thread, and the notices that come from it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use crate::{
    budget::{Budget, Grant},
    control::{
        link::{REQUESTS_IN_FLIGHT, ShardPort},
        message::{ControlReply, ControlRequest, FromShard, ShardNotice, Ticket},
    },
};

/// The shard's end of its rings to the control thread.
pub struct ControlClient {
    port: RefCell<ShardPort>,
    in_flight: Rc<Budget>,
    next_ticket: Cell<u64>,
    waiting: RefCell<HashMap<Ticket, Waiting>>,
}

enum Waiting {
    For(Option<Waker>),
    Replied(ControlReply),
    /// The asker went away. Its turn is free only when the reply, which is dropped, has come: until
    /// then the question may still lie in the ring, which holds no more than there are turns.
    Abandoned(Grant),
}

/// A question on its way, with its asker's turn; dropped unanswered, it is given up.
struct Question<'a> {
    client: &'a ControlClient,
    ticket: Ticket,
    turn: Option<Grant>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut waiting = self.client.waiting.borrow_mut();
        if let Some(entry @ Waiting::For(_)) = waiting.get_mut(&self.ticket)
            && let Some(turn) = self.turn.take()
        {
            *entry = Waiting::Abandoned(turn);
        } else {
            waiting.remove(&self.ticket);
        }
    }
}

impl ControlClient {
    /// A client over one port.
    pub fn new(port: ShardPort) -> ControlClient {
        ControlClient {
            port: RefCell::new(port),
            in_flight: Budget::new(REQUESTS_IN_FLIGHT),
            next_ticket: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Asks, waiting its turn among this shard's questions; `None` if the control thread is gone,
    /// which ends the process soon.
    pub async fn ask(&self, request: ControlRequest) -> Option<ControlReply> {
        let turn = Some(self.in_flight.take(1).await);
        let ticket = Ticket(self.next_ticket.replace(self.next_ticket.get() + 1));
        if !self.tell(FromShard::Request { ticket, request }) {
            return None;
        }
        self.waiting.borrow_mut().insert(ticket, Waiting::For(None));
        let _question = Question {
            client: self,
            ticket,
            turn,
        };
        poll_fn(|cx| {
            let mut waiting = self.waiting.borrow_mut();
            match waiting.remove(&ticket) {
                Some(Waiting::Replied(reply)) => Poll::Ready(Some(reply)),
                _ if self.port.borrow().is_abandoned() => Poll::Ready(None),
                _ => {
                    waiting.insert(ticket, Waiting::For(Some(cx.waker().clone())));
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Says something that has no reply. The ring has room for all questions in flight and the few
    /// confirmations beside them, so that it is full only when the control thread is gone.
    pub fn tell(&self, message: FromShard) -> bool {
        let sent = self.port.borrow_mut().send(message).is_ok();
        if !sent {
            tracing::error!("the control thread does not take messages; the broker must restart");
        }
        sent
    }

    /// Whether a notice waits.
    pub fn has_notice(&self) -> bool {
        self.port.borrow().has_notice()
    }

    /// The next notice that is not a reply; replies are delivered here.
    pub fn receive(&self) -> Option<ShardNotice> {
        loop {
            let notice = self.port.borrow_mut().receive()?;
            let ShardNotice::Reply { ticket, reply } = notice else {
                return Some(notice);
            };
            let mut waiting = self.waiting.borrow_mut();
            let before = waiting.insert(ticket, Waiting::Replied(reply));
            match before {
                Some(Waiting::For(Some(waker))) => waker.wake(),
                Some(Waiting::For(None)) => {}
                Some(Waiting::Abandoned(turn)) => {
                    waiting.remove(&ticket);
                    drop(turn);
                }
                Some(Waiting::Replied(_)) | None => unreachable!("{ticket:?} was replied to twice"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;
    use crate::{
        control::{
            link::{RING_SLOTS, link},
            message::ProducerIdBlock,
        },
        image::ImageVersion,
    };

    /// A burst of clients that asked and left filled the ring while the control thread was at its
    /// disk; the confirmation of an image then found no room, and no topic could be created any
    /// more.
    #[test]
    fn askers_that_leave_keep_their_turns_until_the_reply() {
        let (port, mut link) = link(Arc::default(), Box::new(|| {}));
        let client = ControlClient::new(port);
        for _ in 0..2 * RING_SLOTS {
            let left = client.ask(ControlRequest::ProducerIdBlock).now_or_never();
            assert!(left.is_none());
        }
        assert_eq!(client.in_flight.used(), REQUESTS_IN_FLIGHT);
        assert!(client.tell(FromShard::Adopted(ImageVersion(1))));
        while let Some(message) = link.receive() {
            let FromShard::Request { ticket, .. } = message else {
                continue;
            };
            let block = ProducerIdBlock { first: 0, count: 1 };
            let reply = ControlReply::ProducerIdBlock(Ok(block));
            link.send(ShardNotice::Reply { ticket, reply });
        }
        assert!(client.receive().is_none());
        assert_eq!(client.in_flight.used(), 0);
        assert!(client.waiting.borrow().is_empty());
    }
}
