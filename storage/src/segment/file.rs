//! One segment file in use: where its blocks are, room for more, and verified reads. It never
//! decides what is durable or who may read: the caller knows.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::io::Errno;

use super::{
    index::{self, BlockEntry, index_len},
    scan::{self, Damage},
};
use crate::{
    block::{BlockError, SealedBlock},
    disk::{Disk, Flush, OpenMode, PAGE},
    hash::Incarnation,
    journal::row::UnreadableRange,
    pool::{self, FileKind, HeadError, PreparedFile},
    sabotage::{self, Sabotage},
    types::{Offset, Position, TopicPartition},
};

/// Why a segment file, or a range of it, cannot be read. It is a value to report and to serve
/// around, never a reason to stop (S19).
#[derive(thiserror::Error, Debug)]
pub enum SegmentError {
    /// The disk failed.
    #[error("{path}: at {position}: {error}; check the disk (dmesg, SMART)")]
    Io {
        /// The file.
        path: PathBuf,
        /// Where.
        position: Position,
        /// What the disk said.
        error: io::Error,
    },
    /// The head page is not that of a segment.
    #[error("{path}: {error}; restore the file from a replica or a backup")]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: HeadError,
    },
    /// The file is in another use than the one the journal names (S7).
    #[error("{path}: incarnation: expected {expected}, found {found}; the file was reused")]
    Incarnation {
        /// The file.
        path: PathBuf,
        /// As the journal names it.
        expected: Incarnation,
        /// As its head says.
        found: Incarnation,
    },
    /// A block does not verify.
    #[error(
        "{path}: block at {position}: {error}; offsets {base} to {next} are unreadable: restore \
         the file from a replica or a backup"
    )]
    Block {
        /// The file.
        path: PathBuf,
        /// Where the block starts.
        position: Position,
        /// Its first offset.
        base: Offset,
        /// The offset after its last.
        next: Offset,
        /// What is wrong.
        error: BlockError,
    },
    /// Where a block should be there is none.
    #[error(
        "{path}: at {position}: no block: {reason}; restore the file from a replica or a backup"
    )]
    NoBlock {
        /// The file.
        path: PathBuf,
        /// Where.
        position: Position,
        /// What stands there.
        reason: String,
    },
    /// A block verifies and is another than the index says.
    #[error("{path}: block at {position}: expected offset {expected}, found {found}")]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// Where the block starts.
        position: Position,
        /// As the index says.
        expected: Offset,
        /// As the block says.
        found: Offset,
    },
}

impl SegmentError {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            SegmentError::Io { path, .. }
            | SegmentError::Head { path, .. }
            | SegmentError::Incarnation { path, .. }
            | SegmentError::Block { path, .. }
            | SegmentError::NoBlock { path, .. }
            | SegmentError::Misplaced { path, .. } => path,
        }
    }

    /// Where in it: 0 when it is about the whole file.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            SegmentError::Io { position, .. }
            | SegmentError::Block { position, .. }
            | SegmentError::NoBlock { position, .. }
            | SegmentError::Misplaced { position, .. } => *position,
            SegmentError::Head { .. } | SegmentError::Incarnation { .. } => Position(0),
        }
    }

    /// Whether it says nothing of the file: another try may well succeed.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let SegmentError::Io { error, .. } = self else {
            return false;
        };
        let number = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(
            number,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR)
        )
    }
}

/// What is said of blocks that an index does not name and the journal does.
const MISSING: &str = "the file's index does not know these blocks";

/// What a file knows about an offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// The block that holds it, or the first one after it.
    Block(BlockEntry),
    /// It lies where blocks are damaged.
    Unreadable(Damage),
    /// It lies behind the file's last block.
    Beyond,
}

/// A segment file of one partition. Handles are shared; nothing is borrowed across an await.
pub struct SegmentFile<D: Disk> {
    disk: D,
    file: D::File,
    path: PathBuf,
    tp: TopicPartition,
    incarnation: Incarnation,
    len: u64,
    /// Where the next block goes.
    end: Cell<Position>,
    /// Blocks that have a place, also those not yet in `entries`: their index must fit.
    placed: Cell<usize>,
    /// By position, which is by offset too.
    entries: RefCell<Vec<BlockEntry>>,
    damages: Vec<Damage>,
    /// Somebody has looked something up here, or written, since this was last asked.
    was_used: Cell<bool>,
}

impl<D: Disk> SegmentFile<D> {
    /// Opens a file fresh from the pool, for writing.
    pub async fn create(
        disk: &D,
        prepared: &PreparedFile,
        tp: TopicPartition,
    ) -> Result<SegmentFile<D>, SegmentError> {
        let at_head = at(&prepared.path, Position(0));
        let file = disk
            .open(&prepared.path, OpenMode::Write)
            .await
            .map_err(at_head)?;
        let blocks = (Vec::new(), Vec::new());
        Ok(Self::new(
            disk,
            file,
            prepared,
            tp,
            Position(PAGE as u64),
            blocks,
        ))
    }

    /// Opens a file whose blocks are flushed up to `flushed`; more are written behind it. Without
    /// `flushed` the file is only read, and every block of it that verifies is taken.
    pub async fn open(
        disk: &D,
        path: &Path,
        incarnation: Incarnation,
        tp: TopicPartition,
        flushed: Option<Position>,
    ) -> Result<SegmentFile<D>, SegmentError> {
        let mode = if flushed.is_some() {
            OpenMode::Write
        } else {
            OpenMode::Read
        };
        let (file, prepared) = opened(disk, path, incarnation, mode).await?;
        let indexed = match flushed {
            None => read_index(disk, &file, &prepared).await,
            Some(_) => None,
        };
        let (entries, mut damages) = match indexed {
            Some(entries) => (entries, Vec::new()),
            None => {
                let until = Position(flushed.map_or(prepared.len, |p| p.0.min(prepared.len)));
                scan::scan(disk, &file, incarnation, tp, until).await
            }
        };
        if flushed.is_none() {
            // What follows the last block may never have been written: nobody knows here.
            damages.retain(|damage| damage.next.is_some() || entries.is_empty());
        }
        let end = flushed.or_else(|| entries.last().map(BlockEntry::end));
        let end = end.unwrap_or(Position(PAGE as u64));
        Ok(Self::new(
            disk,
            file,
            &prepared,
            tp,
            end,
            (entries, damages),
        ))
    }

    /// Opens a file that is not written to any more and whose blocks, says the journal, end at
    /// `end` and reach up to `next`. By its index, or without one by its headers; whatever of it
    /// is not found is damage (S19), never taken for the end of the log.
    pub async fn open_closed(
        disk: &D,
        path: &Path,
        incarnation: Incarnation,
        tp: TopicPartition,
        (end, next): (Position, Offset),
    ) -> Result<SegmentFile<D>, SegmentError> {
        let (file, prepared) = opened(disk, path, incarnation, OpenMode::Read).await?;
        let indexed = read_index(disk, &file, &prepared).await;
        let (mut entries, mut damages) = match indexed {
            Some(entries) => (entries, Vec::new()),
            None => {
                let until = Position(end.0.min(prepared.len));
                scan::scan(disk, &file, incarnation, tp, until).await
            }
        };
        entries.retain(|entry| entry.base < next);
        let known = entries.last().map(|entry| entry.next);
        if known.is_none_or(|known| known < next) {
            let start = entries
                .last()
                .map_or(Position(PAGE as u64), BlockEntry::end);
            let missing = Damage {
                start,
                end,
                base: known,
                next: None,
                reason: MISSING.to_owned(),
            };
            // The scan has said what is wrong there, if there was one.
            let tail = damages
                .pop_if(|damage| damage.next.is_none())
                .unwrap_or(missing);
            damages.push(Damage {
                next: Some(next),
                ..tail
            });
        }
        Ok(Self::new(
            disk,
            file,
            &prepared,
            tp,
            end,
            (entries, damages),
        ))
    }

    fn new(
        disk: &D,
        file: D::File,
        prepared: &PreparedFile,
        tp: TopicPartition,
        end: Position,
        (entries, damages): (Vec<BlockEntry>, Vec<Damage>),
    ) -> SegmentFile<D> {
        SegmentFile {
            disk: disk.clone(),
            file,
            path: prepared.path.clone(),
            tp,
            incarnation: prepared.incarnation,
            len: prepared.len,
            end: Cell::new(end),
            placed: Cell::new(entries.len()),
            entries: RefCell::new(entries),
            damages,
            was_used: Cell::new(true),
        }
    }

    /// The open file, for the caller's own writes.
    pub fn file(&self) -> &D::File {
        &self.file
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn tp(&self) -> TopicPartition {
        self.tp
    }

    /// Which use of the file this is.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it was used since the last call.
    pub(crate) fn take_used(&self) -> bool {
        self.was_used.replace(false)
    }

    /// Whether no block has a place yet.
    pub fn is_empty(&self) -> bool {
        self.placed.get() == 0
    }

    /// Where the next block goes.
    pub fn end(&self) -> Position {
        self.end.get()
    }

    /// Ranges where blocks should be and none verify.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// The first place, of those that concern offsets of the range, where blocks are damaged or do
    /// not follow one another: a block that verifies in another's place hides that one. Compaction
    /// leaves gaps before `compacted`, and what recovery gave up is no news.
    pub(crate) fn first_break(
        &self,
        (from, until): (Offset, Offset),
        compacted: Offset,
        given_up: &[UnreadableRange],
    ) -> Option<Damage> {
        let concerns = |damage: &&Damage| {
            let begins = damage.base.is_none_or(|base| base < until);
            begins && damage.next.is_none_or(|next| next > from)
        };
        let damage = self.damages.iter().find(concerns).cloned();
        damage.or_else(|| {
            let entries = self.entries.borrow();
            let mut pairs = entries.windows(2).map(|pair| (pair[0], pair[1]));
            pairs.find_map(|(before, behind)| {
                let (base, next) = (before.next, behind.base);
                let is_hole = base < next && base < until && next > from && next > compacted;
                let is_known = |range: &UnreadableRange| range.base <= base && next <= range.next;
                let is_news = is_hole && !given_up.iter().any(is_known);
                is_news.then(|| Damage {
                    start: before.end(),
                    end: behind.position,
                    base: Some(base),
                    next: Some(next),
                    reason: format!("offsets {base} to {next} are missing between its blocks"),
                })
            })
        })
    }

    /// All blocks, by position.
    pub fn entries(&self) -> Vec<BlockEntry> {
        self.entries.borrow().clone()
    }

    /// The block behind the one at `position`.
    pub fn block_after(&self, position: Position) -> Option<BlockEntry> {
        let entries = self.entries.borrow();
        let at = entries.partition_point(|entry| entry.position <= position);
        entries.get(at).copied()
    }

    /// The last block.
    pub fn last(&self) -> Option<BlockEntry> {
        self.entries.borrow().last().copied()
    }

    /// Whether a block of `block_len` bytes fits, and the index with it.
    pub fn room_for(&self, block_len: usize) -> bool {
        let index = index_len(self.placed.get() + 1);
        self.end.get().0 + block_len as u64 + index as u64 <= self.len
    }

    /// Gives a block of `block_len` bytes its place; the caller writes it there and then calls
    /// [`SegmentFile::push`]. Nothing when there is no room.
    pub fn reserve(&self, block_len: usize) -> Option<Position> {
        if !self.room_for(block_len) {
            return None;
        }
        self.was_used.set(true);
        let position = self.end.get();
        self.end.set(Position(position.0 + block_len as u64));
        self.placed.set(self.placed.get() + 1);
        Some(position)
    }

    /// Makes a block known to readers. In any order of positions: two may be in flight.
    pub fn push(&self, entry: BlockEntry) {
        let mut entries = self.entries.borrow_mut();
        let place = entries.partition_point(|e| e.position < entry.position);
        entries.insert(place, entry);
    }

    /// Forgets the blocks from `next` on, after a truncation that is durable. Their bytes stay;
    /// new blocks go behind them, so nothing that was flushed is written again.
    pub fn truncate(&self, next: Offset) {
        self.entries.borrow_mut().retain(|e| e.base < next);
    }

    /// Writes the block index at the file's end; durable when it returns. A crash before costs
    /// the next open a scan and nothing else.
    pub async fn close(&self) -> Result<(), SegmentError> {
        let entries = self.entries();
        let mut out = self.disk.buffer(index_len(entries.len()));
        let len = out.as_ref().len();
        let position = Position(self.len - len as u64);
        assert!(
            self.end.get() <= position,
            "the index would overwrite blocks"
        );
        index::encode(&entries, self.incarnation, out.as_mut());
        let written = self
            .disk
            .write(&self.file, position.0, out, Flush::Data)
            .await
            .0;
        written.map_err(at(&self.path, position))
    }

    /// Where `offset` is.
    pub fn find(&self, offset: Offset) -> Found {
        self.was_used.set(true);
        let hit =
            |d: &&Damage| d.base.is_none_or(|b| b <= offset) && d.next.is_none_or(|n| offset < n);
        let entries = self.entries.borrow();
        let place = entries.partition_point(|e| e.next <= offset);
        match entries.get(place) {
            Some(entry) if entry.base <= offset => Found::Block(*entry),
            other => match (self.damages.iter().find(hit), other) {
                (Some(damage), _) => Found::Unreadable(damage.clone()),
                (None, Some(entry)) => Found::Block(*entry),
                (None, None) => Found::Beyond,
            },
        }
    }

    /// The first block with a timestamp of at least `timestamp_ms`.
    pub fn find_timestamp(&self, timestamp_ms: i64) -> Option<BlockEntry> {
        let entries = self.entries.borrow();
        entries
            .iter()
            .find(|e| e.max_timestamp >= timestamp_ms)
            .copied()
    }

    /// Reads a block's bytes, unverified: for callers that count the memory of what they hold and
    /// wrap the buffer before [`SegmentFile::verify`].
    pub async fn read_raw(&self, entry: BlockEntry) -> Result<D::Buf, SegmentError> {
        let buf = self.disk.lasting_buffer(entry.len as usize);
        let (read, buf) = self.disk.read(&self.file, entry.position.0, buf).await;
        read.map_err(at(&self.path, entry.position))?;
        Ok(buf)
    }

    /// Verifies a block's bytes against the file and the index.
    pub fn verify(&self, entry: BlockEntry, bytes: Bytes) -> Result<SealedBlock, SegmentError> {
        let (path, position) = (&self.path, entry.position);
        let block = SealedBlock::verify(bytes, self.incarnation).map_err(|error| {
            let (path, base, next) = (path.clone(), entry.base, entry.next);
            SegmentError::Block {
                path,
                position,
                base,
                next,
                error,
            }
        })?;
        if block.base() != entry.base {
            let (expected, found) = (entry.base, block.base());
            return Err(SegmentError::Misplaced {
                path: path.clone(),
                position,
                expected,
                found,
            });
        }
        Ok(block)
    }

    /// Reads a block whole and verifies it.
    pub async fn read_block(&self, entry: BlockEntry) -> Result<SealedBlock, SegmentError> {
        let buf = self.read_raw(entry).await?;
        self.verify(entry, Bytes::from_owner(buf))
    }
}

impl<D: Disk> fmt::Debug for SegmentFile<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentFile")
            .field("path", &self.path)
            .field("incarnation", &self.incarnation)
            .field("blocks", &self.placed.get())
            .finish_non_exhaustive()
    }
}

fn at(path: &Path, position: Position) -> impl FnOnce(io::Error) -> SegmentError {
    move |error| SegmentError::Io {
        path: path.to_owned(),
        position,
        error,
    }
}

/// Opens a file in its present use.
async fn opened<D: Disk>(
    disk: &D,
    path: &Path,
    incarnation: Incarnation,
    mode: OpenMode,
) -> Result<(D::File, PreparedFile), SegmentError> {
    let file = disk.open(path, mode).await.map_err(at(path, Position(0)))?;
    let (kind, path) = (FileKind::Segment, path.to_owned());
    let ignored = sabotage::is(Sabotage::IncarnationIgnored);
    match pool::read_head(disk, &file).await {
        Err(error) => Err(SegmentError::Head { path, error }),
        Ok(head) if head.incarnation != incarnation && !ignored => {
            let (expected, found) = (incarnation, head.incarnation);
            Err(SegmentError::Incarnation {
                path,
                expected,
                found,
            })
        }
        Ok(head) if head.kind != kind => Err(SegmentError::Head {
            path,
            error: HeadError::Kind(head.kind.number()),
        }),
        Ok(_) => {
            let len = disk.len(&file).map_err(at(&path, Position(0)))?;
            Ok((
                file,
                PreparedFile {
                    path,
                    kind,
                    len,
                    incarnation,
                },
            ))
        }
    }
}

/// The index, if there is one that verifies. One that cannot be read is as good as none: the
/// headers say the same.
async fn read_index<D: Disk>(
    disk: &D,
    file: &D::File,
    prepared: &PreparedFile,
) -> Option<Vec<BlockEntry>> {
    let tail_at = prepared.len.checked_sub(PAGE as u64)?;
    let (read, tail) = disk.read(file, tail_at, disk.buffer(PAGE)).await;
    read.ok()?;
    let len = index::len_of_tail(tail.as_ref(), prepared.len)?;
    let (read, bytes) = disk
        .read(file, prepared.len - len as u64, disk.buffer(len))
        .await;
    read.ok()?;
    index::decode(bytes.as_ref(), prepared.incarnation)
}
