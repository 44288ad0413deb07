//! The bytes of the metadata log and its snapshot, little-endian. Nothing here does I/O.
//!
//! ```text
//!  head of a log file
//!  0       8        12      16            24                              32
//! +-------+--------+-------+-------------+-------------------------------+
//! | magic | format | zero  | incarnation | checksum u64 of bytes 0..24   |
//! | u64   | u32    | u32   | u64         | seeded with the incarnation   |
//! +-------+--------+-------+-------------+-------------------------------+
//!
//!  a record, one after the other, unaligned
//!  0       4        8          16                             24
//! +-------+--------+----------+------------------------------+----------------+
//! | magic | length | sequence | checksum u64 of bytes 0..16  | record,        |
//! | u32   | u32    | u64      | and the record, seeded       | length bytes   |
//! +-------+--------+----------+------------------------------+----------------+
//!
//!  a snapshot
//!  0       8        12      16           24       32             40
//! +-------+--------+-------+------------+--------+--------------+----------------+
//! | magic | format | zero  | last       | length | checksum of  | state,         |
//! | u64   | u32    | u32   | record u64 | u64    | 0..32, state | length bytes   |
//! +-------+--------+-------+------------+--------+--------------+----------------+
//! ```

use super::Sequence;
use crate::hash::{Incarnation, checksum, checksum_pieces};

/// "SPATEMLG" and "SPATESNP", read as little-endian numbers.
const LOG_MAGIC: u64 = u64::from_le_bytes(*b"SPATEMLG");
const SNAPSHOT_MAGIC: u64 = u64::from_le_bytes(*b"SPATESNP");
/// "SPMR".
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"SPMR");
const FORMAT: u32 = 1;
pub(super) const LOG_HEAD_BYTES: usize = 32;
const RECORD_HEAD_BYTES: usize = 24;
const SNAPSHOT_HEAD_BYTES: usize = 40;
/// The longest record. The largest one creates a topic with all its partitions and settings.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;
/// Snapshots are written once under a name that never has other contents.
const SNAPSHOT_SEED: Incarnation = Incarnation(SNAPSHOT_MAGIC);

/// Bytes that are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken {
    pub(super) position: u64,
    pub(super) what: &'static str,
    pub(super) expected: u64,
    pub(super) found: u64,
}

fn expect(position: usize, what: &'static str, expected: u64, found: u64) -> Result<(), Broken> {
    let position = position as u64;
    if expected == found {
        Ok(())
    } else {
        Err(Broken {
            position,
            what,
            expected,
            found,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

pub(super) fn log_head(incarnation: Incarnation) -> [u8; LOG_HEAD_BYTES] {
    let mut head = [0; LOG_HEAD_BYTES];
    head[..8].copy_from_slice(&LOG_MAGIC.to_le_bytes());
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[16..24].copy_from_slice(&incarnation.0.to_le_bytes());
    let sum = checksum(incarnation, &head[..24]);
    head[24..].copy_from_slice(&sum.to_le_bytes());
    head
}

pub(super) fn read_log_head(bytes: &[u8]) -> Result<Incarnation, Broken> {
    if bytes.len() < LOG_HEAD_BYTES {
        expect(
            0,
            "length of the head",
            LOG_HEAD_BYTES as u64,
            bytes.len() as u64,
        )?;
    }
    expect(0, "magic", LOG_MAGIC, u64_at(bytes, 0))?;
    let incarnation = Incarnation(u64_at(bytes, 16));
    expect(
        24,
        "head checksum",
        u64_at(bytes, 24),
        checksum(incarnation, &bytes[..24]),
    )?;
    expect(8, "format", u64::from(FORMAT), u64::from(u32_at(bytes, 8)))?;
    Ok(incarnation)
}

pub(super) fn frame(incarnation: Incarnation, sequence: Sequence, record: &[u8]) -> Vec<u8> {
    let len = u32::try_from(record.len()).expect("the caller checks RECORD_BYTES_MAX");
    let mut frame = Vec::with_capacity(RECORD_HEAD_BYTES + record.len());
    frame.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&sequence.0.to_le_bytes());
    let sum = checksum_pieces(incarnation, [&frame[..], record]);
    frame.extend_from_slice(&sum.to_le_bytes());
    frame.extend_from_slice(record);
    frame
}

/// The record that starts at `at`, with its sequence.
fn read_record(
    bytes: &[u8],
    incarnation: Incarnation,
    at: usize,
) -> Result<(Sequence, &[u8]), Broken> {
    let rest = &bytes[at..];
    if rest.len() < RECORD_HEAD_BYTES {
        expect(
            at,
            "bytes of a record's head",
            RECORD_HEAD_BYTES as u64,
            rest.len() as u64,
        )?;
    }
    expect(
        at,
        "record magic",
        u64::from(RECORD_MAGIC),
        u64::from(u32_at(rest, 0)),
    )?;
    let len = u32_at(rest, 4) as usize;
    if len > RECORD_BYTES_MAX || rest.len() - RECORD_HEAD_BYTES < len {
        let left = (rest.len() - RECORD_HEAD_BYTES).min(RECORD_BYTES_MAX);
        expect(at + 4, "record length, at most", left as u64, len as u64)?;
    }
    let record = &rest[RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + len];
    let sum = checksum_pieces(incarnation, [&rest[..16], record]);
    expect(at + 16, "record checksum", u64_at(rest, 16), sum)?;
    Ok((Sequence(u64_at(rest, 8)), record))
}

/// All records of a log file and where they end.
pub(super) struct Records<'a> {
    pub(super) records: Vec<&'a [u8]>,
    pub(super) end: usize,
}

/// Reads from the head to the end, or to a torn record that nothing follows.
pub(super) fn read_records(
    bytes: &[u8],
    incarnation: Incarnation,
    first: Sequence,
) -> Result<Records<'_>, Broken> {
    let mut read = Records {
        records: Vec::new(),
        end: LOG_HEAD_BYTES,
    };
    let mut expected = first;
    while read.end < bytes.len() {
        match read_record(bytes, incarnation, read.end) {
            Ok((sequence, record)) => {
                expect(read.end + 8, "record sequence", expected.0, sequence.0)?;
                read.records.push(record);
                read.end += RECORD_HEAD_BYTES + record.len();
                expected = expected.next();
            }
            Err(broken) if record_follows(bytes, incarnation, read.end + 1) => return Err(broken),
            Err(_) => break,
        }
    }
    Ok(read)
}

/// Whether any record verifies behind damage: then the damage was durable once (no record is
/// written before its predecessor is flushed) and is no torn tail.
fn record_follows(bytes: &[u8], incarnation: Incarnation, from: usize) -> bool {
    let magic = RECORD_MAGIC.to_le_bytes();
    let starts = (from..bytes.len().saturating_sub(RECORD_HEAD_BYTES - 1))
        .filter(|&at| bytes[at..at + 4] == magic);
    starts
        .into_iter()
        .any(|at| read_record(bytes, incarnation, at).is_ok())
}

pub(super) fn snapshot(last: Sequence, state: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; SNAPSHOT_HEAD_BYTES];
    bytes[..8].copy_from_slice(&SNAPSHOT_MAGIC.to_le_bytes());
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&last.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&(state.len() as u64).to_le_bytes());
    let sum = checksum_pieces(SNAPSHOT_SEED, [&bytes[..32], state]);
    bytes[32..40].copy_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(state);
    bytes
}

/// A snapshot is renamed into place only when it is durable: any damage is corruption.
pub(super) fn read_snapshot(bytes: &[u8]) -> Result<(Sequence, &[u8]), Broken> {
    if bytes.len() < SNAPSHOT_HEAD_BYTES {
        expect(
            0,
            "length of the head",
            SNAPSHOT_HEAD_BYTES as u64,
            bytes.len() as u64,
        )?;
    }
    let (head, state) = bytes.split_at(SNAPSHOT_HEAD_BYTES);
    expect(0, "magic", SNAPSHOT_MAGIC, u64_at(head, 0))?;
    expect(8, "format", u64::from(FORMAT), u64::from(u32_at(head, 8)))?;
    expect(24, "length", u64_at(head, 24), state.len() as u64)?;
    let sum = checksum_pieces(SNAPSHOT_SEED, [&head[..32], state]);
    expect(32, "checksum", u64_at(head, 32), sum)?;
    Ok((Sequence(u64_at(head, 16)), state))
}
