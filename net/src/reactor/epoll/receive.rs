//! Receiving from a non-blocking socket.
//!
//! A receive that did not fill its buffer has emptied the socket, most likely: the next one waits
//! first, which saves the system call that would say EAGAIN.

use std::{io, rc::Rc};

use bytes::BytesMut;
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use super::{Poller, Source, source::Direction};
use crate::reactor::{buffers::fill_spare, socket::Received};

/// The next bytes that came; empty at the end.
pub(crate) async fn receive(poller: &Rc<Poller>, source: &Source) -> io::Result<Received> {
    let mut buf = BytesMut::new();
    loop {
        if source.is_drained() {
            source.ready(Direction::Read).await?;
        }
        // Reserved late: a connection that waits holds no buffer.
        buf.reserve(poller.receive_bytes);
        if try_receive(source, &mut buf, poller.receive_bytes)?.is_some() {
            return Ok(Received::copied(buf));
        }
    }
}

/// Receives until `buf` is `until_len` long, or the stream ends.
pub(crate) async fn receive_into(
    source: &Source,
    mut buf: BytesMut,
    until_len: usize,
) -> (io::Result<usize>, BytesMut) {
    let before = buf.len();
    buf.reserve(until_len.saturating_sub(before));
    while buf.len() < until_len {
        if source.is_drained()
            && let Err(error) = source.ready(Direction::Read).await
        {
            return (Err(error), buf);
        }
        let missing = until_len - buf.len();
        match try_receive(source, &mut buf, missing) {
            Ok(Some(0)) => break,
            Ok(_) => {}
            Err(error) => return (Err(error), buf),
        }
    }
    (Ok(buf.len() - before), buf)
}

/// `None` if there is nothing yet.
fn try_receive(source: &Source, buf: &mut BytesMut, limit: usize) -> io::Result<Option<usize>> {
    let outcome = fill_spare(buf, limit, |spare| {
        let (filled, _) = recv(source, spare, RecvFlags::empty())?.0;
        Ok(filled)
    });
    match outcome {
        Ok(n) => {
            // The end stays readable: asking again must not wait.
            source.set_drained(n > 0 && n < limit);
            Ok(Some(n))
        }
        Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {
            source.set_drained(true);
            Ok(None)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// Completes when the peer has closed its side or the socket has failed.
pub(crate) async fn closed(source: &Source) {
    source.closed().await;
}
