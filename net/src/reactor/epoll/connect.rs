//! Connecting without blocking.

use std::{io, net::SocketAddr, os::fd::OwnedFd, rc::Rc};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt},
};

use super::{Poller, Source, source::Direction};

/// A new socket, connected to `peer`, and its watch.
pub(crate) async fn connect(
    poller: &Rc<Poller>,
    peer: SocketAddr,
) -> io::Result<(Rc<OwnedFd>, Source)> {
    let family = if peer.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = Rc::new(socket_with(family, SocketType::STREAM, flags, None)?);
    let source = poller.watch(Rc::clone(&socket))?;
    match rustix::net::connect(&socket, &peer) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => {
            source.ready(Direction::Write).await?;
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error.into()),
    }
    Ok((socket, source))
}
