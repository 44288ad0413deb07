//! DeleteAcls (31), versions 1-3, flexible from 2: take rules back.
//!
//! Errors per filter: 54 without an authorizer, 42, 31 not authorised.
//!
//! Clients: Java's `kafka-acls.sh --remove`.

pub use kacrab_protocol::generated::delete_acls_request::{
    DeleteAclsFilter, DeleteAclsRequestData as DeleteAclsRequest,
};
pub use kacrab_protocol::generated::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsResponseData as DeleteAclsResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DeleteAcls, 1, 3, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::List(&[
    Part::always(Kind::Fixed(1)),
    Part::always(Kind::NullableText(0)),
    Part::since(1, Kind::Fixed(1)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::Fixed(2)),
]))];

generated_api!(DeleteAclsRequest => DeleteAclsResponse);
