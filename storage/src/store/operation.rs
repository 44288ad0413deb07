//! What the store has the disk do, and how it comes back. Operations are driven by the store's one
//! task, so their completions are taken one after the other, in no particular order.

use crate::{
    disk::Disk,
    journal::{ReadyFile, frame::Sequence},
    partition::Partition,
    pool::PreparedFile,
    segment::{BlockEntry, SegmentError, SegmentFile, SegmentName},
    types::Position,
};
use std::{future::Future, io, pin::Pin, rc::Rc};

/// An operation in flight.
pub(super) type Operation<D> = Pin<Box<dyn Future<Output = Completion<D>>>>;

/// An operation that came back.
pub(super) enum Completion<D: Disk> {
    /// A journal write.
    Frame {
        sequence: Sequence,
        position: u64,
        result: io::Result<()>,
        buf: D::Buf,
    },
    /// Blocks of one partition: the first `blocks` of those it holds.
    Segment(SegmentWrite<D>),
    /// A file for a partition's next blocks.
    Opened {
        partition: Rc<Partition<D>>,
        name: SegmentName,
        prepared: Box<PreparedFile>,
        opened: Result<SegmentFile<D>, SegmentError>,
    },
    /// A file that recovery found, to go on writing to it.
    Reopened {
        partition: Rc<Partition<D>>,
        opened: Result<SegmentFile<D>, SegmentError>,
    },
    /// A block that a reader of a backlog will want next.
    ReadAhead {
        file: Rc<SegmentFile<D>>,
        entry: BlockEntry,
        /// Reading goes on behind it, up to here.
        until: Position,
        read: Result<D::Buf, SegmentError>,
    },
    /// The index of a full file.
    Closed(Result<(), SegmentError>),
    /// A journal file from the housekeeper.
    JournalOpened {
        prepared: Box<PreparedFile>,
        opened: io::Result<ReadyFile<D>>,
    },
}

/// A segment write that came back.
pub(super) struct SegmentWrite<D: Disk> {
    pub partition: Rc<Partition<D>>,
    pub file: Rc<SegmentFile<D>>,
    pub blocks: usize,
    pub position: u64,
    pub result: io::Result<()>,
    pub buf: D::Buf,
}
