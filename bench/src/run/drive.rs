//! One driver thread: a reactor with its share of the connections.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use core_affinity::CoreId;
use spate_net::reactor::{Reactor, ReactorConfig, spawn};

use super::RunError;
use crate::connection::ClientError;
use crate::consumer::{Consumer, ConsumerPlan, Progress};
use crate::live::Live;
use crate::producer::{Producer, ProducerPlan};
use crate::scenario::Scenario;
use crate::schedule::{Clock, Phases};
use crate::tally::{Consumed, Produced};

/// What all threads of a run share.
pub struct Shared {
    pub scenario: Scenario,
    pub topic: String,
    pub reactor: ReactorConfig,
    pub clock: Clock,
    pub progress: Progress,
    pub live: Option<Arc<Live>>,
}

/// The connections of one thread.
#[derive(Debug, Default)]
pub struct Plan {
    pub producers: Vec<ProducerPlan>,
    pub consumers: Vec<ConsumerPlan>,
}

/// What one thread has to say at the end.
pub struct Results {
    pub produced: Produced,
    pub consumed: Consumed,
    pub notes: Vec<String>,
}

/// Connects, says that it is ready, waits for the phases, and runs through them. If no phases come
/// another thread has failed, and this one has nothing to say.
pub fn drive(
    shared: &Arc<Shared>,
    plan: Plan,
    core: Option<CoreId>,
    ready: &Sender<()>,
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
    let connections = reactor.block_on(connect(shared, &plan))?;
    // Both fail only if the conductor is gone.
    let sent = ready.send(());
    let phases = sent.ok().and_then(|()| start.recv().ok());
    let (produced, consumed) = match phases {
        Some(phases) => reactor.block_on(run_all(shared, connections, phases)),
        None => (Produced::new(), Consumed::new()),
    };
    Ok(Results {
        produced,
        consumed,
        notes,
    })
}

struct Connections {
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
}

async fn connect(shared: &Shared, plan: &Plan) -> Result<Connections, ClientError> {
    let (scenario, topic) = (&shared.scenario, &shared.topic);
    let mut connections = Connections {
        producers: Vec::new(),
        consumers: Vec::new(),
    };
    for plan in &plan.producers {
        connections
            .producers
            .push(Producer::connect(scenario, topic, plan).await?);
    }
    for plan in &plan.consumers {
        connections
            .consumers
            .push(Consumer::connect(scenario, topic, plan).await?);
    }
    Ok(connections)
}

async fn run_all(
    shared: &Arc<Shared>,
    connections: Connections,
    phases: Phases,
) -> (Produced, Consumed) {
    let mut tally = Produced::new();
    tally.live = shared.live.clone();
    let produced = Rc::new(RefCell::new(tally));
    let consumed = Rc::new(RefCell::new(Consumed::new()));
    let mut running = Vec::new();
    for producer in connections.producers {
        let (shared, tally) = (Arc::clone(shared), Rc::clone(&produced));
        running.push(spawn(async move {
            producer
                .run(&shared.scenario, shared.clock, phases, tally)
                .await;
            shared.progress.producer_done();
        }));
    }
    for consumer in connections.consumers {
        let (shared, tally) = (Arc::clone(shared), Rc::clone(&consumed));
        running.push(spawn(async move {
            let drain = shared.scenario.drain;
            consumer
                .run(shared.clock, phases, drain, &shared.progress, tally)
                .await;
        }));
    }
    for task in running {
        task.await;
    }
    (
        produced.replace(Produced::new()),
        consumed.replace(Consumed::new()),
    )
}
