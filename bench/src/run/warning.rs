//! What a reader of a run's numbers has to know first: records that came late or never, and a
//! driver that was the limit itself, which says nothing about the broker.

use super::{Outcome, ProduceOutcome};

/// Driver's own delays that matter, as parts of the latency that is reported.
const LAG_TOLERATED: f64 = 0.2;
/// A driver thread busier than this has no time to be punctual.
const BUSY: f64 = 0.95;
/// What is answered in time of that which was due, if no queue grows.
const KEPT_UP: f64 = 0.99;

impl Outcome {
    pub(super) fn warn_of_limits(&mut self, produced: &ProduceOutcome) {
        if produced.resent > 0 {
            self.warnings.push(format!(
                "{} records were sent again after a broken connection or a passing error, without \
                 --idempotent: they may be there twice, and out of order",
                produced.resent
            ));
        }
        if produced.unanswered > 0 {
            self.warnings.push(format!(
                "{} of {} records had no answer when the run gave up: they count as that late",
                produced.unanswered, produced.intended
            ));
        }
        if self.scenario.rate.per_second().is_none() {
            return;
        }
        // Not rate times seconds: how many are due by chance is not the broker's doing.
        let (answered, due) = (produced.records as f64, produced.intended as f64);
        if answered < KEPT_UP * due {
            self.warnings.push(format!(
                "only {:.0} of {:.0} records/s were answered in time: the latencies are those of \
                 a growing queue",
                answered / self.seconds,
                due / self.seconds
            ));
        }
        let (lag, latency) = (produced.driver_lag.p99_ns, produced.latency.p99_ns);
        if lag as f64 > LAG_TOLERATED * latency as f64 {
            self.driver_limited = true;
            self.warnings.push(format!(
                "the driver fell behind its schedule: {} us at p99, which is in the latency of {} \
                 us; give it a core of its own",
                lag / 1_000,
                latency / 1_000
            ));
        }
    }

    /// Warns if the busiest of the driver's threads had no time left: the others' leisure does not
    /// help its connections.
    pub(super) fn warn_of_busy(&mut self, busiest: f64) {
        if busiest > BUSY {
            self.driver_limited = true;
            self.warnings.push(format!(
                "the driver was the limit: its busiest thread was busy {:.0} % of the time; give \
                 it more --threads, on cores that the broker does not need",
                busiest * 100.0
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::example::outcome;

    fn warnings(produced: ProduceOutcome) -> Vec<String> {
        let mut outcome = outcome("1000");
        outcome.warn_of_limits(&produced);
        outcome.warnings
    }

    #[test]
    fn what_was_not_due_is_not_missed() {
        let produced = |intended, records| {
            let of_run = outcome("1000").produced.expect("it produced");
            ProduceOutcome {
                intended,
                records,
                ..of_run
            }
        };
        // Chance made fewer records due than 2 s at 1,000/s have, and all were answered.
        assert_eq!(warnings(produced(1_900, 1_900)), [""; 0]);
        let late = warnings(produced(2_100, 2_000));
        assert!(
            late[0].starts_with("only 1000 of 1050 records/s"),
            "{late:?}"
        );
    }

    #[test]
    fn one_busy_thread_is_the_drivers_limit() {
        let mut outcome = outcome("1000");
        outcome.warn_of_busy(0.95);
        assert!(outcome.warnings.is_empty() && !outcome.driver_limited);
        outcome.warn_of_busy(0.99);
        assert!(outcome.warnings[0].contains("busy 99 %") && outcome.driver_limited);
    }

    #[test]
    fn a_late_driver_is_its_own_limit() {
        let mut outcome = outcome("1000");
        let mut produced = outcome.produced.clone().expect("it produced");
        produced.driver_lag.p99_ns = produced.latency.p99_ns / 4;
        outcome.warn_of_limits(&produced);
        assert!(outcome.driver_limited, "{:?}", outcome.warnings);
    }
}
