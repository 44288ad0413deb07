//! One line in the terminal while a run goes on: rate, latency, errors, and the time that is left.
//! Where standard error is no terminal there is no line, and the driver's threads count nothing.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::number::{time, whole};
use crate::schedule::{Clock, Moment, Phases};

/// Buckets in each doubling of the latency: a line needs no third digit.
const PER_DOUBLING: u64 = 8;
const BUCKETS: usize = 64 * PER_DOUBLING as usize;
const REFRESH: Duration = Duration::from_millis(250);
/// The line tells of this much time: one number a second can be read.
const REFRESHES_PER_WINDOW: usize = 4;

/// What the driver's threads count for the line, all of them in one place.
pub struct Live {
    answered: AtomicU64,
    fetched: AtomicU64,
    failed: AtomicU64,
    latencies: [AtomicU64; BUCKETS],
}

impl Live {
    /// Counters, if there is a terminal to show them in.
    pub fn if_terminal() -> Option<Arc<Live>> {
        std::io::stderr()
            .is_terminal()
            .then(|| Arc::new(Live::new()))
    }

    fn new() -> Live {
        Live {
            answered: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    /// Counts records that were answered after that time.
    pub fn answered(&self, nanos: u64, records: u64) {
        self.answered.fetch_add(records, Ordering::Relaxed);
        self.latencies[bucket(nanos)].fetch_add(records, Ordering::Relaxed);
    }

    /// Counts records that came to a consumer.
    pub fn fetched(&self, records: u64) {
        self.fetched.fetch_add(records, Ordering::Relaxed);
    }

    /// Counts records that were refused, or never answered.
    pub fn failed(&self, records: u64) {
        self.failed.fetch_add(records, Ordering::Relaxed);
    }

    fn look(&self) -> Look {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Look {
            answered: load(&self.answered),
            fetched: load(&self.fetched),
            latencies: self.latencies.iter().map(load).collect(),
        }
    }
}

/// Where a latency is counted: its highest bit, and the three behind it.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(PER_DOUBLING);
    let doubling = u64::from(nanos.ilog2());
    let part = (nanos >> (doubling - 3)) & (PER_DOUBLING - 1);
    (doubling * PER_DOUBLING + part) as usize
}

/// The highest latency of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let (doubling, part) = (bucket as u64 / PER_DOUBLING, bucket as u64 % PER_DOUBLING);
    let next = u128::from(PER_DOUBLING + part + 1) << doubling.saturating_sub(3);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

/// The counters at a moment.
#[derive(Clone, Default)]
struct Look {
    answered: u64,
    fetched: u64,
    latencies: Vec<u64>,
}

impl Look {
    /// The latency below which that part of the records since `earlier` lies.
    fn quantile_since(&self, earlier: &Look, quantile: f64) -> Option<u64> {
        let before = |index| earlier.latencies.get(index).copied().unwrap_or(0);
        let new = |index: usize| self.latencies[index].saturating_sub(before(index));
        let all: u64 = (0..self.latencies.len()).map(new).sum();
        let wanted = ((all as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        (0..self.latencies.len())
            .find(|index| {
                seen += new(*index);
                seen >= wanted
            })
            .filter(|_| all > 0)
            .map(upper_end)
    }
}

/// A line that is shown until this is dropped.
pub struct Line {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Shows the line.
pub fn show(live: Arc<Live>, clock: Clock, phases: Phases) -> Line {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let thread = thread::spawn(move || {
        let all_ms = phases.measure_until.nanos_since(phases.start) / 1_000_000;
        let bar = ProgressBar::new(all_ms);
        if let Ok(style) = ProgressStyle::with_template("{bar:16} {msg}") {
            bar.set_style(style.progress_chars("━━─"));
        }
        let mut looks = Vec::new();
        while !told.load(Ordering::Acquire) {
            let now = clock.now();
            looks.push((now, live.look()));
            if looks.len() > REFRESHES_PER_WINDOW + 1 {
                looks.remove(0);
            }
            bar.set_position(now.nanos_since(phases.start) / 1_000_000);
            bar.set_message(message(
                &looks,
                live.failed.load(Ordering::Relaxed),
                &phases,
            ));
            thread::sleep(REFRESH);
        }
        bar.finish_and_clear();
    });
    Line {
        ended,
        thread: Some(thread),
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // If it has died, it took the line with it, and nothing else.
            let _ = thread.join();
        }
    }
}

fn message(looks: &[(Moment, Look)], failed: u64, phases: &Phases) -> String {
    let (Some((then, earlier)), Some((now, latest))) = (looks.first(), looks.last()) else {
        return String::new();
    };
    let left = phases
        .measure_until
        .nanos_since(*now)
        .div_ceil(1_000_000_000);
    if *now < phases.measure_from {
        return format!("warming up, {left} s left");
    }
    if left == 0 {
        return format!(
            "waiting for the last answers  {} records read",
            whole(latest.fetched)
        );
    }
    let passed_s = now.nanos_since(*then) as f64 / 1e9;
    let per_s = |count: fn(&Look) -> u64| {
        let records = count(latest).saturating_sub(count(earlier)) as f64;
        let rate = (records / passed_s).round();
        whole(if rate.is_finite() { rate as u64 } else { 0 })
    };
    let (produces, reads) = (latest.answered > 0, latest.fetched > 0);
    let mut text = String::new();
    if produces || !reads {
        text += &format!("{} records/s", per_s(|look| look.answered));
    }
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        if let Some(nanos) = latest.quantile_since(earlier, quantile) {
            text += &format!("  {name} {}", time(nanos as f64));
        }
    }
    if reads {
        let gap = if produces { "  " } else { "" };
        text += &format!("{gap}{} read/s", per_s(|look| look.fetched));
    }
    text + &format!("  {} errors  {left} s left", whole(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_latencies_within_an_eighth() {
        for nanos in [8, 9, 1_000, 123_456, 5_000_000, 3_600_000_000_000, u64::MAX] {
            let end = upper_end(bucket(nanos));
            assert!(nanos <= end, "{nanos}: {end}");
            assert!(end as f64 <= nanos as f64 * 1.125 + 1.0, "{nanos}: {end}");
        }
        assert!(bucket(u64::MAX) < BUCKETS && bucket(0) == bucket(8));
    }

    #[test]
    fn the_line_tells_of_the_last_second_only() {
        let live = Live::new();
        live.answered(1_000_000_000, 1_000);
        let before = live.look();
        live.answered(1_000_000, 99);
        live.answered(50_000_000, 1);
        live.failed(3);
        let phases = Phases::new(Moment(0), Duration::ZERO, Duration::from_secs(10));
        let second = |at: u64| Moment(at * 1_000_000_000);
        let looks = [(second(4), before), (second(5), live.look())];
        let text = message(&looks, 3, &phases);
        assert_eq!(
            text,
            "100 records/s  p50 1.05 ms  p99 1.05 ms  3 errors  5 s left"
        );
        live.fetched(70);
        let looks = [looks[0].clone(), (second(6), live.look())];
        let text = message(&looks, 0, &phases);
        assert!(
            text.ends_with("p99 1.05 ms  35 read/s  0 errors  4 s left"),
            "{text}"
        );
        let late = [looks[0].clone(), (second(11), live.look())];
        let text = message(&late, 0, &phases);
        assert_eq!(text, "waiting for the last answers  70 records read");
        let cold = Phases::new(Moment(0), Duration::from_secs(6), Duration::from_secs(2));
        let early = [(second(5), live.look())];
        assert_eq!(message(&early, 0, &cold), "warming up, 3 s left");
    }
}
