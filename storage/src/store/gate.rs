//! How much of the disk readers of a backlog may have at once. A journal write that comes behind
//! sixteen blocks on their way takes its turn after them: measured beside reads of 200 MB/s, the
//! p99 of a durable write of 8 KiB is 0.3 ms with nothing before it, 1.6 ms behind one block of
//! 1 MiB at a time, 7 ms behind eight and 13 ms behind sixteen. So while the shard writes, its
//! readers take turns, which leaves them a gigabyte a second; when it does not, they share more.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    task::{Poll, Waker},
};

/// Bytes on their way from the disk while the shard writes: a few usual blocks. A longer one goes
/// alone.
const BESIDE_WRITES_BYTES: usize = 1 << 20;
/// And while it does not. Another shard may write to the same disk: with 16 MiB it would wait long.
const ALONE_BYTES: usize = 4 << 20;

/// The turns of a shard's readers: who comes first reads first.
#[derive(Default)]
pub(super) struct Gate {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    next_ticket: u64,
    waiting: VecDeque<(u64, Option<Waker>)>,
}

/// How soon a block is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Depth {
    /// Now, or as soon as a reader is done with the one before.
    Next,
    /// Later: half of the room stays for those that come before.
    Further,
}

/// Somebody's bytes on their way; dropped, others come in.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    bytes: usize,
}

/// A place in the queue, given up when its reader goes away.
struct Ticket<'a> {
    gate: &'a Gate,
    number: u64,
}

/// What may be on its way.
fn limit(is_writing: bool) -> usize {
    if is_writing {
        BESIDE_WRITES_BYTES
    } else {
        ALONE_BYTES
    }
}

impl Gate {
    /// Lets `bytes` through at once, if nobody waits and there is room: for who can do without.
    pub(super) fn try_enter(&self, bytes: usize, is_writing: bool, depth: Depth) -> bool {
        let mut state = self.state.borrow_mut();
        let leaves_room = match depth {
            Depth::Next => true,
            Depth::Further => state.bytes + bytes <= limit(is_writing) / 2,
        };
        let has_room = leaves_room && state.has_room(bytes, is_writing);
        let enters = state.waiting.is_empty() && has_room;
        if enters {
            state.bytes += bytes;
        }
        enters
    }

    /// Gives back what [`Gate::try_enter`] let through.
    pub(super) fn leave(&self, bytes: usize) {
        let mut state = self.state.borrow_mut();
        state.bytes -= bytes;
        state.wake_first();
    }

    /// Waits for a turn. `is_writing` is asked whenever it might have come.
    pub(super) async fn enter(&self, bytes: usize, is_writing: impl Fn() -> bool) -> Pass<'_> {
        if self.try_enter(bytes, is_writing(), Depth::Next) {
            return Pass { gate: self, bytes };
        }
        let ticket = self.queue();
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            let has_room = state.has_room(bytes, is_writing());
            match state.waiting.front_mut() {
                Some((first, _)) if *first == ticket.number && has_room => {
                    state.bytes += bytes;
                    return Poll::Ready(());
                }
                _ => {}
            }
            let mut waiting = state.waiting.iter_mut();
            if let Some((_, waker)) = waiting.find(|(number, _)| *number == ticket.number) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
        // Its end lets the next one look, who may have room too.
        drop(ticket);
        Pass { gate: self, bytes }
    }

    fn queue(&self) -> Ticket<'_> {
        let mut state = self.state.borrow_mut();
        let number = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back((number, None));
        Ticket { gate: self, number }
    }
}

impl State {
    fn has_room(&self, bytes: usize, is_writing: bool) -> bool {
        self.bytes == 0 || self.bytes + bytes <= limit(is_writing)
    }

    fn wake_first(&mut self) {
        if let Some((_, waker)) = self.waiting.front_mut()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.borrow_mut();
        state.waiting.retain(|(number, _)| *number != self.number);
        state.wake_first();
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt as _, poll};

    use super::*;

    const BLOCK: usize = 1 << 20;

    fn writing() -> bool {
        true
    }

    #[test]
    fn beside_writes_one_block_is_on_its_way_and_alone_four() {
        let gate = Gate::default();
        assert!(gate.try_enter(BLOCK, true, Depth::Next) && !gate.try_enter(1, true, Depth::Next));
        assert!(
            (0..3).all(|_| gate.try_enter(BLOCK, false, Depth::Next))
                && !gate.try_enter(1, false, Depth::Next)
        );
        (0..4).for_each(|_| gate.leave(BLOCK));
        // A block above all limits goes alone.
        assert!(
            gate.try_enter(32 * BLOCK, true, Depth::Next) && !gate.try_enter(1, false, Depth::Next)
        );
    }

    #[test]
    fn half_of_the_room_is_left_to_blocks_that_are_wanted_sooner() {
        let gate = Gate::default();
        let quarter = BLOCK / 4;
        assert!((0..2).all(|_| gate.try_enter(quarter, true, Depth::Further)));
        assert!(!gate.try_enter(quarter, true, Depth::Further));
        assert!((0..2).all(|_| gate.try_enter(quarter, true, Depth::Next)));
        assert!(!gate.try_enter(1, true, Depth::Next));
    }

    #[test]
    fn readers_take_turns_and_one_who_goes_away_holds_nobody_up() {
        let gate = Gate::default();
        let all = async {
            let first = gate.enter(BLOCK, writing).await;
            let mut second = Box::pin(gate.enter(BLOCK, writing));
            let mut third = pin!(gate.enter(BLOCK, writing));
            assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
            assert!(!gate.try_enter(1, true, Depth::Next), "it would overtake");
            drop(first);
            assert!(poll!(&mut third).is_pending(), "it would overtake");
            drop(second);
            let third = third.await;
            assert!(!gate.try_enter(1, true, Depth::Next));
            drop(third);
            assert!(gate.try_enter(1, true, Depth::Next));
        };
        all.now_or_never().expect("everybody had a turn");
    }

    #[test]
    fn small_blocks_share_a_turn() {
        let gate = Gate::default();
        let all = async {
            let large = gate.enter(BLOCK, writing).await;
            let mut small: Vec<_> = (0..4)
                .map(|_| Box::pin(gate.enter(BLOCK / 4, writing)))
                .collect();
            for one in &mut small {
                assert!(poll!(one).is_pending());
            }
            drop(large);
            futures_util::future::join_all(small).await.len()
        };
        assert_eq!(all.now_or_never(), Some(4));
    }
}
