//! The results file: one JSON object a run with everything that a reader could ask for later, the
//! distributions themselves among it, so that files of several load machines can be merged without
//! an average of percentiles. `bench/RESULT-FORMAT.md` describes every key.

pub mod hlog;
mod merge;

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::merge::merge;
use crate::histogram::{Latencies, Summary};
use crate::machine::Machine;
use crate::run::Outcome;
use crate::timeline::Timeline;

/// What the file says it is. Readers refuse others.
pub const FORMAT: &str = "spate-bench result 1";

/// From the intended send time to the answer.
pub const PRODUCE: &str = "produce";
/// From the real send time to the answer.
pub const SERVICE: &str = "service";
/// From the intended send time to the consumer.
pub const END_TO_END: &str = "end-to-end";

/// Why a result could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not what this program writes.
    #[error("{}: {why}; give files that spate-bench wrote", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A distribution that cannot be packed or unpacked.
    #[error("a histogram is damaged: {0}")]
    Histogram(String),
    /// JSON of our own making.
    #[error("the result cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// [`FORMAT`].
    pub format: String,
    /// How charts call it.
    pub label: String,
    /// Where the driver ran.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// When measuring began: second 0.
    pub started_unix_ms: u64,
    /// The outcome's own keys: broker, scenario, produced, consumed, usages, warnings.
    #[serde(flatten)]
    pub outcome: Map<String, Value>,
    /// Records and bytes of each second.
    pub per_second: Vec<Second>,
    /// Latencies by name.
    pub streams: BTreeMap<String, Stream>,
}

/// One second of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Since measuring began.
    pub second: u64,
    /// Records answered.
    pub produced_records: u64,
    /// Bytes of their values.
    pub produced_bytes: u64,
    /// Records fetched.
    pub fetched_records: u64,
    /// Bytes of their values.
    pub fetched_bytes: u64,
}

impl Second {
    /// The mean of so many runs whose sum this is.
    pub fn divided_by(&self, runs: u64) -> Second {
        Second {
            second: self.second,
            produced_records: self.produced_records / runs,
            produced_bytes: self.produced_bytes / runs,
            fetched_records: self.fetched_records / runs,
            fetched_bytes: self.fetched_bytes / runs,
        }
    }
}

/// A latency, in total and second by second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Of the whole run.
    pub summary: Summary,
    /// The whole distribution: HdrHistogram's V2 encoding, compressed, in base 64.
    pub histogram: String,
    /// Each second in which there was something.
    pub seconds: Vec<StreamSecond>,
}

/// One second of a latency.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamSecond {
    /// Since measuring began.
    pub second: u64,
    /// In numbers.
    pub summary: Summary,
    /// The distribution, as that of the stream.
    pub histogram: String,
}

impl Stream {
    /// What a timeline holds; none if that is nothing.
    fn of(seconds: impl Iterator<Item = (u64, Latencies)>) -> Result<Option<Stream>, ResultError> {
        let mut total = Latencies::new();
        let mut found = Vec::new();
        for (second, latencies) in seconds {
            total.merge(&latencies);
            found.push(StreamSecond {
                second,
                summary: latencies.summary(),
                histogram: pack(&latencies)?,
            });
        }
        if found.is_empty() {
            return Ok(None);
        }
        Ok(Some(Stream {
            summary: total.summary(),
            histogram: pack(&total)?,
            seconds: found,
        }))
    }

    /// The whole distribution.
    pub fn latencies(&self) -> Result<Latencies, ResultError> {
        unpack(&self.histogram)
    }
}

/// All that a timeline has counted.
pub fn total(timeline: &Timeline) -> Latencies {
    let mut total = Latencies::new();
    for (_, latencies) in timeline.seconds() {
        total.merge(&latencies);
    }
    total
}

/// A distribution as text.
pub fn pack(latencies: &Latencies) -> Result<String, ResultError> {
    let mut bytes = Vec::new();
    let packed = V2DeflateSerializer::new().serialize(latencies.histogram(), &mut bytes);
    packed.map_err(|error| ResultError::Histogram(error.to_string()))?;
    Ok(STANDARD.encode(bytes))
}

/// The distribution that a text holds.
pub fn unpack(text: &str) -> Result<Latencies, ResultError> {
    let damaged = |error: &dyn std::fmt::Display| ResultError::Histogram(error.to_string());
    let bytes = STANDARD.decode(text).map_err(|error| damaged(&error))?;
    let histogram = Deserializer::new().deserialize::<u64, _>(&mut Cursor::new(bytes));
    let histogram = histogram.map_err(|error| damaged(&error))?;
    // Other programs' bounds may differ from ours; merging wants ours.
    let mut latencies = Latencies::new();
    for value in histogram.iter_recorded() {
        latencies.record(value.value_iterated_to(), value.count_at_value());
    }
    Ok(latencies)
}

impl RunResult {
    /// What came of a run on this machine.
    pub fn new(outcome: &Outcome, label: &str) -> Result<RunResult, ResultError> {
        let lines = &outcome.timelines;
        let mut streams = BTreeMap::new();
        for (name, timeline) in [
            (PRODUCE, &lines.latency),
            (SERVICE, &lines.service),
            (END_TO_END, &lines.end_to_end),
        ] {
            if let Some(stream) = Stream::of(timeline.seconds())? {
                streams.insert(name.to_owned(), stream);
            }
        }
        let (produced, fetched) = (lines.produced.seconds(), lines.fetched.seconds());
        let second = |index: usize| {
            let produced = produced.get(index).copied().unwrap_or_default();
            let fetched = fetched.get(index).copied().unwrap_or_default();
            Second {
                second: index as u64,
                produced_records: produced.records,
                produced_bytes: produced.bytes,
                fetched_records: fetched.records,
                fetched_bytes: fetched.bytes,
            }
        };
        let value = serde_json::to_value(outcome)?;
        Ok(RunResult {
            format: FORMAT.to_owned(),
            label: label.to_owned(),
            machine: Machine::here(),
            command: std::env::args().collect(),
            started_unix_ms: lines.started_unix_ns / 1_000_000,
            outcome: value.as_object().cloned().unwrap_or_default(),
            per_second: (0..produced.len().max(fetched.len())).map(second).collect(),
            streams,
        })
    }

    /// A value of the outcome: `["produced", "records"]`.
    pub fn value(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let first = self.outcome.get(*first)?;
        rest.iter().try_fold(first, |value, key| value.get(key))
    }

    /// A number of the outcome.
    pub fn number(&self, path: &[&str]) -> Option<f64> {
        self.value(path)?.as_f64()
    }

    /// Length of the measured window.
    pub fn seconds(&self) -> f64 {
        self.number(&["seconds"]).unwrap_or(0.0)
    }

    /// A count of what moved, by second: `["produced", "records"]`.
    pub fn rate(&self, path: &[&str]) -> Option<f64> {
        Some(self.number(path)? / self.seconds()).filter(|rate| rate.is_finite())
    }

    /// What a reader has to know first.
    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self.value(&["warnings"]).and_then(Value::as_array);
        let warnings = warnings.into_iter().flatten();
        warnings.filter_map(Value::as_str).collect()
    }

    /// The latency that counts most, and its name: of producing, else of consuming.
    pub fn main_stream(&self) -> Option<(&'static str, &Stream)> {
        [PRODUCE, END_TO_END]
            .into_iter()
            .find_map(|name| Some((name, self.streams.get(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_survives_packing() {
        let mut latencies = Latencies::new();
        for number in 1..10_000u64 {
            latencies.record(number * number, number);
        }
        let again = unpack(&pack(&latencies).expect("it packs")).expect("it unpacks");
        for quantile in [0.0, 0.5, 0.99, 0.999_9, 1.0] {
            assert_eq!(again.quantile(quantile), latencies.quantile(quantile));
        }
        assert_eq!(again.summary().count, latencies.summary().count);
        assert!(unpack("no histogram").is_err() && unpack("AAAA").is_err());
    }
}

/// Results for the tests of those who read them.
#[cfg(test)]
pub mod tests_of_results {
    use super::*;

    /// A result with so many records of some latency in each of those seconds.
    pub fn result_of(label: &str, started_unix_ms: u64, seconds: &[(u64, u64, u64)]) -> RunResult {
        let mut timeline = Timeline::default();
        let mut per_second = Vec::new();
        for &(second, nanos, times) in seconds {
            timeline.record(second, nanos, times);
            per_second.push(Second {
                second,
                produced_records: times,
                produced_bytes: times * 1_024,
                ..Second::default()
            });
        }
        let stream = Stream::of(timeline.seconds())
            .expect("it packs")
            .expect("it is not empty");
        let records = stream.summary.count;
        let outcome = serde_json::json!({
            "broker": "127.0.0.1:9092",
            "seconds": seconds.len() as f64,
            "scenario": { "record_bytes": 1024, "rate": "100" },
            "produced": { "records": records, "bytes": records * 1_024, "refused": 0,
                          "unanswered": 0, "intended": records, "latency": {} },
            "driver_usage": { "cpu_s": 0.5 },
            "warnings": [],
        });
        RunResult {
            format: FORMAT.to_owned(),
            label: label.to_owned(),
            machine: Machine::default(),
            command: vec!["spate-bench".to_owned()],
            started_unix_ms,
            outcome: outcome.as_object().cloned().expect("it is an object"),
            per_second,
            streams: BTreeMap::from([(PRODUCE.to_owned(), stream)]),
        }
    }
}
