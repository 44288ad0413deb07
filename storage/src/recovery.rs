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
use std::{
    collections::HashSet,
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
    let (walked, mut report) = match gather(&ground, set, options.accept_loss).await {
        Err(error) => return Err(tell_all(&ground, set, error).await),
        Ok(gathered) => gathered,
    };
    report.partitions = walked.len();
    let fresh = sweep::next_set(disk, &options.store.data, set).await?;
    sweep::remove_other_sets(disk, &options.store.data, set).await?;
    let shards = rewrite::write_set(disk, fresh, walked, placement, options, &mut report).await?;
    if sabotage::is(Sabotage::OldSetGoesEarly) {
        sweep::remove_other_sets(disk, &options.store.data, fresh).await?;
    }
    node.commit(disk, fresh).await?;
    sweep::sweep(
        disk,
        &options.store.data,
        fresh,
        known,
        &shards,
        &mut report,
    )
    .await?;
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

/// Every partition as the set has it. Nothing is changed.
async fn gather<D: Disk>(
    ground: &Ground<'_, D>,
    set: JournalSet,
    accept_loss: bool,
) -> Result<(Vec<Walked>, RecoveryReport), RecoverError> {
    let mut report = RecoveryReport::default();
    let mut replay = Replay::new(ground.known, accept_loss, ground.now_ms);
    let (disk, data) = (ground.disk, ground.data);
    if set != JournalSet::default() {
        replay_set(disk, data, set, &mut replay, &mut report).await?;
    }
    let mut walked = Vec::new();
    for (tp, partition) in replay.partitions() {
        walked.push(walk::walk(disk, data, tp, partition, accept_loss, &mut report).await?);
    }
    Ok((walked, report))
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
    if let Ok((_, report)) = gather(ground, set, true).await {
        lost.add(report.unreadable);
    }
    error
}

async fn replay_set<D: Disk>(
    disk: &D,
    data: &Path,
    set: JournalSet,
    replay: &mut Replay<'_>,
    report: &mut RecoveryReport,
) -> Result<(), RecoverError> {
    let dir = journal_dir(data).join(set.to_string());
    let shards = rewrite::shards_of(disk, &dir).await?;
    report.shards_before = shards;
    for shard in 0..shards {
        let dir = dir.join(shard.to_string());
        let found = FoundJournal::read(disk, &dir).await;
        let journal = found.map_err(|(path, error)| RecoverError::Io { path, error })?;
        for refused in journal.unreadable() {
            let Unreadable {
                path,
                position,
                reason,
            } = refused.clone();
            if !replay.accepts_loss() {
                return Err(RecoverError::Unreadable {
                    path,
                    position,
                    reason,
                });
            }
            report.unreadable_pages.push((path, position));
        }
        let Some(readable) = journal.readable() else {
            let heads = journal.damaged_heads();
            let heads: Vec<String> = heads
                .map(|(path, reason)| format!("{}: {reason}", path.display()))
                .collect();
            return Err(RecoverError::MissingJournal {
                path: dir,
                found: heads.join("; "),
            });
        };
        replay_journal(ShardId(shard), &journal, readable, replay, report)?;
    }
    Ok(())
}

fn replay_journal(
    shard: ShardId,
    journal: &FoundJournal,
    readable: Readable,
    replay: &mut Replay<'_>,
    report: &mut RecoveryReport,
) -> Result<(), RecoverError> {
    let Readable {
        first,
        frames,
        torn,
        lost,
    } = readable;
    if let Some(damage) = lost.first()
        && !replay.accepts_loss()
    {
        return Err(corrupt(journal, damage));
    }
    if let Some(damage) = &torn
        && sabotage::is(Sabotage::TornTakenForCorrupt)
    {
        return Err(corrupt(journal, damage));
    }
    if let Some(Damage {
        sequence,
        path,
        position,
        reason,
        later,
    }) = torn
    {
        let frames = later.max(1);
        report.torn.push(TornTail {
            shard,
            path,
            position,
            sequence,
            frames,
            reason,
        });
    }
    replay.begin_journal(shard);
    let mut lost = lost.iter().peekable();
    for located in &frames {
        while let Some(damage) = lost.next_if(|d| d.sequence < located.head.sequence) {
            replay.note_lost(&journal.named_at(damage));
            report.lost_frames += 1;
        }
        report.frames += 1;
        replay.frame(journal, located, first, report)?;
    }
    report.lost_frames += lost.count() as u64;
    replay.end_journal();
    Ok(())
}

fn corrupt(journal: &FoundJournal, damage: &Damage) -> RecoverError {
    let named = journal.named_at(damage).into_iter().filter(|fragment| {
        matches!(fragment.kind, Kind::Batches | Kind::Announced) && fragment.base < fragment.next
    });
    let mut lost = LostRanges::default();
    lost.add(named.map(|Fragment { tp, base, next, .. }| {
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
