//! DescribeQuorum: the metadata log of the one node, with its true offsets. The node is the only
//! voter, and leads from its start on, in an epoch of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use spate_net::kafka::{
    KafkaString,
    api::describe_quorum::{
        DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, QuorumPartition,
        QuorumTopic, ReplicaState,
    },
    error::ErrorCode,
};

use crate::{control::name::METADATA, image::Image};

/// The first version with texts and nodes.
const NODES_FROM: i16 = 2;

/// Answers in the order of the request.
pub fn answer(
    version: i16,
    asked: &DescribeQuorumRequest,
    image: &Image,
) -> DescribeQuorumResponse {
    let mut is_shown = false;
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let is_metadata =
                topic.topic_name.as_str() == METADATA && partition.partition_index == 0;
            is_shown |= is_metadata;
            partitions.push(if is_metadata {
                quorum(image)
            } else {
                unknown(partition.partition_index)
            });
        }
        let told = QuorumTopic::default()
            .with_topic_name(topic.topic_name.clone())
            .with_partitions(partitions);
        topics.push(told);
    }
    let nodes = if is_shown && version >= NODES_FROM {
        vec![node(image)]
    } else {
        Vec::new()
    };
    DescribeQuorumResponse::default()
        .with_error_message(Some(KafkaString::from_static("")))
        .with_topics(topics)
        .with_nodes(nodes)
}

fn quorum(image: &Image) -> QuorumPartition {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(-1, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    let voter = ReplicaState::default()
        .with_replica_id(image.node.node_id)
        .with_log_end_offset(image.metadata.offset)
        .with_last_fetch_timestamp(now_ms)
        .with_last_caught_up_timestamp(now_ms);
    QuorumPartition::default()
        .with_error_message(Some(KafkaString::from_static("")))
        .with_leader_id(image.node.node_id)
        .with_leader_epoch(image.metadata.epoch)
        .with_high_watermark(image.metadata.offset)
        .with_current_voters(vec![voter])
}

fn unknown(index: i32) -> QuorumPartition {
    let code = ErrorCode::UnknownTopicOrPartition;
    QuorumPartition::default()
        .with_partition_index(index)
        .with_error_code(code.code())
        .with_error_message(Some(KafkaString::from(code.to_string())))
}

/// Controllers have no listener of their own here: it is the brokers'.
fn node(image: &Image) -> Node {
    let listener = Listener::default()
        .with_name(KafkaString::from_static("PLAINTEXT"))
        .with_host(image.node.host.clone().into())
        .with_port(image.node.port);
    Node::default()
        .with_node_id(image.node.node_id)
        .with_listeners(vec![listener])
}
