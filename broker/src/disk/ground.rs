//! What the data directory's file system makes of direct writes. One that cannot begin a write
//! without waiting costs a thread switch for each, which no error ever tells; so a start tries a
//! few and says it once.
//!
//! `RWF_NOWAIT` is what io_uring itself tries first: where it is refused, a worker of the kernel
//! gets the write. xfs refuses whenever a write has to move the file's modification time on, which
//! is once for each tick of the kernel's clock and file. Measured side by side on ext4 and xfs in
//! memory, medians of four rounds: at 200 records/s every journal write went to a worker, for 225
//! against 208 us of CPU a record; at 2,000/s three in ten did, and neither CPU nor latency told.

use std::{
    fmt, io,
    io::IoSlice,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    io::{Errno, ReadWriteFlags},
};
use spate_net::reactor::buffers::dma_buffer;
use spate_storage::disk::PAGE;

/// Writes that are tried. One in four may meet the file system in the middle of something.
const TRIES: u32 = 8;
/// Between two of them: longer than a tick of the kernel's clock, which is 10 ms at most.
const GAP: Duration = Duration::from_millis(12);

/// What a few direct writes met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// So many of [`TRIES`] could not begin at once.
    Direct {
        /// How many.
        handed_over: u32,
    },
    /// The file system knows no direct writes.
    Buffered,
}

impl Ground {
    /// Tries it, on a file of its own that nobody sees again.
    ///
    /// # Errors
    /// What the file system said, a full one for example.
    pub fn of(dir: &Path) -> io::Result<Ground> {
        let path = dir.join(".ground");
        let access = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, access | OFlags::DIRECT, Mode::RUSR | Mode::WUSR);
        // Some file systems make the file before they refuse the flag.
        let removed = rustix::fs::unlink(&path);
        let file = match opened {
            Err(Errno::INVAL) => return Ok(Ground::Buffered),
            opened => opened?,
        };
        removed?;
        let mut page = dma_buffer(PAGE);
        page.as_mut().fill(0);
        let write = |how| rustix::io::pwritev2(&file, &[IoSlice::new(page.as_ref())], 0, how);
        // As journals are: what is overwritten has its blocks, and was written before.
        write(ReadWriteFlags::empty())?;
        let mut handed_over = 0;
        for _ in 0..TRIES {
            thread::sleep(GAP);
            match write(ReadWriteFlags::NOWAIT) {
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::OPNOTSUPP) => {
                    handed_over += 1;
                    write(ReadWriteFlags::empty())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Ground::Direct { handed_over })
    }

    /// Whether it costs more than it need, on rings or without.
    #[must_use]
    pub fn costs(self, on_rings: bool) -> bool {
        match self {
            Ground::Direct { handed_over } => on_rings && handed_over * 2 > TRIES,
            Ground::Buffered => true,
        }
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ground::Direct { handed_over } => write!(
                f,
                "the file system hands direct writes over to the kernel's workers ({handed_over} \
                 of {TRIES} tried), as xfs does once in each tick of the kernel's clock: up to a \
                 tenth more CPU a record at low rates"
            ),
            Ground::Buffered => f.write_str(
                "the file system refuses direct writes: all data goes through the page cache, \
                 which takes memory and a copy of each write",
            ),
        }
    }
}

/// Tries the data directory on a thread of its own, because a start must not wait for it, and logs
/// it if it costs.
pub fn say_what_costs(dir: PathBuf, on_rings: bool) {
    let look = move || match Ground::of(&dir) {
        Ok(ground) if ground.costs(on_rings) => {
            let path = dir.display();
            tracing::warn!(%path, "{ground}; nothing is lost by it; ext4 does not cost that");
        }
        Ok(ground) => tracing::debug!(?ground, "the file system takes direct writes"),
        Err(error) => tracing::debug!(%error, "direct writes were not tried"),
    };
    let thread = thread::Builder::new().name("ground".to_owned()).spawn(look);
    if let Err(error) = thread {
        tracing::debug!(%error, "direct writes were not tried");
    }
}
