//! The disk by way of glommio's rings, for the housekeeper only. Transfers go through buffers of
//! glommio's own, so each costs a copy: the price of one job code for all disks, on a thread whose
//! time nobody waits for.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use glommio::io::{Directory, DmaFile, OpenOptions};

use crate::disk::{
    Disk, Flush, OpenMode, PAGE,
    aligned::AlignedBuf,
    standard::{create_dir_now, files_below, list_now, remove_now, space_now},
};
use crate::space::FileSystem;

/// A file whose removal took less was free of cost for everybody else.
const REST_AFTER: Duration = Duration::from_millis(1);
/// No device is given more rest than this after one file, however long that waited for its turn.
const REST_MAX: Duration = Duration::from_millis(50);

/// A handle for use inside a glommio executor.
#[derive(Clone, Debug, Default)]
pub(super) struct BackgroundDisk;

/// An open file; the last clone dropped closes it.
#[derive(Clone, Debug)]
pub(super) struct BackgroundFile {
    file: Rc<DmaFile>,
    len: u64,
}

/// Names are changed by blocking calls, which glommio gives to a thread of their own: an unlink of
/// a large file must not hold up the jobs that shards wait for.
async fn off_ring<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(call).await
}

/// Has glommio find out whether the device can be polled. It tries a read on the first file of a
/// device that it opens, and takes the end of an empty one for success; every later read would fail
/// with EOPNOTSUPP where the device cannot (virtio, most of the cloud's).
pub(super) async fn probe_polling(dir: &Path) -> io::Result<()> {
    let path = dir.join("polling-probe");
    let (dir, written) = (dir.to_owned(), path.clone());
    off_ring(move || {
        std::fs::create_dir_all(dir)?;
        let mut file = std::fs::File::create(&written)?;
        file.write_all(&[0x5A; PAGE])?;
        file.sync_all()
    })
    .await?;
    let opened = OpenOptions::new().read(true).dma_open(&path).await;
    let closed = match opened {
        Ok(file) => file.close().await,
        Err(error) => Err(error),
    };
    off_ring(move || remove_now(&path)).await?;
    closed.map_err(io::Error::from)
}

impl Disk for BackgroundDisk {
    type File = BackgroundFile;
    type Buf = AlignedBuf;

    fn buffer(&self, len: usize) -> AlignedBuf {
        AlignedBuf::zeroed(len)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<BackgroundFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options.create_new(matches!(mode, OpenMode::Create { .. }));
        let file = options.dma_open(path).await.map_err(io::Error::from)?;
        let len = match mode {
            OpenMode::Create { len } => {
                file.pre_allocate(len, false)
                    .await
                    .map_err(io::Error::from)?;
                len
            }
            _ => file.file_size().await.map_err(io::Error::from)?,
        };
        Ok(BackgroundFile {
            file: Rc::new(file),
            len,
        })
    }

    fn len(&self, file: &BackgroundFile) -> io::Result<u64> {
        Ok(file.len)
    }

    async fn read(
        &self,
        file: &BackgroundFile,
        position: u64,
        mut buf: AlignedBuf,
    ) -> (io::Result<()>, AlignedBuf) {
        let result = match file.file.read_at_aligned(position, buf.len()).await {
            Ok(read) if read.len() == buf.len() => {
                buf.copy_from_slice(&read);
                Ok(())
            }
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error.into()),
        };
        (result, buf)
    }

    async fn write(
        &self,
        file: &BackgroundFile,
        position: u64,
        buf: AlignedBuf,
        flush: Flush,
    ) -> (io::Result<()>, AlignedBuf) {
        let written = write_all(&file.file, position, &buf).await;
        let result = match (written, flush) {
            // glommio has no RWF_DSYNC; a flush of the file is more than was asked for.
            (Ok(()), Flush::Data) => file.file.fdatasync().await.map_err(io::Error::from),
            (written, _) => written,
        };
        (result, buf)
    }

    async fn sync(&self, file: &BackgroundFile) -> io::Result<()> {
        file.file.fdatasync().await.map_err(io::Error::from)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = Directory::open(dir).await.map_err(io::Error::from)?;
        let synced = dir.sync().await.map_err(io::Error::from);
        dir.close().await.map_err(io::Error::from)?;
        synced
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = dir.to_owned();
        off_ring(move || create_dir_now(&dir)).await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let dir = dir.to_owned();
        off_ring(move || list_now(&dir)).await
    }

    async fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        let (source, target) = (source.to_owned(), target.to_owned());
        off_ring(move || std::fs::rename(source, target)).await
    }

    /// A directory file by file, for all blocking calls wait for one another. Freeing a large
    /// file's blocks keeps the device busy where the file system discards them: shards have it for
    /// as long afterwards.
    async fn remove(&self, path: &Path) -> io::Result<()> {
        let dir = path.to_owned();
        for file in off_ring(move || files_below(&dir)).await? {
            let begun = Instant::now();
            off_ring(move || remove_now(&file)).await?;
            let taken = begun.elapsed();
            if taken > REST_AFTER {
                glommio::timer::sleep(taken.min(REST_MAX)).await;
            }
        }
        let path = path.to_owned();
        off_ring(move || remove_now(&path)).await
    }

    /// Not off the ring: it reads numbers that the kernel keeps in memory.
    async fn space(&self, dir: &Path) -> io::Result<Option<FileSystem>> {
        space_now(dir).map(Some)
    }
}

async fn write_all(file: &DmaFile, position: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let mut buf = file.alloc_dma_buffer(rest.len());
        buf.as_bytes_mut().copy_from_slice(rest);
        let written = file
            .write_at(buf, position + done as u64)
            .await
            .map_err(io::Error::from)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += written;
    }
    Ok(())
}
