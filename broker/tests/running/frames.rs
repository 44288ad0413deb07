//! Sound requests of every served API in every version, some with content.

use spate_net::kafka::{
    api::{
        self, Call, TopicRef,
        api_versions::ApiVersionsRequest,
        create_topics::{CreatableTopic, CreateTopicsRequest},
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
        metadata::{MetadataRequest, MetadataRequestTopic},
        produce::{PartitionData, ProduceRequest, TopicData},
    },
    header::encode_request,
    record_batch::{BatchBuilder, Codec, NewRecord},
    versions::{ApiKey, served},
};

use super::group_frames::{group_frame, taken_frames};

/// Sound frames of every served API in every version, some with content.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for range in served() {
        for version in range.min..=range.max {
            frames.push(frame_of(range.key, version));
        }
    }
    frames.extend(taken_frames());
    frames
}

/// One request, its size in front.
pub fn frame_of(key: ApiKey, version: i16) -> Vec<u8> {
    let name = || String::from("fuzz").into();
    match key {
        ApiKey::Produce => produce_frame(version),
        ApiKey::Fetch => fetch_frame(version),
        ApiKey::Metadata => {
            let topic = MetadataRequestTopic::default().with_name(Some(name()));
            let asked = MetadataRequest::default().with_topics(Some(vec![topic]));
            bare(version, &asked)
        }
        ApiKey::CreateTopics => {
            let topic = CreatableTopic::default()
                .with_name(name())
                .with_num_partitions(2)
                .with_replication_factor(1);
            let asked = CreateTopicsRequest::default().with_topics(vec![topic]);
            bare(version, &asked)
        }
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default()
                .with_name(name())
                .with_partitions(vec![partition]);
            let asked = ListOffsetsRequest::default().with_topics(vec![topic]);
            bare(version, &asked)
        }
        ApiKey::ApiVersions => {
            let asked = ApiVersionsRequest::default()
                .with_client_software_name(String::from("fuzz").into())
                .with_client_software_version(String::from("1.0").into());
            bare(version, &asked)
        }
        _ => group_frame(key, version).unwrap_or_else(|| bare_frame(key, version)),
    }
}

/// A request without content.
fn bare_frame(key: ApiKey, version: i16) -> Vec<u8> {
    macro_rules! empty {
        ($($key:ident $api:ident $request:ident;)*) => {
            match key {
                $(ApiKey::$key => bare(version, &api::$api::$request::default()),)*
                _ => panic!("{key:?} has a frame of its own"),
            }
        };
    }
    empty! {
        AlterConfigs alter_configs AlterConfigsRequest;
        AlterPartitionReassignments alter_partition_reassignments
            AlterPartitionReassignmentsRequest;
        AlterReplicaLogDirs alter_replica_log_dirs AlterReplicaLogDirsRequest;
        CreateAcls create_acls CreateAclsRequest;
        CreatePartitions create_partitions CreatePartitionsRequest;
        DeleteAcls delete_acls DeleteAclsRequest;
        DeleteRecords delete_records DeleteRecordsRequest;
        DeleteTopics delete_topics DeleteTopicsRequest;
        DescribeAcls describe_acls DescribeAclsRequest;
        DescribeClientQuotas describe_client_quotas DescribeClientQuotasRequest;
        DescribeCluster describe_cluster DescribeClusterRequest;
        DescribeConfigs describe_configs DescribeConfigsRequest;
        DescribeLogDirs describe_log_dirs DescribeLogDirsRequest;
        DescribeProducers describe_producers DescribeProducersRequest;
        DescribeQuorum describe_quorum DescribeQuorumRequest;
        DescribeTopicPartitions describe_topic_partitions DescribeTopicPartitionsRequest;
        DescribeTransactions describe_transactions DescribeTransactionsRequest;
        DescribeUserScramCredentials describe_user_scram_credentials
            DescribeUserScramCredentialsRequest;
        ElectLeaders elect_leaders ElectLeadersRequest;
        IncrementalAlterConfigs incremental_alter_configs IncrementalAlterConfigsRequest;
        InitProducerId init_producer_id InitProducerIdRequest;
        ListConfigResources list_config_resources ListConfigResourcesRequest;
        ListPartitionReassignments list_partition_reassignments ListPartitionReassignmentsRequest;
        ListTransactions list_transactions ListTransactionsRequest;
        OffsetForLeaderEpoch offset_for_leader_epoch OffsetForLeaderEpochRequest;
        UnregisterBroker unregister_broker UnregisterBrokerRequest;
        UpdateFeatures update_features UpdateFeaturesRequest;
    }
}

/// A frame of this request.
pub fn bare<R: Call>(version: i16, asked: &R) -> Vec<u8> {
    encode_request(&R::RANGE, version, 1, Some("f"), asked)
        .unwrap()
        .to_vec()
}

fn produce_frame(version: i16) -> Vec<u8> {
    let codec = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4][version as usize % 4];
    let mut builder = BatchBuilder::new(codec);
    for number in 0..3 {
        let value = format!("value {number}").into_bytes();
        builder.append(&NewRecord {
            timestamp: 1_700_000_000_000,
            value: Some(&value),
            ..NewRecord::default()
        });
    }
    let records = builder.finish(None).unwrap();
    let topic = if version >= 13 {
        TopicRef::Id(spate_net::kafka::KafkaUuid::ONE)
    } else {
        TopicRef::Name(String::from("fuzz").into())
    };
    let partitions = vec![PartitionData { index: 0, records }];
    let asked = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topics: vec![TopicData { topic, partitions }],
        ..ProduceRequest::default()
    };
    asked.encode(version, 1, Some("f")).unwrap().concat()
}

fn fetch_frame(version: i16) -> Vec<u8> {
    let topic = if version >= 13 {
        TopicRef::Id(spate_net::kafka::KafkaUuid::ONE)
    } else {
        TopicRef::Name(String::from("fuzz").into())
    };
    let partitions = vec![FetchPartition {
        max_bytes: 1 << 20,
        ..FetchPartition::default()
    }];
    let asked = FetchRequest {
        max_bytes: 1 << 20,
        topics: vec![FetchTopic { topic, partitions }],
        ..FetchRequest::default()
    };
    asked.encode(version, 1, Some("f")).unwrap().to_vec()
}

/// A body behind its size.
pub fn with_size(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}
