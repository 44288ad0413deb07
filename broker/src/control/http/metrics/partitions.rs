//! Topics and partitions, by kafka_exporter's names. With ten thousand partitions a scrape would be
//! megabytes: beyond `metrics.partitions.max` the topics that come last by name are left out, and
//! how many partitions they have is said.

use std::{collections::HashMap, sync::Arc};

use spate_storage::{
    store::PartitionNumbers,
    types::{PartitionIndex, TopicPartition},
};

use super::{Exposition, Labels, Survey};
use crate::image::TopicImage;

/// Adds the families.
pub fn add(out: &mut Exposition, survey: &Survey, node_id: i32, limit: usize) {
    let count: i64 = survey
        .topics
        .iter()
        .map(|topic| i64::from(topic.partitions))
        .sum();
    add_counts(out, survey.topics.len(), count as f64);
    let shown = shown(&survey.topics, limit);
    let shown_count: i64 = shown.iter().map(|topic| i64::from(topic.partitions)).sum();
    out.gauge(
        "spate_metrics_partitions_hidden",
        "Partitions without series of their own, beyond metrics.partitions.max.",
        [(vec![], (count - shown_count) as f64)],
    );
    out.gauge(
        "kafka_topic_partitions",
        "Partitions of the topic.",
        shown.iter().map(|topic| {
            let labels = vec![("topic", topic.name.to_string())];
            (labels, f64::from(topic.partitions))
        }),
    );
    add_partitions(out, &shown, survey, node_id);
}

fn add_partitions(out: &mut Exposition, shown: &[&TopicImage], survey: &Survey, node_id: i32) {
    let numbers: HashMap<TopicPartition, &PartitionNumbers> = survey
        .partitions
        .iter()
        .map(|known| (known.tp, known))
        .collect();
    let mut of_all = |name: &str, help: &str, value: &dyn Fn(Option<&PartitionNumbers>) -> f64| {
        let samples = shown.iter().flat_map(|topic| partitions(topic));
        let sample = |(tp, labels)| (labels, value(numbers.get(&tp).copied()));
        out.gauge(name, help, samples.map(sample));
    };
    let of_known = |value: fn(&PartitionNumbers) -> f64| {
        move |known: Option<&PartitionNumbers>| known.map_or(0.0, value)
    };
    of_all(
        "kafka_topic_partition_current_offset",
        "The offset after the last record that may be read.",
        &of_known(|known| known.bounds.high_watermark.0 as f64),
    );
    of_all(
        "kafka_topic_partition_oldest_offset",
        "The first offset.",
        &of_known(|known| known.bounds.log_start.0 as f64),
    );
    of_all(
        "kafka_log_log_size",
        "Bytes of the partition's batches.",
        &of_known(|known| known.batch_bytes as f64),
    );
    of_all(
        "spate_partition_producers",
        "Idempotent producers that are remembered.",
        &of_known(|known| known.producers as f64),
    );
    of_all("kafka_topic_partition_leader", "Node that leads.", &|_| {
        f64::from(node_id)
    });
    of_all(
        "kafka_topic_partition_replicas",
        "Nodes that hold it.",
        &|_| 1.0,
    );
    of_all(
        "kafka_topic_partition_in_sync_replica",
        "Nodes in sync.",
        &|_| 1.0,
    );
    of_all(
        "kafka_topic_partition_leader_is_preferred",
        "Whether it is.",
        &|_| 1.0,
    );
    of_all(
        "kafka_topic_partition_under_replicated_partition",
        "Whether nodes lag behind.",
        &|_| 0.0,
    );
}

/// Numbers over all partitions, which are there however many there are.
fn add_counts(out: &mut Exposition, topics: usize, partitions: f64) {
    for (name, help, value) in [
        (
            "kafka_controller_kafkacontroller_globaltopiccount",
            "Topics.",
            topics as f64,
        ),
        (
            "kafka_controller_kafkacontroller_globalpartitioncount",
            "Partitions.",
            partitions,
        ),
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            "Without a leader.",
            0.0,
        ),
        (
            "kafka_server_replicamanager_partitioncount",
            "Partitions held here.",
            partitions,
        ),
        (
            "kafka_server_replicamanager_leadercount",
            "Partitions led here.",
            partitions,
        ),
        (
            "kafka_server_replicamanager_underreplicatedpartitions",
            "Lagging behind.",
            0.0,
        ),
        (
            "kafka_server_replicamanager_underminisrpartitioncount",
            "Too few in sync.",
            0.0,
        ),
        (
            "kafka_server_replicamanager_offlinereplicacount",
            "On a failed disk.",
            0.0,
        ),
    ] {
        out.gauge(name, help, [(vec![], value)]);
    }
}

/// The first topics by name whose partitions fit the limit.
fn shown(topics: &[Arc<TopicImage>], limit: usize) -> Vec<&TopicImage> {
    let mut by_name: Vec<&TopicImage> = topics.iter().map(|topic| &**topic).collect();
    by_name.sort_by(|left, right| left.name.cmp(&right.name));
    let mut room = limit;
    by_name.retain(|topic| {
        let need = usize::try_from(topic.partitions).unwrap_or(0);
        let fits = need <= room;
        room = if fits { room - need } else { 0 };
        fits
    });
    by_name
}

fn partitions(topic: &TopicImage) -> impl Iterator<Item = (TopicPartition, Labels)> + '_ {
    (0..topic.partitions).map(|index| {
        let labels = vec![
            ("topic", topic.name.to_string()),
            ("partition", index.to_string()),
        ];
        let partition = PartitionIndex(index);
        let tp = TopicPartition {
            topic: topic.id,
            partition,
        };
        (tp, labels)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use spate_storage::types::TopicId;

    use super::*;
    use crate::{config::topic::TopicConfig, image::StartNumber};

    fn topic(name: &str, partitions: i32) -> Arc<TopicImage> {
        Arc::new(TopicImage {
            id: TopicId([name.as_bytes()[0]; 16]),
            name: name.into(),
            partitions,
            internal: false,
            created_at_start: StartNumber(0),
            present_start: StartNumber(0),
            config: TopicConfig::default(),
            overrides: BTreeMap::new(),
        })
    }

    #[test]
    fn series_are_bounded_and_the_rest_is_counted() {
        let survey = Survey {
            topics: vec![topic("c", 1), topic("a", 2), topic("b", 9_000)],
            ..Survey::default()
        };
        let mut out = Exposition::default();
        add(&mut out, &survey, 1, 10);
        let text = out.text().expect("it can be written");
        assert!(
            text.contains("spate_metrics_partitions_hidden 9001"),
            "{text}"
        );
        assert!(text.contains("globalpartitioncount 9003"));
        assert!(text.contains("current_offset{topic=\"a\",partition=\"1\"} 0"));
        assert!(!text.contains("topic=\"b\""));
    }
}
