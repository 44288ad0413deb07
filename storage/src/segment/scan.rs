//! Finding the blocks of a file that has no index, header by header. Damage is skipped and
//! reported, never fatal (S19): after a bad header every page is tried until a block verifies.

use super::index::BlockEntry;
use crate::{
    block::{BlockError, BlockView, PREFIX_BYTES, Prefix},
    disk::{Disk, PAGE},
    hash::Incarnation,
    types::{Offset, Position, TopicPartition},
};

/// A range of a file where blocks should be and none verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where it starts.
    pub start: Position,
    /// Where the next good block starts, or the range looked at ends.
    pub end: Position,
    /// The first offset that is missing, if a good block came before.
    pub base: Option<Offset>,
    /// The first offset that is there again, if a good block comes after.
    pub next: Option<Offset>,
    /// What is wrong at `start`.
    pub reason: String,
}

/// Reads the block headers from the first block to `until`. Only bytes before `until` are
/// believed: what lies behind it was never confirmed to be flushed (S15).
///
/// Blocks of other partitions count as damage: the file is not theirs.
pub async fn scan<D: Disk>(
    disk: &D,
    file: &D::File,
    incarnation: Incarnation,
    tp: TopicPartition,
    until: Position,
) -> (Vec<BlockEntry>, Vec<Damage>) {
    let mut entries: Vec<BlockEntry> = Vec::new();
    let mut damages: Vec<Damage> = Vec::new();
    let mut open: Option<Damage> = None;
    let mut position = Position(PAGE as u64);
    while position < until {
        match read_entry(disk, file, incarnation, tp, position, until).await {
            Ok(entry) => {
                if let Some(damage) = open.take() {
                    damages.push(Damage {
                        end: position,
                        next: Some(entry.base),
                        ..damage
                    });
                }
                position = entry.end();
                // Blocks that a truncation cut stay in the file; what took their offsets follows.
                entries.truncate(entries.partition_point(|e| e.base < entry.base));
                entries.push(entry);
            }
            Err(reason) => {
                open.get_or_insert_with(|| Damage {
                    start: position,
                    end: until,
                    base: entries.last().map(|e| e.next),
                    next: None,
                    reason,
                });
                position.0 += PAGE as u64;
            }
        }
    }
    damages.extend(open);
    (entries, damages)
}

/// The block at `position`, or why none of ours starts there. A sector the disk cannot read is
/// damage like any other.
async fn read_entry<D: Disk>(
    disk: &D,
    file: &D::File,
    incarnation: Incarnation,
    tp: TopicPartition,
    position: Position,
    until: Position,
) -> Result<BlockEntry, String> {
    let (read, mut bytes) = disk.read(file, position.0, disk.buffer(PAGE)).await;
    read.map_err(|error| error.to_string())?;
    const { assert!(PREFIX_BYTES <= PAGE) };
    let prefix = Prefix::parse(bytes.as_ref()).map_err(|error| error.to_string())?;
    let end = position.0 + prefix.block_len as u64;
    if end > until.0 {
        return Err(format!(
            "a block to {end} where flushed bytes end at {until}"
        ));
    }
    let header_len = prefix.payload_position.next_multiple_of(PAGE);
    if header_len > PAGE {
        let (read, longer) = disk.read(file, position.0, disk.buffer(header_len)).await;
        read.map_err(|error| error.to_string())?;
        bytes = longer;
    }
    match BlockView::parse_header(bytes.as_ref(), incarnation) {
        Ok(view) if view.tp() == tp => Ok(entry_of(position, &view)),
        Ok(view) => Err(format!("a block of {} where {tp} has its file", view.tp())),
        Err(error @ BlockError::HeaderChecksum { .. }) => {
            Err(format!("{error}, or of an earlier use of the file"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn entry_of(position: Position, view: &BlockView<'_>) -> BlockEntry {
    BlockEntry {
        position,
        len: view.prefix().block_len as u32,
        base: view.base(),
        next: view.next(),
        max_timestamp: view.max_timestamp(),
        epoch: view.epoch(),
        chain_after: view.chain().1,
    }
}
