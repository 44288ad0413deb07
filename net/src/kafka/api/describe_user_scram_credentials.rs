//! DescribeUserScramCredentials (50), version 0, flexible: which users have SCRAM passwords.
//!
//! Errors per user: 91 no such user, 92 named twice; 31 not authorised.
//!
//! Clients: Java's `kafka-configs.sh --describe` of users. Null users mean all, as none do.

pub use kacrab_protocol::generated::describe_user_scram_credentials_request::{
    DescribeUserScramCredentialsRequestData as DescribeUserScramCredentialsRequest, UserName,
};
pub use kacrab_protocol::generated::describe_user_scram_credentials_response::{
    DescribeUserScramCredentialsResponseData as DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeUserScramCredentials, 0, 0, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::NullableList(&[Part::always(
    Kind::Text,
)]))];

generated_api!(DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse);
