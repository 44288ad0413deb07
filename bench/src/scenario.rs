//! One run's settings: what is sent and fetched, how fast, for how long. The flags of
//! `spate-bench run` are these fields, the keys of a scenario file too, and `compare` fills them in
//! from its own list.

pub mod file;
mod value;

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use serde::{Serialize, Serializer};
use spate_net::reactor::ReactorChoice;

use crate::verify::STAMP_BYTES;

pub use self::value::{
    Acks, BadValue, Compression, Keys, PartitionChoice, Rate, RecordBytes, Spacing, parse_duration,
    parse_key_value, parse_part,
};

/// What a run does.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Scenario {
    /// The question that this run is to answer: a line at the top of the report
    #[arg(long, value_name = "TEXT")]
    pub question: Option<String>,

    /// Topic; created for the run and deleted after it, unless --existing [default: a fresh name]
    #[arg(long, help_heading = "Topic")]
    pub topic: Option<String>,
    /// Use a topic that is already there, and leave it there
    #[arg(long, requires = "topic", help_heading = "Topic")]
    pub existing: bool,
    /// Leave the topic behind
    #[arg(long, help_heading = "Topic")]
    pub keep_topic: bool,
    /// Partitions of the topic
    #[arg(long, default_value_t = 1, help_heading = "Topic")]
    pub partitions: i32,
    /// Replicas of each partition; -1 takes the broker's default
    #[arg(
        long,
        default_value_t = 1,
        allow_negative_numbers = true,
        help_heading = "Topic"
    )]
    pub replicas: i16,
    /// A config of the topic, as KEY=VALUE; may be repeated
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = parse_key_value,
          help_heading = "Topic")]
    pub topic_configs: Vec<(String, String)>,
    /// MiB of records to put into the topic before the run, as a backlog to read
    #[arg(long, default_value_t = 0, value_name = "MIB", help_heading = "Topic")]
    pub prefill_mib: u64,

    /// Producing connections; fewer than the brokers that lead partitions connect to several each
    #[arg(long, default_value_t = 1, help_heading = "Producing")]
    pub producers: u32,
    /// Bytes of a record's value (at least 32: sequence, time and checksum are in there): 1024,
    /// a range 100..2000, or weighted sizes 100:70,1000:25,9000:5
    #[arg(
        long,
        default_value = "1024",
        value_name = "SIZE",
        help_heading = "Producing"
    )]
    pub record_bytes: RecordBytes,
    /// A file whose content the records carry, in pieces of --record-bytes
    #[arg(long, value_name = "FILE", help_heading = "Producing")]
    pub sample: Option<PathBuf>,
    /// Take each line of the sample for a record
    #[arg(long, requires = "sample", help_heading = "Producing")]
    pub sample_lines: bool,
    /// The part of each record that a codec can save
    #[arg(long, default_value = "0", value_parser = parse_part, help_heading = "Producing")]
    pub compressible: f64,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = Compression::None, help_heading = "Producing")]
    pub codec: Compression,
    /// Which keys records have; records of a key go to one partition of the topic, as Kafka's own
    /// clients do it, and each producer connects to all the brokers that lead one
    #[arg(long, value_enum, default_value_t = Keys::None, help_heading = "Producing")]
    pub keys: Keys,
    /// How many different keys there are
    #[arg(long, default_value_t = 1_000_000, help_heading = "Producing")]
    pub key_count: u64,
    /// How uneven zipf keys are: at 1, the second key is half as frequent as the first
    #[arg(long, default_value_t = 1.0, help_heading = "Producing")]
    pub zipf_exponent: f64,
    /// A header of every record, as KEY=VALUE; may be repeated
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = parse_key_value,
          help_heading = "Producing")]
    pub headers: Vec<(String, String)>,
    /// Records of a batch; a request carries one batch
    #[arg(long, default_value_t = 1, help_heading = "Producing")]
    pub batch_records: u64,
    /// Fill batches as producers do instead: each waits so long for more records
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Producing")]
    #[serde(serialize_with = "as_seconds_if_any")]
    pub linger: Option<Duration>,
    /// With --linger: a batch that has so many bytes goes at once
    #[arg(long, default_value_t = 16_384, help_heading = "Producing")]
    pub batch_bytes: usize,
    /// Requests on their way on each connection
    #[arg(long, default_value_t = 5, help_heading = "Producing")]
    pub in_flight: usize,
    /// Whose confirmation a produce waits for
    #[arg(long, value_enum, default_value_t = Acks::All, help_heading = "Producing")]
    pub acks: Acks,
    /// Produce with a producer id and sequence numbers, as Kafka's Java producer does by default
    #[arg(long, help_heading = "Producing")]
    pub idempotent: bool,
    /// Records per second over all connections, each with its intended time: 5000, a ramp
    /// 1000..50000, steps 1000,2000,4000, bursts 50000@200ms/800ms; or max: as fast as answers
    /// come, which measures throughput but no honest latency
    #[arg(
        long,
        default_value = "max",
        value_name = "RATE|max",
        help_heading = "Producing"
    )]
    pub rate: Rate,
    /// How the records of a rate are spread over time
    #[arg(long, value_enum, default_value_t = Spacing::Even, help_heading = "Producing")]
    pub spacing: Spacing,
    /// Which partition a batch without keys goes to
    #[arg(long, value_enum, default_value_t = PartitionChoice::RoundRobin,
          help_heading = "Producing")]
    pub partition_choice: PartitionChoice,

    /// Fetching connections that follow the end; partitions are dealt among them, and what they
    /// get is verified; fewer than the brokers that lead partitions connect to several each
    #[arg(long, default_value_t = 0, help_heading = "Consuming")]
    pub consumers: u32,
    /// Consume as members of this many groups, each with --consumers members
    #[arg(long, default_value_t = 0, help_heading = "Consuming")]
    pub groups: u32,
    /// How often members commit their offsets
    #[arg(long, default_value = "1s", value_parser = parse_duration, help_heading = "Consuming")]
    #[serde(serialize_with = "as_seconds")]
    pub commit_interval: Duration,
    /// Fetching connections that read everything from the beginning, over and over
    #[arg(long, default_value_t = 0, help_heading = "Consuming")]
    pub backfill: u32,
    /// Bytes per second that each of them reads at most
    #[arg(long, value_name = "BYTES", help_heading = "Consuming")]
    pub backfill_rate: Option<NonZeroU64>,
    /// Bytes that a fetch asks for at most
    #[arg(long, default_value_t = 8 << 20, help_heading = "Consuming")]
    pub fetch_bytes: i32,
    /// Bytes that a fetch asks for at most of one partition
    #[arg(long, default_value_t = 1 << 20, help_heading = "Consuming")]
    pub fetch_partition_bytes: i32,
    /// At the end start over from the beginning: a cached fetch at full speed
    #[arg(long, help_heading = "Consuming")]
    pub repeat: bool,

    /// Connections per second that are opened, asked for metadata and closed beside the rest
    #[arg(long, value_name = "N", help_heading = "Churn")]
    pub churn_connections: Option<NonZeroU64>,
    /// Topics per second that are created, served and deleted beside the rest
    #[arg(long, value_name = "N", help_heading = "Churn")]
    pub churn_topics: Option<NonZeroU64>,

    /// Driver threads, each with a reactor of its own
    #[arg(long, default_value_t = 1, help_heading = "Driver")]
    pub threads: u32,
    /// Pin the driver's threads to cores, from the last one down
    #[arg(long, help_heading = "Driver")]
    pub pin: bool,
    /// How the driver talks to the kernel
    #[arg(long, default_value_t = ReactorChoice::Auto, help_heading = "Driver")]
    #[serde(serialize_with = "as_text")]
    pub reactor: ReactorChoice,
    /// What chance does is the same in every run with the same seed
    #[arg(long, default_value_t = 1, help_heading = "Driver")]
    pub seed: u64,
    /// A request without an answer for so long is sent again on a new connection
    #[arg(long, default_value = "30s", value_parser = parse_duration, help_heading = "Driver")]
    #[serde(serialize_with = "as_seconds")]
    pub request_timeout: Duration,

    /// Time before measuring, as in 500ms or 2s
    #[arg(long, default_value = "2s", value_parser = parse_duration, help_heading = "Time")]
    #[serde(serialize_with = "as_seconds")]
    pub warm_up: Duration,
    /// Time of measuring
    #[arg(long, default_value = "10s", value_parser = parse_duration, help_heading = "Time")]
    #[serde(serialize_with = "as_seconds")]
    pub duration: Duration,
    /// Measure this many records instead, at the rate given
    #[arg(long, value_name = "N", help_heading = "Time")]
    pub records: Option<NonZeroU64>,
    /// When to begin, as seconds since 1970 or 2026-11-23T14:00:00Z: lets several machines start
    /// together
    #[arg(long, value_name = "TIME", value_parser = crate::schedule::parse_start,
          help_heading = "Time")]
    #[serde(serialize_with = "as_seconds_if_any")]
    pub start_at: Option<Duration>,
    /// How long to wait at the end for answers and for records still to be fetched
    #[arg(long, default_value = "10s", value_parser = parse_duration, help_heading = "Time")]
    #[serde(serialize_with = "as_seconds")]
    pub drain: Duration,
    /// Consumers that come on are waited for beyond the drain time
    #[arg(skip)]
    #[serde(skip)]
    pub is_patient: bool,
}

impl Default for Scenario {
    /// What the flags are when none is given.
    fn default() -> Scenario {
        let command = Scenario::augment_args(clap::Command::new("run").no_binary_name(true));
        let matches = command.get_matches_from(Vec::<String>::new());
        Scenario::from_arg_matches(&matches).expect("every flag has a default")
    }
}

/// No run is longer.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

impl Scenario {
    /// How long is measured: as told, or as long as the records take at their rate.
    pub fn window(&self) -> Duration {
        match (self.records, self.rate.per_second()) {
            (Some(records), Some(rate)) => {
                let seconds = records.get() as f64 / rate.get() as f64;
                Duration::from_secs_f64(seconds.min(DURATION_MAX.as_secs_f64()))
            }
            _ => self.duration,
        }
    }

    /// Whether all requests are the same but for numbers that can be patched in.
    pub fn is_uniform(&self) -> bool {
        matches!(self.record_bytes, RecordBytes::Fixed(_))
            && self.keys == Keys::None
            && self.codec == Compression::None
            && self.sample.is_none()
            && self.linger.is_none()
    }

    /// Refuses settings that contradict each other or could never work.
    pub fn check(&self) -> Result<(), BadScenario> {
        self.check_produced()?;
        let refuse =
            |flag, value: &dyn fmt::Display, remedy| Err(BadScenario::new(flag, value, remedy));
        let consumers = u64::from(self.consumers) + u64::from(self.backfill);
        let churns = self.churn_connections.is_some() || self.churn_topics.is_some();
        if self.producers == 0 && consumers == 0 && !churns {
            return refuse("--producers", &0, "let there be a producer or a consumer");
        }
        if self.producers == 0 && !self.existing && self.prefill_mib == 0 && consumers > 0 {
            return refuse(
                "--producers",
                &0,
                "name a --topic with records and say --existing, or --prefill-mib",
            );
        }
        if self.groups > 0 && self.consumers == 0 {
            return refuse(
                "--groups",
                &self.groups,
                "say how many --consumers each has",
            );
        }
        if self.groups > 0 && self.repeat {
            return refuse("--groups", &self.groups, "a group does not --repeat");
        }
        if self.threads == 0 {
            return refuse("--threads", &0, "use at least one");
        }
        if self.partitions < 1 {
            return refuse("--partitions", &self.partitions, "use at least one");
        }
        if self.duration.is_zero() || self.duration > DURATION_MAX {
            return refuse("--duration", &self.duration.as_secs(), "use 1 ms to a year");
        }
        if self.records.is_some() && self.rate == Rate::Max {
            return refuse(
                "--records",
                &"at --rate max",
                "give a rate, or a --duration",
            );
        }
        Ok(())
    }

    fn check_produced(&self) -> Result<(), BadScenario> {
        let refuse =
            |flag, value: &dyn fmt::Display, remedy| Err(BadScenario::new(flag, value, remedy));
        if self.record_bytes.min() < STAMP_BYTES || self.record_bytes.max() > 1 << 30 {
            return refuse(
                "--record-bytes",
                &self.record_bytes,
                "use 32 bytes to 1 GiB",
            );
        }
        let batch = self
            .record_bytes
            .max()
            .saturating_mul(self.batch_records as usize);
        if self.batch_records == 0 || batch > 1 << 30 {
            return refuse(
                "--batch-records",
                &self.batch_records,
                "use 1 B to 1 GiB a batch",
            );
        }
        if self.batch_bytes > 1 << 30 {
            return refuse("--batch-bytes", &self.batch_bytes, "use at most 1 GiB");
        }
        if self.linger.is_some() && self.batch_records != 1 {
            return refuse(
                "--linger",
                &"with --batch-records",
                "give --batch-bytes instead",
            );
        }
        if self.keys != Keys::None && self.batch_records > 1 {
            let remedy = "a key says the partition: fill batches with --linger and --batch-bytes";
            return refuse("--batch-records", &self.batch_records, remedy);
        }
        if self.key_count == 0 || !(0.0..=100.0).contains(&self.zipf_exponent) {
            return refuse(
                "--key-count",
                &self.key_count,
                "use at least one, and exponents 0-100",
            );
        }
        if self.in_flight == 0 || self.in_flight > 1 << 16 {
            return refuse("--in-flight", &self.in_flight, "use 1 to 65536");
        }
        if self.idempotent && self.acks != Acks::All {
            return refuse(
                "--idempotent",
                &"without --acks all",
                "a lost answer must not matter",
            );
        }
        Ok(())
    }
}

/// A setting that cannot work with the others.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {value} cannot work: {remedy}")]
pub struct BadScenario {
    flag: &'static str,
    value: String,
    remedy: &'static str,
}

impl BadScenario {
    fn new(flag: &'static str, value: &dyn fmt::Display, remedy: &'static str) -> BadScenario {
        BadScenario {
            flag,
            value: value.to_string(),
            remedy,
        }
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_seconds<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_secs_f64())
}

fn as_seconds_if_any<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.serialize_some(&value.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(Scenario::default().check().is_ok());
        let bad = |change: fn(&mut Scenario)| {
            let mut scenario = Scenario::default();
            change(&mut scenario);
            scenario.check().unwrap_err().to_string()
        };
        assert!(bad(|s| s.producers = 0).contains("--producers"));
        assert!(bad(|s| s.record_bytes = RecordBytes::Fixed(31)).contains("32 bytes"));
        assert!(bad(|s| s.groups = 1).contains("--consumers"));
        assert!(bad(|s| s.records = NonZeroU64::new(5)).contains("--records"));
        assert!(bad(|s| (s.idempotent, s.acks) = (true, Acks::Leader)).contains("--idempotent"));
        assert!(bad(|s| (s.keys, s.batch_records) = (Keys::Zipf, 2)).contains("--linger"));
    }

    #[test]
    fn a_number_of_records_is_a_time_at_their_rate() {
        let scenario = Scenario {
            records: NonZeroU64::new(30_000),
            rate: "1000..5000".parse().unwrap(),
            ..Scenario::default()
        };
        assert_eq!(scenario.window(), Duration::from_secs(10));
    }
}
