//! What one round is to do: which files, up to where, by which rules. Made by the shard, carried
//! out by the housekeeper, so it owns everything it says.

use crate::{
    hash::ChainHash,
    journal::row::{FileRow, UnreadableRange},
    segment::Generation,
    types::{Offset, ProducerEpoch, ProducerId, TopicPartition},
};
use std::path::PathBuf;

/// A file to be rewritten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// What the log knows of it.
    pub row: FileRow,
    /// Where it lies.
    pub path: PathBuf,
    /// The base of the Kafka segment that takes its records: small ones are merged.
    pub group: Offset,
}

/// The last that a log knows of a producer: its state must survive in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastOfProducer {
    /// Who.
    pub producer: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The last offset of its last batch of data, if it is known.
    pub last: Option<Offset>,
}

/// One round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Whose log.
    pub tp: TopicPartition,
    /// The generation that is written.
    pub generation: Generation,
    /// Where the partition's files lie.
    pub dir: PathBuf,
    /// The closed Kafka segments' files, oldest first.
    pub sources: Vec<Source>,
    /// Where the log begins: nothing below is copied.
    pub start: Offset,
    /// Where the dirty part begins.
    pub clean_end: Offset,
    /// Where the present generation ends, and the old chain there.
    pub compacted: (Offset, ChainHash),
    /// Offsets that recovery gave up (S19): a gap there is no news.
    pub unreadable: Vec<UnreadableRange>,
    /// Where the closed Kafka segments end.
    pub end: Offset,
    /// The wall clock of the round.
    pub now_ms: i64,
    /// How long tombstones stay once they are clean.
    pub delete_retention_ms: i64,
    /// Memory for keys.
    pub key_memory_bytes: usize,
    /// How full that may become, in thousandths.
    pub key_load_permille: u32,
    /// Bytes of batches in a block at most.
    pub block_payload_bytes: usize,
    /// The active producers.
    pub producers: Vec<LastOfProducer>,
}

/// Gives each Kafka segment the base of the one it is merged into: as many neighbours as stay
/// within `segment_bytes`, and within the offsets that one segment may span.
///
/// ```text
/// bytes  3  4  5  9  1     segment_bytes = 10     bases 0 10 20 30 40
/// groups 0  0  20 30 30
/// ```
#[must_use]
pub fn group_segments(segments: &[(Offset, u64, Offset)], segment_bytes: u64) -> Vec<Offset> {
    let mut groups: Vec<Offset> = Vec::with_capacity(segments.len());
    let mut group_bytes = 0u64;
    for (base, bytes, next) in segments {
        let joins = groups.last().copied().filter(|group| {
            let span = next.0 - group.0;
            group_bytes.saturating_add(*bytes) <= segment_bytes && span <= i64::from(i32::MAX)
        });
        group_bytes = joins.map_or(0, |_| group_bytes) + bytes;
        groups.push(joins.unwrap_or(*base));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_segments_are_merged_up_to_the_size_of_one() {
        let segments: Vec<(Offset, u64, Offset)> = [3, 4, 5, 9, 1]
            .into_iter()
            .zip(0..)
            .map(|(bytes, n)| (Offset(n * 10), bytes, Offset(n * 10 + 10)))
            .collect();
        let groups: Vec<i64> = group_segments(&segments, 10).iter().map(|g| g.0).collect();
        assert_eq!(groups, [0, 0, 20, 30, 30]);
    }

    #[test]
    fn a_segment_spans_no_more_offsets_than_a_batch_can_say() {
        let far = i64::from(i32::MAX);
        let segments = [
            (Offset(0), 1, Offset(10)),
            (Offset(10), 1, Offset(far + 1)),
            (Offset(far + 1), 1, Offset(far + 2)),
        ];
        assert_eq!(
            group_segments(&segments, 100),
            [Offset(0), Offset(10), Offset(10)]
        );
    }
}
