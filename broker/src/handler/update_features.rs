//! UpdateFeatures: each feature has one level that is supported, so that to ask for it is no
//! change and to ask for another is an error. One error refuses all.

use spate_net::kafka::{
    KafkaString,
    api::update_features::{
        FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
    },
    error::ErrorCode,
};

use crate::features::FEATURES;

/// May only raise; may lower without loss; may lower.
const UPGRADE_TYPES: std::ops::RangeInclusive<i8> = 1..=3;

/// The first version without results of their own for the features.
const NO_RESULTS_FROM: i16 = 2;

/// Answers.
pub fn answer(version: i16, asked: &UpdateFeaturesRequest, node_id: i32) -> UpdateFeaturesResponse {
    let checked = asked
        .feature_updates
        .iter()
        .try_for_each(|update| check(version, update, node_id));
    if let Err(reason) = checked {
        let text = format!(
            "The update failed for all features since the following feature had an error: \
             {reason}"
        );
        return UpdateFeaturesResponse::default()
            .with_error_code(ErrorCode::InvalidUpdateVersion.code())
            .with_error_message(Some(text.into()));
    }
    let results = if version < NO_RESULTS_FROM {
        let updates = asked.feature_updates.iter();
        updates.map(|update| done(&update.feature)).collect()
    } else {
        Vec::new()
    };
    UpdateFeaturesResponse::default().with_results(results)
}

fn check(version: i16, update: &FeatureUpdateKey, node_id: i32) -> Result<(), String> {
    let (name, level) = (update.feature.as_str(), update.max_version_level);
    let invalid = |reason: String| {
        Err(format!(
            "Invalid update version {level} for feature {name}. {reason}"
        ))
    };
    let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
        return invalid(match level {
            0 => format!("Feature {name} not found."),
            _ => format!("Local controller {node_id} does not support this feature."),
        });
    };
    if version > 0 && !UPGRADE_TYPES.contains(&update.upgrade_type) {
        return invalid("The controller does not support the given upgrade type.".into());
    }
    if level == feature.level {
        return Ok(());
    }
    let only = feature.level;
    invalid(format!(
        "Local controller {node_id} only supports versions {only}-{only}"
    ))
}

fn done(feature: &KafkaString) -> UpdatableFeatureResult {
    UpdatableFeatureResult::default()
        .with_feature(feature.clone())
        .with_error_message(Some(KafkaString::from_static("NONE")))
}
