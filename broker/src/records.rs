//! Record batches as compaction sees them: storage knows headers only, the codecs live in `net`,
//! and this is where they meet. Used by the housekeeper's thread, never by a shard.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use spate_net::kafka::record_batch::{
    BatchError, DecompressionLimits, Records as OpenBatch, Scratch, filter,
};
use spate_storage::compaction::{RecordView, Records, UnreadableBatch};

/// Opens batches in all of Kafka's codecs.
#[derive(Default)]
pub struct OpenedRecords {
    /// Only one thread ever takes it; the trait wants it shareable.
    scratch: Mutex<Scratch>,
    limits: DecompressionLimits,
}

impl Records for OpenedRecords {
    fn visit(
        &self,
        batch: &Bytes,
        see: &mut dyn FnMut(RecordView<'_>),
    ) -> Result<(), UnreadableBatch> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = OpenBatch::open(batch, &self.limits, &mut scratch).map_err(unreadable)?;
        for record in opened.iter() {
            let record = record.map_err(unreadable)?;
            see(RecordView {
                offset: record.offset,
                key: record.key,
                has_value: record.value.is_some(),
            });
        }
        Ok(())
    }

    fn filter(
        &self,
        batch: &Bytes,
        keep: &[bool],
        delete_horizon_ms: Option<i64>,
    ) -> Result<Bytes, UnreadableBatch> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let filtered = filter(batch, keep, delete_horizon_ms, &self.limits, &mut scratch);
        filtered.map_err(unreadable)
    }
}

fn unreadable(error: BatchError) -> UnreadableBatch {
    UnreadableBatch {
        reason: error.to_string(),
    }
}
