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
    /// The error number, such as `EIO` (5) or `ENOSPC` (28); nothing for a read that succeeds with
    /// one flipped bit.
    pub errno: Option<i32>,
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
            errno: Some(errno),
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
            errno: None,
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
