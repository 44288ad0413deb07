//! The store on a real file system by plain system calls: what the simulation cannot show is that
//! lengths, alignment and flags suit a kernel.
#![allow(missing_docs, clippy::unwrap_used)]

mod core;

use core::{Mailbox, encode, sent, stamp, tp};
use futures_util::{FutureExt, future::LocalBoxFuture};
use spate_storage::{
    batch::batches,
    commit::Fence,
    disk::{Clock, Disk, OpenMode, PAGE, standard::StandardDisk},
    hash::{Incarnation, Incarnations},
    housekeeper::Keeper,
    node::{ClusterId, JournalSet, NodeFile, NodeId, NodeState},
    recovery::{KnownTopics, RecoverOptions, recover},
    store::{Appended, ReadData, Store, StoreConfig},
    types::{Offset, ShardId},
};
use std::{
    future::{Future, pending},
    io,
    path::Path,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// Real time, but its sleeps never end: this test's executor only polls.
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

type DiskStore = Store<StandardDisk, PollClock>;

struct Shard {
    store: Rc<DiskStore>,
    run: LocalBoxFuture<'static, ()>,
    housekeeping: LocalBoxFuture<'static, ()>,
}

/// Polls until it is done; plain system calls never leave anything pending for long.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return done;
        }
    }
}

async fn open(data: &Path) -> Shard {
    let (disk, clock) = (StandardDisk::new(), PollClock(Instant::now()));
    let state = NodeState {
        cluster: ClusterId(uuid::Uuid::nil()),
        node: NodeId::new(1).unwrap(),
        disk: uuid::Uuid::nil(),
        journal_set: JournalSet::default(),
    };
    let mut node = match NodeFile::open(&disk, data).await.unwrap() {
        Some(node) => node,
        None => NodeFile::create(&disk, data, state).await.unwrap(),
    };
    let known = (0..3).map(|n| tp(n).topic).collect();
    let known = KnownTopics {
        known,
        ..KnownTopics::default()
    };
    let store = StoreConfig::new(data.to_owned(), Fence::new());
    let options = RecoverOptions {
        shards: 1,
        store: store.clone(),
        accept_loss: false,
        incarnations: Incarnations::default(),
    };
    let recovered = recover(&disk, &clock, &mut node, &known, |_| ShardId(0), &options).await;
    let state = recovered.unwrap().shards.remove(0);
    let mail = Mailbox::default();
    let opened = Store::open(store, disk.clone(), clock, state, Box::new(mail.clone()));
    let keeper = Keeper::new(disk, data.to_owned(), Box::new(Incarnation::random));
    let told = Rc::clone(&opened);
    let housekeeping = async move {
        loop {
            let job = mail.next().await;
            told.housekeeper_done(keeper.run(job).await);
        }
    };
    let (run, housekeeping) = (
        Rc::clone(&opened).run().boxed_local(),
        housekeeping.boxed_local(),
    );
    Shard {
        store: opened,
        run,
        housekeeping,
    }
}

impl Shard {
    fn turn(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.run.as_mut().poll(&mut context);
        let _ = self.housekeeping.as_mut().poll(&mut context);
    }

    fn append(&self, n: i32, bytes: usize, fill: u8) -> Appended {
        self.store
            .append(tp(n), &encode(&sent(bytes, fill)), stamp(1))
            .unwrap()
    }

    /// Reads while the store runs: it is the store's task that reads ahead.
    fn read(&mut self, n: i32, from: Offset) -> ReadData {
        let store = Rc::clone(&self.store);
        let mut reading = pin!(store.read(tp(n), from, 1 << 20, true));
        loop {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(read) = reading.as_mut().poll(&mut context) {
                return read.unwrap();
            }
            self.turn();
        }
    }

    fn settle(&mut self, appended: &Appended) {
        while !appended.commit.is_settled() {
            self.turn();
        }
    }
}

#[test]
fn what_a_real_disk_acknowledged_is_there_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut shard = finish(open(dir.path()));
    let mut last = None;
    for round in 0..40u8 {
        for n in 0..4 {
            last = Some(shard.append(n, 3_000 + 40_000 * n as usize, round));
        }
        last.iter().for_each(|appended| shard.settle(appended));
    }
    assert!(shard.store.counters().seals > 0);
    drop(shard);
    let mut shard = finish(open(dir.path()));
    for n in 0..4 {
        let mut from = Offset(0);
        while from < Offset(40) {
            let data = shard.read(n, from);
            for (header, batch) in batches(&data.slices.concat()) {
                assert_eq!(header.base, from);
                assert_eq!(batch[100], from.0 as u8);
                from = header.next();
            }
        }
    }
    let next = shard.append(0, 100, 1);
    shard.settle(&next);
    assert_eq!(next.base_offset, Offset(40));
}

/// Segment files that this process has open below the directory, by the kernel's own list.
fn open_segments(dir: &Path) -> Vec<String> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    let below = links.filter(|path| path.starts_with(dir.join("topics")));
    below.map(|path| path.display().to_string()).collect()
}

/// The last close of an unlinked file frees its blocks, and may wait for the device meanwhile: that
/// must be the housekeeper's.
#[test]
fn a_deleted_topics_files_are_closed_before_they_are_unlinked() {
    let dir = tempfile::tempdir().unwrap();
    let mut shard = finish(open(dir.path()));
    for round in 0..40 {
        let appended = [0, 1].map(|n| shard.append(n, 100_000, round));
        appended.iter().for_each(|appended| shard.settle(appended));
    }
    shard.read(0, Offset(0));
    assert!(open_segments(dir.path()).len() > 2);
    let topic = tp(0).topic;
    shard.store.drop_topics(&[topic].into());
    let topic_dir = dir.path().join("topics").join(topic.to_string());
    let begun = Instant::now();
    while topic_dir.exists() && begun.elapsed() < Duration::from_secs(10) {
        shard.turn();
    }
    assert!(!topic_dir.exists());
    let left = open_segments(dir.path());
    let is_its = |path: &&String| path.contains(&topic.to_string());
    assert_eq!(left.iter().find(is_its), None);
    // The other topic's are not touched.
    let next = shard.append(1, 100, 1);
    shard.settle(&next);
    assert!(!left.is_empty());
}

/// Run with `cargo test --profile fast -- --ignored --nocapture`: the cost of small appends.
#[test]
#[ignore = "a measurement"]
fn cost_of_small_appends() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut shard = finish(open(dir.path()));
    for (partitions, bytes) in [(1, 1024), (64, 1024), (64, 100)] {
        let batches: Vec<_> = (0..64).map(|n| encode(&sent(bytes, n))).collect();
        let (rounds, begun) = (1000, Instant::now());
        let mut appending = Duration::ZERO;
        for _ in 0..rounds {
            let at = Instant::now();
            let mut last = Vec::new();
            for (n, batch) in batches.iter().enumerate() {
                let tp = tp(n as i32 % partitions);
                last.push(shard.store.append(tp, batch, stamp(1)).unwrap());
            }
            appending += at.elapsed();
            last.iter().for_each(|appended| shard.settle(appended));
        }
        let count = rounds * batches.len() as u32;
        println!(
            "{partitions} partitions, {bytes} B: append {:?}, with frames and writes {:?}",
            appending / count,
            begun.elapsed() / count
        );
    }
    println!("{:?}", shard.store.counters());
}

/// S11: `syncfs` promises nothing of every file system. Where it is not known to reach the disk,
/// each file is flushed, and so looked for.
#[test]
fn files_are_flushed_one_by_one_where_the_whole_file_system_may_not_be() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let (disk, below) = (StandardDisk::new(), dir.path().join("a/b"));
    finish(disk.make_dir(&below)).unwrap();
    let files = ["one", "other"].map(|name| below.join(name));
    let mode = OpenMode::Create { len: PAGE as u64 };
    finish(disk.open(&files[1], mode)).unwrap();
    let dirs = [dir.path().to_owned(), below.clone()];
    let flushed = finish(disk.sync_all(&files, &dirs));
    assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::NotFound);
    finish(disk.open(&files[0], mode)).unwrap();
    finish(disk.sync_all(&files, &dirs)).unwrap();
}
