//! DescribeProducers (61), version 0, flexible: the idempotent producers that partitions remember.
//!
//! Errors per partition: 3 unknown, 17 bad topic name, 6 not the leader, 29 not authorised.
//!
//! Clients: Java's `kafka-transactions.sh describe-producers`.

pub use kacrab_protocol::generated::describe_producers_request::{
    DescribeProducersRequestData as DescribeProducersRequest, TopicRequest,
};
pub use kacrab_protocol::generated::describe_producers_response::{
    DescribeProducersResponseData as DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeProducers, 0, 0, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::List(&[
    Part::always(Kind::Text),
    Part::always(Kind::Values(&Kind::Fixed(4))),
]))];

generated_api!(DescribeProducersRequest => DescribeProducersResponse);
