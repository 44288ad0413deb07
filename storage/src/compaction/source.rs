//! Reading the old files block by block, verified. A damaged block ends the round: what cannot be
//! read must not be dropped silently.

use super::{plan::Plan, round::CompactionError};
use crate::{
    block::SealedBlock,
    disk::Disk,
    segment::{BlockEntry, SegmentFile},
    types::Offset,
};
use std::collections::VecDeque;

/// A place in the old files.
pub(super) struct Cursor<D: Disk> {
    /// The file whose blocks come next.
    at: usize,
    file: Option<SegmentFile<D>>,
    entries: VecDeque<BlockEntry>,
    /// Only blocks with offsets from here on.
    from: Offset,
}

/// A block, and which file it is of.
pub(super) struct Found {
    pub source: usize,
    pub entry: BlockEntry,
    pub block: SealedBlock,
}

impl<D: Disk> Cursor<D> {
    pub(super) fn new(from: Offset) -> Cursor<D> {
        Cursor {
            at: 0,
            file: None,
            entries: VecDeque::new(),
            from,
        }
    }

    /// The next block of the first `files` files.
    pub(super) async fn next(
        &mut self,
        disk: &D,
        plan: &Plan,
        files: usize,
    ) -> Result<Option<Found>, CompactionError> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                let Some(file) = &self.file else {
                    return Ok(None);
                };
                let block = file.read_block(entry).await?;
                let source = self.at - 1;
                return Ok(Some(Found {
                    source,
                    entry,
                    block,
                }));
            }
            if self.at >= files.min(plan.sources.len()) {
                return Ok(None);
            }
            self.open_next(disk, plan).await?;
        }
    }

    async fn open_next(&mut self, disk: &D, plan: &Plan) -> Result<(), CompactionError> {
        let source = &plan.sources[self.at];
        self.at += 1;
        if source.row.next <= self.from {
            return Ok(());
        }
        let (path, row) = (&source.path, source.row);
        let extent = (row.end, row.next);
        let file = SegmentFile::open_closed(disk, path, row.incarnation, plan.tp, extent).await?;
        if let Some(damage) = file.damages().first() {
            return Err(CompactionError::Damaged {
                path: path.clone(),
                position: damage.start,
                reason: damage.reason.clone(),
            });
        }
        let wanted = |entry: &BlockEntry| entry.next > self.from;
        self.entries = file.entries().into_iter().filter(wanted).collect();
        self.file = Some(file);
        Ok(())
    }
}
