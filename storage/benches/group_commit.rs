//! What group commit costs beside the disk alone: the same durable writes made bare (the floor), as
//! journal frames, and as the store's whole path with seals and reuse, at several sizes.
//!
//!     cargo bench -p spate-storage --bench group_commit [-- DIRECTORY]
//!
//! All three go through plain system calls with one write in flight, so that what differs is what
//! storage adds. Rounds are interleaved; the table shows medians. At least ten laps of the journal
//! are written at each size. It asserts nothing about time: a noisy machine is not a failure.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use spate_storage::{
    commit::Fence,
    disk::{Clock, Disk, Flush, OpenMode, PAGE, standard::StandardDisk},
    hash::{Incarnation, Incarnations},
    housekeeper::{ChoreReceiver, Housekeeper},
    journal::{
        fragment::{FRAGMENT_BYTES, Fragment, Kind},
        frame::{FrameHead, FrameWriter, HEADER_BYTES, Sequence, frame_len},
    },
    node::{ClusterId, JournalSet, NodeFile, NodeId, NodeState},
    recovery::{KnownTopics, RecoverOptions, recover},
    space::Space,
    store::{Stamp, Store, StoreConfig, StoreCounters},
    types::{LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId, TopicPartition},
};
use std::{
    env,
    future::{Future, pending},
    path::{Path, PathBuf},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
const LAPS: u64 = 10;
const PARTITIONS: i32 = 8;
/// The journal of each subject; the store's is four files of a quarter.
const JOURNAL_BYTES: u64 = 16 << 20;
const TOPIC: TopicId = TopicId([7; 16]);

/// Real time; its sleeps never end, because this program only polls.
#[derive(Clone)]
struct PollClock(Instant);

impl Clock for PollClock {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, _: Duration) {
        pending().await
    }
}

fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// A file that is written around and around, zero-filled before as the journals are.
struct Lap {
    disk: StandardDisk,
    file: <StandardDisk as Disk>::File,
    position: u64,
}

impl Lap {
    fn new(path: &Path) -> Lap {
        let disk = StandardDisk::new();
        let mode = OpenMode::Create { len: JOURNAL_BYTES };
        let file = finish(disk.open(path, mode)).unwrap();
        let step = 1 << 20;
        for position in (0..JOURNAL_BYTES).step_by(step) {
            let mut zeros = disk.buffer(step);
            zeros.as_mut().fill(0);
            finish(disk.write(&file, position, zeros, Flush::No))
                .0
                .unwrap();
        }
        finish(disk.sync(&file)).unwrap();
        Lap {
            disk,
            file,
            position: 0,
        }
    }

    fn write(
        &mut self,
        buf: <StandardDisk as Disk>::Buf,
        len: usize,
    ) -> <StandardDisk as Disk>::Buf {
        if self.position + len as u64 > JOURNAL_BYTES {
            self.position = 0;
        }
        let (result, buf) = finish(self.disk.write(&self.file, self.position, buf, Flush::Data));
        result.unwrap();
        self.position += len as u64;
        buf
    }
}

/// Bytes per second of the bare pattern.
fn floor(lap: &mut Lap, write_bytes: usize, writes: u64) -> f64 {
    let mut buf = lap.disk.buffer(write_bytes);
    buf.as_mut().fill(0x5a);
    let begun = Instant::now();
    for _ in 0..writes {
        buf = lap.write(buf, write_bytes);
    }
    (writes * write_bytes as u64) as f64 / begun.elapsed().as_secs_f64()
}

/// The same writes as frames of one batch each.
fn frames(lap: &mut Lap, write_bytes: usize, writes: u64) -> f64 {
    let batch = vec![0x5a; write_bytes - HEADER_BYTES - FRAGMENT_BYTES];
    let mut buf = lap.disk.buffer(write_bytes);
    let mut predecessor = 0;
    let begun = Instant::now();
    for number in 1..=writes {
        let offset = Offset(number as i64);
        let fragment = Fragment::plain(Kind::Batches, partition(0), offset, offset.next());
        let mut writer = FrameWriter::new(buf.as_mut(), 1);
        writer.put(&fragment, [&batch[..]]);
        let head = FrameHead {
            sequence: Sequence(number),
            predecessor,
            durable_through: Sequence(number - 1),
            oldest_needed: Sequence(number),
        };
        predecessor = writer.finish(&head, Incarnation(1));
        buf = lap.write(buf, write_bytes);
    }
    (writes * write_bytes as u64) as f64 / begun.elapsed().as_secs_f64()
}

/// One shard's store with a housekeeper of its own.
struct Shard {
    store: Rc<Store<StandardDisk, PollClock>>,
    run: Pin<Box<dyn Future<Output = ()>>>,
    answers: ChoreReceiver,
    // After the store: its jobs are answered until it is gone.
    _housekeeper: Housekeeper,
}

impl Shard {
    fn open(data: &Path) -> Shard {
        let (disk, clock) = (StandardDisk::new(), PollClock(Instant::now()));
        let state = NodeState {
            cluster: ClusterId(uuid::Uuid::nil()),
            node: NodeId::new(1).unwrap(),
            disk: uuid::Uuid::nil(),
            journal_set: JournalSet::default(),
        };
        let mut node = finish(NodeFile::create(&disk, data, state)).unwrap();
        let known = KnownTopics {
            known: [TOPIC].into_iter().collect(),
            ..KnownTopics::default()
        };
        let config = StoreConfig {
            journal_bytes: JOURNAL_BYTES,
            journal_file_bytes: JOURNAL_BYTES / 4,
            ..StoreConfig::new(data.to_owned(), Fence::new())
        };
        let options = RecoverOptions {
            shards: 1,
            store: config.clone(),
            accept_loss: false,
            incarnations: Incarnations::default(),
        };
        let placement = |_| ShardId(0);
        let recovering = recover(&disk, &clock, &mut node, &known, placement, &options);
        let state = finish(recovering).unwrap().shards.remove(0);
        let wake = Arc::new(|| {});
        let (housekeeper, ends) =
            Housekeeper::start(data.to_owned(), Space::default(), vec![wake], true).unwrap();
        let (jobs, answers) = ends.into_iter().next().unwrap();
        let store = Store::open(config, disk, clock, state, Box::new(jobs));
        let run = Box::pin(Rc::clone(&store).run());
        Shard {
            store,
            run,
            answers,
            _housekeeper: housekeeper,
        }
    }

    fn turn(&mut self) {
        while let Some(done) = self.answers.receive() {
            self.store.housekeeper_done(done);
        }
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.run.as_mut().poll(&mut context);
    }

    /// Bytes per second of batches, each durable before the next.
    fn measure(&mut self, write_bytes: usize, writes: u64) -> f64 {
        let batch = batch(write_bytes - HEADER_BYTES - FRAGMENT_BYTES);
        let begun = Instant::now();
        for number in 0..writes {
            let tp = partition((number % PARTITIONS as u64) as i32);
            let appended = loop {
                // Out of memory until seals have caught up: back-pressure, as a client has it.
                match self.store.append(tp, &batch, stamp()) {
                    Ok(appended) => break appended,
                    Err(_) => self.turn(),
                }
            };
            while !appended.commit.is_settled() {
                self.turn();
            }
        }
        (writes * batch.len() as u64) as f64 / begun.elapsed().as_secs_f64()
    }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition {
        topic: TOPIC,
        partition: PartitionIndex(index),
    }
}

fn stamp() -> Stamp {
    Stamp {
        epoch: LeaderEpoch(0),
        max_timestamp: None,
        log_append_time: None,
        segment_bytes: 1 << 30,
        segment_ms: i64::MAX,
        is_internal: false,
    }
}

/// A v2 batch of one record; storage looks at its header only.
fn batch(len: usize) -> Bytes {
    let mut out = vec![0x5a; len];
    out[..61].fill(0);
    out[8..12].copy_from_slice(&i32::try_from(len - 12).unwrap().to_be_bytes());
    out[16] = 2;
    out[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    out[53..57].copy_from_slice(&(-1i32).to_be_bytes());
    out[57..61].copy_from_slice(&1i32.to_be_bytes());
    out.into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn amplification(before: StoreCounters, after: StoreCounters) -> f64 {
    let written = |counters: StoreCounters| counters.frame_bytes + counters.segment_bytes;
    let appended = after.appended_bytes - before.appended_bytes;
    (written(after) - written(before)) as f64 / appended as f64
}

fn main() {
    // Cargo's own flags come first.
    let given = env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let parent = given.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    println!("medians of {ROUNDS} interleaved rounds, at least {LAPS} journal laps each size");
    println!("   write     floor   journal  of floor  full path  of floor  bytes written per byte");
    for kib in [4, 16, 64, 256, 1024] {
        measure(&dir.path().join(format!("{kib}")), kib << 10);
    }
}

fn measure(dir: &Path, write_bytes: usize) {
    assert!(write_bytes.is_multiple_of(PAGE) && frame_len(1, 0) <= write_bytes);
    std::fs::create_dir_all(dir.join("data")).unwrap();
    let (mut bare, mut framed) = (Lap::new(&dir.join("floor")), Lap::new(&dir.join("frames")));
    let mut shard = Shard::open(&dir.join("data"));
    let writes = (LAPS * JOURNAL_BYTES / write_bytes as u64).div_ceil(ROUNDS as u64);
    let before = shard.store.counters();
    let (mut floors, mut journals, mut stores) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        floors.push(floor(&mut bare, write_bytes, writes));
        journals.push(frames(&mut framed, write_bytes, writes));
        stores.push(shard.measure(write_bytes, writes));
    }
    let written = amplification(before, shard.store.counters());
    let [floor, journal, store] = [floors, journals, stores].map(|rates| median(rates) / 1e6);
    println!(
        "{:>4} KiB {floor:>7.1} M {journal:>7.1} M {:>8.2}x {store:>8.1} M {:>8.2}x {written:>9.2}",
        write_bytes >> 10,
        journal / floor,
        store / floor,
    );
}
