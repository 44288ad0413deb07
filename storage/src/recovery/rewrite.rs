//! Writing the fresh set: for each shard one journal file with the rows of its partitions and the
//! batches that no segment holds, flushed with its directories before `node` names the set (S11).
//!
//! ```text
//! <data>/journal/<set>/shards-<n>      says how many there are: a missing one is missed
//! <data>/journal/<set>/<shard>/0       rows, end of rows, batches, one empty frame (S4)
//! ```

use super::{
    RecoverError, RecoverOptions, RecoveryReport, journal_dir,
    walk::{Tail, Walked},
};
use crate::{
    batch::batches,
    disk::{Disk, Flush, OpenMode, PAGE},
    hash::ChainHash,
    journal::{
        FIRST_FILE, JournalState, file_path,
        fragment::{Fragment, Kind},
        frame::{FrameHead, FrameWriter, Sequence, frame_len},
        row::Row,
    },
    node::JournalSet,
    partition::Log,
    pool::{self, FileHead, FileKind, Filling},
    sabotage::{self, Sabotage},
    segment::{SegmentFile, partition_dir},
    store::{RecoveredPartition, ShardState, block_payload_bytes, fill_block},
    types::{Offset, ShardId, TopicPartition},
};
use bytes::Bytes;
use std::{
    cmp::Reverse,
    io,
    path::{Path, PathBuf},
    rc::Rc,
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

pub(super) async fn write_set<D: Disk>(
    disk: &D,
    set: JournalSet,
    walked: Vec<Walked>,
    placement: impl Fn(TopicPartition) -> ShardId,
    options: &RecoverOptions,
    report: &mut RecoveryReport,
) -> Result<Vec<ShardState>, RecoverError> {
    let dir = journal_dir(&options.store.data).join(set.to_string());
    disk.create_dir(&dir).await.map_err(io_at(&dir))?;
    let mut by_shard: Vec<Vec<Walked>> = (0..options.shards).map(|_| Vec::new()).collect();
    for partition in walked {
        let shard = placement(partition.tp);
        assert!(
            shard.0 < options.shards,
            "placement knows the number of shards"
        );
        by_shard[usize::from(shard.0)].push(partition);
    }
    let mut shards = Vec::new();
    for (shard, partitions) in (0..).map(ShardId).zip(by_shard) {
        let kept = seal_excess(disk, partitions, options, report).await?;
        let dir = dir.join(shard.to_string());
        disk.create_dir(&dir).await.map_err(io_at(&dir))?;
        let journal = write_journal(disk, &dir, &kept, options).await?;
        shards.push(ShardState {
            shard,
            journal,
            partitions: kept,
        });
    }
    let marker = dir.join(format!("{MARKER}{}", options.shards));
    let mode = OpenMode::Create { len: PAGE as u64 };
    disk.open(&marker, mode).await.map_err(io_at(&marker))?;
    disk.sync_dir(&dir).await.map_err(io_at(&dir))?;
    Ok(shards)
}

/// Seals what the fresh journal has no room for, largest first, and every batch before an
/// unreadable range; what is left of each partition is one contiguous tail.
async fn seal_excess<D: Disk>(
    disk: &D,
    mut partitions: Vec<Walked>,
    options: &RecoverOptions,
    report: &mut RecoveryReport,
) -> Result<Vec<RecoveredPartition>, RecoverError> {
    let store = &options.store;
    let limit = (store.journal_bytes as usize).min(store.open_block_budget_bytes) / 2;
    let last_len = |walked: &Walked| match walked.tails.last() {
        Some(tail) if walked.is_tail_last => tail.bytes.len(),
        _ => 0,
    };
    let mut total: usize = partitions.iter().map(last_len).sum();
    partitions.sort_by_key(|walked| Reverse(last_len(walked)));
    let mut kept = Vec::new();
    for mut walked in partitions {
        let len = last_len(&walked);
        let keeps = total <= limit && len > 0;
        let last = if keeps { walked.tails.pop() } else { None };
        if !keeps {
            total -= len;
        }
        if !walked.tails.is_empty() {
            report.sealed_partitions += 1;
        }
        for tail in std::mem::take(&mut walked.tails) {
            seal_tail(disk, &mut walked, &tail, options).await?;
        }
        let (tp, mut row) = (walked.tp, walked.row);
        row.flushed = last
            .as_ref()
            .map_or(walked.end, |tail| (tail.base, tail.chain));
        let tail = last.map_or_else(Bytes::new, |tail| tail.bytes);
        kept.push(RecoveredPartition { tp, row, tail });
    }
    Ok(kept)
}

/// Writes a tail to new segment files and names them in the row.
async fn seal_tail<D: Disk>(
    disk: &D,
    walked: &mut Walked,
    tail: &Tail,
    options: &RecoverOptions,
) -> Result<(), RecoverError> {
    let row = Row {
        flushed: (tail.base, tail.chain),
        ..walked.row.clone()
    };
    let mut log: Log<D> = Log::from_row(&row);
    let full = block_payload_bytes(options.store.block_bytes);
    log.restore(&tail.bytes, &row.rolls, FIRST_FILE, full);
    log.freeze();
    let mut file: Option<Rc<SegmentFile<D>>> = None;
    while let Some(held) = log.held.pop_front() {
        let len = held.block.sealed_len();
        let base = held.segment_base;
        let is_same = log.segments.writable(base).is_some();
        let current = match file.take().filter(|file| is_same && file.room_for(len)) {
            Some(file) => file,
            None => {
                new_file(
                    disk,
                    &mut log,
                    walked.tp,
                    (base, held.block.base, len),
                    options,
                )
                .await?
            }
        };
        let position = current.reserve(len);
        let position = position.expect("a file is chosen to have room");
        let mut buf = disk.buffer(len);
        fill_block(&held.block, walked.tp, current.incarnation(), buf.as_mut());
        let written = disk
            .write(current.file(), position.0, buf, Flush::Data)
            .await
            .0;
        written.map_err(io_at(current.path()))?;
        let (entry, batch_bytes) = (held.entry(position, len as u32), held.block.len());
        log.segments
            .flushed(current.incarnation(), entry, batch_bytes, row.appended_ms);
        file = Some(current);
    }
    walked.row.files = log.segments.slots.iter().map(|slot| slot.row).collect();
    Ok(())
}

async fn new_file<D: Disk>(
    disk: &D,
    log: &mut Log<D>,
    tp: TopicPartition,
    (base, first, block_bytes): (Offset, Offset, usize),
    options: &RecoverOptions,
) -> Result<Rc<SegmentFile<D>>, RecoverError> {
    let class = log.segments.next_class(base, block_bytes);
    let class = class.expect("a batch is capped to fit the largest segment file");
    let pool = options.store.data.join("pool").join(class.to_string());
    let incarnation = options.incarnations.next();
    let kind = FileKind::Segment;
    let filling = Filling::Allocated;
    let prepared = pool::prepare(disk, &pool, kind, class.bytes(), filling, incarnation).await;
    let mut prepared = prepared.map_err(io_at(&pool))?;
    let dir = partition_dir(&options.store.data, tp);
    let there = disk.list(&dir).await.map_err(io_at(&dir))?;
    let mut name = log.segments.take_name(base);
    // No row may name a file that is there: it holds a block that was announced and not confirmed,
    // which a repeated start must find again (S11), or comes from a start that was cut short.
    while there.contains(&dir.join(name.to_string())) {
        name.number += 1;
    }
    let target = dir.join(name.to_string());
    pool::place(disk, &prepared.path, &target)
        .await
        .map_err(io_at(&target))?;
    prepared.path = target;
    let file = SegmentFile::create(disk, &prepared, tp).await?;
    Ok(log.segments.push(name, first, file))
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
    let file = pool::create_unflushed(disk, &path, head).await;
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
    let RecoveredPartition { tp, row, tail } = partition;
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
