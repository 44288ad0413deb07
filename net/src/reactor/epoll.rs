//! The fallback backend where the kernel refuses io_uring: level-triggered epoll, non-blocking
//! sockets, plain system calls for files.
//!
//! Interest is kept from one wait to the next, so that a steady reader costs no `epoll_ctl`; what
//! fires with nobody waiting is switched off, or the level would keep the loop awake for ever.

pub(crate) mod accept;
pub(crate) mod connect;
pub(crate) mod receive;
pub(crate) mod send;
mod source;
pub(crate) mod transfer;

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{BorrowedFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use self::source::Readiness;
pub(crate) use self::source::Source;
use super::{
    config::{ReactorConfig, Tally},
    driver::Wait,
    slab::{Key, Slab},
    waker::Remote,
};

/// Events taken by one `epoll_wait`; more wait for the next turn.
const EVENTS_MAX: usize = 256;

/// One epoll instance and the sockets it watches.
pub(crate) struct Poller {
    epoll: OwnedFd,
    sources: RefCell<Slab<Rc<Readiness>>>,
    /// Taken from the kernel, not yet run.
    arrived: RefCell<Vec<epoll::Event>>,
    held: RefCell<Option<OwnedFd>>,
    receive_bytes: usize,
    remote: Arc<Remote>,
    tally: Rc<Tally>,
    closing: Cell<bool>,
}

impl Poller {
    pub(crate) fn new(
        config: &ReactorConfig,
        remote: Arc<Remote>,
        tally: Rc<Tally>,
    ) -> io::Result<Rc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let eventfd = epoll::EventData::new_u64(Key::NONE.to_bits());
        epoll::add(&epoll, remote.eventfd(), eventfd, epoll::EventFlags::IN)?;
        Ok(Rc::new(Poller {
            epoll,
            sources: RefCell::new(Slab::new()),
            arrived: RefCell::new(Vec::with_capacity(EVENTS_MAX)),
            held: RefCell::new(None),
            receive_bytes: config.receive_buffer_bytes as usize,
            remote,
            tally,
            closing: Cell::new(false),
        }))
    }

    /// Keeps a duplicate: without a ring no operation outlives the process.
    pub(crate) fn hold_file(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let duplicate = fd.try_clone_to_owned()?;
        let previous = self.held.borrow_mut().replace(duplicate);
        drop(previous);
        Ok(())
    }

    /// Watches a non-blocking socket; nothing is registered before somebody waits for it.
    pub(crate) fn watch(self: &Rc<Self>, socket: Rc<OwnedFd>) -> io::Result<Source> {
        if self.closing.get() {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        let readiness = Rc::new(Readiness::default());
        let key = self.sources.borrow_mut().insert(Rc::clone(&readiness));
        Ok(Source::new(Rc::clone(self), socket, key, readiness))
    }

    /// Whether events have come: asked while spinning.
    pub(crate) fn has_news(&self) -> bool {
        if self.arrived.borrow().is_empty() {
            self.wait(Some(Duration::ZERO));
        }
        !self.arrived.borrow().is_empty()
    }

    /// One `epoll_wait`, then the wakes that follow from it.
    pub(crate) fn turn(&self, wait: Wait) {
        if self.arrived.borrow().is_empty() {
            self.wait(match wait {
                Wait::No => Some(Duration::ZERO),
                Wait::Until(None) => None,
                Wait::Until(Some(deadline)) => {
                    Some(deadline.saturating_duration_since(Instant::now()))
                }
            });
        }
        if matches!(wait, Wait::Until(_)) {
            self.remote.retract_parked();
        }
        let mut arrived = std::mem::take(&mut *self.arrived.borrow_mut());
        for event in arrived.drain(..) {
            self.tally.completions.add(1);
            self.dispatch(event);
        }
        // Its allocation is used again.
        *self.arrived.borrow_mut() = arrived;
    }

    fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut arrived = self.arrived.borrow_mut();
        self.tally.enters.add(1);
        match epoll::wait(&self.epoll, spare_capacity(&mut arrived), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("epoll_wait refused the reactor's own descriptor: {error}"),
        }
    }

    fn dispatch(&self, event: epoll::Event) {
        let key = Key::from_bits(event.data.u64());
        if key == Key::NONE {
            self.tally.wakes_received.add(1);
            // Level-triggered: must be emptied. There is something to read, so it does not block.
            let _ = rustix::io::read(self.remote.eventfd(), &mut [0; 8]);
            return;
        }
        // A source that was dropped within this batch finds nothing.
        let readiness = self
            .sources
            .borrow_mut()
            .get_mut(key)
            .map(|readiness| Rc::clone(readiness));
        if let Some(readiness) = readiness {
            readiness.fired(self, key, event.flags);
        }
    }

    /// Files are done when their call returns and sockets hold no buffers: nothing to wait for.
    pub(crate) fn close(&self) {
        self.closing.set(true);
    }
}
