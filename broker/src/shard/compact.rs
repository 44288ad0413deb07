//! Keeping this shard's compacted topics compact: again and again the log that wants it most, as
//! Kafka's cleaner chooses, one at a time. The work is the housekeeper's; here is only who is next.

use std::{rc::Rc, sync::Arc, time::Duration};

use spate_net::reactor;
use spate_storage::{
    compaction::CompactionRules,
    store::CompactError,
    types::{PartitionIndex, TopicPartition},
};

use crate::{
    config::{Config, cleaner::CleanerConfig, topic::TopicConfig},
    disk::wall_ms,
    image::{TopicImage, shard_of},
    shard::logs::Logs,
};

/// Partitions looked at before other tasks of the shard get a turn.
const LOOKS_PER_TURN: usize = 64;
/// The least that is slept between two looks at all partitions, whatever the setting says.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// Compacts for as long as the shard runs. Dropped, it gives up the round under way.
pub async fn keep_compact(logs: Rc<Logs>, config: Arc<Config>) {
    if !config.cleaner.is_enabled {
        return;
    }
    loop {
        let cleaner = CleanerConfig::of(logs.image().configs.broker.effective());
        let Some((tp, rules)) = filthiest(&logs, &cleaner, config.shards).await else {
            reactor::sleep(cleaner.backoff.max(BACKOFF_MIN)).await;
            continue;
        };
        match logs.store().compact(tp, &rules).await {
            Ok(done) => tracing::debug!(%tp, ?done, "compacted"),
            Err(CompactError::Nothing { .. } | CompactError::Lost(_)) => {}
            Err(error @ CompactError::Failed { .. }) => {
                // A deleted topic's round ends so, too: nobody has to look then.
                if logs.image().topic_by_id(tp.topic).is_some() {
                    tracing::warn!(%error, "compaction gave up; the log is as it was");
                }
                reactor::sleep(cleaner.backoff.max(BACKOFF_MIN)).await;
            }
            Err(CompactError::Busy) => reactor::sleep(cleaner.backoff.max(BACKOFF_MIN)).await,
        }
    }
}

/// The log with the largest share of dirty bytes among those that want compaction: beyond their
/// ratio, or with records older than their bound.
async fn filthiest(
    logs: &Logs,
    cleaner: &CleanerConfig,
    shards: u16,
) -> Option<(TopicPartition, CompactionRules)> {
    let image = logs.image();
    let mut best: Option<(f64, TopicPartition, CompactionRules)> = None;
    let mut looks = 0;
    let compacted: Vec<Arc<TopicImage>> = image
        .topics()
        .filter(|topic| topic.config.cleanup.compact)
        .map(Arc::clone)
        .collect();
    for topic in compacted {
        let rules = rules_of(&topic.config, cleaner, shards);
        for partition in (0..topic.partitions).map(PartitionIndex) {
            let tp = TopicPartition {
                topic: topic.id,
                partition,
            };
            if shard_of(tp, shards) != logs.me() {
                continue;
            }
            looks += 1;
            if looks % LOOKS_PER_TURN == 0 {
                reactor::yield_now().await;
            }
            let Some(dirtiness) = logs.store().dirtiness(tp, &rules) else {
                continue;
            };
            let ratio = dirtiness.ratio();
            let is_wanted = ratio > rules.min_dirty_ratio || is_overdue(logs, tp, &rules).await;
            if is_wanted && best.as_ref().is_none_or(|(most, ..)| ratio > *most) {
                best = Some((ratio, tp, rules));
            }
        }
    }
    best.map(|(_, tp, rules)| (tp, rules))
}

async fn is_overdue(logs: &Logs, tp: TopicPartition, rules: &CompactionRules) -> bool {
    if rules.max_lag_ms == i64::MAX {
        return false;
    }
    let oldest_ms = logs.store().oldest_dirty_ms(tp).await;
    let bound_ms = wall_ms().saturating_sub(rules.max_lag_ms);
    oldest_ms.is_some_and(|ms| ms > 0 && ms < bound_ms)
}

fn rules_of(topic: &TopicConfig, cleaner: &CleanerConfig, shards: u16) -> CompactionRules {
    CompactionRules {
        min_dirty_ratio: topic.min_cleanable_dirty_ratio,
        min_lag_ms: topic.min_compaction_lag_ms,
        max_lag_ms: topic.max_compaction_lag_ms,
        delete_retention_ms: topic.delete_retention_ms,
        segment_bytes: topic.segment_bytes,
        key_memory_bytes: cleaner.key_memory_bytes(shards) as usize,
        key_load: cleaner.buffer_load,
        bytes_per_second: cleaner.bytes_per_second as f64,
    }
}
