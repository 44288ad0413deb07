//! Limits for CI: `--fail-if 'p99 > 5ms'`. A run that breaks one ends with an exit code of its own,
//! and says which number broke which limit.

use std::fmt;
use std::str::FromStr;

use crate::histogram::Latencies;
use crate::report::number::{bytes, three_digits, time};
use crate::result::total;
use crate::run::Outcome;

/// A condition that a run must not meet.
#[derive(Clone, PartialEq, Debug)]
pub struct Limit {
    text: String,
    subject: Option<Subject>,
    measure: Measure,
    comparison: Comparison,
    value: f64,
}

/// Which side of the run is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Produce,
    Service,
    EndToEnd,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Measure {
    /// A latency below which that part of the records lies.
    Quantile(f64),
    Mean,
    /// Records per second.
    Rate,
    /// Bytes per second.
    Throughput,
    /// Records refused or unanswered.
    Errors,
    /// Records acknowledged and not found.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// A limit that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "{given:?} is no limit: {why}; write for example 'p99 > 5ms', 'e2e p99.9 >= 20ms', \
     'service max > 1s', 'rate < 50000', 'consume throughput < 100MB/s', 'errors > 0' or 'lost > 0'"
)]
pub struct BadLimit {
    given: String,
    why: String,
}

/// A limit that was broken.
#[derive(Debug, thiserror::Error)]
pub struct Broken {
    /// Every one, in a line.
    pub lines: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n  "))
    }
}

impl FromStr for Limit {
    type Err = BadLimit;

    fn from_str(given: &str) -> Result<Limit, BadLimit> {
        let bad = |why: String| BadLimit {
            given: given.to_owned(),
            why,
        };
        let at = given.find(['<', '>']);
        let at = at.ok_or_else(|| bad("it has neither < nor >".to_owned()))?;
        let (left, right) = given.split_at(at);
        let (comparison, right) = comparison(right);
        let words: Vec<&str> = left.split_whitespace().collect();
        let (subject, measure) = match words[..] {
            [measure] => (None, measure),
            [subject, measure] => (Some(subject), measure),
            _ => {
                return Err(bad(
                    "in front of the sign belongs a number's name".to_owned()
                ));
            }
        };
        let subject = match subject.map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("produce") => Some(Subject::Produce),
            Some("service") => Some(Subject::Service),
            Some("e2e" | "end-to-end" | "consume") => Some(Subject::EndToEnd),
            Some(other) => return Err(bad(format!("{other:?} is not produce, service or e2e"))),
        };
        let measure = measure_of(measure).ok_or_else(|| {
            bad(format!(
                "{measure:?} is not a percentile, max, min, mean, rate, throughput, errors or lost"
            ))
        })?;
        let value = measure
            .read(right.trim())
            .ok_or_else(|| bad(format!("{:?} is not {}", right.trim(), measure.wanted())))?;
        Ok(Limit {
            text: given.to_owned(),
            subject,
            measure,
            comparison,
            value,
        })
    }
}

fn comparison(text: &str) -> (Comparison, &str) {
    let signs = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        (">", Comparison::Above),
        ("<", Comparison::Below),
    ];
    signs
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, text.strip_prefix(sign)?)))
        .unwrap_or((Comparison::Above, text))
}

fn measure_of(text: &str) -> Option<Measure> {
    let text = text.to_ascii_lowercase();
    Some(match text.as_str() {
        "max" => Measure::Quantile(1.0),
        "min" => Measure::Quantile(0.0),
        "mean" => Measure::Mean,
        "rate" => Measure::Rate,
        "throughput" => Measure::Throughput,
        "errors" => Measure::Errors,
        "lost" => Measure::Lost,
        other => {
            let percent: f64 = other.strip_prefix('p')?.parse().ok()?;
            Measure::Quantile(Some(percent / 100.0).filter(|part| (0.0..=1.0).contains(part))?)
        }
    })
}

/// A number with a unit, out of a list of units.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',' && c != '_');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.replace([',', '_'], "").parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("/s").unwrap_or(&unit);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    Some(number * factor)
}

impl Measure {
    fn read(self, text: &str) -> Option<f64> {
        match self {
            Measure::Quantile(_) | Measure::Mean => with_unit(
                text,
                &[
                    ("ns", 1.0),
                    ("us", 1e3),
                    ("µs", 1e3),
                    ("ms", 1e6),
                    ("s", 1e9),
                ],
            ),
            Measure::Rate => {
                with_unit(text, &[("", 1.0), ("k", 1e3), ("m", 1e6), ("records", 1.0)])
            }
            Measure::Throughput => with_unit(
                text,
                &[
                    ("b", 1.0),
                    ("kb", 1e3),
                    ("mb", 1e6),
                    ("gb", 1e9),
                    ("kib", 1024.0),
                    ("mib", 1_048_576.0),
                    ("gib", 1_073_741_824.0),
                ],
            ),
            Measure::Errors | Measure::Lost => with_unit(text, &[("", 1.0)]),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Measure::Quantile(_) | Measure::Mean => "a time such as 5ms, 250us or 1.5s",
            Measure::Rate => "records per second such as 50000 or 50k",
            Measure::Throughput => "bytes per second such as 100MB/s",
            Measure::Errors | Measure::Lost => "a number of records",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Measure::Quantile(_) | Measure::Mean => time(value),
            Measure::Rate => format!("{} records/s", three_digits(value)),
            Measure::Throughput => format!("{}/s", bytes(value)),
            Measure::Errors | Measure::Lost => format!("{value} records"),
        }
    }
}

impl Limit {
    /// What breaks the limit, if something does. A number that the run does not have breaks it too:
    /// else a run that measured nothing would pass.
    pub fn broken_by(&self, outcome: &Outcome) -> Option<String> {
        let text = &self.text;
        match self.value_in(outcome) {
            None => Some(format!("--fail-if '{text}': the run has no such number")),
            Some(value) if self.is_met(value) => {
                let value = self.measure.show(value);
                Some(format!("--fail-if '{text}': it is {value}"))
            }
            Some(_) => None,
        }
    }

    fn is_met(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Above => value > self.value,
            Comparison::AtLeast => value >= self.value,
            Comparison::Below => value < self.value,
            Comparison::AtMost => value <= self.value,
        }
    }

    fn value_in(&self, outcome: &Outcome) -> Option<f64> {
        let (produced, consumed) = (outcome.produced.as_ref(), outcome.consumed.as_ref());
        let subject = match (self.subject, produced) {
            (Some(subject), _) => subject,
            (None, Some(_)) => Subject::Produce,
            (None, None) => Subject::EndToEnd,
        };
        let moved = match subject {
            Subject::EndToEnd => consumed.map(|done| (done.records, done.bytes)),
            _ => produced.map(|done| (done.records, done.bytes)),
        };
        match self.measure {
            Measure::Quantile(quantile) => {
                Some(latencies(outcome, subject)?.quantile(quantile) as f64)
            }
            Measure::Mean => Some(latencies(outcome, subject)?.summary().mean_ns),
            Measure::Rate => Some(moved?.0 as f64 / outcome.seconds),
            Measure::Throughput => Some(moved?.1 as f64 / outcome.seconds),
            Measure::Errors => {
                let refused = produced.map_or(0, |done| done.refused + done.unanswered);
                let found = consumed.map_or(0, |done| u64::from(!done.verification.is_clean()));
                (produced.is_some() || consumed.is_some()).then_some((refused + found) as f64)
            }
            Measure::Lost => consumed.map(|done| done.verification.lost as f64),
        }
    }
}

/// The distribution that is meant, if there is anything in it.
fn latencies(outcome: &Outcome, subject: Subject) -> Option<Latencies> {
    let lines = &outcome.timelines;
    let found = total(match subject {
        Subject::Produce => &lines.latency,
        Subject::Service => &lines.service,
        Subject::EndToEnd => &lines.end_to_end,
    });
    (found.summary().count > 0).then_some(found)
}

/// Holds a run against all limits.
pub fn check(limits: &[Limit], outcome: &Outcome) -> Result<(), Broken> {
    let broken = limits.iter().filter_map(|limit| limit.broken_by(outcome));
    let lines: Vec<String> = broken.collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(Broken { lines }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn limits_are_read_as_people_write_them() {
        let read = limit("p99 > 5ms");
        assert_eq!((read.subject, read.value), (None, 5e6));
        assert_eq!(read.measure, Measure::Quantile(0.99));
        let read = limit("e2e p99.9>=1.5s");
        assert_eq!(read.subject, Some(Subject::EndToEnd));
        assert_eq!((read.comparison, read.value), (Comparison::AtLeast, 1.5e9));
        assert_eq!(limit("service max > 250us").subject, Some(Subject::Service));
        assert_eq!(limit("rate < 50,000").value, 50_000.0);
        assert_eq!(limit("produce rate <= 50k").value, 50_000.0);
        assert_eq!(limit("throughput < 100MB/s").value, 1e8);
        assert_eq!(limit("throughput < 1 MiB").value, 1_048_576.0);
        assert_eq!(limit("errors > 0").measure, Measure::Errors);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_examples() {
        for bad in [
            "",
            "p99",
            "p99 5ms",
            "p101 > 5ms",
            "p99 > 5",
            "p99 > fast",
            "rate < 5ms",
            "x p99 > 1s",
            "a b c > 1",
            "> 5ms",
            "latency > 5ms",
            "errors > 1.x",
        ] {
            let error = bad.parse::<Limit>().expect_err(bad).to_string();
            assert!(error.contains("'p99 > 5ms'"), "{error}");
        }
    }

    #[test]
    fn a_sign_says_which_side_is_bad() {
        let met = |text, value| limit(text).is_met(value);
        assert!(met("p99 > 5ms", 5.1e6) && !met("p99 > 5ms", 5e6));
        assert!(met("p99 >= 5ms", 5e6));
        assert!(met("rate < 100", 99.0) && !met("rate < 100", 100.0));
        assert!(met("rate <= 100", 100.0));
    }
}
