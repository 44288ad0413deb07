//! ListConfigResources (74), versions 0-1, flexible from 0: what has settings.
//!
//! Errors: 35 a kind that cannot be listed, 31 not authorised.
//!
//! Clients: Java's `kafka-client-metrics.sh` and `kafka-configs.sh`. Version 0 was called
//! ListClientMetricsResources and lists those only; in version 1 no kinds mean all kinds.

use kacrab_protocol::generated as schema;
pub use kacrab_protocol::generated::list_config_resources_response::{
    ConfigResource, ListConfigResourcesResponseData as ListConfigResourcesResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type ListConfigResourcesRequest =
    schema::list_config_resources_request::ListConfigResourcesRequestData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::ListConfigResources, 0, 1, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::since(1, Kind::Values(&Kind::Fixed(1)))];

generated_api!(ListConfigResourcesRequest => ListConfigResourcesResponse);
