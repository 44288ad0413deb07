//! The comparison's table: medians, how far the rounds lay apart, and the first broker's part of
//! each other's number.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::case::{Case, Metric};
use super::verdict::Verdict;
use super::{CompareOptions, Contender, Round, Verdicts};
use crate::histogram::Summary;
use crate::report::describe;
use crate::report::number::{bytes, three_digits, time, whole};
use crate::report::table::table;
use crate::run::Outcome;

/// The whole text.
pub fn text(options: &CompareOptions, cases: &[Case], rounds: &[Round]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, options, cases, rounds);
    text
}

fn write(
    out: &mut String,
    options: &CompareOptions,
    cases: &[Case],
    rounds: &[Round],
) -> fmt::Result {
    for (broker, rounds) in failed(rounds) {
        writeln!(
            out,
            "VERIFICATION FAILED in {rounds} of {broker}'s rounds: the records that came out are \
             not those that went in"
        )?;
    }
    writeln!(
        out,
        "medians of {} interleaved rounds; +- is half the range; machine is all CPU but the \
         driver's, for write-back of a page cache is charged to nobody",
        options.rounds,
    )?;
    for contender in &options.brokers {
        let Contender {
            name,
            target,
            topic_configs,
            flags,
        } = contender;
        let configs = topic_configs
            .iter()
            .map(|(key, value)| format!(" {key}={value}"));
        let configs = configs.chain(flags.iter().map(|flag| format!(" {flag}")));
        writeln!(
            out,
            "{name}: {}{}",
            target.address,
            configs.collect::<String>()
        )?;
    }
    for case in cases {
        writeln!(out, "\n{}. {}", case.number, case.question)?;
        writeln!(
            out,
            "   {}; {} s after {} s",
            describe(&case.scenario),
            case.scenario.window().as_secs_f64(),
            case.scenario.warm_up.as_secs_f64()
        )?;
        let of_case: Vec<&Round> = rounds
            .iter()
            .filter(|round| round.case == case.number)
            .collect();
        let head = head(options);
        let mut cells = table(&head.iter().map(String::as_str).collect::<Vec<_>>());
        cells.add_rows(rows(options, case, &of_case));
        for line in cells.lines() {
            writeln!(out, "   {line}")?;
        }
        write_verdicts(out, options, case, &of_case)?;
        for round in of_case {
            for warning in &round.outcome.warnings {
                writeln!(
                    out,
                    "   ! {}, round {}: {warning}",
                    round.broker,
                    round.round + 1
                )?;
            }
        }
    }
    Ok(())
}

/// One line for each other broker: what the rounds allow to say.
fn write_verdicts(
    out: &mut String,
    options: &CompareOptions,
    case: &Case,
    rounds: &[&Round],
) -> fmt::Result {
    for verdicts in verdicts(options, case, rounds) {
        let texts: Vec<String> = verdicts.numbers.iter().map(Verdict::text).collect();
        writeln!(
            out,
            "   verdict {} : {}   {}",
            verdicts.first,
            verdicts.other,
            texts.join("; ")
        )?;
    }
    for contender in &options.brokers {
        let mine = rounds.iter().filter(|round| round.broker == contender.name);
        let count = mine.filter(|round| !is_sound(&round.outcome)).count();
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            writeln!(
                out,
                "   no part of a verdict, for records were refused, lost or changed: {count} \
                 round{plural} of {}",
                contender.name
            )?;
        }
    }
    Ok(())
}

/// The first broker beside each of the others, in the rounds that were sound.
pub fn verdicts(options: &CompareOptions, case: &Case, rounds: &[&Round]) -> Vec<Verdicts> {
    let Some((first, others)) = options.brokers.split_first() else {
        return Vec::new();
    };
    let metrics: Vec<Metric> = case.verdict_on().collect();
    let sound = rounds.iter().filter(|round| is_sound(&round.outcome));
    let rounds = &sound.copied().collect::<Vec<_>>();
    let beside = |other: &Contender| {
        let of = |metric: &Metric| {
            let (ours, theirs) = (
                values(rounds, &first.name, *metric),
                values(rounds, &other.name, *metric),
            );
            Verdict::of(metric.name(), metric.more_is_better(), &ours.0, &theirs.0)
        };
        Verdicts {
            first: first.name.clone(),
            other: other.name.clone(),
            numbers: metrics.iter().filter_map(of).collect(),
        }
    };
    let all = others.iter().map(beside);
    all.filter(|verdicts| !verdicts.numbers.is_empty())
        .collect()
}

/// The rows of a case: the metric, and a cell for each broker, a ratio behind all but the first.
pub fn rows(options: &CompareOptions, case: &Case, rounds: &[&Round]) -> Vec<Vec<String>> {
    let row = |metric: &Metric| {
        let mut row = vec![metric.name().to_owned()];
        let first = values(rounds, &options.brokers[0].name, *metric).median();
        for (index, contender) in options.brokers.iter().enumerate() {
            let values = values(rounds, &contender.name, *metric);
            let median = values.median();
            row.push(match median {
                Some(median) => format!("{} {}", metric.show(median), values.spread()),
                None => "-".to_owned(),
            });
            if index > 0 {
                let ratio = first.zip(median).filter(|(_, other)| *other > 0.0);
                let ratio =
                    ratio.map(|(first, other)| format!("{} x", three_digits(first / other)));
                row.push(ratio.unwrap_or("-".to_owned()));
            }
        }
        row
    };
    case.metrics.iter().map(row).collect()
}

/// The head above [`rows`].
pub fn head(options: &CompareOptions) -> Vec<String> {
    let mut head = vec![String::new()];
    for (index, contender) in options.brokers.iter().enumerate() {
        head.push(contender.name.clone());
        if index > 0 {
            head.push(format!("{}:{}", options.brokers[0].name, contender.name));
        }
    }
    head
}

/// One broker's results for one metric, in rising order.
struct Values(Vec<f64>);

fn values(rounds: &[&Round], broker: &str, metric: Metric) -> Values {
    let mine = rounds.iter().filter(|round| round.broker == broker);
    let mut values: Vec<f64> = mine.filter_map(|round| metric.of(&round.outcome)).collect();
    values.sort_by(f64::total_cmp);
    Values(values)
}

impl Values {
    fn median(&self) -> Option<f64> {
        let values = &self.0;
        let (low, high) = (
            values.get(values.len().wrapping_sub(1) / 2)?,
            values[values.len() / 2],
        );
        Some((low + high) / 2.0)
    }

    /// Half of what lies between the extremes, in per cent of the median.
    fn spread(&self) -> String {
        match (self.0.first(), self.0.last(), self.median()) {
            (Some(least), Some(most), Some(median)) if median > 0.0 => {
                format!("+-{:>2.0}%", 50.0 * (most - least) / median)
            }
            _ => String::new(),
        }
    }
}

impl Metric {
    fn more_is_better(self) -> bool {
        matches!(self, Metric::Records | Metric::Bytes | Metric::Backfilled)
    }

    fn name(self) -> &'static str {
        match self {
            Metric::Records => "records/s",
            Metric::Bytes => "bytes/s",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::EndToEndP99 => "end-to-end p99",
            Metric::Backfilled => "backlog bytes/s",
            Metric::CpuPerRecord => "CPU us/record",
            Metric::CpuPerGb => "CPU s/GB",
            Metric::Memory => "resident",
            Metric::OpenFiles => "open files",
            Metric::MachinePerRecord => "machine us/rec",
            Metric::MachinePerGb => "machine s/GB",
            Metric::DriverPerRecord => "driver us/rec",
            Metric::DriverPerGb => "driver s/GB",
        }
    }

    fn of(self, outcome: &Outcome) -> Option<f64> {
        let produced = outcome.produced.as_ref();
        let moved = |in_produced: Option<u64>, in_consumed: Option<u64>| {
            in_produced
                .or(in_consumed)
                .map(|count| count as f64 / outcome.seconds)
        };
        let consumed = outcome.consumed.as_ref();
        match self {
            Metric::Records => moved(
                produced.map(|done| done.records),
                consumed.map(|done| done.records),
            ),
            Metric::Bytes => moved(
                produced.map(|done| done.bytes),
                consumed.map(|done| done.bytes),
            ),
            Metric::P50 => Some(counted(&produced?.latency)?.p50_ns as f64),
            Metric::P99 => Some(counted(&produced?.latency)?.p99_ns as f64),
            Metric::EndToEndP99 => Some(counted(&consumed?.end_to_end)?.p99_ns as f64),
            Metric::Backfilled => {
                consumed.map(|done| done.backfilled_bytes as f64 / outcome.seconds)
            }
            Metric::CpuPerRecord => outcome.per_record_us(outcome.broker_usage.as_ref()?.cpu_s),
            Metric::CpuPerGb => outcome.per_gb_s(outcome.broker_usage.as_ref()?.cpu_s),
            Metric::Memory => Some(outcome.broker_usage.as_ref()?.rss_bytes as f64),
            Metric::OpenFiles => Some(outcome.broker_usage.as_ref()?.open_files as f64),
            Metric::MachinePerRecord => outcome.per_record_us(outcome.elsewhere_cpu_s),
            Metric::MachinePerGb => outcome.per_gb_s(outcome.elsewhere_cpu_s),
            Metric::DriverPerRecord => outcome.per_record_us(outcome.driver_usage.cpu_s),
            Metric::DriverPerGb => outcome.per_gb_s(outcome.driver_usage.cpu_s),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Metric::Records | Metric::OpenFiles => whole(value.round() as u64),
            Metric::Bytes | Metric::Backfilled | Metric::Memory => bytes(value),
            Metric::P50 | Metric::P99 | Metric::EndToEndP99 => time(value),
            Metric::CpuPerRecord
            | Metric::CpuPerGb
            | Metric::MachinePerRecord
            | Metric::MachinePerGb
            | Metric::DriverPerRecord
            | Metric::DriverPerGb => three_digits(value),
        }
    }
}

/// A summary of something: the percentiles of no records are 0, and would beat every broker's.
fn counted(summary: &Summary) -> Option<&Summary> {
    Some(summary).filter(|summary| summary.count > 0)
}

/// The brokers that lost or changed records, and in how many rounds.
pub fn failed(rounds: &[Round]) -> BTreeMap<&str, usize> {
    let mut failed = BTreeMap::new();
    for round in rounds.iter().filter(|round| !kept_all(&round.outcome)) {
        *failed.entry(round.broker.as_str()).or_default() += 1;
    }
    failed
}

/// Whether all records came out as they went in.
fn kept_all(outcome: &Outcome) -> bool {
    let consumed = outcome.consumed.as_ref();
    consumed.is_none_or(|done| done.verification.is_clean())
}

/// Whether all records of a round were taken, and came out as they went in: a broker that spares
/// itself some is not the faster one.
fn is_sound(outcome: &Outcome) -> bool {
    let took_all = outcome
        .produced
        .as_ref()
        .is_none_or(|done| done.refused == 0);
    took_all && kept_all(outcome)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::compare::Said;
    use crate::compare::case::cases;
    use crate::histogram::Latencies;
    use crate::run::example;
    use crate::verify::Findings;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        options: CompareOptions,
    }

    fn options() -> CompareOptions {
        let line = ["--broker", "one=127.0.0.1:1", "--broker", "two=127.0.0.1:2"];
        Flags::try_parse_from(line).expect("it is sound").options
    }

    /// Three rounds of each broker, the second's ten times as late.
    fn rounds() -> Vec<Round> {
        let round = |broker: &str, round, nanos| {
            let mut outcome = example::outcome("1000");
            let mut latency = Latencies::new();
            latency.record(nanos, 1_000);
            let produced = outcome.produced.as_mut().expect("it produced");
            produced.latency = latency.summary();
            Round {
                case: 1,
                broker: broker.to_owned(),
                round,
                outcome,
            }
        };
        let both =
            |number| [("one", 1_000), ("two", 10_000)].map(|(name, ns)| round(name, number, ns));
        (0..3).flat_map(both).collect()
    }

    fn p99s(rounds: &[Round]) -> Vec<Verdict> {
        let options = options();
        let case = &cases(&options)[0];
        let rounds: Vec<&Round> = rounds.iter().collect();
        let verdicts = verdicts(&options, case, &rounds);
        let numbers = verdicts.into_iter().flat_map(|one| one.numbers);
        numbers.filter(|one| one.metric == "p99").collect()
    }

    #[test]
    fn a_broker_that_refuses_everything_has_no_percentiles() {
        let mut outcome = example::outcome("1000");
        assert_eq!(Metric::P99.of(&outcome).map(|ns| ns > 0.0), Some(true));
        let produced = outcome.produced.as_mut().expect("it produced");
        produced.latency = Summary::default();
        outcome.consumed = Some(example::consumed(Findings::default()));
        for metric in [Metric::P50, Metric::P99, Metric::EndToEndP99] {
            assert_eq!(metric.of(&outcome), None, "{metric:?}");
        }
    }

    #[test]
    fn rounds_with_refused_or_lost_records_are_no_part_of_the_verdict() {
        let mut rounds = rounds();
        let said = |rounds: &[Round]| p99s(rounds).first().map(|one| one.said);
        assert_eq!(said(&rounds), Some(Said::Better));
        let refusing = rounds[0].outcome.produced.as_mut();
        refusing.expect("it produced").refused = 1;
        assert_eq!(said(&rounds), Some(Said::TooFewRounds));
        let lost = Findings {
            lost: 1,
            ..Findings::default()
        };
        for round in rounds.iter_mut().filter(|round| round.broker == "one") {
            round.outcome.consumed = Some(example::consumed(lost.clone()));
        }
        assert_eq!(said(&rounds), None);
        assert_eq!(failed(&rounds), BTreeMap::from([("one", 3)]));
        let options = options();
        let whole = super::text(&options, &cases(&options)[..1], &rounds);
        assert!(whole.starts_with("VERIFICATION FAILED in 3 of one's rounds"));
        let all: Vec<&Round> = rounds.iter().collect();
        let mut text = String::new();
        write_verdicts(&mut text, &options, &cases(&options)[0], &all).expect("it is a string");
        assert_eq!(
            text,
            "   no part of a verdict, for records were refused, lost or changed: 3 rounds of one\n"
        );
    }

    #[test]
    fn medians_and_spreads() {
        assert_eq!(Values(vec![]).median(), None);
        assert_eq!(Values(vec![2.0]).median(), Some(2.0));
        assert_eq!(Values(vec![1.0, 2.0]).median(), Some(1.5));
        let three = Values(vec![90.0, 100.0, 120.0]);
        assert_eq!(
            (three.median(), three.spread()),
            (Some(100.0), "+-15%".to_owned())
        );
    }
}
