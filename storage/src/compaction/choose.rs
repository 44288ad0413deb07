//! How much a log wants to be compacted, by Kafka's rules: the share of it that is dirty, and the
//! bounds on how young and how old a dirty record may be.

use super::plan::group_segments;
use crate::{journal::row::FileRow, types::Offset};

/// A topic's rules, and the node's for all of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CompactionRules {
    /// Share of the log that must be dirty (`min.cleanable.dirty.ratio`).
    pub min_dirty_ratio: f64,
    /// A record younger than this is not compacted (`min.compaction.lag.ms`).
    pub min_lag_ms: i64,
    /// A record older than this is compacted whatever the ratio (`max.compaction.lag.ms`).
    pub max_lag_ms: i64,
    /// How long tombstones stay once they are clean (`delete.retention.ms`).
    pub delete_retention_ms: i64,
    /// Size of a Kafka segment (`segment.bytes`).
    pub segment_bytes: u64,
    /// Memory for keys (`log.cleaner.dedupe.buffer.size`).
    pub key_memory_bytes: usize,
    /// How full that may become (`log.cleaner.io.buffer.load.factor`).
    pub key_load: f64,
    /// Bytes read and written in a second at most (`log.cleaner.io.max.bytes.per.second`).
    pub bytes_per_second: f64,
}

/// What of a log is clean, dirty, and neither yet.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Dirtiness {
    /// Bytes of files that earlier rounds have cleaned, at least in part.
    pub clean_bytes: u64,
    /// Bytes of files that a round now would clean.
    pub dirty_bytes: u64,
    /// Where a round now would end.
    pub end: Offset,
}

impl Dirtiness {
    /// Of the files of closed Kafka segments, oldest first, with the part up to `clean_end` clean.
    /// Segments with a record that is too young end it.
    #[must_use]
    pub fn of(files: &[FileRow], clean_end: Offset, now_ms: i64, min_lag_ms: i64) -> Dirtiness {
        let mut found = Dirtiness {
            end: clean_end,
            ..Dirtiness::default()
        };
        for segment in files.chunk_by(|a, b| a.name.base == b.name.base) {
            let next = segment.last().map_or(clean_end, |file| file.next);
            let newest_ms = segment.iter().map(|file| file.max_timestamp).max();
            let is_young = newest_ms.is_some_and(|ms| ms > now_ms.saturating_sub(min_lag_ms));
            if min_lag_ms > 0 && is_young && next > clean_end {
                return found;
            }
            for file in segment {
                // As Kafka counts: a segment that is clean in part is clean.
                if file.first < clean_end {
                    found.clean_bytes += file.batch_bytes;
                } else {
                    found.dirty_bytes += file.batch_bytes;
                }
            }
            found.end = next;
        }
        found
    }

    /// Share of it that is dirty.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 {
            return 0.0;
        }
        self.dirty_bytes as f64 / total as f64
    }
}

/// For each file the base of the Kafka segment it is merged into.
#[must_use]
pub(crate) fn groups_of(files: &[FileRow], segment_bytes: u64) -> Vec<Offset> {
    let chunks: Vec<&[FileRow]> = files.chunk_by(|a, b| a.name.base == b.name.base).collect();
    let segments: Vec<(Offset, u64, Offset)> = chunks
        .iter()
        .map(|chunk| {
            let bytes = chunk.iter().map(|file| file.batch_bytes).sum();
            let next = chunk.last().map_or(Offset(0), |file| file.next);
            (chunk[0].name.base, bytes, next)
        })
        .collect();
    let groups = group_segments(&segments, segment_bytes);
    let of_files = chunks.iter().zip(groups);
    of_files
        .flat_map(|(chunk, group)| chunk.iter().map(move |_| group))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hash::Incarnation,
        segment::{Generation, SegmentName},
        types::Position,
    };

    fn file(base: i64, first: i64, next: i64, kib: u64, max_timestamp: i64) -> FileRow {
        FileRow {
            name: SegmentName {
                generation: Generation(0),
                base: Offset(base),
                number: 0,
            },
            incarnation: Incarnation(1),
            file_bytes: 1 << 20,
            first: Offset(first),
            next: Offset(next),
            end: Position(1 << 20),
            max_timestamp,
            batch_bytes: kib << 10,
            written_ms: 0,
        }
    }

    #[test]
    fn ratio_is_of_what_a_round_would_read() {
        let files = [
            file(0, 0, 10, 100, 5),
            file(10, 10, 20, 20, 5),
            file(20, 20, 30, 30, 5),
        ];
        let found = Dirtiness::of(&files, Offset(10), 1000, 0);
        assert_eq!(
            (found.clean_bytes, found.dirty_bytes),
            (100 << 10, 50 << 10)
        );
        assert!((found.ratio() - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(found.end, Offset(30));
        // Nothing is dirty behind the end.
        assert!(Dirtiness::of(&files, Offset(30), 1000, 0).ratio() == 0.0);
        assert!(Dirtiness::of(&[], Offset(0), 1000, 0).ratio() == 0.0);
    }

    #[test]
    fn a_young_record_holds_back_its_segment_and_all_behind_it() {
        let files = [
            file(0, 0, 10, 10, 100),
            file(10, 10, 20, 10, 950),
            file(20, 20, 30, 10, 100),
        ];
        let found = Dirtiness::of(&files, Offset(0), 1000, 100);
        assert_eq!((found.end, found.dirty_bytes), (Offset(10), 10 << 10));
        // Once clean, a segment's age does not matter any more.
        assert_eq!(Dirtiness::of(&files, Offset(20), 1000, 100).end, Offset(30));
    }

    #[test]
    fn files_of_one_kafka_segment_stay_together() {
        let files = [
            file(0, 0, 5, 10, 1),
            file(0, 5, 10, 10, 1),
            file(10, 10, 20, 10, 1),
        ];
        let bytes = 30 << 10;
        assert_eq!(groups_of(&files, bytes), [Offset(0); 3]);
        assert_eq!(
            groups_of(&files, bytes - 1),
            [Offset(0), Offset(0), Offset(10)]
        );
    }
}
