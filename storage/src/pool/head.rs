//! The first page of every segment and journal file: which use of the file this is (S7). Written
//! and flushed before the file is handed out, never rewritten while it is in use.
//!
//! ```text
//!  0       8        12      16            24       32                     40        4096
//! +-------+--------+-------+-------------+--------+----------------------+---------+
//! | magic | format | kind  | incarnation | file   | checksum u64 of 0..32, | zeros |
//! | u64   | u32    | u32   | u64         | len u64| seeded with incarnation|       |
//! +-------+--------+-------+-------------+--------+----------------------+---------+
//! ```
//! It names no partition: it is written before the file has one. The blocks name theirs.

use std::io;

use crate::{
    disk::{Disk, PAGE},
    hash::{self, Incarnation},
};

/// "SPATEFIL", read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"SPATEFIL");
const FORMAT: u32 = 1;
const CHECKSUM_AT: usize = 32;

/// What a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// Blocks of one partition.
    Segment,
    /// Frames of one shard.
    Journal,
}

impl FileKind {
    /// As it stands in the head page.
    pub(crate) fn number(self) -> u32 {
        match self {
            FileKind::Segment => 1,
            FileKind::Journal => 2,
        }
    }
}

/// A file's head page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHead {
    /// What the file is for.
    pub kind: FileKind,
    /// This use of it.
    pub incarnation: Incarnation,
    /// The file's length in bytes.
    pub len: u64,
}

/// What is wrong with a head page.
#[derive(thiserror::Error, Debug)]
pub enum HeadError {
    /// Not a file of ours, or never prepared.
    #[error("file head magic: expected {MAGIC:#018x}, found {0:#018x}")]
    Magic(u64),
    /// A file of another release.
    #[error("file format {0} is not known to this release, which reads format {FORMAT}")]
    Format(u32),
    /// Neither segment nor journal.
    #[error("file kind {0} is not known: 1 is a segment, 2 a journal")]
    Kind(u32),
    /// Damaged.
    #[error("file head checksum: expected {expected:016x}, found {found:016x}")]
    Checksum {
        /// What stands in the page.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
    /// The page could not be read.
    #[error("cannot read the file's head: {0}")]
    Io(#[from] io::Error),
}

impl FileHead {
    /// Writes the page.
    ///
    /// # Panics
    /// When `page` is not exactly [`PAGE`] long.
    pub fn encode(&self, page: &mut [u8]) {
        assert_eq!(page.len(), PAGE);
        page.fill(0);
        page[..8].copy_from_slice(&MAGIC.to_le_bytes());
        page[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        page[12..16].copy_from_slice(&self.kind.number().to_le_bytes());
        page[16..24].copy_from_slice(&self.incarnation.0.to_le_bytes());
        page[24..32].copy_from_slice(&self.len.to_le_bytes());
        let sum = hash::checksum(self.incarnation, &page[..CHECKSUM_AT]);
        page[CHECKSUM_AT..CHECKSUM_AT + 8].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads and verifies the page.
    ///
    /// # Panics
    /// When `page` is shorter than [`PAGE`].
    pub fn decode(page: &[u8]) -> Result<FileHead, HeadError> {
        assert!(page.len() >= PAGE);
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&page[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        if word(0) != MAGIC {
            return Err(HeadError::Magic(word(0)));
        }
        let (format, kind) = (word(8) as u32, (word(8) >> 32) as u32);
        if format != FORMAT {
            return Err(HeadError::Format(format));
        }
        let incarnation = Incarnation(word(16));
        let found = hash::checksum(incarnation, &page[..CHECKSUM_AT]);
        let expected = word(CHECKSUM_AT);
        if found != expected {
            return Err(HeadError::Checksum { expected, found });
        }
        let kind = match kind {
            1 => FileKind::Segment,
            2 => FileKind::Journal,
            other => return Err(HeadError::Kind(other)),
        };
        Ok(FileHead {
            kind,
            incarnation,
            len: word(24),
        })
    }
}

/// Reads a file's head page.
pub async fn read_head<D: Disk>(disk: &D, file: &D::File) -> Result<FileHead, HeadError> {
    let (read, page) = disk.read(file, 0, disk.buffer(PAGE)).await;
    read?;
    FileHead::decode(page.as_ref())
}
