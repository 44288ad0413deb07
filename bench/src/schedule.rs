//! Time in a run, and when each record is meant to be sent.
//!
//! The schedule is fixed before the run and knows nothing of answers: if the broker stalls, records
//! go on becoming due, and their latency counts from then. A driver that waits for the answer
//! before it decides when to send next would leave the stall out of its percentiles (coordinated
//! omission).

use std::num::NonZeroU64;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NANOS_PER_S: u64 = 1_000_000_000;

/// A moment of a run, in nanoseconds since its clock was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The nanoseconds since `earlier`, none if that is later.
    pub fn nanos_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `duration` after this one.
    pub fn after(self, duration: Duration) -> Moment {
        Moment(self.0 + nanos(duration))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of one run: monotonic, and tied once to the wall clock, so that records can carry
/// their intended time to consumers in other processes.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
    zero_unix_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            zero: Instant::now(),
            zero_unix_ns: nanos(unix),
        }
    }

    /// The time.
    pub fn now(&self) -> Moment {
        Moment(nanos(self.zero.elapsed()))
    }

    /// A moment as timers want it.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.zero + Duration::from_nanos(moment.0)
    }

    /// A moment in nanoseconds since 1970.
    pub fn unix_ns(&self, moment: Moment) -> u64 {
        self.zero_unix_ns + moment.0
    }

    /// The moment of a time in nanoseconds since 1970; a time before the run is its start.
    pub fn moment(&self, unix_ns: u64) -> Moment {
        Moment(unix_ns.saturating_sub(self.zero_unix_ns))
    }
}

/// The parts of a run: a warm-up that is not counted, and the measured window behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phases {
    /// When the first record is due.
    pub start: Moment,
    /// When measuring begins.
    pub measure_from: Moment,
    /// When measuring ends, and with it the schedule.
    pub measure_until: Moment,
}

impl Phases {
    /// Lays the phases out from `start` on.
    pub fn new(start: Moment, warm_up: Duration, duration: Duration) -> Phases {
        let measure_from = start.after(warm_up);
        Phases {
            start,
            measure_from,
            measure_until: measure_from.after(duration),
        }
    }

    /// The second since measuring began.
    pub fn second(&self, moment: Moment) -> u64 {
        moment.nanos_since(self.measure_from) / NANOS_PER_S
    }

    /// Whether a moment lies in the measured window.
    pub fn measures(&self, moment: Moment) -> bool {
        self.measure_from <= moment && moment < self.measure_until
    }
}

/// One connection's share of a run's records, in batches.
///
/// Batches are numbered over all connections and dealt in turn, so that they are spread evenly over
/// time. With two connections, batches of two and 1,000 records/s:
///
/// ```text
/// record due at   0 ms  1 ms | 2 ms  3 ms | 4 ms  5 ms | ...
/// connection      0          | 1          | 0          |
/// sent at               1 ms |       3 ms |       5 ms |      (the last record completes a batch)
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: Moment,
    /// Records per second over all connections; without it a batch is due as soon as it may go.
    rate: Option<NonZeroU64>,
    batch_records: u64,
    connection: u64,
    connections: u64,
}

impl Schedule {
    /// The share of connection number `connection` of `connections`.
    pub fn new(
        start: Moment,
        rate: Option<NonZeroU64>,
        batch_records: u64,
        connection: u64,
        connections: u64,
    ) -> Schedule {
        assert!(batch_records > 0 && connection < connections);
        Schedule {
            start,
            rate,
            batch_records,
            connection,
            connections,
        }
    }

    /// Whether the schedule waits for nothing but answers.
    pub fn is_closed_loop(&self) -> bool {
        self.rate.is_none()
    }

    /// The number over all connections of this connection's batch number `batch`.
    pub fn global_batch(&self, batch: u64) -> u64 {
        batch * self.connections + self.connection
    }

    /// When a record of a batch is due; in a closed loop at once.
    pub fn record_due(&self, batch: u64, record: u64) -> Moment {
        let Some(rate) = self.rate else {
            return self.start;
        };
        let index = self.global_batch(batch) * self.batch_records + record;
        // Whole seconds apart from the rest: `index * 10^9` would overflow within hours.
        let (seconds, rest) = (index / rate, index % rate);
        Moment(self.start.0 + seconds * NANOS_PER_S + rest * NANOS_PER_S / rate)
    }

    /// When a batch is complete and due to be sent.
    pub fn batch_due(&self, batch: u64) -> Moment {
        self.record_due(batch, self.batch_records - 1)
    }

    /// The batches from `next` on that may be sent now, at most `limit`, none that the end of the
    /// run comes before.
    pub fn due(&self, next: u64, now: Moment, phases: &Phases, limit: u64) -> Range<u64> {
        if self.is_closed_loop() {
            let open = self.start <= now && now < phases.measure_until;
            return next..next + if open { limit } else { 0 };
        }
        let mut end = next;
        while end < next + limit {
            let due = self.batch_due(end);
            if due > now || due >= phases.measure_until {
                break;
            }
            end += 1;
        }
        next..end
    }

    /// Whether nothing from batch `next` on will become due any more.
    pub fn is_over(&self, next: u64, now: Moment, phases: &Phases) -> bool {
        if self.is_closed_loop() {
            return now >= phases.measure_until;
        }
        self.batch_due(next) >= phases.measure_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latencies;

    const MS: u64 = 1_000_000;

    fn schedule(rate: u64, batch_records: u64, connection: u64, connections: u64) -> Schedule {
        let start = Moment(7 * MS);
        Schedule::new(
            start,
            NonZeroU64::new(rate),
            batch_records,
            connection,
            connections,
        )
    }

    fn phases(seconds: u64) -> Phases {
        Phases::new(Moment(7 * MS), Duration::ZERO, Duration::from_secs(seconds))
    }

    #[test]
    fn batches_are_dealt_evenly_over_connections_and_time() {
        let first = schedule(1_000, 2, 0, 2);
        let second = schedule(1_000, 2, 1, 2);
        let due_ms = |schedule: &Schedule, batch| (schedule.batch_due(batch).0 - 7 * MS) / MS;
        assert_eq!(
            (0..3)
                .map(|batch| due_ms(&first, batch))
                .collect::<Vec<_>>(),
            [1, 5, 9]
        );
        assert_eq!(
            (0..3)
                .map(|batch| due_ms(&second, batch))
                .collect::<Vec<_>>(),
            [3, 7, 11]
        );
        assert_eq!(first.record_due(1, 0), Moment((7 + 4) * MS));
    }

    #[test]
    fn the_rate_is_kept_without_drift_or_overflow() {
        // Three do not divide a second: after a year the error is still below 1 ns.
        let schedule = schedule(3, 1, 0, 1);
        let year_s = 365 * 86_400;
        assert_eq!(
            schedule.record_due(3 * year_s, 0).0,
            7 * MS + year_s * NANOS_PER_S
        );
        assert_eq!(schedule.record_due(1, 0).0, 7 * MS + 333_333_333);
    }

    #[test]
    fn only_what_is_due_may_go_and_nothing_beyond_the_end() {
        let (schedule, phases) = (schedule(1_000, 1, 0, 1), phases(1));
        let at = |ms: u64| Moment((7 + ms) * MS);
        assert_eq!(schedule.due(0, at(0), &phases, 8), 0..1);
        assert_eq!(schedule.due(1, at(0), &phases, 8), 1..1);
        assert_eq!(schedule.due(1, at(5), &phases, 8), 1..6);
        assert_eq!(schedule.due(1, at(500), &phases, 8), 1..9);
        assert_eq!(schedule.due(998, at(2_000), &phases, 8), 998..1_000);
        assert!(schedule.is_over(1_000, at(2_000), &phases));
        assert!(!schedule.is_over(999, at(2_000), &phases));
    }

    #[test]
    fn a_closed_loop_is_always_due_until_the_end() {
        let schedule = Schedule::new(Moment(0), None, 1, 0, 1);
        let phases = Phases::new(Moment(0), Duration::ZERO, Duration::from_millis(1));
        assert_eq!(schedule.due(5, Moment(10), &phases, 3), 5..8);
        assert_eq!(schedule.due(5, Moment(MS), &phases, 3), 5..5);
    }

    /// A broker that answers at once, but for 500 ms from second 5 on, when it stands still. Of
    /// 10,000 records in ten seconds, those of that half second are 5 %: they were due up to 500 ms
    /// before the answer, evenly spread. By hand: p90 is 0; the largest is 500 ms; 1 % waited
    /// longer than 400 ms, 2.5 % longer than 250 ms.
    #[test]
    fn a_stall_shows_in_the_percentiles_as_it_must() {
        let (schedule, phases) = (schedule(1_000, 1, 0, 1), phases(10));
        let stall = Moment((7 + 5_000) * MS)..Moment((7 + 5_500) * MS);
        let mut intended = Latencies::new();
        let mut service = Latencies::new();
        let (mut next, mut now) = (0, phases.start);
        while !schedule.is_over(next, now, &phases) {
            // The window of one: the next is sent when the last was answered.
            let due = schedule.due(next, now, &phases, 1);
            if due.is_empty() {
                now = schedule.batch_due(next);
                continue;
            }
            let sent = now;
            if stall.contains(&now) {
                now = stall.end;
            }
            intended.record(now.nanos_since(schedule.record_due(next, 0)), 1);
            service.record(now.nanos_since(sent), 1);
            next = due.end;
        }
        let near = |quantile: f64, ms: u64| {
            let found = intended.quantile(quantile) as f64 / MS as f64;
            assert!(
                (found - ms as f64).abs() <= 1.0 + ms as f64 / 500.0,
                "{quantile}: {found} ms"
            );
        };
        near(0.90, 0);
        near(0.949, 0);
        near(0.975, 250);
        near(0.99, 400);
        near(1.0, 500);
        // What a closed loop would have reported: one slow record in ten thousand.
        assert!(service.quantile(0.999) < MS, "{}", service.quantile(0.999));
    }
}
