//! Read-ahead: while a reader of a backlog takes one block, and while what he took is sent, the
//! next ones of the file come from the disk. Their memory is bounded, over all readers of the
//! shard, and such blocks enter the cache where blocks that are read once do: they push no tail
//! out.

use super::{Store, gate::Depth, operation::Completion};
use crate::{
    cache::CacheKey,
    disk::{Clock, Disk, PAGE},
    segment::{BlockEntry, SegmentError, SegmentFile},
    types::Position,
};
use std::{collections::HashMap, future::poll_fn, rc::Rc, task::Poll, task::Waker};

/// Part of the cache that may be on its way: half of what blocks read once may have of it.
const CACHE_SHARE: usize = 20;
/// More readers at once than this has blocks read as they come.
const BYTES_MAX: usize = 8 << 20;

/// How far behind the block that was taken: what a fetch of a partition usually takes at once
/// (`max.partition.fetch.bytes` is 1 MiB unless a client says otherwise).
const WINDOW_BYTES: u64 = 1 << 20;
/// Blocks that are looked at for one that came or was taken: a window may hold hundreds of small
/// ones, and each of them brings the next look.
const LOOKS_MAX: usize = 16;

/// Blocks on their way, and who came for them meanwhile.
#[derive(Default)]
pub(super) struct Ahead {
    coming: HashMap<CacheKey, Vec<Waker>>,
    bytes: usize,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Has the blocks behind `entry` read, as far as the window goes, if they are not here and
    /// there is memory for them. Not at the end of the store's task, which is who reads them: a
    /// reader would wait for ever.
    pub(super) fn read_ahead(&self, file: &Rc<SegmentFile<D>>, entry: BlockEntry) {
        let until = Position(entry.end().0 + WINDOW_BYTES);
        if let Some(next) = file.block_after(entry.position)
            && self.begin_ahead(file, next, until, Depth::Next)
        {
            self.go_ahead(file, next, until);
        }
    }

    /// Goes on behind `entry`, up to the block that begins at `until` or after.
    fn go_ahead(&self, file: &Rc<SegmentFile<D>>, mut entry: BlockEntry, until: Position) {
        for _ in 0..LOOKS_MAX {
            match file.block_after(entry.position) {
                Some(next)
                    if next.position < until
                        && self.begin_ahead(file, next, until, Depth::Further) =>
                {
                    entry = next;
                }
                _ => return,
            }
        }
    }

    /// Whether a block that has more than a reader takes is better left to his next read: he need
    /// not wait for it now, and it will be there then.
    pub(super) fn is_for_later(
        &self,
        file: &Rc<SegmentFile<D>>,
        entry: BlockEntry,
        bytes_left: usize,
    ) -> bool {
        let is_more = entry.len as usize > bytes_left + PAGE;
        let key = (file.incarnation(), entry.position);
        if !is_more || self.cache.borrow().contains(key) {
            return false;
        }
        let until = Position(entry.end().0 + WINDOW_BYTES);
        self.begin_ahead(file, entry, until, Depth::Next);
        true
    }

    /// Begins to read a block for someone who will want it; false if it has to wait.
    pub(super) fn begin_ahead(
        &self,
        file: &Rc<SegmentFile<D>>,
        entry: BlockEntry,
        until: Position,
        depth: Depth,
    ) -> bool {
        let (key, len) = ((file.incarnation(), entry.position), entry.len as usize);
        let limit = BYTES_MAX.min(self.config.cache_bytes / CACHE_SHARE);
        let mut ahead = self.ahead.borrow_mut();
        if ahead.coming.contains_key(&key) || self.cache.borrow().contains(key) {
            return true;
        }
        let held = match depth {
            Depth::Next => ahead.bytes,
            Depth::Further => ahead.bytes + self.cache.borrow_mut().early_bytes(self.elapsed()),
        };
        let is_ending = self.rhythm.is_ending.get();
        if is_ending || held + len > limit || !self.reads.try_enter(len, self.is_writing(), depth) {
            return false;
        }
        ahead.bytes += len;
        ahead.coming.insert(key, Vec::new());
        drop(ahead);
        self.count(|counters| counters.blocks_ahead += 1);
        let file = Rc::clone(file);
        self.begun.borrow_mut().push(Box::pin(async move {
            let read = file.read_raw(entry).await;
            Completion::ReadAhead {
                file,
                entry,
                until,
                read,
            }
        }));
        self.signal.wake();
        true
    }

    /// The block has come, or not: then whoever wants it reads it again and is told why.
    pub(super) fn read_ahead_done(
        &self,
        file: &Rc<SegmentFile<D>>,
        entry: BlockEntry,
        until: Position,
        read: Result<D::Buf, SegmentError>,
    ) {
        let key = (file.incarnation(), entry.position);
        self.reads.leave(entry.len as usize);
        let mut is_good = false;
        if let Ok(buf) = read {
            let bytes = self.cache.borrow().lease(buf);
            if let Ok(block) = file.verify(entry, bytes) {
                let now = self.elapsed();
                self.cache.borrow_mut().insert_ahead(key, block, now);
                is_good = true;
            }
        }
        let mut ahead = self.ahead.borrow_mut();
        ahead.bytes -= entry.len as usize;
        let waiting = ahead.coming.remove(&key).unwrap_or_default();
        drop(ahead);
        waiting.into_iter().for_each(Waker::wake);
        if is_good {
            self.go_ahead(file, entry, until);
        }
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
