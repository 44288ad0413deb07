//! `spate-bench`: drives any broker that speaks Kafka's protocol, and measures honestly. It knows
//! the reactor and the wire format and nothing of the broker's insides.

mod answer;
mod compare;
mod connection;
mod consumer;
mod floor;
mod groups;
mod histogram;
mod machine;
mod probe;
mod process;
mod producer;
mod report;
mod run;
mod scenario;
mod schedule;
mod tally;
mod template;
mod timeline;
mod topic;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::compare::CompareOptions;
use crate::floor::FloorOptions;
use crate::groups::GroupsOptions;
use crate::probe::ProbeOptions;
use crate::run::Target;
use crate::scenario::Scenario;

/// A load driver for brokers that speak Kafka's protocol.
///
/// Latency counts from the time a record was meant to be sent, also while the broker stalls.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Produce to and fetch from one broker, and report
    Run {
        /// Broker, as HOST:PORT
        #[arg(long, default_value = "127.0.0.1:9092")]
        broker: String,
        /// The broker's process on this machine: its CPU and memory are measured
        #[arg(long)]
        broker_pid: Option<u32>,
        /// Print JSON instead of the report
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        scenario: Box<Scenario>,
    },
    /// Run the same cases on several brokers, interleaved, and print medians side by side
    Compare(CompareOptions),
    /// Serve the least that a durable broker can do: what it takes is the machine's own floor
    Floor(FloorOptions),
    /// Measure what this machine gives at best: durable writes, loopback, timers, the floor
    Probe(ProbeOptions),
    /// Measure consumer groups: commits per second, time to rebalance
    Groups(GroupsOptions),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run {
            broker,
            broker_pid,
            json,
            scenario,
        } => run_one(
            &Target {
                address: broker,
                pid: broker_pid,
            },
            &scenario,
            json,
        ),
        Command::Compare(options) => compare::compare(&options).map_err(Into::into),
        Command::Floor(options) => floor::serve(&options, |address| {
            print(&format!("ready {address}\n"));
        })
        .map_err(Into::into),
        Command::Probe(options) => probe_machine(&options),
        Command::Groups(options) => groups::run(&options)
            .map(|report| print(&report))
            .map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "spate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_one(
    target: &Target,
    scenario: &Scenario,
    json: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let outcome = run::run(target, scenario)?;
    if json {
        print(&(serde_json::to_string_pretty(&outcome)? + "\n"));
    } else {
        print(&report::text(&outcome));
    }
    let verified = outcome
        .consumed
        .is_none_or(|consumed| consumed.verification.is_clean());
    if verified {
        Ok(())
    } else {
        Err("verification failed: see the report".into())
    }
}

fn probe_machine(options: &ProbeOptions) -> Result<(), Box<dyn std::error::Error>> {
    let probe = probe::probe(options)?;
    if options.json {
        print(&(serde_json::to_string_pretty(&probe)? + "\n"));
    } else {
        print(&probe::text(&probe));
    }
    Ok(())
}

/// To standard output; a reader that went away has seen what it wanted.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
