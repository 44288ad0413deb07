//! The lock of a data directory: one process at a time, and none before the last write of its
//! predecessor has landed (S1). The lock belongs to the open descriptor, which the shards register
//! in their rings: the kernel keeps it until every operation of the ring is over, seconds after
//! the process is gone on a slow disk.

use std::{
    fs, io,
    io::{Read as _, Seek as _, Write as _},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::FlockOperation;

/// How often a held lock is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The lock, held until dropped (and until no ring has the descriptor any more).
#[derive(Debug)]
pub struct DataLock {
    file: fs::File,
}

/// Who holds a lock, as far as its file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot: another process may have its pid now.
    start_ticks: u64,
}

/// Why there is no lock.
#[derive(thiserror::Error, Debug)]
pub enum LockError {
    /// The file cannot be opened or written.
    #[error("{path}: {error}; check that the data directory can be written")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another broker runs on this data.
    #[error(
        "{path}: held by process {pid}, which is running; stop it, or give this one another data \
         directory"
    )]
    Running {
        /// The lock file.
        path: PathBuf,
        /// Who holds it.
        pid: u32,
    },
    /// The holder is dead and its writes still are not over.
    #[error(
        "{path}: held by process {pid}, which is not seen here; its writes have not ended after \
         {waited_s} s: check the disk (dmesg), and that no other container uses this directory"
    )]
    StillWriting {
        /// The lock file.
        path: PathBuf,
        /// Who held it.
        pid: u32,
        /// How long this start waited, in seconds.
        waited_s: u64,
    },
}

impl DataLock {
    /// Takes the lock of a data directory. When its holder is dead, waits up to `patience` for its
    /// last write to land, and says so once; when it is alive, refuses at once.
    pub fn acquire(data: &Path, patience: Duration) -> Result<DataLock, LockError> {
        let path = data.join("lock");
        let io = |error: io::Error| LockError::Io {
            path: path.clone(),
            error,
        };
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io)?;
        let start = Instant::now();
        let mut said = false;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::AGAIN) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(io(error.into())),
            }
            // No pid yet: the holder has the lock and is about to write it, or another start won.
            let holder = read_holder(&mut file).map_err(io)?;
            if let Some(Holder { pid, .. }) = holder.filter(Holder::is_running) {
                return Err(LockError::Running { path, pid });
            }
            let pid = holder.map_or(0, |holder| holder.pid);
            let waited = start.elapsed();
            if waited >= patience {
                return Err(LockError::StillWriting {
                    path,
                    pid,
                    waited_s: waited.as_secs(),
                });
            }
            if !said {
                said = true;
                tracing::info!(
                    pid,
                    patience_s = patience.as_secs(),
                    "waiting: the last process on this data is gone, its writes are still landing"
                );
            }
            thread::sleep(RETRY_INTERVAL);
        }
        write_holder(&mut file).map_err(io)?;
        Ok(DataLock { file })
    }
}

impl AsFd for DataLock {
    /// For registration in every ring.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The file holds "<pid> <start ticks>\n".
fn write_holder(file: &mut fs::File) -> io::Result<()> {
    let pid = std::process::id();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{pid} {}", start_ticks(pid).unwrap_or(0))
}

fn read_holder(file: &mut fs::File) -> io::Result<Option<Holder>> {
    let mut text = String::new();
    file.rewind()?;
    // Bounded: it is our file, and it might not be.
    file.take(64).read_to_string(&mut text)?;
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(start_ticks))) = (words.next(), words.next()) else {
        return Ok(None);
    };
    Ok(u32::try_from(pid)
        .ok()
        .map(|pid| Holder { pid, start_ticks }))
}

impl Holder {
    /// Whether that very process still runs. A zombie does not: its rings may still be at work.
    fn is_running(&self) -> bool {
        start_ticks(self.pid).is_some_and(|ticks| ticks == self.start_ticks)
    }
}

/// When a process started; nothing if there is none or it has already exited. From
/// `/proc/<pid>/stat`, whose second field is a name in parentheses that may hold anything; after
/// it come the state (third field) and, as field 22, the start.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
