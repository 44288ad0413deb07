//! SaslAuthenticate (36), versions 0-2, flexible from 2: one step of the exchange that
//! SaslHandshake has begun.
//!
//! For clients: no broker of ours serves it yet. Errors: 58 the credentials are wrong, 34 the
//! exchange is not at this point. The answer of version 1 says how long the session lasts.

use kacrab_protocol::generated::sasl_authenticate_request as wire_request;
use kacrab_protocol::generated::sasl_authenticate_response as wire_response;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type SaslAuthenticateRequest = wire_request::SaslAuthenticateRequestData;
/// The answer.
pub type SaslAuthenticateResponse = wire_response::SaslAuthenticateResponseData;

/// The versions that clients speak.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::SaslAuthenticate, 0, 2, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::Bytes)];

generated_api!(SaslAuthenticateRequest => SaslAuthenticateResponse);
