//! Every API of the generated codec, in every version, against an independent one. Random messages
//! are made from the shapes of this test and of the crate; one codec reads and writes them, the
//! other reads what came out and writes it again, and nothing may change. Hostile bytes follow.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as their;
use kafka_protocol::protocol::{Decodable, Encodable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spate_net::kafka::api::{
    self, Call, Message, alter_configs, api_versions, create_partitions, create_topics,
    decode_request, delete_groups, delete_records, delete_topics, describe_cluster,
    describe_configs, describe_groups, find_coordinator, heartbeat, incremental_alter_configs,
    init_producer_id, join_group, leave_group, list_config_resources, list_groups, list_offsets,
    metadata, offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch, sync_group,
};
use spate_net::kafka::primitives::Writer;
use spate_net::kafka::shape::{Kind, Part, Shape, check};

mod admin_shapes;

const ROUNDS: u64 = 30;

const API_VERSIONS: Shape = &[
    Part::always(Kind::Fixed(2)),
    Part::always(Kind::List(&[Part::always(Kind::Fixed(6))])),
    Part::since(1, Kind::Fixed(4)),
];
const METADATA_PARTITION: Shape = &[
    Part::always(Kind::Fixed(10)),
    Part::since(7, Kind::Fixed(4)),
    Part::always(Kind::Values(&Kind::Fixed(4))),
    Part::always(Kind::Values(&Kind::Fixed(4))),
    Part::since(5, Kind::Values(&Kind::Fixed(4))),
];
const METADATA: Shape = &[
    Part::since(3, Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(4)),
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(4)),
        Part::since(1, Kind::NullableText(1)),
    ])),
    Part::since(2, Kind::NullableText(2)),
    Part::since(1, Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(12)),
        Part::since(10, Kind::Fixed(16)),
        Part::since(1, Kind::Bool),
        Part::always(Kind::List(METADATA_PARTITION)),
        Part::since(8, Kind::Fixed(4)),
    ])),
    Part::within(8, 10, Kind::Fixed(4)),
    Part::since(13, Kind::Fixed(2)),
];
const DELETE_RECORDS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(14))])),
    ])),
];
const LIST_OFFSETS: Shape = &[
    Part::since(2, Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(22)),
            Part::since(4, Kind::Fixed(4)),
        ])),
    ])),
];
const INIT_PRODUCER_ID: Shape = &[Part::always(Kind::Fixed(16))];
const OFFSET_FOR_LEADER_EPOCH: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(18))])),
    ])),
];
const CREATE_TOPICS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::since(7, Kind::Fixed(16)),
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
        Part::since(5, Kind::Fixed(6)),
        Part::since(
            5,
            Kind::NullableList(&[
                Part::always(Kind::Text),
                Part::always(Kind::NullableText(0)),
                Part::always(Kind::Bool),
                Part::always(Kind::Fixed(1)),
                Part::always(Kind::Bool),
            ]),
        ),
    ])),
];
const DELETE_TOPICS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::NullableText(6)),
        Part::since(6, Kind::Fixed(16)),
        Part::always(Kind::Fixed(2)),
        Part::since(5, Kind::NullableText(5)),
    ])),
];
const CREATE_PARTITIONS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
    ])),
];
const DESCRIBE_CLUSTER: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::NullableText(0)),
    Part::since(1, Kind::Fixed(1)),
    Part::always(Kind::Text),
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(4)),
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(4)),
        Part::always(Kind::NullableText(0)),
        Part::since(2, Kind::Bool),
    ])),
    Part::always(Kind::Fixed(4)),
];
const DESCRIBE_CONFIGS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::NullableText(0)),
            Part::always(Kind::Bool),
            Part::always(Kind::Fixed(1)),
            Part::always(Kind::Bool),
            Part::always(Kind::List(&[
                Part::always(Kind::Text),
                Part::always(Kind::NullableText(0)),
                Part::always(Kind::Fixed(1)),
            ])),
            Part::since(3, Kind::Fixed(1)),
            Part::since(3, Kind::NullableText(3)),
        ])),
    ])),
];
const ALTER_CONFIGS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::Text),
    ])),
];
const INCREMENTAL_ALTER_CONFIGS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::always(Kind::NullableText(0)),
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::Text),
    ])),
];
const LIST_CONFIG_RESOURCES: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::since(1, Kind::Fixed(1)),
    ])),
];
const FIND_COORDINATOR: Shape = &[
    Part::since(1, Kind::Fixed(4)),
    Part::within(0, 3, Kind::Fixed(2)),
    Part::within(1, 3, Kind::NullableText(1)),
    Part::within(0, 3, Kind::Fixed(4)),
    Part::within(0, 3, Kind::Text),
    Part::within(0, 3, Kind::Fixed(4)),
    Part::since(
        4,
        Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::Fixed(4)),
            Part::always(Kind::Text),
            Part::always(Kind::Fixed(6)),
            Part::always(Kind::NullableText(4)),
        ]),
    ),
];
const JOIN_GROUP: Shape = &[
    Part::since(2, Kind::Fixed(4)),
    Part::always(Kind::Fixed(6)),
    Part::since(7, Kind::NullableText(7)),
    Part::always(Kind::NullableText(7)),
    Part::always(Kind::Text),
    Part::since(9, Kind::Bool),
    Part::always(Kind::Text),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::since(5, Kind::NullableText(5)),
        Part::always(Kind::Bytes),
    ])),
];
const SYNC_GROUP: Shape = &[
    Part::since(1, Kind::Fixed(4)),
    Part::always(Kind::Fixed(2)),
    Part::since(5, Kind::NullableText(5)),
    Part::since(5, Kind::NullableText(5)),
    Part::always(Kind::Bytes),
];
const HEARTBEAT: Shape = &[Part::since(1, Kind::Fixed(4)), Part::always(Kind::Fixed(2))];
const LEAVE_GROUP: Shape = &[
    Part::since(1, Kind::Fixed(4)),
    Part::always(Kind::Fixed(2)),
    Part::since(
        3,
        Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::NullableText(3)),
            Part::always(Kind::Fixed(2)),
        ]),
    ),
];
const OFFSET_COMMIT: Shape = &[
    Part::since(3, Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::within(0, 9, Kind::Text),
        Part::since(10, Kind::Fixed(16)),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(6))])),
    ])),
];
const OFFSET_FETCH: Shape = &[
    Part::since(3, Kind::Fixed(4)),
    Part::within(
        0,
        7,
        Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::List(&[
                Part::always(Kind::Fixed(12)),
                Part::since(5, Kind::Fixed(4)),
                Part::always(Kind::NullableText(0)),
                Part::always(Kind::Fixed(2)),
            ])),
        ]),
    ),
    Part::within(2, 7, Kind::Fixed(2)),
    Part::since(
        8,
        Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::List(&[
                Part::within(0, 9, Kind::Text),
                Part::since(10, Kind::Fixed(16)),
                Part::always(Kind::List(&[
                    Part::always(Kind::Fixed(16)),
                    Part::always(Kind::NullableText(8)),
                    Part::always(Kind::Fixed(2)),
                ])),
            ])),
            Part::always(Kind::Fixed(2)),
        ]),
    ),
];
const LIST_GROUPS: Shape = &[
    Part::since(1, Kind::Fixed(4)),
    Part::always(Kind::Fixed(2)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Text),
        Part::since(4, Kind::Text),
        Part::since(5, Kind::Text),
    ])),
];
const DESCRIBE_GROUPS: Shape = &[
    Part::since(1, Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(2)),
        Part::since(6, Kind::NullableText(6)),
        Part::always(Kind::Text),
        Part::always(Kind::Text),
        Part::always(Kind::Text),
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::since(4, Kind::NullableText(4)),
            Part::always(Kind::Text),
            Part::always(Kind::Text),
            Part::always(Kind::Bytes),
            Part::always(Kind::Bytes),
        ])),
        Part::since(3, Kind::Fixed(4)),
    ])),
];
const DELETE_GROUPS: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(2)),
    ])),
];
const OFFSET_DELETE: Shape = &[
    Part::always(Kind::Fixed(6)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(6))])),
    ])),
];

/// A random message of a shape.
fn random_message(random: &mut StdRng, shape: Shape, version: i16, flexible: bool) -> Bytes {
    let mut writer = Writer::new(BytesMut::new(), flexible);
    write(random, shape, version, &mut writer);
    writer.buffer.freeze()
}

fn write(random: &mut StdRng, shape: Shape, version: i16, writer: &mut Writer) {
    for kind in shape.iter().filter_map(|part| part.in_version(version)) {
        write_field(random, kind, version, writer);
    }
    writer.no_tagged_fields();
}

fn write_field(random: &mut StdRng, kind: Kind, version: i16, writer: &mut Writer) {
    let is_null = random.random_bool(0.3);
    let count = random.random_range(0..4);
    match kind {
        Kind::Bool => writer.buffer.put_u8(random.random_range(0..2)),
        Kind::Fixed(bytes) => (0..bytes).for_each(|_| writer.buffer.put_u8(random.random())),
        Kind::NullableText(from) if is_null && version >= from => writer.nullable_string(None),
        Kind::Text | Kind::NullableText(_) => {
            let length = random.random_range(0..200);
            let text: String = (0..length)
                .map(|_| random.random_range('a'..='ÿ'))
                .collect();
            writer.string(&text);
        }
        Kind::Bytes => {
            let length = random.random_range(0..200);
            writer.length(Some(length));
            (0..length).for_each(|_| writer.buffer.put_u8(random.random()));
        }
        Kind::NullableList(_) | Kind::NullableValues(_) if is_null && version > 0 => {
            writer.length(None);
        }
        Kind::NullableStruct(_) if is_null => writer.i8(-1),
        Kind::NullableStruct(shape) => {
            writer.i8(1);
            write(random, shape, version, writer);
        }
        Kind::List(shape) | Kind::NullableList(shape) => {
            writer.length(Some(count));
            (0..count).for_each(|_| write(random, shape, version, writer));
        }
        Kind::Values(kind) | Kind::NullableValues(kind) => {
            writer.length(Some(count));
            (0..count).for_each(|_| write_field(random, *kind, version, writer));
        }
    }
}

/// `M` reads `body` and writes it unchanged.
fn rewritten<M: Message>(body: &Bytes, version: i16) -> Bytes {
    let mut rest = body.clone();
    let message = M::read(&mut rest, version).unwrap();
    assert!(
        rest.is_empty(),
        "version {version}: {} bytes are left",
        rest.len()
    );
    let mut out = BytesMut::new();
    message.write(&mut out, version).unwrap();
    out.freeze()
}

fn their_rewritten<T: Theirs>(body: &Bytes, version: i16) -> Bytes {
    // kafka-protocol 0.18 ends at ListOffsets 10; 11 has the same fields.
    let version = version.min(T::VERSIONS.max);
    let mut rest = body.clone();
    let message = T::decode(&mut rest, version).unwrap();
    assert!(
        rest.is_empty(),
        "version {version}: {} bytes are left",
        rest.len()
    );
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out.freeze()
}

/// A message of the other codec.
trait Theirs: Decodable + Encodable + kafka_protocol::protocol::Message {}

impl<T: Decodable + Encodable + kafka_protocol::protocol::Message> Theirs for T {}

fn check_message<M: Message, T>(random: &mut StdRng, shape: Shape, version: i16, flexible: bool)
where
    T: Theirs,
{
    let body = random_message(random, shape, version, flexible);
    let context = || format!("{} version {version}", std::any::type_name::<M>());
    assert_eq!(rewritten::<M>(&body, version), body, "{}", context());
    // kafka-protocol 0.18 knows OffsetCommit and OffsetFetch up to 9: 10 names topics by id.
    if version < 10 || T::VERSIONS.max != 9 {
        assert_eq!(their_rewritten::<T>(&body, version), body, "{}", context());
    }
    let step = 1 + body.len() / 64;
    for length in (0..body.len()).step_by(step) {
        let cut = M::read(&mut body.slice(..length), version);
        assert!(
            cut.is_err(),
            "{} cut to {length} of {}",
            context(),
            body.len()
        );
    }
}

fn check_api<R: Call, T, U>(answer: Shape)
where
    T: Theirs,
    U: Theirs,
{
    let shape = R::SHAPE.unwrap();
    for seed in 0..ROUNDS {
        let random = &mut StdRng::seed_from_u64(seed);
        for version in R::RANGE.min..=R::RANGE.max {
            let flexible = R::RANGE.is_flexible(version);
            check_message::<R, T>(random, shape, version, flexible);
            check_message::<R::Answer, U>(random, answer, version, flexible);
            hostile::<R>(random, shape, version, flexible);
        }
    }
}

/// The shape is exact, and whatever is done to the bytes, decoding answers.
fn hostile<R: Call>(random: &mut StdRng, shape: Shape, version: i16, flexible: bool) {
    let body = random_message(random, shape, version, flexible);
    assert_eq!(check(shape, &body, version, flexible).unwrap(), body.len());
    assert!(decode_request::<R>(&body, version).is_ok());
    for _ in 0..20 {
        let mut damaged = BytesMut::from(&body[..]);
        for _ in 0..random.random_range(1..4) {
            if !damaged.is_empty() {
                let position = random.random_range(0..damaged.len());
                damaged[position] = *[0, 0x7f, 0x80, 0xff, 1]
                    .get(random.random_range(0..5))
                    .unwrap();
            }
        }
        drop(decode_request::<R>(&damaged.freeze(), version));
    }
}

/// The generated codec takes null for an empty array; Kafka closes the connection.
#[test]
fn a_null_array_is_read_only_where_the_schema_has_one() {
    let null_topics = Bytes::from_static(&[0xff; 4]);
    let decode = |version| decode_request::<metadata::MetadataRequest>(&null_topics, version);
    assert!(decode(0).is_err(), "version 0 has no null");
    assert!(decode(1).unwrap().topics.is_none());
    let one_topic_without_list = Bytes::from_static(b"\0\0\0\x01\0\x01t\xff\xff\xff\xff");
    assert!(
        decode_request::<list_offsets::ListOffsetsRequest>(
            &Bytes::from([&[0xff; 4], &one_topic_without_list[..]].concat()),
            1
        )
        .is_err()
    );
}

#[test]
fn api_versions_agrees_in_every_version() {
    type Request = api_versions::ApiVersionsRequest;
    check_api::<Request, their::ApiVersionsRequest, their::ApiVersionsResponse>(API_VERSIONS);
}

#[test]
fn features_in_tagged_fields_reach_an_independent_codec() {
    let features = api_versions::ApiVersionsResponse::default()
        .with_api_keys(api_versions::advertised())
        .with_finalized_features_epoch(3)
        .with_supported_features(vec![
            api_versions::SupportedFeatureKey::default()
                .with_name("group.version".to_owned().into())
                .with_min_version(0)
                .with_max_version(1),
        ])
        .with_finalized_features(vec![
            api_versions::FinalizedFeatureKey::default()
                .with_name("group.version".to_owned().into())
                .with_max_version_level(1)
                .with_min_version_level(1),
        ]);
    let mut body = BytesMut::new();
    Message::write(&features, &mut body, 4).unwrap();
    let theirs = their::ApiVersionsResponse::decode(&mut body.freeze(), 4).unwrap();
    assert_eq!(theirs.api_keys.len(), features.api_keys.len());
    assert_eq!(theirs.supported_features[0].name.as_str(), "group.version");
    let finalized = &theirs.finalized_features[0];
    assert_eq!(
        (finalized.max_version_level, theirs.finalized_features_epoch),
        (1, 3)
    );
}

#[test]
fn metadata_agrees_in_every_version() {
    type Request = metadata::MetadataRequest;
    check_api::<Request, their::MetadataRequest, their::MetadataResponse>(METADATA);
}

#[test]
fn list_offsets_agrees_in_every_version() {
    type Request = list_offsets::ListOffsetsRequest;
    check_api::<Request, their::ListOffsetsRequest, their::ListOffsetsResponse>(LIST_OFFSETS);
}

#[test]
fn init_producer_id_agrees_in_every_version() {
    use their::{InitProducerIdRequest, InitProducerIdResponse};
    type Request = init_producer_id::InitProducerIdRequest;
    check_api::<Request, InitProducerIdRequest, InitProducerIdResponse>(INIT_PRODUCER_ID);
}

#[test]
fn offset_for_leader_epoch_agrees_in_every_version() {
    use their::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
    check_api::<
        offset_for_leader_epoch::OffsetForLeaderEpochRequest,
        OffsetForLeaderEpochRequest,
        OffsetForLeaderEpochResponse,
    >(OFFSET_FOR_LEADER_EPOCH);
}

#[test]
fn create_topics_agrees_in_every_version() {
    type Request = create_topics::CreateTopicsRequest;
    check_api::<Request, their::CreateTopicsRequest, their::CreateTopicsResponse>(CREATE_TOPICS);
}

#[test]
fn delete_topics_agrees_in_every_version() {
    type Request = delete_topics::DeleteTopicsRequest;
    check_api::<Request, their::DeleteTopicsRequest, their::DeleteTopicsResponse>(DELETE_TOPICS);
}

#[test]
fn delete_records_agrees_in_every_version() {
    type Request = delete_records::DeleteRecordsRequest;
    use their::{DeleteRecordsRequest, DeleteRecordsResponse};
    check_api::<Request, DeleteRecordsRequest, DeleteRecordsResponse>(DELETE_RECORDS);
}

#[test]
fn create_partitions_agrees_in_every_version() {
    use their::{CreatePartitionsRequest, CreatePartitionsResponse};
    type Request = create_partitions::CreatePartitionsRequest;
    check_api::<Request, CreatePartitionsRequest, CreatePartitionsResponse>(CREATE_PARTITIONS);
}

#[test]
fn describe_cluster_agrees_in_every_version() {
    use their::{DescribeClusterRequest, DescribeClusterResponse};
    type Request = describe_cluster::DescribeClusterRequest;
    check_api::<Request, DescribeClusterRequest, DescribeClusterResponse>(DESCRIBE_CLUSTER);
}

#[test]
fn describe_configs_agrees_in_every_version() {
    use their::{DescribeConfigsRequest, DescribeConfigsResponse};
    type Request = describe_configs::DescribeConfigsRequest;
    check_api::<Request, DescribeConfigsRequest, DescribeConfigsResponse>(DESCRIBE_CONFIGS);
}

#[test]
fn alter_configs_agrees_in_every_version() {
    use their::{AlterConfigsRequest, AlterConfigsResponse};
    type Request = alter_configs::AlterConfigsRequest;
    check_api::<Request, AlterConfigsRequest, AlterConfigsResponse>(ALTER_CONFIGS);
}

#[test]
fn incremental_alter_configs_agrees_in_every_version() {
    use their::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
    type Request = incremental_alter_configs::IncrementalAlterConfigsRequest;
    check_api::<Request, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse>(
        INCREMENTAL_ALTER_CONFIGS,
    );
}

#[test]
fn list_config_resources_agrees_in_every_version() {
    use their::{ListConfigResourcesRequest, ListConfigResourcesResponse};
    type Request = list_config_resources::ListConfigResourcesRequest;
    check_api::<Request, ListConfigResourcesRequest, ListConfigResourcesResponse>(
        LIST_CONFIG_RESOURCES,
    );
}

/// Administrators' requests, whose answers' shapes are in a file of their own.
mod agrees_in_every_version {
    use super::{admin_shapes::*, api, check_api, their};

    macro_rules! agree {
        ($($api:ident $request:ident $response:ident $shape:ident;)*) => {
            $(#[test]
            fn $api() {
                check_api::<api::$api::$request, their::$request, their::$response>($shape);
            })*
        };
    }

    agree! {
        describe_topic_partitions
            DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
            DESCRIBE_TOPIC_PARTITIONS;
        describe_producers
            DescribeProducersRequest DescribeProducersResponse
            DESCRIBE_PRODUCERS;
        elect_leaders
            ElectLeadersRequest ElectLeadersResponse
            ELECT_LEADERS;
        alter_partition_reassignments
            AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
            ALTER_PARTITION_REASSIGNMENTS;
        list_partition_reassignments
            ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
            LIST_PARTITION_REASSIGNMENTS;
        alter_replica_log_dirs
            AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse
            ALTER_REPLICA_LOG_DIRS;
        describe_quorum
            DescribeQuorumRequest DescribeQuorumResponse
            DESCRIBE_QUORUM;
        unregister_broker
            UnregisterBrokerRequest UnregisterBrokerResponse
            UNREGISTER_BROKER;
        update_features
            UpdateFeaturesRequest UpdateFeaturesResponse
            UPDATE_FEATURES;
        describe_client_quotas
            DescribeClientQuotasRequest DescribeClientQuotasResponse
            DESCRIBE_CLIENT_QUOTAS;
        describe_user_scram_credentials
            DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse
            DESCRIBE_USER_SCRAM_CREDENTIALS;
        describe_acls
            DescribeAclsRequest DescribeAclsResponse
            DESCRIBE_ACLS;
        create_acls
            CreateAclsRequest CreateAclsResponse
            CREATE_ACLS;
        delete_acls
            DeleteAclsRequest DeleteAclsResponse
            DELETE_ACLS;
        describe_transactions
            DescribeTransactionsRequest DescribeTransactionsResponse
            DESCRIBE_TRANSACTIONS;
        list_transactions
            ListTransactionsRequest ListTransactionsResponse
            LIST_TRANSACTIONS;
    }
}

#[test]
fn find_coordinator_agrees_in_every_version() {
    use their::{FindCoordinatorRequest, FindCoordinatorResponse};
    type Request = find_coordinator::FindCoordinatorRequest;
    check_api::<Request, FindCoordinatorRequest, FindCoordinatorResponse>(FIND_COORDINATOR);
}

#[test]
fn join_group_agrees_in_every_version() {
    use their::{JoinGroupRequest, JoinGroupResponse};
    type Request = join_group::JoinGroupRequest;
    check_api::<Request, JoinGroupRequest, JoinGroupResponse>(JOIN_GROUP);
}

#[test]
fn sync_group_agrees_in_every_version() {
    use their::{SyncGroupRequest, SyncGroupResponse};
    type Request = sync_group::SyncGroupRequest;
    check_api::<Request, SyncGroupRequest, SyncGroupResponse>(SYNC_GROUP);
}

#[test]
fn heartbeat_agrees_in_every_version() {
    use their::{HeartbeatRequest, HeartbeatResponse};
    type Request = heartbeat::HeartbeatRequest;
    check_api::<Request, HeartbeatRequest, HeartbeatResponse>(HEARTBEAT);
}

#[test]
fn leave_group_agrees_in_every_version() {
    use their::{LeaveGroupRequest, LeaveGroupResponse};
    type Request = leave_group::LeaveGroupRequest;
    check_api::<Request, LeaveGroupRequest, LeaveGroupResponse>(LEAVE_GROUP);
}

#[test]
fn offset_commit_agrees_in_every_version() {
    use their::{OffsetCommitRequest, OffsetCommitResponse};
    type Request = offset_commit::OffsetCommitRequest;
    check_api::<Request, OffsetCommitRequest, OffsetCommitResponse>(OFFSET_COMMIT);
}

#[test]
fn offset_fetch_agrees_in_every_version() {
    use their::{OffsetFetchRequest, OffsetFetchResponse};
    type Request = offset_fetch::OffsetFetchRequest;
    check_api::<Request, OffsetFetchRequest, OffsetFetchResponse>(OFFSET_FETCH);
}

#[test]
fn list_groups_agrees_in_every_version() {
    use their::{ListGroupsRequest, ListGroupsResponse};
    type Request = list_groups::ListGroupsRequest;
    check_api::<Request, ListGroupsRequest, ListGroupsResponse>(LIST_GROUPS);
}

#[test]
fn describe_groups_agrees_in_every_version() {
    use their::{DescribeGroupsRequest, DescribeGroupsResponse};
    type Request = describe_groups::DescribeGroupsRequest;
    check_api::<Request, DescribeGroupsRequest, DescribeGroupsResponse>(DESCRIBE_GROUPS);
}

#[test]
fn delete_groups_agrees_in_every_version() {
    use their::{DeleteGroupsRequest, DeleteGroupsResponse};
    type Request = delete_groups::DeleteGroupsRequest;
    check_api::<Request, DeleteGroupsRequest, DeleteGroupsResponse>(DELETE_GROUPS);
}

#[test]
fn offset_delete_agrees_in_every_version() {
    use their::{OffsetDeleteRequest, OffsetDeleteResponse};
    type Request = offset_delete::OffsetDeleteRequest;
    check_api::<Request, OffsetDeleteRequest, OffsetDeleteResponse>(OFFSET_DELETE);
}

#[test]
fn lying_lengths_are_refused_before_the_codec_sees_them() {
    type Request = metadata::MetadataRequest;
    let huge = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(decode_request::<Request>(&huge, 1).is_err());
    let huge = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x07]);
    assert!(decode_request::<Request>(&huge, 12).is_err());
    // No topics, the two flags, and tagged fields without end.
    let mut tags = BytesMut::from(&[1, 0, 0][..]);
    tags.extend_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    tags.extend_from_slice(&vec![0; 1 << 20]);
    assert!(decode_request::<Request>(&tags.freeze(), 12).is_err());
    // Really as many topics as it says, but more than anybody needs: two bytes each.
    let mut many = Writer::new(BytesMut::new(), true);
    many.length(Some(1_000_000));
    many.buffer.put_bytes(1, 20_000_000);
    assert!(decode_request::<Request>(&many.buffer.freeze(), 9).is_err());
}
