//! A start: reads the journal set that `node` names, whatever number of shards wrote it, finds what
//! was durable, writes it to a fresh set for any number of shards, and commits that by one write of
//! `node` (S11). Until then nothing is changed that a repeated start would need.
//!
//! Stations: [`crate::journal::reader`] finds frames, `replay` sorts their fragments by partition,
//! `walk` links them by the chain hash, `rewrite` writes the fresh set, `sweep` removes what nobody
//! names any more.

mod error;
mod replay;
mod rewrite;
mod seal;
mod sweep;
mod walk;

pub use error::{LostRange, LostRanges, RecoverError, RecoveryReport, TornTail};

use crate::{
    disk::{Clock, Disk},
    hash::Incarnations,
    journal::{
        fragment::{Fragment, Kind},
        reader::{Damage, FoundJournal, Readable, Unreadable},
        row::UnreadableRange,
    },
    node::{JournalSet, NodeFile},
    sabotage::{self, Sabotage},
    store::{ShardState, StoreConfig},
    types::{ShardId, TopicId, TopicPartition},
};
use replay::Replay;
use rewrite::Fresh;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};
use walk::Walked;

/// Where a start's journals lie.
#[must_use]
pub fn journal_dir(data: &Path) -> PathBuf {
    data.join("journal")
}

/// The topics that the metadata knows (S17).
#[derive(Clone, Debug, Default)]
pub struct KnownTopics {
    /// Those that exist.
    pub known: HashSet<TopicId>,
    /// Those that were deleted; a tombstone outlives the journals that mention its topic.
    pub deleted: HashSet<TopicId>,
}

/// How to recover.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// Shards of the fresh set.
    pub shards: u16,
    /// The sizes the stores will run with.
    pub store: StoreConfig,
    /// Start although acknowledged records are lost; they stay unreadable (S19).
    pub accept_loss: bool,
    /// For the files that the start makes.
    pub incarnations: Incarnations,
}

/// What a start begins with.
#[derive(Debug)]
pub struct Recovered {
    /// One for each shard.
    pub shards: Vec<ShardState>,
    /// What was found, for the log and the operator.
    pub report: RecoveryReport,
}

/// Recovers the logs in the data directory and commits the result. The caller holds the directory's
/// lock, has raised the leader epochs in the metadata (S18), and opens the stores next.
pub async fn recover<D: Disk, C: Clock>(
    disk: &D,
    clock: &C,
    node: &mut NodeFile,
    known: &KnownTopics,
    placement: impl Fn(TopicPartition) -> ShardId,
    options: &RecoverOptions,
) -> Result<Recovered, RecoverError> {
    let begun = clock.elapsed();
    let store = options.store.clone().checked();
    let options = &RecoverOptions {
        store,
        ..options.clone()
    };
    let set = node.state().journal_set;
    let ground = Ground {
        disk,
        data: &options.store.data,
        known,
        now_ms: clock.wall_ms(),
    };
    let mut report = RecoveryReport::default();
    let mut fresh = Fresh::new(disk, options);
    let written = commit(&ground, &mut fresh, node, &placement, options, &mut report).await;
    let (set, shards) = match written {
        Ok(written) => written,
        Err(error) => {
            fresh.discard().await;
            return Err(tell_all(&ground, set, error).await);
        }
    };
    sweep::sweep(disk, &options.store.data, set, known, &shards, &mut report).await?;
    report.elapsed = clock.elapsed().saturating_sub(begun);
    Ok(Recovered { shards, report })
}

/// What a start reads.
struct Ground<'a, D: Disk> {
    disk: &'a D,
    data: &'a Path,
    known: &'a KnownTopics,
    now_ms: i64,
}

/// Reads the named set, writes a fresh one and has `node` name it.
async fn commit<D: Disk>(
    ground: &Ground<'_, D>,
    fresh: &mut Fresh<'_, D>,
    node: &mut NodeFile,
    placement: &impl Fn(TopicPartition) -> ShardId,
    options: &RecoverOptions,
    report: &mut RecoveryReport,
) -> Result<(JournalSet, Vec<ShardState>), RecoverError> {
    let (disk, data, named) = (ground.disk, ground.data, node.state().journal_set);
    let mut reading = Reading::begin(ground, named, options.accept_loss).await?;
    while let Some(walked) = reading.next_journal(report).await? {
        report.partitions += walked.len();
        fresh.take(walked, placement, report).await?;
    }
    report.shards_before = reading.shards;
    let set = sweep::next_set(disk, data, named).await?;
    sweep::remove_other_sets(disk, data, named).await?;
    let shards = fresh.write(set).await?;
    if sabotage::is(Sabotage::OldSetGoesEarly) {
        sweep::remove_other_sets(disk, data, set).await?;
    }
    fresh.keep();
    node.commit(disk, set).await?;
    Ok((set, shards))
}

/// A set being read, journal after journal: a partition lives in one (S14), and so nothing of a
/// journal is needed once its partitions are walked. Nothing is changed.
struct Reading<'a, D: Disk> {
    ground: &'a Ground<'a, D>,
    dir: PathBuf,
    shards: u16,
    next: u16,
    accept_loss: bool,
    /// Which journal has a partition.
    seen: HashMap<TopicPartition, ShardId>,
}

impl<'a, D: Disk> Reading<'a, D> {
    async fn begin(
        ground: &'a Ground<'a, D>,
        set: JournalSet,
        accept_loss: bool,
    ) -> Result<Reading<'a, D>, RecoverError> {
        let dir = journal_dir(ground.data).join(set.to_string());
        let shards = match set == JournalSet::default() {
            true => 0,
            false => rewrite::shards_of(ground.disk, &dir).await?,
        };
        Ok(Reading {
            ground,
            dir,
            shards,
            next: 0,
            accept_loss,
            seen: HashMap::new(),
        })
    }

    /// The partitions of the next journal.
    async fn next_journal(
        &mut self,
        report: &mut RecoveryReport,
    ) -> Result<Option<Vec<Walked>>, RecoverError> {
        if self.next == self.shards {
            return Ok(None);
        }
        let shard = ShardId(self.next);
        self.next += 1;
        let Ground {
            disk,
            data,
            known,
            now_ms,
        } = *self.ground;
        let dir = self.dir.join(shard.to_string());
        let mut replay = Replay::new(known, self.accept_loss, now_ms);
        replay_journal(disk, shard, &dir, &mut replay, report).await?;
        let mut walked = Vec::new();
        for (tp, partition) in replay.partitions() {
            if let Some(first) = self.seen.insert(tp, shard) {
                let second = shard;
                return Err(RecoverError::TwoJournals { tp, first, second });
            }
            let accept_loss = self.accept_loss;
            walked.push(walk::walk(disk, data, tp, partition, accept_loss, report).await?);
        }
        Ok(Some(walked))
    }
}

/// The refusal, with all offsets that a start in spite of it would give up (S19): the frame that is
/// lost may not say whose it was, and those that survive do.
async fn tell_all<D: Disk>(
    ground: &Ground<'_, D>,
    set: JournalSet,
    mut error: RecoverError,
) -> RecoverError {
    let lost = match &mut error {
        RecoverError::Corrupt { lost, .. }
        | RecoverError::EndsEarly { lost, .. }
        | RecoverError::Gap { lost, .. } => lost,
        _ => return error,
    };
    let mut report = RecoveryReport::default();
    if let Ok(mut reading) = Reading::begin(ground, set, true).await {
        while let Ok(Some(_)) = reading.next_journal(&mut report).await {}
    }
    lost.add(report.unreadable);
    error
}

async fn replay_journal<D: Disk>(
    disk: &D,
    shard: ShardId,
    dir: &Path,
    replay: &mut Replay<'_>,
    report: &mut RecoveryReport,
) -> Result<(), RecoverError> {
    let found = FoundJournal::read(disk, dir).await;
    let journal = found.map_err(|(path, error)| RecoverError::Io { path, error })?;
    for refused in journal.unreadable() {
        if !replay.accepts_loss() {
            return Err(refused.clone().into());
        }
        let Unreadable { path, position, .. } = refused.clone();
        report.unreadable_pages.push((path, position));
    }
    let Some(readable) = journal.readable(disk).await else {
        let heads = journal.damaged_heads();
        let heads: Vec<String> = heads
            .map(|(path, reason)| format!("{}: {reason}", path.display()))
            .collect();
        return Err(RecoverError::MissingJournal {
            path: dir.to_owned(),
            found: heads.join("; "),
        });
    };
    let Readable {
        frames, torn, lost, ..
    } = readable;
    let refused = lost.first().filter(|_| !replay.accepts_loss());
    let wrongly = torn
        .as_ref()
        .filter(|_| sabotage::is(Sabotage::TornTakenForCorrupt));
    if let Some(damage) = refused.or(wrongly) {
        return Err(corrupt(damage));
    }
    report
        .torn
        .extend(torn.map(|damage| damage.torn_tail(shard)));
    let mut lost = lost.iter().peekable();
    let mut again = journal.frames(disk);
    for located in &frames {
        while let Some(damage) = lost.next_if(|d| d.sequence < located.head.sequence) {
            replay.note_lost(&damage.named);
            report.lost_frames += 1;
        }
        report.frames += 1;
        let frame = again.read(located).await?;
        replay.frame(journal.place(located), &frame, report)?;
    }
    report.lost_frames += lost.count() as u64;
    Ok(())
}

impl Damage {
    fn torn_tail(self, shard: ShardId) -> TornTail {
        TornTail {
            shard,
            path: self.path,
            position: self.position,
            sequence: self.sequence,
            frames: self.later.max(1),
            reason: self.reason,
        }
    }
}

fn corrupt(damage: &Damage) -> RecoverError {
    let named = damage.named.iter().filter(|fragment| {
        matches!(fragment.kind, Kind::Batches | Kind::Announced) && fragment.base < fragment.next
    });
    let mut lost = LostRanges::default();
    lost.add(named.map(|fragment| {
        let Fragment { tp, base, next, .. } = *fragment;
        let range = UnreadableRange { base, next };
        LostRange { tp, range }
    }));
    RecoverError::Corrupt {
        path: damage.path.clone(),
        position: damage.position,
        sequence: damage.sequence,
        reason: damage.reason.clone(),
        lost,
    }
}
