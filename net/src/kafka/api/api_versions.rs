//! ApiVersions (18), versions 0-4, flexible from 3: the first thing every client asks.
//!
//! Errors: 35 for a version above ours, answered in version 0 with our ranges and the body unread;
//! 42 for a software name or version that does not match Kafka's pattern (from v3).
//!
//! Clients: Java and librdkafka ask in their highest version and step down after a 35. Older
//! librdkafka (2.x too) stops compressing when Produce's lowest version is above 0 (KAFKA-18659),
//! so that is advertised as 0. Java 4 uses KIP-848 only if `group.version` is among the finalized
//! features. v4 exists so that a feature with minimum version 0 may be named; in v3 leave such out.
//! The response's header is always version 0.

use bytes::Bytes;
use kacrab_protocol::generated as schema;
pub use kacrab_protocol::generated::api_versions_response::{
    ApiVersion, ApiVersionsResponseData as ApiVersionsResponse, FinalizedFeatureKey,
    SupportedFeatureKey,
};

use super::generated_api;
use crate::kafka::error::{ErrorCode, WireError};
use crate::kafka::header::encode_response;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange, served};

/// The request.
pub type ApiVersionsRequest = schema::api_versions_request::ApiVersionsRequestData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::ApiVersions, 0, 4, 3);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::since(3, Kind::Text), Part::since(3, Kind::Text)];

generated_api!(ApiVersionsRequest => ApiVersionsResponse);

/// The ranges of everything that is served, as the response wants them.
#[must_use]
pub fn advertised() -> Vec<ApiVersion> {
    let entry = |range: &ApiRange| {
        ApiVersion::default()
            .with_api_key(range.key as i16)
            .with_min_version(range.advertised_min)
            .with_max_version(range.max)
    };
    served().iter().map(entry).collect()
}

/// The frame for a request above our highest version: version 0, error 35, our ranges.
pub fn version_too_new(correlation_id: i32) -> Result<Bytes, WireError> {
    let response = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(advertised());
    encode_response(&RANGE, 0, correlation_id, &response)
}

/// Whether a client's software name or version is one that Kafka accepts:
/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`. The empty one is not.
#[must_use]
pub fn is_valid_software(name: &str) -> bool {
    let name = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let ends = [name.first(), name.last()];
    name.iter().all(inner)
        && ends
            .into_iter()
            .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}

/// Whether the request passes [`is_valid_software`]; versions below 3 carry no names.
#[must_use]
pub fn is_valid_request(request: &ApiVersionsRequest, version: i16) -> bool {
    version < 3
        || (is_valid_software(request.client_software_name.as_str())
            && is_valid_software(request.client_software_version.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_pattern() {
        for good in ["a", "apache-kafka-java", "4.3.0", "librdkafka", "A.b-9"] {
            assert!(is_valid_software(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a_b", "naïve", "a."] {
            assert!(!is_valid_software(bad), "{bad}");
        }
    }

    #[test]
    fn produce_is_advertised_from_version_0() {
        let produce = advertised()
            .into_iter()
            .find(|entry| entry.api_key == 0)
            .unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
    }
}
