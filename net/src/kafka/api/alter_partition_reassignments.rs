//! AlterPartitionReassignments (45), versions 0-1, flexible from 0: move partitions to other nodes.
//!
//! Errors per partition: 3 unknown, 39 brokers that cannot be, 85 nothing to cancel, 38 another
//! number of replicas where v1 forbids it, 31 not authorised.
//!
//! Clients: Java's `kafka-reassign-partitions.sh`. Null replicas cancel a move.

pub use kacrab_protocol::generated::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequestData as AlterPartitionReassignmentsRequest,
    ReassignablePartition, ReassignableTopic,
};
pub use kacrab_protocol::generated::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponseData as AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::AlterPartitionReassignments, 0, 1, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::since(1, Kind::Bool),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(4)),
            Part::always(Kind::NullableValues(&Kind::Fixed(4))),
        ])),
    ])),
];

generated_api!(AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse);
