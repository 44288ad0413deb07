//! Several brokers side by side: the same scenarios on the same machine, interleaved round by round
//! so that whatever else the machine does falls on all of them, and medians in one table.

mod case;
mod setting;
mod table;
mod verdict;

use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use self::case::{Case, Fixture, Lasting};
pub use self::verdict::{Said, Verdict};
use crate::machine::Machine;
use crate::report::describe;
use crate::report::number::time;
use crate::result::{ResultError, RunResult};
use crate::run::{Outcome, Target, run};
use crate::scenario::file::{self, Named};
use crate::scenario::{BadValue, Scenario, parse_duration, parse_key_value};
use crate::security::{OptionsError, SecurityOptions};

/// What to compare.
#[derive(Clone, Debug, Args)]
pub struct CompareOptions {
    /// A broker, as NAME=HOST:PORT[,PID][,TOPIC-CONFIG=VALUE]...[,--FLAG[=VALUE]]..., with flags
    /// of `run`; the first is held against each of the others
    #[arg(long = "broker", required = true, value_name = "NAME=HOST:PORT[,PID]")]
    pub brokers: Vec<Contender>,
    /// Rounds; the table shows medians
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Compare on what this file says instead of the cases of our own; may be repeated
    #[arg(long = "scenario", value_name = "FILE", value_parser = file::load)]
    pub scenarios: Vec<Named>,
    /// Time of measuring in each round of each case [default: 4s, or what a scenario says]
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Time before measuring [default: 1s, or what a scenario says]
    #[arg(long, value_parser = parse_duration)]
    pub warm_up: Option<Duration>,
    /// Rest before each measurement, after all dirty pages were written back: else the next broker
    /// pays for what the one before it left to the kernel
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub settle: Duration,
    /// Load for each broker before the first round: a JVM gets fast only by working
    #[arg(long, default_value = "8s", value_parser = parse_duration)]
    pub prime: Duration,
    /// Only these cases, by number: 1,3
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<usize>,
    /// Partitions of the case with many
    #[arg(long, default_value_t = 1_000)]
    pub many_partitions: i32,
    /// Records per second of the cases with a fixed rate
    #[arg(long, default_value = "5000")]
    pub steady_rate: NonZeroU64,
    /// MiB of records for the cached fetch: they must fit every broker's cache
    #[arg(long, default_value_t = 64)]
    pub fetch_mib: u64,
    /// Print all results as JSON instead of the table
    #[arg(long)]
    pub json: bool,
    /// Write the JSON to this file too, for `spate-bench report`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What connections to all of them are protected by
    #[command(flatten)]
    pub security: SecurityOptions,
}

/// A broker to be compared.
#[derive(Clone, Debug)]
pub struct Contender {
    /// How the table calls it.
    pub name: String,
    /// Where it is.
    pub target: Target,
    /// Configs of its topics.
    pub topic_configs: Vec<(String, String)>,
    /// Flags of the load that it has for itself.
    pub flags: Vec<String>,
}

/// A contender that means nothing.
#[derive(Debug, thiserror::Error)]
pub enum BadContender {
    /// Neither name, address, number nor config.
    #[error(transparent)]
    Value(#[from] BadValue),
    /// Not a flag of the load.
    #[error("{0}")]
    Flags(#[from] clap::Error),
}

impl FromStr for Contender {
    type Err = BadContender;

    fn from_str(text: &str) -> Result<Contender, BadContender> {
        let (name, rest) = parse_key_value(text)?;
        let mut parts = rest.split(',');
        let address = parts.next().unwrap_or_default();
        let mut contender = Contender {
            name,
            target: Target::at(address),
            topic_configs: Vec::new(),
            flags: Vec::new(),
        };
        for part in parts {
            if part.starts_with("--") {
                contender.flags.push(part.to_owned());
                continue;
            }
            match part.parse() {
                Ok(pid) => contender.target.pid = Some(pid),
                Err(_) => contender.topic_configs.push(parse_key_value(part)?),
            }
        }
        setting::check(&contender.flags)?;
        Ok(contender)
    }
}

/// One measured round of a case on a broker.
#[derive(Debug)]
pub struct Round {
    /// The case's number.
    pub case: usize,
    /// The broker's name.
    pub broker: String,
    /// Its round, from 0.
    pub round: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// What the JSON says it is.
pub const FORMAT: &str = "spate-bench comparison 1";

/// A comparison as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Compared {
    /// [`FORMAT`].
    pub format: String,
    /// Where the driver ran.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// The cases.
    pub cases: Vec<CaseCompared>,
    /// All rounds of all cases.
    pub rounds: Vec<RoundCompared>,
}

/// A case of a comparison.
#[derive(Debug, Serialize, Deserialize)]
pub struct CaseCompared {
    /// Its number.
    pub number: usize,
    /// What was asked.
    pub question: String,
    /// How, in a line.
    pub load: String,
    /// The table's head: the brokers, and a ratio behind all but the first.
    pub head: Vec<String>,
    /// The table.
    pub rows: Vec<Vec<String>>,
    /// What the rounds allow to say.
    pub verdicts: Vec<Verdicts>,
}

/// The first broker beside another.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verdicts {
    /// The first.
    pub first: String,
    /// The other.
    pub other: String,
    /// Number by number.
    pub numbers: Vec<Verdict>,
}

/// A round as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoundCompared {
    /// The case's number.
    pub case: usize,
    /// The broker's name.
    pub broker: String,
    /// The round, from 0.
    pub round: usize,
    /// What came of it.
    pub outcome: RunResult,
}

/// Runs the whole comparison and prints it. A broker that fails leaves gaps in the table; the
/// others are still compared, and the error at the end says what is missing.
pub fn compare(mut options: CompareOptions) -> Result<(), CompareError> {
    let security = options.security.read()?;
    // The floor speaks in the clear.
    for contender in options.brokers.iter_mut().filter(|one| one.can_be_read()) {
        contender.target.security = security.clone();
    }
    let options = &options;
    let all = case::cases(options);
    let wanted = |case: &Case| options.only.is_empty() || options.only.contains(&case.number);
    let cases: Vec<Case> = all.into_iter().filter(wanted).collect();
    let mut comparison = Comparison {
        options,
        cases: &cases,
        fixtures: Vec::new(),
        rounds: Vec::new(),
        failures: Vec::new(),
    };
    comparison.prepare();
    for round in 0..options.rounds {
        comparison.measure(round);
    }
    for fixture in comparison.fixtures {
        fixture.remove();
    }
    let (rounds, failures) = (comparison.rounds, comparison.failures);
    publish(options, &cases, &rounds)?;
    let lossy = table::failed(&rounds);
    if !lossy.is_empty() {
        let brokers: Vec<&str> = lossy.into_keys().collect();
        let brokers = brokers.join(", ");
        return Err(CompareError::Verification { brokers });
    }
    match failures.len() {
        0 => Ok(()),
        count => Err(CompareError::Gaps {
            count,
            text: failures.join("\n  "),
        }),
    }
}

/// Prints the table, or the JSON, and writes the file.
fn publish(options: &CompareOptions, cases: &[Case], rounds: &[Round]) -> Result<(), CompareError> {
    let mut out = io::stdout().lock();
    if options.json || options.out.is_some() {
        let json = serde_json::to_string_pretty(&compared(options, cases, rounds)?)? + "\n";
        if let Some(path) = &options.out {
            std::fs::write(path, &json).map_err(|source| CompareError::File {
                path: path.clone(),
                source,
            })?;
        }
        if options.json {
            // A reader that went away has seen what it wanted.
            let _ = out.write_all(json.as_bytes());
            return Ok(());
        }
    }
    let _ = out.write_all(table::text(options, cases, rounds).as_bytes());
    Ok(())
}

fn compared(
    options: &CompareOptions,
    cases: &[Case],
    rounds: &[Round],
) -> Result<Compared, ResultError> {
    let case = |case: &Case| {
        let of_case: Vec<&Round> = rounds
            .iter()
            .filter(|one| one.case == case.number)
            .collect();
        CaseCompared {
            number: case.number,
            question: case.question.clone(),
            load: describe(&case.scenario),
            head: table::head(options),
            rows: table::rows(options, case, &of_case),
            verdicts: table::verdicts(options, case, &of_case),
        }
    };
    let round = |one: &Round| -> Result<RoundCompared, ResultError> {
        Ok(RoundCompared {
            case: one.case,
            broker: one.broker.clone(),
            round: one.round,
            outcome: RunResult::new(&one.outcome, &one.broker)?,
        })
    };
    Ok(Compared {
        format: FORMAT.to_owned(),
        machine: Machine::here(),
        command: std::env::args().collect(),
        cases: cases.iter().map(case).collect(),
        rounds: rounds.iter().map(round).collect::<Result<_, _>>()?,
    })
}

/// Why a comparison is not whole.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Rounds that did not take place.
    #[error("the table has gaps, {count} runs failed:\n  {text}")]
    Gaps {
        /// How many.
        count: usize,
        /// Why.
        text: String,
    },
    /// Records that came out otherwise than they went in.
    #[error("verification failed for {brokers}: see the table")]
    Verification {
        /// Whose.
        brokers: String,
    },
    /// What connections were to be protected by.
    #[error(transparent)]
    Security(#[from] OptionsError),
    /// The results as JSON.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// JSON of our own making.
    #[error("the comparison cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A comparison under way.
struct Comparison<'a> {
    options: &'a CompareOptions,
    cases: &'a [Case],
    fixtures: Vec<Fixture>,
    rounds: Vec<Round>,
    failures: Vec<String>,
}

impl<'a> Comparison<'a> {
    /// Who is asked what, in the order of a round: each round begins with another broker, so that
    /// none always follows the same neighbour.
    fn pairs(&self, round: usize) -> impl Iterator<Item = (&'a Case, &'a Contender)> + use<'a> {
        let (cases, brokers) = (self.cases, &self.options.brokers);
        let pairs = cases.iter().flat_map(move |case| {
            let turns = 0..brokers.len();
            turns.map(move |turn| (case, &brokers[(turn + round) % brokers.len()]))
        });
        pairs.filter(|(case, contender)| case.suits(contender))
    }

    fn settle(&self) {
        rustix::fs::sync();
        std::thread::sleep(self.options.settle);
    }

    fn prepare(&mut self) {
        for contender in &self.options.brokers {
            tell(format_args!("{}: getting warm", contender.name));
            let primed = case::prime(self.options, contender);
            if let Err(error) = run(&contender.target, &primed) {
                self.fail(format!("warming {} up: {error}", contender.name));
            }
        }
        for (case, contender) in self.pairs(0) {
            match case.prepare(contender) {
                Ok(fixture) => self.fixtures.extend(fixture),
                Err(error) => self.fail(format!(
                    "preparing case {} on {}: {error}",
                    case.number, contender.name
                )),
            }
        }
    }

    fn measure(&mut self, round: usize) {
        for (case, contender) in self.pairs(round) {
            let mut scenario = contender.fit(&case.scenario);
            let mut made = self.fixtures.iter();
            if let Some(fixture) = made.find(|made| made.is_for(case, contender)) {
                scenario.topic = Some(fixture.topic.clone());
                scenario.existing = true;
            } else if case.lasting != Lasting::Nothing {
                // What it needs could not be made, and that was told.
                continue;
            }
            self.settle();
            match run(&contender.target, &scenario) {
                Ok(outcome) => {
                    let broker = contender.name.clone();
                    tell_outcome(self.options, case, &broker, round, &outcome);
                    let case = case.number;
                    self.rounds.push(Round {
                        case,
                        broker,
                        round,
                        outcome,
                    });
                }
                Err(error) => self.fail(format!(
                    "round {}, case {}, {}: {error}",
                    round + 1,
                    case.number,
                    contender.name
                )),
            }
        }
    }

    fn fail(&mut self, text: String) {
        tell(format_args!("{text}"));
        self.failures.push(text);
    }
}

/// The name that a floor server goes by.
const FLOOR: &str = "floor";

impl Contender {
    /// Whether it keeps records at all.
    fn can_be_read(&self) -> bool {
        self.name != FLOOR
    }

    /// The scenario with this broker's topic configs and flags.
    fn fit(&self, scenario: &Scenario) -> Scenario {
        let mut own = scenario.clone();
        // In the place of the scenario's: a broker need not know what to make of a key that comes
        // twice.
        let is_own = |key: &str| self.topic_configs.iter().any(|(own, _)| own == key);
        own.topic_configs.retain(|(key, _)| !is_own(key));
        own.topic_configs.extend(self.topic_configs.iter().cloned());
        // They were tried when the contender was read.
        let _ = setting::apply(&mut own, &self.flags);
        own
    }
}

fn tell_outcome(
    options: &CompareOptions,
    case: &Case,
    broker: &str,
    round: usize,
    outcome: &Outcome,
) {
    let records = outcome.produced.as_ref().map(|done| done.records);
    let records = records
        .or(outcome.consumed.as_ref().map(|done| done.records))
        .unwrap_or(0);
    let rate = records as f64 / outcome.seconds;
    let p99 = outcome
        .produced
        .as_ref()
        .map(|done| time(done.latency.p99_ns as f64));
    let p99 = p99.map(|p99| format!(", p99 {p99}")).unwrap_or_default();
    let (round, rounds, number) = (round + 1, options.rounds, case.number);
    tell(format_args!(
        "round {round}/{rounds}, case {number}, {broker}: {rate:.0} records/s{p99}"
    ));
}

/// A line about the progress, to standard error: the table has standard output for itself.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_read_with_pid_and_configs() {
        let plain: Contender = "spate=127.0.0.1:9092".parse().expect("it is sound");
        assert_eq!((plain.name.as_str(), plain.target.pid), ("spate", None));
        let full: Contender = "kafka=localhost:19092,4711,flush.messages=1"
            .parse()
            .expect("it is sound");
        assert_eq!(full.target.address, "localhost:19092");
        assert_eq!(full.target.pid, Some(4711));
        assert_eq!(full.topic_configs, [("flush.messages".into(), "1".into())]);
        let flags: Contender = "a=b:1,2,--producers=3,--pin".parse().expect("it is sound");
        assert_eq!(flags.flags, ["--producers=3", "--pin"]);
        assert!("a=b:1,--nonsense".parse::<Contender>().is_err());
        let configs = |key: &str| vec![(key.to_owned(), "2".to_owned()), ("x".into(), "3".into())];
        let scenario = Scenario {
            topic_configs: configs("flush.messages"),
            ..Scenario::default()
        };
        let fitted = full.fit(&scenario).topic_configs;
        let wanted = [("x", "3"), ("flush.messages", "1")];
        assert_eq!(
            fitted,
            wanted.map(|(key, value)| (key.into(), value.into()))
        );
        assert!("localhost:9092".parse::<Contender>().is_err());
        assert!("kafka=localhost:9092,fast".parse::<Contender>().is_err());
    }
}
