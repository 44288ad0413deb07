//! CreateAcls (30), versions 1-3, flexible from 2: let somebody do something, or forbid it.
//!
//! Errors per rule: 54 without an authorizer, 42, 31 not authorised.
//!
//! Clients: Java's `kafka-acls.sh --add`.

pub use kacrab_protocol::generated::create_acls_request::{
    AclCreation, CreateAclsRequestData as CreateAclsRequest,
};
pub use kacrab_protocol::generated::create_acls_response::{
    AclCreationResult, CreateAclsResponseData as CreateAclsResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::CreateAcls, 1, 3, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::List(&[
    Part::always(Kind::Fixed(1)),
    Part::always(Kind::Text),
    Part::since(1, Kind::Fixed(1)),
    Part::always(Kind::Text),
    Part::always(Kind::Text),
    Part::always(Kind::Fixed(2)),
]))];

generated_api!(CreateAclsRequest => CreateAclsResponse);
