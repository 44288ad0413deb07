//! Forgetting on time: looks at the shard's partitions again and again, and lets those logs begin
//! later whose oldest segments their topic's limits no longer keep. Deciding is storage's, and the
//! files go when the new start is durable (S6); nobody waits for it.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    rc::Rc,
    time::Duration,
};

use spate_net::reactor::{self, Notify};
use spate_storage::{
    retention::{Retention, Retired},
    types::{TopicId, TopicPartition},
};

use crate::{image::Image, shard::logs::Logs};

/// Partitions looked at before other tasks of the shard get a turn: some 100 us of work.
const PARTITIONS_PER_TURN: usize = 128;

/// A longer interval is as good as none, and a timer's reach is not endless.
const INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One shard's retention.
pub struct Retainer {
    logs: Rc<Logs>,
    interval: Duration,
    asked: Notify,
    wants_all: Cell<bool>,
    /// Topics whose settings changed.
    changed: RefCell<HashSet<TopicId>>,
}

impl Retainer {
    /// Looks every `interval`, once it runs.
    pub fn new(logs: Rc<Logs>, interval: Duration) -> Retainer {
        Retainer {
            logs,
            interval: interval.min(INTERVAL_MAX),
            asked: Notify::new(),
            wants_all: Cell::new(false),
            changed: RefCell::default(),
        }
    }

    /// Looks at every partition soon: for a disk that runs full.
    pub fn retain_now(&self) {
        self.wants_all.set(true);
        self.asked.notify_one();
    }

    /// Looks soon at topics whose settings changed: Kafka's users wait for the next round, and so
    /// need not ours.
    pub fn retain_topics(&self, changed: impl IntoIterator<Item = TopicId>) {
        self.changed.borrow_mut().extend(changed);
        if !self.changed.borrow().is_empty() {
            self.asked.notify_one();
        }
    }

    /// Looks again and again.
    pub async fn run(self: Rc<Self>) {
        let mut next = reactor::now() + self.interval;
        loop {
            let patience = next.saturating_duration_since(reactor::now());
            let is_due = reactor::timeout(patience, self.asked.notified())
                .await
                .is_err();
            let changed = self.changed.take();
            if self.wants_all.take() || is_due {
                self.look(|_| true).await;
                next = reactor::now() + self.interval;
            } else if !changed.is_empty() {
                self.look(|tp| changed.contains(&tp.topic)).await;
            }
        }
    }

    async fn look(&self, is_meant: impl Fn(&TopicPartition) -> bool) {
        let mut retired = Retired::default();
        let mut partitions = self.logs.store().partitions();
        partitions.retain(is_meant);
        for some in partitions.chunks(PARTITIONS_PER_TURN) {
            // Settings may change, and topics go, between two turns.
            let image = self.logs.image();
            for target in some {
                let Some(limits) = limits(&image, target.topic) else {
                    continue;
                };
                let more = self.logs.store().retain(*target, limits);
                retired.segments += more.segments;
                retired.bytes += more.bytes;
            }
            reactor::yield_now().await;
        }
        if retired.segments > 0 {
            let Retired { segments, bytes } = retired;
            tracing::info!(segments, bytes, "retention forgets old segments");
        }
    }
}

/// What a topic keeps; none if nothing of it goes by age or size.
fn limits(image: &Image, topic: TopicId) -> Option<Retention> {
    let config = &image.topic_by_id(topic)?.config;
    let limits = Retention {
        age_ms: config.retention_ms,
        bytes: config.retention_bytes,
    };
    (config.cleanup.delete && limits != Retention::default()).then_some(limits)
}
