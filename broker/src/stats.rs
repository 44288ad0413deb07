//! Counters that the control thread reads while the shards count: one writer each, so a plain load
//! and store suffice, and no core waits for another's cache line to add one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

pub mod latency;

use latency::ApiStats;

/// A number that one shard writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only for the shard that owns the counter.
    pub fn add(&self, amount: u64) {
        self.set(self.get().wrapping_add(amount));
    }

    /// Overwrites; only for the shard that owns the counter.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value, perhaps an instant old.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts something for as long as it lives: also when the future that holds it is dropped.
#[derive(Debug)]
pub struct Present<'a>(&'a Counter);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Counter {
    /// Adds one until the returned guard is dropped.
    pub fn present(&self) -> Present<'_> {
        self.add(1);
        self.present_already()
    }

    /// Takes back, when dropped, the one that was added before.
    pub fn present_already(&self) -> Present<'_> {
        Present(self)
    }
}

macro_rules! shard_stats {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {
        /// Name and meaning of each statistic, in the order of [`ShardStats`].
        pub const SHARD_STATS: &[(&str, &str)] = &[$((stringify!($name), concat!($($doc),*)),)+];

        /// What one shard counts since the start, and its gauges as of the last second.
        #[derive(Debug, Default)]
        pub struct ShardStats {
            $($(#[doc = $doc])* pub $name: Counter,)+
        }

        /// [`ShardStats`] at one moment.
        #[derive(Debug, Clone, Serialize)]
        pub struct ShardSnapshot {
            /// The shard.
            pub shard: usize,
            $($(#[doc = $doc])* pub $name: u64,)+
        }

        impl ShardStats {
            fn snapshot(&self, shard: usize) -> ShardSnapshot {
                ShardSnapshot { shard, $($name: self.$name.get(),)+ }
            }

            /// In the order of [`SHARD_STATS`].
            fn values(&self) -> Vec<u64> {
                vec![$(self.$name.get(),)+]
            }
        }
    };
}

shard_stats! {
    /// Connections accepted.
    connections_accepted,
    /// Connections open now.
    connections_open,
    /// Connections closed by us for bad input, slowness or a limit.
    connections_refused,
    /// Requests answered, all APIs.
    requests,
    /// Produce requests among them.
    produce_requests,
    /// Fetch requests among them.
    fetch_requests,
    /// Batches taken from producers.
    batches_in,
    /// Records in them.
    records_in,
    /// Batches refused.
    batches_refused,
    /// Batches that were given the codec that their topic asks for.
    batches_recoded,
    /// Bytes of batches taken from producers.
    batch_bytes_in,
    /// Bytes of batches given to readers.
    batch_bytes_out,
    /// Partitions that a fetch was refused.
    fetches_refused,
    /// Bytes of requests.
    bytes_in,
    /// Bytes of responses.
    bytes_out,
    /// Requests to a partition's owner that crossed to another shard.
    hops,
    /// Requests to a partition's owner that stayed here.
    local,
    /// Appends that had to wait for memory of open blocks.
    append_stalls,
    /// Fetches waiting for data now.
    fetches_waiting,
    /// Watches armed now on this shard's partitions.
    watches_armed,
    /// Fetch sessions open now.
    fetch_sessions,
    /// Groups whose coordinators are here.
    groups,
    /// Bytes of groups, members and offsets in memory now.
    group_bytes,
    /// Deadlines of groups' members armed now.
    group_alarms,
    /// Bytes of requests in memory now.
    receive_bytes,
    /// The most that `receive_bytes` ever was.
    receive_peak_bytes,
    /// Bytes of responses to fetches in memory now.
    fetch_bytes,
    /// The most that `fetch_bytes` ever was.
    fetch_peak_bytes,
    /// Bytes of open blocks now.
    open_block_bytes,
    /// Bytes of cached blocks now.
    cache_bytes,
    /// Turns of the reactor's loop.
    turns,
    /// `io_uring_enter` calls; the epoll reactor's `epoll_wait` calls.
    enters,
    /// Ring submissions.
    submissions,
    /// Ring completions.
    completions,
    /// Times the shard slept.
    parks,
    /// Journal frames written.
    journal_frames,
    /// Journal bytes written.
    journal_bytes,
    /// Blocks sealed into segments.
    sealed_blocks,
    /// Blocks written past the journal.
    direct_blocks,
    /// Bytes written to segments.
    segment_bytes,
    /// Open blocks copied forward in the journal.
    copied_blocks,
    /// Batches that had been appended before.
    duplicates,
    /// Blocks read before anyone asked for them.
    blocks_ahead,
    /// Segment files open now.
    open_files,
    /// Places of segment files found damaged.
    damages,
    /// Times that all blocks were read to find damage.
    scrub_passes,
    /// Blocks read for that which verified.
    scrubbed_blocks,
    /// Bytes read for that.
    scrubbed_bytes,
    /// Batches refused because the disk was full.
    refused_for_space,
    /// Blocks read from disk.
    block_reads,
    /// Logs compacted.
    compactions,
    /// Compactions given up.
    compactions_failed,
    /// Bytes that compaction has read.
    compaction_read_bytes,
    /// Bytes that compaction has written.
    compaction_written_bytes,
    /// Records that compaction has removed.
    compaction_removed_records,
    /// Partitions with data.
    partitions,
    /// When the shard last published its numbers, in ms since the start.
    heard_ms,
    /// Time that the shard slept, in us.
    parked_us,
    /// Thousandths of the last second in which the shard did not sleep.
    load_permille,
}

/// The statistics of all shards, for whoever holds this.
#[derive(Debug, Clone)]
pub struct NodeStats {
    shards: Arc<[Arc<ShardStats>]>,
    apis: Arc<[Arc<ApiStats>]>,
    began: Instant,
}

/// How busy a shard is.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Since the start.
    pub busy: Duration,
    /// In the last second: 0 to 1.
    pub ratio: f64,
}

/// [`NodeStats`] at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// By shard.
    pub shards: Vec<ShardSnapshot>,
}

impl NodeStats {
    /// Fresh counters for `shards` shards.
    pub fn new(shards: u16) -> NodeStats {
        NodeStats {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            apis: (0..shards).map(|_| Arc::default()).collect(),
            began: Instant::now(),
        }
    }

    /// One shard's counters, for that shard to write.
    pub fn shard(&self, shard: usize) -> Arc<ShardStats> {
        Arc::clone(&self.shards[shard])
    }

    /// One shard's counters of APIs, for that shard to write.
    pub fn shard_apis(&self, shard: usize) -> Arc<ApiStats> {
        Arc::clone(&self.apis[shard])
    }

    /// All shards' counters of APIs.
    pub fn apis(&self) -> impl Iterator<Item = &ApiStats> {
        self.apis.iter().map(|apis| &**apis)
    }

    /// Milliseconds since the start.
    pub fn clock_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When each shard last published its numbers, by [`NodeStats::clock_ms`].
    pub fn heard_ms(&self) -> impl Iterator<Item = u64> {
        self.shards.iter().map(|shard| shard.heard_ms.get())
    }

    /// Every shard's statistics, in the order of [`SHARD_STATS`].
    pub fn values(&self) -> Vec<Vec<u64>> {
        self.shards.iter().map(|shard| shard.values()).collect()
    }

    /// How busy each shard is.
    pub fn loads(&self) -> Vec<Load> {
        let load = |shard: &Arc<ShardStats>| {
            let heard = Duration::from_millis(shard.heard_ms.get());
            Load {
                busy: heard.saturating_sub(Duration::from_micros(shard.parked_us.get())),
                ratio: shard.load_permille.get() as f64 / 1e3,
            }
        };
        self.shards.iter().map(load).collect()
    }

    /// Connections open over all shards.
    pub fn connections_open(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.connections_open.get())
            .sum()
    }

    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        let shards = self
            .shards
            .iter()
            .enumerate()
            .map(|(n, stats)| stats.snapshot(n))
            .collect();
        Snapshot { shards }
    }
}
