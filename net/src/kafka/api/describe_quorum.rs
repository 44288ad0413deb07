//! DescribeQuorum (55), versions 0-2, flexible from 0: who carries the metadata, and how far.
//!
//! Errors per partition: 3 for all but partition 0 of `__cluster_metadata`; 31 not authorised.
//!
//! Clients: Java's `kafka-metadata-quorum.sh`, which shows the distance between voters.

pub use kacrab_protocol::generated::describe_quorum_request::{
    DescribeQuorumRequestData as DescribeQuorumRequest, PartitionData, TopicData,
};
pub use kacrab_protocol::generated::describe_quorum_response::{
    DescribeQuorumResponseData as DescribeQuorumResponse, Listener, Node,
    PartitionData as QuorumPartition, ReplicaState, TopicData as QuorumTopic,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeQuorum, 0, 2, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::List(&[
    Part::always(Kind::Text),
    Part::always(Kind::List(&[Part::always(Kind::Fixed(4))])),
]))];

generated_api!(DescribeQuorumRequest => DescribeQuorumResponse);
