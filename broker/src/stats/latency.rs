//! Requests by API: how many, how large, and how long from the last byte of a request to the last
//! of its answer. One shard writes, the control thread reads: fixed buckets, no lock, 60 KiB.
//!
//! ```text
//! bucket 0: up to 16 us; then four to each doubling: 20, 24, 28, 32, 40, 48, ... up to 67 s; the
//! last has no bound
//! ```

use std::time::Duration;

use spate_net::kafka::versions::{ApiKey, served};

use super::Counter;

/// A multiple of this in each doubling: a quantile is told within an eighth of its true value.
const STEPS: usize = 4;

/// The first bucket ends at two to this power, in us. Nothing that crosses a socket is faster.
const LOWEST: usize = 4;

/// Doublings: the last bound is 2^26 us, longer than any client waits.
const DOUBLINGS: usize = 22;

/// Buckets of a histogram, the one without a bound included.
pub const BUCKETS: usize = DOUBLINGS * STEPS + 2;

/// Numbers of APIs are below this; an answer to a larger one is not counted by API.
const API_KEYS: usize = 96;

/// What one shard has counted of one API.
#[derive(Debug)]
pub struct ApiCounters {
    /// Requests read.
    pub requests: Counter,
    /// Their bytes.
    pub request_bytes: Counter,
    /// Bytes of their answers.
    pub response_bytes: Counter,
    total_us: Counter,
    buckets: [Counter; BUCKETS],
}

/// The APIs' counters of one shard, by their numbers.
#[derive(Debug)]
pub struct ApiStats(Box<[ApiCounters]>);

/// The times of one API over all shards.
#[derive(Debug, Clone)]
pub struct Times {
    /// By bucket, not added up.
    pub buckets: [u64; BUCKETS],
    /// Sum of all times.
    pub total: Duration,
}

impl Default for ApiCounters {
    fn default() -> ApiCounters {
        ApiCounters {
            requests: Counter::default(),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            total_us: Counter::default(),
            buckets: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Default for ApiStats {
    fn default() -> ApiStats {
        ApiStats((0..API_KEYS).map(|_| ApiCounters::default()).collect())
    }
}

impl ApiStats {
    /// One API's; every served one has its own.
    pub fn of(&self, api: ApiKey) -> &ApiCounters {
        &self.0[api as usize]
    }
}

impl ApiCounters {
    /// Counts an answer that took so long.
    pub fn answered(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.total_us.add(us);
        self.buckets[bucket_of(us)].add(1);
    }

    /// Adds this shard's times to those of others.
    pub fn add_times(&self, times: &mut Times) {
        times.total += Duration::from_micros(self.total_us.get());
        for (sum, bucket) in times.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
    }
}

fn bucket_of(us: u64) -> usize {
    if us <= 1 << LOWEST {
        return 0;
    }
    // A value at a bound belongs to the bucket that the bound ends.
    let below = us - 1;
    let log = below.ilog2() as usize;
    let step = (below >> (log - 2)) as usize % STEPS;
    ((log - LOWEST) * STEPS + step + 1).min(BUCKETS - 1)
}

/// Where a bucket ends; `None`: nowhere.
pub fn bound(bucket: usize) -> Option<Duration> {
    let us = match bucket {
        0 => 1 << LOWEST,
        bucket if bucket == BUCKETS - 1 => return None,
        bucket => {
            let (doubling, step) = ((bucket - 1) / STEPS, (bucket - 1) % STEPS);
            ((STEPS + step + 1) as u64) << (doubling + LOWEST - 2)
        }
    };
    Some(Duration::from_micros(us))
}

impl Times {
    /// None yet.
    pub fn new() -> Times {
        Times {
            buckets: [0; BUCKETS],
            total: Duration::ZERO,
        }
    }

    /// How many answers there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The end of the bucket in which this share of all answers is reached.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return bound(bucket).unwrap_or(LAST_BOUND);
            }
        }
        Duration::ZERO
    }
}

const LAST_BOUND: Duration = Duration::from_micros(1 << (LOWEST + DOUBLINGS));

/// All APIs that there may be numbers of.
pub fn apis() -> impl Iterator<Item = ApiKey> {
    served().iter().map(|range| range.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let bounds: Vec<_> = (0..BUCKETS - 1)
            .map(|bucket| bound(bucket).unwrap())
            .collect();
        assert!(bounds.is_sorted());
        assert_eq!(bounds.last(), Some(&LAST_BOUND));
        for (bucket, bound) in bounds.iter().enumerate() {
            let us = bound.as_micros() as u64;
            assert_eq!(bucket_of(us), bucket, "{us} us ends bucket {bucket}");
            assert_eq!(bucket_of(us + 1), bucket + 1, "{us} us + 1 begins the next");
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_told_within_an_eighth() {
        let api = ApiCounters::default();
        (1..=1000).for_each(|ms| api.answered(Duration::from_millis(ms)));
        let mut times = Times::new();
        api.add_times(&mut times);
        assert_eq!(times.count(), 1000);
        for (share, true_ms) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0)] {
            let told_ms = times.quantile(share).as_secs_f64() * 1e3;
            assert!(
                (true_ms..true_ms * 1.26).contains(&told_ms),
                "{share}: {told_ms}"
            );
        }
        assert_eq!(times.total, Duration::from_millis(500_500));
    }

    #[test]
    fn every_served_api_has_its_counters() {
        let stats = ApiStats::default();
        apis().for_each(|api| stats.of(api).requests.add(1));
    }
}
