//! Read-ahead: while a reader of a backlog takes one block, the next one of the file comes from the
//! disk. Its memory is bounded, over all readers of the shard, and such blocks enter the cache
//! where blocks that are read once do: they push no tail out.

use super::{Store, operation::Completion};
use crate::{
    cache::CacheKey,
    disk::{Clock, Disk},
    segment::{BlockEntry, SegmentError, SegmentFile},
};
use std::{collections::HashMap, future::poll_fn, rc::Rc, task::Poll, task::Waker};

/// Part of the cache that may be on its way: half of what blocks read once may have of it.
const CACHE_SHARE: usize = 20;
/// More readers at once than this has blocks read as they come.
const BYTES_MAX: usize = 8 << 20;

/// Blocks on their way, and who came for them meanwhile.
#[derive(Default)]
pub(super) struct Ahead {
    coming: HashMap<CacheKey, Vec<Waker>>,
    bytes: usize,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Has the block behind `entry` read, if it is not here and there is memory for it.
    /// Not at the end of the store's task, which is who reads it: a reader would wait for ever.
    pub(super) fn read_ahead(&self, file: &Rc<SegmentFile<D>>, entry: BlockEntry) {
        if self.rhythm.is_ending.get() {
            return;
        }
        let Some(next) = file.block_after(entry.position) else {
            return;
        };
        let (key, len) = ((file.incarnation(), next.position), next.len as usize);
        let limit = BYTES_MAX.min(self.config.cache_bytes / CACHE_SHARE);
        let mut ahead = self.ahead.borrow_mut();
        let is_known = ahead.coming.contains_key(&key) || self.cache.borrow().contains(key);
        if is_known || ahead.bytes + len > limit || !self.reads.try_enter(len, self.is_writing()) {
            return;
        }
        ahead.bytes += len;
        ahead.coming.insert(key, Vec::new());
        drop(ahead);
        self.count(|counters| counters.blocks_ahead += 1);
        let file = Rc::clone(file);
        self.begun.borrow_mut().push(Box::pin(async move {
            let read = file.read_raw(next).await;
            Completion::ReadAhead {
                file,
                entry: next,
                read,
            }
        }));
        self.signal.wake();
    }

    /// The block has come, or not: then whoever wants it reads it again and is told why.
    pub(super) fn read_ahead_done(
        &self,
        file: &SegmentFile<D>,
        entry: BlockEntry,
        read: Result<D::Buf, SegmentError>,
    ) {
        let key = (file.incarnation(), entry.position);
        self.reads.leave(entry.len as usize);
        if let Ok(buf) = read {
            let bytes = self.cache.borrow().lease(buf);
            if let Ok(block) = file.verify(entry, bytes) {
                self.cache.borrow_mut().insert_ahead(key, block);
            }
        }
        let mut ahead = self.ahead.borrow_mut();
        ahead.bytes -= entry.len as usize;
        let waiting = ahead.coming.remove(&key).unwrap_or_default();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until a block that is on its way has come; false if it is not.
    pub(super) async fn await_ahead(&self, key: CacheKey) -> bool {
        let mut has_waited = false;
        poll_fn(|cx| {
            let mut ahead = self.ahead.borrow_mut();
            let Some(waiting) = ahead.coming.get_mut(&key) else {
                return Poll::Ready(has_waited);
            };
            has_waited = true;
            waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
