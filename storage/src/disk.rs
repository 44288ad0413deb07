//! What storage asks of a disk and of a clock, so that the same code runs on a shard's ring, on
//! plain system calls at start, and on a simulated disk with faults.
//!
//! A disk never retries and never hides an error: the caller decides what a failure means (S10).

pub mod aligned;
pub mod simulated;
pub mod standard;

use crate::space::FileSystem;
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The unit of every disk transfer: positions, lengths and buffer addresses are multiples of it.
/// 512 would do for most devices; 4096 is what ext4 and xfs blocks and 4Kn drives ask for.
pub const PAGE: usize = 4096;

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Existing file, reads only.
    Read,
    /// Existing file, reads and writes inside its present length.
    Write,
    /// New file of the given length in bytes; fails if it exists. Its blocks are allocated, its
    /// contents are zeros or unwritten extents.
    Create {
        /// Length in bytes, a multiple of [`PAGE`].
        len: u64,
    },
}

/// Whether a completed write has reached stable storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Completion says nothing about power loss.
    No,
    /// Completion means durable: `RWF_DSYNC`. It covers this write only, no earlier one.
    Data,
}

/// The bytes of one transfer. Its address is aligned to [`PAGE`] and its length a multiple of it.
pub trait DiskBuf: AsRef<[u8]> + AsMut<[u8]> + Send + Sync + 'static {}
impl<T: AsRef<[u8]> + AsMut<[u8]> + Send + Sync + 'static> DiskBuf for T {}

/// A disk as one shard (or the start) sees it. Cheap to clone: a handle.
///
/// Buffers go in and come back: an operation owns its buffer until it has completed, also when the
/// future that asked is dropped.
pub trait Disk: Clone + 'static {
    /// An open file; clones share it, the last one dropped closes it.
    type File: Clone + 'static;
    /// Aligned memory.
    type Buf: DiskBuf;

    /// A buffer of `len` bytes (a multiple of [`PAGE`]) with unspecified contents: never write it
    /// out without filling all of it.
    fn buffer(&self, len: usize) -> Self::Buf;

    /// The same for one that will be kept after its transfer, as a cache does: not out of the few
    /// that are made for transfers.
    fn lasting_buffer(&self, len: usize) -> Self::Buf {
        self.buffer(len)
    }

    /// Opens or creates a file. `Create` does not make the directory entry durable: see
    /// [`Disk::sync_dir`].
    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>>;

    /// The file's length in bytes.
    fn len(&self, file: &Self::File) -> io::Result<u64>;

    /// Fills `buf` from `position`; a file that ends earlier is `UnexpectedEof`.
    fn read(
        &self,
        file: &Self::File,
        position: u64,
        buf: Self::Buf,
    ) -> impl Future<Output = (io::Result<()>, Self::Buf)>;

    /// Writes all of `buf` at `position`. A short write is completed by further writes of the
    /// rest; an error leaves any part of the range written.
    fn write(
        &self,
        file: &Self::File,
        position: u64,
        buf: Self::Buf,
        flush: Flush,
    ) -> impl Future<Output = (io::Result<()>, Self::Buf)>;

    /// Makes everything written to the file before this call durable (fdatasync).
    fn sync(&self, file: &Self::File) -> impl Future<Output = io::Result<()>>;

    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>>;

    /// Creates the directory and its missing parents, durable when it returns.
    fn create_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>>;

    /// Creates the directory and its missing parents; durable only once [`Disk::sync_all`] has been
    /// told of them.
    fn make_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>> {
        self.create_dir(dir)
    }

    /// Makes the files' bytes and the directories' entries durable, all on one file system: of many
    /// together, where there is a way that is cheaper than one after the other.
    fn sync_all(
        &self,
        files: &[PathBuf],
        dirs: &[PathBuf],
    ) -> impl Future<Output = io::Result<()>> {
        sync_each(self, files, dirs)
    }

    /// Paths of the directory's entries, in no order; a missing directory is empty.
    fn list(&self, dir: &Path) -> impl Future<Output = io::Result<Vec<PathBuf>>>;

    /// Renames inside the file system; durable only after [`Disk::sync_dir`] of both directories.
    fn rename(&self, source: &Path, target: &Path) -> impl Future<Output = io::Result<()>>;

    /// Removes a file, or a directory with everything in it; a missing one is no error.
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// How full the file system of `dir` is; nothing from a disk that does not know, which then
    /// never is. Asked by the housekeeper only.
    fn space(&self, dir: &Path) -> impl Future<Output = io::Result<Option<FileSystem>>> {
        let _ = dir;
        async { Ok(None) }
    }
}

/// [`Disk::sync_all`] where there is no cheaper way: one after the other.
async fn sync_each<D: Disk>(disk: &D, files: &[PathBuf], dirs: &[PathBuf]) -> io::Result<()> {
    for path in files {
        let file = disk.open(path, OpenMode::Write).await?;
        disk.sync(&file).await?;
    }
    for dir in dirs {
        disk.sync_dir(dir).await?;
    }
    Ok(())
}

/// Time as storage sees it; injected so that a simulation owns it.
pub trait Clock: Clone + 'static {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> i64;
    /// Time since an arbitrary start; never goes back.
    fn elapsed(&self) -> Duration;
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}
