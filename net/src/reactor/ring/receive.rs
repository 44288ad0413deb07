//! Receiving: one multishot operation per stream fills its small queue from the shared buffers.
//!
//! A stream of large frames has single receives instead: the multishot would have gone on into the
//! next frame before anyone could stop it, 17 completions and two copies for one of 128 KiB. One
//! shared buffer shows how long the frame is, and the rest goes straight to its own memory.
//!
//! Two rules keep one stream from starving the others. A stream whose queue is full has its
//! multishot cancelled until somebody reads; and once the shared buffers run low, or for what
//! still arrives past the bound, bytes are copied out at once so that the buffers keep going round.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::{Buf, BytesMut};

use super::{
    Ring,
    queue::{Completion, Sink},
    request::Request,
};
use crate::reactor::{notify::Notify, slab::Key, socket::Received};

/// Chunks that wait for a reader before the multishot is cancelled. Two would do for a reader that
/// keeps up; more than a few only help one that does not.
const CHUNKS_MAX: usize = 4;

const HANGUP: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;

/// How a stream's input ended.
#[derive(Clone, Copy)]
enum End {
    Eof,
    Failed(i32),
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Received>,
    end: Option<End>,
    /// The multishot in flight.
    armed: Option<Key>,
    /// Its cancel has been sent.
    stopping: bool,
    /// The last frame was large: the next operation is a single receive, not a multishot.
    is_bulk: bool,
    /// The one in flight is a single receive.
    is_single: bool,
    reader: Option<Waker>,
}

/// A stream's receiving side, shared with the operations in flight for it.
pub(crate) struct Shared {
    socket: Rc<OwnedFd>,
    state: RefCell<State>,
    /// For those who wait for the end: it has come, or the multishot no longer watches for it.
    changed: Notify,
}

impl Shared {
    pub(crate) fn new(socket: Rc<OwnedFd>) -> Rc<Self> {
        let state = RefCell::new(State::default());
        Rc::new(Shared {
            socket,
            state,
            changed: Notify::new(),
        })
    }

    fn arm(self: &Rc<Self>, ring: &Ring) {
        let mut state = self.state.borrow_mut();
        if state.armed.is_some() || state.end.is_some() {
            return;
        }
        let socket = Rc::clone(&self.socket);
        let request = match state.is_bulk {
            true => Request::ReceiveOnce { socket },
            false => Request::ReceiveShared { socket },
        };
        state.is_single = state.is_bulk;
        match ring.start(request, Sink::Stream(Rc::clone(self))) {
            Some(key) => state.armed = Some(key),
            None => state.end = Some(End::Failed(libc::ECANCELED)),
        }
    }

    fn stop(&self, ring: &Ring) {
        let mut state = self.state.borrow_mut();
        if let (Some(key), false) = (state.armed, state.stopping) {
            state.stopping = true;
            ring.cancel(key);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Books a completion of the multishot.
    pub(crate) fn arrived(&self, ring: &Ring, completion: Completion) {
        let chunk = self.take_chunk(ring, completion);
        let mut state = self.state.borrow_mut();
        state.chunks.extend(chunk);
        match completion.result {
            0 => state.end = Some(End::Eof),
            // A buffer that is not full held all there was: small frames, perhaps, from now on.
            n if n > 0 && state.is_single => {
                state.is_bulk = n as u32 == ring.receive_buffers().buffer_bytes();
            }
            n if n > 0 => {}
            // Stopped by us, or out of shared buffers: whoever reads next arms it again.
            n if n == -libc::ECANCELED => {}
            n if n == -libc::ENOBUFS => ring.tally().receive_buffers_exhausted.add(1),
            n => state.end = Some(End::Failed(-n)),
        }
        if completion.is_final() {
            state.armed = None;
            state.stopping = false;
        }
        let full = state.chunks.len() >= CHUNKS_MAX;
        let reader = state.reader.take();
        let changed = state.end.is_some() || state.armed.is_none();
        drop(state);
        if full {
            self.stop(ring);
        }
        if let Some(waker) = reader {
            waker.wake();
        }
        if changed {
            self.changed.notify_all();
        }
    }

    fn take_chunk(&self, ring: &Ring, completion: Completion) -> Option<Received> {
        let id = completion.buffer()?;
        let len = u32::try_from(completion.result).unwrap_or(0);
        // Dropped at once, and so given back, if there is nothing in it.
        let lease = ring.receive_buffers().lease(id, len);
        let waiting = self.state.borrow().chunks.len();
        match len {
            0 => None,
            _ if waiting >= CHUNKS_MAX || ring.receive_buffers().is_low() => {
                Some(Received::copied(BytesMut::from(&lease[..])))
            }
            _ => Some(Received::leased(lease)),
        }
    }

    fn next(&self) -> Option<io::Result<Received>> {
        let mut state = self.state.borrow_mut();
        match (state.chunks.pop_front(), state.end) {
            (Some(chunk), _) => Some(Ok(chunk)),
            (None, Some(End::Eof)) => Some(Ok(Received::end())),
            (None, Some(End::Failed(code))) => Some(Err(io::Error::from_raw_os_error(code))),
            (None, None) => None,
        }
    }

    fn wait_as_reader(&self, waker: &Waker) {
        let old = self.state.borrow_mut().reader.replace(waker.clone());
        drop(old);
    }

    /// The handle is gone: nobody will read.
    pub(crate) fn close(&self, ring: &Ring) {
        self.stop(ring);
        let unread = std::mem::take(&mut self.state.borrow_mut().chunks);
        drop(unread);
    }

    /// The next bytes that came; empty at the end.
    pub(crate) async fn receive(self: &Rc<Self>, ring: &Rc<Ring>) -> io::Result<Received> {
        std::future::poll_fn(|context| match self.next() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.arm(ring);
                self.wait_as_reader(context.waker());
                // Arming fails at once if the reactor is shutting down.
                self.next().map_or(Poll::Pending, Poll::Ready)
            }
        })
        .await
    }

    /// Stops and drains the multishot, then receives straight into `buf` until it is `until_len`
    /// long.
    pub(crate) async fn receive_into(
        self: &Rc<Self>,
        ring: &Rc<Ring>,
        mut buf: BytesMut,
        until_len: usize,
    ) -> (io::Result<usize>, BytesMut) {
        let before = buf.len();
        buf.reserve(until_len.saturating_sub(before));
        self.state.borrow_mut().is_bulk = true;
        self.stop(ring);
        self.drain(&mut buf, until_len).await;
        loop {
            let missing = until_len.saturating_sub(buf.len());
            let end = self.state.borrow().end;
            match end {
                _ if missing == 0 => return (Ok(buf.len() - before), buf),
                Some(End::Eof) => return (Ok(buf.len() - before), buf),
                Some(End::Failed(code)) => return (Err(io::Error::from_raw_os_error(code)), buf),
                None => {}
            }
            let socket = Rc::clone(&self.socket);
            let request = Request::ReceiveInto {
                socket,
                buf,
                limit: missing,
            };
            let (result, request) = ring.run(request, true).await;
            let Request::ReceiveInto { buf: filled, .. } = request else {
                unreachable!("a request comes back as it went")
            };
            buf = filled;
            match result {
                0 => self.state.borrow_mut().end = Some(End::Eof),
                n if n > 0 => {}
                n if n == -libc::EINTR || n == -libc::EAGAIN => {}
                n => return (Err(io::Error::from_raw_os_error(-n)), buf),
            }
        }
    }

    /// Moves queued bytes into `buf` until it is long enough or the multishot is over and its
    /// queue empty.
    async fn drain(&self, buf: &mut BytesMut, until_len: usize) {
        std::future::poll_fn(|context| {
            loop {
                let popped = self.state.borrow_mut().chunks.pop_front();
                let Some(mut chunk) = popped else {
                    if self.state.borrow().armed.is_none() {
                        return Poll::Ready(());
                    }
                    self.wait_as_reader(context.waker());
                    return Poll::Pending;
                };
                let n = chunk.len().min(until_len.saturating_sub(buf.len()));
                buf.extend_from_slice(&chunk[..n]);
                chunk.advance(n);
                if !chunk.is_empty() {
                    self.state.borrow_mut().chunks.push_front(chunk);
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// Completes when the peer has closed its side or the socket has failed.
    pub(crate) async fn closed(self: &Rc<Self>, ring: &Rc<Ring>) {
        loop {
            self.watched_by_multishot().await;
            if self.state.borrow().end.is_some() {
                return;
            }
            let socket = Rc::clone(&self.socket);
            let request = Request::Poll {
                socket,
                events: HANGUP,
            };
            let (result, _) = ring.run(request, true).await;
            if result != -libc::EINTR {
                return;
            }
        }
    }

    /// While the multishot is armed it sees the end, without another operation.
    async fn watched_by_multishot(&self) {
        while self.is_watching() {
            self.changed.notified().await;
        }
    }

    fn is_watching(&self) -> bool {
        let state = self.state.borrow();
        state.end.is_none() && state.armed.is_some() && !state.stopping
    }
}
