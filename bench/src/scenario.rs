//! One run's settings: what is sent and fetched, how fast, for how long. The flags of
//! `spate-bench run` are these fields, and `compare` fills them in from its own list.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use spate_net::reactor::ReactorChoice;

use crate::verify::STAMP_BYTES;

/// What a run does.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Scenario {
    /// Topic; created for the run and deleted after it, unless --existing [default: a fresh name]
    #[arg(long)]
    pub topic: Option<String>,
    /// Use a topic that is already there, and leave it there
    #[arg(long, requires = "topic")]
    pub existing: bool,
    /// Leave the topic behind
    #[arg(long)]
    pub keep_topic: bool,
    /// Partitions of the topic
    #[arg(long, default_value_t = 1)]
    pub partitions: i32,
    /// A config of the topic, as KEY=VALUE; may be repeated
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = parse_key_value)]
    pub topic_configs: Vec<(String, String)>,

    /// Producing connections
    #[arg(long, default_value_t = 1)]
    pub producers: u32,
    /// Bytes of a record's value (at least 32: sequence, time and checksum are in there)
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Records of a batch; a request carries one batch
    #[arg(long, default_value_t = 1)]
    pub batch_records: u64,
    /// Requests on their way on each connection
    #[arg(long, default_value_t = 5)]
    pub in_flight: usize,
    /// Whose confirmation a produce waits for
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// Produce with a producer id and sequence numbers, as Kafka's Java producer does by default
    #[arg(long)]
    pub idempotent: bool,
    /// Records per second over all connections, each with its intended time; or max: as fast as
    /// answers come, which measures throughput but no honest latency
    #[arg(long, default_value = "max", value_name = "N|max")]
    pub rate: Rate,
    /// Which partition a batch goes to
    #[arg(long, value_enum, default_value_t = PartitionChoice::RoundRobin)]
    pub partition_choice: PartitionChoice,

    /// Fetching connections; partitions are dealt among them, and what they get is verified
    #[arg(long, default_value_t = 0)]
    pub consumers: u32,
    /// Bytes that a fetch asks for at most
    #[arg(long, default_value_t = 8 << 20)]
    pub fetch_bytes: i32,
    /// Bytes that a fetch asks for at most of one partition
    #[arg(long, default_value_t = 1 << 20)]
    pub fetch_partition_bytes: i32,
    /// At the end start over from the beginning: a cached fetch at full speed
    #[arg(long)]
    pub repeat: bool,

    /// Driver threads, each with a reactor of its own
    #[arg(long, default_value_t = 1)]
    pub threads: u32,
    /// Pin the driver's threads to cores, from the last one down
    #[arg(long)]
    pub pin: bool,
    /// How the driver talks to the kernel
    #[arg(long, default_value_t = ReactorChoice::Auto)]
    #[serde(serialize_with = "as_text")]
    pub reactor: ReactorChoice,

    /// Time before measuring, as in 500ms or 2s
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    #[serde(serialize_with = "as_seconds")]
    pub warm_up: Duration,
    /// Time of measuring
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    #[serde(serialize_with = "as_seconds")]
    pub duration: Duration,
    /// How long to wait at the end for answers and for records still to be fetched
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    #[serde(serialize_with = "as_seconds")]
    pub drain: Duration,
}

/// Whose confirmation a produce waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Acks {
    /// Nobody's: a record counts as answered when it is handed to the kernel.
    #[value(name = "0")]
    None,
    /// The leader's.
    #[value(name = "1")]
    Leader,
    /// That of all replicas in sync.
    All,
}

impl Acks {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// Which partition a connection's batches go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionChoice {
    /// The next one each time.
    RoundRobin,
    /// One per connection, for the whole run.
    Pinned,
}

/// How fast records are to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// Records per second, on a schedule that does not wait (open loop).
    PerSecond(NonZeroU64),
    /// As fast as answers come (closed loop).
    Max,
}

impl Rate {
    /// The records per second of an open loop.
    pub fn per_second(self) -> Option<NonZeroU64> {
        match self {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Max => None,
        }
    }
}

impl FromStr for Rate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Rate, BadValue> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let bad = |_| BadValue::new(text, "a number of records per second above 0, or max");
        text.parse().map(Rate::PerSecond).map_err(bad)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::PerSecond(rate) => write!(f, "{rate}"),
            Rate::Max => f.write_str("max"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Rate::PerSecond(rate) => serializer.serialize_u64(rate.get()),
            Rate::Max => serializer.serialize_str("max"),
        }
    }
}

/// A setting that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is not {wanted}")]
pub struct BadValue {
    given: String,
    wanted: &'static str,
}

impl BadValue {
    fn new(given: &str, wanted: &'static str) -> BadValue {
        BadValue {
            given: given.to_owned(),
            wanted,
        }
    }
}

/// Reads `250ms`, `10s` or `2m`.
pub fn parse_duration(text: &str) -> Result<Duration, BadValue> {
    let bad = || BadValue::new(text, "a time such as 250ms, 10s or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(bad)
}

/// Reads `KEY=VALUE`.
pub fn parse_key_value(text: &str) -> Result<(String, String), BadValue> {
    let (key, value) = text
        .split_once('=')
        .ok_or(BadValue::new(text, "KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Scenario {
    /// Refuses settings that contradict each other or could never work.
    pub fn check(&self) -> Result<(), BadScenario> {
        let refuse = |flag, value: usize, remedy| {
            Err(BadScenario {
                flag,
                value,
                remedy,
            })
        };
        if self.producers == 0 && self.consumers == 0 {
            return refuse("--producers", 0, "let there be a producer or a consumer");
        }
        if self.producers == 0 && !self.existing {
            return refuse(
                "--producers",
                0,
                "name a --topic with records, and say --existing",
            );
        }
        if self.record_bytes < STAMP_BYTES || self.record_bytes > 1 << 30 {
            return refuse("--record-bytes", self.record_bytes, "use 32 bytes to 1 GiB");
        }
        let batch = self
            .record_bytes
            .saturating_mul(self.batch_records as usize);
        if self.batch_records == 0 || batch > 1 << 30 {
            return refuse(
                "--batch-records",
                self.batch_records as usize,
                "use 1 B to 1 GiB a batch",
            );
        }
        if self.in_flight == 0 || self.in_flight > 1 << 16 {
            return refuse("--in-flight", self.in_flight, "use 1 to 65536");
        }
        if self.threads == 0 {
            return refuse("--threads", 0, "use at least one");
        }
        if self.partitions < 1 {
            return refuse("--partitions", 0, "use at least one");
        }
        if self.duration.is_zero() {
            return refuse("--duration", 0, "measure for some time");
        }
        Ok(())
    }
}

/// A setting that cannot work with the others.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {value} cannot work: {remedy}")]
pub struct BadScenario {
    flag: &'static str,
    value: usize,
    remedy: &'static str,
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_seconds<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates_are_read_as_people_write_them() {
        assert_eq!(
            parse_duration("250ms").ok(),
            Some(Duration::from_millis(250))
        );
        assert_eq!(parse_duration("10s").ok(), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m").ok(), Some(Duration::from_secs(120)));
        for bad in [
            "",
            "s",
            "10",
            "10h",
            "-1s",
            "99999999999999999999s",
            "999999999999999999m",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!("max".parse::<Rate>().ok(), Some(Rate::Max));
        assert_eq!(
            "5000".parse::<Rate>().ok().map(|rate| rate.to_string()),
            Some("5000".into())
        );
        assert!("0".parse::<Rate>().is_err() && "fast".parse::<Rate>().is_err());
    }
}
