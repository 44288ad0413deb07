//! One run: makes the topic, starts the driver's threads, lets them all begin at one moment, looks
//! at the processes at both ends of the measured window, and puts the results together.

mod churn;
mod deal;
mod drive;
#[cfg(test)]
pub mod example;
mod usage;
mod verdict;
mod warning;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use spate_net::client::Security;
use spate_net::reactor::{Reactor, ReactorConfig, ReactorError};

pub use self::churn::ChurnOutcome;
use self::drive::{Results, Shared, drive};
use self::usage::{Usages, measure};
use self::verdict::{Verdict, verdict};
use crate::connection::{Access, ClientError, Connection, Endpoint};
use crate::consumer::{Group, Progress};
use crate::histogram::Summary;
use crate::live::{self, Live};
use crate::process::{ProcessError, Usage};
use crate::scenario::{BadScenario, Keys, Rate, Scenario};
use crate::schedule::{Clock, Moment, Phases};
use crate::tally::{Batch, Consumed, Errors, Produced, Read, Volume};
use crate::timeline::Timelines;
use crate::topic::{self, Leader};
use crate::verify::Findings;

/// From the last connection to the first record: every thread is waiting by then.
const LEAD_IN: Duration = Duration::from_millis(50);
/// The same with groups: their members have their partitions by then. Brokers wait 3 s for more
/// members by default (`group.initial.rebalance.delay.ms`).
const GROUPS_LEAD_IN: Duration = Duration::from_secs(5);

/// How a backlog is put into a topic: as fast as most disks take it, in large batches.
const FILL_BYTES_PER_S: u64 = 200 << 20;
const FILL_BATCH_BYTES: u64 = 128 << 10;
const FILL_WITHIN: Duration = Duration::from_secs(600);

/// Which broker is driven.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Where it listens, as HOST:PORT; several with commas between them.
    pub address: String,
    /// Its process, if that is on this machine and to be looked at.
    pub pid: Option<u32>,
    /// Where it tells Prometheus of its process, if it is on another machine.
    pub metrics: Option<String>,
    /// What connections to it are protected by.
    pub security: Security,
}

impl Target {
    /// A broker of which nothing but the address is known.
    pub fn at(address: &str) -> Target {
        Target {
            address: address.to_owned(),
            ..Target::default()
        }
    }

    /// How its brokers are reached.
    fn access(&self) -> Result<Access, ClientError> {
        let addresses = self.address.split(',').map(str::trim);
        let brokers = addresses.map(Endpoint::resolve).collect::<Result<_, _>>()?;
        Ok(Access::new(brokers, self.security.clone()))
    }
}

/// What is kept of a run for a judgement afterwards.
#[derive(Default)]
pub struct Evidence {
    /// Every batch and its fate.
    pub batches: Vec<Batch>,
    /// What each consumer saw, in its order.
    pub reads: Vec<Read>,
    /// The first offset of each partition that was still there at the end.
    pub starts: BTreeMap<i32, i64>,
}

/// Why a run did not take place.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings contradict each other.
    #[error(transparent)]
    Scenario(#[from] BadScenario),
    /// The driver's own reactor.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// The broker, while the run was set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The file that records are to carry.
    #[error("the sample cannot be read: {0}")]
    Sample(std::io::Error),
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
    /// What came of coming and going connections and topics.
    pub churn: Option<ChurnOutcome>,
    /// What the broker used in the measured window.
    pub broker_usage: Option<Usage>,
    /// What the driver used.
    pub driver_usage: Usage,
    /// CPU time of everything else on this machine, the broker and the kernel among it.
    pub elsewhere_cpu_s: f64,
    /// The driver was busy or late itself: the numbers are those of its limit, not the broker's.
    pub driver_limited: bool,
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
    /// Records sent again without idempotence: they may be there twice, or behind later ones.
    pub resent: u64,
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
    /// Records that were read from a backlog beside that, in the measured window.
    pub backfilled_records: u64,
    /// Bytes of their values.
    pub backfilled_bytes: u64,
    /// How often members of groups were given partitions.
    pub rebalances: u64,
    /// How often they committed.
    pub commits: u64,
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
    run_keeping(target, scenario, live, None)
}

/// Runs a scenario, and keeps what a judgement needs.
pub fn run_keeping(
    target: &Target,
    scenario: &Scenario,
    live: Option<Arc<Live>>,
    evidence: Option<&mut Evidence>,
) -> Result<Outcome, RunError> {
    scenario.check()?;
    usage::check(target)?;
    let topic = match (scenario.existing, &scenario.topic) {
        (true, Some(topic)) => topic.clone(),
        _ => create_topic(target, scenario)?,
    };
    let driven = drive_on(target, scenario, &topic, live, evidence);
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

fn drive_on(
    target: &Target,
    scenario: &Scenario,
    topic: &str,
    live: Option<Arc<Live>>,
    evidence: Option<&mut Evidence>,
) -> Result<Outcome, RunError> {
    let access = target.access()?;
    let leaders = admin(target, async |connection| {
        topic::await_ready(connection, &access, topic).await
    })?;
    if scenario.prefill_mib > 0 {
        let filling = filling(scenario);
        drive_all(target, &filling, topic, &leaders, None, None)?;
    }
    drive_all(target, scenario, topic, &leaders, live, evidence)
}

/// Puts a scenario's backlog into its topic: what is late is still sent.
fn filling(scenario: &Scenario) -> Scenario {
    let bytes = scenario.prefill_mib << 20;
    let mean = scenario
        .record_bytes
        .min()
        .midpoint(scenario.record_bytes.max()) as u64;
    let records = NonZeroU64::new(bytes / mean.max(1)).unwrap_or(NonZeroU64::MIN);
    let rate = NonZeroU64::new(FILL_BYTES_PER_S / mean.max(1)).unwrap_or(NonZeroU64::MIN);
    Scenario {
        producers: 4,
        consumers: 0,
        groups: 0,
        backfill: 0,
        churn_connections: None,
        churn_topics: None,
        keys: Keys::None,
        linger: None,
        batch_records: (FILL_BATCH_BYTES / mean.max(1)).max(1),
        rate: Rate::PerSecond(rate),
        records: Some(records),
        start_at: None,
        warm_up: Duration::ZERO,
        drain: FILL_WITHIN,
        ..scenario.clone()
    }
}

/// Creates a scenario's topic, and says how it is called.
pub fn create_topic(target: &Target, scenario: &Scenario) -> Result<String, RunError> {
    let fresh = || format!("spate-bench-{:08x}", rand::random::<u32>());
    let topic = scenario.topic.clone().unwrap_or_else(fresh);
    let shape = (scenario.partitions, scenario.replicas);
    let configs = &scenario.topic_configs;
    admin(target, async |connection| {
        topic::create(connection, &topic, shape, configs).await
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
    let access = target.access()?;
    let config = ReactorConfig {
        registered_buffers: 0,
        ..ReactorConfig::default()
    };
    let answer = Reactor::new(&config)?.block_on(async {
        let mut connection = Connection::any(&access).await?;
        ask(&mut connection).await
    });
    Ok(answer?)
}

fn reactor_config(scenario: &Scenario) -> ReactorConfig {
    // The driver writes no files: locked memory is left to a broker of the same user.
    ReactorConfig {
        choice: scenario.reactor,
        registered_buffers: 0,
        ..ReactorConfig::default()
    }
}

fn drive_all(
    target: &Target,
    scenario: &Scenario,
    topic: &str,
    leaders: &[Leader],
    live: Option<Arc<Live>>,
    evidence: Option<&mut Evidence>,
) -> Result<Outcome, RunError> {
    let groups: Vec<Arc<Group>> = (0..scenario.groups)
        .map(|index| {
            // Beside other runs and other machines on the topic, each has groups of its own.
            let name = format!("{topic}-group-{:08x}-{index}", rand::random::<u32>());
            Arc::new(Group::new(name, deal::partitions(leaders)))
        })
        .collect();
    let plans = deal::plans(scenario, leaders, &groups);
    let shared = Arc::new(Shared {
        scenario: scenario.clone(),
        topic: topic.to_owned(),
        reactor: reactor_config(scenario),
        clock: Clock::start(),
        access: target.access()?,
        keeps_evidence: evidence.is_some(),
        groups,
        progress: Progress::new(scenario.producers.into()),
        live,
    });
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (ready, all_ready) = channel();
    let mut threads = Vec::new();
    for (index, plan) in plans.into_iter().enumerate() {
        let core = cores
            .iter()
            .rev()
            .cycle()
            .nth(index)
            .filter(|_| scenario.pin)
            .copied();
        let (start, started) = channel();
        let (shared, ready) = (Arc::clone(&shared), ready.clone());
        let thread = thread::spawn(move || drive(&shared, plan, core, ready, &started));
        threads.push(Started { thread, start });
    }
    // Only threads that are not ready hold it now: if one gives up, the wait for it ends.
    drop(ready);
    conduct(target, &shared, &all_ready, threads, evidence)
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
    evidence: Option<&mut Evidence>,
) -> Result<Outcome, RunError> {
    let is_ready = threads.iter().all(|_| all_ready.recv().is_ok());
    let (scenario, clock) = (&shared.scenario, shared.clock);
    let mut warnings = Vec::new();
    let start = start(scenario, clock, &mut warnings);
    let phases = Phases::new(start, scenario.warm_up, scenario.window());
    if is_ready {
        for started in &threads {
            // One that has died meanwhile says so when it is joined.
            let _ = started.start.send(phases);
        }
    }
    let shown = shared.live.clone().filter(|_| is_ready);
    let shown = shown.map(|live| live::show(live, clock, phases));
    let usages = match is_ready {
        true => measure(target, clock, phases, &mut warnings),
        false => Usages::default(),
    };
    let joined = join(threads);
    drop(shown);
    let Results {
        mut produced,
        mut consumed,
        churned,
        busy,
        notes,
    } = joined?;
    warnings.extend(notes);
    let mut outcome = Outcome {
        broker: target.address.clone(),
        scenario: scenario.clone(),
        topic: shared.topic.clone(),
        seconds: scenario.window().as_secs_f64(),
        produced: None,
        consumed: None,
        churn: churned,
        broker_usage: usages.broker,
        driver_usage: usages.driver,
        elsewhere_cpu_s: usages.elsewhere_cpu_s,
        driver_limited: false,
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
    judge(target, shared, &mut outcome, (produced, consumed), evidence);
    outcome.warn_of_busy(busy);
    Ok(outcome)
}

/// Waits for all threads, also behind one that failed, and puts together what they have to say.
fn join(threads: Vec<Started>) -> Result<Results, RunError> {
    let joined = threads.into_iter().map(|Started { thread, start }| {
        // Those that still wait for the start are told that there is none.
        drop(start);
        thread.join().map_err(|_| RunError::Died)?
    });
    let joined: Vec<Result<Results, RunError>> = joined.collect();
    let mut all = Results::new();
    for results in joined {
        all.merge(results?);
    }
    Ok(all)
}

/// Holds what was read against what was acknowledged, and keeps both if they are wanted.
fn judge(
    target: &Target,
    shared: &Shared,
    outcome: &mut Outcome,
    (produced, mut consumed): (Produced, Consumed),
    evidence: Option<&mut Evidence>,
) {
    let scenario = &shared.scenario;
    let of_groups = shared.groups.iter().map(|group| group.read());
    consumed.verified.extend(of_groups);
    let consumes = scenario.consumers > 0 || scenario.backfill > 0;
    let starts = match consumes {
        true => starts(target, shared, &mut outcome.warnings),
        false => BTreeMap::new(),
    };
    outcome.take_in(&produced, &mut consumed, &starts);
    if let Some(evidence) = evidence {
        evidence.starts = starts;
        evidence.batches = produced.batches;
        evidence.reads = consumed.verified;
    }
}

/// Where the partitions begin by now: what was before need not have been read.
fn starts(target: &Target, shared: &Shared, warnings: &mut Vec<String>) -> BTreeMap<i32, i64> {
    let topic = &shared.topic;
    let asked = admin(target, async |_| topic::starts(&shared.access, topic).await);
    asked.unwrap_or_else(|error| {
        warnings.push(format!("where the partitions begin is not known: {error}"));
        BTreeMap::new()
    })
}

/// When the first record is due: as told, or as soon as all threads can know.
fn start(scenario: &Scenario, clock: Clock, warnings: &mut Vec<String>) -> Moment {
    let lead_in = match scenario.groups {
        0 => LEAD_IN,
        _ => GROUPS_LEAD_IN,
    };
    let soon = clock.now().after(lead_in);
    let Some(at) = scenario.start_at else {
        return soon;
    };
    let start = clock.moment(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
    if start < soon {
        warnings.push(
            "the time of --start-at had passed when everything was ready: this machine began \
             late; give them more time"
                .to_owned(),
        );
    }
    start.max(soon)
}

impl Outcome {
    fn take_in(
        &mut self,
        produced: &Produced,
        consumed: &mut Consumed,
        starts: &BTreeMap<i32, i64>,
    ) {
        let scenario = &self.scenario;
        let producing = scenario.producers > 0;
        let consuming = scenario.consumers > 0 || scenario.backfill > 0;
        if consuming {
            self.warn_of(&consumed.errors, "fetching");
            let judged = verdict(&consumed.verified, produced, starts);
            self.count_unread(consumed, &judged);
            let verification = judged.findings;
            if !verification.is_clean() {
                let text = format!("VERIFICATION FAILED: {verification:?}");
                self.warnings.insert(0, text);
            }
            self.consumed = Some(ConsumeOutcome {
                records: consumed.fetched.records,
                bytes: consumed.fetched.bytes,
                fetches: consumed.fetches,
                end_to_end: consumed.end_to_end.summary(),
                backfilled_records: consumed.backfilled.records,
                backfilled_bytes: consumed.backfilled.bytes,
                rebalances: consumed.rebalances,
                commits: consumed.commits,
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
                resent: produced.resent,
            };
            self.warn_of_limits(&outcome);
            self.produced = Some(outcome);
        }
    }

    /// What was not read waited until the end of the drain time at least: leaving it out would
    /// hide the worst.
    fn count_unread(&mut self, consumed: &mut Consumed, judged: &Verdict) {
        let unread = judged.findings.unread;
        if unread == 0 {
            return;
        }
        let (drain, measured) = (self.scenario.drain, judged.unread_measured);
        if measured > 0 {
            let waited_ns = u64::try_from(drain.as_nanos()).unwrap_or(u64::MAX);
            let second = (self.scenario.window() + drain).as_secs();
            consumed.end_to_end.record(waited_ns, measured);
            let by_second = &mut self.timelines.end_to_end;
            by_second.record(second, waited_ns, measured);
        }
        self.warnings.push(format!(
            "{unread} records were not read within the drain time: nothing is known of them; \
             {measured} of them were due in the measured window, and count in end-to-end as read \
             after {} s",
            drain.as_secs_f64()
        ));
    }

    fn warn_of(&mut self, errors: &Errors, doing: &str) {
        for (text, times) in &errors.by_text {
            self.warnings
                .push(format!("{times} x while {doing}: {text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_is_refused_before_anything_is_done() {
        let target = Target {
            pid: Some(u32::MAX),
            ..Target::at("127.0.0.1:1")
        };
        let refused = run(&target, &Scenario::default());
        assert!(matches!(refused, Err(RunError::Process(_))), "{refused:?}");
    }
}
