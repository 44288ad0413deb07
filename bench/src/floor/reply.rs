//! The floor's few words of Kafka: one broker, any topic, any partition, no records to read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::api_versions::{ApiVersion, ApiVersionsResponse};
use spate_net::kafka::api::create_topics::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use spate_net::kafka::api::delete_topics::{DeletableTopicResult, DeleteTopicsResponse};
use spate_net::kafka::api::init_producer_id::InitProducerIdResponse;
use spate_net::kafka::api::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use spate_net::kafka::api::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use spate_net::kafka::api::produce::{
    PartitionResponse, ProduceRequest, ProduceResponse, TopicResponse,
};
use spate_net::kafka::api::{Message, decode_request};
use spate_net::kafka::error::WireError;
use spate_net::kafka::header::{Request, encode_response, parse_request};
use spate_net::kafka::versions::{ApiKey, served};

const NODE_ID: i32 = 1;
/// An answer, and when it may go.
pub enum Reply {
    /// Right away.
    AtOnce(Bytes),
    /// Once the request is on disk.
    WhenDurable(Bytes),
}

/// What the floor knows of the world.
pub struct Broker {
    address: SocketAddr,
    /// How many partitions each topic is said to have.
    topics: RefCell<HashMap<KafkaString, i32>>,
}

impl Broker {
    /// A broker that listens there.
    pub fn new(address: SocketAddr) -> Broker {
        Broker {
            address,
            topics: RefCell::default(),
        }
    }

    /// The answer to a frame; none if it is not understood.
    pub fn reply(&self, frame: &Bytes) -> Option<Reply> {
        let request = parse_request(frame).ok()?;
        self.answer(&request).ok()?
    }

    fn answer(&self, request: &Request) -> Result<Option<Reply>, WireError> {
        let (body, version) = (&request.body, request.header.version);
        let encoded = match request.header.api.key {
            ApiKey::Produce => {
                let produce = ProduceRequest::parse(body, version)?;
                let answer = written(produce).encode(version, request.header.correlation_id)?;
                return Ok(Some(Reply::WhenDurable(answer)));
            }
            ApiKey::ApiVersions => encode(request, &versions()),
            ApiKey::Metadata => encode(request, &self.metadata(&decode_request(body, version)?)),
            ApiKey::CreateTopics => encode(request, &self.create(decode_request(body, version)?)),
            ApiKey::ListOffsets => encode(request, &offsets(decode_request(body, version)?)),
            ApiKey::InitProducerId => encode(
                request,
                &InitProducerIdResponse::default().with_producer_id(1),
            ),
            ApiKey::DeleteTopics => encode(request, &self.delete()),
            _ => return Ok(None),
        };
        encoded.map(|answer| Some(Reply::AtOnce(answer)))
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: NODE_ID,
            replica_nodes: vec![NODE_ID],
            isr_nodes: vec![NODE_ID],
            ..MetadataResponsePartition::default()
        };
        let known = self.topics.borrow();
        let count = |name: &Option<KafkaString>| name.as_ref().and_then(|name| known.get(name));
        let topics = request
            .topics
            .iter()
            .flatten()
            .map(|topic| MetadataResponseTopic {
                name: topic.name.clone(),
                partitions: (0..count(&topic.name).copied().unwrap_or(1))
                    .map(partition)
                    .collect(),
                ..MetadataResponseTopic::default()
            });
        let broker = MetadataResponseBroker {
            node_id: NODE_ID,
            host: KafkaString::from(self.address.ip().to_string()),
            port: self.address.port().into(),
            ..MetadataResponseBroker::default()
        };
        MetadataResponse {
            brokers: vec![broker],
            controller_id: NODE_ID,
            topics: topics.collect(),
            ..MetadataResponse::default()
        }
    }

    fn create(&self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let mut known = self.topics.borrow_mut();
        let create = |topic: CreatableTopic| {
            known.insert(topic.name.clone(), topic.num_partitions);
            CreatableTopicResult {
                name: topic.name,
                num_partitions: topic.num_partitions,
                replication_factor: 1,
                configs: Some(Vec::new()),
                ..CreatableTopicResult::default()
            }
        };
        let topics = request.topics.into_iter().map(create);
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    /// The driver has one topic at a time.
    fn delete(&self) -> DeleteTopicsResponse {
        self.topics.borrow_mut().clear();
        DeleteTopicsResponse::default().with_responses(vec![DeletableTopicResult::default()])
    }
}

fn encode(request: &Request, body: &impl Message) -> Result<Bytes, WireError> {
    let header = &request.header;
    encode_response(header.api, header.version, header.correlation_id, body)
}

fn written(request: ProduceRequest) -> ProduceResponse {
    let topics = request.topics.into_iter().map(|topic| TopicResponse {
        topic: topic.topic,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionResponse::written(partition.index, 0, 0))
            .collect(),
    });
    ProduceResponse {
        topics: topics.collect(),
        ..ProduceResponse::default()
    }
}

fn versions() -> ApiVersionsResponse {
    let keys = served().iter().map(|api| ApiVersion {
        api_key: api.key as i16,
        min_version: api.min,
        max_version: api.max,
        ..ApiVersion::default()
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

fn offsets(request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| ListOffsetsTopicResponse {
            name: topic.name,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| ListOffsetsPartitionResponse {
                    partition_index: partition.partition_index,
                    ..ListOffsetsPartitionResponse::default()
                })
                .collect(),
            ..ListOffsetsTopicResponse::default()
        });
    ListOffsetsResponse::default().with_topics(topics.collect())
}
