//! What every record carries, so that consumers can prove that nothing was lost, doubled, reordered
//! or changed.
//!
//! ```text
//!  0 check u64       xxh3 over all that follows: bytes 8-32, seeded by the filler's own hash
//!  8 sequence u64    counts this stream's records in this partition, without gaps
//! 16 intended u64    when it was meant to be sent, in ns since 1970
//! 24 stream u32      the producing connection
//! 28 partition u32   where it was sent to
//! 32 filler          random bytes
//! ```
//! The filler's hash is computed once for a template, so that stamping a record costs a hash over
//! 24 bytes; a consumer hashes everything.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The bytes of a record that are taken by its stamp.
pub const STAMP_BYTES: usize = 32;

/// Sequence numbers that are remembered as missing: beyond, a late record counts as a duplicate.
/// Their sum over all streams bounds the memory of a hopeless run at some 10 MB.
const MISSING_MAX: usize = 100_000;

/// A producing connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u32);

impl StreamId {
    /// A connection of a run.
    pub fn new(run_number: u32, connection: u32) -> StreamId {
        StreamId(run_number << 16 | (connection & 0xffff))
    }

    /// The run it belongs to.
    pub fn run_number(self) -> u32 {
        self.0 >> 16
    }
}

/// What a record says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Its place among the stream's records in this partition.
    pub sequence: u64,
    /// When it was meant to be sent, in nanoseconds since 1970.
    pub intended_unix_ns: u64,
    /// Who sent it.
    pub stream: StreamId,
    /// Where it was sent to.
    pub partition: i32,
}

/// The hash of a record's filler, for [`Stamp::write`].
pub fn filler_hash(value: &[u8]) -> u64 {
    xxh3_64(&value[STAMP_BYTES..])
}

impl Stamp {
    /// Writes the stamp into a record's value, whose filler has the hash given.
    ///
    /// # Panics
    /// When the value is shorter than a stamp.
    pub fn write(&self, value: &mut [u8], filler_hash: u64) {
        value[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        value[16..24].copy_from_slice(&self.intended_unix_ns.to_le_bytes());
        value[24..28].copy_from_slice(&self.stream.0.to_le_bytes());
        value[28..32].copy_from_slice(&self.partition.to_le_bytes());
        let check = xxh3_64_with_seed(&value[8..STAMP_BYTES], filler_hash);
        value[..8].copy_from_slice(&check.to_le_bytes());
    }

    /// Reads a record's stamp; none if a single bit of the record has changed.
    pub fn read(value: &[u8]) -> Option<Stamp> {
        let (head, _) = value.split_first_chunk::<STAMP_BYTES>()?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let check = xxh3_64_with_seed(&head[8..], filler_hash(value));
        (check == word(0)).then(|| Stamp {
            sequence: word(8),
            intended_unix_ns: word(16),
            stream: StreamId(half(24)),
            partition: half(28) as i32,
        })
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Records looked at.
    pub records: u64,
    /// Records that were acknowledged, or followed by others, and did not come.
    pub lost: u64,
    /// Records that came again.
    pub duplicated: u64,
    /// Records that came after later ones of the same stream.
    pub reordered: u64,
    /// Records whose content has changed, or that are not ours.
    pub corrupt: u64,
    /// Records in another partition than they were sent to.
    pub misplaced: u64,
    /// Offsets that did not follow on the one before.
    pub offset_gaps: u64,
    /// Records that a group was given again after a member had gone or come: as it may be.
    pub redelivered: u64,
    /// Records that the broker had deleted before they were read, as its retention says.
    pub expired: u64,
    /// Acknowledged records that a consumer had not come to when it gave up: of those nothing is
    /// known.
    pub unread: u64,
}

impl Findings {
    /// Whether everything that was read is as it was sent.
    pub fn is_clean(&self) -> bool {
        Findings {
            records: 0,
            redelivered: 0,
            expired: 0,
            unread: 0,
            ..self.clone()
        } == Findings::default()
    }

    /// Adds another consumer's.
    pub fn merge(&mut self, other: &Findings) {
        self.records += other.records;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misplaced += other.misplaced;
        self.offset_gaps += other.offset_gaps;
        self.redelivered += other.redelivered;
        self.expired += other.expired;
        self.unread += other.unread;
    }
}

#[derive(Debug, Default)]
struct Progress {
    next: u64,
    missing: BTreeSet<u64>,
    /// Some of what follows was deleted unread: the next record may be any.
    is_cut: bool,
}

#[derive(Debug, Default)]
struct Partition {
    next_offset: Option<i64>,
    streams: HashMap<StreamId, Progress>,
    /// It is not read from the first record ever: streams may have begun before.
    is_cut: bool,
}

/// A record where a consumer found it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seen {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Who sent it.
    pub stream: StreamId,
    /// Its place among the stream's records in that partition.
    pub sequence: u64,
}

/// Watches the records that one consumer gets.
#[derive(Debug, Default)]
pub struct Verifier {
    partitions: HashMap<i32, Partition>,
    missing: usize,
    findings: Findings,
    /// Streams of other runs than this one may have begun before.
    late_for: Option<u32>,
    /// Records may come again, from an offset on.
    is_group: bool,
    reads: Option<Vec<Seen>>,
}

impl Verifier {
    /// For a consumer that begins at the end, in the run of that number: what other runs have sent
    /// before is not missing.
    pub fn joining_late(run_number: u32) -> Verifier {
        Verifier {
            late_for: Some(run_number),
            ..Verifier::default()
        }
    }

    /// For a group, whose members go on where others committed.
    pub fn of_group() -> Verifier {
        Verifier {
            is_group: true,
            ..Verifier::default()
        }
    }

    /// Whether everything that is seen is remembered, in its order.
    #[must_use]
    pub fn keeping_reads(mut self, keeps: bool) -> Verifier {
        self.reads = keeps.then(Vec::new);
        self
    }

    /// What was seen, in its order.
    pub fn reads(&self) -> &[Seen] {
        self.reads.as_deref().unwrap_or_default()
    }

    /// Looks at the next record of a partition. Gives its stamp if it is sound.
    pub fn observe(&mut self, partition: i32, offset: i64, value: Option<&[u8]>) -> Option<Stamp> {
        let found = &mut self.findings;
        let state = self.partitions.entry(partition).or_default();
        if self.is_group && state.next_offset.is_some_and(|next| offset < next) {
            found.redelivered += 1;
            return None;
        }
        found.records += 1;
        if state.next_offset.is_some_and(|next| next != offset) {
            found.offset_gaps += 1;
        }
        state.next_offset = Some(offset + 1);
        let Some(stamp) = value.and_then(Stamp::read) else {
            found.corrupt += 1;
            return None;
        };
        if stamp.partition != partition {
            found.misplaced += 1;
        }
        if let Some(reads) = &mut self.reads {
            reads.push(Seen {
                partition,
                offset,
                stream: stamp.stream,
                sequence: stamp.sequence,
            });
        }
        let late = state.is_cut
            || self
                .late_for
                .is_some_and(|run| stamp.stream.run_number() != run);
        let progress = state
            .streams
            .entry(stamp.stream)
            .or_insert_with(|| Progress {
                next: if late { stamp.sequence } else { 0 },
                ..Progress::default()
            });
        if stamp.sequence < progress.next {
            if progress.missing.remove(&stamp.sequence) {
                self.missing -= 1;
                found.lost -= 1;
                found.reordered += 1;
            } else {
                found.duplicated += 1;
            }
            return Some(stamp);
        }
        if std::mem::take(&mut progress.is_cut) {
            progress.next = stamp.sequence;
        }
        found.lost += stamp.sequence - progress.next;
        for sequence in progress.next..stamp.sequence {
            if self.missing >= MISSING_MAX {
                break;
            }
            self.missing += usize::from(progress.missing.insert(sequence));
        }
        progress.next = stamp.sequence + 1;
        Some(stamp)
    }

    /// The records of a partition between these offsets were deleted before they were read.
    pub fn expire(&mut self, partition: i32, from: i64, to: i64) {
        let state = self.partitions.entry(partition).or_default();
        if state.next_offset.is_some_and(|next| next >= to) {
            return;
        }
        self.findings.expired += (to - from).unsigned_abs();
        state.next_offset = Some(to);
        state.is_cut = true;
        for progress in state.streams.values_mut() {
            progress.is_cut = true;
        }
    }

    /// Forgets where a partition is: it will be read from its beginning again, which is there.
    pub fn rewind(&mut self, partition: i32, start: i64) {
        if let Some(state) = self.partitions.remove(&partition) {
            self.missing -= state
                .streams
                .values()
                .map(|stream| stream.missing.len())
                .sum::<usize>();
        }
        if start > 0 {
            let state = self.partitions.entry(partition).or_default();
            (state.next_offset, state.is_cut) = (Some(start), true);
        }
    }

    /// The acknowledged records at the end of a stream that never came. `acknowledged` is the
    /// sequence number behind the last one.
    pub fn lacks(&self, partition: i32, stream: StreamId, acknowledged: u64) -> u64 {
        acknowledged.saturating_sub(self.next(partition, stream))
    }

    /// How many of these sequence numbers are counted as lost, or as lacking up to `acknowledged`.
    pub fn missing(
        &self,
        partition: i32,
        stream: StreamId,
        sequences: &Range<u64>,
        acknowledged: u64,
    ) -> (u64, u64) {
        let next = self.next(partition, stream);
        let before = sequences.start..sequences.end.min(next);
        let behind = sequences.start.max(next)..sequences.end.min(acknowledged);
        let lacking = behind.end.saturating_sub(behind.start);
        let Some(progress) = self.progress(partition, stream) else {
            return (0, lacking);
        };
        let lost = match before.is_empty() {
            true => 0,
            // Not all were remembered: what was never written cannot have come.
            false if self.missing >= MISSING_MAX => before.end - before.start,
            false => progress.missing.range(before).count() as u64,
        };
        (lost, lacking)
    }

    fn progress(&self, partition: i32, stream: StreamId) -> Option<&Progress> {
        self.partitions.get(&partition)?.streams.get(&stream)
    }

    fn next(&self, partition: i32, stream: StreamId) -> u64 {
        let progress = self.progress(partition, stream);
        progress.map_or(0, |progress| progress.next)
    }

    /// What was found so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(3);

    fn record(sequence: u64) -> Vec<u8> {
        let mut value: Vec<u8> = (0..100).collect();
        let stamp = Stamp {
            sequence,
            intended_unix_ns: 7,
            stream: STREAM,
            partition: 5,
        };
        let hash = filler_hash(&value);
        stamp.write(&mut value, hash);
        value
    }

    fn findings(sequences: &[u64], acknowledged: u64) -> Findings {
        let mut verifier = Verifier::default();
        for (offset, sequence) in sequences.iter().enumerate() {
            let stamp = verifier.observe(5, offset as i64, Some(&record(*sequence)));
            assert_eq!(stamp.map(|stamp| stamp.sequence), Some(*sequence));
        }
        let mut found = verifier.findings().clone();
        found.lost += verifier.lacks(5, STREAM, acknowledged);
        Findings {
            records: 0,
            ..found
        }
    }

    #[test]
    fn an_unbroken_stream_is_clean() {
        assert!(findings(&[0, 1, 2, 3], 4).is_clean());
        assert!(findings(&[], 0).is_clean());
    }

    #[test]
    fn loss_is_found_in_the_middle_and_at_the_end() {
        assert_eq!(
            findings(&[0, 1, 4], 5),
            Findings {
                lost: 2,
                ..Findings::default()
            }
        );
        assert_eq!(
            findings(&[0, 1], 5),
            Findings {
                lost: 3,
                ..Findings::default()
            }
        );
        assert_eq!(
            findings(&[], 2),
            Findings {
                lost: 2,
                ..Findings::default()
            }
        );
    }

    #[test]
    fn records_that_were_never_acknowledged_may_come() {
        assert!(findings(&[0, 1, 2], 2).is_clean());
    }

    #[test]
    fn doubled_and_late_records_are_told_apart() {
        assert_eq!(
            findings(&[0, 1, 1, 2], 3),
            Findings {
                duplicated: 1,
                ..Findings::default()
            }
        );
        assert_eq!(
            findings(&[0, 2, 1, 3], 4),
            Findings {
                reordered: 1,
                ..Findings::default()
            }
        );
        assert_eq!(
            findings(&[0, 2, 1, 1], 3),
            Findings {
                reordered: 1,
                duplicated: 1,
                ..Findings::default()
            }
        );
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let sound = record(9);
        for at in 0..sound.len() {
            let mut changed = sound.clone();
            changed[at] ^= 1;
            assert_eq!(Stamp::read(&changed), None, "byte {at}");
        }
        assert_eq!(Stamp::read(&sound[..31]), None);
    }

    #[test]
    fn foreign_places_and_offset_gaps_are_found() {
        let mut verifier = Verifier::default();
        verifier.observe(6, 10, Some(&record(0)));
        verifier.observe(6, 12, Some(&record(1)));
        verifier.observe(6, 13, None);
        let found = verifier.findings();
        assert_eq!(
            (found.misplaced, found.offset_gaps, found.corrupt),
            (2, 1, 1)
        );
    }

    #[test]
    fn a_group_may_be_given_records_again_but_must_not_miss_any() {
        let mut verifier = Verifier::of_group();
        for offset in [0, 1, 2, 1, 2, 3] {
            verifier.observe(5, offset, Some(&record(offset as u64)));
        }
        assert!(verifier.findings().is_clean());
        assert_eq!(verifier.findings().redelivered, 2);
        verifier.observe(5, 5, Some(&record(5)));
        assert_eq!(
            (verifier.findings().lost, verifier.findings().offset_gaps),
            (1, 1)
        );
    }

    #[test]
    fn whoever_joins_late_misses_nothing_of_others() {
        let stranger = STREAM.run_number() + 1;
        let mut verifier = Verifier::joining_late(stranger);
        verifier.observe(5, 70, Some(&record(40)));
        assert!(verifier.findings().is_clean());
        let mut verifier = Verifier::joining_late(STREAM.run_number());
        verifier.observe(5, 70, Some(&record(40)));
        assert_eq!(verifier.findings().lost, 40);
    }

    #[test]
    fn what_was_deleted_unread_is_not_lost_and_what_lacks_behind_is() {
        let mut verifier = Verifier::default();
        verifier.observe(5, 0, Some(&record(0)));
        verifier.expire(5, 1, 7);
        verifier.observe(5, 7, Some(&record(7)));
        assert!(verifier.findings().is_clean());
        assert_eq!(verifier.findings().expired, 6);
        verifier.observe(5, 9, Some(&record(9)));
        let found = verifier.findings();
        assert_eq!((found.lost, found.offset_gaps), (1, 1));
        verifier.rewind(5, 7);
        verifier.observe(5, 7, Some(&record(7)));
        assert_eq!(verifier.findings().lost, 1);
    }

    #[test]
    fn refused_records_are_told_from_lost_ones() {
        let mut verifier = Verifier::default();
        for (offset, sequence) in [0, 3, 6].into_iter().enumerate() {
            verifier.observe(5, offset as i64, Some(&record(sequence)));
        }
        assert_eq!(verifier.findings().lost, 4);
        assert_eq!(verifier.missing(5, STREAM, &(1..3), 9), (2, 0));
        assert_eq!(verifier.missing(5, STREAM, &(5..8), 9), (1, 1));
        assert_eq!(verifier.missing(5, StreamId(99), &(0..8), 3), (0, 3));
    }

    #[test]
    fn a_rewound_partition_starts_anew() {
        let mut verifier = Verifier::default();
        for _ in 0..2 {
            verifier.observe(5, 0, Some(&record(0)));
            verifier.observe(5, 1, Some(&record(1)));
            verifier.rewind(5, 0);
        }
        assert!(verifier.findings().is_clean());
        assert_eq!(verifier.findings().records, 4);
    }
}
