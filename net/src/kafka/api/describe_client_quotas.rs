//! DescribeClientQuotas (48), versions 0-1, flexible from 1: the quotas of users, clients and
//! addresses.
//!
//! Errors: 35 an unknown kind of entity, 42 a filter without sense, 31 not authorised.
//!
//! Clients: Java's `kafka-configs.sh --describe` of users, clients and IP addresses.

pub use kacrab_protocol::generated::describe_client_quotas_request::{
    ComponentData, DescribeClientQuotasRequestData as DescribeClientQuotasRequest,
};
pub use kacrab_protocol::generated::describe_client_quotas_response::{
    DescribeClientQuotasResponseData as DescribeClientQuotasResponse, EntryData,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeClientQuotas, 0, 1, 1);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::NullableText(0)),
    ])),
    Part::always(Kind::Bool),
];

generated_api!(DescribeClientQuotasRequest => DescribeClientQuotasResponse);
