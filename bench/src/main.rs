//! `spate-bench`: drives any broker that speaks Kafka's protocol, and measures honestly. It knows
//! the reactor and the wire format and nothing of the broker's insides.

mod answer;
mod assignor;
mod command;
mod compare;
mod connection;
mod consumer;
mod floor;
mod groups;
mod histogram;
mod judge;
mod limit;
mod live;
mod machine;
mod payload;
mod probe;
mod process;
mod producer;
mod report;
mod result;
mod run;
mod saturate;
mod scenario;
mod schedule;
mod security;
mod tally;
mod template;
mod timeline;
mod topic;
mod verify;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::RunOptions;
use crate::compare::CompareOptions;
use crate::floor::FloorOptions;
use crate::groups::GroupsOptions;
use crate::judge::VerifyOptions;
use crate::probe::ProbeOptions;
use crate::report::page::{self, ReportOptions};
use crate::saturate::SaturateOptions;

const EXAMPLES: &str = "\
Examples:
  Latency of single records at a steady rate, with a limit for CI (exit code 3):
    spate-bench run --rate 5000 --producers 16 --duration 30s --fail-if 'p99 > 5ms'
  Produce and consume, verify every record, keep the result:
    spate-bench run --rate 20000 --producers 8 --consumers 2 --partitions 8 --out results
  How fast can it go while p99 stays under 10 ms?
    spate-bench saturate --producers 64 --partitions 8 --duration 5s --bound 10ms
  Two brokers on this machine, interleaved, each with its process:
    spate-bench compare --broker spate=127.0.0.1:9092,PID --broker kafka=127.0.0.1:9192,PID
  The same two by scenarios that ship:
    spate-bench compare --broker spate=HOST:9092 --broker kafka=HOST:9192 \
      --scenario bench/scenarios/burst.toml --scenario bench/scenarios/fan-out.toml
  A scenario that ships, at another rate:
    spate-bench run --scenario bench/scenarios/burst.toml --rate 20000@100ms/900ms
  Is anything lost while somebody kills the broker?
    spate-bench verify --broker 127.0.0.1:9092 --duration 60s
  One broker, two settings of its topics, or of the load:
    spate-bench compare --broker lazy=HOST:9092 --broker flushed=HOST:9092,flush.messages=1
    spate-bench compare --broker one=HOST:9092 --broker four=HOST:9092,--batch-records=4
  What can any broker reach on this disk?
    spate-bench probe --dir /var/lib/spate --json > probe.json
  All of it as a page to look at:
    spate-bench report results probe.json -o report.html
  Several load machines, one result:
    spate-bench report --merge machine-a.hlog machine-b.hlog -o report.html";

/// A load driver for brokers that speak Kafka's protocol.
///
/// Latency counts from the time a record was meant to be sent, also while the broker stalls.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Produce to and fetch from one broker, and report
    ///
    /// --scenario FILE reads flags from a TOML file; flags beside it have the last word.
    Run(Box<RunOptions>),
    /// Produce and consume while someone kills the broker, and judge whether anything was lost
    ///
    /// Kill, restart or cut the broker off while this runs; it connects again by itself.
    Verify(Box<VerifyOptions>),
    /// Run the same load on several brokers, interleaved, and print medians side by side
    Compare(Box<CompareOptions>),
    /// Search the highest rate at which a percentile of the latency stays under a bound
    Saturate(Box<SaturateOptions>),
    /// Make one HTML page of results, with charts
    Report(ReportOptions),
    /// Measure what this machine gives at best: durable writes, loopback, timers, the floor
    Probe(ProbeOptions),
    /// Measure consumer groups: commits per second, time to rebalance
    Groups(GroupsOptions),
    /// Serve the least that a durable broker can do: what it takes is the machine's own floor
    Floor(FloorOptions),
}

fn main() -> ExitCode {
    let line = match scenario::file::expand(std::env::args_os().collect()) {
        Ok(line) => line,
        Err(error) => {
            tell(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    match obey(Cli::parse_from(line).command) {
        Ok(code) => code,
        Err(error) => {
            tell(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Run(options) => return command::run_one(&options),
        Command::Verify(options) => verify(&options)?,
        Command::Compare(options) => compare::compare(*options)?,
        Command::Saturate(options) => saturate_broker(&options)?,
        Command::Report(options) => page::report(&options)?,
        Command::Probe(options) => probe_machine(&options)?,
        Command::Groups(options) => print(&groups::run(&options)?),
        Command::Floor(options) => floor::serve(&options, |address| {
            print(&format!("ready {address}\n"));
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(options: &VerifyOptions) -> Result<(), Box<dyn Error>> {
    let verified = judge::verify(options)?;
    match options.json {
        true => print(&(serde_json::to_string_pretty(&verified)? + "\n")),
        false => print(&verified.text()),
    }
    match verified.verdict.is_clean() {
        true => Ok(()),
        false => Err("verification failed".into()),
    }
}

fn saturate_broker(options: &SaturateOptions) -> Result<(), Box<dyn Error>> {
    let found = saturate::saturate(options)?;
    if options.json {
        print(&(serde_json::to_string_pretty(&found)? + "\n"));
    } else {
        print(&saturate::text(&found));
    }
    match found.verdict() {
        saturate::Verdict::Highest(..) => Ok(()),
        saturate::Verdict::TooNoisy(..) => Err("too noisy for a verdict".into()),
        saturate::Verdict::Nothing => Err("no rate held".into()),
    }
}

fn probe_machine(options: &ProbeOptions) -> Result<(), Box<dyn Error>> {
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

/// To standard error: what is no result.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "spate-bench: {text}");
}
