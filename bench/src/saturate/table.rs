//! A saturation in the terminal: the curve as a table, and the verdict as a sentence.

use std::collections::BTreeMap;

use super::{Bounded, Saturation, Step, Verdict};
use crate::report::number::{time, whole};
use crate::report::table::table;

/// All of it.
pub fn text(found: &Saturation) -> String {
    let mut by_rate: BTreeMap<u64, Vec<&Step>> = BTreeMap::new();
    for step in found.searches.iter().flat_map(|search| &search.steps) {
        by_rate.entry(step.rate).or_default().push(step);
    }
    let percentile = format!("p{}", found.percentile);
    let mut rows = table(&["records/s", "answered/s", "p50", &percentile, "held"]);
    for (rate, steps) in by_rate {
        let median = |value: fn(&Step) -> f64| median(steps.iter().map(|step| value(step)));
        let held = steps.iter().filter(|step| step.held).count();
        rows.add_row([
            whole(rate),
            whole(median(|step| step.answered_per_s).round() as u64),
            time(median(|step| step.p50_ns as f64)),
            time(median(|step| step.latency_ns as f64)),
            format!("{held} of {}", steps.len()),
        ]);
    }
    format!("{rows}\n{}\n", headline(found))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count => (values[(count - 1) / 2] + values[count / 2]) / 2.0,
    }
}

/// The verdict in a sentence.
pub fn headline(found: &Saturation) -> String {
    let of = match found.of {
        Bounded::Produce => "",
        Bounded::EndToEnd => " end to end",
    };
    let condition = format!(
        "p{} stays within {}{of}",
        found.percentile,
        time(found.bound_ns as f64)
    );
    let each = || {
        let found = found.searches.iter();
        let rates = found.map(|one| one.highest.map_or("none".to_owned(), whole));
        rates.collect::<Vec<_>>().join(", ")
    };
    let broker = &found.broker;
    match found.verdict() {
        Verdict::Nothing => format!("{broker}: there is no rate at which {condition}"),
        Verdict::TooNoisy(..) => format!(
            "{broker}: too noisy to say up to which rate {condition}; the searches found {}",
            each()
        ),
        Verdict::Highest(_, median, _) => format!(
            "{broker}: {condition} up to {} records/s (searches: {})",
            whole(median),
            each()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saturate::tests::saturation;

    #[test]
    fn the_verdict_is_a_sentence() {
        let said = headline(&saturation(&[Some(41_000), Some(40_000), Some(42_000)]));
        assert_eq!(
            said,
            "127.0.0.1:9092: p99 stays within 10.0 ms up to 41,000 records/s (searches: 41,000, \
             40,000, 42,000)"
        );
        let said = headline(&saturation(&[Some(40_000), None]));
        assert!(
            said.contains("too noisy") && said.contains("40,000, none"),
            "{said}"
        );
    }
}
