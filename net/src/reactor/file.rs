//! Files for direct, durable transfers.

use std::{
    ffi::CString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    rc::Rc,
};

use super::{
    buffers::{DMA_ALIGN, DmaBuf},
    current,
    driver::Driver,
    epoll,
    ring::{self, Ring},
};

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileOptions {
    /// Writing as well as reading.
    pub write: bool,
    /// Create it, with that many bytes allocated; fails if it exists.
    pub create_len: Option<u64>,
    /// Bypass the page cache (`O_DIRECT`), where the file system can.
    pub direct: bool,
}

#[derive(Clone)]
enum Via {
    Ring(Rc<Ring>),
    /// Plain system calls: nothing of the poller is needed.
    Epoll,
}

impl Via {
    fn current() -> Self {
        match current::get().driver() {
            Driver::Ring(ring) => Via::Ring(Rc::clone(ring)),
            Driver::Epoll(_) => Via::Epoll,
        }
    }
}

/// An open file. Clones share it; operations under way hold it open.
///
/// On the epoll backend its operations are plain system calls that block the thread.
#[derive(Clone)]
pub struct File {
    via: Via,
    descriptor: Rc<OwnedFd>,
    direct: bool,
}

impl File {
    /// Opens or creates a file. Where the file system refuses `O_DIRECT` it is opened buffered:
    /// see [`File::is_direct`].
    ///
    /// # Panics
    /// Outside of a reactor.
    pub async fn open(path: impl AsRef<Path>, options: FileOptions) -> io::Result<File> {
        let path = path.as_ref();
        let via = Via::current();
        let mut direct = options.direct;
        let mut opened = via.open(path, flags(options, direct)).await;
        if direct && opened.as_ref().is_err_and(refuses_direct) {
            direct = false;
            let mut again = flags(options, direct);
            // Refused after the file was made: Linux checks O_DIRECT last.
            if options.create_len.is_some() {
                again &= !libc::O_EXCL;
            }
            opened = via.open(path, again).await;
        }
        let file = File {
            via,
            descriptor: opened?,
            direct,
        };
        if let Some(len) = options.create_len.filter(|len| *len > 0)
            && let Err(error) = file.allocate(len).await
        {
            // Or the next attempt would find it in its way.
            let _ = rustix::fs::unlink(path);
            return Err(error);
        }
        Ok(file)
    }

    /// Takes over a descriptor that somebody else has opened.
    ///
    /// # Panics
    /// Outside of a reactor.
    pub fn from_fd(descriptor: OwnedFd) -> File {
        let direct = rustix::fs::fcntl_getfl(&descriptor)
            .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::DIRECT));
        File {
            via: Via::current(),
            descriptor: Rc::new(descriptor),
            direct,
        }
    }

    /// Whether transfers bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Fills `buf` from `position`; a file that ends earlier is `UnexpectedEof`.
    pub async fn read(&self, position: u64, buf: DmaBuf) -> (io::Result<()>, DmaBuf) {
        match &self.via {
            Via::Ring(ring) => ring::transfer::read(ring, &self.descriptor, position, buf).await,
            Via::Epoll => epoll::transfer::read(&self.descriptor, position, buf).await,
        }
    }

    /// Writes all of `buf` at `position`. With `sync_data` its completion means durable, for this
    /// write alone. A short write is completed by further ones.
    pub async fn write(
        &self,
        position: u64,
        buf: DmaBuf,
        sync_data: bool,
    ) -> (io::Result<()>, DmaBuf) {
        match &self.via {
            Via::Ring(ring) => {
                ring::transfer::write(ring, &self.descriptor, position, buf, sync_data).await
            }
            Via::Epoll => epoll::transfer::write(&self.descriptor, position, buf, sync_data).await,
        }
    }

    /// Makes everything written so far durable (`fdatasync`).
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.via {
            Via::Ring(ring) => ring::transfer::sync_data(ring, &self.descriptor).await,
            Via::Epoll => epoll::transfer::sync_data(&self.descriptor).await,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        let len = rustix::fs::fstat(&*self.descriptor)?.st_size;
        u64::try_from(len).map_err(|_| io::Error::other(format!("file length {len} is negative")))
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    async fn allocate(&self, len: u64) -> io::Result<()> {
        let allocated = match &self.via {
            Via::Ring(ring) => ring::transfer::allocate(ring, &self.descriptor, len).await,
            Via::Epoll => epoll::transfer::allocate(&self.descriptor, len).await,
        };
        match allocated {
            // A file system without preallocation: a hole of that length must do.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Ok(rustix::fs::ftruncate(&*self.descriptor, len)?)
            }
            outcome => outcome,
        }
    }
}

impl Via {
    async fn open(&self, path: &Path, flags: i32) -> io::Result<Rc<OwnedFd>> {
        match self {
            Via::Ring(ring) => ring::transfer::open(ring, path, flags).await,
            Via::Epoll => epoll::transfer::open(path, flags).await,
        }
    }
}

fn flags(options: FileOptions, direct: bool) -> i32 {
    let access = if options.write || options.create_len.is_some() {
        libc::O_RDWR
    } else {
        libc::O_RDONLY
    };
    let create = if options.create_len.is_some() {
        libc::O_CREAT | libc::O_EXCL
    } else {
        0
    };
    let direct = if direct { libc::O_DIRECT } else { 0 };
    access | create | direct | libc::O_CLOEXEC
}

/// Where a transfer of `len` bytes goes on that had moved `done` and now moved `n` more: direct
/// transfers only start on page boundaries, so up to a page is moved again. No progress by that
/// measure means that the file (or the disk) ends here.
pub(crate) fn resume(done: usize, n: usize, len: usize) -> usize {
    let end = done + n;
    if end >= len {
        len
    } else {
        end - end % DMA_ALIGN
    }
}

fn refuses_direct(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

pub(crate) fn path_to_c(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        let message = format!("path {} contains a zero byte", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}
