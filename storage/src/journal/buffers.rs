//! The few aligned buffers that journal writes use again and again, so that the steady state
//! allocates nothing. A write sends its whole buffer, so a buffer serves frames of one length only.

use crate::disk::{Disk, PAGE};

/// Memory kept for later at most; what comes back beyond it is freed. Two writes are in flight, and
/// under steady load their lengths repeat.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// Up to here a frame is as long as its content; beyond, lengths step by 16 KiB so that a kept
/// buffer fits again. The step is at most a quarter of the frame.
const EXACT_BYTES_MAX: usize = 64 << 10;
const STEP_BYTES: usize = 16 << 10;

const _: () = assert!(STEP_BYTES.is_multiple_of(PAGE) && STEP_BYTES * 4 <= EXACT_BYTES_MAX);

/// Idle journal buffers of one shard.
pub(crate) struct Buffers<D: Disk> {
    kept: Vec<D::Buf>,
    kept_bytes: usize,
}

impl<D: Disk> Buffers<D> {
    pub(crate) fn new() -> Buffers<D> {
        Buffers {
            kept: Vec::new(),
            kept_bytes: 0,
        }
    }

    /// The length a frame of `len` bytes is given.
    pub(crate) fn rounded(len: usize) -> usize {
        if len <= EXACT_BYTES_MAX {
            len
        } else {
            len.next_multiple_of(STEP_BYTES)
        }
    }

    /// A buffer of exactly `len` bytes, contents unspecified.
    pub(crate) fn take(&mut self, disk: &D, len: usize) -> D::Buf {
        match self.kept.iter().position(|buf| buf.as_ref().len() == len) {
            Some(at) => {
                self.kept_bytes -= len;
                self.kept.swap_remove(at)
            }
            None => disk.buffer(len),
        }
    }

    /// Takes a buffer back; the oldest go when too much is kept.
    pub(crate) fn give_back(&mut self, buf: D::Buf) {
        let len = buf.as_ref().len();
        if len > KEPT_BYTES_MAX {
            return;
        }
        while self.kept_bytes + len > KEPT_BYTES_MAX {
            self.kept_bytes -= self.kept.remove(0).as_ref().len();
        }
        self.kept_bytes += len;
        self.kept.push(buf);
    }
}
