//! Produce (0), versions 3-13, flexible from 9; advertised from 0. Parsed in place: records are
//! slices of the frame.
//!
//! Versions: 5 log start offset; 7 zstd allowed; 8 record errors and a message; 10 the new leader
//! with its endpoint; 11 TRANSACTION_ABORTABLE (120); 12 adds partitions to transactions by itself;
//! 13 topic ids.
//!
//! Errors: 21 acks other than -1, 0, 1; 87 not exactly one sound v2 batch (see `record_batch`),
//! a control batch, or a record without key in a compacted topic (with record errors from v8);
//! 2 bad CRC; 76 zstd below v7; 10 batch above `max.message.bytes`; 18 above the segment size;
//! 32 timestamp out of range; 3 unknown topic, 100 unknown id; 6 not the leader; 17 internal topic;
//! 29 not authorised; 45 sequence gap; 47 old producer epoch; 48 transaction state; 19/20 too few
//! replicas. Never -1 to an idempotent producer (KAFKA-14034: it would write twice).
//!
//! Clients: with acks=0 they expect no answer, and an error closes the socket. Versions 0-2 are
//! advertised for librdkafka's sake (KAFKA-18659) but not served, as in Kafka 4. A request may name
//! no topics, or a partition with null records. A duplicate among the producer's last five batches
//! is answered with no error and the original offset.

mod request;
mod response;

pub use request::{PartitionData, ProduceRequest, TopicData};
pub use response::{PartitionResponse, ProduceResponse, RecordError, TopicResponse};

use bytes::Bytes;

use super::Call;
use crate::kafka::error::WireError;
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange {
    advertised_min: 0,
    ..ApiRange::new(ApiKey::Produce, 3, 13, 9)
};

/// The first version that names topics by id.
pub const IDS_FROM: i16 = 13;

/// The first version in which a client may send zstd.
pub const ZSTD_FROM: i16 = 7;

impl Call for ProduceRequest {
    const RANGE: ApiRange = RANGE;
    type Answer = ProduceResponse;

    fn frame(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<Vec<Bytes>, WireError> {
        self.encode(version, correlation_id, client_id)
    }
}
