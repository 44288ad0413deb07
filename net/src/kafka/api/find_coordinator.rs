//! FindCoordinator (10), versions 0-6, flexible from 3: which broker coordinates a group, a
//! transaction or a share group.
//!
//! Errors: 15 while the coordinator's topic is being made, 24 for a group id that cannot be, 42
//! for an unknown kind of key, 30 and 53 not authorised. v1-3 have a text beside the error.
//!
//! Clients: v4 asks for many keys at once and is answered key by key; key types are 0 group, 1
//! transaction, 2 share group (v6).

pub use kacrab_protocol::generated::{
    find_coordinator_request::FindCoordinatorRequestData as FindCoordinatorRequest,
    find_coordinator_response::{
        Coordinator, FindCoordinatorResponseData as FindCoordinatorResponse,
    },
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::FindCoordinator, 0, 6, 3);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::within(0, 3, Kind::Text),
    Part::since(1, Kind::Fixed(1)),
    Part::since(4, Kind::Values(&Kind::Text)),
];

generated_api!(FindCoordinatorRequest => FindCoordinatorResponse);
