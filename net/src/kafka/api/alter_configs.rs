//! AlterConfigs (33), versions 0-2, flexible from 2: a thing's settings are replaced by these.
//!
//! Errors per resource: 40 an unknown key or a bad value, 42 an unknown kind, something named
//! twice, null or a broker's setting that needs a restart, 3 unknown topic, 17 bad topic name.
//!
//! Clients: deprecated since Kafka 2.3 for IncrementalAlterConfigs, because two who change at once
//! undo each other's work; kafka-python's and older tools' only way. Version 1 is version 0.

pub use kacrab_protocol::generated::alter_configs_request::{
    AlterConfigsRequestData as AlterConfigsRequest, AlterConfigsResource, AlterableConfig,
};
pub use kacrab_protocol::generated::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponseData as AlterConfigsResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::AlterConfigs, 0, 2, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::Text),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::NullableText(0)),
        ])),
    ])),
    Part::always(Kind::Bool),
];

generated_api!(AlterConfigsRequest => AlterConfigsResponse);
