//! One driver thread: a reactor with its share of the connections.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use core_affinity::CoreId;
use spate_net::reactor::{Reactor, ReactorConfig, spawn};

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
    pub notes: Vec<String>,
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
    let (produced, consumed, churned) = match phases {
        Some(phases) => reactor.block_on(run_all(shared, connections, phases, plan.churns)),
        None => (Produced::new(), Consumed::new(), None),
    };
    Ok(Results {
        produced,
        consumed,
        churned,
        notes,
    })
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
) -> (Produced, Consumed, Option<ChurnOutcome>) {
    let mut tally = Produced::new();
    tally.live = shared.live.clone();
    let produced = Rc::new(RefCell::new(tally));
    let consumed = Rc::new(RefCell::new(Consumed::new()));
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
    (
        produced.replace(Produced::new()),
        consumed.replace(Consumed::new()),
        churned,
    )
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
            access: Access {
                bootstrap: Vec::new(),
                security: Default::default(),
            },
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
        assert!(results.is_ok());
    }
}
