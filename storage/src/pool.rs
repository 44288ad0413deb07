//! Files before and after their use: size classes, the head page that every file gets before
//! hand-out, and how a file is prepared. Works over any [`Disk`], so that the start, the
//! housekeeper and the simulator prepare files by the same code.
//!
//! ```text
//! <data>/pool/<size class>/<incarnation>     being prepared, or ready for use (segments)
//! <data>/pool/journal/<incarnation>          a journal file while it is being zero-filled
//! ```
//! Nothing under `pool` survives a start: a killed process may have left writes in flight to these
//! files (S1), so they are unlinked, never reused.

mod head;
mod prepare;

use std::{fmt, path::PathBuf};

pub use head::{FileHead, FileKind, HeadError, read_head};
pub(crate) use prepare::create_unflushed;
pub use prepare::{Filling, clear_leftovers, place, prepare, renew};

use crate::{disk::PAGE, hash::Incarnation};

/// The lengths a segment file may have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SizeClass {
    /// 64 KiB: partitions that hardly see a record.
    K64,
    /// 1 MiB.
    M1,
    /// 8 MiB.
    M8,
    /// 32 MiB: the usual one under load.
    M32,
}

impl SizeClass {
    /// From the smallest to the largest.
    pub const ALL: [SizeClass; 4] = [SizeClass::K64, SizeClass::M1, SizeClass::M8, SizeClass::M32];

    /// A file's length in bytes, head page included.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            SizeClass::K64 => 64 << 10,
            SizeClass::M1 => 1 << 20,
            SizeClass::M8 => 8 << 20,
            SizeClass::M32 => 32 << 20,
        }
    }

    /// The smallest class whose files hold at least `bytes`, head page included.
    #[must_use]
    pub fn holding(bytes: u64) -> Option<SizeClass> {
        SizeClass::ALL
            .into_iter()
            .find(|class| class.bytes() >= bytes)
    }

    /// The class of files of exactly that length.
    #[must_use]
    pub fn of_len(bytes: u64) -> Option<SizeClass> {
        SizeClass::ALL
            .into_iter()
            .find(|class| class.bytes() == bytes)
    }

    /// The class after this one: a partition that filled a file takes a larger next.
    #[must_use]
    pub fn next(self) -> SizeClass {
        let i = SizeClass::ALL.iter().position(|&c| c == self).unwrap_or(0);
        SizeClass::ALL[(i + 1).min(SizeClass::ALL.len() - 1)]
    }
}

impl fmt::Display for SizeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SizeClass::K64 => "64k",
            SizeClass::M1 => "1m",
            SizeClass::M8 => "8m",
            SizeClass::M32 => "32m",
        })
    }
}

const _: () = assert!(SizeClass::K64.bytes().is_multiple_of(PAGE as u64));

/// A file that may be handed out: its head page is flushed, its directory entry is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreparedFile {
    /// Where it lies now.
    pub path: PathBuf,
    /// What it is for.
    pub kind: FileKind,
    /// Its length in bytes.
    pub len: u64,
    /// This use of it (S7).
    pub incarnation: Incarnation,
}
