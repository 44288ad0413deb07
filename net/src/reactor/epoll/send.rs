//! Sending on a non-blocking socket: vectored, until all is taken.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};

use super::{Source, source::Direction};

/// Slices of one call: on the stack, and enough for a fetch answer of some dozen batches.
const PIECES_MAX: usize = 64;

/// Sends all of `pieces`.
pub(crate) async fn send(source: &Source, mut pieces: Vec<Bytes>) -> io::Result<()> {
    pieces.retain(|piece| !piece.is_empty());
    let mut next = 0;
    while next < pieces.len() {
        match try_send(source, &pieces[next..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => next += advance(&mut pieces[next..], n),
            Err(Errno::AGAIN) => source.ready(Direction::Write).await?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn try_send(source: &Source, pieces: &[Bytes]) -> Result<usize, Errno> {
    let mut slices = [IoSlice::new(&[]); PIECES_MAX];
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(piece);
    }
    let slices = &slices[..pieces.len().min(PIECES_MAX)];
    let mut no_control = SendAncillaryBuffer::default();
    sendmsg(source, slices, &mut no_control, SendFlags::NOSIGNAL)
}

/// Moves past `n` sent bytes; says how many pieces are wholly sent.
fn advance(pieces: &mut [Bytes], mut n: usize) -> usize {
    let mut whole = 0;
    for piece in pieces {
        if n < piece.len() {
            piece.advance(n);
            break;
        }
        n -= piece.len();
        whole += 1;
    }
    whole
}
