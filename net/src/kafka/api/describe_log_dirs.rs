//! DescribeLogDirs (35), versions 1-5, flexible from 2.
//!
//! Errors: 56 for a directory that is offline, which then names no topics; 31 not authorised.
//!
//! Clients: `kafka-log-dirs.sh`, Cruise Control and the consoles, for sizes of partitions and of
//! the disk (v4+). Topics null asks for all. v5 says whether a directory takes no new replicas.

use kacrab_protocol::generated as schema;
pub use kacrab_protocol::generated::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponseData as DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type DescribeLogDirsRequest = schema::describe_log_dirs_request::DescribeLogDirsRequestData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeLogDirs, 1, 5, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::NullableList(&[
    Part::always(Kind::Text),
    Part::always(Kind::Values(&Kind::Fixed(4))),
]))];

generated_api!(DescribeLogDirsRequest => DescribeLogDirsResponse);
