//! Reading the old files block by block, verified. A damaged block, or one that does not follow the
//! one before it, ends the round: what cannot be read must not be dropped silently.

use super::{plan::Plan, round::CompactionError};
use crate::{
    block::SealedBlock,
    disk::Disk,
    journal::row::UnreadableRange,
    segment::{BlockEntry, Damage, SegmentFile},
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
        let range = (plan.start.max(row.first), row.next);
        let damage = file.damages().first().cloned();
        let damage = damage.or_else(|| file.first_break(range, plan.compacted.0, &plan.unreadable));
        let damage = damage.or_else(|| self.gap_before(plan, &file));
        if let Some(damage) = damage {
            return Err(CompactionError::Damaged {
                path: path.clone(),
                position: damage.start,
                reason: damage.reason,
            });
        }
        let wanted = |entry: &BlockEntry| entry.next > self.from;
        self.entries = file.entries().into_iter().filter(wanted).collect();
        self.file = Some(file);
        Ok(())
    }

    /// What is missing between the file just opened and where the one before it ends.
    fn gap_before(&self, plan: &Plan, file: &SegmentFile<D>) -> Option<Damage> {
        let before = self.at.checked_sub(2).map(|at| plan.sources[at].row.next);
        let base = before
            .unwrap_or(plan.sources[self.at - 1].row.first)
            .max(plan.start);
        let first = file.entries().first().copied()?;
        let next = first.base;
        let is_known = |range: &UnreadableRange| range.base <= base && next <= range.next;
        let is_hole = base < next && next > plan.compacted.0;
        let is_news = is_hole && !plan.unreadable.iter().any(is_known);
        is_news.then(|| Damage {
            start: first.position,
            end: first.position,
            base: Some(base),
            next: Some(next),
            reason: format!("offsets {base} to {next} are missing before its first block"),
        })
    }
}
