//! How much a broker takes: the highest rate at which a percentile of the latency stays under a
//! bound. The search is repeated; if the answers lie too far apart, the verdict says so instead of
//! naming one of them.

mod search;
mod table;

use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::search::Search;
pub use self::table::{headline, text};
use crate::machine::Machine;
use crate::report::number::{time, whole};
use crate::result::total;
use crate::run::{Outcome, RunError, Target, run};
use crate::scenario::{Rate, Scenario, parse_duration};
use crate::security::{OptionsError, SecurityOptions};

/// What the JSON says it is.
pub const FORMAT: &str = "spate-bench saturation 1";
/// Answers further apart than this part of their median are no answer.
const SPREAD_TOLERATED: f64 = 0.15;
/// A rate is reached if this part of it was answered in time.
const REACHED: f64 = 0.98;
/// Rests between two steps: what the step before left to be written is not this one's fault.
const SETTLE: Duration = Duration::from_millis(300);

/// What to search.
#[derive(Clone, Debug, Args)]
pub struct SaturateOptions {
    /// Broker, as HOST:PORT
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub broker: String,
    /// Which percentile is to stay under the bound
    #[arg(long, default_value_t = 99.0, value_name = "P", value_parser = parse_percentile)]
    pub percentile: f64,
    /// The bound
    #[arg(long, default_value = "10ms", value_parser = parse_duration)]
    pub bound: Duration,
    /// Which latency is meant
    #[arg(long, value_enum, default_value_t = Bounded::Produce)]
    pub of: Bounded,
    /// Records per second to begin with
    #[arg(long, default_value = "1000", value_name = "N")]
    pub from_rate: NonZeroU64,
    /// No higher rate is tried
    #[arg(long, default_value = "10000000", value_name = "N")]
    pub to_rate: NonZeroU64,
    /// How near to the answer the search goes, as a part of the rate
    #[arg(long, default_value_t = 0.05, value_parser = parse_precision)]
    pub precision: f64,
    /// How often the search is repeated
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub repeats: u32,
    /// Print JSON instead of the tables
    #[arg(long)]
    pub json: bool,
    /// Write the JSON to this file too, for `spate-bench report`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What connections are protected by
    #[command(flatten)]
    pub security: SecurityOptions,
    /// The load; --rate is what is searched for
    #[command(flatten)]
    pub scenario: Box<Scenario>,
}

fn parse_percentile(text: &str) -> Result<f64, String> {
    let percent = text
        .parse()
        .ok()
        .filter(|percent| (0.0..100.0).contains(percent));
    percent.ok_or_else(|| "give a percentile below 100, such as 99 or 99.9".to_owned())
}

fn parse_precision(text: &str) -> Result<f64, String> {
    let part = text
        .parse()
        .ok()
        .filter(|part| (0.005..=0.5).contains(part));
    part.ok_or_else(|| "give a part of the rate from 0.005 to 0.5".to_owned())
}

/// A latency that can be held under a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bounded {
    /// From the intended send time to the answer
    Produce,
    /// From the intended send time to the consumer
    EndToEnd,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum SaturateError {
    /// A step did not take place.
    #[error("at {rate} records/s: {source}")]
    Step {
        /// The rate.
        rate: u64,
        /// Why.
        source: RunError,
    },
    /// What connections were to be protected by.
    #[error(transparent)]
    Security(#[from] OptionsError),
    /// End to end without a consumer.
    #[error("--of end-to-end needs --consumers")]
    NoConsumer,
    /// The file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// JSON of our own making.
    #[error("the result cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saturation {
    /// [`FORMAT`].
    pub format: String,
    /// Where the driver ran.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// Which broker.
    pub broker: String,
    /// The load.
    pub settings: serde_json::Value,
    /// Which percentile was to stay under the bound.
    pub percentile: f64,
    /// The bound.
    pub bound_ns: u64,
    /// Which latency.
    pub of: Bounded,
    /// Every repetition's steps, in the order in which they were made.
    pub searches: Vec<Found>,
}

/// One search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The highest rate that held; none if no rate did.
    pub highest: Option<u64>,
    /// All steps.
    pub steps: Vec<Step>,
}

/// A rate that was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Records per second that were due.
    pub rate: u64,
    /// Records per second that were answered.
    pub answered_per_s: f64,
    /// The percentile in question.
    pub latency_ns: u64,
    /// Half of all were at most this late.
    pub p50_ns: u64,
    /// Whether it held.
    pub held: bool,
    /// If not, why.
    pub why: String,
    /// The driver was busy or late itself: if it did not hold, that may be no fault of the broker.
    #[serde(default)]
    pub driver_limited: bool,
}

impl Found {
    /// Whether the driver was the limit in the first step above the answer that failed: then the
    /// broker may take more.
    pub fn is_drivers_limit(&self) -> bool {
        let answer = self.highest.unwrap_or(0);
        let failed = || {
            let above = self.steps.iter().filter(|step| step.rate > answer);
            above.filter(|step| !step.held)
        };
        let first = failed().map(|step| step.rate).min();
        failed().any(|step| Some(step.rate) == first && step.driver_limited)
    }
}

/// What all searches together say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// No rate held.
    Nothing,
    /// They lie too far apart: least, median and most.
    TooNoisy(u64, u64, u64),
    /// Least, median and most.
    Highest(u64, u64, u64),
}

impl Saturation {
    /// What the searches say together.
    pub fn verdict(&self) -> Verdict {
        let mut found: Vec<u64> = self.searches.iter().filter_map(|one| one.highest).collect();
        found.sort_unstable();
        let (Some(least), Some(most)) = (found.first(), found.last()) else {
            return Verdict::Nothing;
        };
        let median = (found[(found.len() - 1) / 2] + found[found.len() / 2]) / 2;
        let apart = (most - least) as f64 > SPREAD_TOLERATED * median as f64;
        // One that found nothing where another found something lies furthest apart.
        match apart || found.len() < self.searches.len() {
            true => Verdict::TooNoisy(*least, median, *most),
            false => Verdict::Highest(*least, median, *most),
        }
    }
}

/// Searches as often as asked, and tells every step on standard error.
pub fn saturate(options: &SaturateOptions) -> Result<Saturation, SaturateError> {
    if options.of == Bounded::EndToEnd && options.scenario.consumers == 0 {
        return Err(SaturateError::NoConsumer);
    }
    let target = Target {
        security: options.security.read()?,
        ..Target::at(&options.broker)
    };
    let mut searches = Vec::new();
    for number in 1..=options.repeats {
        tell(format_args!("search {number} of {}", options.repeats));
        searches.push(one_search(options, &target)?);
    }
    let found = Saturation {
        format: FORMAT.to_owned(),
        machine: Machine::here(),
        command: std::env::args().collect(),
        broker: options.broker.clone(),
        settings: serde_json::to_value(&options.scenario)?,
        percentile: options.percentile,
        bound_ns: u64::try_from(options.bound.as_nanos()).unwrap_or(u64::MAX),
        of: options.of,
        searches,
    };
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(&found)? + "\n";
        std::fs::write(path, text).map_err(|source| SaturateError::File {
            path: path.clone(),
            source,
        })?;
    }
    Ok(found)
}

fn one_search(options: &SaturateOptions, target: &Target) -> Result<Found, SaturateError> {
    let (from, to) = (options.from_rate.get(), options.to_rate.get());
    let lowest = lowest_measurable(options).min(from);
    let mut search = Search::new(from, lowest..=to, options.precision);
    let mut steps = Vec::new();
    while let Some(rate) = search.next() {
        std::thread::sleep(SETTLE);
        let scenario = Scenario {
            rate: Rate::PerSecond(rate),
            ..(*options.scenario).clone()
        };
        let rate = rate.get();
        let outcome =
            run(target, &scenario).map_err(|source| SaturateError::Step { rate, source })?;
        let step = judge(options, rate, &outcome);
        let (latency, percentile) = (time(step.latency_ns as f64), options.percentile);
        tell(format_args!(
            "  {:>10} records/s  p{percentile} {latency:>9}  {}",
            whole(rate),
            said_of(&step)
        ));
        search.tell(step.held);
        steps.push(step);
    }
    Ok(Found {
        highest: search.highest(),
        steps,
    })
}

/// What a step's line says.
fn said_of(step: &Step) -> String {
    let held = match step.held {
        true => "holds",
        false => &step.why,
    };
    match step.driver_limited {
        true => format!("{held}; the driver was at its limit"),
        false => held.to_owned(),
    }
}

/// The rate at which one record of a step lies beyond the percentile: of fewer it says nothing.
fn lowest_measurable(options: &SaturateOptions) -> u64 {
    let beyond = 1.0 - options.percentile / 100.0;
    let lowest = 1.0 / (beyond * options.scenario.duration.as_secs_f64()).max(1e-9);
    (lowest.ceil() as u64).max(1)
}

/// How many of the records that were due must be answered within the window. Some may come behind
/// its end although they are in time: those of one bound, and at least one.
fn must_be_answered(due: u64, seconds: f64, bound: Duration) -> f64 {
    let due = due as f64;
    REACHED * due - (due / seconds * bound.as_secs_f64()).max(1.0)
}

fn judge(options: &SaturateOptions, rate: u64, outcome: &Outcome) -> Step {
    let lines = &outcome.timelines;
    let latencies = total(match options.of {
        Bounded::Produce => &lines.latency,
        Bounded::EndToEnd => &lines.end_to_end,
    });
    let (answered, due) = outcome
        .produced
        .as_ref()
        .map_or((0, 0), |done| (done.records, done.intended));
    let failed = outcome
        .produced
        .as_ref()
        .map_or(0, |done| done.refused + done.unanswered);
    let broken = outcome
        .consumed
        .as_ref()
        .is_some_and(|done| !done.verification.is_clean());
    let answered_per_s = answered as f64 / outcome.seconds;
    let latency_ns = latencies.quantile(options.percentile / 100.0);
    let bound_ns = options.bound.as_nanos();
    let why = if broken {
        "records were lost, doubled or reordered".to_owned()
    } else if failed > 0 {
        format!("{failed} records refused or unanswered")
    } else if (answered as f64) < must_be_answered(due, outcome.seconds, options.bound) {
        format!(
            "only {} records/s were answered",
            whole(answered_per_s as u64)
        )
    } else if u128::from(latency_ns) > bound_ns {
        "too late".to_owned()
    } else {
        String::new()
    };
    Step {
        rate,
        answered_per_s,
        latency_ns,
        p50_ns: latencies.quantile(0.5),
        held: why.is_empty(),
        why,
        driver_limited: outcome.driver_limited,
    }
}

/// A line about the progress, to standard error: the result has standard output for itself.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::run::example::outcome;

    /// Searches that found those rates.
    pub fn saturation(highest: &[Option<u64>]) -> Saturation {
        let found = |highest: &Option<u64>| Found {
            highest: *highest,
            steps: Vec::new(),
        };
        Saturation {
            format: FORMAT.to_owned(),
            machine: Machine::default(),
            command: Vec::new(),
            broker: "127.0.0.1:9092".to_owned(),
            settings: serde_json::Value::Null,
            percentile: 99.0,
            bound_ns: 10_000_000,
            of: Bounded::Produce,
            searches: highest.iter().map(found).collect(),
        }
    }

    #[test]
    fn a_spread_above_fifteen_per_cent_is_too_noisy() {
        let verdict = |highest: &[Option<u64>]| saturation(highest).verdict();
        let near = verdict(&[Some(100), Some(115), Some(107)]);
        assert_eq!(near, Verdict::Highest(100, 107, 115));
        let apart = verdict(&[Some(100), Some(117), Some(107)]);
        assert_eq!(apart, Verdict::TooNoisy(100, 107, 117));
        let missing = verdict(&[Some(100), None, Some(100)]);
        assert_eq!(missing, Verdict::TooNoisy(100, 100, 100));
        assert_eq!(verdict(&[None, None]), Verdict::Nothing);
    }

    #[test]
    fn what_comes_in_time_behind_the_end_is_not_missed() {
        let bound = Duration::from_millis(10);
        let needed = must_be_answered(2_000, 2.0, bound);
        assert!((needed - (0.98 * 2_000.0 - 10.0)).abs() < 1e-6, "{needed}");
        assert!(must_be_answered(1, 1.0, bound) < 0.0);
    }

    #[derive(clap::Parser)]
    #[command(no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        options: SaturateOptions,
    }

    #[test]
    fn a_step_holds_if_what_was_due_was_answered() {
        let line: [&str; 0] = [];
        let options = <Flags as clap::Parser>::try_parse_from(line)
            .expect("all have defaults")
            .options;
        let step = |due, answered, driver_limited| {
            let mut outcome = outcome("1000");
            outcome.driver_limited = driver_limited;
            let produced = outcome.produced.as_mut().expect("it produced");
            (produced.intended, produced.records) = (due, answered);
            judge(&options, 1_000, &outcome)
        };
        assert_eq!(said_of(&step(2_000, 2_000, false)), "holds");
        // Chance made fewer records due than the rate has: that is not the broker's failure.
        assert_eq!(said_of(&step(1_850, 1_850, false)), "holds");
        assert_eq!(
            said_of(&step(2_000, 1_850, true)),
            "only 925 records/s were answered; the driver was at its limit"
        );
    }

    #[test]
    fn the_first_failure_above_the_answer_says_whose_limit_it_is() {
        let step = |rate, held, driver_limited| Step {
            rate,
            answered_per_s: 0.0,
            latency_ns: 0,
            p50_ns: 0,
            held,
            why: String::new(),
            driver_limited,
        };
        let found = |steps: &[Step]| Found {
            highest: Some(100),
            steps: steps.to_vec(),
        };
        let drivers = [step(100, true, false), step(110, false, true)];
        assert!(found(&drivers).is_drivers_limit());
        // Far above the answer the driver has its limit too, but the broker's comes first.
        let brokers = [step(200, false, true), step(110, false, false)];
        assert!(!found(&brokers).is_drivers_limit());
        // One that held after all, or lies below, limits nothing.
        let none = [step(90, false, true), step(100, true, true)];
        assert!(!found(&none).is_drivers_limit());
    }

    #[test]
    fn steps_of_older_files_are_read() {
        let old = serde_json::json!({
            "rate": 1, "answered_per_s": 1.0, "latency_ns": 1, "p50_ns": 1, "held": true, "why": "",
        });
        let step: Step = serde_json::from_value(old).expect("it is a step");
        assert!(!step.driver_limited);
    }

    #[test]
    fn percentiles_and_precisions_are_checked() {
        assert_eq!(parse_percentile("99.9"), Ok(99.9));
        assert!(parse_percentile("100").is_err() && parse_percentile("x").is_err());
        assert!(parse_precision("0.05").is_ok() && parse_precision("0").is_err());
    }
}
