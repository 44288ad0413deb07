//! ElectLeaders (43), versions 0-2, flexible from 2: give partitions to their preferred leaders
//! (type 0), or to any replica that lives (type 1, from v1).
//!
//! Errors: 84 the right one leads already, 80 the preferred replica is not there, 83 no replica may
//! lead, 3 unknown, 42 unknown type, 31 not authorised.
//!
//! Clients: Java's `kafka-leader-election.sh`, which takes 84 for a success. Null partitions mean
//! all; of those only the ones where something was done are told.

pub use kacrab_protocol::generated::elect_leaders_request::{
    ElectLeadersRequestData as ElectLeadersRequest, TopicPartitions,
};
pub use kacrab_protocol::generated::elect_leaders_response::{
    ElectLeadersResponseData as ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::ElectLeaders, 0, 2, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::since(1, Kind::Fixed(1)),
    Part::always(Kind::NullableList(&[
        Part::always(Kind::Text),
        Part::always(Kind::Values(&Kind::Fixed(4))),
    ])),
    Part::always(Kind::Fixed(4)),
];

generated_api!(ElectLeadersRequest => ElectLeadersResponse);
