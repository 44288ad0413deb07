//! UpdateFeatures (57), versions 0-2, flexible from 0: what the cluster may use.
//!
//! Errors: 95 a level that cannot be, 96 the update failed, 42, 31 not authorised. One bad feature
//! refuses all, with the error on top; v0 and v1 list the features if none is bad.
//!
//! Clients: Java's `kafka-features.sh upgrade|downgrade|disable`. Upgrade type 1 may only raise a
//! level, 2 may lower it if that loses nothing, 3 in any case; v0 has a flag instead.

pub use kacrab_protocol::generated::update_features_request::{
    FeatureUpdateKey, UpdateFeaturesRequestData as UpdateFeaturesRequest,
};
pub use kacrab_protocol::generated::update_features_response::{
    UpdatableFeatureResult, UpdateFeaturesResponseData as UpdateFeaturesResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::UpdateFeatures, 0, 2, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(2)),
        Part::within(0, 0, Kind::Bool),
        Part::since(1, Kind::Fixed(1)),
    ])),
    Part::since(1, Kind::Bool),
];

generated_api!(UpdateFeaturesRequest => UpdateFeaturesResponse);
