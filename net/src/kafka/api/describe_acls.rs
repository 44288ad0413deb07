//! DescribeAcls (29), versions 1-3, flexible from 2: who may do what.
//!
//! Errors: 54 without an authorizer, 42, 31 not authorised.
//!
//! Clients: Java's `kafka-acls.sh --list`.

use kacrab_protocol::generated as schema;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type DescribeAclsRequest = schema::describe_acls_request::DescribeAclsRequestData;

/// The response.
pub type DescribeAclsResponse = schema::describe_acls_response::DescribeAclsResponseData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeAcls, 1, 3, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Fixed(1)),
    Part::always(Kind::NullableText(0)),
    Part::since(1, Kind::Fixed(1)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::Fixed(2)),
];

generated_api!(DescribeAclsRequest => DescribeAclsResponse);
