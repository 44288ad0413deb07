//! Deals a run's connections out: partitions over producers and consumers, and these over the
//! driver's threads. Every partition has a reader and a writer, however few they are.

use std::sync::Arc;

use super::drive::Plan;
use crate::consumer::{ConsumerPlan, Group, Role};
use crate::producer::ProducerPlan;
use crate::scenario::{Keys, PartitionChoice, Scenario};
use crate::topic::Leader;
use crate::verify::StreamId;

/// What each thread has to do.
pub fn plans(scenario: &Scenario, leaders: &[Leader], groups: &[Arc<Group>]) -> Vec<Plan> {
    let threads = scenario.threads as usize;
    let mut plans: Vec<Plan> = (0..threads).map(|_| Plan::default()).collect();
    // So that the streams of two runs into one topic are told apart.
    let run_number = u32::from(rand::random::<u16>());
    let producers = producers(scenario, leaders, run_number);
    for (index, plan) in producers.into_iter().enumerate() {
        plans[index % threads].producers.push(plan);
    }
    let consumers = consumers(scenario, leaders, groups, run_number);
    for (index, plan) in consumers.into_iter().enumerate() {
        plans[index % threads].consumers.push(plan);
    }
    plans[0].churns = scenario.churn_connections.is_some() || scenario.churn_topics.is_some();
    plans
}

/// All partitions of the topic, in order.
pub fn partitions(leaders: &[Leader]) -> Vec<i32> {
    let all = leaders.iter().flat_map(|leader| &leader.partitions);
    let mut all: Vec<i32> = all.copied().collect();
    all.sort_unstable();
    all
}

fn producers(scenario: &Scenario, leaders: &[Leader], run_number: u32) -> Vec<ProducerPlan> {
    let count = scenario.producers as usize;
    let plan = |index: u32| ProducerPlan {
        index: index.into(),
        stream: StreamId::new(run_number, index),
        shares: match scenario.keys {
            Keys::None => producer_shares(scenario, leaders, index as usize, count),
            // A key has one partition of all.
            _ => leaders.to_vec(),
        },
    };
    (0..scenario.producers).map(plan).collect()
}

/// Where a producer without keys sends to: to one leader, or to several if there are not enough
/// producers.
fn producer_shares(
    scenario: &Scenario,
    leaders: &[Leader],
    index: usize,
    count: usize,
) -> Vec<Leader> {
    let mut shares = every(leaders, index % leaders.len(), count);
    for share in &mut shares {
        // Each begins with another one, so that they do not march through them in step.
        let first = index / leaders.len() % share.partitions.len();
        share.partitions.rotate_left(first);
    }
    if scenario.partition_choice == PartitionChoice::Pinned {
        shares.truncate(1);
        shares[0].partitions.truncate(1);
    }
    shares
}

fn consumers(
    scenario: &Scenario,
    leaders: &[Leader],
    groups: &[Arc<Group>],
    run_number: u32,
) -> Vec<ConsumerPlan> {
    let mut plans = Vec::new();
    for group in groups {
        plans.extend((0..scenario.consumers).map(|_| ConsumerPlan {
            shares: Vec::new(),
            role: Role::Member(Arc::clone(group)),
            run_number,
        }));
    }
    if groups.is_empty() {
        // A backlog is read by those who came for it.
        let has_backlog = scenario.existing || scenario.prefill_mib > 0;
        let role = match scenario.repeat {
            true => Role::Repeat,
            false => Role::Tail {
                from_end: scenario.producers > 0 && has_backlog,
            },
        };
        plans.extend(dealt(scenario.consumers, leaders, &role, run_number));
    }
    let role = Role::Backfill(scenario.backfill_rate);
    plans.extend(dealt(scenario.backfill, leaders, &role, run_number));
    plans
}

/// Every partition has a reader. Consumers beyond the number of partitions read along.
fn dealt(count: u32, leaders: &[Leader], role: &Role, run_number: u32) -> Vec<ConsumerPlan> {
    let plan = |shares| ConsumerPlan {
        shares,
        role: role.clone(),
        run_number,
    };
    let consumers = count as usize;
    if consumers < leaders.len() {
        let shares = (0..consumers).map(|index| every(leaders, index, consumers));
        return shares.map(plan).collect();
    }
    let mut plans: Vec<ConsumerPlan> = Vec::new();
    for (number, leader) in leaders.iter().enumerate() {
        let left = consumers - plans.len();
        let here = left.div_ceil(leaders.len() - number);
        for index in 0..here {
            let all = leader.partitions.iter();
            let mut partitions: Vec<i32> = all.copied().skip(index).step_by(here).collect();
            if partitions.is_empty() {
                partitions = vec![leader.partitions[index % leader.partitions.len()]];
            }
            let endpoint = leader.endpoint.clone();
            plans.push(plan(vec![Leader {
                endpoint,
                partitions,
            }]));
        }
    }
    plans
}

/// The leader at that place, and every `step`th behind it.
fn every(leaders: &[Leader], first: usize, step: usize) -> Vec<Leader> {
    let found = leaders.iter().skip(first).step_by(step);
    found.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Endpoint;

    /// So many leaders, with partitions dealt in turn.
    fn leaders(count: usize, partitions: i32) -> Vec<Leader> {
        let leader = |number: usize| Leader {
            endpoint: Endpoint::at(([127, 0, 0, 1], 9_000 + number as u16).into()),
            partitions: (0..partitions).skip(number).step_by(count).collect(),
        };
        (0..count).map(leader).collect()
    }

    #[test]
    fn every_partition_has_a_reader_however_few_there_are() {
        for (brokers, all) in [(1, 1), (3, 3), (3, 8), (5, 12)] {
            let leaders = leaders(brokers, all);
            for count in 1..15 {
                let plans = dealt(count, &leaders, &Role::Repeat, 1);
                assert_eq!(plans.len(), count as usize);
                let shares = plans.iter().flat_map(|plan| &plan.shares);
                let read: Vec<i32> = shares.flat_map(|share| share.partitions.clone()).collect();
                assert!((0..all).all(|index| read.contains(&index)), "{read:?}");
                assert!(read.len() <= all.max(count as i32) as usize, "{read:?}");
            }
        }
        assert!(dealt(0, &leaders(2, 2), &Role::Repeat, 1).is_empty());
    }

    #[test]
    fn every_partition_has_a_producer_however_few_there_are() {
        let leaders = leaders(3, 8);
        for producers in 1..10 {
            let scenario = Scenario {
                producers,
                ..Scenario::default()
            };
            let plans = super::producers(&scenario, &leaders, 1);
            let shares = plans.iter().flat_map(|plan| &plan.shares);
            let sent: Vec<i32> = shares.flat_map(|share| share.partitions.clone()).collect();
            assert!((0..8).all(|index| sent.contains(&index)), "{sent:?}");
        }
    }

    #[test]
    fn pinned_producers_are_dealt_over_all_partitions() {
        let scenario = Scenario {
            producers: 8,
            partition_choice: PartitionChoice::Pinned,
            ..Scenario::default()
        };
        let plans = producers(&scenario, &leaders(2, 8), 1);
        let shares = plans.iter().flat_map(|plan| &plan.shares);
        let mut sent: Vec<i32> = shares.flat_map(|share| share.partitions.clone()).collect();
        sent.sort_unstable();
        assert_eq!(sent, (0..8).collect::<Vec<i32>>());
    }

    #[test]
    fn producers_with_keys_reach_every_partition() {
        let scenario = Scenario {
            producers: 4,
            keys: Keys::Uniform,
            ..Scenario::default()
        };
        let leaders = leaders(3, 8);
        let plans = producers(&scenario, &leaders, 1);
        assert!(plans.iter().all(|plan| plan.shares == leaders));
    }
}
