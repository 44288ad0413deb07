//! Time in a run, and when each record is meant to be sent.
//!
//! The schedule is fixed before the run and knows nothing of answers: if the broker stalls, records
//! go on becoming due, and their latency counts from then. A driver that waits for the answer
//! before it decides when to send next would leave the stall out of its percentiles (coordinated
//! omission).

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;

use crate::scenario::{BadValue, Rate, Spacing};

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

    /// Until when a record has waited that is given up now. Whoever gives up early also leaves
    /// what is due later: counted until now, that would have waited for nothing.
    pub fn given_up(&self, now: Moment) -> Moment {
        now.max(self.measure_until)
    }

    /// Whether a moment lies in the measured window.
    pub fn measures(&self, moment: Moment) -> bool {
        self.measure_from <= moment && moment < self.measure_until
    }
}

/// Reads the time of a common start: seconds since 1970, or a date as `2026-11-23T14:00:00Z`.
pub fn parse_start(text: &str) -> Result<Duration, BadValue> {
    let wanted = "a time as 1795442400 (seconds since 1970) or 2026-11-23T14:00:00Z";
    if let Ok(seconds) = text.parse::<f64>()
        && let Ok(since) = Duration::try_from_secs_f64(seconds)
    {
        return Ok(since);
    }
    let time = humantime::parse_rfc3339_weak(text).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.ok_or(BadValue::new(text, wanted))
}

/// A rate laid over a run: when the record of a number is due. The warm-up has the rate that the
/// measured window begins with.
#[derive(Clone, Debug)]
pub struct Pace {
    phases: Phases,
    /// Parts of the run with a rate that is constant or changes evenly; the last has no end.
    /// Empty for a closed loop.
    parts: Vec<Part>,
    /// Bursts: the part of each period in which records are due.
    burst: Option<Burst>,
    /// One rate from start to end is reckoned in whole numbers, so that it never drifts.
    constant: Option<NonZeroU64>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    from_ns: f64,
    length_ns: f64,
    /// The number of the first record in it.
    first: f64,
    /// Records per nanosecond at its beginning and its end.
    rate: f64,
    rate_at_end: f64,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    rate: u64,
    on_ns: u64,
    period_ns: u64,
}

impl Pace {
    /// Lays a rate over the phases of a run.
    pub fn new(rate: &Rate, phases: Phases) -> Pace {
        let mut pace = Pace {
            phases,
            parts: Vec::new(),
            burst: None,
            constant: None,
        };
        let warm_ns = phases.measure_from.nanos_since(phases.start) as f64;
        let window_ns = phases.measure_until.nanos_since(phases.measure_from) as f64;
        match rate {
            Rate::Max => {}
            Rate::PerSecond(rate) => pace.constant = Some(*rate),
            Rate::Ramp(from, to) => {
                pace.push(warm_ns, *from, *from);
                pace.push(window_ns, *from, *to);
                pace.push(f64::INFINITY, *to, *to);
            }
            Rate::Steps(rates) => {
                let each_ns = window_ns / rates.len() as f64;
                pace.push(warm_ns, rates[0], rates[0]);
                for rate in rates {
                    pace.push(each_ns, *rate, *rate);
                }
                let last = rates[rates.len() - 1];
                pace.push(f64::INFINITY, last, last);
            }
            Rate::Bursts { rate, on, off } => {
                pace.burst = Some(Burst {
                    rate: rate.get(),
                    on_ns: nanos(*on),
                    period_ns: nanos(*on + *off),
                });
            }
        }
        pace
    }

    fn push(&mut self, length_ns: f64, from: NonZeroU64, to: NonZeroU64) {
        let (from_ns, first) = match self.parts.last() {
            Some(part) => (part.from_ns + part.length_ns, part.first + part.count()),
            None => (0.0, 0.0),
        };
        self.parts.push(Part {
            from_ns,
            length_ns,
            first,
            rate: from.get() as f64 / NANOS_PER_S as f64,
            rate_at_end: to.get() as f64 / NANOS_PER_S as f64,
        });
    }

    /// Whether nothing is waited for but answers.
    pub fn is_closed_loop(&self) -> bool {
        self.constant.is_none() && self.burst.is_none() && self.parts.is_empty()
    }

    /// When the record of that number, over all connections, is due; at once in a closed loop.
    pub fn due(&self, number: u64) -> Moment {
        let Some(rate) = self.constant else {
            return self.due_between(number as f64);
        };
        // Whole seconds apart from the rest: `number * 10^9` would overflow within hours.
        let (seconds, rest) = (number / rate, number % rate);
        Moment(self.phases.start.0 + seconds * NANOS_PER_S + rest * NANOS_PER_S / rate)
    }

    /// The same for a place between two records.
    fn due_between(&self, number: f64) -> Moment {
        let since_start = if let Some(rate) = self.constant {
            number * NANOS_PER_S as f64 / rate.get() as f64
        } else if let Some(burst) = self.burst {
            let in_burst = burst.rate as f64 * burst.on_ns as f64 / NANOS_PER_S as f64;
            let (period, rest) = ((number / in_burst).floor(), number % in_burst);
            period * burst.period_ns as f64 + rest * NANOS_PER_S as f64 / burst.rate as f64
        } else {
            let part = self.parts.iter().rev().find(|part| part.first <= number);
            part.map_or(0.0, |part| part.from_ns + part.reach(number - part.first))
        };
        Moment(self.phases.start.0 + since_start as u64)
    }
}

impl Part {
    fn count(&self) -> f64 {
        self.length_ns * (self.rate + self.rate_at_end) / 2.0
    }

    /// How long it takes until so many records were due: with the rate `r + s t`, after `t` it is
    /// `r t + s t^2 / 2`.
    fn reach(&self, records: f64) -> f64 {
        let slope = (self.rate_at_end - self.rate) / self.length_ns;
        if slope == 0.0 || !self.length_ns.is_finite() {
            return records / self.rate;
        }
        let root = (self.rate * self.rate + 2.0 * slope * records)
            .max(0.0)
            .sqrt();
        (root - self.rate) / slope
    }
}

/// One connection's records, in the order in which they are due.
///
/// Groups of records (a batch) are numbered over all connections and dealt in turn, so that they
/// are spread evenly over time. With two connections, batches of two and 1,000 records/s:
///
/// ```text
/// record due at   0 ms  1 ms | 2 ms  3 ms | 4 ms  5 ms | ...
/// connection      0          | 1          | 0          |
/// sent at               1 ms |       3 ms |       5 ms |      (the last record completes a batch)
/// ```
///
/// Independent events have no order to be dealt in: there each connection has a process of its own
/// with its share of the rate, and together they are one process again.
#[derive(Debug)]
pub struct Arrivals {
    pace: Pace,
    group: u64,
    connection: u64,
    connections: u64,
    taken: u64,
    chance: Option<(StdRng, f64)>,
    next: Moment,
}

impl Arrivals {
    /// The share of connection number `connection` of `connections`, dealt in groups.
    pub fn new(
        pace: Pace,
        spacing: Spacing,
        group: u64,
        (connection, connections): (u64, u64),
        seed: u64,
    ) -> Arrivals {
        assert!(group > 0 && connection < connections);
        let chance = (spacing == Spacing::Poisson && !pace.is_closed_loop())
            .then(|| (StdRng::seed_from_u64(seed ^ (connection << 32)), 0.0));
        let mut arrivals = Arrivals {
            next: pace.phases.start,
            pace,
            group,
            connection,
            connections,
            taken: 0,
            chance,
        };
        arrivals.next = arrivals.find();
        arrivals
    }

    /// When the next record is due; in a closed loop that is always now.
    pub fn next_due(&self, now: Moment) -> Moment {
        match self.pace.is_closed_loop() {
            true => now.max(self.pace.phases.start),
            false => self.next,
        }
    }

    /// When the record is due that comes after so many more; the next one's time where chance has
    /// not drawn the others yet.
    pub fn due_after(&self, records: u64, now: Moment) -> Moment {
        match &self.chance {
            None if !self.pace.is_closed_loop() => self.pace.due(self.number(self.taken + records)),
            _ => self.next_due(now),
        }
    }

    /// Whether it waits for nothing but answers.
    pub fn is_closed_loop(&self) -> bool {
        self.pace.is_closed_loop()
    }

    /// Whether no record will be due any more.
    pub fn is_over(&self, now: Moment) -> bool {
        self.next_due(now) >= self.pace.phases.measure_until
    }

    /// Takes the next record.
    pub fn take(&mut self) {
        self.taken += 1;
        self.next = self.find();
    }

    /// The number among this connection's of the group that the next record belongs to.
    pub fn group_number(&self) -> u64 {
        self.taken / self.group
    }

    fn group_of(&self, index: u64) -> u64 {
        (index / self.group) * self.connections + self.connection
    }

    /// The number over all connections of this one's record of that index.
    fn number(&self, index: u64) -> u64 {
        self.group_of(index) * self.group + index % self.group
    }

    fn find(&mut self) -> Moment {
        let number = self.number(self.taken);
        let connections = self.connections as f64;
        match &mut self.chance {
            _ if self.pace.is_closed_loop() => self.pace.phases.start,
            None => self.pace.due(number),
            Some((random, passed)) => {
                *passed += random.sample::<f64, _>(Exp1) * connections;
                self.pace.due_between(*passed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latencies;

    const MS: u64 = 1_000_000;
    const START: Moment = Moment(7 * MS);

    fn phases(warm_up_s: u64, seconds: u64) -> Phases {
        let (warm_up, duration) = (Duration::from_secs(warm_up_s), Duration::from_secs(seconds));
        Phases::new(START, warm_up, duration)
    }

    fn pace(rate: &str, phases: Phases) -> Pace {
        Pace::new(&rate.parse().expect("a rate"), phases)
    }

    fn arrivals(pace: Pace, group: u64, connection: u64, connections: u64) -> Arrivals {
        Arrivals::new(pace, Spacing::Even, group, (connection, connections), 1)
    }

    /// All records of a share, in ms since the start.
    fn all_ms(mut arrivals: Arrivals) -> Vec<u64> {
        let mut found = Vec::new();
        while !arrivals.is_over(START) {
            found.push((arrivals.next_due(START).0 - START.0) / MS);
            arrivals.take();
        }
        found
    }

    #[test]
    fn batches_are_dealt_evenly_over_connections_and_time() {
        let whole = phases(0, 1);
        let first = arrivals(pace("1000", whole), 2, 0, 2);
        let second = arrivals(pace("1000", whole), 2, 1, 2);
        assert_eq!(all_ms(first)[..5], [0, 1, 4, 5, 8]);
        assert_eq!(all_ms(second)[..5], [2, 3, 6, 7, 10]);
    }

    #[test]
    fn what_is_given_up_early_counts_as_late_until_the_end() {
        let phases = phases(1, 2);
        let early = phases.given_up(START.after(Duration::from_millis(1_200)));
        assert_eq!(early, phases.measure_until);
        let last_due = Moment(phases.measure_until.0 - 40 * MS);
        assert_eq!(early.nanos_since(last_due), 40 * MS);
        let late = phases.measure_until.after(Duration::from_millis(5));
        assert_eq!(phases.given_up(late), late);
    }

    #[test]
    fn the_rate_is_kept_without_drift_or_overflow() {
        // Three do not divide a second: after a year the error is still below 1 ns.
        let (pace, year_s) = (pace("3", phases(0, 1)), 365 * 86_400);
        assert_eq!(pace.due(3 * year_s).0, START.0 + year_s * NANOS_PER_S);
        assert_eq!(pace.due(1).0, START.0 + 333_333_333);
    }

    #[test]
    fn ramps_steps_and_bursts_are_due_as_they_say() {
        let per_second = |rate: &str, warm_up_s, seconds| {
            let mut counts = vec![0; (warm_up_s + seconds) as usize];
            let share = arrivals(pace(rate, phases(warm_up_s, seconds)), 1, 0, 1);
            for ms in all_ms(share) {
                counts[(ms / 1_000) as usize] += 1;
            }
            counts
        };
        // The mean of each second of 100..500 over four.
        let near = |found: Vec<i64>, wanted: &[i64]| {
            let off = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
            assert!(
                found.len() == wanted.len() && off.max() <= Some(1),
                "{found:?}"
            );
        };
        near(per_second("100..500", 1, 4), &[100, 150, 250, 350, 450]);
        near(per_second("100,200", 1, 4), &[100, 100, 100, 200, 200]);
        near(per_second("1000@200ms/800ms", 0, 3), &[200, 200, 200]);
        let in_burst = all_ms(arrivals(pace("1000@200ms/800ms", phases(0, 2)), 1, 0, 1));
        assert!(in_burst.iter().all(|ms| ms % 1_000 <= 200));
    }

    /// Independent arrivals: the mean is the rate, and the distances have the spread of chance
    /// (their standard deviation is their mean), over several connections together too.
    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_chance() {
        let mut all = Vec::new();
        for connection in 0..4 {
            let pace = pace("2000", phases(0, 20));
            let mut share = Arrivals::new(pace, Spacing::Poisson, 1, (connection, 4), 7);
            while !share.is_over(START) {
                all.push(share.next_due(START).0);
                share.take();
            }
        }
        all.sort_unstable();
        assert!((38_800..41_200).contains(&all.len()), "{}", all.len());
        let gaps: Vec<f64> = all.windows(2).map(|two| (two[1] - two[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
        let spread = (variance / gaps.len() as f64).sqrt() / mean;
        assert!((0.95..1.05).contains(&spread), "{spread}");
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let share = |seed| {
            let pace = pace("500", phases(0, 1));
            all_ms(Arrivals::new(pace, Spacing::Poisson, 1, (0, 1), seed))
        };
        assert_eq!(share(3), share(3));
        assert_ne!(share(3), share(4));
    }

    #[test]
    fn a_closed_loop_is_always_due_until_the_end() {
        let share = arrivals(pace("max", phases(0, 1)), 1, 0, 1);
        let later = START.after(Duration::from_millis(400));
        assert_eq!(share.next_due(later), later);
        assert!(!share.is_over(later) && share.is_over(START.after(Duration::from_secs(1))));
    }

    #[test]
    fn starts_are_read_as_seconds_and_as_dates() {
        assert_eq!(
            parse_start("1795442400.5").unwrap(),
            Duration::from_millis(1_795_442_400_500)
        );
        assert_eq!(
            parse_start("1970-01-02T00:00:00Z").unwrap(),
            Duration::from_secs(86_400)
        );
        assert!(parse_start("noon").is_err() && parse_start("-5").is_err());
    }

    /// A broker that answers at once, but for 500 ms from second 5 on, when it stands still. Of
    /// 10,000 records in ten seconds, those of that half second are 5 %: they were due up to 500 ms
    /// before the answer, evenly spread. By hand: p90 is 0; the largest is 500 ms; 1 % waited
    /// longer than 400 ms, 2.5 % longer than 250 ms.
    #[test]
    fn a_stall_shows_in_the_percentiles_as_it_must() {
        let mut share = arrivals(pace("1000", phases(0, 10)), 1, 0, 1);
        let stall = Moment(START.0 + 5_000 * MS)..Moment(START.0 + 5_500 * MS);
        let mut intended = Latencies::new();
        let mut service = Latencies::new();
        let mut now = START;
        while !share.is_over(now) {
            // The window of one: the next is sent when the last was answered.
            let due = share.next_due(now);
            let sent = now.max(due);
            now = sent;
            if stall.contains(&now) {
                now = stall.end;
            }
            intended.record(now.nanos_since(due), 1);
            service.record(now.nanos_since(sent), 1);
            share.take();
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
