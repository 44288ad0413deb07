//! The reactor: one single-threaded executor per core over one io_uring, or over epoll where the
//! kernel refuses io_uring.
//!
//! A shard builds it on its own thread and lives inside [`Reactor::block_on`]. Sockets, files and
//! timers find the reactor through the thread; nothing of it is shared with other threads but a
//! [`RemoteWaker`]. Nothing in here blocks, but for files on the epoll backend.
//!
//! An operation owns its buffer and its descriptor until the kernel has let go of them, also when
//! the future that asked is dropped; dropping the reactor waits for all of them.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use spate_net::reactor::{Reactor, ReactorConfig, TcpListener, TcpStream, spawn};
//!
//! let mut reactor = Reactor::new(&ReactorConfig::default())?;
//! let answer = reactor.block_on(async {
//!     let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), false)?;
//!     let client = spawn(TcpStream::connect(listener.local_addr()?));
//!     let (server, _peer) = listener.accept().await?;
//!     server.send(vec!["hello".into()]).await?;
//!     client.await?.receive().await
//! })?;
//! assert_eq!(&answer[..], b"hello");
//! # Ok(())
//! # }
//! ```

pub mod buffers;
mod config;
mod core;
mod current;
mod driver;
mod epoll;
mod executor;
mod file;
mod notify;
mod ring;
mod slab;
mod socket;
mod timer;
mod waker;

use std::{future::Future, io, os::fd::BorrowedFd, rc::Rc, sync::Arc};

use rustix::event::{EventfdFlags, eventfd};

use self::{config::Tally, core::Core, driver::Driver, epoll::Poller, waker::Remote};
pub use self::{
    config::{Backend, Counters, ReactorChoice, ReactorConfig, ReactorError, UnknownReactor},
    executor::{Task, spawn, yield_now},
    file::{File, FileOptions},
    notify::Notify,
    socket::{Received, TcpListener, TcpStream},
    timer::{Elapsed, Patience, Sleep, now, sleep, sleep_until, timeout},
    waker::RemoteWaker,
};

/// A single-threaded executor with its ring. Stays on the thread that built it.
pub struct Reactor {
    core: Rc<Core>,
    notes: Vec<String>,
}

impl Reactor {
    /// Builds a reactor for this thread.
    pub fn new(config: &ReactorConfig) -> Result<Reactor, ReactorError> {
        check(config)?;
        let eventfd =
            eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| ReactorError::Descriptor {
                what: "an eventfd",
                source: error.into(),
            })?;
        let remote = Arc::new(Remote::new(eventfd));
        let tally = Rc::new(Tally::default());
        let mut notes = Vec::new();
        let driver = choose(config, &remote, &tally, &mut notes)?;
        let core = Rc::new(Core::new(driver, remote, config.spin, tally));
        Ok(Reactor { core, notes })
    }

    /// The backend it runs on.
    pub fn backend(&self) -> Backend {
        match self.core.driver() {
            Driver::Ring(_) => Backend::IoUring,
            Driver::Epoll(_) => Backend::Epoll,
        }
    }

    /// Everything it has to do without, each with the reason and the remedy: to be logged once.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lets other threads wake it.
    pub fn waker(&self) -> RemoteWaker {
        RemoteWaker::new(Arc::clone(self.core.remote()))
    }

    /// Tells it how to look for messages from other threads. `probe` says, without blocking,
    /// whether there are any; it is asked every turn, and once more between the announcement that
    /// the thread parks and the parking. Whenever there are, the returned [`Notify`] is notified.
    pub fn set_inbox(&self, probe: Box<dyn FnMut() -> bool>) -> Rc<Notify> {
        self.core.set_inbox(probe)
    }

    /// Keeps a descriptor of the data directory's lock open for as long as the kernel may still
    /// work on operations of this reactor, even if the process dies: the lock outlives its writes.
    pub fn hold_file(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.core.hold_file(fd)
    }

    /// Runs `future`, and what it spawns, until it is done. Tasks that are left run on with the
    /// next call.
    ///
    /// # Panics
    /// Inside of another reactor's `block_on`.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        assert!(
            !current::is_set(),
            "a reactor already runs on this thread: spawn() on that one"
        );
        let _entered = current::enter(Rc::clone(&self.core));
        self.core.run(future)
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }
}

/// What the reactor of the calling task has done so far.
///
/// # Panics
/// Outside of a reactor.
pub fn counters() -> Counters {
    current::get().counters()
}

/// [`Reactor::set_inbox`] for the reactor of the calling task.
///
/// # Panics
/// Outside of a reactor.
pub fn set_inbox(probe: Box<dyn FnMut() -> bool>) -> Rc<Notify> {
    current::get().set_inbox(probe)
}

impl Drop for Reactor {
    fn drop(&mut self) {
        let _entered = current::enter(Rc::clone(&self.core));
        self.core.close();
    }
}

fn choose(
    config: &ReactorConfig,
    remote: &Arc<Remote>,
    tally: &Rc<Tally>,
    notes: &mut Vec<String>,
) -> Result<Driver, ReactorError> {
    if config.choice != ReactorChoice::Epoll {
        match ring::build(config, Arc::clone(remote), Rc::clone(tally), notes) {
            Ok(ring) => return Ok(Driver::Ring(ring)),
            Err(refusal) if config.choice == ReactorChoice::IoUring => {
                let (reason, remedy) = (refusal.reason, refusal.remedy);
                return Err(ReactorError::RingRefused { reason, remedy });
            }
            Err(refusal) => notes.push(format!(
                "io_uring is not available ({}): using epoll and blocking disk writes, about a \
                 tenth slower; remedy: {}",
                refusal.reason, refusal.remedy
            )),
        }
    }
    let poller = Poller::new(config, Arc::clone(remote), Rc::clone(tally));
    let poller = poller.map_err(|source| ReactorError::Descriptor {
        what: "an epoll instance",
        source,
    })?;
    Ok(Driver::Epoll(poller))
}

fn check(config: &ReactorConfig) -> Result<(), ReactorError> {
    let setting = |name, value, remedy| {
        Err(ReactorError::Setting {
            name,
            value,
            remedy,
        })
    };
    let buffers = u64::from(config.receive_buffers);
    if !config.receive_buffers.is_power_of_two() || !(8..=32768).contains(&buffers) {
        return setting(
            "receive_buffers",
            buffers,
            "use a power of two from 8 to 32768",
        );
    }
    let bytes = u64::from(config.receive_buffer_bytes);
    if !(256..=1 << 20).contains(&bytes) {
        return setting("receive_buffer_bytes", bytes, "use 256 bytes to 1 MiB");
    }
    let bytes = u64::from(config.registered_buffer_bytes);
    if config.registered_buffers > 0
        && (bytes == 0 || !bytes.is_multiple_of(buffers::DMA_ALIGN as u64))
    {
        return setting("registered_buffer_bytes", bytes, "use a multiple of 4096");
    }
    let entries = u64::from(config.ring_entries);
    if !(8..=32768).contains(&entries) {
        return setting("ring_entries", entries, "use 8 to 32768");
    }
    Ok(())
}
