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
        let whose = match steps.iter().any(|step| step.driver_limited) {
            true => ", driver at its limit",
            false => "",
        };
        rows.add_row([
            whole(rate),
            whole(median(|step| step.answered_per_s).round() as u64),
            time(median(|step| step.p50_ns as f64)),
            time(median(|step| step.latency_ns as f64)),
            format!("{held} of {}{whose}", steps.len()),
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
    let said = match found.verdict() {
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
    };
    said + &whose_limit(found)
}

/// What is the driver's own must not pass for the broker's.
fn whose_limit(found: &Saturation) -> String {
    let searches = found.searches.iter();
    match searches.filter(|one| one.is_drivers_limit()).count() {
        0 => String::new(),
        count => format!(
            "; in {count} of {} the driver was the limit, not the broker: give it more --threads, \
             on cores of their own",
            found.searches.len()
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
        let mut limited = saturation(&[Some(40_000), Some(40_000)]);
        limited.searches[0].steps.push(Step {
            rate: 42_000,
            answered_per_s: 41_000.0,
            latency_ns: 20_000_000,
            p50_ns: 1_000_000,
            held: false,
            why: "too late".to_owned(),
            driver_limited: true,
        });
        assert!(text(&limited).contains("0 of 1, driver at its limit"));
        let said = headline(&limited);
        assert!(
            said.contains("40,000); in 1 of 2 the driver was the limit, not the broker"),
            "{said}"
        );
        let said = headline(&saturation(&[Some(40_000), None]));
        assert!(
            said.contains("too noisy") && said.contains("40,000, none"),
            "{said}"
        );
    }
}
