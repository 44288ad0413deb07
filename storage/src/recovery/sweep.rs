//! Removing what nobody names once the fresh set is committed: other sets, never to be used again
//! (S11); segment files that no row names, for instance of a seal that a crash cut short (S15);
//! and what is left of deleted topics.

use super::{KnownTopics, RecoverError, RecoveryReport, journal_dir, rewrite::io_at};
use crate::{
    disk::Disk,
    node::JournalSet,
    segment::{partition_dir, topic_dir},
    store::ShardState,
    types::{PartitionIndex, TopicId, TopicPartition},
};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// A number that no directory has yet: a start that crashed before its commit leaves its set.
pub(super) async fn next_set<D: Disk>(
    disk: &D,
    data: &Path,
    set: JournalSet,
) -> Result<JournalSet, RecoverError> {
    let dir = journal_dir(data);
    let entries = disk.list(&dir).await.map_err(io_at(&dir))?;
    let numbers = entries
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok());
    Ok(JournalSet(numbers.chain([set.0]).max().unwrap_or(0) + 1))
}

/// Removes all sets but the one that `node` names. Also before a fresh one is written: else starts
/// that fail for want of space would each leave less of it.
pub(super) async fn remove_other_sets<D: Disk>(
    disk: &D,
    data: &Path,
    named: JournalSet,
) -> Result<(), RecoverError> {
    let keep = named.to_string();
    let is_other = |path: &PathBuf| path.file_name().is_none_or(|name| *name != *keep);
    remove(disk, &journal_dir(data), is_other, &mut 0).await
}

pub(super) async fn sweep<D: Disk>(
    disk: &D,
    data: &Path,
    fresh: JournalSet,
    known: &KnownTopics,
    shards: &[ShardState],
    report: &mut RecoveryReport,
) -> Result<(), RecoverError> {
    remove_other_sets(disk, data, fresh).await?;
    // Lost frames may have named files; their bytes are the operator's to salvage.
    if report.lost_frames == 0 && report.unreadable.is_empty() {
        sweep_topics(disk, data, known, shards, report).await?;
    }
    Ok(())
}

async fn sweep_topics<D: Disk>(
    disk: &D,
    data: &Path,
    known: &KnownTopics,
    shards: &[ShardState],
    report: &mut RecoveryReport,
) -> Result<(), RecoverError> {
    let mut named: HashMap<TopicPartition, HashSet<String>> = HashMap::new();
    for partition in shards.iter().flat_map(|shard| &shard.partitions) {
        let files = partition.row.files.iter().map(|file| file.name.to_string());
        named.entry(partition.tp).or_default().extend(files);
    }
    let topics = data.join("topics");
    for dir in disk.list(&topics).await.map_err(io_at(&topics))? {
        let name = dir.file_name().and_then(|name| name.to_str());
        let topic = name.and_then(|name| uuid::Uuid::parse_str(name).ok());
        match topic.map(|topic| TopicId(topic.into_bytes())) {
            Some(topic) if known.known.contains(&topic) => {
                sweep_topic(disk, data, topic, &named, report).await?;
            }
            Some(topic) if known.deleted.contains(&topic) => {
                let gone = topic_dir(data, topic);
                disk.remove(&gone).await.map_err(io_at(&gone))?;
                disk.sync_dir(&topics).await.map_err(io_at(&topics))?;
                report.removed_files += 1;
            }
            _ => report.foreign.push(dir),
        }
    }
    Ok(())
}

async fn sweep_topic<D: Disk>(
    disk: &D,
    data: &Path,
    topic: TopicId,
    named: &HashMap<TopicPartition, HashSet<String>>,
    report: &mut RecoveryReport,
) -> Result<(), RecoverError> {
    let dir = topic_dir(data, topic);
    for path in disk.list(&dir).await.map_err(io_at(&dir))? {
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let Some(partition) = number.map(PartitionIndex) else {
            continue;
        };
        let tp = TopicPartition { topic, partition };
        let files = named.get(&tp);
        let is_unnamed = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| files.is_none_or(|files| !files.contains(name)))
        };
        remove(
            disk,
            &partition_dir(data, tp),
            is_unnamed,
            &mut report.removed_files,
        )
        .await?;
    }
    Ok(())
}

async fn remove<D: Disk>(
    disk: &D,
    dir: &Path,
    is_gone: impl Fn(&PathBuf) -> bool,
    count: &mut u64,
) -> Result<(), RecoverError> {
    let mut has_removed = false;
    for path in disk
        .list(dir)
        .await
        .map_err(io_at(dir))?
        .iter()
        .filter(|path| is_gone(path))
    {
        disk.remove(path).await.map_err(io_at(path))?;
        *count += 1;
        has_removed = true;
    }
    if has_removed {
        disk.sync_dir(dir).await.map_err(io_at(dir))?;
    }
    Ok(())
}
