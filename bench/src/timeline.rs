//! Distributions second by second, for logs and charts over time.
//!
//! A distribution with three digits up to an hour takes a quarter of a megabyte: only the second
//! that is being counted is held open, those before it are packed in HdrHistogram's own V2 encoding
//! (one or two kilobytes), so that a run of hours fits into memory. Together they are exactly what
//! the totals of the run count, and merging them over threads and machines loses nothing.

use std::collections::BTreeMap;
use std::io::Cursor;

use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::histogram::{Latencies, Summary};
use crate::tally::Volume;

/// The distribution of each second since measuring began, by the time of the answer.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    open: Option<(u64, Latencies)>,
    packed: BTreeMap<u64, Vec<u8>>,
}

impl Timeline {
    /// Counts `times` records of `nanos` that were answered in that second.
    pub fn record(&mut self, second: u64, nanos: u64, times: u64) {
        match &mut self.open {
            Some((open, latencies)) if *open == second => latencies.record(nanos, times),
            _ => {
                self.close();
                let mut latencies = Latencies::new();
                latencies.record(nanos, times);
                self.open = Some((second, latencies));
            }
        }
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: Timeline) {
        self.close();
        for (second, latencies) in other.seconds() {
            self.pack(second, latencies);
        }
    }

    /// Each second in which something was counted, in order, with its distribution.
    pub fn seconds(&self) -> impl Iterator<Item = (u64, Latencies)> {
        let mut all = self.clone();
        all.close();
        all.packed
            .into_iter()
            .map(|(second, bytes)| (second, unpack(&bytes)))
    }

    fn close(&mut self) {
        if let Some((second, latencies)) = self.open.take() {
            self.pack(second, latencies);
        }
    }

    fn pack(&mut self, second: u64, mut latencies: Latencies) {
        if let Some(before) = self.packed.get(&second) {
            latencies.merge(&unpack(before));
        }
        let mut bytes = Vec::new();
        let packed = V2Serializer::new().serialize(latencies.histogram(), &mut bytes);
        packed.expect("memory takes what is written to it");
        self.packed.insert(second, bytes);
    }
}

fn unpack(bytes: &[u8]) -> Latencies {
    let histogram = Deserializer::new().deserialize(&mut Cursor::new(bytes));
    Latencies::of(histogram.expect("it was packed by this process"))
}

/// Records and bytes of each second since measuring began.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    seconds: Vec<Volume>,
}

impl Volumes {
    /// Counts more in that second.
    pub fn add(&mut self, second: u64, records: u64, bytes: u64) {
        let index = second as usize;
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Volume::default());
        }
        self.seconds[index].add(records, bytes);
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Volumes) {
        for (second, volume) in (0..).zip(&other.seconds) {
            self.add(second, volume.records, volume.bytes);
        }
    }

    /// All seconds, from the first on.
    pub fn seconds(&self) -> &[Volume] {
        &self.seconds
    }
}

/// A run over time.
#[derive(Clone, Debug, Default)]
pub struct Timelines {
    /// The wall-clock time at which measuring began, in nanoseconds since 1970: second 0.
    pub started_unix_ns: u64,
    /// From the intended send time to the answer.
    pub latency: Timeline,
    /// From the real send time to the answer.
    pub service: Timeline,
    /// From the intended send time to the consumer.
    pub end_to_end: Timeline,
    /// What was answered.
    pub produced: Volumes,
    /// What was fetched.
    pub fetched: Volumes,
}

/// One second of a run in numbers.
#[derive(Clone, Debug, Default, serde::Serialize)]
struct Second {
    second: u64,
    produced: Volume,
    fetched: Volume,
    latency: Option<Summary>,
    service: Option<Summary>,
    end_to_end: Option<Summary>,
}

/// As results files have it: the beginning, and the numbers of each second.
impl Serialize for Timelines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seconds: BTreeMap<u64, Second> = BTreeMap::new();
        for (second, volume) in (0..).zip(self.produced.seconds()) {
            seconds.entry(second).or_default().produced = *volume;
        }
        for (second, volume) in (0..).zip(self.fetched.seconds()) {
            seconds.entry(second).or_default().fetched = *volume;
        }
        for (second, latencies) in self.latency.seconds() {
            seconds.entry(second).or_default().latency = Some(latencies.summary());
        }
        for (second, latencies) in self.service.seconds() {
            seconds.entry(second).or_default().service = Some(latencies.summary());
        }
        for (second, latencies) in self.end_to_end.seconds() {
            seconds.entry(second).or_default().end_to_end = Some(latencies.summary());
        }
        let seconds: Vec<Second> = seconds
            .into_iter()
            .map(|(second, numbers)| Second { second, ..numbers })
            .collect();
        let mut fields = serializer.serialize_struct("Timelines", 2)?;
        fields.serialize_field("started_unix_ns", &self.started_unix_ns)?;
        fields.serialize_field("seconds", &seconds)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seconds_add_up_to_the_total_over_threads() {
        let (mut total, mut first, mut second) =
            (Latencies::new(), Timeline::default(), Timeline::default());
        for number in 0..10_000u64 {
            let (at, nanos) = (number / 1_000, 1_000 + number * 977);
            let thread = if number % 2 == 0 {
                &mut first
            } else {
                &mut second
            };
            thread.record(at, nanos, 1);
            total.record(nanos, 1);
        }
        first.merge(second);
        let seconds: Vec<_> = first.seconds().collect();
        assert_eq!(
            seconds.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
        let mut merged = Latencies::new();
        for (_, latencies) in &seconds {
            assert_eq!(latencies.summary().count, 1_000);
            merged.merge(latencies);
        }
        for quantile in [0.0, 0.5, 0.99, 0.999, 1.0] {
            assert_eq!(merged.quantile(quantile), total.quantile(quantile));
        }
    }

    #[test]
    fn a_second_that_comes_again_is_added_to() {
        let mut timeline = Timeline::default();
        timeline.record(3, 10, 1);
        timeline.record(4, 10, 1);
        timeline.record(3, 10, 2);
        let counts: Vec<_> = timeline
            .seconds()
            .map(|(second, latencies)| (second, latencies.summary().count))
            .collect();
        assert_eq!(counts, [(3, 3), (4, 1)]);
    }

    #[test]
    fn volumes_grow_with_time() {
        let (mut volumes, mut other) = (Volumes::default(), Volumes::default());
        volumes.add(2, 1, 10);
        other.add(0, 1, 5);
        volumes.merge(&other);
        let records: Vec<u64> = volumes.seconds().iter().map(|each| each.records).collect();
        assert_eq!(records, [1, 0, 1]);
    }
}
