//! DescribeTopicPartitions (75), version 0, flexible: Metadata in pages (KIP-966).
//!
//! Errors per topic: 3 unknown, 17 bad name, 29 not authorised; 42 for every topic if the cursor
//! makes no sense.
//!
//! Clients: Java 4's `describeTopics`, page by page until there is no next cursor. No topics mean
//! all of them. Topics come in the order of their names.

pub use kacrab_protocol::generated::describe_topic_partitions_request::{
    DescribeTopicPartitionsRequestData as DescribeTopicPartitionsRequest, TopicRequest,
};
pub use kacrab_protocol::generated::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponseData as DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeTopicPartitions, 0, 0, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::List(&[Part::always(Kind::Text)])),
    Part::always(Kind::Fixed(4)),
    Part::always(Kind::NullableStruct(&[
        Part::always(Kind::Text),
        Part::always(Kind::Fixed(4)),
    ])),
];

generated_api!(DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse);
