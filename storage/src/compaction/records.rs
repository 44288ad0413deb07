//! What compaction asks of whoever can look into a batch: storage knows headers only, and must not
//! depend on codecs.

use bytes::Bytes;

/// One record, as far as compaction looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Whether it has a value; one without is a tombstone.
    pub has_value: bool,
}

/// A batch whose records cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct UnreadableBatch {
    /// What is wrong with it.
    pub reason: String,
}

/// Opens batches and takes records out of them. Called on the housekeeper's thread only.
pub trait Records: Send + Sync {
    /// Shows every record of a whole batch, in order.
    fn visit(
        &self,
        batch: &Bytes,
        see: &mut dyn FnMut(RecordView<'_>),
    ) -> Result<(), UnreadableBatch>;

    /// The batch with only those of its records for which `keep` holds, by their place in it; at
    /// least one. Offsets, timestamps, headers, codec, producer and the last offset stay as they
    /// are. With a horizon the batch says from then on when its tombstones may go: Kafka's delete
    /// horizon, in place of the base timestamp (KIP-534).
    fn filter(
        &self,
        batch: &Bytes,
        keep: &[bool],
        delete_horizon_ms: Option<i64>,
    ) -> Result<Bytes, UnreadableBatch>;
}
