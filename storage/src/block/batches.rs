//! Walking the Kafka v2 batches of a payload by their lengths. Never looks into records, never
//! checks CRC-32C: the block's checksum has covered these bytes since they were accepted.
//!
//! ```text
//!  the fields of a v2 batch that matter here (big-endian, as Kafka has them)
//!  0           8        12             16      17     21     23          27        35       43
//! +-----------+--------+--------------+-------+------+------+-----------+---------+--------+--
//! | base      | length | leader epoch | magic | crc  | attr | last off  | first   | max    |
//! | offset i64| i32    | i32          | i8    | u32  | i16  | delta i32 | ts i64  | ts i64 |
//! +-----------+--------+--------------+-------+------+------+-----------+---------+--------+--
//! ```
//! `length` counts what follows it, so a batch is `length + 12` bytes long, at least 61.

use crate::types::{LeaderEpoch, Offset};

const LENGTH_AT: usize = 8;
const EPOCH_AT: usize = 12;
const LAST_DELTA_AT: usize = 23;
const MAX_TIMESTAMP_AT: usize = 35;
/// Bytes before what `length` counts.
const OVERHEAD: usize = 12;
/// A batch without records.
const BATCH_BYTES_MIN: usize = 61;

/// One stored batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchView<'a> {
    /// Where in the payload it starts.
    pub position: usize,
    /// All of it.
    pub bytes: &'a [u8],
    /// Its first offset.
    pub base: Offset,
    /// Its last offset.
    pub last: Offset,
    /// The epoch it was appended in.
    pub epoch: LeaderEpoch,
    /// Its largest timestamp, in milliseconds; -1 for none.
    pub max_timestamp: i64,
}

/// The batches of a payload from some position, by position. Ends at the payload's end, or where a
/// length makes no sense: compare [`Batches::position`] with the payload's length.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    payload: &'a [u8],
    position: usize,
}

impl<'a> Batches<'a> {
    /// From `position`, which must be a batch's start.
    #[must_use]
    pub fn from(payload: &'a [u8], position: usize) -> Batches<'a> {
        Batches { payload, position }
    }

    /// Where the next batch starts.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = BatchView<'a>;

    fn next(&mut self) -> Option<BatchView<'a>> {
        let rest = self.payload.get(self.position..)?;
        let length = i32::from_be_bytes(field(rest, LENGTH_AT)?);
        let len = usize::try_from(length).ok()?.checked_add(OVERHEAD)?;
        if len < BATCH_BYTES_MIN {
            return None;
        }
        let bytes = rest.get(..len)?;
        let base = i64::from_be_bytes(field(bytes, 0)?);
        let last_delta = i32::from_be_bytes(field(bytes, LAST_DELTA_AT)?);
        let batch = BatchView {
            position: self.position,
            bytes,
            base: Offset(base),
            last: Offset(base.checked_add(i64::from(last_delta))?),
            epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, EPOCH_AT)?)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT)?),
        };
        self.position += len;
        Some(batch)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
