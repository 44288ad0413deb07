//! ApiVersions: what this broker serves. Answered before anything else is known of the client.

use spate_net::kafka::{
    KafkaString,
    api::api_versions::{
        self, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
    },
    error::ErrorCode,
    header::Request,
};

use crate::{
    connection::Closed,
    features::FEATURES,
    handler::{Answered, decode, reply, unreadable},
    image::Image,
};

/// The first version in which a feature may be supported from level 0 on; the Java client of
/// version 3 takes such for an error.
const LEVEL_0_FROM: i16 = 4;

/// Answers; a version above ours gets version 0 with error 35 and our ranges, its body unread.
pub fn answer(request: &Request, image: &Image) -> Result<Answered, Closed> {
    let Request {
        header,
        body,
        version_too_new,
    } = request;
    if *version_too_new {
        let frame = api_versions::version_too_new(header.correlation_id)
            .map_err(|error| unreadable(header, &error))?;
        return Ok(Answered::Frame {
            parts: vec![frame],
            memory: None,
        });
    }
    let asked: ApiVersionsRequest = decode(header, body)?;
    let response = if api_versions::is_valid_request(&asked, header.version) {
        with_features(header.version, image).with_api_keys(api_versions::advertised())
    } else {
        ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code())
    };
    reply(header, &response)
}

fn with_features(version: i16, image: &Image) -> ApiVersionsResponse {
    let shown = FEATURES
        .iter()
        .filter(|feature| feature.level > 0 || version >= LEVEL_0_FROM);
    let supported = shown.map(|feature| {
        SupportedFeatureKey::default()
            .with_name(KafkaString::from_static(feature.name))
            .with_min_version(feature.level)
            .with_max_version(feature.level)
    });
    let used = FEATURES.iter().filter(|feature| feature.level > 0);
    let finalized = used.map(|feature| {
        FinalizedFeatureKey::default()
            .with_name(KafkaString::from_static(feature.name))
            .with_min_version_level(feature.level)
            .with_max_version_level(feature.level)
    });
    ApiVersionsResponse::default()
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(image.metadata.offset)
}
