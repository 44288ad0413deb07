//! Deadlines of one shard's groups: many, mostly moved (by each heartbeat) before they pass.
//!
//! Kept in order, each key once. Moving one to later, which every heartbeat and commit does, only
//! notes the new time; the timer finds its place when the old one has come. Exact to the clock that
//! the caller reads; due ones are taken in bounded steps, so that ten thousand members that fall
//! silent together do not hold up the shard.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Instant,
};

/// Deadlines by key.
#[derive(Debug)]
pub struct Timers<K> {
    /// A number tells apart what is due at the same instant, in the order of arming.
    in_order: BTreeMap<Place, K>,
    armed: HashMap<K, Armed>,
    placed: u64,
}

type Place = (Instant, u64);

#[derive(Debug)]
struct Armed {
    /// Where it stands in the order: not after its deadline.
    place: Place,
    deadline: Instant,
}

impl<K: Clone + Eq + Hash> Timers<K> {
    /// None.
    pub fn new() -> Timers<K> {
        Timers {
            in_order: BTreeMap::new(),
            armed: HashMap::new(),
            placed: 0,
        }
    }

    /// Arms a timer or moves it. True if it is now the first of all: who sleeps must look again.
    pub fn arm(&mut self, key: K, deadline: Instant) -> bool {
        if let Some(armed) = self.armed.get_mut(&key)
            && armed.place.0 <= deadline
        {
            armed.deadline = deadline;
            return false;
        }
        self.disarm(&key);
        self.put(key, deadline)
    }

    fn put(&mut self, key: K, deadline: Instant) -> bool {
        self.placed += 1;
        let place = (deadline, self.placed);
        self.in_order.insert(place, key.clone());
        self.armed.insert(key, Armed { place, deadline });
        self.in_order.keys().next() == Some(&place)
    }

    /// Forgets a timer; none is fine.
    pub fn disarm(&mut self, key: &K) {
        if let Some(armed) = self.armed.remove(key) {
            self.in_order.remove(&armed.place);
        }
    }

    /// When to look for due ones: one may have moved meanwhile.
    pub fn next(&self) -> Option<Instant> {
        self.in_order.keys().next().map(|(instant, _)| *instant)
    }

    /// Takes the timers that are due, the earliest first; looks at `limit` at most.
    pub fn take_due(&mut self, now: Instant, limit: usize) -> Vec<K> {
        let mut due = Vec::new();
        for _ in 0..limit {
            if self.next().is_none_or(|instant| instant > now) {
                break;
            }
            let Some((_, key)) = self.in_order.pop_first() else {
                break;
            };
            match self.armed.remove(&key) {
                Some(armed) if armed.deadline > now => {
                    self.put(key, armed.deadline);
                }
                Some(_) => due.push(key),
                None => {}
            }
        }
        due
    }

    /// Timers armed.
    pub fn len(&self) -> usize {
        self.armed.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timer_that_comes_forward_wakes_the_sleeper() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.arm("one", at(20));
        assert!(!timers.arm("other", at(30)));
        assert!(!timers.arm("other", at(50)), "later is only noted");
        assert!(timers.arm("other", at(10)));
        assert_eq!(timers.take_due(at(15), 9), ["other"]);
        assert_eq!(timers.take_due(at(60), 9), ["one"]);
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn timers_ring_in_order_once_and_where_they_were_moved_to() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        assert!(timers.arm("late", at(30)));
        assert!(timers.arm("early", at(10)));
        assert!(!timers.arm("moved", at(15)));
        assert!(!timers.arm("moved", at(40)));
        timers.arm("gone", at(5));
        timers.disarm(&"gone");
        assert_eq!(timers.next(), Some(at(10)));
        assert!(timers.take_due(at(9), 9).is_empty());
        assert_eq!(timers.take_due(at(35), 1), ["early"]);
        assert_eq!(timers.take_due(at(35), 9), ["late"]);
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.next(), Some(at(40)), "it has found its new place");
        assert_eq!(timers.take_due(at(40), 9), ["moved"]);
        assert_eq!(timers.next(), None);
    }
}
