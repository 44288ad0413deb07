//! A frame out of encoded parts and record bytes that stay where they are: stored batches go to the
//! socket, and a producer's batches to the broker, without being copied.

use bytes::{Bytes, BytesMut};

use super::error::WireError;
use super::header::finish_frame;
use super::primitives::Writer;

/// Up to here copying is cheaper than one more slice: a reference count, an iovec and its walk in
/// the kernel cost about as much as copying a kilobyte.
const COPIED_BYTES: usize = 1024;

/// A frame being written, with slices spliced in.
#[derive(Debug)]
pub struct Splicer {
    /// Where the encoded parts go.
    pub writer: Writer,
    cuts: Vec<(usize, Bytes)>,
    outside: usize,
}

impl Splicer {
    /// Goes on behind what `writer`, begun by a header, holds.
    #[must_use]
    pub fn new(writer: Writer) -> Splicer {
        Splicer {
            writer,
            cuts: Vec::new(),
            outside: 0,
        }
    }

    /// Puts `bytes` at this place of the frame.
    pub fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPIED_BYTES {
            self.writer.buffer.extend_from_slice(bytes);
        } else {
            self.outside += bytes.len();
            self.cuts.push((self.writer.buffer.len(), bytes.clone()));
        }
    }

    /// The parts of the frame in order, its size in front.
    pub fn finish(self) -> Result<Vec<Bytes>, WireError> {
        let encoded = finish_frame(self.writer, self.outside)?;
        let mut parts = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut start = 0;
        for (position, bytes) in self.cuts {
            if position > start {
                parts.push(encoded.slice(start..position));
                start = position;
            }
            parts.push(bytes);
        }
        if start < encoded.len() {
            parts.push(encoded.slice(start..));
        }
        Ok(parts)
    }

    /// A body alone, in one piece: what `write` writes, without a frame around it.
    pub fn body(
        flexible: bool,
        write: impl FnOnce(&mut Splicer) -> Result<(), WireError>,
        into: &mut BytesMut,
    ) -> Result<(), WireError> {
        // `finish` fills in a size field, which is then left out.
        let mut splicer = Splicer::new(Writer::new(BytesMut::from(&[0u8; 4][..]), flexible));
        write(&mut splicer)?;
        let mut skip = 4;
        for part in splicer.finish()? {
            into.extend_from_slice(&part[skip..]);
            skip = 0;
        }
        Ok(())
    }
}
