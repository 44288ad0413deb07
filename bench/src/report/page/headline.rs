//! The sentence at the top of a page: what a reader who reads nothing else should know.

use super::load::Material;
use crate::compare::{Compared, Said};
use crate::report::number::{bytes, three_digits, time, whole};
use crate::result::RunResult;
use crate::saturate;

/// The sentence.
pub fn headline(material: &Material) -> String {
    let rounds = material.comparisons.iter().flat_map(|one| &one.rounds);
    let mut all = material
        .runs
        .iter()
        .chain(rounds.map(|round| &round.outcome));
    if let Some(run) = all.find(|run| has_failed(run)) {
        return format!(
            "{}: the records that came out are not those that went in",
            run.label
        );
    }
    match (&material.runs[..], &material.comparisons[..]) {
        ([run], _) => of_run(run),
        ([first, others @ ..], _) if !others.is_empty() => of_runs(first, others),
        (_, [compared, ..]) => of_comparison(compared),
        _ => match (&material.saturations[..], &material.probe) {
            ([found, ..], _) => saturate::headline(found),
            (_, Some(probe)) => format!("What {} gives at best", probe.machine.host),
            _ => "Nothing to report".to_owned(),
        },
    }
}

fn has_failed(run: &RunResult) -> bool {
    let warnings = run.warnings();
    warnings
        .iter()
        .any(|text| text.contains("VERIFICATION FAILED"))
}

fn of_run(run: &RunResult) -> String {
    let (side, verb) = match run.value(&["produced", "records"]) {
        Some(_) => ("produced", "acknowledged"),
        None => ("consumed", "fetched"),
    };
    let rate = run.rate(&[side, "records"]).unwrap_or(0.0);
    let volume = run.rate(&[side, "bytes"]).unwrap_or(0.0);
    let what = format!(
        "{}: {} records/s ({}/s) {verb}",
        run.label,
        whole(rate.round() as u64),
        bytes(volume)
    );
    match run.main_stream() {
        Some((_, stream)) => format!(
            "{what}, 99 % of them within {}, the slowest after {}",
            time(stream.summary.p99_ns as f64),
            time(stream.summary.max_ns as f64)
        ),
        None => what,
    }
}

fn of_runs(first: &RunResult, others: &[RunResult]) -> String {
    let p99 = |run: &RunResult| Some(run.main_stream()?.1.summary.p99_ns as f64);
    let Some(ours) = p99(first) else {
        return format!("{} and {} other runs", first.label, others.len());
    };
    let beside = others.iter().filter_map(|other| {
        let theirs = p99(other).filter(|p99| *p99 > 0.0)?;
        let ratio = three_digits(ours / theirs);
        Some(format!(
            "{ratio} x that of {} ({})",
            other.label,
            time(theirs)
        ))
    });
    let beside: Vec<String> = beside.collect();
    format!(
        "{}'s p99 is {}: {}",
        first.label,
        time(ours),
        beside.join(", ")
    )
}

fn of_comparison(compared: &Compared) -> String {
    let verdicts = compared.cases.iter().flat_map(|case| &case.verdicts);
    let Some(first) = verdicts.clone().next() else {
        return "A comparison without results".to_owned();
    };
    let numbers = || {
        let mine = verdicts.clone().filter(|one| one.other == first.other);
        mine.flat_map(|one| &one.numbers)
    };
    let count = |said: &[Said]| numbers().filter(|one| said.contains(&one.said)).count();
    format!(
        "{} beside {}: better in {} of {} numbers, worse in {}, undecided in {}",
        first.first,
        first.other,
        count(&[Said::Better]),
        numbers().count(),
        count(&[Said::Worse]),
        count(&[Said::Noise, Said::TooFewRounds])
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::RoundCompared;
    use crate::result::tests_of_results::result_of;

    fn of(runs: Vec<RunResult>) -> String {
        headline(&Material {
            runs,
            ..Material::default()
        })
    }

    #[test]
    fn a_run_is_told_in_a_sentence() {
        let said = of(vec![result_of(
            "spate",
            0,
            &[(0, 1_000_000, 99), (1, 9_000_000, 1)],
        )]);
        assert_eq!(
            said,
            "spate: 50 records/s (51.2 kB/s) acknowledged, 99 % of them within 1.00 ms, the \
             slowest after 9.00 ms"
        );
    }

    #[test]
    fn runs_are_held_against_the_first() {
        let runs = [("spate", 1_000_000), ("kafka", 4_000_000)];
        let said = of(runs
            .map(|(name, ns)| result_of(name, 0, &[(0, ns, 10)]))
            .into());
        assert!(
            said.starts_with("spate's p99 is 1.00 ms: 0.25 x that of kafka"),
            "{said}"
        );
    }

    #[test]
    fn loss_comes_before_every_number() {
        let mut run = result_of("spate", 0, &[(0, 1, 1)]);
        let text = serde_json::json!(["VERIFICATION FAILED: lost 3"]);
        run.outcome.insert("warnings".to_owned(), text);
        assert!(of(vec![run.clone()]).contains("not those that went in"));
        let round = RoundCompared {
            case: 1,
            broker: "spate".to_owned(),
            round: 0,
            outcome: run,
        };
        let compared = Compared {
            format: String::new(),
            machine: Default::default(),
            command: Vec::new(),
            cases: Vec::new(),
            rounds: vec![round],
        };
        let said = headline(&Material {
            comparisons: vec![compared],
            ..Material::default()
        });
        assert!(said.starts_with("spate: ") && said.contains("not those that went in"));
    }
}
