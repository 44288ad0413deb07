//! UnregisterBroker (64), version 0, flexible: forget a broker that is gone for good.
//!
//! Errors: 102 no such broker, 31 not authorised.
//!
//! Clients: Java's `kafka-cluster.sh unregister`.

use kacrab_protocol::generated as schema;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type UnregisterBrokerRequest = schema::unregister_broker_request::UnregisterBrokerRequestData;

/// The response.
pub type UnregisterBrokerResponse =
    schema::unregister_broker_response::UnregisterBrokerResponseData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::UnregisterBroker, 0, 0, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::Fixed(4))];

generated_api!(UnregisterBrokerRequest => UnregisterBrokerResponse);
