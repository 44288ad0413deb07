//! CreateTopics (19), versions 2-7, flexible from 5.
//!
//! Errors per topic: 36 exists, 37 partitions, 38 replication factor, 39 assignment, 40 config,
//! 17 name (also one that differs from another only in `.` and `_`), 44 policy, 42 named twice or
//! both an assignment and counts, 31/29 not authorised, 41 not the controller, 89 quota.
//!
//! Clients: from v4 -1 partitions or replicas mean the broker's default; before that they are
//! errors. `validate_only` checks and creates nothing. From v5 the answer carries counts and
//! configs, from v7 the topic's id. `topic_config_error_code` is a tagged field: 29 hides configs.

pub use kacrab_protocol::generated::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
    CreateTopicsRequestData as CreateTopicsRequest,
};
pub use kacrab_protocol::generated::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponseData as CreateTopicsResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::CreateTopics, 2, 7, 5);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(6)),
        Part::always(Kind::List(&[
            Part::always(Kind::Fixed(4)),
            Part::always(Kind::Values(&Kind::Fixed(4))),
        ])),
        Part::always(Kind::List(&[
            Part::always(Kind::Text),
            Part::always(Kind::NullableText(0)),
        ])),
    ])),
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::Bool),
];

generated_api!(CreateTopicsRequest => CreateTopicsResponse);
