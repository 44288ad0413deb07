//! Writing the new files: blocks gather in memory until they are a file's worth, so that a file is
//! exactly as long as its content. Compaction is there to give space back; rounding every remainder
//! up to a size class would take some of it again.
//!
//! A file is made in the pool, where a start unlinks what a crash leaves, and moved to its
//! partition when everything in it is flushed. No log names it before the switch.

use super::{
    plan::{Plan, Source},
    round::CompactionError,
};
use crate::{
    block::open::{Chunk, OpenBlock},
    disk::{Disk, Flush, PAGE},
    hash::{ChainHash, Incarnation},
    journal::row::FileRow,
    pool::{self, FileKind, Filling, PreparedFile},
    sabotage::{self, Sabotage},
    segment::{BlockEntry, SegmentFile, SegmentName, index_len},
    space::Space,
    store::fill_block,
    types::{Offset, Position},
};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

/// Content of a file. Less would make more files, each with a descriptor; more is memory.
const FILE_BYTES: usize = 16 << 20;

/// A block that waits for its file.
struct Waiting<B> {
    entry: BlockEntry,
    buf: B,
}

/// A file whose content is complete.
struct Closing<D: Disk> {
    row: FileRow,
    prepared: Option<(PreparedFile, SegmentFile<D>)>,
    blocks: VecDeque<Waiting<D::Buf>>,
}

/// New files, one after the other.
pub(super) struct Writer<D: Disk> {
    disk: D,
    space: Space,
    /// Where files are made.
    pool: PathBuf,
    full_bytes: usize,
    block: OpenBlock,
    chunk: Chunk,
    /// The Kafka segment being filled, and how many files it has.
    segment: Offset,
    files_of_segment: u32,
    incarnation: Incarnation,
    first: Offset,
    position: Position,
    batch_bytes: u64,
    /// Wall clock of the last flush of what goes into the file.
    written_ms: i64,
    blocks: VecDeque<Waiting<D::Buf>>,
    closing: VecDeque<Closing<D>>,
    /// Placed, in order.
    pub files: Vec<FileRow>,
    pub written_bytes: u64,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        disk: &D,
        space: Space,
        pool: &Path,
        plan: &Plan,
        incarnation: Incarnation,
    ) -> Writer<D> {
        let first = plan.sources.first().map_or(plan.start, |s| s.row.first);
        let segment = plan.sources.first().map_or(plan.start, |s| s.group);
        Writer {
            disk: disk.clone(),
            space,
            pool: pool.to_owned(),
            full_bytes: plan.block_payload_bytes,
            block: OpenBlock::new(first, ChainHash::START),
            chunk: Chunk::default(),
            segment,
            files_of_segment: 0,
            incarnation,
            first,
            position: Position(PAGE as u64),
            batch_bytes: 0,
            written_ms: 0,
            blocks: VecDeque::new(),
            closing: VecDeque::new(),
            files: Vec::new(),
            written_bytes: 0,
        }
    }

    /// Adds a batch of `source` to its new Kafka segment. Each use of `incarnations` is a new file.
    pub(super) fn push(
        &mut self,
        batch: &[u8],
        source: &Source,
        plan: &Plan,
        incarnations: &dyn Fn() -> Incarnation,
    ) {
        let segment = source.group;
        if segment != self.segment {
            self.close(plan, incarnations);
            (self.segment, self.files_of_segment) = (segment, 0);
        }
        if !self.block.is_empty() && self.block.len() + batch.len() > self.full_bytes {
            self.seal(plan);
            if self.position.0 as usize >= FILE_BYTES {
                self.close(plan, incarnations);
            }
        }
        self.block.push_spaced(&mut self.chunk, batch);
        self.batch_bytes += batch.len() as u64;
        self.written_ms = self.written_ms.max(source.row.written_ms);
    }

    /// Ends the file being filled.
    pub(super) fn close(&mut self, plan: &Plan, incarnations: &dyn Fn() -> Incarnation) {
        self.seal(plan);
        let Some(last) = self.blocks.back().map(|waiting| waiting.entry) else {
            return;
        };
        let index = index_len(self.blocks.len()) as u64;
        let timestamps = self.blocks.iter().map(|b| b.entry.max_timestamp);
        let row = FileRow {
            name: SegmentName {
                generation: plan.generation,
                base: self.segment,
                number: self.files_of_segment,
            },
            incarnation: self.incarnation,
            file_bytes: self.position.0 + index,
            first: self.first,
            next: last.next,
            end: self.position,
            max_timestamp: timestamps.max().unwrap_or(-1),
            batch_bytes: std::mem::take(&mut self.batch_bytes),
            written_ms: std::mem::take(&mut self.written_ms),
        };
        self.closing.push_back(Closing {
            row,
            prepared: None,
            blocks: std::mem::take(&mut self.blocks),
        });
        self.files_of_segment += 1;
        self.first = last.next;
        self.position = Position(PAGE as u64);
        self.incarnation = incarnations();
    }

    fn seal(&mut self, plan: &Plan) {
        if self.block.is_empty() {
            return;
        }
        let next = OpenBlock::new(self.block.next, self.block.chain_after);
        let block = std::mem::replace(&mut self.block, next);
        self.chunk.abandon();
        let len = block.sealed_len();
        let mut buf = self.disk.buffer(len);
        fill_block(&block, plan.tp, self.incarnation, buf.as_mut());
        let entry = BlockEntry::new(self.position, len as u32, &block.meta(plan.tp));
        self.position.0 += len as u64;
        self.blocks.push_back(Waiting { entry, buf });
    }

    /// Whether files wait to be written.
    pub(super) fn is_behind(&self) -> bool {
        !self.closing.is_empty()
    }

    /// One step of writing the oldest complete file: making it, one of its blocks, or its index and
    /// place. Returns the bytes written.
    pub(super) async fn write_on(&mut self, plan: &Plan) -> Result<u64, CompactionError> {
        let Some(mut closing) = self.closing.pop_front() else {
            return Ok(0);
        };
        let before = self.written_bytes;
        match closing.prepared.take() {
            None => {
                let file = self.make(plan, &closing.row).await?;
                closing.prepared = Some(file);
                self.closing.push_front(closing);
            }
            Some((prepared, file)) => {
                let Some(Waiting { entry, buf }) = closing.blocks.pop_front() else {
                    self.finish(plan, closing.row, &prepared, &file).await?;
                    return Ok(self.written_bytes - before);
                };
                let (disk, position) = (&self.disk, entry.position.0);
                let written = disk.write(file.file(), position, buf, Flush::No).await.0;
                written.map_err(CompactionError::io(file.path()))?;
                self.written_bytes += u64::from(entry.len);
                file.reserve(entry.len as usize);
                file.push(entry);
                closing.prepared = Some((prepared, file));
                self.closing.push_front(closing);
            }
        }
        Ok(self.written_bytes - before)
    }

    async fn make(
        &self,
        plan: &Plan,
        row: &FileRow,
    ) -> Result<(PreparedFile, SegmentFile<D>), CompactionError> {
        let (kind, filling) = (FileKind::Segment, Filling::Allocated);
        let (len, incarnation) = (row.file_bytes, row.incarnation);
        if !self.space.admits(len) {
            // What is left is for the next start: compaction may wait for retention.
            let full = io::ErrorKind::StorageFull.into();
            return Err(CompactionError::io(&self.pool)(full));
        }
        let prepared = pool::prepare(&self.disk, &self.pool, kind, len, filling, incarnation).await;
        let prepared = prepared.map_err(CompactionError::io(&self.pool))?;
        let file = SegmentFile::create(&self.disk, &prepared, plan.tp).await?;
        Ok((prepared, file))
    }

    /// Index, flush, place: in this order, so that a name in the partition's directory stands for a
    /// whole file.
    async fn finish(
        &mut self,
        plan: &Plan,
        row: FileRow,
        prepared: &PreparedFile,
        file: &SegmentFile<D>,
    ) -> Result<(), CompactionError> {
        file.close().await?;
        if !sabotage::is(Sabotage::CompactedUnflushed) {
            let synced = self.disk.sync(file.file()).await;
            synced.map_err(CompactionError::io(&prepared.path))?;
        }
        let target = plan.dir.join(row.name.to_string());
        let placed = pool::place(&self.disk, &prepared.path, &target).await;
        placed.map_err(CompactionError::io(&target))?;
        self.written_bytes += row.file_bytes - row.end.0 + PAGE as u64;
        self.files.push(row);
        Ok(())
    }

    /// Removes whatever was made: no log will name it. What cannot be removed goes with the next
    /// start.
    pub(super) async fn discard(self, plan: &Plan) {
        let made = self.closing.iter().filter_map(|c| c.prepared.as_ref());
        let mut paths: Vec<PathBuf> = made.map(|(prepared, _)| prepared.path.clone()).collect();
        let placed = self.files.iter();
        paths.extend(placed.map(|row| plan.dir.join(row.name.to_string())));
        for path in paths {
            if let Err(error) = self.disk.remove(&path).await {
                tracing::debug!(path = %path.display(), %error, "an abandoned file stays");
            }
        }
    }
}
