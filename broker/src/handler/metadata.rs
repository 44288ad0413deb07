//! Metadata: which topics there are, and who leads their partitions. With one node that is always
//! this one; topics that are asked for and missing are created if the settings say so.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use spate_net::kafka::{
    KafkaString, KafkaUuid,
    api::metadata::{
        MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
        MetadataResponsePartition, MetadataResponseTopic, NO_AUTHORIZED_OPERATIONS, asks_for_all,
    },
    error::ErrorCode,
};
use spate_storage::types::{PartitionIndex, TopicPartition};

use crate::{
    control::{
        message::{ControlReply, ControlRequest},
        name,
    },
    handler::{kafka_uuid, topic_id},
    image::{
        Image, NodeInfo, TopicImage,
        brokers::{Brokers, Listener},
    },
    shard::{control::ControlClient, route::Router},
};

/// All operations on a topic (read, write, create, delete, alter, describe, describe and alter
/// configs), as bits of Kafka's `AclOperation`: without an authorizer everybody may do them.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// All operations on the cluster (create, alter, describe, cluster action, describe and alter
/// configs, idempotent write).
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// The versions whose requests have a place for topic ids that may not be used yet.
const WITHOUT_IDS: std::ops::RangeInclusive<i16> = 10..=11;

/// Answers; `auto_create` is there if missing topics are to be created.
pub async fn answer(
    version: i16,
    asked: &MetadataRequest,
    router: &Router,
    listener: Listener,
    auto_create: Option<&ControlClient>,
) -> MetadataResponse {
    let wants_all = asks_for_all(asked, version);
    if WITHOUT_IDS.contains(&version)
        && let Some(topics) = &asked.topics
        && topics.iter().any(|topic| !is_by_name_only(topic))
    {
        return senseless(topics);
    }
    let named = meant(distinct(asked.topics.as_deref().unwrap_or_default()));
    let mut refused = HashMap::new();
    // Before v4 the flag was not there and creation was implied.
    let may_create = version < 4 || asked.allow_auto_topic_creation;
    if let (Some(control), false, true) = (auto_create, wants_all, may_create) {
        refused = create_missing(&named, &router.image(), control).await;
    }
    let image = router.image();
    let brokers = image.brokers(listener);
    let operations = if asked.include_topic_authorized_operations {
        TOPIC_OPERATIONS
    } else {
        i32::MIN
    };
    let topics = if wants_all {
        image
            .topics()
            .map(|topic| found(topic, brokers, operations))
            .collect()
    } else {
        named
            .iter()
            .map(|topic| one(topic, &image, brokers, &refused, operations))
            .collect()
    };
    MetadataResponse::default()
        .with_brokers(brokers.all().iter().map(broker).collect())
        .with_cluster_id(Some(image.cluster_id.to_string().into()))
        .with_controller_id(brokers.controller().node_id)
        .with_topics(topics)
        .with_cluster_authorized_operations(if asked.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            NO_AUTHORIZED_OPERATIONS
        })
}

/// Each topic once, as in Kafka, however often it was named: else a small request could ask for an
/// answer larger than the memory.
fn distinct(named: &[MetadataRequestTopic]) -> Vec<&MetadataRequestTopic> {
    let mut seen = HashSet::new();
    let is_new = |topic: &&MetadataRequestTopic| {
        let is_by_id = topic.topic_id != KafkaUuid::ZERO;
        let key = topic.name.clone().filter(|_| !is_by_id);
        seen.insert(key.ok_or(topic.topic_id))
    };
    named.iter().filter(is_new).collect()
}

fn is_by_name_only(topic: &MetadataRequestTopic) -> bool {
    topic.name.is_some() && topic.topic_id == KafkaUuid::ZERO
}

/// What Kafka says to ids in versions that have a place for them, but do not serve them.
fn senseless(asked: &[MetadataRequestTopic]) -> MetadataResponse {
    let refused = asked.iter().map(|topic| {
        MetadataResponseTopic::default()
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
            .with_topic_authorized_operations(NO_AUTHORIZED_OPERATIONS)
    });
    MetadataResponse::default()
        .with_controller_id(-1)
        .with_topics(refused.collect())
        .with_cluster_authorized_operations(NO_AUTHORIZED_OPERATIONS)
}

/// Ids decide, as in Kafka: where one is given, topics that are only named do not count.
fn meant(mut asked: Vec<&MetadataRequestTopic>) -> Vec<&MetadataRequestTopic> {
    if asked.iter().any(|topic| topic.topic_id != KafkaUuid::ZERO) {
        asked.retain(|topic| topic.topic_id != KafkaUuid::ZERO);
    }
    asked
}

/// Creates what is named and missing; returns why some could not be.
async fn create_missing(
    named: &[&MetadataRequestTopic],
    image: &Image,
    control: &ControlClient,
) -> HashMap<String, ErrorCode> {
    let names: Vec<String> = named
        .iter()
        .filter_map(|topic| topic.name.as_ref())
        .filter(|name| image.topic(name.as_str()).is_none())
        .map(|name| name.as_str().to_owned())
        .collect();
    if names.is_empty() {
        return HashMap::new();
    }
    match control.ask(ControlRequest::AutoCreate { names }).await {
        Some(ControlReply::AutoCreate(outcomes)) => outcomes
            .into_iter()
            .filter_map(|topic| Some((topic.name, topic.outcome.err()?.code)))
            .collect(),
        _ => HashMap::new(),
    }
}

fn one(
    asked: &MetadataRequestTopic,
    image: &Image,
    brokers: Brokers<'_>,
    refused: &HashMap<String, ErrorCode>,
    operations: i32,
) -> MetadataResponseTopic {
    let named = asked.name.as_ref().filter(|_| is_by_name_only(asked));
    let known = match named {
        Some(name) => image.topic(name.as_str()),
        None => image.topic_by_id(topic_id(asked.topic_id)),
    };
    if let Some(topic) = known {
        return found(topic, brokers, operations);
    }
    let code = match named {
        Some(name) if name::check(name.as_str()).is_err() => ErrorCode::InvalidTopicException,
        Some(name) => *refused
            .get(name.as_str())
            .unwrap_or(&ErrorCode::UnknownTopicOrPartition),
        None => ErrorCode::UnknownTopicId,
    };
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(named.cloned())
        .with_topic_id(asked.topic_id)
        .with_topic_authorized_operations(if code == ErrorCode::InvalidTopicException {
            operations
        } else {
            NO_AUTHORIZED_OPERATIONS
        })
}

fn found(topic: &Arc<TopicImage>, brokers: Brokers<'_>, operations: i32) -> MetadataResponseTopic {
    let partitions = (0..topic.partitions)
        .map(|index| {
            let partition = PartitionIndex(index);
            let node = brokers
                .owner_of(TopicPartition {
                    topic: topic.id,
                    partition,
                })
                .node_id;
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(node)
                .with_leader_epoch(topic.leader_epoch().0)
                .with_replica_nodes(vec![node])
                .with_isr_nodes(vec![node])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(KafkaString::from(topic.name.to_string())))
        .with_topic_id(kafka_uuid(topic.id))
        .with_is_internal(topic.internal)
        .with_partitions(partitions)
        .with_topic_authorized_operations(operations)
}

fn broker(known: &NodeInfo) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(known.node_id)
        .with_host(known.host.clone().into())
        .with_port(i32::from(known.port))
        .with_rack(known.rack.clone().map(KafkaString::from))
}
