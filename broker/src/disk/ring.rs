//! The ring as storage's [`Disk`] and [`Clock`]: files are opened, read and written through it.
//! Directory work is the housekeeper's: asked of a shard it is an error, because it would block.

#[cfg(debug_assertions)]
use std::sync::LazyLock;
use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use spate_net::reactor::{
    self, File, FileOptions,
    buffers::{DmaBuf, dma_buffer, registered_buffer},
};
use spate_storage::disk::{Clock, Disk, Flush, OpenMode};

use super::wall_ms;

/// The disk as seen from inside a shard's reactor.
#[derive(Clone, Copy, Debug)]
pub struct ReactorDisk;

impl Disk for ReactorDisk {
    type File = File;
    type Buf = DmaBuf;

    fn buffer(&self, len: usize) -> DmaBuf {
        registered_buffer(len).unwrap_or_else(|| dma_buffer(len))
    }

    fn lasting_buffer(&self, len: usize) -> DmaBuf {
        dma_buffer(len)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let options = match mode {
            OpenMode::Read => FileOptions {
                write: false,
                create_len: None,
                direct: true,
            },
            OpenMode::Write => FileOptions {
                write: true,
                create_len: None,
                direct: true,
            },
            OpenMode::Create { .. } => return Err(belongs_to_housekeeper("create", path)),
        };
        File::open(path, options).await
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        file.len()
    }

    async fn read(&self, file: &File, position: u64, buf: DmaBuf) -> (io::Result<()>, DmaBuf) {
        file.read(position, buf).await
    }

    async fn write(
        &self,
        file: &File,
        position: u64,
        buf: DmaBuf,
        flush: Flush,
    ) -> (io::Result<()>, DmaBuf) {
        let is_flushed = flush == Flush::Data && !leaves_flushes_out();
        file.write(position, buf, is_flushed).await
    }

    async fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data().await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Err(belongs_to_housekeeper("sync", dir))
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Err(belongs_to_housekeeper("create", dir))
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Err(belongs_to_housekeeper("list", dir))
    }

    async fn rename(&self, source: &Path, _target: &Path) -> io::Result<()> {
        Err(belongs_to_housekeeper("rename", source))
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        Err(belongs_to_housekeeper("remove", path))
    }
}

/// Whether every flush is left out on purpose, so that the power-cut tests can show that they would
/// notice. No release can be told to: only builds with debug assertions look.
#[cfg(debug_assertions)]
fn leaves_flushes_out() -> bool {
    static CHOSEN: LazyLock<bool> = LazyLock::new(|| {
        let is_chosen = std::env::var("SPATE_SABOTAGE").is_ok_and(|bug| bug == "no-dsync");
        if is_chosen {
            tracing::error!("SPATE_SABOTAGE=no-dsync: nothing is durable; for tests only");
        }
        is_chosen
    });
    *CHOSEN
}

#[cfg(not(debug_assertions))]
const fn leaves_flushes_out() -> bool {
    false
}

fn belongs_to_housekeeper(verb: &str, path: &Path) -> io::Error {
    let text = format!(
        "a shard may not {verb} {}: the housekeeper does that",
        path.display()
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The reactor's time.
#[derive(Clone, Copy, Debug)]
pub struct ReactorClock {
    start: Instant,
}

impl ReactorClock {
    /// A clock whose elapsed time counts from now.
    pub fn new() -> ReactorClock {
        ReactorClock {
            start: Instant::now(),
        }
    }
}

impl Clock for ReactorClock {
    fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    fn elapsed(&self) -> Duration {
        reactor::now().saturating_duration_since(self.start)
    }

    async fn sleep(&self, duration: Duration) {
        reactor::sleep(duration).await;
    }
}
