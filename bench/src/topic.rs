//! The topic of a run: created, waited for until every partition takes records, and deleted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spate_net::kafka::KafkaString;
use spate_net::kafka::api::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use spate_net::kafka::api::delete_topics::{self, DeleteTopicState, DeleteTopicsRequest};
use spate_net::kafka::api::init_producer_id::InitProducerIdRequest;
use spate_net::kafka::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use spate_net::kafka::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
};
use spate_net::kafka::error::ErrorCode;
use spate_net::reactor;

use crate::connection::{Access, ClientError, Connection, Endpoint};

/// How long a topic may take to come about: thousands of partitions take Kafka seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const REQUEST_TIMEOUT_MS: i32 = 30_000;

/// ListOffsets' timestamp for the end of the log.
pub const LATEST: i64 = -1;
/// And for its start.
pub const EARLIEST: i64 = -2;

/// A broker and the partitions that it leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Its partitions, in order.
    pub partitions: Vec<i32>,
}

/// A producer id and its epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdentity {
    /// The id.
    pub id: i64,
    /// The epoch.
    pub epoch: i16,
}

/// Creates a topic.
pub async fn create(
    connection: &mut Connection,
    topic: &str,
    (partitions, replicas): (i32, i16),
    configs: &[(String, String)],
) -> Result<(), ClientError> {
    let configs = configs.iter().map(|(key, value)| CreatableTopicConfig {
        name: text(key),
        value: Some(text(value)),
        ..CreatableTopicConfig::default()
    });
    let wanted = CreatableTopic {
        name: text(topic),
        num_partitions: partitions,
        replication_factor: replicas,
        configs: configs.collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![wanted],
        timeout_ms: REQUEST_TIMEOUT_MS,
        ..CreateTopicsRequest::default()
    };
    let answer = connection.call(&request).await?;
    for result in answer.topics {
        let what = format!("to create topic {topic} with {partitions} partitions");
        connection.check(result.error_code, &what, result.error_message)?;
    }
    Ok(())
}

/// Deletes a topic.
pub async fn delete(connection: &mut Connection, topic: &str) -> Result<(), ClientError> {
    let mut request = DeleteTopicsRequest {
        timeout_ms: REQUEST_TIMEOUT_MS,
        ..DeleteTopicsRequest::default()
    };
    // From version 6 on a topic may be named by its id, and the field is another.
    if connection.version(&delete_topics::RANGE, i16::MAX)? >= 6 {
        let name = Some(text(topic));
        request.topics = vec![DeleteTopicState {
            name,
            ..DeleteTopicState::default()
        }];
    } else {
        request.topic_names = vec![text(topic)];
    }
    let answer = connection.call(&request).await?;
    for result in answer.responses {
        connection.check(result.error_code, &format!("to delete topic {topic}"), None)?;
    }
    Ok(())
}

/// Waits until all partitions have a leader that serves them, and says which.
///
/// Metadata alone is not enough: Kafka names a leader before that broker has opened the partition.
pub async fn await_ready(
    connection: &mut Connection,
    access: &Access,
    topic: &str,
) -> Result<Vec<Leader>, ClientError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(leaders) = leaders(connection, access, topic).await?
            && all_serve(&leaders, access, topic).await?
        {
            return Ok(leaders);
        }
        if Instant::now() > deadline {
            let what = format!("topic {topic} with a leader for each partition");
            let seconds = READY_WITHIN.as_secs();
            return Err(ClientError::Timeout {
                peer: connection.peer,
                what,
                seconds,
            });
        }
        reactor::sleep(POLL_INTERVAL).await;
    }
}

async fn leaders(
    connection: &mut Connection,
    access: &Access,
    topic: &str,
) -> Result<Option<Vec<Leader>>, ClientError> {
    let named = MetadataRequestTopic {
        name: Some(text(topic)),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![named]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let answer = connection.call(&request).await?;
    let brokers = answer.brokers.iter();
    // One whose name means nothing here can be of no use here.
    access.learn(brokers.filter_map(|broker| place(broker).ok()).collect());
    for topic in &answer.topics {
        let code = ErrorCode::from(topic.error_code);
        if code.is_retriable() {
            return Ok(None);
        }
        connection.check(topic.error_code, "to describe the topic", None)?;
    }
    Ok(group_by_leader(&answer))
}

/// Who leads the topic's partitions now, from whichever broker answers.
pub async fn find_leaders(access: &Access, topic: &str) -> Result<Vec<Leader>, ClientError> {
    let mut connection = Connection::any(access).await?;
    let found = leaders(&mut connection, access, topic).await?;
    found.ok_or_else(|| ClientError::Refused {
        peer: connection.peer,
        what: format!("the leaders of topic {topic}"),
        code: ErrorCode::LeaderNotAvailable,
        message: None,
    })
}

fn place(broker: &MetadataResponseBroker) -> Result<Endpoint, ClientError> {
    Endpoint::of(broker.host.as_str(), broker.port)
}

/// None as long as a partition has no leader that can be reached.
fn group_by_leader(metadata: &MetadataResponse) -> Option<Vec<Leader>> {
    let mut leaders: Vec<Leader> = Vec::new();
    let mut partitions: Vec<_> = metadata
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    for partition in partitions {
        let mut brokers = metadata.brokers.iter();
        let broker = brokers.find(|broker| broker.node_id == partition.leader_id)?;
        let endpoint = place(broker).ok()?;
        let mut known = leaders.iter_mut();
        match known.find(|leader| leader.endpoint == endpoint) {
            Some(leader) => leader.partitions.push(partition.partition_index),
            None => {
                let partitions = vec![partition.partition_index];
                leaders.push(Leader {
                    endpoint,
                    partitions,
                });
            }
        }
    }
    (!leaders.is_empty()).then_some(leaders)
}

async fn all_serve(leaders: &[Leader], access: &Access, topic: &str) -> Result<bool, ClientError> {
    for leader in leaders {
        let mut connection = Connection::open(&leader.endpoint, access).await?;
        let ends = offsets(&mut connection, topic, &leader.partitions, LATEST);
        if ends.await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first offset of each partition that is still there; those that nobody serves are left out.
pub async fn starts(access: &Access, topic: &str) -> Result<BTreeMap<i32, i64>, ClientError> {
    let mut starts = BTreeMap::new();
    for leader in find_leaders(access, topic).await? {
        let mut connection = Connection::open(&leader.endpoint, access).await?;
        let found = offsets(&mut connection, topic, &leader.partitions, EARLIEST).await?;
        starts.extend(found.unwrap_or_default());
    }
    Ok(starts)
}

/// Offsets of partitions, by partition, for a timestamp; none while one is not being served.
pub async fn offsets(
    connection: &mut Connection,
    topic: &str,
    partitions: &[i32],
    timestamp: i64,
) -> Result<Option<Vec<(i32, i64)>>, ClientError> {
    let partitions = partitions.iter().map(|index| ListOffsetsPartition {
        partition_index: *index,
        timestamp,
        ..ListOffsetsPartition::default()
    });
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: text(topic),
            partitions: partitions.collect(),
            ..ListOffsetsTopic::default()
        }],
        ..ListOffsetsRequest::default()
    };
    let answer = connection.call(&request).await?;
    let mut found = Vec::new();
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        if ErrorCode::from(partition.error_code).is_retriable() {
            return Ok(None);
        }
        connection.check(partition.error_code, "to list offsets", None)?;
        found.push((partition.partition_index, partition.offset));
    }
    Ok(Some(found))
}

/// Asks for a producer id.
pub async fn identify(connection: &mut Connection) -> Result<ProducerIdentity, ClientError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let answer = connection.call(&InitProducerIdRequest::default()).await?;
        let code = ErrorCode::from(answer.error_code);
        if !code.is_retriable() || Instant::now() > deadline {
            connection.check(answer.error_code, "a producer id", None)?;
            return Ok(ProducerIdentity {
                id: answer.producer_id,
                epoch: answer.producer_epoch,
            });
        }
        reactor::sleep(POLL_INTERVAL).await;
    }
}

/// A string as messages want it.
pub fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}
