//! InitProducerId (22), versions 0-5, flexible from 2: an idempotent producer's id and epoch.
//!
//! Errors: 53 transactional id not authorised, 50 timeout above the maximum, 42 an empty
//! transactional id, 47/90 fenced epoch (90 from v4), 51 a transaction in the way, 14/15/16 the
//! coordinator's state.
//!
//! Clients: Java from 3.0 on asks at the start of every producer, since idempotence is its default.
//! From v3 a client may name the id and epoch it had and gets the epoch after it. v6 (two-phase
//! commit) is in the schema but not served.

use kacrab_protocol::generated as schema;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type InitProducerIdRequest = schema::init_producer_id_request::InitProducerIdRequestData;
/// The response.
pub type InitProducerIdResponse = schema::init_producer_id_response::InitProducerIdResponseData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::InitProducerId, 0, 5, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::NullableText(0)),
    Part::always(Kind::Fixed(4)),
    Part::since(3, Kind::Fixed(8)),
    Part::since(3, Kind::Fixed(2)),
];

generated_api!(InitProducerIdRequest => InitProducerIdResponse);
