//! Which rate to try next: doubled until one fails, then between the highest that held and the
//! lowest that failed, until those are near each other. One failure is not believed: a machine
//! hiccups, and the search would never look above it again; the best of three decides. Hiccups
//! last, too: what was found is the answer only if the rate above it fails at another time again.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;

/// Times that a rate is tried if it does not hold at first.
const TRIES: u32 = 3;

/// A search under way.
pub struct Search {
    precision: f64,
    lowest_allowed: u64,
    highest_allowed: u64,
    /// What is to be tried next; 0 ends the search.
    rate: u64,
    failures: u32,
    successes: u32,
    held: Option<u64>,
    failed: Option<u64>,
    /// The rate that failed is being tried at another time.
    is_confirming: bool,
}

impl Search {
    /// A search that begins at a rate and stays within two others.
    pub fn new(from: u64, allowed: RangeInclusive<u64>, precision: f64) -> Search {
        let (lowest_allowed, highest_allowed) = allowed.into_inner();
        Search {
            precision,
            lowest_allowed,
            highest_allowed,
            rate: from.min(highest_allowed),
            failures: 0,
            successes: 0,
            held: None,
            failed: None,
            is_confirming: false,
        }
    }

    /// The rate to be tried; none if the answer is known.
    pub fn next(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.rate)
    }

    /// Whether the rate held.
    pub fn tell(&mut self, held: bool) {
        match held {
            true => self.successes += 1,
            false => self.failures += 1,
        }
        // At first one success is enough; after a failure it takes the majority.
        let majority = TRIES / 2 + 1;
        if self.failures == 0 || self.successes == majority {
            self.held = Some(self.rate);
            // It failed before, in a bad moment: who knows what lies above it.
            if std::mem::take(&mut self.is_confirming) {
                self.failed = None;
            }
        } else if self.failures == majority {
            self.failed = Some(self.rate);
        } else {
            return;
        }
        (self.failures, self.successes) = (0, 0);
        self.rate = match self.following() {
            0 if !self.is_confirming => self.confirmed(),
            rate => rate,
        };
    }

    /// Once there is an answer: the rate above it, which failed a while ago.
    fn confirmed(&mut self) -> u64 {
        self.is_confirming = self.held.is_some() && self.failed.is_some();
        self.failed.filter(|_| self.is_confirming).unwrap_or(0)
    }

    /// The highest rate that held.
    pub fn highest(&self) -> Option<u64> {
        self.held
    }

    fn following(&self) -> u64 {
        match (self.held, self.failed) {
            (Some(held), None) if held >= self.highest_allowed => 0,
            (Some(held), None) => held.saturating_mul(2).min(self.highest_allowed),
            // Not even the first: down, as far as there is something to measure.
            (None, Some(failed)) if failed / 2 < self.lowest_allowed => 0,
            (None, Some(failed)) => failed / 2,
            (Some(held), Some(failed)) => {
                let near = failed as f64 <= held as f64 * (1.0 + self.precision);
                // The geometric middle: what counts is the ratio.
                let middle = (held as f64 * failed as f64).sqrt() as u64;
                if near || middle <= held { 0 } else { middle }
            }
            (None, None) => self.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a broker that holds up to a rate; says what was found and in how many steps.
    fn search(from: u64, mut holds: impl FnMut(u64, usize) -> bool) -> (Option<u64>, usize) {
        let mut search = Search::new(from, 50..=1_000_000, 0.05);
        let mut steps = 0;
        while let Some(rate) = search.next() {
            search.tell(holds(rate.get(), steps));
            steps += 1;
            assert!(steps < 200, "the search does not end");
        }
        (search.highest(), steps)
    }

    #[test]
    fn the_highest_rate_is_found_within_the_precision() {
        for limit in [1_000, 1_001, 1_999, 17_345, 65_000, 999_999] {
            let (found, steps) = search(1_000, |rate, _| rate <= limit);
            let found = found.expect("one holds");
            assert!(
                found <= limit && limit as f64 <= found as f64 * 1.05,
                "{limit}: {found}"
            );
            assert!(steps < 40, "{limit}: {steps} steps");
        }
    }

    #[test]
    fn it_goes_down_if_even_the_first_fails_and_ends_if_all_do() {
        let (found, _) = search(1_000, |rate, _| rate <= 90);
        assert!(
            found.is_some_and(|found| (86..=90).contains(&found)),
            "{found:?}"
        );
        // 1,000, 500, 250, 125 and 62 twice each, and no lower: 50 is the lowest allowed.
        assert_eq!(search(1_000, |_, _| false), (None, 10));
    }

    #[test]
    fn the_highest_allowed_rate_ends_it() {
        let (found, steps) = search(300_000, |_, _| true);
        assert_eq!((found, steps), (Some(1_000_000), 3));
    }

    #[test]
    fn a_bad_while_does_not_hide_what_lies_above() {
        // Whatever is tried in those steps fails; before and after them 60,000 hold.
        let (found, steps) = search(1_000, |rate, step| {
            !(2..5).contains(&step) && rate <= 60_000
        });
        let found = found.expect("one holds");
        assert!((57_000..=60_000).contains(&found), "{found}");
        assert!(steps < 60, "{steps} steps");
    }

    #[test]
    fn one_hiccup_does_not_hide_what_lies_above() {
        // The third step fails whatever the rate is; the same rate is tried again and holds.
        let (found, _) = search(1_000, |rate, step| step != 2 && rate <= 60_000);
        let found = found.expect("one holds");
        assert!(found > 57_000, "{found}");
    }
}
