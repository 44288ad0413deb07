//! What a switch fragment says (S16): from the moment it is durable the log consists of these files
//! up to where their generation ends, and of what it had before behind that.
//!
//! ```text
//!  fragment: base, next = the generation's first offset and its end; chain after = the old chain
//!  at its end, from which the uncompacted part goes on
//!
//!  payload, little-endian
//!  clean end i64 | number of files u32 | files, as in a row
//! ```

use super::{
    fragment::{Fragment, Kind, Reader},
    row::{FileRow, Row},
};
use crate::{
    hash::ChainHash,
    types::{Offset, TopicPartition},
};

/// A new generation takes the place of everything before its end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Switch {
    /// Its files, oldest first, flushed.
    pub files: Vec<FileRow>,
    /// Where it ends, and the old chain there.
    pub end: (Offset, ChainHash),
    /// Up to where the log is clean.
    pub clean_end: Offset,
}

impl Switch {
    /// The fragment and its payload.
    #[must_use]
    pub fn encode(&self, tp: TopicPartition) -> (Fragment, Vec<u8>) {
        let base = self.files.first().map_or(self.end.0, |file| file.first);
        let mut fragment = Fragment::plain(Kind::Switch, tp, base, self.end.0);
        fragment.chain_after = self.end.1;
        let mut payload = Vec::new();
        payload.extend_from_slice(&self.clean_end.0.to_le_bytes());
        payload.extend_from_slice(&(self.files.len() as u32).to_le_bytes());
        self.files.iter().for_each(|file| file.encode(&mut payload));
        (fragment, payload)
    }

    /// Reads it back; `None` if it is not one, although its checksum held.
    #[must_use]
    pub fn decode(fragment: &Fragment, payload: &[u8]) -> Option<Switch> {
        let mut reader = Reader(payload);
        let clean_end = Offset(reader.i64()?);
        let mut files = Vec::new();
        for _ in 0..reader.u32()? {
            files.push(FileRow::decode(&mut reader)?);
        }
        let switch = Switch {
            files,
            end: (fragment.next, fragment.chain_after),
            clean_end,
        };
        reader.0.is_empty().then_some(switch)
    }

    /// The row as it is with the switch. Applying it twice changes nothing.
    pub fn apply(&self, row: &mut Row) {
        let behind = row.files.iter().filter(|file| file.first >= self.end.0);
        let start = row.start;
        let ahead = self.files.iter().filter(|file| file.next > start);
        row.files = ahead.chain(behind).copied().collect();
        row.clean_end = self.clean_end;
        row.compacted = self.end;
        if row.flushed.0 < self.end.0 {
            row.flushed = self.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hash::Incarnation,
        segment::{Generation, SegmentName},
        types::Position,
    };

    fn file(generation: u32, first: i64, next: i64) -> FileRow {
        FileRow {
            name: SegmentName {
                generation: Generation(generation),
                base: Offset(first),
                number: 0,
            },
            incarnation: Incarnation(first as u64 + 1),
            file_bytes: 1 << 20,
            first: Offset(first),
            next: Offset(next),
            end: Position(8192),
            max_timestamp: 7,
            batch_bytes: 100,
            written_ms: 1,
        }
    }

    #[test]
    fn switch_reads_back_and_replaces_what_lies_before_its_end() {
        let switch = Switch {
            files: vec![file(1, 0, 15), file(1, 15, 30)],
            end: (Offset(30), ChainHash(5)),
            clean_end: Offset(28),
        };
        let (fragment, payload) = switch.encode(TopicPartition::default());
        assert_eq!(Switch::decode(&fragment, &payload), Some(switch.clone()));
        assert_eq!(Switch::decode(&fragment, &payload[1..]), None);
        let mut row = Row {
            start: Offset(15),
            flushed: (Offset(20), ChainHash(1)),
            files: vec![
                file(0, 0, 10),
                file(0, 10, 20),
                file(0, 20, 30),
                file(0, 30, 40),
            ],
            ..Row::default()
        };
        for _ in 0..2 {
            switch.apply(&mut row);
            let files: Vec<i64> = row.files.iter().map(|file| file.first.0).collect();
            assert_eq!(files, [15, 30]);
            assert_eq!((row.flushed.0, row.clean_end), (Offset(30), Offset(28)));
        }
    }
}
