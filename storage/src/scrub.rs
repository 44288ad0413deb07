//! Scrubbing: reading what nobody reads, to find damage while a replica or a backup still has the
//! records. The housekeeper reads, one small part of a segment file at a time, past every cache;
//! the shard says which part comes next and how soon (`store/scrub.rs`).

use std::path::PathBuf;

use bytes::Bytes;

use crate::{
    block::{BlockView, Prefix, SealedBlock},
    disk::{Disk, OpenMode, PAGE},
    hash::Incarnation,
    pool::read_head,
    segment::SegmentError,
    types::{Offset, Position, TopicPartition},
};

/// Bytes of one part, but for the block that goes past it: a shard's flush waits behind no more.
const PART_BYTES: u64 = 1 << 20;

/// What to read of a segment file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScrubPart {
    /// The file.
    pub path: PathBuf,
    /// Whose it is.
    pub tp: TopicPartition,
    /// Which use of it (S7).
    pub incarnation: Incarnation,
    /// Where to begin: a block's start.
    pub from: Position,
    /// Where its flushed blocks end.
    pub until: Position,
    /// The part before this one ended in damage: where that goes on, nothing new is said.
    pub is_in_damage: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Scrubbed {
    /// The part, as it was asked for.
    pub part: ScrubPart,
    /// Where the next part begins; at `until` there is none.
    pub next: Position,
    /// Whether this part ended in damage.
    pub is_in_damage: bool,
    /// Blocks that verify.
    pub blocks: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What does not verify.
    pub damages: Vec<SegmentError>,
}

/// Reads one part. A file that is gone or in another use is none of the log's any more.
pub async fn scrub<D: Disk>(disk: &D, part: ScrubPart) -> Scrubbed {
    let mut scrubbed = Scrubbed {
        next: part.until,
        is_in_damage: part.is_in_damage,
        blocks: 0,
        bytes: 0,
        damages: Vec::new(),
        part,
    };
    let part = scrubbed.part.clone();
    let Ok(file) = disk.open(&part.path, OpenMode::Read).await else {
        return scrubbed;
    };
    let head = read_head(disk, &file).await;
    match head {
        Ok(head) if head.incarnation != part.incarnation => return scrubbed,
        Ok(_) => {}
        Err(error) => {
            let path = part.path.clone();
            scrubbed.damages.push(SegmentError::Head { path, error });
        }
    }
    let mut position = part.from;
    let end = Position(part.until.0.min(part.from.0 + PART_BYTES));
    while position < end {
        match read_block(disk, &file, &part, position, &mut scrubbed.bytes).await {
            Ok(len) => {
                scrubbed.blocks += 1;
                scrubbed.is_in_damage = false;
                position.0 += len;
            }
            // Where the next block begins is known only if this one's header holds.
            Err((error, len)) => {
                if !scrubbed.is_in_damage {
                    scrubbed.damages.push(error);
                }
                scrubbed.is_in_damage = len.is_none();
                position.0 += len.unwrap_or(PAGE as u64);
            }
        }
    }
    scrubbed.next = position.min(part.until);
    scrubbed
}

/// Verifies the block at `position`; its length, if that can be believed.
async fn read_block<D: Disk>(
    disk: &D,
    file: &D::File,
    part: &ScrubPart,
    position: Position,
    bytes: &mut u64,
) -> Result<u64, (SegmentError, Option<u64>)> {
    let path = || part.path.clone();
    let io = |error| SegmentError::Io {
        path: path(),
        position,
        error,
    };
    let no_block = |reason: String| SegmentError::NoBlock {
        path: path(),
        position,
        reason,
    };
    let (read, page) = disk.read(file, position.0, disk.buffer(PAGE)).await;
    read.map_err(|error| (io(error), None))?;
    *bytes += PAGE as u64;
    let prefix = Prefix::parse(page.as_ref());
    let prefix = prefix.map_err(|error| (no_block(error.to_string()), None))?;
    let len = prefix.block_len as u64;
    if position.0 + len > part.until.0 {
        let text = format!("a block of {len} bytes where the flushed ones end");
        return Err((no_block(text), None));
    }
    let (read, block) = disk.read(file, position.0, disk.buffer(len as usize)).await;
    *bytes += len;
    let block = Bytes::from_owner(block);
    let header = BlockView::parse_header(&block, part.incarnation);
    let header = header.map_err(|error| (no_block(error.to_string()), None));
    let (base, next) = match (&read, header) {
        (_, Ok(view)) => (view.base(), view.next()),
        (Ok(()), Err(error)) => return Err(error),
        (Err(_), Err(_)) => (Offset(-1), Offset(-1)),
    };
    read.map_err(|error| (io(error), Some(len)))?;
    let damaged = |error| SegmentError::Block {
        path: path(),
        position,
        base,
        next,
        error,
    };
    let verified = SealedBlock::verify(block, part.incarnation);
    let verified = verified.map_err(|error| (damaged(error), Some(len)))?;
    match verified.chain_holds() {
        Ok(true) => Ok(len),
        Ok(false) => {
            let text = "its batches do not make the chain that it names".to_owned();
            Err((no_block(text), Some(len)))
        }
        Err(error) => Err((damaged(error), Some(len))),
    }
}
