//! TCP sockets as the rest of the crate sees them, whichever backend runs.

use std::{
    cell::Cell,
    fmt, io,
    net::SocketAddr,
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};

use super::{
    current,
    driver::Driver,
    epoll::{self, Poller},
    ring::{self, Ring, provided::Lease},
    timer::sleep,
};

/// Connections that the kernel completes ahead of `accept`.
const LISTEN_BACKLOG: i32 = 1024;

enum Storage {
    /// In a buffer shared with the kernel.
    Leased(Lease),
    Owned(BytesMut),
}

/// Bytes that came from a stream; empty at its end. Drop it soon: it may hold one of the reactor's
/// shared receive buffers.
pub struct Received {
    storage: Storage,
    consumed: usize,
}

impl Received {
    pub(crate) fn leased(lease: Lease) -> Self {
        Received {
            storage: Storage::Leased(lease),
            consumed: 0,
        }
    }

    pub(crate) fn copied(bytes: BytesMut) -> Self {
        Received {
            storage: Storage::Owned(bytes),
            consumed: 0,
        }
    }

    pub(crate) fn end() -> Self {
        Self::copied(BytesMut::new())
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.storage {
            Storage::Leased(lease) => lease,
            Storage::Owned(bytes) => bytes,
        };
        &all[self.consumed..]
    }
}

impl Buf for Received {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    fn advance(&mut self, n: usize) {
        assert!(
            n <= self.len(),
            "advanced by {n} past the end of {} bytes",
            self.len()
        );
        self.consumed += n;
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({} bytes)", self.len())
    }
}

enum Listening {
    Ring(Rc<Ring>, Rc<ring::accept::Shared>),
    Epoll(epoll::Source),
}

/// A listening socket.
pub struct TcpListener {
    socket: Rc<OwnedFd>,
    via: Listening,
    warned: Cell<Option<Instant>>,
}

impl TcpListener {
    /// Listens on `address`. With `reuse_port` the kernel deals connections out among all sockets
    /// that are bound so: probe with `false` first, or a second broker would share the port unseen.
    ///
    /// # Panics
    /// Outside of a reactor.
    pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
        let core = current::get();
        let mut flags = SocketFlags::CLOEXEC;
        if matches!(core.driver(), Driver::Epoll(_)) {
            flags |= SocketFlags::NONBLOCK;
        }
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if reuse_port {
            sockopt::set_socket_reuseport(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
        let socket = Rc::new(socket);
        let via = match core.driver() {
            Driver::Ring(ring) => {
                let shared = ring::accept::Shared::new(Rc::clone(&socket));
                Listening::Ring(Rc::clone(ring), shared)
            }
            Driver::Epoll(poller) => Listening::Epoll(poller.watch(Rc::clone(&socket))?),
        };
        Ok(TcpListener {
            socket,
            via,
            warned: Cell::new(None),
        })
    }

    /// The address it is bound to, with the port that the kernel chose if it was asked to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(rustix::net::getsockname(&*self.socket)?.try_into()?)
    }

    /// The next connection. What concerns one connection only, or passes (no descriptors left, no
    /// memory), is waited out, with a warning; an error returned here is final.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut pause = ACCEPT_PAUSE_MIN;
        loop {
            let outcome = self.accept_one().await;
            let error = match outcome.and_then(|socket| TcpStream::accepted(self, socket)) {
                Ok(stream) => {
                    let peer = stream.peer_addr();
                    return Ok((stream, peer));
                }
                Err(error) => error,
            };
            match fate(&error) {
                Fate::NextConnection => {}
                Fate::Pause => {
                    self.warn_of(&error);
                    sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
                Fate::Final => return Err(error),
            }
        }
    }

    /// Once per [`ACCEPT_WARNING_INTERVAL`], however often it happens.
    fn warn_of(&self, error: &io::Error) {
        let now = Instant::now();
        if self
            .warned
            .get()
            .is_some_and(|at| now - at < ACCEPT_WARNING_INTERVAL)
        {
            return;
        }
        self.warned.set(Some(now));
        tracing::warn!(
            %error,
            "cannot accept connections for now: close some, or raise the limit of open files \
             (ulimit -n) or memory; they wait in the listen backlog meanwhile"
        );
    }

    async fn accept_one(&self) -> io::Result<Rc<OwnedFd>> {
        match &self.via {
            Listening::Ring(ring, shared) => Ok(Rc::new(shared.accept(ring).await?)),
            Listening::Epoll(source) => Ok(Rc::new(epoll::accept::accept(source).await?)),
        }
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        match &self.via {
            Listening::Ring(ring, shared) => shared.close(ring),
            Listening::Epoll(_) => {}
        }
    }
}

/// The first pause after an error that passes; it doubles up to the last.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(50);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(10);

enum Fate {
    NextConnection,
    Pause,
    Final,
}

/// What accept(2) says an error means.
fn fate(error: &io::Error) -> Fate {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Fate::Pause,
        Some(
            libc::ECONNABORTED
            | libc::EINTR
            | libc::EAGAIN
            | libc::EPROTO
            | libc::ENOTCONN
            | libc::EPERM
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH,
        ) => Fate::NextConnection,
        _ => Fate::Final,
    }
}

enum Connected {
    Ring(Rc<Ring>, Rc<ring::receive::Shared>),
    Epoll(Rc<Poller>, epoll::Source),
}

struct Stream {
    socket: Rc<OwnedFd>,
    peer: SocketAddr,
    via: Connected,
}

/// A connected socket. Clones share it; one task may read while another writes.
#[derive(Clone)]
pub struct TcpStream {
    stream: Rc<Stream>,
}

impl TcpStream {
    /// Connects to `peer`.
    ///
    /// # Panics
    /// Outside of a reactor.
    pub async fn connect(peer: SocketAddr) -> io::Result<TcpStream> {
        let core = current::get();
        let (socket, via) = match core.driver() {
            Driver::Ring(ring) => {
                let socket = ring::connect::connect(ring, peer).await?;
                let shared = ring::receive::Shared::new(Rc::clone(&socket));
                (socket, Connected::Ring(Rc::clone(ring), shared))
            }
            Driver::Epoll(poller) => {
                let (socket, source) = epoll::connect::connect(poller, peer).await?;
                (socket, Connected::Epoll(Rc::clone(poller), source))
            }
        };
        Self::new(socket, peer, via)
    }

    fn accepted(listener: &TcpListener, socket: Rc<OwnedFd>) -> io::Result<TcpStream> {
        let peer = rustix::net::getpeername(&*socket)?.ok_or(io::ErrorKind::NotConnected)?;
        let via = match &listener.via {
            Listening::Ring(ring, _) => {
                let shared = ring::receive::Shared::new(Rc::clone(&socket));
                Connected::Ring(Rc::clone(ring), shared)
            }
            Listening::Epoll(source) => {
                let poller = Rc::clone(source.poller());
                let source = poller.watch(Rc::clone(&socket))?;
                Connected::Epoll(poller, source)
            }
        };
        Self::new(socket, peer.try_into()?, via)
    }

    fn new(socket: Rc<OwnedFd>, peer: SocketAddr, via: Connected) -> io::Result<TcpStream> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        Ok(TcpStream {
            stream: Rc::new(Stream { socket, peer, via }),
        })
    }

    /// The other end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.stream.peer
    }

    /// Bytes that have come; empty at the end of the stream.
    pub async fn receive(&self) -> io::Result<Received> {
        match &self.stream.via {
            Connected::Ring(ring, shared) => shared.receive(ring).await,
            Connected::Epoll(poller, source) => epoll::receive::receive(poller, source).await,
        }
    }

    /// Receives until `buf` is `until_len` long, straight into its spare capacity. Gives the number
    /// of bytes that came, fewer only at the end of the stream. If the future is dropped the bytes
    /// that came meanwhile are lost: close the connection then.
    pub async fn receive_into(
        &self,
        buf: BytesMut,
        until_len: usize,
    ) -> (io::Result<usize>, BytesMut) {
        match &self.stream.via {
            Connected::Ring(ring, shared) => shared.receive_into(ring, buf, until_len).await,
            Connected::Epoll(_, source) => {
                epoll::receive::receive_into(source, buf, until_len).await
            }
        }
    }

    /// Sends all of `pieces`, in order. If the future is dropped, what part was sent is unknown:
    /// close the connection then.
    pub async fn send(&self, pieces: Vec<Bytes>) -> io::Result<()> {
        match &self.stream.via {
            Connected::Ring(ring, _) => ring::send::send(ring, &self.stream.socket, pieces).await,
            Connected::Epoll(_, source) => epoll::send::send(source, pieces).await,
        }
    }

    /// Completes when the peer has closed its side or the socket has failed; bytes that came before
    /// may still be unread.
    pub async fn closed(&self) {
        match &self.stream.via {
            Connected::Ring(ring, shared) => shared.closed(ring).await,
            Connected::Epoll(_, source) => epoll::receive::closed(source).await,
        }
    }

    /// Shuts both directions down: what is under way ends with an error or as if the peer had
    /// closed.
    pub fn shutdown(&self) {
        // It can only fail if the peer was faster.
        let _ = rustix::net::shutdown(self.stream.socket.as_fd(), Shutdown::Both);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        match &self.via {
            Connected::Ring(ring, shared) => shared.close(ring),
            Connected::Epoll(..) => {}
        }
    }
}
