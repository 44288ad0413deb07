//! The disk by plain system calls: for the start, for tools, and for the housekeeper where the
//! kernel refuses io_uring. It blocks its thread, so a shard never uses it; its futures are ready
//! at once.

use std::{
    fs, io,
    io::{IoSlice, IoSliceMut},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    io::{Errno, ReadWriteFlags},
};

use super::{Clock, Disk, Flush, OpenMode, PAGE, aligned::AlignedBuf, sync_each};
use crate::space::FileSystem;

/// A handle to the machine's file systems.
#[derive(Clone, Debug, Default)]
pub struct StandardDisk {
    refused_direct: Arc<AtomicBool>,
}

/// An open file of [`StandardDisk`].
#[derive(Clone, Debug)]
pub struct StandardFile {
    fd: Arc<OwnedFd>,
}

impl StandardDisk {
    /// A disk that asks for direct I/O.
    #[must_use]
    pub fn new() -> StandardDisk {
        StandardDisk::default()
    }

    /// Whether every file opened so far took direct I/O. When not, the file system refused
    /// `O_DIRECT` and those files go through the page cache; flushes still reach the disk.
    #[must_use]
    pub fn direct(&self) -> bool {
        !self.refused_direct.load(Ordering::Relaxed)
    }

    fn open_now(&self, path: &Path, mode: OpenMode) -> io::Result<StandardFile> {
        let access = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR,
            OpenMode::Create { .. } => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let access = access | OFlags::CLOEXEC;
        let permissions = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        let fd = match rustix::fs::open(path, access | OFlags::DIRECT, permissions) {
            Err(Errno::INVAL) => {
                self.refused_direct.store(true, Ordering::Relaxed);
                // Some file systems create the file before they refuse the flag.
                rustix::fs::open(path, access - OFlags::EXCL, permissions)?
            }
            other => other?,
        };
        if let OpenMode::Create { len } = mode {
            allocate(&fd, len)?;
        }
        Ok(StandardFile { fd: Arc::new(fd) })
    }
}

/// Allocates blocks for the whole file, so that no later write grows it. Where the file system
/// cannot, the length at least is set.
fn allocate(fd: &OwnedFd, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(rustix::fs::ftruncate(fd, len)?),
        other => Ok(other?),
    }
}

/// Where to go on after a short transfer: direct I/O takes whole pages only, so a page that came
/// in part is done again.
fn whole_pages(bytes: usize) -> usize {
    bytes - bytes % PAGE
}

fn read_all(fd: &OwnedFd, position: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut [IoSliceMut::new(&mut buf[done..])];
        let at = position + done as u64;
        match rustix::io::preadv2(fd, rest, at, ReadWriteFlags::empty()) {
            Ok(n) if n < PAGE => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += whole_pages(n),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_all(fd: &OwnedFd, position: u64, buf: &[u8], flush: Flush) -> io::Result<()> {
    let mut flags = match flush {
        Flush::No => ReadWriteFlags::empty(),
        Flush::Data => ReadWriteFlags::DSYNC,
    };
    let mut done = 0;
    while done < buf.len() {
        let rest = &[IoSlice::new(&buf[done..])];
        match rustix::io::pwritev2(fd, rest, position + done as u64, flags) {
            Ok(n) if n < PAGE => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += whole_pages(n),
            Err(Errno::INTR) => {}
            // A file system without RWF_DSYNC: the flush is made below instead.
            Err(Errno::OPNOTSUPP) if !flags.is_empty() => flags = ReadWriteFlags::empty(),
            Err(error) => return Err(error.into()),
        }
    }
    if flush == Flush::Data && flags.is_empty() {
        rustix::fs::fdatasync(fd)?;
    }
    Ok(())
}

pub(crate) fn sync_dir_now(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// Creates the directory and its missing parents, each made durable in its parent.
pub(crate) fn create_dir_now(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    create_dir_now(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let here = Path::new(".");
    sync_dir_now(if parent.as_os_str().is_empty() {
        here
    } else {
        parent
    })
}

pub(crate) fn remove_now(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// All files in a directory and in those below it; none if it is no directory (a link to one is
/// none either), or not there. What comes or goes meanwhile may be missing, or named in vain.
pub(crate) fn files_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut dirs, mut files) = (Vec::new(), Vec::new());
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        dirs.push(path.to_owned());
    }
    while let Some(dir) = dirs.pop() {
        for path in list_now(&dir)? {
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => dirs.push(path),
                Ok(_) => files.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(files)
}

pub(crate) fn list_now(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// File systems whose `syncfs` reaches the disk as an `fsync` of every file does, by the magic
/// numbers of statfs(2). Others promise less: FUSE and 9p hand the pages to their server and ask it
/// for no flush.
const FLUSHED_WHOLE: [u64; 3] = [EXT4_MAGIC, XFS_MAGIC, BTRFS_MAGIC];
const EXT4_MAGIC: u64 = 0xEF53;
const XFS_MAGIC: u64 = 0x5846_5342;
const BTRFS_MAGIC: u64 = 0x9123_683E;

fn is_flushed_whole(dir: &fs::File) -> io::Result<bool> {
    let magic = rustix::fs::fstatfs(dir)?.f_type as u64;
    Ok(FLUSHED_WHOLE.contains(&magic))
}

/// What the file system of `dir` has. It blocks only where the file system itself hangs.
pub fn space_now(dir: &Path) -> io::Result<FileSystem> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(FileSystem {
        total_bytes: found.f_blocks * found.f_frsize,
        usable_bytes: found.f_bavail * found.f_frsize,
    })
}

impl Disk for StandardDisk {
    type File = StandardFile;
    type Buf = AlignedBuf;

    fn buffer(&self, len: usize) -> AlignedBuf {
        AlignedBuf::zeroed(len)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<StandardFile> {
        self.open_now(path, mode)
    }

    fn len(&self, file: &StandardFile) -> io::Result<u64> {
        let len = rustix::fs::fstat(&file.fd)?.st_size;
        u64::try_from(len).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    async fn read(
        &self,
        file: &StandardFile,
        position: u64,
        mut buf: AlignedBuf,
    ) -> (io::Result<()>, AlignedBuf) {
        (read_all(&file.fd, position, &mut buf), buf)
    }

    async fn write(
        &self,
        file: &StandardFile,
        position: u64,
        buf: AlignedBuf,
        flush: Flush,
    ) -> (io::Result<()>, AlignedBuf) {
        (write_all(&file.fd, position, &buf, flush), buf)
    }

    async fn sync(&self, file: &StandardFile) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&file.fd)?)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir_now(dir)
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<()> {
        create_dir_now(dir)
    }

    async fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    /// One flush of the file system instead of one for each of ten thousand files, where that is
    /// known to do. It writes what other programs have left there too, which a start may wait for.
    async fn sync_all(&self, files: &[PathBuf], dirs: &[PathBuf]) -> io::Result<()> {
        let Some(dir) = dirs.first() else {
            return sync_each(self, files, dirs).await;
        };
        let dir = fs::File::open(dir)?;
        if !is_flushed_whole(&dir)? {
            return sync_each(self, files, dirs).await;
        }
        rustix::fs::syncfs(&dir)?;
        // A file system that had no metadata left to write may not have flushed the disk's own
        // cache, which holds what went past the page cache.
        if let Some(last) = files.last() {
            rustix::fs::fdatasync(fs::File::open(last)?)?;
        }
        Ok(())
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        list_now(dir)
    }

    async fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        fs::rename(source, target)
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        remove_now(path)
    }

    async fn space(&self, dir: &Path) -> io::Result<Option<FileSystem>> {
        space_now(dir).map(Some)
    }
}

/// The machine's clocks. Sleeping blocks the thread.
#[derive(Clone, Debug)]
pub struct StandardClock {
    start: Instant,
}

impl StandardClock {
    /// A clock whose [`Clock::elapsed`] starts now.
    #[must_use]
    pub fn new() -> StandardClock {
        StandardClock {
            start: Instant::now(),
        }
    }
}

impl Default for StandardClock {
    fn default() -> StandardClock {
        StandardClock::new()
    }
}

impl Clock for StandardClock {
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}
