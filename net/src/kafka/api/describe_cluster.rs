//! DescribeCluster (60), versions 0-2, flexible from 0.
//!
//! Errors: 114 the endpoint type asked for is not that of this listener, 115 an unknown one (v1+:
//! 1 brokers, 2 controllers), 31 not authorised.
//!
//! Clients: Java's admin client for `kafka-cluster.sh` and `describeCluster()`. v2 may ask for
//! fenced brokers too. -2147483648 stands for "authorised operations not asked".

use kacrab_protocol::generated as schema;
pub use kacrab_protocol::generated::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponseData as DescribeClusterResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type DescribeClusterRequest = schema::describe_cluster_request::DescribeClusterRequestData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeCluster, 0, 2, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Bool),
    Part::since(1, Kind::Fixed(1)),
    Part::since(2, Kind::Bool),
];

generated_api!(DescribeClusterRequest => DescribeClusterResponse);
