//! A shard's questions to the control thread, and the notices that come from it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use crate::{
    budget::Budget,
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
}

/// Forgets a question whose asker went away, so that its reply is dropped when it comes.
struct Question<'a> {
    client: &'a ControlClient,
    ticket: Ticket,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.client.waiting.borrow_mut().remove(&self.ticket);
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
        let _turn = self.in_flight.take(1).await;
        let ticket = Ticket(self.next_ticket.replace(self.next_ticket.get() + 1));
        self.waiting.borrow_mut().insert(ticket, Waiting::For(None));
        let _question = Question {
            client: self,
            ticket,
        };
        if !self.tell(FromShard::Request { ticket, request }) {
            return None;
        }
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
            // No entry: the asker's connection was closed meanwhile.
            let Some(entry) = waiting.get_mut(&ticket) else {
                continue;
            };
            let before = std::mem::replace(entry, Waiting::Replied(reply));
            if let Waiting::For(Some(waker)) = before {
                waker.wake();
            }
        }
    }
}
