//! Which leader epoch began at which offset (KIP-101). An epoch enters at its first append (S18),
//! so the table holds no epoch without records and never two that begin at one offset.

use crate::types::{LeaderEpoch, Offset};

/// Epochs and where they begin, both rising.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EpochTable {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl EpochTable {
    /// Notes that a batch of `epoch` begins at `base`; true if it is the epoch's first.
    pub fn note(&mut self, epoch: LeaderEpoch, base: Offset) -> bool {
        if self.entries.last().is_some_and(|(last, _)| *last >= epoch) {
            return false;
        }
        self.entries.push((epoch, base));
        true
    }

    /// The epoch of the last append.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The largest epoch at or below `asked`, and where it ends: at the start of the one after it,
    /// or at the log's end. What OffsetForLeaderEpoch answers.
    #[must_use]
    pub fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.entries.partition_point(|(epoch, _)| *epoch <= asked);
        let found = self.entries[..after].last()?.0;
        let end = self.entries.get(after).map_or(log_end, |(_, start)| *start);
        Some((found, end))
    }

    /// The epoch of the batch at `offset`.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        self.entries[..after].last().map(|(epoch, _)| *epoch)
    }

    /// Forgets epochs that begin at or after `end`: the log was cut there.
    pub fn truncate(&mut self, end: Offset) {
        self.entries.retain(|(_, start)| *start < end);
    }

    /// Forgets epochs that ended at or before `start`: the log begins there.
    pub fn advance_start(&mut self, start: Offset) {
        let keep = self
            .entries
            .partition_point(|(_, begin)| *begin <= start)
            .max(1)
            - 1;
        self.entries.drain(..keep.min(self.entries.len()));
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> EpochTable {
        let mut table = EpochTable::default();
        table.note(LeaderEpoch(1), Offset(0));
        table.note(LeaderEpoch(1), Offset(4));
        table.note(LeaderEpoch(4), Offset(10));
        table
    }

    #[test]
    fn epoch_ends_where_the_next_begins() {
        assert_eq!(
            table().end_of(LeaderEpoch(1), Offset(20)),
            Some((LeaderEpoch(1), Offset(10)))
        );
        assert_eq!(
            table().end_of(LeaderEpoch(3), Offset(20)),
            Some((LeaderEpoch(1), Offset(10)))
        );
        assert_eq!(
            table().end_of(LeaderEpoch(9), Offset(20)),
            Some((LeaderEpoch(4), Offset(20)))
        );
        assert_eq!(table().end_of(LeaderEpoch(0), Offset(20)), None);
    }

    #[test]
    fn cutting_forgets_only_what_lies_outside() {
        let mut cut = table();
        cut.truncate(Offset(10));
        assert_eq!(cut.entries(), [(LeaderEpoch(1), Offset(0))]);
        let mut advanced = table();
        advanced.advance_start(Offset(12));
        assert_eq!(advanced.entries(), [(LeaderEpoch(4), Offset(10))]);
        assert_eq!(table().at(Offset(9)), Some(LeaderEpoch(1)));
    }
}
