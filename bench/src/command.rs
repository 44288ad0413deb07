//! `spate-bench run` from the command line: one run, what is printed and written of it, and what
//! its exit code says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::limit::{self, Limit};
use crate::live::Live;
use crate::result::{ResultError, RunResult, hlog};
use crate::run::{Outcome, Target, run_watched};
use crate::scenario::Scenario;
use crate::security::SecurityOptions;
use crate::{print, process, report};

/// The exit code of a run that broke a limit.
const LIMIT_BROKEN: u8 = 3;

/// What to run, and what to make of it.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Broker, as HOST:PORT
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub broker: String,
    /// The broker's process on this machine, by number or name: its CPU and memory are measured
    #[arg(long, value_name = "PID|NAME")]
    pub broker_pid: Option<String>,
    /// Where the broker tells Prometheus of its process: for one on another machine
    #[arg(long, value_name = "URL", conflicts_with = "broker_pid")]
    pub broker_metrics: Option<String>,
    /// Print the whole result as JSON instead of the report
    #[arg(long)]
    pub json: bool,
    /// How charts call this run [default: the broker's address]
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Write the result into this directory: LABEL.json and LABEL.hlog
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write a histogram a second to this file, for HdrHistogram's tools
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// End with exit code 3 if this holds, as in 'p99 > 5ms', 'e2e p99.9 > 20ms', 'rate < 50000',
    /// 'throughput < 100MB/s' or 'errors > 0'; may be repeated
    #[arg(long, value_name = "LIMIT")]
    pub fail_if: Vec<Limit>,
    /// What connections are protected by
    #[command(flatten)]
    pub security: SecurityOptions,
    /// The load
    #[command(flatten)]
    pub scenario: Box<Scenario>,
}

/// Runs, reports and judges.
pub fn run_one(options: &RunOptions) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let pid = options
        .broker_pid
        .as_deref()
        .map(process::find)
        .transpose()?;
    let target = Target {
        pid,
        metrics: options.broker_metrics.clone(),
        security: options.security.read()?,
        ..Target::at(&options.broker)
    };
    let outcome = run_watched(&target, &options.scenario, Live::if_terminal())?;
    let label = options.label.as_deref().unwrap_or(&options.broker);
    publish(options, &outcome, label)?;
    let verified = outcome
        .consumed
        .as_ref()
        .is_none_or(|consumed| consumed.verification.is_clean());
    if !verified {
        return Err("verification failed: see the report".into());
    }
    match limit::check(&options.fail_if, &outcome) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(broken) => {
            crate::tell(&broken.to_string());
            Ok(ExitCode::from(LIMIT_BROKEN))
        }
    }
}

fn publish(options: &RunOptions, outcome: &Outcome, label: &str) -> Result<(), ResultError> {
    let result = RunResult::new(outcome, label)?;
    let json = || serde_json::to_string_pretty(&result);
    if options.json {
        print(&(json()? + "\n"));
    } else {
        print(&report::text(outcome));
    }
    if let Some(folder) = &options.out {
        fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        let name = file_name(label);
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, json()? + "\n").map_err(|source| failed(&path, source))?;
        hlog::write(&folder.join(format!("{name}.hlog")), &result)?;
    }
    match &options.hlog {
        Some(path) => hlog::write(path, &result),
        None => Ok(()),
    }
}

fn failed(path: &Path, source: std::io::Error) -> ResultError {
    ResultError::File {
        path: path.to_owned(),
        source,
    }
}

/// A label as the name of a file.
fn file_name(label: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let name: String = label
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    // Neither hidden nor a directory.
    match name.trim_start_matches('.') {
        "" => "result".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names_of_files() {
        assert_eq!(file_name("127.0.0.1:9092"), "127.0.0.1-9092");
        assert_eq!(file_name("../a b"), "-a-b");
        assert_eq!(file_name(".."), "result");
    }
}
