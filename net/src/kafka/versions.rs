//! Which APIs are served in which versions: one table for the answer to ApiVersions, for dispatch,
//! and for the header's version.

use super::api::{
    alter_configs, alter_partition_reassignments, alter_replica_log_dirs, api_versions,
    create_acls, create_partitions, create_topics, delete_acls, delete_groups, delete_records,
    delete_topics, describe_acls, describe_client_quotas, describe_cluster, describe_configs,
    describe_groups, describe_log_dirs, describe_producers, describe_quorum,
    describe_topic_partitions, describe_transactions, describe_user_scram_credentials,
    elect_leaders, fetch, find_coordinator, heartbeat, incremental_alter_configs, init_producer_id,
    join_group, leave_group, list_config_resources, list_groups, list_offsets,
    list_partition_reassignments, list_transactions, metadata, offset_commit, offset_delete,
    offset_fetch, offset_for_leader_epoch, produce, sync_group, unregister_broker, update_features,
};

/// The APIs that are served or asked for, by Kafka's name and number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i16)]
#[allow(
    missing_docs,
    reason = "the names are Kafka's; each API's file says what it does"
)]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    DescribeUserScramCredentials = 50,
    DescribeQuorum = 55,
    UpdateFeatures = 57,
    DescribeCluster = 60,
    DescribeProducers = 61,
    UnregisterBroker = 64,
    DescribeTransactions = 65,
    ListTransactions = 66,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
}

/// One API's versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiRange {
    /// Which API.
    pub key: ApiKey,
    /// The lowest version that is served.
    pub min: i16,
    /// The highest version that is served.
    pub max: i16,
    /// The first version with compact lengths and tagged fields.
    pub flexible_from: i16,
    /// The lowest version that ApiVersions names.
    pub advertised_min: i16,
}

impl ApiRange {
    /// A range advertised as it is served.
    #[must_use]
    pub const fn new(key: ApiKey, min: i16, max: i16, flexible_from: i16) -> ApiRange {
        assert!(min <= max);
        ApiRange {
            key,
            min,
            max,
            flexible_from,
            advertised_min: min,
        }
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Whether `version` is served.
    #[must_use]
    pub const fn serves(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

const SERVED: &[ApiRange] = &[
    produce::RANGE,
    fetch::RANGE,
    list_offsets::RANGE,
    metadata::RANGE,
    offset_commit::RANGE,
    offset_fetch::RANGE,
    find_coordinator::RANGE,
    join_group::RANGE,
    heartbeat::RANGE,
    leave_group::RANGE,
    sync_group::RANGE,
    describe_groups::RANGE,
    list_groups::RANGE,
    api_versions::RANGE,
    create_topics::RANGE,
    delete_topics::RANGE,
    delete_records::RANGE,
    init_producer_id::RANGE,
    offset_for_leader_epoch::RANGE,
    describe_acls::RANGE,
    create_acls::RANGE,
    delete_acls::RANGE,
    describe_configs::RANGE,
    alter_configs::RANGE,
    alter_replica_log_dirs::RANGE,
    describe_log_dirs::RANGE,
    create_partitions::RANGE,
    delete_groups::RANGE,
    elect_leaders::RANGE,
    incremental_alter_configs::RANGE,
    alter_partition_reassignments::RANGE,
    list_partition_reassignments::RANGE,
    offset_delete::RANGE,
    describe_client_quotas::RANGE,
    describe_user_scram_credentials::RANGE,
    describe_quorum::RANGE,
    update_features::RANGE,
    describe_cluster::RANGE,
    describe_producers::RANGE,
    unregister_broker::RANGE,
    describe_transactions::RANGE,
    list_transactions::RANGE,
    list_config_resources::RANGE,
    describe_topic_partitions::RANGE,
];

/// Every API that is served, by rising key.
#[must_use]
pub fn served() -> &'static [ApiRange] {
    SERVED
}

/// The versions of the API with this number, if it is served.
#[must_use]
pub fn range_of(key: i16) -> Option<&'static ApiRange> {
    SERVED.iter().find(|range| range.key as i16 == key)
}
