//! Latencies in HDR histograms: nanoseconds, three significant digits, merged and never averaged.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What is longer counts as this long: an hour is beyond every run's patience.
const LONGEST_NS: u64 = 3_600 * 1_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A distribution of latencies.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    /// An empty distribution.
    pub fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, SIGNIFICANT_DIGITS);
        Latencies {
            histogram: histogram.expect("the bounds are constants that fit each other"),
        }
    }

    /// A distribution that was packed.
    pub fn of(histogram: Histogram<u64>) -> Latencies {
        Latencies { histogram }
    }

    /// What it is made of, for logs.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Counts `times` records of `nanos`.
    pub fn record(&mut self, nanos: u64, times: u64) {
        self.histogram.saturating_record_n(nanos.max(1), times);
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Latencies) {
        let added = self.histogram.add(&other.histogram);
        added.expect("both have the same bounds");
    }

    /// The value at or below which that part of all records lies.
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    /// The numbers that a report shows.
    pub fn summary(&self) -> Summary {
        let histogram = &self.histogram;
        Summary {
            count: histogram.len(),
            min_ns: histogram.min(),
            mean_ns: histogram.mean(),
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            p999_ns: self.quantile(0.999),
            max_ns: histogram.max(),
        }
    }
}

/// A distribution in numbers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How many records.
    pub count: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// Half of all are at most this long.
    pub p50_ns: u64,
    /// Nine of ten.
    pub p90_ns: u64,
    /// All but one of a hundred.
    pub p99_ns: u64,
    /// All but one of a thousand.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_percentiles_are_those_of_all_records() {
        let (mut fast, mut slow) = (Latencies::new(), Latencies::new());
        fast.record(1_000, 99);
        slow.record(1_000_000, 1);
        fast.merge(&slow);
        assert_eq!(fast.summary().count, 100);
        assert_eq!(fast.quantile(0.99), 1_000);
        assert!(fast.quantile(0.999) >= 999_000);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_kept_at_the_bound() {
        let mut latencies = Latencies::new();
        latencies.record(0, 1);
        latencies.record(u64::MAX, 1);
        assert_eq!(latencies.summary().count, 2);
        assert!(latencies.summary().max_ns >= LONGEST_NS);
    }
}
