//! What one driver thread has counted; merged over all threads at the end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::histogram::Latencies;
use crate::live::Live;
use crate::timeline::{Timeline, Volumes};
use crate::verify::{StreamId, Verifier};

/// Kinds of errors that are kept apart: beyond, one stands for the rest.
const ERROR_KINDS_MAX: usize = 16;

/// Errors by what they say.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    /// How often each was seen.
    pub by_text: BTreeMap<String, u64>,
}

impl Errors {
    /// Counts an error.
    pub fn add(&mut self, text: String, times: u64) {
        let known = self.by_text.contains_key(&text);
        let full = self.by_text.len() >= ERROR_KINDS_MAX;
        let text = if known || !full {
            text
        } else {
            "other errors".to_owned()
        };
        *self.by_text.entry(text).or_default() += times;
    }

    fn merge(&mut self, other: Errors) {
        for (text, times) in other.by_text {
            self.add(text, times);
        }
    }
}

/// Records and bytes within the measured window.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Volume {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Volume {
    /// Counts more.
    pub fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
    }
}

/// What the producers of a thread have counted.
pub struct Produced {
    /// From the intended send time to the answer, of records intended in the measured window.
    pub latency: Latencies,
    /// From the real send time to the answer.
    pub service: Latencies,
    /// From the moment a request could have gone to the moment it went: the driver's own delay.
    pub lag: Latencies,
    /// What is shown while the run goes on.
    pub live: Option<Arc<Live>>,
    /// Latency by second.
    pub latency_by_second: Timeline,
    /// Service time by second.
    pub service_by_second: Timeline,
    /// Records answered in the measured window.
    pub answered: Volume,
    /// The same by second.
    pub answered_by_second: Volumes,
    /// Records intended in the measured window.
    pub intended: u64,
    /// Of those, the ones that were not answered when the run gave up.
    pub unanswered: u64,
    /// Records that the broker refused.
    pub refused: u64,
    /// Records that were sent again without idempotence: they may be there twice, or behind later
    /// ones.
    pub resent: u64,
    /// Why, and what became of lost connections.
    pub errors: Errors,
    /// What each stream got acknowledged.
    pub acknowledged: Vec<Acknowledged>,
    /// What became of each batch, if that is kept.
    pub batches: Vec<Batch>,
}

/// What a stream got acknowledged in a partition.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The partition.
    pub partition: i32,
    /// The stream.
    pub stream: StreamId,
    /// The sequence number behind the last acknowledged record.
    pub end: u64,
    /// The offset of that record; -1 if the broker did not say.
    pub last_offset: i64,
    /// Of the acknowledged records, those that were due in the measured window.
    pub measured: u64,
    /// The sequence numbers of refused records.
    pub refused: Vec<Range<u64>>,
}

/// A batch, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Where it was sent to.
    pub partition: i32,
    /// Who sent it.
    pub stream: StreamId,
    /// The stream's number of its first record in that partition.
    pub sequence: u64,
    /// How many records it has.
    pub records: u64,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Acknowledged.
    Written {
        /// The offset of its first record; -1 if the broker did not say.
        base_offset: i64,
    },
    /// Refused for good, and never written.
    Refused,
    /// No answer, or none that tells: it may be there or not.
    Unknown,
}

impl Produced {
    /// Nothing yet.
    pub fn new() -> Produced {
        Produced {
            latency: Latencies::new(),
            service: Latencies::new(),
            lag: Latencies::new(),
            live: None,
            latency_by_second: Timeline::default(),
            service_by_second: Timeline::default(),
            answered: Volume::default(),
            answered_by_second: Volumes::default(),
            intended: 0,
            unanswered: 0,
            refused: 0,
            resent: 0,
            errors: Errors::default(),
            acknowledged: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// Counts records that the broker refused.
    pub fn refused(&mut self, why: String, records: u64) {
        self.refused += records;
        if let Some(live) = &self.live {
            live.failed(records);
        }
        self.errors.add(why, records);
    }

    /// Counts records intended in the measured window and answered in that second.
    pub fn answered(&mut self, second: u64, latency_ns: u64, service_ns: u64, records: u64) {
        self.intended += records;
        if let Some(live) = &self.live {
            live.answered(latency_ns, records);
        }
        self.latency.record(latency_ns, records);
        self.service.record(service_ns, records);
        self.latency_by_second.record(second, latency_ns, records);
        self.service_by_second.record(second, service_ns, records);
    }

    /// Counts records that were not answered within `waited_ns`, until that second.
    pub fn missed(&mut self, second: u64, waited_ns: u64, records: u64) {
        self.intended += records;
        self.unanswered += records;
        if let Some(live) = &self.live {
            live.failed(records);
        }
        self.latency.record(waited_ns, records);
        self.latency_by_second.record(second, waited_ns, records);
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: Produced) {
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.lag.merge(&other.lag);
        self.latency_by_second.merge(other.latency_by_second);
        self.service_by_second.merge(other.service_by_second);
        self.answered
            .add(other.answered.records, other.answered.bytes);
        self.answered_by_second.merge(&other.answered_by_second);
        self.intended += other.intended;
        self.unanswered += other.unanswered;
        self.refused += other.refused;
        self.resent += other.resent;
        self.errors.merge(other.errors);
        self.acknowledged.extend(other.acknowledged);
        self.batches.extend(other.batches);
    }
}

/// What a consumer, or a group of them, has read.
pub struct Read {
    /// The partitions that it had to read to their ends.
    pub partitions: Vec<i32>,
    /// It did so; otherwise the rest is unread.
    pub finished: bool,
    /// What it found there.
    pub verifier: Verifier,
}

/// What the consumers of a thread have counted.
pub struct Consumed {
    /// From the intended send time to the arrival at the consumer.
    pub end_to_end: Latencies,
    /// The same by second.
    pub end_to_end_by_second: Timeline,
    /// Records fetched in the measured window.
    pub fetched: Volume,
    /// The same by second.
    pub fetched_by_second: Volumes,
    /// Fetches answered in the measured window.
    pub fetches: u64,
    /// What those fetched that read a backlog beside the others.
    pub backfilled: Volume,
    /// How often members were given partitions.
    pub rebalances: u64,
    /// How often members committed.
    pub commits: u64,
    /// What each consumer verified.
    pub verified: Vec<Read>,
    /// Fetches refused, and connections lost.
    pub errors: Errors,
    /// What is shown while the run goes on.
    pub live: Option<Arc<Live>>,
}

impl Consumed {
    /// Nothing yet.
    pub fn new() -> Consumed {
        Consumed {
            end_to_end: Latencies::new(),
            end_to_end_by_second: Timeline::default(),
            fetched: Volume::default(),
            fetched_by_second: Volumes::default(),
            fetches: 0,
            backfilled: Volume::default(),
            rebalances: 0,
            commits: 0,
            verified: Vec::new(),
            errors: Errors::default(),
            live: None,
        }
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: Consumed) {
        self.end_to_end.merge(&other.end_to_end);
        self.end_to_end_by_second.merge(other.end_to_end_by_second);
        self.fetched.add(other.fetched.records, other.fetched.bytes);
        self.fetched_by_second.merge(&other.fetched_by_second);
        self.fetches += other.fetches;
        self.backfilled
            .add(other.backfilled.records, other.backfilled.bytes);
        self.rebalances += other.rebalances;
        self.commits += other.commits;
        self.verified.extend(other.verified);
        self.errors.merge(other.errors);
    }
}
