//! The data directory at a start: whose it is, what it knows, what recovery finds in it.
//!
//! Runs on the main thread with plain system calls, before any shard exists.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use rustix::process::{Resource, Rlimit};
use spate_storage::{
    commit::Fence,
    disk::standard::{StandardClock, StandardDisk, space_now},
    hash::Incarnations,
    lock::{DataLock, LockError},
    metadata_log::RecordLogError,
    node::{ClusterId, JournalSet, NodeError, NodeFile, NodeId, NodeState, NotANodeId},
    recovery::{KnownTopics, RecoverError, RecoverOptions, RecoveryReport, recover},
    space::{Space, Watermarks},
    store::{ScrubPace, ShardState, StoreConfig},
};

use crate::{
    config::Config,
    control::metadata::{Metadata, MetadataError, local},
    image::shard_of,
};

/// How long a start waits for the last writes of a killed broker (S1): the slowest disk measured
/// took 3.2 s, a stalled network volume can take minutes.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

/// Segment files that a shard may have open in any case.
const OPEN_FILES_MIN: u64 = 16;

/// What a start takes of the disk for each shard besides what journals hold: the first file's room
/// and its head, and segment files that are not filled.
const START_SLACK_BYTES: u64 = 4 << 20;

/// A data directory that is ready to be served.
pub struct Data {
    /// Held until the process ends.
    pub lock: DataLock,
    /// Whose it is.
    pub node: NodeState,
    /// Topics and the like, started.
    pub metadata: Metadata,
    /// What each shard begins with.
    pub shards: Vec<ShardState>,
    /// Stops all writes after a failed one.
    pub fence: Fence,
    /// How full the disk is.
    pub space: Space,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be made.
    #[error("cannot make the data directory {path}: {source}; choose another with --data")]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its identity cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The configured id is none.
    #[error(transparent)]
    NodeId(#[from] NotANodeId),
    /// It is another node's.
    #[error(
        "{path} belongs to node {found}, and node.id is {configured}; set node.id = {found}, or \
         choose another directory"
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who we are.
        configured: NodeId,
    },
    /// The metadata log cannot be read.
    #[error(transparent)]
    MetadataLog(#[from] RecordLogError),
    /// The logs cannot be recovered.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The metadata makes no sense.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Makes the data directory if it is not there, and says where that is from the root: the
/// housekeeper's executor opens no relative path.
///
/// # Errors
/// [`DataError::Directory`]
pub fn directory(dir: &Path) -> Result<PathBuf, DataError> {
    fs::create_dir_all(dir)
        .and_then(|()| fs::canonicalize(dir))
        .map_err(|source| DataError::Directory {
            path: dir.to_owned(),
            source,
        })
}

/// Locks, identifies and recovers the data directory.
///
/// # Errors
/// [`DataError`]; nothing was changed that a later start could miss.
pub fn open(config: &Config) -> Result<Data, DataError> {
    let began = Instant::now();
    let dir = &config.data_dir;
    let lock = DataLock::acquire(dir, LOCK_PATIENCE)?;
    let disk = StandardDisk::new();
    let mut node = at_once(identify(&disk, config))?;
    let (log, opened) = local::open(dir)?;
    let mut metadata = Metadata::open(log, &opened)?;
    metadata.start()?;
    let fence = Fence::new();
    let space = Space::new(watermarks(config));
    look_at_space(&space, dir);
    let store = store_config(config, fence.clone(), space.clone());
    let shards = at_once(recover_logs(&disk, config, store, &mut node, &metadata))?;
    metadata.forget_tombstones()?;
    tracing::info!(took = ?began.elapsed(), "data directory opened");
    Ok(Data {
        lock,
        node: *node.state(),
        metadata,
        shards,
        fence,
        space,
    })
}

/// What a plain disk's futures give: they block instead of waiting, so the first poll is the last.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future
        .now_or_never()
        .expect("a plain disk's futures never wait")
}

/// What is kept free. The reserve is what a start takes: a fresh journal for each shard beside the
/// old ones, with everything in it that no segment holds yet.
fn watermarks(config: &Config) -> Watermarks {
    let unsealed_bytes = config.journal_bytes.min(config.memory_open_bytes);
    Watermarks {
        low_bytes: config.disk_low_bytes,
        full_bytes: config.disk_full_bytes,
        reserve_bytes: u64::from(config.shards) * (unsealed_bytes + START_SLACK_BYTES),
    }
}

/// A shard's part of the files that may be open: half of what the process may have is for
/// connections.
fn open_files_max(config: &Config) -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(u64::MAX, |limit| limit / 2);
    let files = u64::from(config.open_files_max).min(limit);
    (files / u64::from(config.shards)).max(OPEN_FILES_MIN) as usize
}

/// Lets the process open as many files as it may: the limit that a shell gives is often 1024.
pub fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Asks the file system how full it is. One that does not answer is left to say ENOSPC.
pub fn look_at_space(space: &Space, dir: &Path) {
    match space_now(dir) {
        Ok(found) => space.note(found),
        Err(error) => tracing::debug!(%error, "the file system does not say how full it is"),
    }
}

/// What a shard's store may use.
pub fn store_config(config: &Config, fence: Fence, space: Space) -> StoreConfig {
    StoreConfig {
        journal_bytes: config.journal_bytes,
        journal_file_bytes: config.journal_file_bytes,
        open_block_budget_bytes: config.memory_open_bytes as usize,
        cache_bytes: config.memory_cache_bytes as usize,
        producer_expiry: config.producer_expiry,
        direct_threshold_bytes: config.direct_write_bytes as usize,
        space,
        open_files_max: open_files_max(config),
        scrub: ScrubPace {
            // No shard shall wait for ever because there are many.
            bytes_per_second: config
                .scrub_bytes_per_second
                .div_ceil(u64::from(config.shards)),
            interval: config.scrub_interval,
        },
        ..StoreConfig::new(config.data_dir.clone(), fence)
    }
}

async fn recover_logs(
    disk: &StandardDisk,
    config: &Config,
    store: StoreConfig,
    node: &mut NodeFile,
    metadata: &Metadata,
) -> Result<Vec<ShardState>, DataError> {
    let state = metadata.state();
    let known = KnownTopics {
        known: state.topics().map(|(id, _)| id).collect(),
        deleted: state.tombstones().map(|(id, _)| id).collect(),
    };
    let shards = config.shards;
    let options = RecoverOptions {
        shards,
        store,
        accept_loss: config.accept_loss,
        incarnations: Incarnations::default(),
    };
    let placement = |partition| shard_of(partition, shards);
    let clock = StandardClock::new();
    let recovered = recover(disk, &clock, node, &known, placement, &options).await?;
    announce(&recovered.report);
    Ok(recovered.shards)
}

fn announce(report: &RecoveryReport) {
    let RecoveryReport {
        frames,
        replayed_bytes,
        partitions,
        elapsed,
        ..
    } = report;
    tracing::info!(frames, replayed_bytes, partitions, ?elapsed, "recovered");
    for torn in &report.torn {
        tracing::info!("cut an unfinished journal write, never acknowledged: {torn:?}");
    }
    for (path, position) in &report.unreadable_pages {
        let path = path.display();
        tracing::error!(%path, position, "a page of the journal could not be read; what it held is \
            lost, and cannot be named if nothing else names it");
    }
    for lost in &report.unreadable {
        tracing::error!("lost for good, and unreadable from now on: {lost:?}");
    }
    for path in &report.foreign {
        tracing::warn!(path = %path.display(), "no topic of the metadata has this directory; \
            move it away if it is not yours");
    }
}

async fn identify(disk: &StandardDisk, config: &Config) -> Result<NodeFile, DataError> {
    let configured = NodeId::new(config.node_id)?;
    let dir = &config.data_dir;
    let Some(file) = NodeFile::open(disk, dir).await? else {
        let state = NodeState {
            cluster: ClusterId(uuid::Uuid::new_v4()),
            node: configured,
            disk: uuid::Uuid::new_v4(),
            journal_set: JournalSet(0),
        };
        return Ok(NodeFile::create(disk, dir, state).await?);
    };
    let found = file.state().node;
    if found != configured {
        return Err(DataError::OtherNode {
            path: dir.clone(),
            found,
            configured,
        });
    }
    Ok(file)
}
