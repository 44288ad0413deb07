//! One result out of those of several load machines that drove one broker at a time: distributions
//! are added second by second on the wall clock, rates are added, percentiles read from the sum.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{END_TO_END, PRODUCE, ResultError, RunResult, SERVICE, Second, Stream, unpack};
use crate::histogram::Latencies;

const MS_PER_S: f64 = 1_000.0;
/// Starts further apart than this were not meant to be one run.
const APART_MAX_MS: u64 = 1_000;
/// Counts that several machines have together.
const SUMMED: [(&str, &[&str]); 3] = [
    (
        "produced",
        &["records", "bytes", "intended", "unanswered", "refused"],
    ),
    (
        "consumed",
        &[
            "records",
            "bytes",
            "fetches",
            "backfilled_records",
            "backfilled_bytes",
        ],
    ),
    (
        "driver_usage",
        &["cpu_s", "context_switches", "rss_bytes", "written_bytes"],
    ),
];
/// What verification counts.
const FINDINGS: [&str; 2] = ["consumed", "verification"];

/// Merges results; the first gives the settings.
pub fn merge(results: &[RunResult]) -> Result<Option<RunResult>, ResultError> {
    let Some(first) = results.first() else {
        return Ok(None);
    };
    let starts = || results.iter().map(|result| result.started_unix_ms);
    let start = starts().min().unwrap_or(0);
    let offset =
        |result: &RunResult| ((result.started_unix_ms - start) as f64 / MS_PER_S).round() as u64;
    let mut merged = RunResult {
        label: labels(results),
        started_unix_ms: start,
        streams: BTreeMap::new(),
        per_second: seconds(results, offset),
        ..first.clone()
    };
    for name in [PRODUCE, SERVICE, END_TO_END] {
        let mut by_second: BTreeMap<u64, Latencies> = BTreeMap::new();
        for result in results {
            for second in result
                .streams
                .get(name)
                .iter()
                .flat_map(|stream| &stream.seconds)
            {
                let at = second.second + offset(result);
                let sum = by_second.entry(at).or_insert_with(Latencies::new);
                sum.merge(&unpack(&second.histogram)?);
            }
        }
        if let Some(stream) = Stream::of(by_second.into_iter())? {
            merged.streams.insert(name.to_owned(), stream);
        }
    }
    add_up(&mut merged, results)?;
    let last = starts().max().unwrap_or(0);
    let mut warnings: Vec<Value> = Vec::new();
    if last - start > APART_MAX_MS {
        warnings.push(json!(format!(
            "the load machines began {} ms apart: start them with one --start-at, and set their \
             clocks by NTP",
            last - start
        )));
    }
    for result in results {
        let mine = result.warnings().into_iter();
        warnings.extend(mine.map(|text| json!(format!("{}: {text}", result.machine.host))));
    }
    merged
        .outcome
        .insert("warnings".to_owned(), Value::Array(warnings));
    Ok(Some(merged))
}

fn labels(results: &[RunResult]) -> String {
    let mut labels: Vec<&str> = results.iter().map(|result| result.label.as_str()).collect();
    labels.dedup();
    match labels[..] {
        [one] => format!("{one} ({} load machines)", results.len()),
        _ => labels.join(" + "),
    }
}

fn seconds(results: &[RunResult], offset: impl Fn(&RunResult) -> u64) -> Vec<Second> {
    let mut sums: BTreeMap<u64, Second> = BTreeMap::new();
    for result in results {
        for each in &result.per_second {
            let second = each.second + offset(result);
            let sum = sums.entry(second).or_insert(Second {
                second,
                ..Second::default()
            });
            sum.produced_records += each.produced_records;
            sum.produced_bytes += each.produced_bytes;
            sum.fetched_records += each.fetched_records;
            sum.fetched_bytes += each.fetched_bytes;
        }
    }
    sums.into_values().collect()
}

/// Adds up the outcome's counts, and reads its summaries from the merged distributions.
fn add_up(merged: &mut RunResult, results: &[RunResult]) -> Result<(), ResultError> {
    for (part, keys) in SUMMED {
        let Some(found) = results.iter().find_map(|result| object(result, &[part])) else {
            continue;
        };
        let mut sums = found.clone();
        for key in keys {
            sums.insert((*key).to_owned(), sum(results, &[part, key]));
        }
        let summaries = match part {
            "produced" => vec![("latency", PRODUCE), ("service", SERVICE)],
            "consumed" => vec![("end_to_end", END_TO_END)],
            _ => Vec::new(),
        };
        for (key, name) in summaries {
            if let Some(stream) = merged.streams.get(name) {
                sums.insert(key.to_owned(), serde_json::to_value(&stream.summary)?);
            }
        }
        merged.outcome.insert(part.to_owned(), Value::Object(sums));
    }
    let findings = results.iter().find_map(|result| object(result, &FINDINGS));
    if let (Some(findings), Some(consumed)) = (findings, merged.outcome.get_mut("consumed")) {
        let all = findings.keys().map(|key| {
            let [part, of] = FINDINGS;
            (key.clone(), sum(results, &[part, of, key]))
        });
        consumed["verification"] = Value::Object(all.collect());
    }
    let limited = |result: &RunResult| result.value(&["driver_limited"]) == Some(&json!(true));
    let any_limited = results.iter().any(limited);
    merged
        .outcome
        .insert("driver_limited".to_owned(), json!(any_limited));
    // One of them may run beside the broker and have looked at it.
    let usage = results
        .iter()
        .find_map(|result| object(result, &["broker_usage"]));
    if let Some(usage) = usage {
        merged
            .outcome
            .insert("broker_usage".to_owned(), Value::Object(usage.clone()));
    }
    Ok(())
}

fn object<'a>(result: &'a RunResult, path: &[&str]) -> Option<&'a Map<String, Value>> {
    result.value(path)?.as_object()
}

/// The sum of a count; of what is no number, the first that is there.
fn sum(results: &[RunResult], path: &[&str]) -> Value {
    let values = || results.iter().filter_map(|result| result.value(path));
    if values().all(Value::is_u64) {
        return json!(values().filter_map(Value::as_u64).sum::<u64>());
    }
    if values().all(Value::is_number) {
        return json!(values().filter_map(Value::as_f64).sum::<f64>());
    }
    values().next().cloned().unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests_of_results::result_of;

    #[test]
    fn percentiles_come_from_the_sum_and_rates_add_up() {
        // 99 fast records here, one slow there: p50 of the sum is fast, its maximum slow; the mean
        // of the two p99 would be neither.
        let here = result_of("a", 10_000, &[(0, 1_000, 99)]);
        let there = result_of("a", 12_000, &[(0, 1_000_000, 1), (1, 1_000, 100)]);
        let merged = merge(&[there, here])
            .expect("they merge")
            .expect("there are some");
        let stream = &merged.streams[PRODUCE];
        assert_eq!(stream.summary.count, 200);
        assert_eq!(stream.summary.p50_ns, 1_000);
        assert!(stream.summary.max_ns >= 1_000_000);
        // The second machine began two seconds later.
        let counts: Vec<_> = stream
            .seconds
            .iter()
            .map(|s| (s.second, s.summary.count))
            .collect();
        assert_eq!(counts, [(0, 99), (2, 1), (3, 100)]);
        assert_eq!(merged.number(&["produced", "records"]), Some(200.0));
        assert_eq!(
            merged.number(&["produced", "latency", "count"]),
            Some(200.0)
        );
        assert_eq!(merged.started_unix_ms, 10_000);
        assert!(
            merged.warnings()[0].contains("2000 ms apart"),
            "{:?}",
            merged.warnings()
        );
        assert!(merge(&[]).expect("nothing fails").is_none());
    }
}
