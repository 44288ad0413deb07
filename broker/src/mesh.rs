//! The rings between shards: one bounded SPSC ring for each ordered pair.
//!
//! A request takes a credit, and the credit reserves the slot of its answer: a ring has room for
//! every request its sender may have open, for every answer it may owe and for one notice, so a
//! push never waits and two full rings cannot wait on each other. Out of credits, the connection
//! that asks waits; nothing is dropped.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use rtrb::{Consumer, Producer, RingBuffer};
use spate_net::reactor::RemoteWaker;
use spate_storage::types::ShardId;

use crate::{
    budget::{Budget, Grant},
    shard::message::{Answer, Ask, Envelope, WatchKey},
};

/// Requests that one shard may have open at one other: some 64 connections with their in-flight
/// produce requests. A ring then is 2 * 1024 + 1 envelopes of about 48 bytes.
pub const CREDITS: usize = 1024;

/// A ring holds the sender's open requests, its answers to the other side's, and one notice.
const RING_SLOTS: usize = 2 * CREDITS + 1;

/// Both ends of one shard's rings to one other shard, before its thread takes them.
pub struct Ends {
    outgoing: Producer<Envelope>,
    incoming: Consumer<Envelope>,
}

/// Makes the rings of `shards` shards: row `i` holds shard `i`'s ends, `None` for itself.
pub fn rings(shards: u16) -> Vec<Vec<Option<Ends>>> {
    let count = usize::from(shards);
    let mut producers: Vec<Vec<Option<Producer<Envelope>>>> = Vec::new();
    let mut consumers: Vec<Vec<Option<Consumer<Envelope>>>> = (0..count)
        .map(|_| (0..count).map(|_| None).collect())
        .collect();
    for source in 0..count {
        let mut row = Vec::with_capacity(count);
        for (target, incoming) in consumers.iter_mut().enumerate() {
            if source == target {
                row.push(None);
                continue;
            }
            let (producer, consumer) = RingBuffer::new(RING_SLOTS);
            row.push(Some(producer));
            incoming[source] = Some(consumer);
        }
        producers.push(row);
    }
    producers
        .into_iter()
        .zip(consumers)
        .map(|(out, inc)| {
            out.into_iter()
                .zip(inc)
                .map(|(outgoing, incoming)| {
                    Some(Ends {
                        outgoing: outgoing?,
                        incoming: incoming?,
                    })
                })
                .collect()
        })
        .collect()
}

/// One shard's side of all its rings.
pub struct Mesh {
    links: Vec<Option<Link>>,
    hops: Cell<u64>,
}

struct Link {
    outgoing: RefCell<Producer<Envelope>>,
    incoming: RefCell<Consumer<Envelope>>,
    neighbour: RemoteWaker,
    credits: Rc<Budget>,
    slots: RefCell<Slots>,
    /// Envelopes pushed since the start.
    pushed: Cell<u64>,
    /// The number of the last notice among them.
    notice: Cell<Option<u64>>,
    /// Fired watches that no notice has carried yet; bounded by the watches armed.
    fired: RefCell<Vec<WatchKey>>,
}

/// The open requests of one link, by slot number.
#[derive(Default)]
struct Slots {
    open: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
enum Slot {
    #[default]
    Free,
    Waiting(Option<Waker>),
    Answered(Answer),
    /// The asker went away; the answer is dropped when it comes, and only then the credit is free.
    Abandoned(Grant),
}

impl Mesh {
    /// Takes the ends that [`rings`] made for this shard, and everybody's wakers by shard number.
    pub fn new(ends: Vec<Option<Ends>>, wakers: &[RemoteWaker]) -> Mesh {
        let links = ends
            .into_iter()
            .zip(wakers)
            .map(|(ends, waker)| {
                ends.map(|ends| Link {
                    outgoing: RefCell::new(ends.outgoing),
                    incoming: RefCell::new(ends.incoming),
                    neighbour: waker.clone(),
                    credits: Budget::new(CREDITS),
                    slots: RefCell::default(),
                    pushed: Cell::new(0),
                    notice: Cell::new(None),
                    fired: RefCell::default(),
                })
            })
            .collect();
        Mesh {
            links,
            hops: Cell::new(0),
        }
    }

    /// Requests sent to other shards since the start.
    pub fn hops(&self) -> u64 {
        self.hops.get()
    }

    /// Whether any neighbour has written something that was not taken yet.
    pub fn has_mail(&self) -> bool {
        self.links
            .iter()
            .flatten()
            .any(|link| !link.incoming.borrow().is_empty())
    }

    /// Waits for a credit towards `target`; hand it to [`Mesh::ask`].
    pub async fn credit(&self, target: ShardId) -> Grant {
        self.link(target).credits.take(1).await
    }

    /// Sends the request now, in the order of calls, and returns its answer to come. Dropping the
    /// future gives the answer up, not the request.
    pub fn ask(self: &Rc<Self>, target: ShardId, ask: Ask, credit: Grant) -> Reply {
        let link = self.link(target);
        let slot = link.slots.borrow_mut().take();
        self.hops.set(self.hops.get() + 1);
        link.push(Envelope::Ask { slot, ask });
        Reply {
            mesh: Rc::clone(self),
            target,
            slot,
            credit: Some(credit),
        }
    }

    /// Sends the answer to a request that came from `target`.
    pub fn answer(&self, target: ShardId, slot: u32, answer: Answer) {
        self.link(target).push(Envelope::Answer { slot, answer });
    }

    /// Tells the asker that its watch fired.
    pub fn fire(&self, key: WatchKey) {
        self.link(key.asker).fired.borrow_mut().push(key);
    }

    /// Sends the fired watches collected since the last call. A ring has one slot for notices;
    /// while the last one is still in it, they wait here: false then, and call again soon.
    pub fn flush_fired(&self) -> bool {
        let mut all_sent = true;
        for link in self.links.iter().flatten() {
            if link.fired.borrow().is_empty() {
                continue;
            }
            if !link.notice_was_taken() {
                all_sent = false;
                continue;
            }
            let keys = link.fired.take();
            link.notice.set(Some(link.pushed.get()));
            link.push(Envelope::Fired(keys));
        }
        all_sent
    }

    /// Takes the next envelope of any neighbour, with who sent it; answers are delivered here.
    pub fn receive(&self, budget: &mut usize) -> Option<(ShardId, Envelope)> {
        for (number, link) in self.links.iter().enumerate() {
            let Some(link) = link else { continue };
            while *budget > 0 {
                let popped = link.incoming.borrow_mut().pop();
                let Ok(envelope) = popped else { break };
                *budget -= 1;
                match envelope {
                    Envelope::Answer { slot, answer } => link.deliver(slot, answer),
                    other => return Some((ShardId(number as u16), other)),
                }
            }
        }
        None
    }

    fn link(&self, target: ShardId) -> &Link {
        self.links[usize::from(target.0)]
            .as_ref()
            .expect("a shard has no ring to itself")
    }
}

impl Link {
    fn push(&self, envelope: Envelope) {
        let pushed = self.outgoing.borrow_mut().push(envelope);
        assert!(pushed.is_ok(), "ring full: credits exceed its slots");
        self.pushed.set(self.pushed.get() + 1);
        self.neighbour.wake();
    }

    /// Whether the neighbour has taken the last notice: it takes in order, so it has when it took
    /// more envelopes than were pushed before that one.
    fn notice_was_taken(&self) -> bool {
        let in_ring = RING_SLOTS - self.outgoing.borrow().slots();
        let taken = self.pushed.get() - in_ring as u64;
        self.notice.get().is_none_or(|number| taken > number)
    }

    fn deliver(&self, slot: u32, answer: Answer) {
        let mut slots = self.slots.borrow_mut();
        let entry = &mut slots.open[slot as usize];
        match std::mem::take(entry) {
            Slot::Waiting(waker) => {
                *entry = Slot::Answered(answer);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Abandoned(credit) => {
                slots.free.push(slot);
                drop(slots);
                drop(credit);
            }
            Slot::Free | Slot::Answered(_) => unreachable!("slot {slot} answered twice"),
        }
    }
}

impl Slots {
    fn take(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.open[slot as usize] = Slot::Waiting(None);
            return slot;
        }
        self.open.push(Slot::Waiting(None));
        (self.open.len() - 1) as u32
    }
}

/// The answer to come of one request.
pub struct Reply {
    mesh: Rc<Mesh>,
    target: ShardId,
    slot: u32,
    /// `None` once the answer was taken.
    credit: Option<Grant>,
}

impl Future for Reply {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = {
            let mut slots = self.mesh.link(self.target).slots.borrow_mut();
            let entry = &mut slots.open[self.slot as usize];
            match std::mem::take(entry) {
                Slot::Answered(answer) => {
                    slots.free.push(self.slot);
                    answer
                }
                _ => {
                    *entry = Slot::Waiting(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
            }
        };
        self.credit = None;
        Poll::Ready(answer)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(credit) = self.credit.take() else {
            return;
        };
        let mut slots = self.mesh.link(self.target).slots.borrow_mut();
        let entry = &mut slots.open[self.slot as usize];
        match std::mem::take(entry) {
            Slot::Answered(_) => slots.free.push(self.slot),
            // The credit stays taken until the answer has come: it reserves that answer's slot.
            _ => *entry = Slot::Abandoned(credit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spate_net::reactor::{Reactor, ReactorChoice, ReactorConfig};

    #[test]
    fn a_notice_waits_until_the_one_before_it_was_taken() {
        let reactor = Reactor::new(&ReactorConfig {
            choice: ReactorChoice::Epoll,
            ..ReactorConfig::default()
        })
        .unwrap();
        let wakers = [reactor.waker(), reactor.waker()];
        let mut ends = rings(2).into_iter();
        let sender = Mesh::new(ends.next().unwrap(), &wakers);
        let receiver = Mesh::new(ends.next().unwrap(), &wakers);
        let key = WatchKey {
            asker: ShardId(1),
            connection: 7,
        };
        sender.fire(key);
        assert!(sender.flush_fired());
        sender.fire(key);
        assert!(!sender.flush_fired(), "the caller must come back");
        let taken = receiver.receive(&mut 1);
        assert!(matches!(taken, Some((ShardId(0), Envelope::Fired(keys))) if keys == [key]));
        assert!(sender.flush_fired());
    }
}
