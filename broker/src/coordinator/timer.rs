//! Deadlines of one shard's groups: many, mostly moved (by each heartbeat) before they pass.
//!
//! Kept in order, each key once: arming again moves it. Exact to the clock that the caller reads;
//! due ones are taken in bounded steps, so that ten thousand members that fall silent together do
//! not hold up the shard.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Instant,
};

/// Deadlines by key.
#[derive(Debug)]
pub struct Timers<K> {
    /// A number tells apart what is due at the same instant, in the order of arming.
    in_order: BTreeMap<(Instant, u64), K>,
    places: HashMap<K, (Instant, u64)>,
    armed: u64,
}

impl<K: Clone + Eq + Hash> Timers<K> {
    /// None.
    pub fn new() -> Timers<K> {
        Timers {
            in_order: BTreeMap::new(),
            places: HashMap::new(),
            armed: 0,
        }
    }

    /// Arms a timer or moves it. True if it is now the first of all: who sleeps must look again.
    pub fn arm(&mut self, key: K, deadline: Instant) -> bool {
        self.disarm(&key);
        self.armed += 1;
        let place = (deadline, self.armed);
        self.in_order.insert(place, key.clone());
        self.places.insert(key, place);
        self.in_order.keys().next() == Some(&place)
    }

    /// Forgets a timer; none is fine.
    pub fn disarm(&mut self, key: &K) {
        if let Some(place) = self.places.remove(key) {
            self.in_order.remove(&place);
        }
    }

    /// When the first one is due.
    pub fn next(&self) -> Option<Instant> {
        self.in_order.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Takes the timers that are due, at most `limit`, the earliest first.
    pub fn take_due(&mut self, now: Instant, limit: usize) -> Vec<K> {
        let mut due = Vec::new();
        while due.len() < limit && self.next().is_some_and(|deadline| deadline <= now) {
            let Some((_, key)) = self.in_order.pop_first() else {
                break;
            };
            self.places.remove(&key);
            due.push(key);
        }
        due
    }

    /// Timers armed.
    pub fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
        assert_eq!(timers.take_due(at(40), 9), ["moved"]);
        assert_eq!(timers.next(), None);
    }
}
