//! Heartbeat (12), versions 0-4, flexible from 4: a member is alive, and learns of a rebalance.
//!
//! Errors: 14/15/16 the coordinator's state, 22 another generation, 25 an unknown member, 27 a
//! rebalance has begun: join again, 82 a fenced static member.

pub use kacrab_protocol::generated::heartbeat_request::HeartbeatRequestData as HeartbeatRequest;
pub use kacrab_protocol::generated::heartbeat_response::HeartbeatResponseData as HeartbeatResponse;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::Heartbeat, 0, 4, 4);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Text),
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::Text),
    Part::since(3, Kind::NullableText(3)),
];

generated_api!(HeartbeatRequest => HeartbeatResponse);
