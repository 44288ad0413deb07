//! AlterReplicaLogDirs (34), versions 1-2, flexible from 2: move replicas between a broker's
//! directories.
//!
//! Errors per partition: 57 no such directory, 3 unknown, 31 not authorised.
//!
//! Clients: Java's `kafka-reassign-partitions.sh` with log dirs, before and after the move itself.

pub use kacrab_protocol::generated::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
    AlterReplicaLogDirsRequestData as AlterReplicaLogDirsRequest,
};
pub use kacrab_protocol::generated::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
    AlterReplicaLogDirsResponseData as AlterReplicaLogDirsResponse,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::AlterReplicaLogDirs, 1, 2, 2);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::List(&[
    Part::always(Kind::Text),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::Values(&Kind::Fixed(4))),
    ])),
]))];

generated_api!(AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse);
