//! SaslHandshake (17), versions 0-1, never flexible: a client names the mechanism it is to be
//! authenticated by. From version 1 on the exchange that follows is wrapped in SaslAuthenticate.
//!
//! For clients: no broker of ours serves it yet. Errors: 33 the mechanism is not enabled (the
//! answer lists those that are), 34 not now.

use kacrab_protocol::generated::sasl_handshake_request as wire_request;
use kacrab_protocol::generated::sasl_handshake_response as wire_response;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type SaslHandshakeRequest = wire_request::SaslHandshakeRequestData;
/// The answer.
pub type SaslHandshakeResponse = wire_response::SaslHandshakeResponseData;

/// The versions that clients speak; version 0 is followed by bare tokens, which nobody needs.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::SaslHandshake, 1, 1, i16::MAX);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::Text)];

generated_api!(SaslHandshakeRequest => SaslHandshakeResponse);
