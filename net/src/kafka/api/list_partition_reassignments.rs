//! ListPartitionReassignments (46), version 0, flexible: partitions on the move.
//!
//! Errors: 31 not authorised. What does not move, or is not there, is left out.
//!
//! Clients: Java's `kafka-reassign-partitions.sh --list` and `kafka-topics.sh --describe`, for each
//! topic.

pub use kacrab_protocol::generated::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequestData as ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsTopics,
};
pub use kacrab_protocol::generated::list_partition_reassignments_response::{
    ListPartitionReassignmentsResponseData as ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::ListPartitionReassignments, 0, 0, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::NullableList(&[
        Part::always(Kind::Text),
        Part::always(Kind::Values(&Kind::Fixed(4))),
    ])),
];

generated_api!(ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse);
