//! Connecting to a peer.

use std::{io, net::SocketAddr, os::fd::OwnedFd, rc::Rc};

use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, socket_with};

use super::{Ring, request::Request};

/// A new socket, connected to `peer`.
pub(crate) async fn connect(ring: &Rc<Ring>, peer: SocketAddr) -> io::Result<Rc<OwnedFd>> {
    let family = if peer.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    // Blocking mode: the ring itself waits, and reports EAGAIN for a non-blocking socket instead.
    let socket = Rc::new(socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?);
    let address = Box::new(SocketAddrAny::from(peer));
    let request = Request::Connect {
        socket: Rc::clone(&socket),
        address,
    };
    match ring.run(request, true).await {
        (0, _) => Ok(socket),
        (n, _) => Err(io::Error::from_raw_os_error(-n)),
    }
}
