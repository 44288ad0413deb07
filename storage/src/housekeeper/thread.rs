//! The housekeeper's thread: which executor it runs, how jobs are spread over it, and how it ends.

use std::{
    fmt, io, panic,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
};

use futures_util::FutureExt as _;
use glommio::{Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares};

use super::{
    Keeper, Urgency,
    background::{BackgroundDisk, probe_polling},
    lanes::Lanes,
    mail::{self, Bell, ChoreReceiver, ChoreSender, Mail, WakeShard},
    serve::serve,
};
use crate::{
    compaction::Records,
    disk::{Disk, standard::StandardDisk},
    hash::Incarnation,
    space::Space,
};

/// Memory that glommio registers with its rings, which counts against the user's locked memory,
/// once for each of its three rings: 192 KiB of the 6 MiB that all shards and it share. glommio
/// takes no less; its default of 10 MiB would leave the shards nothing.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Operations in flight on each ring; jobs are few and each waits for itself.
const RING_DEPTH: usize = 32;
/// The least that glommio starts with.
const MEMLOCK_MIN_BYTES: u64 = 512 << 10;
/// How nice the thread is: a shard that wants a core gets it, and seals still get their files.
const NICENESS: i32 = 10;

/// How the jobs are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// A glommio executor with shares for each class of jobs.
    Glommio,
    /// Plain system calls, one job after the other.
    Thread,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Glommio => "glommio",
            Backend::Thread => "thread",
        })
    }
}

/// Where a housekeeper works, and with what.
#[derive(Clone)]
pub struct Duties {
    /// The data directory, from the root.
    pub data: PathBuf,
    /// Is told how full the disk is; no file is made that its reserve forbids.
    pub space: Space,
    /// What opens records: without it nothing is compacted.
    pub records: Option<Arc<dyn Records>>,
}

impl Duties {
    fn keeper<D: Disk>(self, disk: D) -> Keeper<D> {
        let keeper = Keeper::new(disk, self.data, Box::new(Incarnation::random));
        let keeper = keeper.with_space(self.space);
        match self.records {
            Some(records) => keeper.with_records(records),
            None => keeper,
        }
    }
}

/// The running housekeeper. Dropping it ends the thread, after the jobs it has begun.
pub struct Housekeeper {
    backend: Backend,
    note: Option<String>,
    bell: Arc<Bell>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What the thread says when it is ready: how it runs, and why not with glommio.
type Ready = io::Result<(Backend, Option<String>)>;

impl Housekeeper {
    /// Starts the thread and clears the pool. Gives the shards' ends in the order of `wakes`.
    /// It tells `space` how full the disk is and makes no file that the reserve forbids. `uring` is
    /// false where the operator chose epoll: then glommio is not even tried.
    pub fn start(
        data: PathBuf,
        space: Space,
        wakes: Vec<WakeShard>,
        uring: bool,
    ) -> io::Result<(Housekeeper, Vec<(ChoreSender, ChoreReceiver)>)> {
        Housekeeper::start_with(
            Duties {
                data,
                space,
                records: None,
            },
            wakes,
            uring,
        )
    }

    /// The same for one that compacts too (S16), if it is given what opens records.
    pub fn start_with(
        duties: Duties,
        wakes: Vec<WakeShard>,
        uring: bool,
    ) -> io::Result<(Housekeeper, Vec<(ChoreSender, ChoreReceiver)>)> {
        let bell = Arc::<Bell>::default();
        let (ends, mail) = mail::connect(wakes, &bell);
        let (ready_in, ready_out) = mpsc::sync_channel(1);
        let body = move || run(duties, mail, uring, &ready_in);
        let thread = thread::Builder::new()
            .name("housekeeper".to_owned())
            .spawn(body)?;
        let gone = |_| io::Error::other("the housekeeper's thread ended while starting");
        let (backend, note) = ready_out.recv().map_err(gone)??;
        Ok((
            Housekeeper {
                backend,
                note,
                bell,
                thread: Some(thread),
            },
            ends,
        ))
    }

    /// How it runs.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Why it does not run on glommio, with the remedy: for the log, once.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether the thread still runs. When it does not without having been asked to end, a bug has
    /// killed it and no shard gets a file any more: a reason to end the process.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the thread after the jobs it has begun; jobs that wait in the rings are dropped.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.bell.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the housekeeper's thread panicked; please report this");
        }
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(duties: Duties, mail: Mail, uring: bool, ready: &mpsc::SyncSender<Ready>) {
    // This thread only: Linux keeps niceness for each thread, and pid 0 is the caller.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the housekeeper keeps its priority");
    }
    let note = match executor(uring) {
        Ok(executor) => match run_on_glommio(&executor, duties.clone(), mail, ready) {
            Ok(()) => return,
            Err((mail, note)) => return run_on_thread(duties, mail, Some(note), ready),
        },
        Err(note) => note,
    };
    run_on_thread(duties, mail, note, ready);
}

/// A glommio executor, or why there is none (nothing when none was wanted). glommio panics where
/// the kernel refuses io_uring, so the kernel is asked first.
fn executor(uring: bool) -> Result<LocalExecutor, Option<String>> {
    if !uring {
        return Err(None);
    }
    io_uring::IoUring::new(2).map_err(|error| {
        Some(format!(
            "the housekeeper runs without io_uring: {error}; allow io_uring_setup in the \
             container's seccomp profile, or set kernel.io_uring_disabled=0"
        ))
    })?;
    let locked = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    if let Some(bytes) = locked.filter(|&bytes| bytes < MEMLOCK_MIN_BYTES) {
        return Err(Some(format!(
            "the housekeeper runs without io_uring: {bytes} bytes of memory may be locked and \
             glommio needs {MEMLOCK_MIN_BYTES}; raise it with `ulimit -l` or LimitMEMLOCK="
        )));
    }
    let build = || {
        LocalExecutorBuilder::new(Placement::Unbound)
            .name("housekeeper")
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .make()
    };
    let reason = match panic::catch_unwind(build) {
        Ok(Ok(executor)) => return Ok(executor),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "glommio panicked".to_owned(),
    };
    Err(Some(format!(
        "the housekeeper runs without io_uring: {reason}; see `ulimit -l`"
    )))
}

/// Gives the mail back when glommio cannot work in this directory.
fn run_on_glommio(
    executor: &LocalExecutor,
    duties: Duties,
    mail: Mail,
    ready: &mpsc::SyncSender<Ready>,
) -> Result<(), (Mail, String)> {
    executor.run(async {
        let keeper = duties.keeper(BackgroundDisk);
        let probed = probe_polling(keeper.data()).await;
        let started = match probed {
            Ok(()) => keeper.start().await,
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            let note = format!(
                "the housekeeper runs without io_uring: {error}; it needs direct I/O in the data \
                 directory, which ext4 and xfs allow"
            );
            return Err((mail, note));
        }
        if ready.send(Ok((Backend::Glommio, None))).is_err() {
            return Ok(());
        }
        let queue = |name, shares| {
            let shares = Shares::Static(shares);
            glommio::executor().create_task_queue(shares, Latency::NotImportant, name)
        };
        let (awaited, ahead, whenever) = (
            queue("awaited", 1000),
            queue("ahead", 200),
            queue("whenever", 100),
        );
        let spawn = move |urgency, job| {
            let lane = match urgency {
                Urgency::Awaited => awaited,
                Urgency::Ahead => ahead,
                Urgency::Whenever => whenever,
            };
            match glommio::spawn_local_into(job, lane) {
                Ok(task) => drop(task.detach()),
                Err(error) => tracing::error!(%error, "a housekeeper job was lost; restart"),
            }
        };
        serve(keeper, mail, Rc::new(spawn)).await;
        Ok(())
    })
}

fn run_on_thread(
    duties: Duties,
    mail: Mail,
    note: Option<String>,
    ready: &mpsc::SyncSender<Ready>,
) {
    let keeper = duties.keeper(StandardDisk::new());
    let started = keeper.start().now_or_never();
    let started = started.unwrap_or_else(|| Err(io::Error::other("the plain disk waited")));
    let failed = started.is_err();
    if ready
        .send(started.map(|()| (Backend::Thread, note)))
        .is_err()
        || failed
    {
        return;
    }
    let lanes = Rc::new(Lanes::default());
    let spawner = Rc::clone(&lanes);
    let spawn = move |urgency, task| spawner.push(urgency, task);
    lanes.run(serve(keeper, mail, Rc::new(spawn)));
}
