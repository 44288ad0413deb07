//! Connections and topics that come and go beside a run, each at its own time: what they cost
//! counts from then.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use spate_net::kafka::api::metadata::{MetadataRequest, MetadataRequestTopic};
use spate_net::reactor::{sleep_until, timeout};

use crate::connection::{ClientError, Connection};
use crate::histogram::{Latencies, Summary};
use crate::producer::Setting;
use crate::scenario::Rate;
use crate::schedule::Pace;
use crate::tally::Errors;
use crate::topic;

/// Comings and goings that overlap at most, of each kind.
const WORKERS: u64 = 16;

/// What came of it, in the measured window.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChurnOutcome {
    /// From the time a connection was due to its first metadata.
    pub connections: Option<Summary>,
    /// From the time a topic was due until it was created, served, and deleted.
    pub topics: Option<Summary>,
    /// What went wrong.
    pub errors: Vec<(String, u64)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Connection,
    Topic,
}

struct Counted {
    latencies: Latencies,
    errors: Errors,
}

/// Lets them come and go until measuring ends.
pub async fn churn(setting: Setting<'_>, within: Duration) -> ChurnOutcome {
    let scenario = setting.scenario;
    let (connections, topics) = (scenario.churn_connections, scenario.churn_topics);
    let both = join_all([
        all_of(setting, Kind::Connection, connections, within),
        all_of(setting, Kind::Topic, topics, within),
    ]);
    let mut counted = both.await.into_iter();
    let mut errors = Vec::new();
    let mut summary = || {
        let counted = counted.next().flatten()?;
        errors.extend(counted.errors.by_text);
        Some(counted.latencies.summary())
    };
    let (connections, topics) = (summary(), summary());
    ChurnOutcome {
        connections,
        topics,
        errors,
    }
}

async fn all_of(
    setting: Setting<'_>,
    kind: Kind,
    rate: Option<NonZeroU64>,
    within: Duration,
) -> Option<Counted> {
    let pace = Pace::new(&Rate::PerSecond(rate?), setting.phases);
    let counted = Rc::new(RefCell::new(Counted {
        latencies: Latencies::new(),
        errors: Errors::default(),
    }));
    let workers = (0..WORKERS).map(|worker| work(setting, kind, &pace, worker, &counted));
    let _ = timeout(within, join_all(workers)).await;
    Rc::into_inner(counted).map(RefCell::into_inner)
}

async fn work(
    setting: Setting<'_>,
    kind: Kind,
    pace: &Pace,
    worker: u64,
    counted: &Rc<RefCell<Counted>>,
) {
    let Setting { clock, phases, .. } = setting;
    for number in (worker..).step_by(WORKERS as usize) {
        let due = pace.due(number);
        if due >= phases.measure_until {
            return;
        }
        sleep_until(clock.instant(due)).await;
        let outcome = match kind {
            Kind::Connection => come_and_go(setting).await,
            Kind::Topic => create_and_delete(setting, number).await,
        };
        let mut counted = counted.borrow_mut();
        match outcome {
            Ok(()) if phases.measures(due) => {
                counted.latencies.record(clock.now().nanos_since(due), 1);
            }
            Ok(()) => {}
            Err(error) => counted.errors.add(error.to_string(), 1),
        }
    }
}

async fn come_and_go(setting: Setting<'_>) -> Result<(), ClientError> {
    let mut connection = Connection::any(setting.access).await?;
    let named = MetadataRequestTopic::default().with_name(Some(topic::text(setting.topic)));
    let asked = MetadataRequest::default()
        .with_topics(Some(vec![named]))
        .with_allow_auto_topic_creation(false);
    connection.call(&asked).await?;
    connection.stream.shutdown();
    Ok(())
}

async fn create_and_delete(setting: Setting<'_>, number: u64) -> Result<(), ClientError> {
    let name = format!("{}-churn-{number}", setting.topic);
    let mut connection = Connection::any(setting.access).await?;
    let shape = (1, setting.scenario.replicas);
    topic::create(&mut connection, &name, shape, &[]).await?;
    topic::await_ready(&mut connection, setting.access, &name).await?;
    topic::delete(&mut connection, &name).await?;
    connection.stream.shutdown();
    Ok(())
}
