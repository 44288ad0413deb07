//! CreatePartitions (37), versions 0-3, flexible from 2.
//!
//! Errors per topic: 3 unknown, 37 the same count or fewer, 39 assignment, 42 named twice,
//! 29 not authorised, 41 not the controller, 89 quota (v3+).
//!
//! Clients: `count` is the new total, not the difference. `validate_only` creates nothing.

pub use kacrab_protocol::generated::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequestData as CreatePartitionsRequest,
    CreatePartitionsTopic,
};
pub use kacrab_protocol::generated::create_partitions_response::{
    CreatePartitionsResponseData as CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::CreatePartitions, 0, 3, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(4)),
        Part::always(Kind::NullableList(&[Part::always(Kind::Values(
            &Kind::Fixed(4),
        ))])),
    ])),
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::Bool),
];

generated_api!(CreatePartitionsRequest => CreatePartitionsResponse);
