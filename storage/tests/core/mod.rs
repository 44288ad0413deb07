//! A whole node on a simulated machine, for the tests of the storage protocol: shards with their
//! stores, a housekeeper, and what clients were told.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

pub mod records;

use bytes::Bytes;
use records::PlainRecords;
use spate_storage::{
    batch::{BatchHeader, batches},
    commit::Fence,
    disk::Disk,
    disk::simulated::{Crash, SimulatedClock, SimulatedDisk, Simulation},
    hash::{Incarnation, Incarnations},
    housekeeper::{Chores, Job, Keeper},
    node::{ClusterId, JournalSet, NodeFile, NodeId, NodeState},
    recovery::{KnownTopics, RecoverError, RecoverOptions, Recovered, RecoveryReport, recover},
    store::{Appended, ReadData, Stamp, Store, StoreConfig},
    types::{LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId, TopicPartition},
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

pub type SimStore = Store<SimulatedDisk, SimulatedClock>;

pub const DATA: &str = "/data";

pub fn data() -> PathBuf {
    Path::new(DATA).to_owned()
}

pub fn tp(n: i32) -> TopicPartition {
    TopicPartition {
        topic: TopicId([1 + (n % 3) as u8; 16]),
        partition: PartitionIndex(n),
    }
}

/// What a client sends: a v2 batch of `records` records.
#[derive(Clone, Copy)]
pub struct Sent {
    pub records: i32,
    pub timestamp: i64,
    pub producer: i64,
    pub sequence: i32,
    pub bytes: usize,
    pub fill: u8,
}

pub fn sent(bytes: usize, fill: u8) -> Sent {
    Sent {
        records: 1,
        timestamp: 1000,
        producer: -1,
        sequence: -1,
        bytes,
        fill,
    }
}

pub fn encode(sent: &Sent) -> Bytes {
    let payload = sent.bytes.saturating_sub(61);
    let mut out = Vec::with_capacity(61 + payload);
    out.extend_from_slice(&0i64.to_be_bytes());
    out.extend_from_slice(&i32::try_from(49 + payload).unwrap().to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes());
    out.push(2);
    out.extend_from_slice(&0xC0FF_EE00_u32.to_be_bytes());
    out.extend_from_slice(&0i16.to_be_bytes());
    out.extend_from_slice(&(sent.records - 1).to_be_bytes());
    out.extend_from_slice(&sent.timestamp.to_be_bytes());
    out.extend_from_slice(&sent.timestamp.to_be_bytes());
    out.extend_from_slice(&sent.producer.to_be_bytes());
    out.extend_from_slice(&0i16.to_be_bytes());
    out.extend_from_slice(&sent.sequence.to_be_bytes());
    out.extend_from_slice(&sent.records.to_be_bytes());
    out.resize(61 + payload, sent.fill);
    out.into()
}

pub fn stamp(epoch: i32) -> Stamp {
    Stamp {
        epoch: LeaderEpoch(epoch),
        max_timestamp: None,
        log_append_time: None,
        segment_bytes: 1 << 30,
        segment_ms: i64::MAX,
        is_internal: false,
    }
}

/// The smallest sizes, so that a short test walks the whole ring.
pub fn small_config(fence: Fence) -> StoreConfig {
    StoreConfig {
        journal_bytes: 1 << 20,
        journal_file_bytes: 256 << 10,
        open_block_budget_bytes: 8 << 20,
        cache_bytes: 1 << 20,
        block_bytes: 64 << 10,
        direct_threshold_bytes: 48 << 10,
        ..StoreConfig::new(data(), fence)
    }
}

/// Jobs on their way to the housekeeper of one shard.
#[derive(Clone, Default)]
pub struct Mailbox(Rc<RefCell<(VecDeque<Job>, Option<Waker>)>>);

impl Chores for Mailbox {
    fn send(&self, job: Job) -> Result<(), Job> {
        let mut state = self.0.borrow_mut();
        state.0.push_back(job);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
        Ok(())
    }
}

impl Mailbox {
    /// The next job as the housekeeper's thread takes them: what frees a name or space comes when
    /// nothing more urgent waits.
    pub async fn next(&self) -> Job {
        let is_urgent = |job: &Job| !matches!(job, Job::Unlink { .. } | Job::Recycle { .. });
        poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            let urgent = state.0.iter().position(is_urgent).unwrap_or(0);
            match state.0.remove(urgent) {
                Some(job) => Poll::Ready(job),
                None => {
                    state.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// A running node.
pub struct Node {
    pub sim: Simulation,
    pub stores: Vec<Rc<SimStore>>,
    pub fence: Fence,
    pub report: RecoveryReport,
    pub epoch: i32,
}

/// How a node is started.
#[derive(Clone)]
pub struct Start {
    pub shards: u16,
    pub config: StoreConfig,
    pub accept_loss: bool,
    pub known: KnownTopics,
}

pub fn start(shards: u16) -> Start {
    let topics = (0..3).map(|n| tp(n).topic).collect();
    let known = KnownTopics {
        known: topics,
        ..KnownTopics::default()
    };
    Start {
        shards,
        config: small_config(Fence::new()),
        accept_loss: false,
        known,
    }
}

pub fn place(tp: TopicPartition, shards: u16) -> ShardId {
    ShardId((tp.partition.0 as u16 + u16::from(tp.topic.0[0])) % shards)
}

/// Reads `node`, or writes it on a first start, and recovers.
pub async fn recover_on(
    disk: SimulatedDisk,
    clock: SimulatedClock,
    how: Start,
) -> Result<Recovered, RecoverError> {
    disk.create_dir(&data()).await.unwrap();
    let mut node = match NodeFile::open(&disk, &data()).await? {
        Some(node) => node,
        None => {
            let state = NodeState {
                cluster: ClusterId(uuid::Uuid::nil()),
                node: NodeId::new(1).unwrap(),
                disk: uuid::Uuid::nil(),
                journal_set: JournalSet::default(),
            };
            NodeFile::create(&disk, &data(), state).await?
        }
    };
    let shards = how.shards;
    let options = RecoverOptions {
        shards,
        store: how.config,
        accept_loss: how.accept_loss,
        incarnations: Incarnations::default(),
    };
    let placement = |tp| place(tp, shards);
    recover(&disk, &clock, &mut node, &how.known, placement, &options).await
}

impl Node {
    pub fn start(sim: Simulation, how: &Start) -> Node {
        Node::try_start(sim, how).unwrap_or_else(|(_, error)| panic!("{error}"))
    }

    pub fn try_start(sim: Simulation, how: &Start) -> Result<Node, (Simulation, RecoverError)> {
        let mut how = how.clone();
        how.config.fence = Fence::new();
        let fence = how.config.fence.clone();
        let recovered = sim.block_on(recover_on(sim.disk(), sim.clock(), how.clone()));
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => return Err((sim, error)),
        };
        let count = Rc::new(Cell::new(sim.random_below(u64::MAX / 2)));
        let mut stores = Vec::new();
        for state in recovered.shards {
            let mail = Mailbox::default();
            let chores = Box::new(mail.clone());
            let store = Store::open(how.config.clone(), sim.disk(), sim.clock(), state, chores);
            sim.spawn(Rc::clone(&store).run());
            let count = Rc::clone(&count);
            let incarnations = Box::new(move || {
                count.set(count.get() + 1);
                Incarnation(count.get())
            });
            let keeper = Keeper::new(sim.disk(), data(), incarnations);
            let keeper = keeper.with_records(Arc::new(PlainRecords));
            let mailed = Rc::clone(&store);
            sim.spawn(async move {
                loop {
                    let job = mail.next().await;
                    mailed.housekeeper_done(keeper.run(job).await);
                }
            });
            stores.push(store);
        }
        Ok(Node {
            sim,
            stores,
            fence,
            report: recovered.report,
            epoch: 0,
        })
    }

    pub fn store(&self, tp: TopicPartition) -> &Rc<SimStore> {
        &self.stores[usize::from(place(tp, self.stores.len() as u16).0)]
    }

    pub fn append(&self, tp: TopicPartition, sent: Sent) -> Appended {
        self.store(tp)
            .append_given(tp, &mut encode(&sent), stamp(self.epoch))
            .unwrap()
    }

    /// Appends and waits until it is durable.
    pub fn append_durably(&self, tp: TopicPartition, sent: Sent) -> Appended {
        let appended = self.append(tp, sent);
        let commit = appended.commit.clone();
        self.sim
            .block_on(async move { commit.wait().await })
            .unwrap();
        appended
    }

    pub fn read(&self, tp: TopicPartition, from: i64, max_bytes: usize) -> ReadData {
        let store = Rc::clone(self.store(tp));
        let read = async move { store.read(tp, Offset(from), max_bytes, true).await };
        self.sim.block_on(read).unwrap()
    }

    /// The whole durable log, batch by batch.
    pub fn read_all(&self, tp: TopicPartition) -> Vec<(BatchHeader, Bytes)> {
        let bounds = self.store(tp).bounds(tp);
        let mut from = bounds.log_start;
        let mut all = Vec::new();
        while from < bounds.high_watermark {
            let data = self.read(tp, from.0, 100_000);
            assert!(data.bytes > 0, "{tp}: nothing at {from} of {bounds:?}");
            let bytes = Bytes::from(data.slices.concat());
            assert_eq!(bytes.len(), data.bytes);
            for (header, batch) in batches(&bytes) {
                all.push((header, bytes.slice_ref(batch)));
                from = header.next();
            }
        }
        all
    }

    pub fn run_for(&self, ms: u64) {
        self.sim.run_for(Duration::from_millis(ms));
    }

    pub fn crash(self, crash: Crash) -> Simulation {
        drop(self.stores);
        self.sim.crash(crash)
    }

    pub fn shut_down(self) -> Simulation {
        self.stores.iter().for_each(|store| store.shutdown());
        self.sim.run_for(Duration::from_secs(1));
        drop(self.stores);
        self.sim.crash(Crash::Kill)
    }
}

/// What clients were told: every acknowledged batch at its offset.
#[derive(Clone, Default)]
pub struct Told(pub BTreeMap<TopicPartition, BTreeMap<i64, Vec<u8>>>);

impl Told {
    pub fn note(&mut self, tp: TopicPartition, base: Offset, sent: &Sent) {
        let before = self
            .0
            .entry(tp)
            .or_default()
            .insert(base.0, encode(sent)[61..].to_vec());
        assert!(before.is_none(), "{tp}: offset {base} was given out twice");
    }

    /// Every acknowledged batch is there once, at its offset; offsets are contiguous.
    pub fn check(&self, node: &Node) {
        for (tp, told) in &self.0 {
            let all = node.read_all(*tp);
            let mut next = node.store(*tp).bounds(*tp).log_start;
            let mut found = BTreeMap::new();
            for (header, bytes) in &all {
                assert_eq!(header.base, next, "{tp}: a hole");
                next = header.next();
                found.insert(header.base.0, bytes.slice(61..));
            }
            for (base, expected) in told {
                let bytes = found.get(base);
                let bytes = bytes.unwrap_or_else(|| panic!("{tp}: offset {base} is lost"));
                assert!(
                    bytes[..] == expected[..],
                    "{tp}: offset {base} is another batch"
                );
            }
        }
    }
}
