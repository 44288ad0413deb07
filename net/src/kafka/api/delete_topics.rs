//! DeleteTopics (20), versions 1-6, flexible from 4.
//!
//! Errors per topic: 3 unknown name, 100 unknown id, 73 deletion disabled, 29 not authorised,
//! 42 named twice or by name and id, 41 not the controller, 89 quota.
//!
//! Clients: v1-5 give names in `topic_names`, v6 gives `topics` by name or id (name null, or the
//! zero id). From v5 errors carry a message.

pub use kacrab_protocol::generated::delete_topics_request::{
    DeleteTopicState, DeleteTopicsRequestData as DeleteTopicsRequest,
};
pub use kacrab_protocol::generated::delete_topics_response::{
    DeletableTopicResult, DeleteTopicsResponseData as DeleteTopicsResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DeleteTopics, 1, 6, 4);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::since(
        6,
        Kind::List(&[
            Part::always(Kind::NullableText(6)),
            Part::always(Kind::Fixed(16)),
        ]),
    ),
    Part::within(1, 5, Kind::Values(&Kind::Text)),
    Part::always(Kind::Fixed(4)),
];

generated_api!(DeleteTopicsRequest => DeleteTopicsResponse);
