//! The provided-buffer ring: receive buffers that the kernel picks when bytes have come, so that
//! ten thousand idle connections hold none.
//!
//! ```text
//! ring of entries (16 bytes each, shared with the kernel)      buffers
//! +--------+--------+--------+--- - -                          +--------+--------+--- - -
//! | addr   | addr   | addr   |                                 | id 0   | id 1   |
//! | len id | len id | len id |                                 | bytes  | bytes  |
//! | (tail) |        |        |   tail lives in entry 0's pad   +--------+--------+--- - -
//! +--------+--------+--------+--- - -
//! ```
//!
//! Never hands a buffer to the kernel that somebody still reads: a buffer goes back when its
//! [`Lease`] is dropped, once.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    io,
    ops::Deref,
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{Submitter, types::BufRingEntry};

use crate::reactor::buffers::Region;

/// The one buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

const ENTRY_BYTES: usize = size_of::<BufRingEntry>();
const _: () = assert!(ENTRY_BYTES == 16, "the kernel's struct io_uring_buf");

/// The shared receive buffers of one reactor.
pub(crate) struct ReceiveBuffers {
    entries: Region,
    bytes: Region,
    count: u16,
    buffer_bytes: u32,
    tail: Cell<u16>,
    /// How many are leased; the kernel may have filled more that we have not heard of yet.
    leased: Cell<u16>,
}

impl ReceiveBuffers {
    /// Maps `count` (a power of two) buffers and registers them.
    pub(crate) fn register(
        submitter: &Submitter<'_>,
        count: u16,
        buffer_bytes: u32,
    ) -> io::Result<Rc<Self>> {
        assert!(
            count.is_power_of_two(),
            "checked when the settings were read"
        );
        let buffers = ReceiveBuffers {
            entries: Region::new(usize::from(count) * ENTRY_BYTES)?,
            bytes: Region::new(usize::from(count) * buffer_bytes as usize)?,
            count,
            buffer_bytes,
            tail: Cell::new(0),
            leased: Cell::new(count),
        };
        let address = buffers.entries.start().as_ptr().expose_provenance() as u64;
        // SAFETY: the region is page-aligned, large enough for `count` entries, and lives until
        // after `unregister` (the ring's drop calls it before it lets go of the buffers).
        unsafe { submitter.register_buf_ring_with_flags(address, count, GROUP, 0)? };
        for id in 0..count {
            buffers.give_back(id);
        }
        Ok(Rc::new(buffers))
    }

    /// The kernel has put `len` bytes into buffer `id`.
    pub(crate) fn lease(self: &Rc<Self>, id: u16, len: u32) -> Lease {
        assert!(
            id < self.count && len <= self.buffer_bytes,
            "the kernel names a buffer of ours"
        );
        self.leased.set(self.leased.get() + 1);
        Lease {
            buffers: Rc::clone(self),
            id,
            len,
        }
    }

    /// The length of each.
    pub(crate) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Whether so many are leased that further chunks had better be copied out at once.
    pub(crate) fn is_low(&self) -> bool {
        self.leased.get() > self.count - self.count / 4
    }

    fn give_back(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (self.count - 1));
        let base = self.entries.start().cast::<BufRingEntry>();
        let start = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: `index` < `count` entries of the mapping; the kernel does not read an entry
        // beyond the published tail, so this write races with nothing.
        let entry = unsafe { base.add(index).as_mut() };
        // SAFETY: buffer `id` lies inside the region.
        let address = unsafe { self.bytes.start().add(start) };
        entry.set_addr(address.as_ptr().expose_provenance() as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        self.leased.set(self.leased.get() - 1);
        // SAFETY: the tail is the aligned u16 in entry 0 that the kernel reads; only this thread
        // writes it. Release: the entry must be visible before the tail that covers it.
        unsafe {
            let shared = BufRingEntry::tail(base.as_ptr()).cast_mut();
            AtomicU16::from_ptr(shared).store(self.tail.get(), Ordering::Release);
        }
    }
}

/// Received bytes in a shared buffer, which goes back to the kernel when this is dropped.
pub(crate) struct Lease {
    buffers: Rc<ReceiveBuffers>,
    id: u16,
    len: u32,
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = usize::from(self.id) * self.buffers.buffer_bytes as usize;
        // SAFETY: inside the region (asserted by `lease`), which is zeroed at birth and which the
        // kernel does not write again before `give_back`.
        unsafe {
            let start = self.buffers.bytes.start().add(start);
            std::slice::from_raw_parts(start.as_ptr(), self.len as usize)
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}
