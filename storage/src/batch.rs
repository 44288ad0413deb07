//! The 61 bytes that open a Kafka v2 record batch: read in place, and stamped in the stored copy.
//!
//! Storage looks no further than this header: records stay opaque, compressed or not. All of
//! Kafka's integers are big-endian.
//!
//! ```text
//!  0 base offset i64 | 8 length i32 (of what follows it) | 12 leader epoch i32 | 16 magic i8
//! 17 CRC-32C u32 (of everything from 21 on) | 21 attributes i16 | 23 last offset delta i32
//! 27 base timestamp i64 | 35 max timestamp i64 | 43 producer id i64 | 51 producer epoch i16
//! 53 base sequence i32 | 57 record count i32 | 61 records
//! ```

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};

/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 61;
/// What the length field does not count: the base offset and the length itself.
const LENGTH_STARTS_AT: usize = 12;
/// The CRC covers everything from here on; offset and epoch lie before it, so that a broker may
/// stamp them without computing it anew.
const CRC_STARTS_AT: usize = 21;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;
/// The bits of the attributes that name the codec.
const CODEC: i16 = 0x07;

/// One batch's header, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base: Offset,
    /// The whole batch in bytes, header included.
    pub size_bytes: usize,
    /// Epoch of the leader that appended it.
    pub epoch: LeaderEpoch,
    /// Codec, timestamp type, transactional and control bits.
    pub attributes: i16,
    /// Offset of the last record less that of the first.
    pub last_delta: i32,
    /// Largest timestamp of its records, or the append time.
    pub max_timestamp: i64,
    /// The idempotent producer, or -1.
    pub producer: ProducerId,
    /// That producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or -1.
    pub first_sequence: i32,
}

impl BatchHeader {
    /// Reads the header of the batch that `bytes` start with; `None` if they cannot be a whole v2
    /// batch.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<BatchHeader> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let length = usize::try_from(i32_at(head, 8)).ok()?;
        let size_bytes = length.checked_add(LENGTH_STARTS_AT)?;
        let last_delta = i32_at(head, 23);
        let whole = (HEADER_BYTES..=bytes.len()).contains(&size_bytes);
        if !whole || head[16] != 2 || last_delta < 0 {
            return None;
        }
        Some(BatchHeader {
            base: Offset(i64_at(head, 0)),
            size_bytes,
            epoch: LeaderEpoch(i32_at(head, 12)),
            attributes: i16_at(head, 21),
            last_delta,
            max_timestamp: i64_at(head, 35),
            producer: ProducerId(i64_at(head, 43)),
            producer_epoch: ProducerEpoch(i16_at(head, 51)),
            first_sequence: i32_at(head, 53),
        })
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last(&self) -> Offset {
        Offset(self.base.0 + i64::from(self.last_delta))
    }

    /// The offset that follows the batch.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.last().next()
    }

    /// Whether sequences are to be checked.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.producer.0 >= 0
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it is a transaction marker.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Sequence of the last record. They wrap: after 2^31-1 comes 0. Worked example: 3 records
    /// from 2^31-2 are numbered 2^31-2, 2^31-1, 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        advance_sequence(self.first_sequence, self.last_delta)
    }
}

/// The sequence `by` after `sequence`, in the ring of the non-negative 32-bit integers.
#[must_use]
pub fn advance_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

/// Writes what the leader decides into the stored copy; the CRC covers neither.
pub fn stamp(stored: &mut [u8], base: Offset, epoch: LeaderEpoch) {
    stored[0..8].copy_from_slice(&base.0.to_be_bytes());
    stored[12..16].copy_from_slice(&epoch.0.to_be_bytes());
}

/// Replaces the max timestamp, marks whether it is the append time, and computes the CRC anew.
pub fn stamp_time(stored: &mut [u8], max_timestamp: i64, is_append_time: bool) {
    stored[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    let mark = if is_append_time { LOG_APPEND_TIME } else { 0 };
    let attributes = i16_at(stored, 21) & !LOG_APPEND_TIME | mark;
    stored[21..23].copy_from_slice(&attributes.to_be_bytes());
    let crc = checksum(CrcAlgorithm::Crc32Iscsi, &stored[CRC_STARTS_AT..]) as u32;
    stored[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// When the batch's tombstones may go, if that was decided: compaction puts it in place of the base
/// timestamp (KIP-534). `batch` is a whole one, as in the functions below.
#[must_use]
pub fn delete_horizon_ms(batch: &[u8]) -> Option<i64> {
    (i16_at(batch, 21) & DELETE_HORIZON != 0).then(|| i64_at(batch, 27))
}

/// How many records it has: none, if compaction kept only its header.
#[must_use]
pub fn record_count(batch: &[u8]) -> u32 {
    i32_at(batch, 57).max(0) as u32
}

/// Its header alone, for a batch that lost all of its records: the offsets, the producer and its
/// sequences stay, the codec and the delete horizon do not, as in Kafka.
#[must_use]
pub fn emptied(batch: &[u8]) -> Bytes {
    let mut header = batch[..HEADER_BYTES].to_vec();
    let attributes = i16_at(&header, 21) & !(CODEC | DELETE_HORIZON);
    header[8..12].copy_from_slice(&((HEADER_BYTES - LENGTH_STARTS_AT) as i32).to_be_bytes());
    header[21..23].copy_from_slice(&attributes.to_be_bytes());
    header[27..35].copy_from_slice(&(-1i64).to_be_bytes());
    header[57..61].copy_from_slice(&0i32.to_be_bytes());
    let crc = checksum(CrcAlgorithm::Crc32Iscsi, &header[CRC_STARTS_AT..]) as u32;
    header[17..21].copy_from_slice(&crc.to_be_bytes());
    header.into()
}

/// The batches of a contiguous run, in order, each with its bytes; stops at the first that is not
/// whole, so a caller that must see them all compares the sum of sizes.
pub fn batches(run: &[u8]) -> impl Iterator<Item = (BatchHeader, &[u8])> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let header = BatchHeader::parse(rest)?;
        let (batch, after) = rest.split_at(header.size_bytes);
        rest = after;
        Some((header, batch))
    })
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance_sequence(i32::MAX, 1), 0);
        assert_eq!(advance_sequence(i32::MAX - 1, 2), 0);
        assert_eq!(advance_sequence(7, 3), 10);
    }

    #[test]
    fn short_or_foreign_bytes_are_no_batch() {
        assert!(BatchHeader::parse(&[0; 60]).is_none());
        assert!(BatchHeader::parse(&[0xff; 200]).is_none());
    }
}
