//! The cases of a comparison, and the topics that outlive a round.

use std::num::NonZeroU64;
use std::time::Duration;

use super::{CompareOptions, Contender};
use crate::report::number::whole;
use crate::run::{RunError, Target, create_topic, delete_topic, run};
use crate::scenario::file::Named;
use crate::scenario::{Rate, RecordBytes, Scenario};

/// A number of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Records per second.
    Records,
    /// Bytes per second.
    Bytes,
    /// Bytes per second of those who read the past.
    Backfilled,
    /// Half of all latencies are at most this.
    P50,
    /// All but a hundredth.
    P99,
    /// The same until a consumer has the record.
    EndToEndP99,
    /// The broker's CPU time for a record.
    CpuPerRecord,
    /// The broker's CPU time for a GB.
    CpuPerGb,
    /// The broker's resident memory at the end.
    Memory,
    /// The broker's file descriptors at the end.
    OpenFiles,
    /// CPU time of the machine without the driver, for a record.
    MachinePerRecord,
    /// CPU time of the machine without the driver, for a GB.
    MachinePerGb,
    /// The driver's CPU time for a record.
    DriverPerRecord,
    /// The driver's CPU time for a GB.
    DriverPerGb,
}

/// What a case needs before its first round, for all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// Nothing: each round has a topic of its own, which is deleted after it.
    Nothing,
    /// A topic that every partition of was written to: making, opening and deleting thousands of
    /// partitions would go on into the next measurement.
    Topic,
    /// A topic with that many bytes of records in it.
    Records(u64),
}

/// One question to all brokers.
#[derive(Clone)]
pub struct Case {
    /// Its number in `--only`.
    pub number: usize,
    /// What is asked.
    pub question: String,
    /// How.
    pub scenario: Scenario,
    /// The answers, in the table's order.
    pub metrics: Vec<Metric>,
    /// What lives through the rounds.
    pub lasting: Lasting,
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
    Metric::MachinePerRecord,
    Metric::DriverPerRecord,
];
const STEADY: &[Metric] = &[
    Metric::Records,
    Metric::P50,
    Metric::P99,
    Metric::CpuPerRecord,
    Metric::MachinePerRecord,
    Metric::DriverPerRecord,
    Metric::Memory,
    Metric::OpenFiles,
];
const VOLUME: &[Metric] = &[
    Metric::Bytes,
    Metric::CpuPerGb,
    Metric::MachinePerGb,
    Metric::DriverPerGb,
    Metric::P99,
];
const FETCH: &[Metric] = &[
    Metric::Bytes,
    Metric::CpuPerGb,
    Metric::MachinePerGb,
    Metric::DriverPerGb,
];

/// Connections of the open-loop cases: enough that none has a queue of its own at that rate.
const STEADY_PRODUCERS: u32 = 16;
const FILL_SECONDS: u64 = 2;
/// Records that open a partition for good. Kafka's first entry in each of its two index files comes
/// with every 4 KiB and faults in megabytes: with two records the measurement would pay for it.
const TOUCHES: u64 = 10;
const TOUCH_SECONDS: u64 = 2;
/// Opening a thousand partitions takes Kafka half a minute.
const PREPARE_WITHIN: Duration = Duration::from_secs(120);
const KIB: usize = 1024;
/// Records of 1 KiB in a large batch.
const BATCH_RECORDS: u64 = 128;

/// How long a case of our own is measured, and how long before that it runs.
const DURATION: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);

/// All cases, in order: the scenarios that were given, or our own.
pub fn cases(options: &CompareOptions) -> Vec<Case> {
    let mut cases = if options.scenarios.is_empty() {
        [one_by_one(options), steady(options), volume(options)].concat()
    } else {
        let given = options.scenarios.iter();
        given.map(|named| of_file(named, options)).collect()
    };
    for (number, case) in (1..).zip(&mut cases) {
        case.number = number;
    }
    cases
}

/// A scenario as its file says, but for the times that were given.
fn of_file(named: &Named, options: &CompareOptions) -> Case {
    let mut scenario = named.scenario.clone();
    scenario.duration = options.duration.unwrap_or(scenario.duration);
    scenario.warm_up = options.warm_up.unwrap_or(scenario.warm_up);
    let question = match &scenario.question {
        Some(question) => format!("{}: {question}", named.name),
        None => named.name.clone(),
    };
    let metrics = metrics_of(&scenario);
    Case::new(&question, scenario, &metrics)
}

/// What there is to say of a scenario.
fn metrics_of(scenario: &Scenario) -> Vec<Metric> {
    let fixed = scenario.rate.per_second().is_some();
    let follows = scenario.consumers > 0 && !scenario.repeat;
    let told = [
        (Metric::Records, true),
        (Metric::Bytes, !fixed),
        (Metric::P50, scenario.producers > 0),
        (Metric::P99, scenario.producers > 0),
        (Metric::EndToEndP99, scenario.producers > 0 && follows),
        (Metric::Backfilled, scenario.backfill > 0),
        (Metric::CpuPerRecord, fixed),
        (Metric::MachinePerRecord, fixed),
        (Metric::DriverPerRecord, fixed),
        (Metric::CpuPerGb, !fixed),
        (Metric::MachinePerGb, !fixed),
        (Metric::DriverPerGb, !fixed),
        (Metric::Memory, true),
    ];
    let told = told.into_iter().filter(|(_, is_told)| *is_told);
    told.map(|(metric, _)| metric).collect()
}

/// Many connections with small durable records: what a record costs.
fn one_by_one(options: &CompareOptions) -> Vec<Case> {
    let scenario = Scenario {
        producers: 64,
        partitions: 8,
        in_flight: 1,
        ..base(options)
    };
    let question = "64 connections, each with one record of 1 KiB at a time";
    let alone = Case::new(question, scenario.clone(), SMALL);
    let question = "64 connections, each with 8 records of 1 KiB on their way";
    let scenario = Scenario {
        in_flight: 8,
        ..scenario
    };
    vec![alone, Case::new(question, scenario, SMALL)]
}

/// A rate that every broker keeps: what latency it has then.
fn steady(options: &CompareOptions) -> Vec<Case> {
    let scenario = Scenario {
        producers: STEADY_PRODUCERS,
        rate: Rate::PerSecond(options.steady_rate),
        ..base(options)
    };
    let rate = whole(options.steady_rate.get());
    let question = format!("{rate} records/s into one partition");
    let one = Case::new(&question, scenario.clone(), STEADY);
    let partitions = options.many_partitions;
    let question = format!("{rate} records/s into {partitions} partitions");
    let many = Case {
        lasting: Lasting::Topic,
        ..Case::new(
            &question,
            Scenario {
                partitions,
                ..scenario
            },
            STEADY,
        )
    };
    vec![one, many]
}

/// Large batches in, and out again: what a byte costs.
fn volume(options: &CompareOptions) -> Vec<Case> {
    let batches = Scenario {
        producers: 4,
        in_flight: 4,
        batch_records: BATCH_RECORDS,
        partitions: 8,
        ..base(options)
    };
    let fetch = Scenario {
        producers: 0,
        consumers: 4,
        repeat: true,
        ..batches.clone()
    };
    let cached = Case {
        lasting: Lasting::Records(options.fetch_mib << 20),
        ..Case::new("fetching what is in memory", fetch, FETCH)
    };
    vec![Case::new("batches of 128 KiB", batches, VOLUME), cached]
}

/// Load that lets a broker get warm: what the cases do, all at once.
pub fn prime(options: &CompareOptions, contender: &Contender) -> Scenario {
    contender.fit(&Scenario {
        producers: 16,
        consumers: u32::from(contender.can_be_read()),
        partitions: 4,
        warm_up: Duration::ZERO,
        duration: options.prime.max(Duration::from_millis(1)),
        ..base(options)
    })
}

fn base(options: &CompareOptions) -> Scenario {
    Scenario {
        record_bytes: RecordBytes::Fixed(KIB),
        // As Kafka's Java producer does by default: brokers are to pay for what people use.
        idempotent: true,
        warm_up: options.warm_up.unwrap_or(WARM_UP),
        duration: options.duration.unwrap_or(DURATION),
        drain: Duration::from_secs(5),
        ..Scenario::default()
    }
}

impl Case {
    /// A case that needs nothing but its rounds; its number comes with the list.
    fn new(question: &str, scenario: Scenario, metrics: &[Metric]) -> Case {
        Case {
            number: 0,
            question: question.to_owned(),
            scenario,
            metrics: metrics.to_vec(),
            lasting: Lasting::Nothing,
        }
    }

    /// What the verdict is about: of a fixed rate not the rate, for that was asked for.
    pub fn verdict_on(&self) -> impl Iterator<Item = Metric> {
        let fixed = self.scenario.rate.per_second().is_some();
        let told = move |metric: &Metric| match metric {
            Metric::Records | Metric::Bytes => !fixed,
            Metric::P99 | Metric::EndToEndP99 => true,
            Metric::Backfilled => self.scenario.backfill_rate.is_none(),
            Metric::CpuPerRecord | Metric::CpuPerGb => true,
            _ => false,
        };
        self.metrics.iter().copied().filter(told)
    }

    /// Whether a broker can be asked at all.
    pub fn suits(&self, contender: &Contender) -> bool {
        let Scenario {
            consumers,
            backfill,
            churn_topics,
            ..
        } = &self.scenario;
        contender.can_be_read() || (*consumers == 0 && *backfill == 0 && churn_topics.is_none())
    }

    /// Makes what lives through the rounds.
    pub fn prepare(&self, contender: &Contender) -> Result<Option<Fixture>, RunError> {
        let filling = match self.lasting {
            Lasting::Nothing => return Ok(None),
            Lasting::Topic => self.touching(),
            Lasting::Records(bytes) => self.filling(bytes),
        };
        let scenario = contender.fit(&self.scenario);
        let topic = create_topic(&contender.target, &scenario)?;
        let filling = Scenario {
            topic: Some(topic.clone()),
            existing: true,
            warm_up: Duration::ZERO,
            drain: PREPARE_WITHIN,
            ..filling
        };
        run(&contender.target, &filling)?;
        let (broker, target) = (contender.name.clone(), contender.target.clone());
        Ok(Some(Fixture {
            case: self.number,
            broker,
            target,
            topic,
        }))
    }

    /// Writes [`TOUCHES`] records to every partition. What is late is still sent.
    fn touching(&self) -> Scenario {
        let partitions = u64::try_from(self.scenario.partitions).unwrap_or(1);
        let rate = partitions * TOUCHES / TOUCH_SECONDS;
        Scenario {
            rate: NonZeroU64::new(rate).map_or(Rate::Max, Rate::PerSecond),
            duration: Duration::from_secs(TOUCH_SECONDS),
            ..self.scenario.clone()
        }
    }

    /// Produces so many bytes, at a rate that is over after [`FILL_SECONDS`].
    fn filling(&self, bytes: u64) -> Scenario {
        let rate = bytes / KIB as u64 / FILL_SECONDS;
        Scenario {
            producers: 4,
            consumers: 0,
            rate: NonZeroU64::new(rate).map_or(Rate::Max, Rate::PerSecond),
            duration: Duration::from_secs(FILL_SECONDS),
            ..self.scenario.clone()
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
