//! The command line: what can be asked of the one binary, and how each command ends.
//!
//! `serve` is the broker; the others are clients of any Kafka broker, for people without one.
//! Results go to standard output, everything else to standard error.

mod config;
mod consume;
mod group;
mod inspect;
mod produce;
mod serve;
mod stats;
mod table;
mod topic;

use std::{
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
    rc::Rc,
};

use clap::{Args, Parser, Subcommand};
use spate_net::{
    client::{ClientError, Cluster, ClusterSettings},
    reactor::{Reactor, ReactorConfig, ReactorError},
};

use crate::config::{
    Config,
    address::HostPort,
    source::{ConfigError, Settings, Source},
};

/// An event-streaming broker that speaks Kafka's protocol.
///
/// Without a command it serves on 127.0.0.1:9092 with its data in ./spate-data.
#[derive(Parser, Debug)]
#[command(
    name = "spate",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a broker
    Serve(ServeArgs),
    /// Create, list, describe or delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List, describe and delete groups, or set their offsets
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Write the lines of standard input as records
    Produce(produce::ProduceArgs),
    /// Read records
    Consume(consume::ConsumeArgs),
    /// Show what is in the files of a data directory, running or not
    Inspect(inspect::InspectArgs),
    /// Show what a broker on this machine has counted
    Stats(stats::StatsArgs),
    /// Show every setting with its value, default, unit and meaning; or, of a running cluster, show
    /// and change those of topics and brokers
    Config(config::ConfigArgs),
}

/// What `serve` and `config` are told.
#[derive(Args, Debug, Default)]
pub struct ServeArgs {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Where clients connect
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What clients are told to connect to
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Also give each shard a port of its own, so that clients talk to the owning core only; by
    /// default from the port of --listen plus 100 on
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = "")]
    shard_aware: Option<String>,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Threads that serve; 0: one for each core
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// How shards do I/O
    #[arg(long, value_name = "auto|io_uring|epoll")]
    reactor: Option<String>,
    /// Any other setting (`spate config` lists them)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pairs: Vec<String>,
}

impl ServeArgs {
    /// The settings of this command line, the environment and the file, and remarks about them.
    fn settings(&self) -> Result<(Settings, Vec<String>), ConfigError> {
        let mut settings = Settings::default();
        if let Some(path) = &self.config {
            settings.read_file(path)?;
        }
        // A variable that is not UTF-8 cannot be a value of any setting.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let notes = settings.read_environment(variables)?;
        for (flag, key, value) in [
            ("--listen", "listeners", &self.listen),
            ("--advertise", "advertised.listeners", &self.advertise),
            ("--data", "log.dirs", &self.data),
            ("--shards", "shards", &self.shards),
            ("--reactor", "reactor", &self.reactor),
        ] {
            if let Some(text) = value {
                settings.set(key, text, Source::Flag(flag))?;
            }
        }
        if let Some(given) = &self.shard_aware {
            let beside = if given.is_empty() {
                beside(settings.value("listeners").to_string())
            } else {
                given.clone()
            };
            settings.set("shard.listeners", &beside, Source::Flag("--shard-aware"))?;
        }
        self.pairs
            .iter()
            .try_for_each(|pair| settings.set_pair(pair))?;
        Ok((settings, notes))
    }

    fn config(&self) -> Result<(Config, Vec<String>), ConfigError> {
        let (settings, notes) = self.settings()?;
        Ok((Config::new(settings)?, notes))
    }
}

/// Where shards listen by themselves when only that they shall was said: Kafka's controllers and
/// second brokers mostly have the ports right behind the first.
fn beside(listeners: String) -> String {
    match listeners.parse::<HostPort>() {
        Ok(HostPort { host, port: 0 }) => HostPort { host, port: 0 }.to_string(),
        Ok(HostPort { host, port }) => {
            let port = port.saturating_add(100);
            HostPort { host, port }.to_string()
        }
        Err(_) => listeners,
    }
}

/// What the commands that are clients have in common.
#[derive(Args, Debug, Clone)]
struct ClientArgs {
    /// A broker of the cluster
    #[arg(
        short,
        long,
        visible_alias = "bootstrap-server",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9092"
    )]
    broker: HostPort,
}

impl ClientArgs {
    /// The cluster that this broker belongs to.
    async fn cluster(&self) -> Result<Rc<Cluster>, ClientError> {
        self.cluster_for(false).await
    }

    /// The same, for a command that may create the topic it is told.
    async fn cluster_for(&self, auto_create_topics: bool) -> Result<Rc<Cluster>, ClientError> {
        let bootstrap = vec![self.broker.to_string()];
        let settings = ClusterSettings {
            bootstrap,
            auto_create_topics,
            ..Default::default()
        };
        Cluster::connect(settings).await
    }
}

/// The reactor that a client's command runs on. Such a command logs only what someone should look
/// at, unless RUST_LOG asks for more.
fn reactor() -> Result<Reactor, CommandError> {
    crate::logging::start("warn")?;
    Ok(Reactor::new(&ReactorConfig::default())?)
}

/// Why a command failed: a text for people, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Standard output is closed: whoever read it has seen enough.
    #[error("standard output is closed")]
    Hangup,
    /// Standard output, input or a file failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A level of the log is wrong.
    #[error(transparent)]
    Level(#[from] crate::logging::LevelError),
    /// The broker could not start or had to end.
    #[error(transparent)]
    Serve(#[from] crate::node::ServeError),
    /// A broker could not be asked, or refused.
    #[error("{error}{}", remedy(error))]
    Client {
        /// What the client says.
        #[from]
        error: ClientError,
    },
    /// No reactor for a client.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// The error of writing to standard output.
    fn output(error: io::Error) -> CommandError {
        if error.kind() == ErrorKind::BrokenPipe {
            CommandError::Hangup
        } else {
            CommandError::Io {
                what: "cannot write to standard output".into(),
                error,
            }
        }
    }
}

/// What to do about an error of the client's, where it does not say so itself.
fn remedy(error: &ClientError) -> &'static str {
    match error {
        ClientError::NoBroker { .. } => "; is it running? (-b HOST:PORT says where)",
        _ => "",
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        None => serve::run(&ServeArgs::default()),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Topic(command)) => topic::run(&command),
        Some(Command::Group(command)) => group::run(&command),
        Some(Command::Produce(args)) => produce::run(&args),
        Some(Command::Consume(args)) => consume::run(&args),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::Stats(args)) => stats::run(&args),
        Some(Command::Config(args)) => config::run(&args),
    };
    match done.and_then(|()| io::stdout().flush().map_err(CommandError::output)) {
        // A closed pipe is how `spate consume ... | head` ends: nothing to say.
        Ok(()) | Err(CommandError::Hangup) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "spate: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn later_sources_win() {
        let text = "num.partitions = 2\nlog.retention.ms = 5\nlisteners = \"127.0.0.1:1\"\n";
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let args = ServeArgs {
            config: Some(file.path().to_owned()),
            listen: Some("127.0.0.1:2".into()),
            pairs: vec!["num.partitions=3".into()],
            ..ServeArgs::default()
        };
        let (config, _) = args.config().expect("good settings");
        assert_eq!(config.num_partitions, 3);
        assert_eq!(config.listen.port, 2);
        assert_eq!(config.topic_defaults.retention_ms, Some(5));
        let chosen = config.settings.chosen("listeners");
        assert_eq!(chosen.source, Source::Flag("--listen"));
    }

    #[test]
    fn flags_are_parsed_as_the_manual_says() {
        for line in [
            "spate",
            "spate serve --config f --listen h:1 --advertise h:2 --data d --shards 2 --reactor \
             epoll --set a=b --set c=d",
            "spate serve --shard-aware --listen h:1",
            "spate serve --shard-aware h:2",
            "spate topic create orders --partitions 3 --config retention.ms=5",
            "spate topic list",
            "spate topic describe",
            "spate topic delete a b",
            "spate group list --json",
            "spate group describe g --json",
            "spate group reset-offsets g --topic t:0,1 --topic u --shift-by -5 --execute",
            "spate group reset-offsets g --all-topics --to-datetime 2026-11-23T09:00:00Z",
            "spate group delete a b",
            "spate produce t -K : -H a=b -H c=d -z lz4 --partition 3 --acks 0 -b [::1]:1",
            "spate consume t --from @1700000000000 -n 5 -f %k=%s\\n -e -p 1",
            "spate consume t --from -5",
            "spate stats --data d",
            "spate inspect --data d --verify --json",
            "spate inspect d/node d/journal/1/0/0 --records",
            "spate config --set num.partitions=4",
            "spate config topic get orders retention.ms --json",
            "spate config topic set orders retention.ms=5 cleanup.policy=compact --dry-run",
            "spate config topic unset orders retention.ms",
            "spate config broker get --node 1 --all",
            "spate config broker set log.retention.ms=5",
            "spate topic alter orders -c retention.ms=5 --unset segment.ms",
            "spate topic add-partitions orders 6",
            "spate topic delete-records orders --before end -p 3",
        ] {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("it failed"));
        }
        for line in [
            "spate inspect",
            "spate produce",
            "spate group reset-offsets g --all-topics",
            "spate group reset-offsets g --all-topics --to-earliest --to-latest",
            "spate produce t -z rar",
            "spate consume t --from soon",
            "spate config topic set orders retention.ms",
            "spate topic add-partitions orders 0",
            "spate topic delete-records orders --before -1",
        ] {
            assert!(
                Cli::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }
}
