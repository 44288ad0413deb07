//! DescribeLogDirs: how large each partition is, and how full the disk.
//!
//! There is one directory. When its disk is fenced the answer is what Kafka gives for a directory
//! that is offline: error 56, no topics, no sizes.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use spate_net::kafka::{
    api::describe_log_dirs::{
        DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
        DescribeLogDirsResult, DescribeLogDirsTopic,
    },
    error::ErrorCode,
};
use spate_storage::types::{PartitionIndex, TopicPartition};

use crate::{
    handler::Context,
    image::{Image, TopicImage, brokers::Listener},
    shard::{
        message::{Answer, Ask},
        scatter::Scatter,
    },
};

/// What is known of a size that nobody can tell.
const UNKNOWN: i64 = -1;

/// Answers with the partitions that were asked for and exist, or with all.
pub async fn answer(
    asked: DescribeLogDirsRequest,
    context: &Context,
    listener: Listener,
) -> DescribeLogDirsResponse {
    let dir = context.config.data_dir.display().to_string();
    let result = DescribeLogDirsResult::default().with_log_dir(dir.into());
    let result = if context.fence.check().is_err() {
        result
            .with_error_code(ErrorCode::KafkaStorageError.code())
            .with_total_bytes(UNKNOWN)
            .with_usable_bytes(UNKNOWN)
    } else {
        let image = context.router.image();
        let mut wanted = wanted(asked, &image);
        if listener == Listener::Shard {
            keep_own(&mut wanted, context);
        }
        let topics = sizes(context, wanted).await;
        let disk = context.space.file_system();
        result
            .with_topics(topics)
            .with_total_bytes(bytes(disk.total_bytes))
            .with_usable_bytes(bytes(disk.usable_bytes))
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Topics by name, with partitions of theirs.
type Wanted = BTreeMap<Arc<str>, (Arc<TopicImage>, BTreeSet<i32>)>;

/// A shard that is a broker of its own has its own partitions only: who asks every broker, as
/// Kafka's tools do, sees each partition once.
fn keep_own(wanted: &mut Wanted, context: &Context) {
    for (topic, indexes) in wanted.values_mut() {
        indexes.retain(|index| {
            let owner = context.router.owner(TopicPartition {
                topic: topic.id,
                partition: PartitionIndex(*index),
            });
            owner == context.router.me()
        });
    }
    wanted.retain(|_, (_, indexes)| !indexes.is_empty());
}

/// The topics with their partitions, each once.
fn wanted(asked: DescribeLogDirsRequest, image: &Image) -> Wanted {
    let mut wanted = BTreeMap::new();
    let Some(named) = asked.topics else {
        for topic in image.topics() {
            let all = (0..topic.partitions).collect();
            wanted.insert(Arc::clone(&topic.name), (Arc::clone(topic), all));
        }
        return wanted;
    };
    for asked in named {
        let Some(topic) = image.topic(asked.topic.as_str()) else {
            continue;
        };
        let partitions = asked.partitions.into_iter();
        let known = partitions.filter(|index| topic.has_partition(PartitionIndex(*index)));
        let (_, indexes) = wanted
            .entry(Arc::clone(&topic.name))
            .or_insert_with(|| (Arc::clone(topic), BTreeSet::new()));
        indexes.extend(known);
    }
    wanted.retain(|_, (_, indexes)| !indexes.is_empty());
    wanted
}

async fn sizes(context: &Context, wanted: Wanted) -> Vec<DescribeLogDirsTopic> {
    let mut topics = Vec::with_capacity(wanted.len());
    let mut places = Vec::new();
    let mut scatter = Scatter::new();
    for (at, (name, (topic, indexes))) in wanted.into_iter().enumerate() {
        for index in &indexes {
            let partition = PartitionIndex(*index);
            let target = TopicPartition {
                topic: topic.id,
                partition,
            };
            scatter.add(context.router.owner(target), places.len(), target);
            places.push((at, partition));
        }
        topics.push(DescribeLogDirsTopic::default().with_name(name.to_string().into()));
    }
    let gather = scatter
        .send(&context.router, |items| Ask::Measure { items })
        .await;
    let mut measured = gather
        .collect(|answer| match answer {
            Answer::Measure(sizes) => Some(sizes),
            _ => None,
        })
        .await;
    measured.sort_unstable_by_key(|(place, _)| *place);
    for (place, size) in measured {
        let (at, partition) = places[place];
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(partition.0)
            .with_partition_size(bytes(size));
        topics[at].partitions.push(described);
    }
    topics
}
