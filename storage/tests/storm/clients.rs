//! One life of a node under load: producers with and without idempotence, duplicates, large
//! batches, readers anywhere, lookups, deleted records, deleted topics. What each client is told
//! goes into the model at that moment; an answer that cannot be right ends the history.

use super::{
    batch::Batch,
    keyed::is_compacted,
    machine::Machine,
    model::{Entry, Log, Model, Verdict},
};
use spate_storage::{
    compaction::CompactionRules,
    disk::simulated::Simulation,
    retention::Retention,
    store::{AppendError, Appended, ReadError, Stamp, StartError},
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition},
};
use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    rc::Rc,
    time::Duration,
};

/// Partitions of a topic, and how many topics there are at a time.
const PARTITIONS: u64 = 4;
const TOPICS: usize = 3;
/// Kafka's clients have at most so many batches in flight.
const IN_FLIGHT_MAX: usize = 5;
const PRODUCERS: i64 = 3;

/// A batch of an idempotent producer, and whether it was acknowledged.
#[derive(Clone)]
struct Sent {
    batch: Batch,
    is_acknowledged: Rc<Cell<bool>>,
}

/// An idempotent producer's state for one partition.
#[derive(Clone)]
struct Producer {
    tp: TopicPartition,
    id: i64,
    epoch: i16,
    next_sequence: i32,
    recent: VecDeque<Sent>,
    /// So many of the newest in `recent` are to be sent again before anything else.
    to_resend: usize,
}

/// The clients, and what outlives a crash of the node.
pub struct Clients {
    pub model: Rc<RefCell<Model>>,
    producers: Vec<Producer>,
    next_number: u64,
    next_topic: u8,
    topics: Vec<TopicId>,
    pub leader_epoch: i32,
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

    fn pick(&self, sim: &Simulation) -> TopicPartition {
        TopicPartition {
            topic: self.topics[sim.random_below(self.topics.len() as u64) as usize],
            partition: PartitionIndex(sim.random_below(PARTITIONS) as i32),
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            epoch: LeaderEpoch(self.leader_epoch),
            max_timestamp: None,
            log_append_time: None,
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            is_internal: false,
        }
    }

    fn complain(&self, verdict: Verdict) {
        if let Err(text) = verdict {
            self.complaint.borrow_mut().get_or_insert(text);
        }
    }

    /// The node is up again: what was not acknowledged is sent again, in order, before the rest.
    pub fn reconnect(&mut self) {
        self.leader_epoch += 1;
        let topics = &self.topics;
        self.producers
            .retain(|producer| topics.contains(&producer.tp.topic));
        for producer in &mut self.producers {
            let acknowledged = |sent: &&Sent| sent.is_acknowledged.get();
            let done = producer.recent.iter().take_while(acknowledged).count();
            producer.to_resend = producer.recent.len() - done;
        }
    }

    /// Does things for a while, and stops in the middle of them.
    pub fn live(&mut self, node: &Machine, rounds: u64) {
        for _ in 0..rounds {
            for _ in 0..node.sim.random_below(6) {
                self.act(node);
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
    }

    fn act(&mut self, node: &Machine) {
        match node.sim.random_below(200) {
            0..80 => self.append(node),
            80..145 => self.append_idempotent(node),
            145..160 => self.resend(node),
            160..176 => self.read(node),
            176..182 => self.look_up(node),
            182..187 => self.advance_start(node),
            187 => self.retain(node),
            188..192 => self.compact(node),
            192..198 => self.burst(node),
            198 => self.replace_topic(node),
            _ => self.read_all_ends(node),
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

    fn append(&mut self, node: &Machine) {
        let tp = self.pick(&node.sim);
        let batch = self.new_batch(&node.sim, tp);
        drop(self.send(node, tp, batch));
    }

    /// So much for one partition that it takes the direct path.
    fn burst(&mut self, node: &Machine) {
        let tp = self.pick(&node.sim);
        for _ in 0..1 + node.sim.random_below(12) {
            let mut batch = self.new_batch(&node.sim, tp);
            batch.bytes += 8_000;
            drop(self.send(node, tp, batch));
        }
    }

    /// One append, and a task that waits for its promise. Refusals that say "later" are no answer.
    fn send(&self, node: &Machine, tp: TopicPartition, batch: Batch) -> Option<Rc<Cell<bool>>> {
        let mut bytes = batch.encode();
        let appended = node.store(tp).append_given(tp, &mut bytes, self.stamp());
        let appended = match appended {
            Ok(appended) => appended,
            Err(
                AppendError::NoMemory { .. }
                | AppendError::Fenced(_)
                | AppendError::DiskFull { .. },
            ) => return None,
            Err(error) => {
                if !self.model.borrow().has_accepted_loss {
                    self.complain(Err(format!("{tp}: {batch:?} was refused: {error}")));
                }
                return None;
            }
        };
        let Appended {
            base_offset,
            last_offset,
            commit,
            ..
        } = appended;
        if last_offset.0 - base_offset.0 + 1 != batch.span() {
            let answer = format!("{tp}: {batch:?} was given {base_offset} to {last_offset}");
            self.complain(Err(answer));
        }
        let leader_epoch = self.leader_epoch;
        let entry = Entry {
            batch,
            is_emptied: false,
            leader_epoch,
            turn: None,
        };
        self.complain(self.model.borrow_mut().sent(tp, base_offset, entry));
        let is_acknowledged = Rc::new(Cell::new(false));
        let (told, model) = (Rc::clone(&is_acknowledged), Rc::clone(&self.model));
        let complaint = Rc::clone(&self.complaint);
        let end = Log::end_of(base_offset.0, &batch);
        node.sim.spawn(async move {
            if commit.wait().await.is_ok() {
                told.set(true);
                if let Err(text) = model.borrow_mut().promised(tp, end) {
                    complaint.borrow_mut().get_or_insert(text);
                }
            }
        });
        Some(is_acknowledged)
    }

    fn producer(&mut self, sim: &Simulation) -> usize {
        let (tp, id) = (self.pick(sim), sim.random_below(PRODUCERS as u64) as i64);
        let known = self.producers.iter().position(|p| p.tp == tp && p.id == id);
        known.unwrap_or_else(|| {
            self.producers.push(Producer {
                tp,
                id,
                epoch: 0,
                next_sequence: 0,
                recent: VecDeque::new(),
                to_resend: 0,
            });
            self.producers.len() - 1
        })
    }

    fn append_idempotent(&mut self, node: &Machine) {
        let at = self.producer(&node.sim);
        if !self.catch_up(node, at) {
            return;
        }
        let mut batch = self.new_batch(&node.sim, self.producers[at].tp);
        let producer = &mut self.producers[at];
        while producer.recent.len() >= IN_FLIGHT_MAX {
            if !producer.recent[0].is_acknowledged.get() {
                return;
            }
            producer.recent.pop_front();
        }
        let is_idle = producer
            .recent
            .iter()
            .all(|sent| sent.is_acknowledged.get());
        if is_idle && node.sim.random_below(30) == 0 {
            // What a producer does after a time-out: a new epoch, counted from 0.
            producer.epoch += 1;
            producer.next_sequence = 0;
            producer.recent.clear();
        }
        batch.producer = producer.id;
        batch.producer_epoch = producer.epoch;
        batch.sequence = producer.next_sequence;
        let tp = producer.tp;
        if let Some(is_acknowledged) = self.send(node, tp, batch) {
            let producer = &mut self.producers[at];
            producer.next_sequence += batch.records;
            producer.recent.push_back(Sent {
                batch,
                is_acknowledged,
            });
        }
    }

    /// Sends again what a crash left unanswered; false if that is not over.
    fn catch_up(&mut self, node: &Machine, at: usize) -> bool {
        while self.producers[at].to_resend > 0 {
            let Producer {
                tp,
                recent,
                to_resend,
                ..
            } = &self.producers[at];
            let index = recent.len() - to_resend;
            let (tp, batch) = (*tp, recent[index].batch);
            let Some(is_acknowledged) = self.send(node, tp, batch) else {
                return false;
            };
            let producer = &mut self.producers[at];
            producer.recent[index].is_acknowledged = is_acknowledged;
            producer.to_resend -= 1;
        }
        true
    }

    /// A batch once more although it was sent already: its answer got lost, or is late.
    fn resend(&mut self, node: &Machine) {
        let at = self.producer(&node.sim);
        if !self.catch_up(node, at) || self.producers[at].recent.is_empty() {
            return;
        }
        let producer = &self.producers[at];
        let which = node.sim.random_below(producer.recent.len() as u64) as usize;
        let (tp, batch) = (producer.tp, producer.recent[which].batch);
        if let Some(is_acknowledged) = self.send(node, tp, batch) {
            let known = &mut self.producers[at].recent[which].is_acknowledged;
            if !known.get() {
                *known = is_acknowledged;
            }
        }
    }

    fn read(&mut self, node: &Machine) {
        let tp = self.pick(&node.sim);
        let store = Rc::clone(node.store(tp));
        let bounds = store.bounds(tp);
        let span = bounds.high_watermark.0 - bounds.log_start.0 + 2;
        let from = bounds.log_start.0 + node.sim.random_below(span as u64) as i64;
        let max_bytes = 1 << node.sim.random_below(18);
        let (model, complaint) = (Rc::clone(&self.model), Rc::clone(&self.complaint));
        node.sim.spawn(async move {
            let read = store.read(tp, Offset(from), max_bytes, true).await;
            let now = store.bounds(tp);
            let mut model = model.borrow_mut();
            let verdict = match read {
                _ if model.deleted.contains(&tp.topic) => Ok(()),
                Ok(data) if data.bytes == 0 && from < bounds.high_watermark.0 => Err(format!(
                    "{tp}: nothing at {from} of {bounds:?}, now {now:?}"
                )),
                Ok(data) => model.read(tp, from, &data.slices.concat()).map(drop),
                Err(ReadError::OutOfRange { .. })
                    if from > bounds.high_watermark.0 || from < now.log_start.0 =>
                {
                    Ok(())
                }
                Err(_) if model.is_damaged || from < now.log_start.0 => Ok(()),
                Err(error) => Err(format!("{tp}: read of {from}: {error}")),
            };
            if let Err(text) = verdict {
                complaint.borrow_mut().get_or_insert(text);
            }
        });
    }

    /// Ends may be asked for at any moment, and are promises too.
    fn read_all_ends(&self, node: &Machine) {
        let mut model = self.model.borrow_mut();
        for tp in model.partitions() {
            let bounds = node.store(tp).bounds(tp);
            self.complain(model.bounds(tp, bounds));
        }
    }

    /// A lookup by time beside everything else; what it finds must be there and late enough.
    fn look_up(&mut self, node: &Machine) {
        let tp = self.pick(&node.sim);
        let store = Rc::clone(node.store(tp));
        let time = 1_000 + node.sim.random_below(self.next_number * 3 + 10) as i64;
        let (model, complaint) = (Rc::clone(&self.model), Rc::clone(&self.complaint));
        node.sim.spawn(async move {
            let found = store.offset_at_timestamp(tp, time).await;
            let mut model = model.borrow_mut();
            let verdict = match found {
                Ok(Some(found)) if found.timestamp < time => {
                    Err(format!("{tp}: asked for {time}, found {found:?}"))
                }
                Ok(Some(found)) => model.read(tp, found.offset.0, &found.batch).map(drop),
                Ok(None) => Ok(()),
                Err(_) if model.is_damaged || model.deleted.contains(&tp.topic) => Ok(()),
                Err(error) => Err(format!("{tp}: lookup of {time}: {error}")),
            };
            if let Err(text) = verdict {
                complaint.borrow_mut().get_or_insert(text);
            }
        });
    }

    fn advance_start(&mut self, node: &Machine) {
        let tp = self.pick(&node.sim);
        let store = Rc::clone(node.store(tp));
        let bounds = store.bounds(tp);
        let span = (bounds.high_watermark.0 - bounds.log_start.0) as u64;
        if span == 0 {
            return;
        }
        let start = bounds.log_start.0 + 1 + node.sim.random_below(span) as i64;
        self.model.borrow_mut().start_asked(tp, start);
        let (model, complaint) = (Rc::clone(&self.model), Rc::clone(&self.complaint));
        node.sim.spawn(async move {
            let verdict = match store.advance_start(tp, Offset(start)).await {
                Ok(now) => model.borrow_mut().start_told(tp, now),
                Err(StartError::Lost(_)) => Ok(()),
                Err(_) if model.borrow().deleted.contains(&tp.topic) => Ok(()),
                Err(error) => Err(format!("{tp}: start to {start}: {error}")),
            };
            if let Err(text) = verdict {
                complaint.borrow_mut().get_or_insert(text);
            }
        });
    }

    /// What a topic's limits have a log forget: whole Kafka segments, as far as it is durable.
    fn retain(&mut self, node: &Machine) {
        let tp = self.pick(&node.sim);
        let store = node.store(tp);
        let end = store.bounds(tp).high_watermark.0;
        self.model.borrow_mut().start_asked(tp, end);
        let limits = match node.sim.random_below(2) {
            0 => Retention {
                bytes: Some(node.sim.random_below(4 * self.segment_bytes)),
                ..Retention::default()
            },
            _ => Retention {
                age_ms: Some(node.sim.random_below(10_000) as i64),
                ..Retention::default()
            },
        };
        store.retain(tp, limits);
    }

    /// A round of compaction beside everything else. That it does nothing, or is given up, is no
    /// harm; what it takes away is the model's to judge.
    fn compact(&mut self, node: &Machine) {
        let mut tries = (0..TOPICS * 2).map(|_| self.pick(&node.sim));
        if let Some(tp) = tries.find(|tp| is_compacted(tp.topic)) {
            let store = Rc::clone(node.store(tp));
            let rules = CompactionRules {
                min_dirty_ratio: 0.0,
                min_lag_ms: 0,
                max_lag_ms: i64::MAX,
                delete_retention_ms: 0,
                segment_bytes: self.segment_bytes,
                key_memory_bytes: (1 << 20) * node.sim.random_below(2) as usize,
                key_load: 0.9,
                bytes_per_second: f64::MAX,
            };
            node.sim
                .spawn(async move { store.compact(tp, &rules).await.is_ok() });
        }
    }

    /// Deletes a topic, durably in the metadata first (S17), and makes another in its place.
    fn replace_topic(&mut self, node: &Machine) {
        let which = node.sim.random_below(self.topics.len() as u64) as usize;
        let gone = self.topics.remove(which);
        self.model.borrow_mut().delete(gone);
        self.producers.retain(|producer| producer.tp.topic != gone);
        let all_gone = HashSet::from([gone]);
        node.stores
            .iter()
            .for_each(|store| store.drop_topics(&all_gone));
        self.create_topic();
    }
}
