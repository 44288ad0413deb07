//! Sending: one piece plainly, several as one vectored message, until all is taken.
//!
//! A dropped send is cancelled: what the peer does not read must not hold the connection for ever.

use std::{io, os::fd::OwnedFd, rc::Rc};

use bytes::{Buf, Bytes};

use super::{
    Ring,
    request::{Message, Request},
};

/// Sends all of `pieces`.
pub(crate) async fn send(
    ring: &Rc<Ring>,
    socket: &Rc<OwnedFd>,
    mut pieces: Vec<Bytes>,
) -> io::Result<()> {
    pieces.retain(|piece| !piece.is_empty());
    match pieces.len() {
        0 => Ok(()),
        1 => send_one(ring, socket, pieces.remove(0)).await,
        _ => send_vectored(ring, socket, pieces).await,
    }
}

async fn send_one(ring: &Rc<Ring>, socket: &Rc<OwnedFd>, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        let request = Request::Send {
            socket: Rc::clone(socket),
            bytes,
        };
        let (result, request) = ring.run(request, true).await;
        let Request::Send { bytes: rest, .. } = request else {
            unreachable!("a request comes back as it went")
        };
        bytes = rest;
        bytes.advance(taken(result)?);
    }
    Ok(())
}

async fn send_vectored(
    ring: &Rc<Ring>,
    socket: &Rc<OwnedFd>,
    pieces: Vec<Bytes>,
) -> io::Result<()> {
    let mut message = Message::new(pieces);
    loop {
        let request = Request::SendVectored {
            socket: Rc::clone(socket),
            message,
        };
        let (result, request) = ring.run(request, true).await;
        let Request::SendVectored { message: rest, .. } = request else {
            unreachable!("a request comes back as it went")
        };
        message = rest;
        if message.advance(taken(result)?) {
            return Ok(());
        }
    }
}

fn taken(result: i32) -> io::Result<usize> {
    match result {
        0 => Err(io::ErrorKind::WriteZero.into()),
        n if n > 0 => Ok(n as usize),
        n if n == -libc::EINTR || n == -libc::EAGAIN => Ok(0),
        n => Err(io::Error::from_raw_os_error(-n)),
    }
}
