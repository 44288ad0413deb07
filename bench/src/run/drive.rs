//! One driver thread: a reactor with its share of the connections.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use core_affinity::CoreId;
use rustix::time::{ClockId, clock_gettime};
use spate_net::reactor::{Reactor, ReactorConfig, sleep_until, spawn};

use super::RunError;
use super::churn::{ChurnOutcome, churn};
use crate::connection::{Access, ClientError};
use crate::consumer::{Consumer, ConsumerPlan, Group, Progress};
use crate::live::Live;
use crate::payload::Content;
use crate::producer::{Producer, ProducerPlan, Setting};
use crate::scenario::Scenario;
use crate::schedule::{Clock, Phases};
use crate::tally::{Consumed, Produced};

/// What all threads of a run share.
pub struct Shared {
    pub scenario: Scenario,
    pub topic: String,
    pub reactor: ReactorConfig,
    pub clock: Clock,
    pub access: Access,
    pub keeps_evidence: bool,
    pub groups: Vec<Arc<Group>>,
    pub progress: Progress,
    pub live: Option<Arc<Live>>,
}

/// The connections of one thread.
#[derive(Debug, Default)]
pub struct Plan {
    pub producers: Vec<ProducerPlan>,
    pub consumers: Vec<ConsumerPlan>,
    /// Whether connections and topics come and go on this thread.
    pub churns: bool,
}

impl Shared {
    fn setting(&self, phases: Phases) -> Setting<'_> {
        Setting {
            scenario: &self.scenario,
            access: &self.access,
            topic: &self.topic,
            clock: self.clock,
            phases,
            keeps_batches: self.keeps_evidence,
        }
    }
}

/// What one thread has to say at the end.
pub struct Results {
    pub produced: Produced,
    pub consumed: Consumed,
    pub churned: Option<ChurnOutcome>,
    /// The part of the measured window in which the thread was on a CPU.
    pub busy: f64,
    pub notes: Vec<String>,
}

impl Results {
    /// Nothing yet.
    pub fn new() -> Results {
        Results {
            produced: Produced::new(),
            consumed: Consumed::new(),
            churned: None,
            busy: 0.0,
            notes: Vec::new(),
        }
    }

    /// Adds another thread's; of the two the busier one counts.
    pub fn merge(&mut self, other: Results) {
        self.produced.merge(other.produced);
        self.consumed.merge(other.consumed);
        self.churned = self.churned.take().or(other.churned);
        self.busy = self.busy.max(other.busy);
        for note in other.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }
}

/// Connects, says that it is ready, waits for the phases, and runs through them. If no phases come
/// another thread has failed, and this one has nothing to say.
pub fn drive(
    shared: &Arc<Shared>,
    plan: Plan,
    core: Option<CoreId>,
    ready: Sender<()>,
    start: &Receiver<Phases>,
) -> Result<Results, RunError> {
    let mut notes = Vec::new();
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        notes.push(format!(
            "core {} refused the driver's thread: it is not pinned",
            core.id
        ));
    }
    // Timers may be late by 50 us by default, which would be in every latency.
    if rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).is_err() {
        notes.push("the kernel refused precise timers: latencies may be 50 us longer".to_owned());
    }
    let mut reactor = Reactor::new(&shared.reactor)?;
    notes.extend(reactor.notes().iter().cloned());
    let content = Content::new(&shared.scenario).map_err(RunError::Sample)?;
    let connections = reactor.block_on(connect(shared, &Rc::new(content), &plan))?;
    // Both fail only if the conductor is gone.
    let sent = ready.send(());
    // Kept, it would let the conductor wait for a thread that will never be ready.
    drop(ready);
    let phases = sent.ok().and_then(|()| start.recv().ok());
    let results = match phases {
        Some(phases) => reactor.block_on(run_all(shared, connections, phases, plan.churns)),
        None => Results::new(),
    };
    Ok(Results { notes, ..results })
}

struct Connections {
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
}

async fn connect(
    shared: &Shared,
    content: &Rc<Content>,
    plan: &Plan,
) -> Result<Connections, ClientError> {
    let (scenario, access, topic) = (&shared.scenario, &shared.access, &shared.topic);
    let mut connections = Connections {
        producers: Vec::new(),
        consumers: Vec::new(),
    };
    for plan in &plan.producers {
        connections
            .producers
            .push(Producer::connect(scenario, access, topic, content, plan).await?);
    }
    for plan in &plan.consumers {
        connections
            .consumers
            .push(Consumer::connect(access, topic, plan, shared.keeps_evidence).await?);
    }
    Ok(connections)
}

async fn run_all(
    shared: &Arc<Shared>,
    connections: Connections,
    phases: Phases,
    churns: bool,
) -> Results {
    let busy = spawn(busy(shared.clock, phases));
    let mut tally = Produced::new();
    tally.live = shared.live.clone();
    let produced = Rc::new(RefCell::new(tally));
    let mut tally = Consumed::new();
    tally.live = shared.live.clone();
    let consumed = Rc::new(RefCell::new(tally));
    let mut running = Vec::new();
    for producer in connections.producers {
        let (shared, tally) = (Arc::clone(shared), Rc::clone(&produced));
        running.push(spawn(async move {
            producer.run(shared.setting(phases), tally).await;
            shared.progress.producer_done();
        }));
    }
    for consumer in connections.consumers {
        let (shared, tally) = (Arc::clone(shared), Rc::clone(&consumed));
        running.push(spawn(async move {
            // Large, and made once: it is not moved about with the task.
            Box::pin(consumer.run(shared.setting(phases), &shared.progress, tally)).await;
        }));
    }
    let churned = match churns {
        true => {
            let rest = phases.measure_until.nanos_since(shared.clock.now());
            let within = Duration::from_nanos(rest) + shared.scenario.drain;
            Some(churn(shared.setting(phases), within).await)
        }
        false => None,
    };
    for task in running {
        task.await;
    }
    Results {
        produced: produced.replace(Produced::new()),
        consumed: consumed.replace(Consumed::new()),
        churned,
        busy: busy.await,
        notes: Vec::new(),
    }
}

/// The part of the measured window that this thread spends on a CPU. A busy thread looks late:
/// what counts is the time between its two looks.
async fn busy(clock: Clock, phases: Phases) -> f64 {
    let look_at = async |moment| {
        sleep_until(clock.instant(moment)).await;
        (clock.now(), clock_gettime(ClockId::ThreadCPUTime))
    };
    let (from, cpu_before) = look_at(phases.measure_from).await;
    let (until, cpu_after) = look_at(phases.measure_until).await;
    let cpu_s = Duration::try_from(cpu_after - cpu_before).unwrap_or_default();
    let window_ns = until.nanos_since(from).max(1);
    cpu_s.as_nanos() as f64 / window_ns as f64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;

    use super::*;

    fn shared() -> Arc<Shared> {
        Arc::new(Shared {
            scenario: Scenario::default(),
            topic: "topic".to_owned(),
            reactor: ReactorConfig {
                registered_buffers: 0,
                ..ReactorConfig::default()
            },
            clock: Clock::start(),
            access: Access::new(Vec::new(), Default::default()),
            keeps_evidence: false,
            groups: Vec::new(),
            progress: Progress::new(0),
            live: None,
        })
    }

    /// One thread fails to connect while another is ready: the conductor once waited for ever, for
    /// the one that was ready still held what says that somebody may become it.
    #[test]
    fn a_thread_that_is_ready_does_not_hide_one_that_failed() {
        let (ready, all_ready) = channel();
        let (start, started) = channel();
        let thread =
            thread::spawn(move || drive(&shared(), Plan::default(), None, ready, &started));
        let long = Duration::from_secs(30);
        assert_eq!(all_ready.recv_timeout(long), Ok(()));
        let next = all_ready.recv_timeout(long);
        assert_eq!(next, Err(RecvTimeoutError::Disconnected));
        drop(start);
        let results = thread.join().expect("it does not panic");
        assert_eq!(results.map(|results| results.busy).ok(), Some(0.0));
    }

    #[test]
    fn a_thread_tells_how_busy_it_is() {
        let clock = Clock::start();
        let (warm_up, window) = (Duration::from_millis(20), Duration::from_millis(200));
        let mut reactor = Reactor::new(&shared().reactor).expect("the kernel has one");
        let busy_for = |reactor: &mut Reactor, part: f64| {
            let phases = Phases::new(clock.now(), warm_up, window);
            reactor.block_on(async {
                let told = spawn(busy(clock, phases));
                sleep_until(clock.instant(phases.measure_from.after(warm_up))).await;
                let until = clock_gettime(ClockId::ThreadCPUTime);
                let long = window.mul_f64(part);
                while Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - until)
                    .is_ok_and(|spent| spent < long)
                {}
                told.await
            })
        };
        let idle = busy_for(&mut reactor, 0.0);
        assert!(idle < 0.3, "{idle}");
        // On a machine that is busy itself the window may be over before the work is done.
        let working = busy_for(&mut reactor, 0.6);
        assert!(working > idle && working < 1.05, "{working}");
    }
}
