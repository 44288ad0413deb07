//! One run: makes the topic, starts the driver's threads, lets them all begin at one moment, looks
//! at the processes at both ends of the measured window, and puts the results together.

mod drive;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, process};

use serde::Serialize;
use spate_net::reactor::{Reactor, ReactorConfig, ReactorError};

use self::drive::{Plan, Results, Shared, drive};
use crate::connection::{ClientError, Connection};
use crate::consumer::{ConsumerPlan, Progress};
use crate::histogram::Summary;
use crate::live::{self, Live};
use crate::process::{ProcessError, Sample, Usage, machine_cpu};
use crate::producer::ProducerPlan;
use crate::scenario::{BadScenario, Scenario};
use crate::schedule::{Clock, Moment, Phases};
use crate::tally::{Consumed, Errors, Produced, Volume};
use crate::timeline::Timelines;
use crate::topic::{self, Leader};
use crate::verify::{Findings, StreamId, Verifier};

/// From the last connection to the first record: every thread is waiting by then.
const LEAD_IN: Duration = Duration::from_millis(50);

/// Driver's own delays that matter, as parts of the latency that is reported.
const LAG_TOLERATED: f64 = 0.2;
/// Driver threads busier than this have no time to be punctual.
const BUSY: f64 = 0.95;

/// Which broker is driven.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens, as HOST:PORT.
    pub address: String,
    /// Its process, if that is on this machine and to be looked at.
    pub pid: Option<u32>,
    /// Where it tells Prometheus of its process, if it is on another machine.
    pub metrics: Option<String>,
}

impl Target {
    /// A broker of which nothing but the address is known.
    pub fn at(address: &str) -> Target {
        Target {
            address: address.to_owned(),
            pid: None,
            metrics: None,
        }
    }
}

/// Why a run did not take place.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings contradict each other.
    #[error(transparent)]
    Scenario(#[from] BadScenario),
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
    /// The broker, while the run was set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A process that was to be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A driver thread ended without a result.
    #[error("a driver thread died: this is a bug of the driver, its message is above")]
    Died,
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which broker.
    pub broker: String,
    /// What was done.
    pub scenario: Scenario,
    /// The topic.
    pub topic: String,
    /// Length of the measured window.
    pub seconds: f64,
    /// What was produced.
    pub produced: Option<ProduceOutcome>,
    /// What was fetched.
    pub consumed: Option<ConsumeOutcome>,
    /// What the broker used in the measured window.
    pub broker_usage: Option<Usage>,
    /// What the driver used.
    pub driver_usage: Usage,
    /// CPU time of everything else on this machine, the broker and the kernel among it.
    pub elsewhere_cpu_s: f64,
    /// What a reader of the numbers has to know first.
    pub warnings: Vec<String>,
    /// The run second by second.
    pub timelines: Timelines,
}

/// What came of producing.
#[derive(Clone, Debug, Serialize)]
pub struct ProduceOutcome {
    /// Records answered in the measured window.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// From the intended send time to the answer.
    pub latency: Summary,
    /// From the real send time to the answer.
    pub service: Summary,
    /// The driver's own delay.
    pub driver_lag: Summary,
    /// Records that were due in the measured window.
    pub intended: u64,
    /// Of those, the ones without an answer.
    pub unanswered: u64,
    /// Records refused.
    pub refused: u64,
}

/// What came of fetching.
#[derive(Clone, Debug, Serialize)]
pub struct ConsumeOutcome {
    /// Records fetched in the measured window.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Fetches answered.
    pub fetches: u64,
    /// From the intended send time to the consumer; nothing for a repeated fetch of old records.
    pub end_to_end: Summary,
    /// What verification found, over the whole run.
    pub verification: Findings,
}

/// Runs a scenario against a broker.
pub fn run(target: &Target, scenario: &Scenario) -> Result<Outcome, RunError> {
    run_watched(target, scenario, None)
}

/// The same, with a line in the terminal while it goes on.
pub fn run_watched(
    target: &Target,
    scenario: &Scenario,
    live: Option<Arc<Live>>,
) -> Result<Outcome, RunError> {
    scenario.check()?;
    let topic = match (scenario.existing, &scenario.topic) {
        (true, Some(topic)) => topic.clone(),
        _ => create_topic(target, scenario)?,
    };
    let leaders = admin(target, async |connection| {
        topic::await_ready(connection, &topic).await
    })?;
    let driven = drive_all(target, scenario, &topic, &leaders, live);
    if scenario.existing || scenario.keep_topic {
        return driven;
    }
    let deleted = delete_topic(target, &topic);
    // The numbers matter more than the litter.
    let mut outcome = driven?;
    outcome
        .warnings
        .extend(deleted.err().map(|error| error.to_string()));
    Ok(outcome)
}

/// Creates a scenario's topic, and says how it is called.
pub fn create_topic(target: &Target, scenario: &Scenario) -> Result<String, RunError> {
    let fresh = || format!("spate-bench-{:08x}", rand::random::<u32>());
    let topic = scenario.topic.clone().unwrap_or_else(fresh);
    let (partitions, configs) = (scenario.partitions, &scenario.topic_configs);
    admin(target, async |connection| {
        topic::create(connection, &topic, partitions, configs).await
    })?;
    Ok(topic)
}

/// Deletes a topic.
pub fn delete_topic(target: &Target, topic: &str) -> Result<(), RunError> {
    admin(target, async |connection| {
        topic::delete(connection, topic).await
    })
}

/// Something to be asked of the broker before or after a run, on a reactor of its own.
fn admin<T>(
    target: &Target,
    ask: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
) -> Result<T, RunError> {
    let bootstrap = resolve(&target.address)?;
    let config = ReactorConfig {
        registered_buffers: 0,
        ..ReactorConfig::default()
    };
    let answer = Reactor::new(&config)?.block_on(async {
        let mut connection = Connection::open(bootstrap).await?;
        ask(&mut connection).await
    });
    Ok(answer?)
}

fn resolve(given: &str) -> Result<SocketAddr, RunError> {
    let failed = |source| RunError::Address {
        given: given.to_owned(),
        source,
    };
    let mut addresses = given.to_socket_addrs().map_err(failed)?;
    addresses
        .next()
        .ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn reactor_config(scenario: &Scenario) -> ReactorConfig {
    // The driver writes no files: locked memory is left to a broker of the same user.
    ReactorConfig {
        choice: scenario.reactor,
        registered_buffers: 0,
        ..ReactorConfig::default()
    }
}

/// Deals the connections out over the threads.
fn plans(scenario: &Scenario, leaders: &[Leader]) -> Vec<Plan> {
    let threads = scenario.threads as usize;
    let mut plans: Vec<Plan> = (0..threads).map(|_| Plan::default()).collect();
    // So that the streams of two runs into one topic are told apart.
    let run_number = u32::from(rand::random::<u16>()) << 16;
    for index in 0..scenario.producers {
        let leader = &leaders[index as usize % leaders.len()];
        plans[index as usize % threads]
            .producers
            .push(ProducerPlan {
                index: index.into(),
                stream: StreamId(run_number | (index & 0xffff)),
                leader: leader.address,
                partitions: leader.partitions.clone(),
            });
    }
    for (index, plan) in consumer_plans(scenario, leaders).into_iter().enumerate() {
        plans[index % threads].consumers.push(plan);
    }
    plans
}

/// Every partition has a reader. Consumers beyond the number of partitions read along.
fn consumer_plans(scenario: &Scenario, leaders: &[Leader]) -> Vec<ConsumerPlan> {
    let consumers = scenario.consumers as usize;
    let mut plans = Vec::new();
    for (number, leader) in leaders.iter().enumerate().take(consumers) {
        let left = consumers - plans.len();
        let here = left.div_ceil(leaders.len() - number).max(1);
        for index in 0..here {
            let all = leader.partitions.iter();
            let mut partitions: Vec<i32> = all.copied().skip(index).step_by(here).collect();
            if partitions.is_empty() {
                partitions = vec![leader.partitions[index % leader.partitions.len()]];
            }
            plans.push(ConsumerPlan {
                leader: leader.address,
                partitions,
            });
        }
    }
    plans
}

fn drive_all(
    target: &Target,
    scenario: &Scenario,
    topic: &str,
    leaders: &[Leader],
    live: Option<Arc<Live>>,
) -> Result<Outcome, RunError> {
    let shared = Arc::new(Shared {
        scenario: scenario.clone(),
        topic: topic.to_owned(),
        reactor: reactor_config(scenario),
        clock: Clock::start(),
        progress: Progress::new(scenario.producers.into()),
        live,
    });
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (ready, all_ready) = channel();
    let mut threads = Vec::new();
    for (index, plan) in plans(scenario, leaders).into_iter().enumerate() {
        let core = cores
            .iter()
            .rev()
            .cycle()
            .nth(index)
            .filter(|_| scenario.pin)
            .copied();
        let (start, started) = channel();
        let (shared, ready) = (Arc::clone(&shared), ready.clone());
        let thread = thread::spawn(move || drive(&shared, plan, core, &ready, &started));
        threads.push(Started { thread, start });
    }
    // Only the threads hold it now: if one gives up, the wait for it ends.
    drop(ready);
    conduct(target, &shared, &all_ready, threads)
}

struct Started {
    thread: JoinHandle<Result<Results, RunError>>,
    start: Sender<Phases>,
}

/// Waits for all threads to be ready, gives them the time, and measures around them.
fn conduct(
    target: &Target,
    shared: &Shared,
    all_ready: &Receiver<()>,
    threads: Vec<Started>,
) -> Result<Outcome, RunError> {
    let is_ready = threads.iter().all(|_| all_ready.recv().is_ok());
    let (scenario, clock) = (&shared.scenario, shared.clock);
    let phases = Phases::new(
        clock.now().after(LEAD_IN),
        scenario.warm_up,
        scenario.duration,
    );
    if is_ready {
        for started in &threads {
            // One that has died meanwhile says so when it is joined.
            let _ = started.start.send(phases);
        }
    }
    let shown = shared.live.clone().filter(|_| is_ready);
    let shown = shown.map(|live| live::show(live, clock, phases));
    let usages = match is_ready {
        true => measure(target, clock, phases)?,
        false => Usages::default(),
    };
    let (mut produced, mut consumed) = (Produced::new(), Consumed::new());
    let mut warnings = Vec::new();
    for Started { thread, start } in threads {
        // Those that still wait for the start are told that there is none.
        drop(start);
        let results = thread.join().map_err(|_| RunError::Died)??;
        produced.merge(results.produced);
        consumed.merge(results.consumed);
        for note in results.notes {
            if !warnings.contains(&note) {
                warnings.push(note);
            }
        }
    }
    drop(shown);
    let Usages {
        broker: broker_usage,
        driver: driver_usage,
        elsewhere_cpu_s,
    } = usages;
    let mut outcome = Outcome {
        broker: target.address.clone(),
        scenario: scenario.clone(),
        topic: shared.topic.clone(),
        seconds: scenario.duration.as_secs_f64(),
        produced: None,
        consumed: None,
        broker_usage,
        driver_usage,
        elsewhere_cpu_s,
        warnings,
        timelines: Timelines {
            started_unix_ns: clock.unix_ns(phases.measure_from),
            latency: std::mem::take(&mut produced.latency_by_second),
            service: std::mem::take(&mut produced.service_by_second),
            end_to_end: std::mem::take(&mut consumed.end_to_end_by_second),
            produced: std::mem::take(&mut produced.answered_by_second),
            fetched: std::mem::take(&mut consumed.fetched_by_second),
        },
    };
    outcome.take_in(produced, consumed);
    Ok(outcome)
}

/// What was used in the measured window.
#[derive(Default)]
struct Usages {
    broker: Option<Usage>,
    driver: Usage,
    elsewhere_cpu_s: f64,
}

fn measure(target: &Target, clock: Clock, phases: Phases) -> Result<Usages, RunError> {
    let sample = || -> Result<_, ProcessError> {
        let broker = match (target.pid, &target.metrics) {
            (Some(pid), _) => Some(Sample::take(pid)?),
            (None, Some(url)) => Some(Sample::scrape(url)?),
            (None, None) => None,
        };
        Ok((broker, Sample::take(process::id())?, machine_cpu()?))
    };
    let sleep_until = |moment: Moment| {
        thread::sleep(Duration::from_nanos(moment.nanos_since(clock.now())));
    };
    sleep_until(phases.measure_from);
    let (broker_before, driver_before, machine_before) = sample()?;
    sleep_until(phases.measure_until);
    let (broker_after, driver_after, machine_after) = sample()?;
    let broker = broker_after
        .zip(broker_before)
        .map(|(after, before)| after.since(&before));
    let driver = driver_after.since(&driver_before);
    let machine_cpu_s = machine_after.saturating_sub(machine_before).as_secs_f64();
    Ok(Usages {
        elsewhere_cpu_s: (machine_cpu_s - driver.cpu_s).max(0.0),
        broker,
        driver,
    })
}

impl Outcome {
    fn take_in(&mut self, produced: Produced, consumed: Consumed) {
        let scenario = &self.scenario;
        let (producing, consuming) = (scenario.producers > 0, scenario.consumers > 0);
        let repeat = scenario.repeat;
        if consuming {
            self.warn_of(&consumed.errors, "fetching");
            let verification = verdict(consumed.verified, &produced, repeat);
            if !verification.is_clean() {
                let text = format!("VERIFICATION FAILED: {verification:?}");
                self.warnings.insert(0, text);
            }
            self.consumed = Some(ConsumeOutcome {
                records: consumed.fetched.records,
                bytes: consumed.fetched.bytes,
                fetches: consumed.fetches,
                end_to_end: consumed.end_to_end.summary(),
                verification,
            });
        }
        if producing {
            self.warn_of(&produced.errors, "producing");
            let Volume { records, bytes } = produced.answered;
            let outcome = ProduceOutcome {
                records,
                bytes,
                latency: produced.latency.summary(),
                service: produced.service.summary(),
                driver_lag: produced.lag.summary(),
                intended: produced.intended,
                unanswered: produced.unanswered,
                refused: produced.refused,
            };
            self.warn_of_limits(&outcome);
            self.produced = Some(outcome);
        }
        let busy = self.driver_usage.cpu_s / self.seconds / f64::from(self.scenario.threads);
        if busy > BUSY {
            self.warnings.push(format!(
                "the driver was the limit: its threads were busy {:.0} % of the time; give it more \
                 --threads, on cores that the broker does not need",
                busy * 100.0
            ));
        }
    }

    fn warn_of(&mut self, errors: &Errors, doing: &str) {
        for (text, times) in &errors.by_text {
            self.warnings
                .push(format!("{times} x while {doing}: {text}"));
        }
    }

    fn warn_of_limits(&mut self, produced: &ProduceOutcome) {
        if produced.unanswered > 0 {
            self.warnings.push(format!(
                "{} of {} records had no answer when the run gave up: they count as that late",
                produced.unanswered, produced.intended
            ));
        }
        let Some(rate) = self.scenario.rate.per_second() else {
            return;
        };
        let wanted = rate.get() as f64 * self.seconds;
        if (produced.records as f64) < 0.99 * wanted {
            self.warnings.push(format!(
                "only {:.0} of {rate} records/s were answered in time: the latencies are those of \
                 a growing queue",
                produced.records as f64 / self.seconds
            ));
        }
        let (lag, latency) = (produced.driver_lag.p99_ns, produced.latency.p99_ns);
        if lag as f64 > LAG_TOLERATED * latency as f64 {
            self.warnings.push(format!(
                "the driver fell behind its schedule: {} us at p99, which is in the latency of {} \
                 us; give it a core of its own",
                lag / 1_000,
                latency / 1_000
            ));
        }
    }
}

/// What all consumers found, held against what was acknowledged.
fn verdict(verified: Vec<(Vec<i32>, Verifier)>, produced: &Produced, repeat: bool) -> Findings {
    let mut findings = Findings::default();
    for (partitions, mut verifier) in verified {
        let mine = produced.acknowledged.iter();
        // One that starts over again and again is somewhere in the middle at the end.
        let mine = mine.filter(|(partition, ..)| !repeat && partitions.contains(partition));
        for (partition, stream, acknowledged) in mine {
            verifier.expect(*partition, *stream, *acknowledged);
        }
        findings.merge(verifier.findings());
    }
    // A refused record leaves a gap in its stream that is nobody's fault.
    findings.lost = findings.lost.saturating_sub(produced.refused);
    findings
}
