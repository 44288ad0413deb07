//! Consumer groups from the client's side: how long members take to agree, and how fast a broker
//! takes commits. Members are raw protocol, all of one thread, so that the broker is what is
//! measured and not a client library.

mod commits;
mod member;
mod rebalance;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use spate_net::reactor::{Reactor, ReactorConfig, ReactorError, sleep};

use crate::connection::{Access, ClientError, Connection};
use crate::histogram::Summary;
use crate::process::{ProcessError, Sample, Usage};
use crate::report::number::{three_digits, time, whole};
use crate::topic;

use self::commits::CommitOptions;
use self::rebalance::RebalanceOptions;

/// What to measure.
#[derive(Debug, Args)]
pub struct GroupsOptions {
    /// Broker, as HOST:PORT
    #[arg(long, default_value = "127.0.0.1:9092", global = true)]
    broker: String,
    /// The broker's process on this machine: its CPU is measured
    #[arg(long, global = true)]
    broker_pid: Option<u32>,
    /// Print JSON instead of the report
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Offset commits per second: a member of a group of its own on each connection
    Commits(CommitOptions),
    /// How long all members of a group take from the first join to the last assignment
    Rebalance(RebalanceOptions),
}

/// Why groups could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// The broker's name means nothing.
    #[error("broker {given:?}: {source}; give HOST:PORT")]
    Address {
        /// The name.
        given: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The driver's own reactor.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// The broker.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A process that was to be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A group whose members do not have each partition once.
    #[error(
        "the members of the group have {assigned} partitions of {partitions}: the broker has lost \
         or mixed up what their leader handed out"
    )]
    Assignment {
        /// Over all members.
        assigned: usize,
        /// Of the topic.
        partitions: i32,
    },
    /// The outcome as JSON.
    #[error("the outcome cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// What was counted: commits, or rebalances.
    pub counted: &'static str,
    /// How many of them were measured.
    pub count: u64,
    /// In this time.
    pub seconds: f64,
    /// Of each.
    pub latency: Summary,
    /// The broker's process meanwhile.
    pub broker_usage: Option<Usage>,
    /// The driver's own.
    pub driver_usage: Usage,
}

impl Outcome {
    fn text(&self) -> String {
        let each = |seconds: f64| three_digits(seconds * 1e6 / self.count.max(1) as f64);
        let latency = &self.latency;
        let broker = self.broker_usage.as_ref();
        let broker = broker.map_or("-".to_owned(), |usage| each(usage.cpu_s));
        format!(
            "{} {} in {} s: {} a second\n\
             p50 {}, p99 {}, longest {}\n\
             broker CPU {broker} us each, driver CPU {} us each\n",
            whole(self.count),
            self.counted,
            three_digits(self.seconds),
            whole((self.count as f64 / self.seconds) as u64),
            time(latency.p50_ns as f64),
            time(latency.p99_ns as f64),
            time(latency.max_ns as f64),
            each(self.driver_usage.cpu_s),
        )
    }
}

/// The processes at both ends, at one moment.
struct Look {
    broker: Option<Sample>,
    driver: Sample,
}

impl Look {
    fn take(broker: Option<u32>) -> Result<Look, ProcessError> {
        Ok(Look {
            broker: broker.map(Sample::take).transpose()?,
            driver: Sample::take(std::process::id())?,
        })
    }

    /// What broker and driver have used since.
    fn since(&self, earlier: &Look) -> (Option<Usage>, Usage) {
        let pair = self.broker.as_ref().zip(earlier.broker.as_ref());
        let broker = pair.map(|(now, then)| now.since(then));
        (broker, self.driver.since(&earlier.driver))
    }
}

/// Measures, and gives the report.
///
/// # Errors
/// If the broker cannot be talked to or refuses something.
pub fn run(options: &GroupsOptions) -> Result<String, GroupsError> {
    let peer = resolve(&options.broker)?;
    let mut reactor = Reactor::new(&ReactorConfig::default())?;
    let pid = options.broker_pid;
    let outcome = match &options.question {
        Question::Commits(commits) => reactor.block_on(commits::run(peer, pid, commits)),
        Question::Rebalance(rebalance) => reactor.block_on(rebalance::run(peer, pid, rebalance)),
    }?;
    Ok(match options.json {
        true => serde_json::to_string_pretty(&outcome)? + "\n",
        false => outcome.text(),
    })
}

fn resolve(given: &str) -> Result<SocketAddr, GroupsError> {
    let failed = |source| GroupsError::Address {
        given: given.to_owned(),
        source,
    };
    let mut addresses = given.to_socket_addrs().map_err(failed)?;
    let none = || failed(io::ErrorKind::NotFound.into());
    addresses.next().ok_or_else(none)
}

/// A topic for as long as something is measured.
async fn with_topic<R>(
    peer: SocketAddr,
    name: &str,
    partitions: i32,
    measure: impl AsyncFnOnce() -> Result<R, GroupsError>,
) -> Result<R, GroupsError> {
    let mut connection = Connection::to(peer).await?;
    topic::create(&mut connection, name, (partitions, 1), &[]).await?;
    topic::await_ready(&mut connection, &Access::plain(peer), name).await?;
    let outcome = measure().await;
    topic::delete(&mut connection, name).await?;
    // Whoever measures next is not to pay for the deletion.
    sleep(Duration::from_millis(200)).await;
    outcome
}

/// A name that nothing else on the broker has.
fn unique(what: &str) -> String {
    format!("bench-{what}-{:08x}", rand::random::<u32>())
}
