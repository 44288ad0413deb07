//! IncrementalAlterConfigs (44), versions 0-1, flexible from 1: settings are changed one by one.
//!
//! Errors per resource: 40 an unknown key, a bad value or a list operation on what is no list, 42
//! an unknown kind, something named twice, null or a broker's setting that needs a restart, 3
//! unknown topic, 17 bad topic name.
//!
//! Clients: Java's admin client and librdkafka 2. A resource of kind 4 (broker) or 8 (its loggers)
//! goes to the broker that it names, others go to any.

pub use kacrab_protocol::generated::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
    IncrementalAlterConfigsRequestData as IncrementalAlterConfigsRequest,
};
pub use kacrab_protocol::generated::incremental_alter_configs_response::{
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsResponseData as IncrementalAlterConfigsResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::IncrementalAlterConfigs, 0, 1, 1);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::Fixed(1)),
            Part::always(Kind::NullableText(0)),
        ])),
    ])),
    Part::always(Kind::Bool),
];

/// What becomes of a setting.
pub mod operation {
    /// It has this value.
    pub const SET: i8 = 0;
    /// It has its default.
    pub const DELETE: i8 = 1;
    /// Items are added to a list.
    pub const APPEND: i8 = 2;
    /// Items are taken from a list.
    pub const SUBTRACT: i8 = 3;
}

generated_api!(IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse);
