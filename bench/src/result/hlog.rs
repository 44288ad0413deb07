//! Interval logs (`.hlog`): a histogram a second for each latency, tagged with its name, as
//! HdrHistogram's own tools read them (`HistogramLogProcessor -i FILE -tag produce`). A comment
//! holds the rest of the result, so that the log alone can be reported and merged.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use std::{fs, io};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};

use super::{ResultError, RunResult, Stream, unpack};
use crate::histogram::Latencies;

/// What the comment with the rest of the result begins with.
const REST: &str = "#spate-bench ";
/// The logs' column of maxima is in milliseconds, as Java's tools write it.
const NANOS_PER_MS: f64 = 1e6;
const SECOND: Duration = Duration::from_secs(1);

/// Writes a result as an interval log.
pub fn write(path: &Path, result: &RunResult) -> Result<(), ResultError> {
    let bytes = encode(result)?;
    fs::write(path, bytes).map_err(|source| ResultError::File {
        path: path.to_owned(),
        source,
    })
}

fn encode(result: &RunResult) -> Result<Vec<u8>, ResultError> {
    let damaged = |error: &dyn std::fmt::Display| ResultError::Histogram(error.to_string());
    let started = UNIX_EPOCH + Duration::from_millis(result.started_unix_ms);
    let rest = RunResult {
        streams: BTreeMap::new(),
        ..result.clone()
    };
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("spate-bench {}", serde_json::to_string(&rest)?))
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(NANOS_PER_MS)
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| damaged(&error))?;
    // By time, as readers expect; within a second by name.
    let mut entries = Vec::new();
    for (name, stream) in &result.streams {
        for second in &stream.seconds {
            entries.push((second.second, name, &second.histogram));
        }
    }
    entries.sort();
    for (second, name, histogram) in entries {
        let latencies = unpack(histogram)?;
        let start = Duration::from_secs(second);
        log.write_histogram(latencies.histogram(), start, SECOND, Tag::new(name))
            .map_err(|error| damaged(&error))?;
    }
    Ok(bytes)
}

/// Reads an interval log back.
pub fn read(path: &Path) -> Result<RunResult, ResultError> {
    let bytes = fs::read(path).map_err(|source| ResultError::File {
        path: path.to_owned(),
        source,
    })?;
    decode(&bytes).map_err(|error| match error {
        ResultError::File { source, .. } => ResultError::Foreign {
            path: path.to_owned(),
            why: source.to_string(),
        },
        error => ResultError::Foreign {
            path: path.to_owned(),
            why: error.to_string(),
        },
    })
}

fn decode(bytes: &[u8]) -> Result<RunResult, ResultError> {
    let foreign = |why: &str| ResultError::File {
        path: Path::new("").to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, why),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| foreign("not a text"))?;
    let rest = text.lines().find_map(|line| line.strip_prefix(REST));
    let rest = rest.ok_or_else(|| foreign("an interval log without spate-bench's own comment"))?;
    let mut result: RunResult = serde_json::from_str(rest)?;
    let mut streams: BTreeMap<String, BTreeMap<u64, Latencies>> = BTreeMap::new();
    for entry in IntervalLogIterator::new(bytes) {
        let entry = entry.map_err(|error| foreign(&format!("line not understood: {error:?}")))?;
        let LogEntry::Interval(interval) = entry else {
            continue;
        };
        let name = interval.tag().map_or("", |tag| tag.as_str()).to_owned();
        let second = interval.start_timestamp().as_secs_f64().round() as u64;
        let latencies = unpack(interval.encoded_histogram())?;
        let seconds = streams.entry(name).or_default();
        seconds
            .entry(second)
            .or_insert_with(Latencies::new)
            .merge(&latencies);
    }
    for (name, seconds) in streams {
        if let Some(stream) = Stream::of(seconds.into_iter())? {
            result.streams.insert(name, stream);
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests_of_results::result_of;

    #[test]
    fn a_log_holds_the_whole_result() {
        let result = result_of(
            "one",
            1_000_000,
            &[(0, 5_000, 10), (1, 7_000, 20), (3, 9_000, 1)],
        );
        let bytes = encode(&result).expect("it is written");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("Tag=produce,0.000,1.000,"), "{text}");
        let again = decode(&bytes).expect("it is read");
        assert_eq!(again.label, "one");
        assert_eq!(again.started_unix_ms, 1_000_000);
        assert_eq!(again.per_second, result.per_second);
        let (before, after) = (&result.streams["produce"], &again.streams["produce"]);
        assert_eq!(after.summary.p99_ns, before.summary.p99_ns);
        let seconds = |stream: &Stream| -> Vec<(u64, u64)> {
            let seconds = stream.seconds.iter();
            seconds
                .map(|each| (each.second, each.summary.count))
                .collect()
        };
        assert_eq!(seconds(after), [(0, 10), (1, 20), (3, 1)]);
        assert_eq!(seconds(after), seconds(before));
    }

    #[test]
    fn other_logs_are_refused_with_the_reason() {
        let text = b"#[Histogram log format version 1.3]\n";
        let error = decode(text).expect_err("it is not ours").to_string();
        assert!(
            error.contains("without spate-bench's own comment"),
            "{error}"
        );
    }
}
