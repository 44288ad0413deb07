//! How long a group takes to agree: from the first member's join until the last has its part.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use spate_net::reactor::sleep;

use super::member::Member;
use super::{GroupsError, Look, Outcome, unique, with_topic};
use crate::connection::ClientError;
use crate::histogram::Latencies;

/// Between two looks whether all are in.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(50);

/// Which group.
#[derive(Debug, Args)]
pub struct RebalanceOptions {
    /// Members, each on a connection of its own
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Partitions of the topic that they share
    #[arg(long, default_value_t = 1_000)]
    partitions: i32,
    /// Rebalances to be measured, after one that is not
    #[arg(long, default_value_t = 10)]
    rebalances: u32,
}

/// Forms a group, and lets all members join again and again, all at once: as they do when they are
/// told of a rebalance, without what a client adds by its heartbeat's interval.
///
/// # Errors
/// If the broker cannot be talked to or refuses something.
pub async fn run(
    peer: SocketAddr,
    broker: Option<u32>,
    options: &RebalanceOptions,
) -> Result<Outcome, GroupsError> {
    let (topic, group) = (unique("rebalance"), unique("group"));
    with_topic(peer, &topic, options.partitions, async || {
        let mut members = Vec::new();
        for _ in 0..options.members {
            members.push(Member::connect(peer, &group).await?);
        }
        members = form(members, &topic, options.partitions).await?;
        members = together(members, &topic, options.partitions).await?;
        let mut latencies = Latencies::new();
        let before = Look::take(broker)?;
        let began = Instant::now();
        for _ in 0..options.rebalances {
            let begun = Instant::now();
            members = together(members, &topic, options.partitions).await?;
            latencies.record(begun.elapsed().as_nanos() as u64, 1);
        }
        let seconds = began.elapsed().as_secs_f64();
        let (broker_usage, driver_usage) = Look::take(broker)?.since(&before);
        check_parts(&members, options.partitions)?;
        for member in &mut members {
            member.leave().await?;
        }
        Ok(Outcome {
            counted: "rebalances",
            count: options.rebalances.into(),
            seconds,
            latency: latencies.summary(),
            broker_usage,
            driver_usage,
        })
    })
    .await
}

/// Whether each partition is somebody's, and nobody else's.
fn check_parts(members: &[Member], partitions: i32) -> Result<(), GroupsError> {
    let parts = members.iter().flat_map(|member| &member.assigned);
    let mut assigned: Vec<i32> = parts.copied().collect();
    assigned.sort_unstable();
    if assigned.iter().copied().eq(0..partitions) {
        return Ok(());
    }
    let assigned = assigned.len();
    Err(GroupsError::Assignment {
        assigned,
        partitions,
    })
}

/// Lets the group form: generation follows generation until all members are in one.
async fn form(
    members: Vec<Member>,
    topic: &str,
    partitions: i32,
) -> Result<Vec<Member>, ClientError> {
    let generations = Rc::new(RefCell::new(vec![0; members.len()]));
    let places = Cell::new(0);
    each(members, async |member: &mut Member| {
        let place = places.replace(places.get() + 1);
        loop {
            member.enter(topic, partitions).await?;
            generations.borrow_mut()[place] = member.generation;
            while member.is_settled().await? {
                if is_everywhere(&generations.borrow(), member.generation) {
                    return Ok(());
                }
                sleep(HEARTBEAT_INTERVAL).await;
            }
        }
    })
    .await
}

fn is_everywhere(generations: &[i32], wanted: i32) -> bool {
    generations.iter().all(|generation| *generation == wanted)
}

/// Lets all join and take their parts; returns when the last has.
async fn together(
    members: Vec<Member>,
    topic: &str,
    partitions: i32,
) -> Result<Vec<Member>, ClientError> {
    each(members, async |member: &mut Member| {
        member.enter(topic, partitions).await
    })
    .await
}

/// Does something with all members at once.
async fn each(
    mut members: Vec<Member>,
    work: impl AsyncFn(&mut Member) -> Result<(), ClientError>,
) -> Result<Vec<Member>, ClientError> {
    let mut running: FuturesUnordered<_> = members.iter_mut().map(|member| work(member)).collect();
    while let Some(done) = running.next().await {
        done?;
    }
    drop(running);
    Ok(members)
}
