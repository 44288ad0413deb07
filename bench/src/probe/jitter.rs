//! How late a timer fires, and how long the kernel, or the host below it, keeps a busy thread from
//! its core. Both are in every tail that is measured here, whatever the broker does.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::histogram::{Latencies, Summary};

/// Time between two timers.
const PERIOD: Duration = Duration::from_millis(1);
/// Reading the clock takes some 30 ns: a gap this long is no part of the loop.
const GAP_MIN: Duration = Duration::from_micros(5);

/// A thread that loses more than this part of its time shares its core with something else.
const LOST_TOLERATED: f64 = 0.05;

/// Timers and scheduling in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Jitter {
    /// Of a timer behind the time it was set to.
    pub timer_late: Summary,
    /// Times in which a thread that wanted to run did not.
    pub gaps: Summary,
    /// Part of the time that was lost in gaps.
    pub gaps_part: f64,
}

/// Measures both.
pub fn measure(duration: Duration) -> Jitter {
    // Without it a timer may be late by 50 us; a refusal shows in the numbers, as it should.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let timer_late = timers(duration);
    let (gaps, lost) = gaps(clock_for(duration));
    Jitter {
        timer_late,
        gaps: gaps.summary(),
        gaps_part: lost.as_secs_f64() / duration.as_secs_f64(),
    }
}

impl Jitter {
    /// What a reader has to know before the numbers.
    pub fn note(&self) -> Option<String> {
        (self.gaps_part > LOST_TOLERATED).then(|| {
            format!(
                "a busy thread lost {:.0} % of its time to others: stop what else runs here, or \
                 all of these numbers are too low",
                self.gaps_part * 100.0
            )
        })
    }
}

fn timers(duration: Duration) -> Summary {
    let mut late = Latencies::new();
    let end = Instant::now() + duration;
    let mut due = Instant::now() + PERIOD;
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        late.record(nanos(due.elapsed()), 1);
        due += PERIOD;
    }
    late.summary()
}

/// The time since now, again and again until `duration` is over.
fn clock_for(duration: Duration) -> impl Iterator<Item = Duration> {
    let begun = Instant::now();
    std::iter::from_fn(move || Some(begun.elapsed()).filter(|elapsed| *elapsed < duration))
}

/// The gaps between moments that follow one another, and their sum.
fn gaps(mut moments: impl Iterator<Item = Duration>) -> (Latencies, Duration) {
    let (mut gaps, mut lost) = (Latencies::new(), Duration::ZERO);
    let Some(mut last) = moments.next() else {
        return (gaps, lost);
    };
    for now in moments {
        let gap = now.saturating_sub(last);
        if gap >= GAP_MIN {
            gaps.record(nanos(gap), 1);
            lost += gap;
        }
        last = now;
    }
    (gaps, lost)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_gaps_count_and_add_up() {
        let moments = [0, 1, 2, 40, 41, 46, 47].map(Duration::from_micros);
        let (gaps, lost) = gaps(moments.into_iter());
        assert_eq!(gaps.summary().count, 2);
        assert_eq!(lost, Duration::from_micros(43));
        assert!(gaps.summary().max_ns >= 38_000);
    }

    #[test]
    fn a_shared_core_is_told() {
        let jitter = |gaps_part| Jitter {
            timer_late: Summary::default(),
            gaps: Summary::default(),
            gaps_part,
        };
        assert_eq!(jitter(0.01).note(), None);
        assert!(jitter(0.5).note().is_some_and(|note| note.contains("50 %")));
    }
}
