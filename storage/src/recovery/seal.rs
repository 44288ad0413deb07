//! Sealing at a start what the fresh journals have no room for: new segment files that fresh rows
//! will name (S11). Nothing is flushed by itself: what is made for ten thousand partitions becomes
//! durable together, before `node` names the set. Until then no row names these files, and a start
//! that is cut short leaves them to the next one's sweep.

use super::{RecoverError, RecoverOptions, rewrite::io_at, walk::Tail};
use crate::{
    disk::{Disk, Flush, OpenMode, PAGE},
    hash::Incarnation,
    journal::{
        FIRST_FILE,
        row::{FileRow, Row},
    },
    partition::{Held, Log, SegmentSlot},
    pool::{FileHead, FileKind, SizeClass},
    sabotage::{self, Sabotage},
    segment::{SegmentName, index_len, partition_dir, topic_dir},
    store::{block_payload_bytes, fill_block},
    types::{Position, TopicPartition},
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// Writes segment files at a start.
pub(super) struct Sealer<'a, D: Disk> {
    disk: &'a D,
    options: &'a RecoverOptions,
    /// Made, and named by nobody yet, and the directories that have them.
    files: Vec<PathBuf>,
    dirs: BTreeSet<PathBuf>,
}

impl<'a, D: Disk> Sealer<'a, D> {
    pub(super) fn new(disk: &'a D, options: &'a RecoverOptions) -> Sealer<'a, D> {
        Sealer {
            disk,
            options,
            files: Vec::new(),
            dirs: BTreeSet::new(),
        }
    }

    /// Writes a tail to new segment files and names them in the row.
    pub(super) async fn seal(
        &mut self,
        tp: TopicPartition,
        row: &mut Row,
        tail: &Tail,
    ) -> Result<(), RecoverError> {
        row.flushed = (tail.base, tail.chain);
        let mut log: Log<D> = Log::from_row(row);
        let full = block_payload_bytes(self.options.store.block_bytes);
        log.restore(&tail.bytes, &row.rolls, FIRST_FILE, full);
        log.freeze();
        let dir = self.dir_of(tp).await?;
        while let Some(first) = log.held.front() {
            let (base, len) = (first.segment_base, first.block.sealed_len());
            let class = log.segments.next_class(base, len);
            let class = class.expect("a batch is capped to fit the largest segment file");
            let blocks = blocks_for(&log, class);
            let blocks: Vec<Held> = log.held.drain(..blocks).collect();
            let mut name = log.segments.take_name(base);
            let there = self.disk.list(&dir).await.map_err(io_at(&dir))?;
            // No row may name a file that is there: it holds a block that was announced and not
            // confirmed, which a repeated start must find again (S11), or comes from a start that
            // was cut short.
            while there.contains(&dir.join(name.to_string())) {
                name.number += 1;
            }
            let file = self.write_file(tp, &dir, (name, class), &blocks).await?;
            let row = FileRow {
                written_ms: row.appended_ms,
                ..file
            };
            log.segments.slots.push(SegmentSlot { row, file: None });
        }
        row.files = log.segments.slots.iter().map(|slot| slot.row).collect();
        Ok(())
    }

    async fn dir_of(&mut self, tp: TopicPartition) -> Result<PathBuf, RecoverError> {
        let data = &self.options.store.data;
        let dir = partition_dir(data, tp);
        if self.dirs.insert(dir.clone()) {
            self.disk.make_dir(&dir).await.map_err(io_at(&dir))?;
            let topic = topic_dir(data, tp.topic);
            // Up to the data directory: `topics` may be new too.
            let parents = topic.ancestors().take_while(|dir| dir.starts_with(data));
            self.dirs.extend(parents.map(Path::to_owned));
        }
        Ok(dir)
    }

    /// One file, head and blocks in one write.
    async fn write_file(
        &mut self,
        tp: TopicPartition,
        dir: &Path,
        (name, class): (SegmentName, SizeClass),
        blocks: &[Held],
    ) -> Result<FileRow, RecoverError> {
        let path = dir.join(name.to_string());
        let incarnation = self.options.incarnations.next();
        let (kind, len) = (FileKind::Segment, class.bytes());
        let file = self.disk.open(&path, OpenMode::Create { len }).await;
        // Also one that could be made only in part; but never one that was there.
        let is_other = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        if !file.as_ref().is_err_and(is_other) {
            self.files.push(path.clone());
        }
        let file = file.map_err(io_at(&path))?;
        let content: usize = blocks.iter().map(|held| held.block.sealed_len()).sum();
        let mut buf = self.disk.buffer(PAGE + content);
        let (head, rest) = buf.as_mut().split_at_mut(PAGE);
        FileHead {
            kind,
            incarnation,
            len,
        }
        .encode(head);
        fill(tp, incarnation, blocks, rest);
        let written = self.disk.write(&file, 0, buf, Flush::No).await.0;
        written.map_err(io_at(&path))?;
        let ends = blocks.first().zip(blocks.last());
        let (first, last) = ends.expect("a file is made for at least a block");
        Ok(FileRow {
            name,
            incarnation,
            file_bytes: len,
            first: first.block.base,
            next: last.block.next,
            end: Position((PAGE + content) as u64),
            max_timestamp: blocks
                .iter()
                .map(|b| b.block.max_timestamp)
                .max()
                .unwrap_or(-1),
            batch_bytes: blocks.iter().map(|held| held.block.len() as u64).sum(),
            written_ms: 0,
        })
    }

    /// Makes everything durable, with its names.
    pub(super) async fn flush(&mut self) -> Result<(), RecoverError> {
        if sabotage::is(Sabotage::StartSealsUnflushed) {
            return Ok(());
        }
        let dirs: Vec<PathBuf> = self.dirs.iter().cloned().collect();
        let at = dirs.first().cloned().unwrap_or_default();
        let flushed = self.disk.sync_all(&self.files, &dirs).await;
        flushed.map_err(io_at(&at))
    }

    /// What was made stays from now on, whatever becomes of the start: `node` may name it.
    pub(super) fn keep(&mut self) {
        self.files.clear();
    }

    /// Removes what was made, for a start that fails: else starts that fail for want of space would
    /// each leave less of it.
    pub(super) async fn discard(self) {
        for path in self.files {
            if let Err(error) = self.disk.remove(&path).await {
                tracing::debug!(path = %path.display(), %error, "an unfinished file stays");
            }
        }
    }
}

/// How many of the oldest held blocks a new file takes: those of one Kafka segment, with the index
/// that the file gets when it is full.
fn blocks_for<D: Disk>(log: &Log<D>, class: SizeClass) -> usize {
    let base = log.held.front().map(|held| held.segment_base);
    let mut used = PAGE;
    let mut blocks = 0;
    for held in &log.held {
        used += held.block.sealed_len();
        let fits = used + index_len(blocks + 1) <= class.bytes() as usize;
        if Some(held.segment_base) != base || !fits {
            break;
        }
        blocks += 1;
    }
    blocks.max(1)
}

fn fill(tp: TopicPartition, incarnation: Incarnation, blocks: &[Held], mut out: &mut [u8]) {
    for held in blocks {
        let (block, rest) = out.split_at_mut(held.block.sealed_len());
        fill_block(&held.block, tp, incarnation, block);
        out = rest;
    }
}
