//! `spate-bench verify`: produces and consumes while someone does bad things to the broker, reads
//! everything once more from the beginning, and judges by the rules of jepsen's kafka workload.

mod verdict;

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

pub use self::verdict::Verdict;
use crate::live::Live;
use crate::run::{Evidence, Outcome, RunError, Target, create_topic, delete_topic, run_keeping};
use crate::scenario::{
    Compression, Keys, Rate, RecordBytes, Scenario, parse_duration, parse_key_value,
};
use crate::security::{OptionsError, SecurityOptions};
use crate::tally::Read;

/// How to verify.
#[derive(Clone, Debug, Args)]
pub struct VerifyOptions {
    /// Broker, as HOST:PORT; several with commas between them
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub broker: String,
    /// How long to produce
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub duration: Duration,
    /// How long to wait at the end: for a broker to come back, answers, and the rest to be read;
    /// the last reading goes on as long as something comes within this time
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub drain: Duration,
    /// Records per second
    #[arg(long, default_value = "2000")]
    pub rate: NonZeroU64,
    /// Producing connections
    #[arg(long, default_value_t = 4)]
    pub producers: u32,
    /// Consuming connections, beside the one that reads everything in the end
    #[arg(long, default_value_t = 2)]
    pub consumers: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4)]
    pub partitions: i32,
    /// Replicas of each partition
    #[arg(long, default_value_t = 1)]
    pub replicas: i16,
    /// Requests on their way on each connection
    #[arg(long, default_value_t = 5)]
    pub in_flight: usize,
    /// Produce without idempotence: a broken connection may then double records, and is judged so
    #[arg(long)]
    pub not_idempotent: bool,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub codec: Compression,
    /// A config of the topic, as KEY=VALUE; may be repeated
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = parse_key_value)]
    pub topic_configs: Vec<(String, String)>,
    /// A request without an answer for so long is sent again
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub request_timeout: Duration,
    /// What chance does is the same in every run with the same seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave the topic behind, to look at it
    #[arg(long)]
    pub keep_topic: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What connections are protected by
    #[command(flatten)]
    pub security: SecurityOptions,
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The settings.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

/// What was verified.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The judgement.
    pub verdict: Verdict,
    /// What was seen on the way: broken connections and the like.
    pub notes: Vec<String>,
}

/// Produces, consumes, reads again, and judges.
pub fn verify(options: &VerifyOptions) -> Result<Verified, VerifyError> {
    let target = Target {
        security: options.security.read()?,
        ..Target::at(&options.broker)
    };
    let mut scenario = options.scenario();
    let topic = create_topic(&target, &scenario)?;
    scenario.topic = Some(topic.clone());
    // It is there now, and outlives the run: everything is read once more.
    scenario.existing = true;
    let mut live = Evidence::default();
    let outcome = run_keeping(&target, &scenario, Live::if_terminal(), Some(&mut live))?;
    let mut after = Evidence::default();
    let reading = options.reading(&scenario);
    let read = run_keeping(&target, &reading, Live::if_terminal(), Some(&mut after))?;
    let mut notes = notes_of(&outcome);
    notes.extend(notes_of(&read));
    let reads: Vec<&Read> = live.reads.iter().chain(&after.reads).collect();
    let verdict = Verdict::of(&live.batches, &reads, after.starts);
    if !options.keep_topic
        && verdict.is_clean()
        && let Err(error) = delete_topic(&target, &topic)
    {
        notes.push(error.to_string());
    }
    Ok(Verified { verdict, notes })
}

fn notes_of(outcome: &Outcome) -> Vec<String> {
    let judged = |text: &&String| !text.starts_with("VERIFICATION");
    outcome.warnings.iter().filter(judged).cloned().collect()
}

impl VerifyOptions {
    fn scenario(&self) -> Scenario {
        Scenario {
            existing: false,
            partitions: self.partitions,
            replicas: self.replicas,
            topic_configs: self.topic_configs.clone(),
            keep_topic: true,
            producers: self.producers,
            consumers: self.consumers,
            rate: Rate::PerSecond(self.rate),
            // Sizes and batches of all kinds, at the mercy of chance.
            record_bytes: RecordBytes::Weighted(vec![(100, 70), (1_000, 25), (20_000, 5)]),
            keys: Keys::Uniform,
            key_count: 10_000,
            linger: Some(Duration::from_millis(5)),
            batch_bytes: 16 << 10,
            codec: self.codec,
            in_flight: self.in_flight,
            idempotent: !self.not_idempotent,
            request_timeout: self.request_timeout,
            seed: self.seed,
            warm_up: Duration::ZERO,
            duration: self.duration,
            drain: self.drain,
            ..Scenario::default()
        }
    }

    /// One consumer that reads everything from the beginning.
    fn reading(&self, scenario: &Scenario) -> Scenario {
        Scenario {
            existing: true,
            producers: 0,
            consumers: 1,
            duration: Duration::from_millis(500),
            is_patient: true,
            ..scenario.clone()
        }
    }
}

impl Verified {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = self.verdict.text();
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text
    }
}
