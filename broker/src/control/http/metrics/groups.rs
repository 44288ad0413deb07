//! Consumer groups, by kafka_exporter's names: how far each has come, and how far it lags behind
//! the last record that may be read. As many offsets have series as partitions may have
//! (`metrics.partitions.max`); whole groups beyond, the last by name, are left out and counted.

use std::collections::{BTreeMap, HashMap};

use spate_storage::types::{PartitionIndex, TopicId, TopicPartition};

use super::{Exposition, Labels, Survey};
use crate::control::survey::GroupNumbers;

/// One offset that a group has committed.
struct Commit {
    labels: Labels,
    offset: i64,
    lag: i64,
}

/// Adds the families.
pub fn add(out: &mut Exposition, survey: &Survey, limit: usize) {
    let mut states: BTreeMap<&str, f64> = BTreeMap::new();
    for group in &survey.groups {
        *states.entry(group.state).or_default() += 1.0;
    }
    out.gauge(
        "spate_consumergroups",
        "Groups, by state.",
        states
            .iter()
            .map(|(state, count)| (vec![("state", (*state).to_owned())], *count)),
    );
    let mut groups: Vec<&GroupNumbers> = survey.groups.iter().collect();
    groups.sort_by(|left, right| left.group.cmp(&right.group));
    let mut room = limit;
    let count = groups.len();
    groups.retain(|group| {
        // A group without offsets has a series of members all the same.
        let need = group.offsets.len().max(1);
        let fits = need <= room;
        room = if fits { room - need } else { 0 };
        fits
    });
    out.gauge(
        "spate_metrics_groups_hidden",
        "Groups without series of their own, beyond metrics.partitions.max.",
        [(vec![], (count - groups.len()) as f64)],
    );
    out.gauge(
        "kafka_consumergroup_members",
        "Members of the group.",
        groups
            .iter()
            .map(|group| (of_group(group), group.members as f64)),
    );
    let commits = commits(&groups, survey);
    out.gauge(
        "kafka_consumergroup_current_offset",
        "The offset that the group has committed.",
        commits
            .iter()
            .map(|commit| (commit.labels.clone(), commit.offset as f64)),
    );
    out.gauge(
        "kafka_consumergroup_lag",
        "Records that the group has still to read.",
        commits
            .iter()
            .map(|commit| (commit.labels.clone(), commit.lag as f64)),
    );
}

fn of_group(group: &GroupNumbers) -> Labels {
    vec![("consumergroup", group.group.clone())]
}

/// Of partitions that still exist.
fn commits(groups: &[&GroupNumbers], survey: &Survey) -> Vec<Commit> {
    let topics: HashMap<&str, (TopicId, i32)> = survey
        .topics
        .iter()
        .map(|topic| (&*topic.name, (topic.id, topic.partitions)))
        .collect();
    let ends: HashMap<TopicPartition, i64> = survey
        .partitions
        .iter()
        .map(|known| (known.tp, known.bounds.high_watermark.0))
        .collect();
    let mut commits = Vec::new();
    for group in groups {
        for (topic, partition, offset) in &group.offsets {
            let Some((id, partitions)) = topics.get(&**topic) else {
                continue;
            };
            if !(0..*partitions).contains(partition) {
                continue;
            }
            let index = PartitionIndex(*partition);
            let tp = TopicPartition {
                topic: *id,
                partition: index,
            };
            let mut labels = of_group(group);
            labels.push(("topic", topic.clone()));
            labels.push(("partition", partition.to_string()));
            let end = ends.get(&tp).copied().unwrap_or(0);
            commits.push(Commit {
                labels,
                offset: *offset,
                lag: end.saturating_sub(*offset).max(0),
            });
        }
    }
    commits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, offsets: usize) -> GroupNumbers {
        GroupNumbers {
            group: name.into(),
            state: "Stable",
            members: 2,
            offsets: (0..offsets as i32).map(|n| ("gone".into(), n, 5)).collect(),
        }
    }

    #[test]
    fn groups_are_bounded_and_gone_topics_left_out() {
        let survey = Survey {
            groups: vec![group("b", 3), group("a", 2), group("c", 0)],
            ..Survey::default()
        };
        let mut out = Exposition::default();
        add(&mut out, &survey, 4);
        let text = out.text().expect("it can be written");
        assert!(
            text.contains("spate_consumergroups{state=\"Stable\"} 3"),
            "{text}"
        );
        assert!(text.contains("members{consumergroup=\"a\"} 2"));
        assert!(text.contains("spate_metrics_groups_hidden 2"));
        assert!(!text.contains("kafka_consumergroup_lag"));
    }
}
