//! The cases of a comparison, and the topics that outlive a round.

use std::num::NonZeroU64;
use std::time::Duration;

use super::{CompareOptions, Contender};
use crate::run::{RunError, Target, create_topic, delete_topic, run};
use crate::scenario::{Acks, PartitionChoice, Rate, Scenario};
use spate_net::reactor::ReactorChoice;

/// The name that a floor server goes by: it cannot be read from.
const FLOOR: &str = "floor";

/// A number of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Records per second.
    Records,
    /// Bytes per second.
    Bytes,
    /// Half of all latencies are at most this.
    P50,
    /// All but a hundredth.
    P99,
    /// The broker's CPU time for a record.
    CpuPerRecord,
    /// The broker's CPU time for a GB.
    CpuPerGb,
}

/// What a case needs before its first round, for all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// Nothing: each round has a topic of its own, which is deleted after it.
    Nothing,
    /// A topic: making and deleting thousands of partitions would go on into the next measurement.
    Topic,
    /// A topic with records in it.
    Records,
}

/// One question to all brokers.
pub struct Case {
    /// Its number in `--only`.
    pub number: usize,
    /// What is asked.
    pub question: String,
    /// How.
    pub scenario: Scenario,
    /// The answers, in the table's order.
    pub metrics: &'static [Metric],
    /// What lives through the rounds.
    pub lasting: Lasting,
    fetch_bytes: u64,
}

/// A topic that outlives the rounds.
pub struct Fixture {
    case: usize,
    broker: String,
    target: Target,
    /// The topic.
    pub topic: String,
}

const SMALL: &[Metric] = &[
    Metric::Records,
    Metric::P50,
    Metric::P99,
    Metric::CpuPerRecord,
];
const STEADY: &[Metric] = &[Metric::P50, Metric::P99, Metric::CpuPerRecord];
const VOLUME: &[Metric] = &[Metric::Bytes, Metric::CpuPerGb, Metric::P99];
const FETCH: &[Metric] = &[Metric::Bytes, Metric::CpuPerGb];

/// The rate of the open-loop cases.
const STEADY_RATE: u64 = 5_000;
/// Connections of the open-loop cases: enough that none has a queue of its own at that rate.
const STEADY_PRODUCERS: u32 = 16;
const FILL_SECONDS: u64 = 2;
const KIB: usize = 1024;

/// All cases, in order.
pub fn cases(options: &CompareOptions) -> Vec<Case> {
    let base = base(options);
    let steady = Scenario {
        producers: STEADY_PRODUCERS,
        rate: NonZeroU64::new(STEADY_RATE).map_or(Rate::Max, Rate::PerSecond),
        ..base.clone()
    };
    let small = Scenario {
        producers: 64,
        partitions: 8,
        ..base.clone()
    };
    let batches = Scenario {
        producers: 4,
        in_flight: 4,
        batch_records: 128,
        ..small.clone()
    };
    let fetch = Scenario {
        producers: 0,
        consumers: 4,
        repeat: true,
        ..small.clone()
    };
    let many = options.many_partitions;
    let case = |number, question: &str, scenario, metrics, lasting| {
        let question = question.to_owned();
        let fetch_bytes = options.fetch_mib << 20;
        Case {
            number,
            question,
            scenario,
            metrics,
            lasting,
            fetch_bytes,
        }
    };
    vec![
        case(
            1,
            "64 connections, each with one record of 1 KiB at a time",
            Scenario {
                in_flight: 1,
                ..small.clone()
            },
            SMALL,
            Lasting::Nothing,
        ),
        case(
            2,
            "64 connections, each with 8 records of 1 KiB on their way",
            Scenario {
                in_flight: 8,
                ..small
            },
            SMALL,
            Lasting::Nothing,
        ),
        case(
            3,
            "5,000 records/s into one partition",
            steady.clone(),
            STEADY,
            Lasting::Nothing,
        ),
        case(
            4,
            "5,000 records/s into many partitions",
            Scenario {
                partitions: many,
                ..steady
            },
            STEADY,
            Lasting::Topic,
        ),
        case(5, "batches of 128 KiB", batches, VOLUME, Lasting::Nothing),
        case(
            6,
            "fetching what is in memory",
            fetch,
            FETCH,
            Lasting::Records,
        ),
    ]
}

/// Load that lets a broker get warm: what the cases do, all at once.
pub fn prime(options: &CompareOptions) -> Scenario {
    Scenario {
        producers: 16,
        consumers: 1,
        partitions: 4,
        warm_up: Duration::ZERO,
        duration: options.prime.max(Duration::from_millis(1)),
        ..base(options)
    }
}

fn base(options: &CompareOptions) -> Scenario {
    Scenario {
        topic: None,
        existing: false,
        keep_topic: false,
        partitions: 1,
        topic_configs: Vec::new(),
        producers: 1,
        record_bytes: KIB,
        batch_records: 1,
        in_flight: 5,
        acks: Acks::All,
        // As Kafka's Java producer does by default: brokers are to pay for what people use.
        idempotent: true,
        rate: Rate::Max,
        partition_choice: PartitionChoice::RoundRobin,
        consumers: 0,
        fetch_bytes: 8 << 20,
        fetch_partition_bytes: 1 << 20,
        repeat: false,
        threads: 1,
        pin: false,
        reactor: ReactorChoice::Auto,
        warm_up: options.warm_up,
        duration: options.duration,
        drain: Duration::from_secs(5),
    }
}

impl Case {
    /// Whether a broker can be asked at all.
    pub fn suits(&self, contender: &Contender) -> bool {
        self.scenario.consumers == 0 || contender.name != FLOOR
    }

    /// Makes what lives through the rounds.
    pub fn prepare(&self, contender: &Contender) -> Result<Option<Fixture>, RunError> {
        if self.lasting == Lasting::Nothing {
            return Ok(None);
        }
        let scenario = contender.fit(&self.scenario);
        let topic = create_topic(&contender.target, &scenario)?;
        if self.lasting == Lasting::Records {
            run(&contender.target, &self.filling(&scenario, &topic))?;
        }
        let (broker, target) = (contender.name.clone(), contender.target.clone());
        Ok(Some(Fixture {
            case: self.number,
            broker,
            target,
            topic,
        }))
    }

    fn filling(&self, scenario: &Scenario, topic: &str) -> Scenario {
        let rate = self.fetch_bytes / KIB as u64 / FILL_SECONDS;
        Scenario {
            topic: Some(topic.to_owned()),
            existing: true,
            producers: 4,
            consumers: 0,
            batch_records: 128,
            rate: NonZeroU64::new(rate).map_or(Rate::Max, Rate::PerSecond),
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(FILL_SECONDS),
            drain: Duration::from_secs(60),
            ..scenario.clone()
        }
    }
}

impl Fixture {
    /// Whether it was made for that case on that broker.
    pub fn is_for(&self, case: &Case, contender: &Contender) -> bool {
        self.case == case.number && self.broker == contender.name
    }

    /// Deletes the topic. If the broker has died meanwhile, that was told already.
    pub fn remove(self) {
        let _ = delete_topic(&self.target, &self.topic);
    }
}
