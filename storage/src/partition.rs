//! One partition's log in memory: what was appended, what of it is journaled, sealed and durable,
//! and where the sealed part lies. It decides nothing about when to write: the store does.
//!
//! A batch's way: `fresh` (waits for a frame) -> `open` (journaled, still in memory) -> `held`
//! (frozen, on its way to a segment) -> a block of `segments`. The durable end is a mark over all
//! of these, kept in [`Progress`].

mod cleaning;
mod extent;
mod log;
mod read;
mod segments;

pub(crate) use cleaning::{Cleaning, Lease};
pub(crate) use log::{Direct, Fresh, Held, Log, NextStart, NextSwitch, Note, Unneeded};
pub(crate) use read::Place;
pub(crate) use segments::{SegmentSlot, Segments};

use crate::{commit::Progress, disk::Disk, types::TopicPartition};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// A partition that this shard owns.
pub(crate) struct Partition<D: Disk> {
    pub tp: TopicPartition,
    pub progress: Rc<Progress>,
    pub log: RefCell<Log<D>>,
    /// Queued for the next frame.
    pub is_dirty: Cell<bool>,
    /// Queued for a seal.
    pub is_sealing: Cell<bool>,
    /// Its topic was deleted: nothing of it is written any more.
    pub is_dropped: Cell<bool>,
}

impl<D: Disk> Partition<D> {
    pub(crate) fn new(tp: TopicPartition, progress: Rc<Progress>, log: Log<D>) -> Rc<Self> {
        Rc::new(Partition {
            tp,
            progress,
            log: RefCell::new(log),
            is_dirty: Cell::new(false),
            is_sealing: Cell::new(false),
            is_dropped: Cell::new(false),
        })
    }
}
