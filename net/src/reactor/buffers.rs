//! Memory for transfers: aligned disk buffers from the heap or from a pool the kernel knows, and
//! the spare capacity of receive buffers.
//!
//! Holds `unsafe` because aligned memory has no safe owner in the standard library. Nothing here
//! knows about operations: that a buffer outlives its transfer is the ring's business.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    cell::RefCell,
    fmt, io,
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

use bytes::BytesMut;
use crossbeam_queue::ArrayQueue;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{current, driver::Driver};

/// Alignment of every disk buffer: what O_DIRECT asks for on any device we know.
pub const DMA_ALIGN: usize = 4096;

/// Anonymous memory straight from the kernel: zeroed, page-aligned, resident only once touched.
pub(crate) struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is plain memory without thread affinity; who may touch which part of it is
// decided by its owners (`Pool` hands each slot to one `DmaBuf`, `ReceiveBuffers` is `!Send`).
unsafe impl Send for Region {}
// SAFETY: as above; a shared region gives out nothing but its address.
unsafe impl Sync for Region {}

impl Region {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        assert!(len > 0, "an empty mapping is refused by the kernel");
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this range, and nobody holds a piece of it without holding
        // the region's owner. Failure could only mean a bad range; leaking is then harmless.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Equal buffers in one region that is registered with a ring, handed out by number.
pub(crate) struct Pool {
    region: Region,
    slot_bytes: usize,
    free: ArrayQueue<u16>,
}

impl Pool {
    pub(crate) fn new(slots: u16, slot_bytes: usize) -> io::Result<Self> {
        let region = Region::new(usize::from(slots) * slot_bytes)?;
        let free = ArrayQueue::new(usize::from(slots));
        for slot in 0..slots {
            let queued = free.push(slot).is_ok();
            assert!(queued, "the queue is as long as the pool");
        }
        Ok(Pool {
            region,
            slot_bytes,
            free,
        })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Option<DmaBuf> {
        if len > self.slot_bytes {
            return None;
        }
        let slot = self.free.pop()?;
        // SAFETY: the slot lies inside the region, since `slot` came from `new`.
        let start = unsafe { self.region.start.add(usize::from(slot) * self.slot_bytes) };
        Some(DmaBuf {
            start,
            len,
            home: Home::Pool(Arc::clone(self), slot),
        })
    }
}

/// An aligned heap block.
struct Block {
    start: NonNull<u8>,
    capacity: usize,
}

impl Block {
    fn new(capacity: usize) -> Self {
        let layout = Block::layout(capacity);
        // SAFETY: the layout's size is not zero. Zeroed, because a `&[u8]` to uninitialised memory
        // is undefined behaviour even if nobody reads it.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        Block { start, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        let layout = Layout::from_size_align(capacity.max(1), DMA_ALIGN);
        layout.expect("a buffer fits half of the address space")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with the same layout, and owned by this block alone.
        unsafe { dealloc(self.start.as_ptr(), Block::layout(self.capacity)) };
    }
}

/// Blocks below are not kept: zeroing them costs less than looking for one.
const SPARE_BLOCK_BYTES_MIN: usize = 32 << 10;
/// What a thread keeps, which belongs to its memory plan: sealed blocks and some reads.
pub const SPARE_BYTES_MAX: usize = 4 << 20;

/// Large blocks that were dropped on this thread, for its next transfers: they are initialised
/// and resident, while a fresh megabyte costs a hundred microseconds of zeroing and page faults.
#[derive(Default)]
struct Spare {
    blocks: Vec<Block>,
    bytes: usize,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::new(Spare::default());
}

impl Spare {
    /// A block of at least `len` bytes, and not so much more that it would be wasted.
    fn take(&mut self, len: usize) -> Option<Block> {
        let fits = |block: &Block| (len..=len + len / 4).contains(&block.capacity);
        let block = self.blocks.swap_remove(self.blocks.iter().rposition(fits)?);
        self.bytes -= block.capacity;
        Some(block)
    }

    /// Keeps a block; the oldest go for it, since nobody has asked for their length lately.
    fn keep(&mut self, block: Block) {
        if !(SPARE_BLOCK_BYTES_MIN..=SPARE_BYTES_MAX).contains(&block.capacity) {
            return;
        }
        while self.bytes + block.capacity > SPARE_BYTES_MAX {
            self.bytes -= self.blocks.remove(0).capacity;
        }
        self.bytes += block.capacity;
        self.blocks.push(block);
    }
}

/// Transfers differ by a page or two: their blocks come in steps of an eighth to a sixteenth, so
/// that what one leaves behind fits the next.
fn spare_capacity(len: usize) -> usize {
    match len < SPARE_BLOCK_BYTES_MIN {
        true => len,
        false => len.next_multiple_of(len.next_power_of_two() / 16),
    }
}

enum Home {
    /// `None` only while it is dropped.
    Heap(Option<Block>),
    Pool(Arc<Pool>, u16),
}

/// Memory for disk transfers, aligned to [`DMA_ALIGN`]; goes back where it came from when dropped,
/// from any thread.
pub struct DmaBuf {
    start: NonNull<u8>,
    len: usize,
    home: Home,
}

// SAFETY: a `DmaBuf` is the only owner of its bytes (a heap block, or one slot of a pool), and a
// pool takes slots back from any thread.
unsafe impl Send for DmaBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    /// Whether it is from this very pool, so that its ring can use the registered number.
    pub(crate) fn is_from(&self, pool: &Arc<Pool>) -> bool {
        matches!(&self.home, Home::Pool(home, _) if Arc::ptr_eq(home, pool))
    }

    /// Whether its pages are registered with a ring.
    pub fn is_registered(&self) -> bool {
        matches!(self.home, Home::Pool(..))
    }
}

/// A heap buffer of `len` bytes. Its contents are unspecified: fill it before use.
pub fn dma_buffer(len: usize) -> DmaBuf {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().take(len));
    let block = spare.ok().flatten();
    let block = block.unwrap_or_else(|| Block::new(spare_capacity(len)));
    let start = block.start;
    DmaBuf {
        start,
        len,
        home: Home::Heap(Some(block)),
    }
}

/// A buffer registered with the current reactor's ring: `None` if none is free or large enough,
/// or if the reactor has none. Contents are unspecified.
///
/// # Panics
/// Outside of a reactor.
pub fn registered_buffer(len: usize) -> Option<DmaBuf> {
    match current::get().driver() {
        Driver::Ring(ring) => ring.pool()?.take(len),
        Driver::Epoll(_) => None,
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        match &mut self.home {
            Home::Heap(block) => {
                let Some(block) = block.take() else { return };
                // A thread that is ending keeps nothing: the block is freed with the closure.
                let _ = SPARE.try_with(|spare| spare.borrow_mut().keep(block));
            }
            Home::Pool(pool, slot) => {
                let queued = pool.free.push(*slot).is_ok();
                debug_assert!(queued, "a slot comes back once");
            }
        }
    }
}

impl Deref for DmaBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` owns `len` initialised bytes (zeroed at birth) until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for DmaBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for DmaBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for DmaBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for DmaBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let home = match &self.home {
            Home::Heap(_) => "heap",
            Home::Pool(..) => "registered",
        };
        write!(f, "DmaBuf({} bytes, {home})", self.len)
    }
}

/// Lets `fill` write into at most `limit` bytes of `buf`'s spare capacity and takes over the prefix
/// that it reports as initialised. Returns that prefix's length.
pub(crate) fn fill_spare(
    buf: &mut BytesMut,
    limit: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<&mut [u8]>,
) -> io::Result<usize> {
    let spare = buf.spare_capacity_mut();
    let limit = limit.min(spare.len());
    let spare = &mut spare[..limit];
    let start = spare.as_ptr().cast::<u8>();
    let filled = fill(spare)?;
    let n = filled.len();
    assert!(
        std::ptr::eq(filled.as_ptr(), start) && n <= limit,
        "filled elsewhere"
    );
    let len = buf.len() + n;
    // SAFETY: `fill` returned an initialised slice that starts where the spare capacity starts.
    unsafe { buf.set_len(len) };
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_blocks_are_used_again_within_their_bounds() {
        let address = |buf: &DmaBuf| buf.as_ptr() as usize;
        let large = dma_buffer(1 << 20);
        let first = address(&large);
        drop(large);
        let smaller = dma_buffer((1 << 20) - 4096);
        assert_eq!(
            (address(&smaller), smaller.len()),
            (first, (1 << 20) - 4096)
        );
        drop(smaller);
        // Half of it would be wasted.
        assert_ne!(address(&dma_buffer(512 << 10)), first);
        // What is wanted now pushes out what nobody takes.
        drop((0..100).map(|_| dma_buffer(136 << 10)).collect::<Vec<_>>());
        let wanted = dma_buffer(136 << 10);
        let address_of_wanted = address(&wanted);
        drop(wanted);
        assert_eq!(address(&dma_buffer(140 << 10)), address_of_wanted);
        drop((0..10).map(|_| dma_buffer(1 << 20)).collect::<Vec<_>>());
        let kept = SPARE.with(|spare| spare.borrow().bytes);
        assert!(kept <= SPARE_BYTES_MAX, "{kept} bytes are kept");
        let buf = dma_buffer(100);
        assert_eq!((address(&buf) % DMA_ALIGN, buf.len()), (0, 100));
    }
}
