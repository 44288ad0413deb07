//! Accepting on a non-blocking listener.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};

use super::{Source, source::Direction};

/// The next connection, non-blocking.
pub(crate) async fn accept(listener: &Source) -> io::Result<OwnedFd> {
    loop {
        match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Err(Errno::AGAIN) => listener.ready(Direction::Read).await?,
            outcome => return Ok(outcome?),
        }
    }
}
