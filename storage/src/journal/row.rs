//! Everything known of one partition at the moment a journal file begins (S8), so that recovery may
//! start there and never looks at an older file; and the smaller delta that an announced direct
//! write carries, because its batches are in no frame.
//!
//! A row may be ahead of the journal: its producers and epochs are of `noted_end`, which includes
//! batches still waiting for their frame. Replay skips batches below it and, if the log turns out
//! to end earlier, cuts the tables there.
//!
//! ```text
//!  row, little-endian; every list is preceded by its length, u32
//!  start i64 | boundary i64 | boundary chain u64 | flushed i64 | flushed chain u64
//!  noted end i64 | counted end i64 | segment base i64 | segment bytes u64 | opened ms i64
//!  first timestamp i64 | appended ms i64
//!  clean end i64 | compacted end i64 | old chain there u64
//!  rolls:     base i64
//!  files:     generation u32, number u32, segment base i64, incarnation u64, length u64,
//!             first i64, next i64, end position u64, max timestamp i64, batch bytes u64,
//!             written ms i64
//!  epochs:    epoch i32, offset i64
//!  producers: id i64, epoch i16, seen ms i64, batches: first sequence i32, last sequence i32,
//!             base i64, last i64, timestamp i64
//!  unreadable: base i64, next i64
//! ```

use super::fragment::Reader;
use crate::{
    batch::BatchHeader,
    epoch::EpochTable,
    hash::{ChainHash, Incarnation},
    producer::{PRODUCERS_MAX, ProducerTable, Sent, WINDOW},
    segment::{Generation, SegmentName},
    types::{LeaderEpoch, Offset, Position, ProducerEpoch, ProducerId},
};

/// A segment file as a row names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRow {
    /// Its name.
    pub name: SegmentName,
    /// Which use of it (S7).
    pub incarnation: Incarnation,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// First offset in it.
    pub first: Offset,
    /// The offset after its last flushed block.
    pub next: Offset,
    /// Where its last flushed block ends.
    pub end: Position,
    /// Its largest timestamp.
    pub max_timestamp: i64,
    /// Bytes of the batches in it, which is what Kafka calls a segment's size.
    pub batch_bytes: u64,
    /// Wall clock of its last flush: the age of a segment without timestamps.
    pub written_ms: i64,
}

/// A Kafka segment as it is being filled: what decides when it rolls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KafkaSegment {
    /// Its base offset.
    pub base: Offset,
    /// Bytes of batches in it.
    pub bytes: u64,
    /// Wall clock of its first append.
    pub opened_ms: i64,
    /// Largest timestamp of its first batch; negative if that has none. With it, as in Kafka, a
    /// segment's age is told by its records and not by the clock.
    pub first_timestamp: i64,
}

impl KafkaSegment {
    /// An empty one.
    #[must_use]
    pub fn new(base: Offset, opened_ms: i64) -> KafkaSegment {
        KafkaSegment {
            base,
            bytes: 0,
            opened_ms,
            first_timestamp: NO_TIMESTAMP,
        }
    }

    /// How old it is when a batch with that largest timestamp comes.
    #[must_use]
    pub fn age_ms(&self, now_ms: i64, timestamp: i64) -> i64 {
        if self.first_timestamp >= 0 {
            timestamp.saturating_sub(self.first_timestamp)
        } else {
            now_ms.saturating_sub(self.opened_ms)
        }
    }

    /// Counts a batch, or a block, at its end.
    pub fn count(&mut self, bytes: u64, max_timestamp: i64) {
        if self.bytes == 0 {
            self.first_timestamp = max_timestamp;
        }
        self.bytes += bytes;
    }
}

impl Default for KafkaSegment {
    fn default() -> KafkaSegment {
        KafkaSegment::new(Offset(0), 0)
    }
}

/// A record's timestamp where its producer gave none.
pub const NO_TIMESTAMP: i64 = -1;

/// Offsets that cannot be read, and are never used again (S19).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnreadableRange {
    /// The first of them.
    pub base: Offset,
    /// The first after them.
    pub next: Offset,
}

/// One partition's row.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Row {
    /// Where the log begins.
    pub start: Offset,
    /// A block boundary at or before the start, and the chain there.
    pub boundary: (Offset, ChainHash),
    /// The end of the flushed segment bytes, and the chain there.
    pub flushed: (Offset, ChainHash),
    /// Producers and epochs are of this end.
    pub noted_end: Offset,
    /// The Kafka segment's bytes are counted to here.
    pub counted_end: Offset,
    /// The Kafka segment being filled.
    pub segment: KafkaSegment,
    /// Wall clock of the last append.
    pub appended_ms: i64,
    /// Up to where compaction has cleaned the log.
    pub clean_end: Offset,
    /// Where the compacted generation ends, and the chain there of the batches as they came (S16).
    pub compacted: (Offset, ChainHash),
    /// Bases of the Kafka segments that begin at or after the flushed end.
    pub rolls: Vec<Offset>,
    /// Its files, oldest first.
    pub files: Vec<FileRow>,
    /// Its leader epochs.
    pub epochs: EpochTable,
    /// Its producers.
    pub producers: ProducerTable,
    /// What recovery gave up (S19).
    pub unreadable: Vec<UnreadableRange>,
}

impl Row {
    /// Where what segments do not hold begins, and the chain there: a start that lies beyond the
    /// flushed end hides what is between.
    #[must_use]
    pub fn begins(&self) -> (Offset, ChainHash) {
        if self.boundary.0 > self.flushed.0 {
            self.boundary
        } else {
            self.flushed
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let words = [
            self.start.0 as u64,
            self.boundary.0.0 as u64,
            self.boundary.1.0,
            self.flushed.0.0 as u64,
            self.flushed.1.0,
            self.noted_end.0 as u64,
            self.counted_end.0 as u64,
            self.segment.base.0 as u64,
            self.segment.bytes,
            self.segment.opened_ms as u64,
            self.segment.first_timestamp as u64,
            self.appended_ms as u64,
            self.clean_end.0 as u64,
            self.compacted.0.0 as u64,
            self.compacted.1.0,
        ];
        put_words(out, words);
        put_len(out, self.rolls.len());
        put_words(out, self.rolls.iter().map(|base| base.0 as u64));
        put_len(out, self.files.len());
        self.files.iter().for_each(|file| file.encode(out));
        put_epochs(out, &self.epochs);
        put_producers(out, &self.producers);
        put_len(out, self.unreadable.len());
        put_words(
            out,
            self.unreadable
                .iter()
                .flat_map(|r| [r.base.0 as u64, r.next.0 as u64]),
        );
    }

    /// Reads it back; `None` if it is not a row, although its checksum held.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Row> {
        let mut reader = Reader(bytes);
        let reader = &mut reader;
        let mut row = Row {
            start: offset(reader)?,
            boundary: (offset(reader)?, ChainHash(reader.u64()?)),
            flushed: (offset(reader)?, ChainHash(reader.u64()?)),
            noted_end: offset(reader)?,
            counted_end: offset(reader)?,
            segment: KafkaSegment {
                base: offset(reader)?,
                bytes: reader.u64()?,
                opened_ms: reader.i64()?,
                first_timestamp: reader.i64()?,
            },
            appended_ms: reader.i64()?,
            clean_end: offset(reader)?,
            compacted: (offset(reader)?, ChainHash(reader.u64()?)),
            ..Row::default()
        };
        for _ in 0..reader.u32()? {
            row.rolls.push(offset(reader)?);
        }
        for _ in 0..reader.u32()? {
            row.files.push(FileRow::decode(reader)?);
        }
        row.epochs = epochs(reader)?;
        row.producers = producers(reader)?;
        for _ in 0..reader.u32()? {
            row.unreadable.push(UnreadableRange {
                base: offset(reader)?,
                next: offset(reader)?,
            });
        }
        reader.0.is_empty().then_some(row)
    }
}

impl FileRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name.generation.0.to_le_bytes());
        out.extend_from_slice(&self.name.number.to_le_bytes());
        let words = [
            self.name.base.0 as u64,
            self.incarnation.0,
            self.file_bytes,
            self.first.0 as u64,
            self.next.0 as u64,
            self.end.0,
            self.max_timestamp as u64,
            self.batch_bytes,
            self.written_ms as u64,
        ];
        put_words(out, words);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<FileRow> {
        let (generation, number) = (Generation(reader.u32()?), reader.u32()?);
        Some(FileRow {
            name: SegmentName {
                generation,
                base: offset(reader)?,
                number,
            },
            incarnation: Incarnation(reader.u64()?),
            file_bytes: reader.u64()?,
            first: offset(reader)?,
            next: offset(reader)?,
            end: Position(reader.u64()?),
            max_timestamp: reader.i64()?,
            batch_bytes: reader.u64()?,
            written_ms: reader.i64()?,
        })
    }
}

/// What the batches of a direct write change in a partition's tables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delta {
    /// The epochs of the batches.
    pub epochs: EpochTable,
    /// The last batches of each of their producers.
    pub producers: ProducerTable,
}

impl Delta {
    /// Adds a batch.
    pub fn note(&mut self, batch: &BatchHeader, seen_ms: i64) {
        self.epochs.note(batch.epoch, batch.base);
        if batch.is_idempotent() {
            self.producers.note(batch, seen_ms);
        }
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_epochs(out, &self.epochs);
        put_producers(out, &self.producers);
    }

    /// Reads it back.
    #[must_use]
    pub fn decode(reader: &mut Reader<'_>) -> Option<Delta> {
        Some(Delta {
            epochs: epochs(reader)?,
            producers: producers(reader)?,
        })
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

fn put_words(out: &mut Vec<u8>, words: impl IntoIterator<Item = u64>) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

fn put_epochs(out: &mut Vec<u8>, epochs: &EpochTable) {
    put_len(out, epochs.entries().len());
    for (epoch, base) in epochs.entries() {
        out.extend_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&base.0.to_le_bytes());
    }
}

fn put_producers(out: &mut Vec<u8>, producers: &ProducerTable) {
    put_len(out, producers.len());
    for (id, producer) in producers.iter() {
        put_words(out, [id.0 as u64]);
        out.extend_from_slice(&producer.epoch.0.to_le_bytes());
        put_words(out, [producer.seen_ms as u64]);
        put_len(out, producer.sent().count());
        producer.sent().for_each(|sent| put_sent(out, &sent));
    }
}

fn put_sent(out: &mut Vec<u8>, sent: &Sent) {
    out.extend_from_slice(&sent.first_sequence.to_le_bytes());
    out.extend_from_slice(&sent.last_sequence.to_le_bytes());
    put_words(
        out,
        [
            sent.base.0 as u64,
            sent.last.0 as u64,
            sent.timestamp as u64,
        ],
    );
}

fn offset(reader: &mut Reader<'_>) -> Option<Offset> {
    reader.i64().map(Offset)
}

fn epochs(reader: &mut Reader<'_>) -> Option<EpochTable> {
    let mut epochs = EpochTable::default();
    for _ in 0..reader.u32()? {
        epochs.note(LeaderEpoch(reader.i32()?), offset(reader)?);
    }
    Some(epochs)
}

fn producers(reader: &mut Reader<'_>) -> Option<ProducerTable> {
    // By their ids here: which of them are the newest is known when all are read.
    let mut producers = ProducerTable::with_limit(usize::MAX);
    for _ in 0..reader.u32()? {
        let (id, epoch) = (ProducerId(reader.i64()?), ProducerEpoch(reader.i16()?));
        let seen_ms = reader.i64()?;
        for _ in 0..reader.u32()? {
            producers.note_sent(id, epoch, seen_ms, sent(reader)?);
        }
    }
    producers.bound(PRODUCERS_MAX);
    Some(producers)
}

/// Bytes of a producer in a row at most.
pub(crate) const PRODUCER_BYTES_MAX: usize = 8 + 2 + 8 + 4 + WINDOW * (2 * 4 + 3 * 8);

fn sent(reader: &mut Reader<'_>) -> Option<Sent> {
    Some(Sent {
        first_sequence: reader.i32()?,
        last_sequence: reader.i32()?,
        base: offset(reader)?,
        last: offset(reader)?,
        timestamp: reader.i64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_reads_back_as_written() {
        let mut row = Row {
            start: Offset(3),
            flushed: (Offset(9), ChainHash(77)),
            noted_end: Offset(20),
            clean_end: Offset(4),
            compacted: (Offset(5), ChainHash(6)),
            rolls: vec![Offset(9), Offset(15)],
            unreadable: vec![UnreadableRange {
                base: Offset(4),
                next: Offset(6),
            }],
            ..Row::default()
        };
        row.files.push(FileRow {
            name: SegmentName {
                generation: Generation(1),
                base: Offset(2),
                number: 3,
            },
            incarnation: Incarnation(5),
            file_bytes: 1 << 20,
            first: Offset(2),
            next: Offset(9),
            end: Position(8192),
            max_timestamp: -1,
            batch_bytes: 4000,
            written_ms: 1_700_000_000_000,
        });
        row.epochs.note(LeaderEpoch(2), Offset(3));
        let (first_sequence, last_sequence, timestamp) = (0, 4, 9);
        let sent = Sent {
            first_sequence,
            last_sequence,
            base: Offset(3),
            last: Offset(7),
            timestamp,
        };
        row.producers
            .note_sent(ProducerId(8), ProducerEpoch(1), 100, sent);
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        assert_eq!(Row::decode(&bytes), Some(row));
        assert_eq!(Row::decode(&bytes[1..]), None);
    }
}
