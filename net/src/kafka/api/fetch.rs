//! Fetch (1), versions 4-18, flexible from 12. Parsed in place; the answer is encoded around slices
//! of stored batches, which go to the socket as they lie in the log.
//!
//! Versions: 5 log start offset; 7 sessions (KIP-227); 9 current leader epoch; 10 zstd; 11 rack and
//! preferred replica; 12 last fetched epoch and diverging epoch, cluster id; 13 topic ids;
//! 15 replica state in place of the replica id; 16 node endpoints; 17 replica's directory;
//! 18 replica's high watermark.
//!
//! Errors per partition: 1 offset out of range, 3 unknown topic, 100 unknown id, 103 id of another
//! topic, 6 not the leader, 74/75 leader epoch older/newer, 29 not authorised, 2 corrupt
//! (76 no more: Kafka 4 gives zstd to every version). For the whole answer (v7+): 70 unknown
//! session, 71 session epoch, 106 names and ids mixed in a session.
//!
//! Clients: records are empty, never null, where there are none (old clients trip over null).
//! The first partition that has data gets at least one whole batch, even above the limits, and an
//! offset inside a batch gets the whole batch. session epoch -1 and 0 bring a full list; 0 asks for
//! a new session. In an incremental answer unchanged partitions are left out.

mod request;
mod response;

pub use request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
pub use response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, PartitionResponse, SnapshotId, TopicResponse,
};

use super::Call;
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::Fetch, 4, 18, 12);

/// The first version that names topics by id.
pub const IDS_FROM: i16 = 13;
/// Sessions and the error of the whole answer.
const SESSIONS_FROM: i16 = 7;
const LOG_START_FROM: i16 = 5;

/// Session epoch of a request outside any session, which also ends the session it names.
pub const FINAL_EPOCH: i32 = -1;
/// Session epoch of a request that asks for a new session.
pub const INITIAL_EPOCH: i32 = 0;

/// Isolation level: everything below the high watermark.
pub const READ_UNCOMMITTED: i8 = 0;
/// Isolation level: everything below the last stable offset, aborted transactions listed.
pub const READ_COMMITTED: i8 = 1;

impl Call for FetchRequest {
    const RANGE: ApiRange = RANGE;
    type Answer = FetchResponse;
}
