//! Writing the fresh set: for each shard one journal file with the rows of its partitions and the
//! batches that no segment holds, flushed with its directories before `node` names the set (S11).
//!
//! ```text
//! <data>/journal/<set>/shards-<n>      says how many there are: a missing one is missed
//! <data>/journal/<set>/<shard>/0       rows, end of rows, batches, one empty frame (S4)
//! ```

use super::{
    RecoverError, RecoverOptions, RecoveryReport, journal_dir,
    seal::Sealer,
    walk::{Tail, Walked},
};
use crate::{
    batch::batches,
    disk::{Disk, Flush, OpenMode, PAGE},
    hash::ChainHash,
    journal::{
        JournalState, file_path,
        fragment::{Fragment, Kind},
        frame::{FrameHead, FrameWriter, Sequence, frame_len},
    },
    node::JournalSet,
    pool::{self, FileHead, FileKind},
    sabotage::{self, Sabotage},
    store::{RecoveredPartition, ShardState},
    types::{Offset, ShardId, TopicPartition},
};
use bytes::Bytes;
use std::{
    cmp::Reverse,
    io,
    path::{Path, PathBuf},
};

/// The first file beyond what is recovered: enough for the first writes, little enough to be
/// zero-filled, and read by the next start, in milliseconds. The housekeeper prepares a larger one
/// meanwhile.
const FIRST_ROOM_BYTES: u64 = 2 << 20;
/// Payload of a frame written here.
const FRAME_PAYLOAD_BYTES: usize = 1 << 20;
const MARKER: &str = "shards-";

/// How many shards a set has.
pub(super) async fn shards_of<D: Disk>(disk: &D, dir: &Path) -> Result<u16, RecoverError> {
    let entries = disk.list(dir).await.map_err(io_at(dir))?;
    let marked = entries.iter().find_map(|path| {
        path.file_name()?
            .to_str()?
            .strip_prefix(MARKER)?
            .parse()
            .ok()
    });
    marked.ok_or_else(|| {
        let found = match entries.len() {
            0 => "nothing".to_owned(),
            count => format!("{count} entries and no {MARKER}<n>"),
        };
        RecoverError::MissingSet {
            path: dir.to_owned(),
            found,
        }
    })
}

/// The fresh set while it gathers.
pub(super) struct Fresh<'a, D: Disk> {
    disk: &'a D,
    options: &'a RecoverOptions,
    sealer: Sealer<'a, D>,
    /// By shard of the fresh set.
    shards: Vec<Gathered>,
}

/// What one shard of the fresh set begins with.
#[derive(Default)]
struct Gathered {
    partitions: Vec<RecoveredPartition>,
    tail_bytes: usize,
}

impl<'a, D: Disk> Fresh<'a, D> {
    pub(super) fn new(disk: &'a D, options: &'a RecoverOptions) -> Fresh<'a, D> {
        Fresh {
            disk,
            options,
            sealer: Sealer::new(disk, options),
            shards: (0..options.shards).map(|_| Gathered::default()).collect(),
        }
    }

    /// Takes the partitions of one old journal. What the fresh journals have no room for is sealed
    /// at once, and leaves memory: so a start holds what its shards may hold, and one journal's
    /// more, however many shards there were before.
    pub(super) async fn take(
        &mut self,
        walked: Vec<Walked>,
        placement: &impl Fn(TopicPartition) -> ShardId,
        report: &mut RecoveryReport,
    ) -> Result<(), RecoverError> {
        for partition in walked {
            let shard = placement(partition.tp);
            assert!(
                shard.0 < self.options.shards,
                "placement knows the number of shards"
            );
            let recovered = self.recovered(partition, report).await?;
            let gathered = &mut self.shards[usize::from(shard.0)];
            gathered.tail_bytes += recovered.tail.len();
            gathered.partitions.push(recovered);
        }
        for shard in 0..self.shards.len() {
            self.seal_excess(shard, report).await?;
        }
        Ok(())
    }

    /// Seals every batch before an unreadable range; what is left is one contiguous tail.
    async fn recovered(
        &mut self,
        mut walked: Walked,
        report: &mut RecoveryReport,
    ) -> Result<RecoveredPartition, RecoverError> {
        let last = if walked.is_tail_last {
            walked.tails.pop()
        } else {
            None
        };
        report.sealed_partitions += u64::from(!walked.tails.is_empty());
        let (tp, mut row) = (walked.tp, walked.row);
        for tail in &walked.tails {
            self.sealer.seal(tp, &mut row, tail).await?;
        }
        row.flushed = last
            .as_ref()
            .map_or(walked.end, |tail| (tail.base, tail.chain));
        let (tail, end) = (last.map(|tail| tail.bytes).unwrap_or_default(), walked.end);
        Ok(RecoveredPartition { tp, row, tail, end })
    }

    /// Seals, largest first, what the shard's fresh journal and open blocks have no room for.
    async fn seal_excess(
        &mut self,
        shard: usize,
        report: &mut RecoveryReport,
    ) -> Result<(), RecoverError> {
        let store = &self.options.store;
        let limit = (store.journal_bytes as usize).min(store.open_block_budget_bytes) / 2;
        let Gathered {
            partitions,
            tail_bytes,
        } = &mut self.shards[shard];
        if *tail_bytes <= limit {
            return Ok(());
        }
        partitions.sort_by_key(|partition| Reverse(partition.tail.len()));
        for partition in partitions.iter_mut() {
            if *tail_bytes <= limit {
                break;
            }
            let bytes = std::mem::take(&mut partition.tail);
            *tail_bytes -= bytes.len();
            let (base, chain) = partition.row.flushed;
            let tail = Tail { base, chain, bytes };
            let (tp, row) = (partition.tp, &mut partition.row);
            self.sealer.seal(tp, row, &tail).await?;
            row.flushed = partition.end;
            report.sealed_partitions += 1;
        }
        Ok(())
    }

    /// Writes the set; durable, with the files that its rows name, when it returns.
    pub(super) async fn write(&mut self, set: JournalSet) -> Result<Vec<ShardState>, RecoverError> {
        self.sealer.flush().await?;
        let dir = journal_dir(&self.options.store.data).join(set.to_string());
        self.disk.create_dir(&dir).await.map_err(io_at(&dir))?;
        let mut shards = Vec::new();
        let gathered = std::mem::take(&mut self.shards);
        for (shard, gathered) in (0..).map(ShardId).zip(gathered) {
            let mut partitions = gathered.partitions;
            partitions.sort_unstable_by_key(|partition| partition.tp);
            let dir = dir.join(shard.to_string());
            self.disk.create_dir(&dir).await.map_err(io_at(&dir))?;
            let journal = write_journal(self.disk, &dir, &partitions, self.options).await?;
            shards.push(ShardState {
                shard,
                journal,
                partitions,
            });
        }
        let marker = dir.join(format!("{MARKER}{}", self.options.shards));
        let mode = OpenMode::Create { len: PAGE as u64 };
        let made = self.disk.open(&marker, mode).await;
        made.map_err(io_at(&marker))?;
        self.disk.sync_dir(&dir).await.map_err(io_at(&dir))?;
        Ok(shards)
    }

    /// The set is about to be named: from now on its segment files are not removed.
    pub(super) fn keep(&mut self) {
        self.sealer.keep();
    }

    /// Removes segment files that a start which fails has made.
    pub(super) async fn discard(self) {
        self.sealer.discard().await;
    }
}

/// One frame's content, gathered.
#[derive(Default)]
struct Content {
    parts: Vec<(Fragment, Bytes)>,
    payload_bytes: usize,
}

/// Writes one shard's first journal file; durable with its name when it returns.
async fn write_journal<D: Disk>(
    disk: &D,
    dir: &Path,
    partitions: &[RecoveredPartition],
    options: &RecoverOptions,
) -> Result<JournalState, RecoverError> {
    let frames = frames_of(partitions);
    let lens = frames
        .iter()
        .map(|frame| frame_len(frame.parts.len(), frame.payload_bytes));
    let content: usize = lens.sum();
    let room = FIRST_ROOM_BYTES.min(options.store.journal_file_bytes);
    let len = (2 * PAGE + content) as u64 + room;
    let incarnation = options.incarnations.next();
    let path = file_path(dir, 0);
    let kind = FileKind::Journal;
    let head = FileHead {
        kind,
        incarnation,
        len,
    };
    // Frames take the place of the zeros before there.
    let file = pool::create_unflushed(disk, &path, head, (PAGE + content) as u64).await;
    let file = file.map_err(io_at(&path))?;
    let mut state = JournalState {
        dir: dir.to_owned(),
        slot: 0,
        incarnation,
        file_bytes: len,
        position: PAGE as u64,
        next: Sequence(1),
        predecessor: 0,
    };
    for frame in &frames {
        write_frame(disk, &file, &mut state, frame, Sequence(0))
            .await
            .map_err(io_at(&path))?;
    }
    // Closes the run (S4): when `node` names the set, all of it is durable.
    let (closing, through) = (Content::default(), Sequence(state.next.0 - 1));
    write_frame(disk, &file, &mut state, &closing, through)
        .await
        .map_err(io_at(&path))?;
    // Nobody reads the set before that, so one flush covers everything.
    if !sabotage::is(Sabotage::SetUnflushed) {
        disk.sync(&file).await.map_err(io_at(&path))?;
    }
    disk.sync_dir(dir).await.map_err(io_at(dir))?;
    Ok(state)
}

async fn write_frame<D: Disk>(
    disk: &D,
    file: &D::File,
    state: &mut JournalState,
    content: &Content,
    durable_through: Sequence,
) -> io::Result<()> {
    let len = frame_len(content.parts.len(), content.payload_bytes);
    let mut buf = disk.buffer(len);
    let mut writer = FrameWriter::new(buf.as_mut(), content.parts.len());
    for (fragment, payload) in &content.parts {
        writer.put(fragment, [&payload[..]]);
    }
    let head = FrameHead {
        sequence: state.next,
        predecessor: state.predecessor,
        durable_through,
        oldest_needed: Sequence(1),
    };
    state.predecessor = writer.finish(&head, state.incarnation);
    let position = state.position;
    state.position += len as u64;
    state.next = state.next.next();
    disk.write(file, position, buf, Flush::No).await.0
}

fn frames_of(partitions: &[RecoveredPartition]) -> Vec<Content> {
    let mut frames = vec![Content::default()];
    for RecoveredPartition { tp, row, .. } in partitions {
        let mut payload = Vec::new();
        row.encode(&mut payload);
        // Once `node` names the set all of the log is durable, and a walk has noted its end.
        let fragment = Fragment::plain(Kind::Row, *tp, row.start, row.noted_end);
        add(&mut frames, fragment, payload.into());
    }
    let count = Offset(partitions.len() as i64);
    let end = Fragment::plain(Kind::RowsEnd, TopicPartition::default(), count, count);
    add(&mut frames, end, Bytes::new());
    for partition in partitions {
        add_tail(&mut frames, partition);
    }
    frames
}

fn add(frames: &mut Vec<Content>, fragment: Fragment, payload: Bytes) {
    let is_full = |frame: &Content| frame.payload_bytes + payload.len() > FRAME_PAYLOAD_BYTES;
    if frames
        .last()
        .is_none_or(|frame| !frame.parts.is_empty() && is_full(frame))
    {
        frames.push(Content::default());
    }
    if let Some(frame) = frames.last_mut() {
        frame.payload_bytes += payload.len();
        frame.parts.push((fragment, payload));
    }
}

/// A tail's batches, cut so that each fragment fits a frame.
fn add_tail(frames: &mut Vec<Content>, partition: &RecoveredPartition) {
    let RecoveredPartition { tp, row, tail, .. } = partition;
    let (mut base, mut chain) = row.flushed;
    let (mut next, mut chain_after) = (base, chain);
    let (mut start, mut end) = (0, 0);
    for (header, batch) in batches(tail) {
        if end > start && end - start + batch.len() > FRAME_PAYLOAD_BYTES {
            let fragment = batches_fragment(*tp, (base, chain), (next, chain_after));
            add(frames, fragment, tail.slice(start..end));
            (base, chain, start) = (next, chain_after, end);
        }
        (next, chain_after) = (header.next(), chain_after.then(batch));
        end += batch.len();
    }
    if end > start {
        let fragment = batches_fragment(*tp, (base, chain), (next, chain_after));
        add(frames, fragment, tail.slice(start..end));
    }
}

fn batches_fragment(
    tp: TopicPartition,
    (base, chain_before): (Offset, ChainHash),
    (next, chain_after): (Offset, ChainHash),
) -> Fragment {
    Fragment {
        kind: Kind::Batches,
        tp,
        base,
        next,
        chain_before,
        chain_after,
    }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> RecoverError {
    let path: PathBuf = path.to_owned();
    move |error| RecoverError::Io { path, error }
}
