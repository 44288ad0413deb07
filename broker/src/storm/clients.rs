//! One life of a node under load, as connections put it on shards: requests of several batches,
//! producers with and without idempotence, duplicates, fetches that wait, readers anywhere,
//! lookups, deleted records, deleted topics. What each client is told goes into the model at that
//! moment; an answer that cannot be right, or does not come, ends the history.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashSet, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use spate_net::kafka::error::ErrorCode;
use spate_storage::{
    compaction::CompactionRules,
    disk::{Clock, simulated::Simulation},
    retention::Retention,
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition},
};

use super::{
    batch::Batch,
    judge::{Answered, Fate, Judge, bounds_of, is_between, judge_read},
    keyed::is_compacted,
    life::{Life, ask},
    machine::{Machine, place},
    model::{Entry, Model},
};
use crate::{
    config::topic::TopicConfig,
    image::{Image, ImageVersion, NodeInfo, StartNumber, TopicImage},
    shard::message::{Answer, AppendItem, Ask, Lookup, ReadItem, RemoveItem},
};

/// Partitions of a topic, and how many topics there are at a time.
const PARTITIONS: i32 = 4;
const TOPICS: usize = 3;
/// Kafka's clients have at most so many batches in flight.
const IN_FLIGHT_MAX: usize = 5;
const PRODUCERS: u64 = 3;
/// Within so much time one more append is answered, however slow the disk is.
const NEXT_ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// A batch of an idempotent producer.
#[derive(Clone)]
struct Sent {
    batch: Batch,
    fate: Rc<Cell<Fate>>,
}

/// An idempotent producer's state for one partition.
struct Producer {
    tp: TopicPartition,
    id: i64,
    epoch: i16,
    next_sequence: i32,
    recent: VecDeque<Sent>,
    /// Something failed: what comes after it may be refused for its sequence.
    has_failed: Rc<Cell<bool>>,
}

/// The clients, and what outlives a crash of the node.
pub struct Clients {
    pub model: Rc<RefCell<Model>>,
    producers: Vec<Producer>,
    next_number: u64,
    next_topic: u8,
    next_turn: u64,
    images: u64,
    topics: Vec<TopicId>,
    leader_epoch: i32,
    segment_bytes: u64,
    segment_ms: i64,
    /// The first answer that cannot be right; tasks leave it here.
    pub complaint: Rc<RefCell<Option<String>>>,
}

impl Clients {
    pub fn new(sim: &Simulation) -> Clients {
        let mut clients = Clients {
            model: Rc::default(),
            producers: Vec::new(),
            next_number: 1,
            next_topic: 1,
            next_turn: 1,
            images: 0,
            topics: Vec::new(),
            leader_epoch: 0,
            segment_bytes: 20_000 << sim.random_below(6),
            segment_ms: i64::MAX,
            complaint: Rc::default(),
        };
        if sim.random_below(4) == 0 {
            clients.segment_ms = 1 + sim.random_below(200) as i64;
        }
        for _ in 0..TOPICS {
            clients.create_topic();
        }
        clients
    }

    fn create_topic(&mut self) {
        let topic = TopicId([self.next_topic; 16]);
        self.next_topic += 1;
        self.topics.push(topic);
        self.model.borrow_mut().topics.insert(topic);
    }

    /// What shards know of the topics now.
    fn image(&mut self) -> Arc<Image> {
        self.images += 1;
        let node = NodeInfo {
            node_id: 1,
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
        };
        let topic = |id: &TopicId| {
            Arc::new(TopicImage {
                id: *id,
                name: format!("storm-{}", id.0[0]).into(),
                partitions: PARTITIONS,
                internal: false,
                created_at_start: StartNumber(0),
                present_start: StartNumber(self.leader_epoch),
                config: TopicConfig {
                    segment_bytes: self.segment_bytes,
                    segment_ms: self.segment_ms,
                    ..TopicConfig::default()
                },
                overrides: BTreeMap::new(),
            })
        };
        let topics: Vec<_> = self.topics.iter().map(topic).collect();
        Arc::new(Image::new(
            ImageVersion(self.images),
            "storm".into(),
            node,
            topics,
        ))
    }

    fn judge(&self) -> Judge {
        Judge {
            model: Rc::clone(&self.model),
            complaint: Rc::clone(&self.complaint),
        }
    }

    fn pick(&self, sim: &Simulation) -> TopicPartition {
        TopicPartition {
            topic: self.topics[sim.random_below(self.topics.len() as u64) as usize],
            partition: PartitionIndex(sim.random_below(PARTITIONS as u64) as i32),
        }
    }

    /// The node is up again: what was not acknowledged is sent again, in order, before the rest.
    pub fn reconnect(&mut self) {
        self.leader_epoch += 1;
        let topics = &self.topics;
        self.producers
            .retain(|producer| topics.contains(&producer.tp.topic));
        for producer in &mut self.producers {
            producer.has_failed = Rc::default();
            for sent in &mut producer.recent {
                // Nobody answers any more.
                sent.fate = Rc::new(Cell::new(match sent.fate.get() {
                    Fate::Acknowledged => Fate::Acknowledged,
                    _ => Fate::Failed,
                }));
            }
        }
    }

    /// Does things for a while, and stops in the middle of them.
    pub fn live(&mut self, node: &Machine, rounds: u64) {
        let life = Life::begin(node, &self.image());
        for _ in 0..rounds {
            for _ in 0..node.sim.random_below(6) {
                self.act(&life);
            }
            let pause_us = match node.sim.random_below(40) {
                0 => 300_000,
                1..10 => 100,
                _ => 3_000,
            };
            let pause = Duration::from_micros(node.sim.random_below(pause_us));
            node.sim.run_for(pause);
            if self.complaint.borrow().is_some() || node.sim.is_out_of_turns() {
                return;
            }
        }
        if node.sim.random_below(4) == 0 {
            self.await_answers(&life);
        }
    }

    /// Every append is answered, sooner or later: that its disk has failed is an answer too. Only a
    /// full disk may keep it waiting, or a housekeeper that could not begin: the broker ends with
    /// it.
    fn await_answers(&self, life: &Life<'_>) {
        let sim = &life.node.sim;
        // A slow disk may take long for many, but never so long for none.
        let mut unanswered = usize::MAX;
        while (1..unanswered).contains(&life.unanswered.get()) {
            unanswered = life.unanswered.get();
            sim.run_for(NEXT_ANSWER_WITHIN);
        }
        let is_excused = sim.disk().is_limited() || !life.node.has_housekeeper();
        if life.unanswered.get() > 0 && !sim.is_out_of_turns() && !is_excused {
            let stalls: Vec<bool> = life
                .logs
                .iter()
                .map(|logs| logs.appends().is_stalled())
                .collect();
            let text = format!("{unanswered} appends are not answered; stalled: {stalls:?}");
            self.judge().note(Err(text));
        }
    }

    fn act(&mut self, life: &Life<'_>) {
        match life.node.sim.random_below(200) {
            0..70 => self.append(life),
            70..130 => self.append_idempotent(life),
            130..143 => self.resend(life),
            143..160 => self.fetch(life),
            160..172 => self.read(life),
            172..178 => self.find(life),
            178..183 => self.remove(life),
            183 => self.retain(life),
            184..188 => self.compact(life),
            188..194 => self.burst(life),
            194 => self.replace_topic(life),
            195 => self.measure(life),
            _ => self.read_all_ends(life),
        }
    }

    fn new_batch(&mut self, sim: &Simulation, tp: TopicPartition) -> Batch {
        let bytes = match sim.random_below(24) {
            0 => 20_000 + sim.random_below(80_000),
            1..4 => 4_000 + sim.random_below(16_000),
            _ => 70 + sim.random_below(1_500),
        };
        let number = self.next_number;
        self.next_number += 1;
        Batch {
            number,
            records: match is_compacted(tp.topic) {
                true => 1,
                false => 1 + sim.random_below(5) as i32,
            },
            timestamp: 1_000 + number as i64 * 3 - sim.random_below(40) as i64,
            producer: -1,
            producer_epoch: -1,
            sequence: -1,
            bytes: bytes as usize,
        }
    }

    /// One request with a few batches for partitions of one shard.
    fn append(&mut self, life: &Life<'_>) {
        let sim = &life.node.sim;
        let shards = life.logs.len() as u16;
        let first = self.pick(sim);
        let mut batches = vec![(first, self.new_batch(sim, first))];
        for _ in 0..sim.random_below(4) {
            let tp = self.pick(sim);
            if place(tp, shards) == place(first, shards) {
                batches.push((tp, self.new_batch(sim, tp)));
            }
        }
        let wait_for_durable = sim.random_below(8) > 0;
        self.send(life, batches, wait_for_durable, &Rc::default());
    }

    /// So much for one partition that it takes the direct path, or has to wait for room.
    fn burst(&mut self, life: &Life<'_>) {
        let tp = self.pick(&life.node.sim);
        for _ in 0..1 + life.node.sim.random_below(12) {
            let mut batch = self.new_batch(&life.node.sim, tp);
            batch.bytes += 8_000;
            self.send(life, vec![(tp, batch)], true, &Rc::default());
        }
    }

    /// One request, and a task that waits for its answer. All batches go to one shard.
    fn send(
        &mut self,
        life: &Life<'_>,
        batches: Vec<(TopicPartition, Batch)>,
        wait_for_durable: bool,
        has_failed: &Rc<Cell<bool>>,
    ) -> Vec<Rc<Cell<Fate>>> {
        let mut items = Vec::new();
        for (tp, batch) in &batches {
            let turn = Some(self.next_turn);
            self.next_turn += 1;
            self.model.borrow_mut().asked(
                *tp,
                Entry {
                    batch: *batch,
                    is_emptied: false,
                    leader_epoch: self.leader_epoch,
                    turn,
                },
            );
            items.push(AppendItem {
                target: *tp,
                batch: batch.encode(),
                owns_frame: life.node.sim.random_below(2) == 0,
                max_timestamp: None,
            });
        }
        let logs = Rc::clone(life.owner(batches[0].0));
        let answer = ask(
            &logs,
            Ask::Append {
                items,
                wait_for_durable,
            },
        );
        let fates: Vec<_> = batches
            .iter()
            .map(|_| Rc::new(Cell::new(Fate::Unknown)))
            .collect();
        let (told, has_failed) = (fates.clone(), Rc::clone(has_failed));
        let (judge, unanswered) = (self.judge(), Rc::clone(&life.unanswered));
        unanswered.set(unanswered.get() + 1);
        life.node.sim.spawn(async move {
            let Answer::Append(outcomes) = answer.await else {
                return judge.note(Err("an append got another answer".to_owned()));
            };
            unanswered.set(unanswered.get() - 1);
            if outcomes.len() != batches.len() {
                judge.note(Err(format!("{} answers to {batches:?}", outcomes.len())));
            }
            for ((outcome, (tp, batch)), fate) in outcomes.iter().zip(&batches).zip(&told) {
                let answered = Answered {
                    logs: &logs,
                    tp: *tp,
                    batch,
                    wait_for_durable,
                    has_failed: &has_failed,
                };
                fate.set(answered.judge(outcome, &judge));
            }
        });
        fates
    }

    fn producer(&mut self, sim: &Simulation) -> usize {
        let (tp, id) = (self.pick(sim), sim.random_below(PRODUCERS) as i64);
        let known = self.producers.iter().position(|p| p.tp == tp && p.id == id);
        known.unwrap_or_else(|| {
            self.producers.push(Producer {
                tp,
                id,
                epoch: 0,
                next_sequence: 0,
                recent: VecDeque::new(),
                has_failed: Rc::default(),
            });
            self.producers.len() - 1
        })
    }

    fn append_idempotent(&mut self, life: &Life<'_>) {
        let sim = &life.node.sim;
        let at = self.producer(sim);
        if !self.catch_up(life, at) {
            return;
        }
        let mut batch = self.new_batch(sim, self.producers[at].tp);
        let producer = &mut self.producers[at];
        while producer.recent.len() >= IN_FLIGHT_MAX {
            if producer.recent[0].fate.get() != Fate::Acknowledged {
                return;
            }
            producer.recent.pop_front();
        }
        let is_done = |sent: &Sent| sent.fate.get() == Fate::Acknowledged;
        if producer.recent.iter().all(is_done) && sim.random_below(30) == 0 {
            // What a producer does after a time-out: a new epoch, counted from 0.
            producer.epoch += 1;
            producer.next_sequence = 0;
            producer.recent.clear();
        }
        batch.producer = producer.id;
        batch.producer_epoch = producer.epoch;
        batch.sequence = producer.next_sequence;
        producer.next_sequence += batch.records;
        let (tp, has_failed) = (producer.tp, Rc::clone(&producer.has_failed));
        let fate = self
            .send(life, vec![(tp, batch)], true, &has_failed)
            .remove(0);
        self.producers[at].recent.push_back(Sent { batch, fate });
    }

    /// Sends again, in order, what failed and all behind it; false while answers are awaited, for
    /// until then nobody knows what that is.
    fn catch_up(&mut self, life: &Life<'_>, at: usize) -> bool {
        let is = |sent: &Sent, fate| sent.fate.get() == fate;
        let recent = &self.producers[at].recent;
        let Some(first) = recent.iter().position(|sent| is(sent, Fate::Failed)) else {
            return true;
        };
        if recent.iter().any(|sent| is(sent, Fate::Unknown)) {
            return false;
        }
        for index in first..recent.len() {
            self.send_again(life, at, index);
        }
        true
    }

    fn send_again(&mut self, life: &Life<'_>, at: usize, index: usize) {
        let producer = &self.producers[at];
        let (tp, sent) = (producer.tp, producer.recent[index].clone());
        let has_failed = Rc::clone(&producer.has_failed);
        let fate = self
            .send(life, vec![(tp, sent.batch)], true, &has_failed)
            .remove(0);
        if sent.fate.get() != Fate::Acknowledged {
            self.producers[at].recent[index].fate = fate;
        }
    }

    /// A batch once more although it was sent already: its answer got lost, or is late.
    fn resend(&mut self, life: &Life<'_>) {
        let at = self.producer(&life.node.sim);
        let sent = self.producers[at].recent.len() as u64;
        if self.catch_up(life, at) && sent > 0 {
            let index = life.node.sim.random_below(sent) as usize;
            self.send_again(life, at, index);
        }
    }

    /// A consumer at the end of a log: asks, waits, and reads what has come.
    fn fetch(&mut self, life: &Life<'_>) {
        let tp = self.pick(&life.node.sim);
        let logs = Rc::clone(life.owner(tp));
        let bounds = logs.store().bounds(tp);
        let back = life.node.sim.random_below(3) as i64;
        let item = ReadItem {
            from: Offset((bounds.high_watermark.0 - back).max(bounds.log_start.0)),
            ..self.reading(life, tp)
        };
        let key = life.connection(&logs);
        let patience = Duration::from_micros(life.node.sim.random_below(200_000));
        let (bells, clock, judge) = (Rc::clone(&life.bells), life.node.sim.clock(), self.judge());
        let probed = ask(
            &logs,
            Ask::Probe {
                items: vec![item],
                watch: Some(key),
            },
        );
        life.node.sim.spawn(async move {
            let Answer::Probe(probed) = probed.await else {
                return judge.note(Err("a probe got another answer".to_owned()));
            };
            let waits = probed[0].bytes == 0 && probed[0].failure.is_none();
            if waits && !bells.wait(key, &clock, patience).await {
                let end = logs.store().bounds(tp).high_watermark;
                // Who is to be woken at this very moment is woken before the next.
                clock.sleep(Duration::from_micros(1)).await;
                let is_lost = end > item.from && !bells.has_rung(key);
                if is_lost && !judge.is_excused(tp) {
                    let from = item.from;
                    judge.note(Err(format!("{tp}: a fetch at {from} sleeps on at {end}")));
                }
            }
            ask(&logs, Ask::Unwatch(key)).await;
            judge_read(&logs, item, &judge).await;
        });
    }

    /// A read anywhere in a log, and a little beside it.
    fn read(&mut self, life: &Life<'_>) {
        let tp = self.pick(&life.node.sim);
        let logs = Rc::clone(life.owner(tp));
        let bounds = logs.store().bounds(tp);
        let span = bounds.high_watermark.0 - bounds.log_start.0 + 2;
        let item = ReadItem {
            from: Offset(bounds.log_start.0 + life.node.sim.random_below(span as u64) as i64),
            ..self.reading(life, tp)
        };
        let judge = self.judge();
        life.node
            .sim
            .spawn(async move { judge_read(&logs, item, &judge).await });
    }

    fn reading(&self, life: &Life<'_>, tp: TopicPartition) -> ReadItem {
        ReadItem {
            target: tp,
            from: Offset(0),
            max_bytes: 1 << life.node.sim.random_below(18),
            at_least_one: true,
            last_fetched_epoch: None,
        }
    }

    /// Ends may be asked for at any moment, and are promises too.
    fn read_all_ends(&self, life: &Life<'_>) {
        let partitions = self.model.borrow().partitions();
        for target in partitions {
            let logs = life.owner(target);
            let item = ReadItem {
                from: logs.store().bounds(target).log_start,
                ..self.reading(life, target)
            };
            let probe = Ask::Probe {
                items: vec![item],
                watch: None,
            };
            let Some(Answer::Probe(probed)) =
                futures_util::FutureExt::now_or_never(ask(logs, probe))
            else {
                self.judge()
                    .note(Err("a probe was not answered at once".to_owned()));
                return;
            };
            let verdict = self
                .model
                .borrow_mut()
                .bounds(target, bounds_of(probed[0].extent));
            self.judge().note(verdict);
        }
    }

    /// Where logs begin and end, by name and by epoch.
    fn find(&mut self, life: &Life<'_>) {
        let tp = self.pick(&life.node.sim);
        let logs = Rc::clone(life.owner(tp));
        let current = self.leader_epoch;
        let lookup = match life.node.sim.random_below(4) {
            0 => Lookup::Earliest,
            1 => Lookup::Latest,
            2 => Lookup::EpochEnd(LeaderEpoch(current)),
            _ => Lookup::EpochEnd(LeaderEpoch(current + 1)),
        };
        let (before, judge) = (logs.store().bounds(tp), self.judge());
        let found = ask(
            &logs,
            Ask::Find {
                items: vec![(tp, lookup)],
            },
        );
        life.node.sim.spawn(async move {
            let Answer::Find(found) = found.await else {
                return judge.note(Err("a lookup got another answer".to_owned()));
            };
            let after = logs.store().bounds(tp);
            if !judge.is_excused(tp) && !is_between(lookup, current, &before, &found[0], &after) {
                let found = &found[0];
                judge.note(Err(format!(
                    "{tp}: {lookup:?} is {found:?}: {before:?}, {after:?}"
                )));
            }
        });
    }

    /// What people measure and look at; it must come, and disturb nothing.
    fn measure(&mut self, life: &Life<'_>) {
        let tp = self.pick(&life.node.sim);
        let logs = Rc::clone(life.owner(tp));
        for question in [
            Ask::Measure { items: vec![tp] },
            Ask::Producers { items: vec![tp] },
        ] {
            life.node.sim.spawn(ask(&logs, question));
        }
    }

    fn remove(&mut self, life: &Life<'_>) {
        let sim = &life.node.sim;
        let tp = self.pick(sim);
        let logs = Rc::clone(life.owner(tp));
        let bounds = logs.store().bounds(tp);
        let span = (bounds.high_watermark.0 - bounds.log_start.0) as u64;
        if span == 0 {
            return;
        }
        let before = bounds.log_start.0 + 1 + sim.random_below(span) as i64;
        let before = (sim.random_below(4) > 0).then_some(Offset(before));
        let asked = before.map_or(i64::MAX, |before| before.0);
        self.model.borrow_mut().start_asked(tp, asked);
        let judge = self.judge();
        let removed = ask(
            &logs,
            Ask::Remove {
                items: vec![RemoveItem { target: tp, before }],
            },
        );
        sim.spawn(async move {
            let Answer::Remove(removed) = removed.await else {
                return judge.note(Err("a removal got another answer".to_owned()));
            };
            match &removed[0] {
                Ok(now) => {
                    let verdict = judge.model.borrow_mut().start_told(tp, *now);
                    judge.note(verdict);
                }
                Err(refusal) if refusal.code == ErrorCode::KafkaStorageError => {}
                Err(_) if judge.is_excused(tp) => {}
                Err(refusal) => judge.note(Err(format!("{tp}: start to {asked}: {refusal:?}"))),
            }
        });
    }

    /// What a topic's limits have a log forget: whole Kafka segments, as far as it is durable.
    fn retain(&mut self, life: &Life<'_>) {
        let tp = self.pick(&life.node.sim);
        let store = life.node.store(tp);
        let end = store.bounds(tp).high_watermark.0;
        self.model.borrow_mut().start_asked(tp, end);
        let bytes = Some(life.node.sim.random_below(4 * self.segment_bytes));
        store.retain(
            tp,
            Retention {
                bytes,
                ..Retention::default()
            },
        );
    }

    /// A round of compaction beside everything else.
    fn compact(&mut self, life: &Life<'_>) {
        let sim = &life.node.sim;
        let mut tries = (0..TOPICS * 2).map(|_| self.pick(sim));
        if let Some(tp) = tries.find(|tp| is_compacted(tp.topic)) {
            let store = Rc::clone(life.node.store(tp));
            let rules = CompactionRules {
                min_dirty_ratio: 0.0,
                min_lag_ms: 0,
                max_lag_ms: i64::MAX,
                delete_retention_ms: 0,
                segment_bytes: self.segment_bytes,
                key_memory_bytes: (1 << 20) * sim.random_below(2) as usize,
                key_load: 0.9,
                bytes_per_second: f64::MAX,
            };
            sim.spawn(async move { store.compact(tp, &rules).await.is_ok() });
        }
    }

    /// Deletes a topic, durably in the metadata first (S17), and makes another in its place: an
    /// image without it comes to the shards, and then they drop its logs.
    fn replace_topic(&mut self, life: &Life<'_>) {
        let which = life.node.sim.random_below(self.topics.len() as u64) as usize;
        let gone = self.topics.remove(which);
        self.model.borrow_mut().delete(gone);
        self.producers.retain(|producer| producer.tp.topic != gone);
        self.create_topic();
        let (image, all_gone) = (self.image(), HashSet::from([gone]));
        for logs in &life.logs {
            logs.adopt(Arc::clone(&image), &[]);
            logs.drop_topics(&all_gone);
        }
    }
}
