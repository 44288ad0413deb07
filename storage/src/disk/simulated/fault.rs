//! What can be made to go wrong on a simulated disk.

use std::path::Path;

/// Kinds of operations that faults select.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Opening and creating files.
    Open,
    /// Reads.
    Read,
    /// Writes, flushing or not.
    Write,
    /// Flushes of a file.
    Sync,
    /// Flushes of a directory.
    SyncDir,
    /// Renaming, removing, listing, making directories.
    Names,
}

/// Something that goes wrong once, or always.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which operations.
    pub operation: Operation,
    /// Only on paths that contain this.
    pub path_part: String,
    /// How many matching operations pass first.
    pub skip: u64,
    /// How many then fail; `u64::MAX` for all.
    pub times: u64,
    /// What they do instead.
    pub effect: Effect,
}

/// How an operation goes wrong. Only the first is an error that anyone is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It fails with an error number, such as `EIO` (5) or `ENOSPC` (28); a write leaves any part
    /// of itself.
    Errno(i32),
    /// A read comes with one flipped bit.
    FlippedBit,
    /// A read comes with one page as it was before it was last written.
    Stale,
    /// A write reports success, flushed or not, and none of it is there.
    Lost,
    /// A write reports success, and only its first pages are there.
    Cut,
    /// A write reports success and went to other pages of the same file, which held something.
    Misdirected,
}

impl Fault {
    /// The next matching operation fails with `errno`; a write leaves any part of itself.
    #[must_use]
    pub fn once(operation: Operation, path_part: &str, errno: i32) -> Fault {
        let path_part = path_part.to_owned();
        Fault {
            operation,
            path_part,
            skip: 0,
            times: 1,
            effect: Effect::Errno(errno),
        }
    }

    /// The next read of a matching path comes with one flipped bit.
    #[must_use]
    pub fn flipped_read(path_part: &str) -> Fault {
        let (operation, path_part) = (Operation::Read, path_part.to_owned());
        Fault {
            operation,
            path_part,
            skip: 0,
            times: 1,
            effect: Effect::FlippedBit,
        }
    }

    /// Whether this operation is hit; counts it if it matches.
    pub(super) fn hits(&mut self, operation: Operation, path: &Path) -> bool {
        let matches = operation == self.operation
            && self.times > 0
            && path.to_string_lossy().contains(&self.path_part);
        if !matches {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.saturating_sub(u64::from(self.times != u64::MAX));
        true
    }
}
