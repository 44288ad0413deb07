//! One journal write: a header, a table of fragments, their payloads; its bytes and nothing of
//! files or I/O.
//!
//! ```text
//!  frame, at a multiple of 4 KiB; all numbers little-endian
//! +--------------+--------------------------+---------------------+-----------------+
//! | header, 96 B | table: 64 B per fragment | payloads, in order  | zeros to 4 KiB  |
//! +--------------+--------------------------+---------------------+-----------------+
//!
//!  header
//!  0        8         12       16         24             32                40
//! +--------+---------+--------+----------+--------------+-----------------+--------------+
//! | magic  | format  | frame  | sequence | predecessor's| durable_through | oldest       |
//! | u64    | u32     | len u32| u64      | hash u64     | u64             | needed u64   |
//! +--------+---------+--------+----------+--------------+-----------------+--------------+
//!  48            56          60           64          72            80         88        96
//! +-------------+-----------+------------+-----------+-------------+----------+---------+
//! | incarnation | fragments | payload    | table     | payload     | zero u64 | hash of |
//! | u64         | u32       | len u32    | checksum  | checksum    |          | 0..88   |
//! +-------------+-----------+------------+-----------+-------------+----------+---------+
//! ```
//! Checksums are seeded with the file's incarnation (S7). The header's hash covers the others, so
//! it is the frame's: its successor names it (S2). The table's own checksum lets recovery say whose
//! records a damaged payload held.

use super::fragment::{FRAGMENT_BYTES, Fragment, Kind};
use crate::{
    disk::PAGE,
    hash::{Incarnation, checksum},
    sabotage::{self, Sabotage},
};

/// "SPATEFRM", read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"SPATEFRM");
const FORMAT: u32 = 1;
/// Length of the fixed header.
pub const HEADER_BYTES: usize = 96;
const HASH_AT: usize = 88;
/// Longest frame that is read: bounds what a damaged length makes recovery allocate. A batch may be
/// as large as the largest segment, and is never split.
pub const FRAME_BYTES_MAX: usize = 40 << 20;

/// A write's number in its shard's journal; the first is 1, so 0 means "none yet".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(pub u64);

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Sequence {
    /// The next write's.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

/// What a frame says besides its fragments (S2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// Its number.
    pub sequence: Sequence,
    /// Hash of the frame before it.
    pub predecessor: u64,
    /// The last write known durable when this one was formed.
    pub durable_through: Sequence,
    /// The first write that recovery still needs.
    pub oldest_needed: Sequence,
}

/// Length of a frame with that many fragments and payload bytes, a multiple of [`PAGE`].
#[must_use]
pub fn frame_len(fragments: usize, payload_len: usize) -> usize {
    (HEADER_BYTES + fragments * FRAGMENT_BYTES + payload_len).next_multiple_of(PAGE)
}

/// Fills a frame's buffer: fragments first come, first written, then the header over them.
pub struct FrameWriter<'a> {
    buf: &'a mut [u8],
    table_start: usize,
    table_end: usize,
    payload_start: usize,
    payload_end: usize,
}

impl<'a> FrameWriter<'a> {
    /// A writer into `buf`, which must be at least [`frame_len`] long for that many fragments and
    /// their payloads.
    #[must_use]
    pub fn new(buf: &'a mut [u8], fragments: usize) -> FrameWriter<'a> {
        assert!(buf.len().is_multiple_of(PAGE), "a frame is whole pages");
        let payload_start = HEADER_BYTES + fragments * FRAGMENT_BYTES;
        FrameWriter {
            buf,
            table_start: HEADER_BYTES,
            table_end: HEADER_BYTES,
            payload_start,
            payload_end: payload_start,
        }
    }

    /// Adds a fragment whose payload is the pieces, one after the other.
    pub fn put<'b>(&mut self, fragment: &Fragment, pieces: impl IntoIterator<Item = &'b [u8]>) {
        let start = self.payload_end;
        for piece in pieces {
            let end = self.payload_end + piece.len();
            self.buf[self.payload_end..end].copy_from_slice(piece);
            self.payload_end = end;
        }
        let payload_len = (self.payload_end - start) as u32;
        let slot = &mut self.buf[self.table_end..self.table_end + FRAGMENT_BYTES];
        fragment.encode(payload_len, slot);
        self.table_end += FRAGMENT_BYTES;
        assert!(
            self.table_end <= self.payload_start,
            "a fragment more than announced"
        );
    }

    /// Writes the header and returns the frame's hash, for its successor.
    #[must_use]
    pub fn finish(self, head: &FrameHead, incarnation: Incarnation) -> u64 {
        assert_eq!(
            self.table_end, self.payload_start,
            "a fragment less than announced"
        );
        let len = self.buf.len();
        self.buf[self.payload_end..].fill(0);
        let table = checksum(incarnation, &self.buf[self.table_start..self.table_end]);
        let payload = checksum(incarnation, &self.buf[self.payload_start..self.payload_end]);
        let fragments = (self.table_end - self.table_start) / FRAGMENT_BYTES;
        let lens = [fragments, self.payload_end - self.payload_start].map(|n| n as u32);
        let words = [
            MAGIC,
            u64::from(FORMAT) | (len as u64) << 32,
            head.sequence.0,
            head.predecessor,
            head.durable_through.0,
            head.oldest_needed.0,
            incarnation.0,
            u64::from(lens[0]) | u64::from(lens[1]) << 32,
            table,
            payload,
            0,
        ];
        for (slot, word) in self.buf.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let hash = checksum(incarnation, &self.buf[..HASH_AT]);
        self.buf[HASH_AT..HEADER_BYTES].copy_from_slice(&hash.to_le_bytes());
        hash
    }
}

/// A frame found in a file, its header verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameView<'a> {
    /// What it says besides its fragments.
    pub head: FrameHead,
    /// Its own hash.
    pub hash: u64,
    /// The whole frame in bytes.
    pub len: usize,
    table: &'a [u8],
    payload: &'a [u8],
}

/// What is wrong with a frame's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// No frame begins here.
    #[error("no frame: magic expected {MAGIC:#018x}, found {found:#018x}")]
    Magic {
        /// What stands there.
        found: u64,
    },
    /// A frame of another release.
    #[error("frame format {found} is not known to this release, which reads format {FORMAT}")]
    Format {
        /// Its number.
        found: u32,
    },
    /// The header is damaged, or of an earlier use of the file.
    #[error("frame header hash: expected {expected:016x}, found {found:016x}")]
    Header {
        /// What stands in the header.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
    /// The frame goes past the file's end.
    #[error("frame of {found} bytes does not fit the {limit} that are left")]
    Length {
        /// Its length.
        found: u64,
        /// What would fit.
        limit: u64,
    },
    /// The fragment table is damaged.
    #[error("fragment table of frame {sequence}: expected {expected:016x}, found {found:016x}")]
    Table {
        /// Which frame.
        sequence: Sequence,
        /// What stands in the header.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
    /// The payload is damaged; the table holds.
    #[error("payload of frame {sequence}: expected {expected:016x}, found {found:016x}")]
    Payload {
        /// Which frame.
        sequence: Sequence,
        /// What stands in the header.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
}

impl<'a> FrameView<'a> {
    /// Verifies the frame that `bytes` start with.
    pub fn parse(bytes: &'a [u8], incarnation: Incarnation) -> Result<FrameView<'a>, FrameError> {
        let view = FrameView::parse_header(bytes, incarnation)?;
        let sequence = view.head.sequence;
        let found = checksum(incarnation, view.table);
        let expected = word(bytes, 64);
        if found != expected {
            return Err(FrameError::Table {
                sequence,
                expected,
                found,
            });
        }
        let found = checksum(incarnation, view.payload);
        let expected = word(bytes, 72);
        if found != expected && !sabotage::is(Sabotage::FrameChecksumIgnored) {
            return Err(FrameError::Payload {
                sequence,
                expected,
                found,
            });
        }
        Ok(view)
    }

    /// Verifies the header only: what the frame claims, although the rest may be damaged.
    pub fn parse_header(bytes: &'a [u8], of: Incarnation) -> Result<FrameView<'a>, FrameError> {
        let limit = bytes.len() as u64;
        if bytes.len() < HEADER_BYTES {
            return Err(FrameError::Length {
                found: HEADER_BYTES as u64,
                limit,
            });
        }
        if word(bytes, 0) != MAGIC {
            return Err(FrameError::Magic {
                found: word(bytes, 0),
            });
        }
        let found = checksum(of, &bytes[..HASH_AT]);
        let expected = word(bytes, HASH_AT);
        if found != expected {
            return Err(FrameError::Header { expected, found });
        }
        if word(bytes, 8) as u32 != FORMAT {
            return Err(FrameError::Format {
                found: word(bytes, 8) as u32,
            });
        }
        let len = (word(bytes, 8) >> 32) as usize;
        let table_len = (word(bytes, 56) as u32 as usize).saturating_mul(FRAGMENT_BYTES);
        let payload_len = (word(bytes, 56) >> 32) as usize;
        let body_len = table_len
            .saturating_add(payload_len)
            .saturating_add(HEADER_BYTES);
        if len > bytes.len() || body_len > len || len > FRAME_BYTES_MAX {
            return Err(FrameError::Length {
                found: len.max(body_len) as u64,
                limit,
            });
        }
        let (table, rest) = bytes[HEADER_BYTES..].split_at(table_len);
        Ok(FrameView {
            head: FrameHead {
                sequence: Sequence(word(bytes, 16)),
                predecessor: word(bytes, 24),
                durable_through: Sequence(word(bytes, 32)),
                oldest_needed: Sequence(word(bytes, 40)),
            },
            hash: expected,
            len,
            table,
            payload: &rest[..payload_len],
        })
    }

    /// The fragments the table names, if it verifies, although the payload may not.
    pub fn named_fragments(
        bytes: &'a [u8],
        incarnation: Incarnation,
    ) -> Result<Vec<Fragment>, FrameError> {
        let view = FrameView::parse_header(bytes, incarnation)?;
        let found = checksum(incarnation, view.table);
        let expected = word(bytes, 64);
        if found != expected {
            let sequence = view.head.sequence;
            return Err(FrameError::Table {
                sequence,
                expected,
                found,
            });
        }
        let slots = view.table.chunks_exact(FRAGMENT_BYTES);
        Ok(slots
            .filter_map(|slot| Some(Fragment::decode(slot)?.0))
            .collect())
    }

    /// The file that it names as the next (S9): it carries nothing else then.
    #[must_use]
    pub fn next_file(&self) -> Option<(u32, Incarnation)> {
        let slot: &[u8; FRAGMENT_BYTES] = self.table.try_into().ok()?;
        let (fragment, _) = Fragment::decode(slot)?;
        if fragment.kind != Kind::NextFile {
            return None;
        }
        let number = u32::try_from(fragment.base.0).ok()?;
        Some((number, Incarnation(fragment.chain_after.0)))
    }

    /// Its fragments with their payloads, in order; `None` for a kind this release does not know
    /// or a length that does not fit, although the checksums hold.
    #[must_use]
    pub fn fragments(&self) -> Option<Vec<(Fragment, &'a [u8])>> {
        let mut rest = self.payload;
        let mut fragments = Vec::with_capacity(self.table.len() / FRAGMENT_BYTES);
        for slot in self.table.chunks_exact(FRAGMENT_BYTES) {
            let (fragment, payload_len) = Fragment::decode(slot)?;
            let (payload, after) = rest.split_at_checked(payload_len as usize)?;
            rest = after;
            fragments.push((fragment, payload));
        }
        Some(fragments)
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
