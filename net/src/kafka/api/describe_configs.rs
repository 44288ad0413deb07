//! DescribeConfigs (32), versions 1-4, flexible from 4.
//!
//! Errors per resource: 3 unknown topic, 17 bad topic name, 42 unknown resource type or a broker
//! that is not this one, 29/31 not authorised.
//!
//! Clients: null keys mean all keys; a key that does not exist is left out of the answer. From v3
//! entries carry their type, and documentation if asked for. Synonyms list where the value comes
//! from, in rising distance. Java shows `is_sensitive` values as null.

pub use kacrab_protocol::generated::describe_configs_request::{
    DescribeConfigsRequestData as DescribeConfigsRequest, DescribeConfigsResource,
};
pub use kacrab_protocol::generated::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponseData as DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeConfigs, 1, 4, 4);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[
        Part::always(Kind::Fixed(1)),
        Part::always(Kind::Text),
        Part::always(Kind::NullableValues(&Kind::Text)),
    ])),
    Part::always(Kind::Bool),
    Part::since(3, Kind::Bool),
];

/// Resource types on the wire.
pub mod resource_type {
    /// A topic.
    pub const TOPIC: i8 = 2;
    /// A broker.
    pub const BROKER: i8 = 4;
    /// A broker's log levels.
    pub const BROKER_LOGGER: i8 = 8;
    /// A client's telemetry.
    pub const CLIENT_METRICS: i8 = 16;
    /// A group.
    pub const GROUP: i8 = 32;
}

/// Where a value comes from, on the wire.
pub mod config_source {
    /// Set on the topic.
    pub const DYNAMIC_TOPIC_CONFIG: i8 = 1;
    /// Set on this broker while it ran.
    pub const DYNAMIC_BROKER_CONFIG: i8 = 2;
    /// Set for all brokers while they ran.
    pub const DYNAMIC_DEFAULT_BROKER_CONFIG: i8 = 3;
    /// From the broker's configuration file or command line.
    pub const STATIC_BROKER_CONFIG: i8 = 4;
    /// The default.
    pub const DEFAULT_CONFIG: i8 = 5;
}

/// A value's type, on the wire (v3+).
pub mod config_type {
    /// True or false.
    pub const BOOLEAN: i8 = 1;
    /// Text.
    pub const STRING: i8 = 2;
    /// 32 bits.
    pub const INT: i8 = 3;
    /// 16 bits.
    pub const SHORT: i8 = 4;
    /// 64 bits.
    pub const LONG: i8 = 5;
    /// A fraction.
    pub const DOUBLE: i8 = 6;
    /// A comma-separated list.
    pub const LIST: i8 = 7;
    /// A Java class's name.
    pub const CLASS: i8 = 8;
    /// A secret.
    pub const PASSWORD: i8 = 9;
}

generated_api!(DescribeConfigsRequest => DescribeConfigsResponse);
