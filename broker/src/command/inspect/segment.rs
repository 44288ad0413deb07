//! A segment file: its head, its blocks with their batches, its index.
//!
//! Where a file is still being written, what follows its last block was never written or is of an
//! earlier use: only the journal knows where the blocks end. So a page that is no block is damage
//! only if a block comes after it, or if the index or the journal says that one lies there.

use bytes::Bytes;
use spate_storage::{
    block::{BlockView, Prefix, SealedBlock},
    disk::PAGE,
    hash::Incarnation,
    pool::FileHead,
    segment::{BlockEntry, index_of},
};

use super::{
    Wish, batches,
    shown::{Bad, Found, Item},
};

/// Reads the whole file. `flushed` is where the journal says that its blocks end.
pub fn inspect(head: &FileHead, file: &Bytes, flushed: Option<u64>, wish: Wish) -> Found {
    let index = index_of(file, head.incarnation);
    let known_end = index
        .as_ref()
        .map(|entries| entries.last().map_or(PAGE as u64, |last| last.end().0));
    let expected_end = flushed.max(known_end).unwrap_or(0);
    let mut walk = Walk {
        file,
        incarnation: head.incarnation,
        wish,
        blocks: Vec::new(),
        bad: Vec::new(),
        next: None,
    };
    let end = walk.all(expected_end);
    walk.check_index(index.as_deref());
    let Walk { blocks, bad, .. } = walk;
    let item = Item::new()
        .with("kind", "segment")
        .with("incarnation", head.incarnation.to_string())
        .with("bytes", head.len)
        .with("blocks_end", end)
        .with("index", index.map(|entries| entries.len()))
        .with("blocks", blocks);
    Found { item, bad }
}

/// The block at `position` by its header, and its length.
fn view_at(
    file: &Bytes,
    incarnation: Incarnation,
    position: usize,
) -> Result<(BlockView<'_>, usize), String> {
    let bytes = &file[position..];
    let prefix = Prefix::parse(bytes).map_err(|error| error.to_string())?;
    if prefix.block_len > bytes.len() {
        let len = prefix.block_len;
        return Err(format!("a block of {len} bytes past the file's end"));
    }
    let view = BlockView::parse_header(bytes, incarnation);
    Ok((view.map_err(|error| error.to_string())?, prefix.block_len))
}

struct Walk<'a> {
    file: &'a Bytes,
    incarnation: Incarnation,
    wish: Wish,
    blocks: Vec<Item>,
    bad: Vec<Bad>,
    /// The offset after the last block.
    next: Option<i64>,
}

impl Walk<'_> {
    /// Every block up to the last one, or to where there should be one; returns where they end.
    fn all(&mut self, expected_end: u64) -> u64 {
        let mut end = PAGE as u64;
        let mut gap: Option<(u64, String)> = None;
        let mut position = PAGE;
        while position + PAGE <= self.file.len() {
            match view_at(self.file, self.incarnation, position) {
                Ok((view, len)) => {
                    if let Some((from, reason)) = gap.take() {
                        let base = self.next;
                        self.note_gap(from, base, Some(view.base().0), reason);
                    }
                    self.block(position, &view, len);
                    position += len;
                    end = position as u64;
                }
                Err(reason) => {
                    gap.get_or_insert((position as u64, reason));
                    position += PAGE;
                }
            }
        }
        if let Some((from, reason)) = gap.filter(|(from, _)| *from < expected_end) {
            self.note_gap(from, self.next, None, reason);
        }
        end.max(expected_end)
    }

    fn note_gap(&mut self, from: u64, base: Option<i64>, next: Option<i64>, reason: String) {
        self.bad.push(Bad {
            position: from,
            offsets: base.zip(next),
            reason,
        });
    }

    fn block(&mut self, position: usize, view: &BlockView<'_>, len: usize) {
        let (base, next) = (view.base().0, view.next().0);
        let mut item = Item::new()
            .with("position", position)
            .with("bytes", len)
            .with("base", base)
            .with("next", next)
            .with("epoch", view.epoch().0)
            .with("max_timestamp", view.max_timestamp())
            .with("chain", view.chain().1.to_string())
            .with("partition", view.tp().to_string());
        let bytes = self.file.slice(position..position + len);
        let verified = SealedBlock::verify(bytes, self.incarnation);
        let fault = match &verified {
            Err(error) => Some(error.to_string()),
            Ok(block) => match block.chain_holds() {
                Ok(true) => None,
                Ok(false) => Some("its batches do not make the chain that it names".to_owned()),
                Err(error) => Some(error.to_string()),
            },
        };
        if let Some(reason) = fault {
            item = item.with("error", reason.as_str());
            self.bad.push(Bad {
                position: position as u64,
                offsets: Some((base, next)),
                reason,
            });
        } else if let Ok(block) = verified {
            let start = (position + view.prefix().payload_position) as u64;
            let items = batches::items(&block.payload(), start, self.wish, &mut self.bad);
            item = item.with("batches", items);
        }
        self.next = Some(next);
        self.blocks.push(item);
    }

    /// An index that verifies and names what is not there.
    fn check_index(&mut self, index: Option<&[BlockEntry]>) {
        for entry in index.into_iter().flatten() {
            let position = entry.position.0 as usize;
            let is_there = position + PAGE <= self.file.len()
                && view_at(self.file, self.incarnation, position)
                    .is_ok_and(|(view, _)| view.base() == entry.base);
            let is_said = self.bad.iter().any(|bad| bad.position == entry.position.0);
            if !is_there && !is_said {
                self.bad.push(Bad {
                    position: entry.position.0,
                    offsets: Some((entry.base.0, entry.next.0)),
                    reason: "the index names a block that is not there".to_owned(),
                });
            }
        }
    }
}
