//! A run's outcome for the tests of those who read one.

use super::{ConsumeOutcome, Outcome, ProduceOutcome};
use crate::histogram::Latencies;
use crate::process::Usage;
use crate::scenario::Scenario;
use crate::timeline::Timelines;
use crate::verify::Findings;

/// Two seconds at that rate, with 1,000 records/s answered within 1 ms.
pub fn outcome(rate: &str) -> Outcome {
    let mut timelines = Timelines::default();
    let mut latency = Latencies::new();
    for second in 0..2 {
        latency.record(1_000_000, 1_000);
        timelines.latency.record(second, 1_000_000, 1_000);
    }
    Outcome {
        broker: "127.0.0.1:9092".to_owned(),
        scenario: Scenario {
            rate: rate.parse().expect("a rate"),
            ..Scenario::default()
        },
        topic: "topic".to_owned(),
        seconds: 2.0,
        produced: Some(ProduceOutcome {
            records: 2_000,
            bytes: 2_048_000,
            latency: latency.summary(),
            service: latency.summary(),
            driver_lag: Latencies::new().summary(),
            intended: 2_000,
            unanswered: 0,
            refused: 0,
            resent: 0,
        }),
        consumed: None,
        churn: None,
        broker_usage: None,
        driver_usage: Usage::default(),
        elsewhere_cpu_s: 0.0,
        driver_limited: false,
        warnings: Vec::new(),
        timelines,
    }
}

/// A consumer that has seen nothing, but for what verification found.
pub fn consumed(verification: Findings) -> ConsumeOutcome {
    ConsumeOutcome {
        records: 0,
        bytes: 0,
        fetches: 0,
        end_to_end: Latencies::new().summary(),
        backfilled_records: 0,
        backfilled_bytes: 0,
        rebalances: 0,
        commits: 0,
        verification,
    }
}
