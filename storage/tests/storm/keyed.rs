//! Compacted topics in a storm: every batch there is one record, whose key follows from the batch's
//! number. Compaction asks what the keys are here, and the model what may be gone.

use super::batch::Batch;
use bytes::Bytes;
use spate_storage::{
    batch::BatchHeader,
    compaction::{RecordView, Records, UnreadableBatch},
    types::TopicId,
};

/// Few, so that nearly every batch is superseded soon.
const KEYS: u64 = 7;

/// Whether a topic is one that is compacted.
pub fn is_compacted(topic: TopicId) -> bool {
    topic.0[0].is_multiple_of(3)
}

/// The key of a batch's one record.
pub fn key_of(batch: &Batch) -> u64 {
    batch.number % KEYS
}

/// Opens the storm's batches: their number stands where Kafka has a checksum.
pub struct Keyed;

impl Records for Keyed {
    fn visit(
        &self,
        batch: &Bytes,
        see: &mut dyn FnMut(RecordView<'_>),
    ) -> Result<(), UnreadableBatch> {
        let unreadable = || UnreadableBatch {
            reason: "no batch of the storm".to_owned(),
        };
        let header = BatchHeader::parse(batch).ok_or_else(unreadable)?;
        let number = batch.get(17..21).ok_or_else(unreadable)?;
        let number = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
        let key = (u64::from(number) % KEYS).to_be_bytes();
        see(RecordView {
            offset: header.base.0,
            key: Some(&key),
            has_value: true,
        });
        Ok(())
    }

    fn filter(
        &self,
        batch: &Bytes,
        _keep: &[bool],
        _delete_horizon_ms: Option<i64>,
    ) -> Result<Bytes, UnreadableBatch> {
        // One record, of which one is kept: there are no tombstones either.
        Ok(batch.clone())
    }
}
