//! One watched socket: who waits for what, and what epoll has been told of it.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    task::{Poll, Waker},
};

use rustix::event::epoll::{self, EventFlags};

use super::Poller;
use crate::reactor::{notify::Notify, slab::Key};

const HANGUP: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);
/// A failure makes both directions ready, so that whoever waits meets the error.
const READABLE: EventFlags = EventFlags::IN.union(HANGUP);
const WRITABLE: EventFlags = EventFlags::OUT
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The state of a watched socket.
#[derive(Default)]
pub(crate) struct Readiness {
    socket: RefCell<Option<Rc<OwnedFd>>>,
    /// What epoll watches for; `None` while it does not know the socket.
    registered: Cell<Option<EventFlags>>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// The peer has closed its side, or the socket has failed.
    closed: Cell<bool>,
    closing: Notify,
}

impl Readiness {
    /// Books an event, and switches off what nobody waits for.
    pub(crate) fn fired(&self, poller: &Poller, key: Key, flags: EventFlags) {
        let reader = take_if(&self.reader, flags.intersects(READABLE));
        let writer = take_if(&self.writer, flags.intersects(WRITABLE));
        let idle = reader.is_none() && writer.is_none();
        if flags.intersects(HANGUP) {
            self.closed.set(true);
        }
        let unwanted = self.unwanted(flags, reader.is_some(), writer.is_some());
        // Errors and hang-ups are reported whether asked for or not: only leaving stops them.
        let failed = flags.intersects(EventFlags::HUP.union(EventFlags::ERR));
        let outcome = if failed && idle {
            self.leave(poller)
        } else {
            let wanted = self
                .registered
                .get()
                .unwrap_or(EventFlags::empty())
                .difference(unwanted);
            self.register(poller, key, wanted)
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "epoll_ctl fails for a socket that is being watched");
        }
        for waker in reader.into_iter().chain(writer) {
            waker.wake();
        }
        if self.closed.get() {
            self.closing.notify_all();
        }
    }

    fn unwanted(&self, flags: EventFlags, read: bool, write: bool) -> EventFlags {
        let mut unwanted = EventFlags::empty();
        if flags.contains(EventFlags::IN) && !read {
            unwanted |= EventFlags::IN;
        }
        if flags.contains(EventFlags::OUT) && !write {
            unwanted |= EventFlags::OUT;
        }
        if self.closed.get() {
            unwanted |= EventFlags::RDHUP;
        }
        unwanted
    }

    fn register(&self, poller: &Poller, key: Key, wanted: EventFlags) -> io::Result<()> {
        let registered = self.registered.get();
        if registered == Some(wanted) {
            return Ok(());
        }
        let Some(socket) = self.socket.borrow().clone() else {
            return Ok(());
        };
        let data = epoll::EventData::new_u64(key.to_bits());
        if registered.is_some() {
            epoll::modify(&poller.epoll, &*socket, data, wanted)?;
        } else {
            epoll::add(&poller.epoll, &*socket, data, wanted)?;
        }
        self.registered.set(Some(wanted));
        Ok(())
    }

    fn leave(&self, poller: &Poller) -> io::Result<()> {
        if self.registered.take().is_none() {
            return Ok(());
        }
        let Some(socket) = self.socket.borrow().clone() else {
            return Ok(());
        };
        Ok(epoll::delete(&poller.epoll, &*socket)?)
    }
}

fn take_if(place: &RefCell<Option<Waker>>, condition: bool) -> Option<Waker> {
    if condition {
        place.borrow_mut().take()
    } else {
        None
    }
}

/// A handle to a watched socket; dropping it ends the watch.
pub(crate) struct Source {
    poller: Rc<Poller>,
    socket: Rc<OwnedFd>,
    key: Key,
    readiness: Rc<Readiness>,
    /// The last receive took all there was: wait before trying again.
    drained: Cell<bool>,
}

impl Source {
    pub(super) fn new(
        poller: Rc<Poller>,
        socket: Rc<OwnedFd>,
        key: Key,
        readiness: Rc<Readiness>,
    ) -> Self {
        *readiness.socket.borrow_mut() = Some(Rc::clone(&socket));
        Source {
            poller,
            socket,
            key,
            readiness,
            drained: Cell::new(false),
        }
    }

    pub(crate) fn poller(&self) -> &Rc<Poller> {
        &self.poller
    }

    /// Remembers whether a receive has emptied the socket. Safe to get wrong: the watch is
    /// level-triggered.
    pub(crate) fn set_drained(&self, drained: bool) {
        self.drained.set(drained);
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.drained.get()
    }

    fn want(&self, flags: EventFlags) -> io::Result<()> {
        if self.poller.closing.get() {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        let registered = self
            .readiness
            .registered
            .get()
            .unwrap_or(EventFlags::empty());
        self.readiness
            .register(&self.poller, self.key, registered.union(flags))
    }

    /// Completes when the socket may be ready.
    pub(crate) async fn ready(&self, direction: Direction) -> io::Result<()> {
        let (place, flags) = match direction {
            Direction::Read => (&self.readiness.reader, EventFlags::IN),
            Direction::Write => (&self.readiness.writer, EventFlags::OUT),
        };
        let mut waiting = false;
        std::future::poll_fn(|context| {
            if waiting && place.borrow().is_none() {
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = self.want(flags) {
                return Poll::Ready(Err(error));
            }
            waiting = true;
            let replaced = place.borrow_mut().replace(context.waker().clone());
            drop(replaced);
            Poll::Pending
        })
        .await
    }

    /// Completes when the peer has closed its side or the socket has failed.
    pub(crate) async fn closed(&self) {
        while !self.readiness.closed.get() {
            if self.want(EventFlags::RDHUP).is_err() {
                return;
            }
            self.readiness.closing.notified().await;
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.readiness.leave(&self.poller);
        // Breaks nothing for a dispatch in progress: it holds the readiness, not the socket.
        let socket = self.readiness.socket.borrow_mut().take();
        let readiness = self.poller.sources.borrow_mut().remove(self.key);
        drop((socket, readiness));
    }
}
