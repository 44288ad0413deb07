//! `/metrics`: everything counted, under Kafka's usual names where there is one (those that the JMX
//! exporter's rules for Kafka give, and kafka_exporter's for partitions and groups), the rest under
//! `spate_`.
//!
//! The number of series is bounded: some tens for each shard, some thirty for each API that was
//! ever asked, and a handful for each of at most `metrics.partitions.max` partitions, and as many
//! offsets of groups.

use std::{sync::Arc, time::Duration};

use spate_storage::space::Space;
use tokio::{
    sync::{Mutex, oneshot},
    time::timeout,
};

use super::{
    exposition::{Exposition, Labels},
    health::Health,
    process,
};
use crate::{
    config::{Config, memory::MemoryPlan},
    control::survey::{Survey, SurveySender},
    stats::{
        NodeStats, SHARD_STATS,
        latency::{Times, apis},
    },
};

mod groups;
mod partitions;

/// How long the shards may take to tell of their partitions; a scraper waits ten seconds.
const SURVEY_PATIENCE: Duration = Duration::from_secs(3);

/// Shard statistics that go up and down; all others only grow.
const GAUGES: &[&str] = &[
    "connections_open",
    "fetches_waiting",
    "watches_armed",
    "fetch_sessions",
    "receive_bytes",
    "receive_peak_bytes",
    "fetch_bytes",
    "fetch_peak_bytes",
    "open_block_bytes",
    "cache_bytes",
    "partitions",
];

/// Shard statistics that are shown in another form.
const ELSEWHERE: &[&str] = &["heard_ms", "parked_us", "load_permille"];

/// What the listener shows.
pub struct Observed {
    /// Whether all is well.
    pub health: Health,
    stats: NodeStats,
    config: Arc<Config>,
    surveys: SurveySender,
    space: Space,
    /// One scrape at a time: others wait for it.
    turn: Mutex<()>,
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be written: {0}; please report this")]
pub struct MetricsError(#[from] prometheus::Error);

impl Observed {
    /// Of a node whose shards all serve.
    #[must_use]
    pub fn new(
        health: Health,
        stats: NodeStats,
        config: Arc<Config>,
        surveys: SurveySender,
        space: Space,
    ) -> Observed {
        Observed {
            health,
            stats,
            config,
            surveys,
            space,
            turn: Mutex::new(()),
        }
    }

    /// All metrics now.
    ///
    /// # Errors
    /// [`MetricsError`]
    pub async fn metrics(&self) -> Result<String, MetricsError> {
        let _turn = self.turn.lock().await;
        let survey = self.survey().await;
        let mut out = Exposition::default();
        self.add_node(&mut out);
        self.add_shards(&mut out);
        self.add_apis(&mut out);
        self.add_memory_plan(&mut out);
        process::add(&mut out);
        out.gauge(
            "spate_metrics_survey_complete",
            "Whether all shards told of their partitions in time; if not, those are left out.",
            [(vec![], f64::from(u8::from(survey.is_some())))],
        );
        if let Some(survey) = survey {
            let limit = self.config.metrics_partitions_max as usize;
            partitions::add(&mut out, &survey, self.config.node_id, limit);
            groups::add(&mut out, &survey, limit);
        }
        Ok(out.text()?)
    }

    async fn survey(&self) -> Option<Survey> {
        let (reply, survey) = oneshot::channel();
        timeout(SURVEY_PATIENCE, async {
            self.surveys.send(reply).await.ok()?;
            survey.await.ok()
        })
        .await
        .ok()
        .flatten()
    }

    fn add_node(&self, out: &mut Exposition) {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        out.gauge(
            "spate_build_info",
            "The version of the broker.",
            [(version, 1.0)],
        );
        let fenced = f64::from(u8::from(self.health.is_fenced()));
        let disk = self.space.file_system();
        for (name, help, value) in [
            (
                "spate_uptime_seconds",
                "Time since the start.",
                self.health.uptime().as_secs_f64(),
            ),
            (
                "spate_disk_fenced",
                "Whether a failed write has ended all writing.",
                fenced,
            ),
            (
                "spate_disk_size_bytes",
                "Size of the data directory's file system.",
                disk.total_bytes as f64,
            ),
            (
                "spate_disk_free_bytes",
                "Bytes of the data directory's file system that are free to this process.",
                disk.usable_bytes as f64,
            ),
            ("kafka_brokers", "Nodes of the cluster.", 1.0),
            (
                "kafka_server_kafkaserver_brokerstate",
                "3: running, 6: shutting down.",
                if self.health.is_ending() { 6.0 } else { 3.0 },
            ),
            (
                "kafka_controller_kafkacontroller_activecontrollercount",
                "Controllers on this node.",
                1.0,
            ),
        ] {
            out.gauge(name, help, [(vec![], value)]);
        }
    }

    fn add_shards(&self, out: &mut Exposition) {
        let shards = self.stats.values();
        for (number, (name, help)) in SHARD_STATS.iter().enumerate() {
            if ELSEWHERE.contains(name) {
                continue;
            }
            let sample =
                |(shard, values): (usize, &Vec<u64>)| (of_shard(shard), values[number] as f64);
            let samples = shards.iter().enumerate().map(sample);
            if GAUGES.contains(name) {
                out.gauge(&format!("spate_shard_{name}"), help.trim(), samples);
            } else {
                out.counter(&format!("spate_shard_{name}_total"), help.trim(), samples);
            }
        }
        let loads = self.stats.loads();
        let busy = loads.iter().enumerate();
        out.counter(
            "spate_shard_busy_seconds_total",
            "Time in which the shard was not waiting for anything.",
            busy.map(|(shard, load)| (of_shard(shard), load.busy.as_secs_f64())),
        );
        out.gauge(
            "spate_shard_load_ratio",
            "Share of the last second in which the shard was busy.",
            loads
                .iter()
                .enumerate()
                .map(|(shard, load)| (of_shard(shard), load.ratio)),
        );
        let sum = |name: &str| {
            let number = SHARD_STATS.iter().position(|(known, _)| *known == name);
            let values = shards
                .iter()
                .map(|values| number.map_or(0, |number| values[number]));
            values.sum::<u64>() as f64
        };
        for (name, help, statistic) in TOTALS {
            let name = format!("kafka_server_brokertopicmetrics_{name}_total");
            out.counter(&name, help, [(vec![], sum(statistic))]);
        }
    }

    fn add_apis(&self, out: &mut Exposition) {
        let mut asked = Vec::new();
        for api in apis() {
            let mut times = Times::new();
            let (mut requests, mut request_bytes, mut response_bytes) = (0, 0, 0);
            for counters in self.stats.apis().map(|shard| shard.of(api)) {
                counters.add_times(&mut times);
                requests += counters.requests.get();
                request_bytes += counters.request_bytes.get();
                response_bytes += counters.response_bytes.get();
            }
            if requests > 0 {
                asked.push((
                    format!("{api:?}"),
                    times,
                    requests,
                    request_bytes,
                    response_bytes,
                ));
            }
        }
        let of_request = |name: &String| vec![("request", name.clone())];
        out.counter(
            "kafka_network_requestmetrics_requests_total",
            "Requests.",
            asked
                .iter()
                .map(|(name, _, count, ..)| (of_request(name), *count as f64)),
        );
        out.counter(
            "spate_request_bytes_total",
            "Bytes of requests.",
            asked
                .iter()
                .map(|(name, .., bytes, _)| (of_request(name), *bytes as f64)),
        );
        out.counter(
            "spate_response_bytes_total",
            "Bytes of answers.",
            asked
                .iter()
                .map(|(name, .., bytes)| (of_request(name), *bytes as f64)),
        );
        out.summary_ms(
            "kafka_network_requestmetrics_totaltimems",
            "Milliseconds from a request to its answer, by quantile since the start.",
            asked
                .iter()
                .map(|(name, times, ..)| (of_request(name), times)),
        );
        out.histogram(
            "spate_request_seconds",
            "Time from a request to its answer; fetches wait for data in it.",
            asked
                .iter()
                .map(|(name, times, ..)| (of_request(name), times)),
        );
    }

    fn add_memory_plan(&self, out: &mut Exposition) {
        let plan = MemoryPlan::of(&self.config);
        let sample = |budget: &crate::config::memory::Budget| {
            (
                vec![("budget", budget.name.to_owned())],
                budget.bytes as f64,
            )
        };
        out.gauge(
            "spate_memory_plan_bytes",
            "The most that each shard may take, by purpose.",
            plan.shard.iter().map(sample),
        );
    }
}

/// Kafka's totals over all topics: their name, their help, and the statistic that they sum.
const TOTALS: &[(&str, &str, &str)] = &[
    ("messagesin", "Records taken from producers.", "records_in"),
    (
        "bytesin",
        "Bytes of batches taken from producers.",
        "batch_bytes_in",
    ),
    (
        "bytesout",
        "Bytes of batches given to readers.",
        "batch_bytes_out",
    ),
    (
        "totalproducerequests",
        "Produce requests.",
        "produce_requests",
    ),
    ("totalfetchrequests", "Fetch requests.", "fetch_requests"),
    (
        "failedproducerequests",
        "Batches refused.",
        "batches_refused",
    ),
    (
        "failedfetchrequests",
        "Partitions that a fetch was refused.",
        "fetches_refused",
    ),
];

fn of_shard(shard: usize) -> Labels {
    vec![("shard", shard.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_statistic_is_there() {
        let known = |name: &&str| SHARD_STATS.iter().any(|(known, _)| known == name);
        let totals: Vec<&str> = TOTALS.iter().map(|(_, _, statistic)| *statistic).collect();
        for name in GAUGES.iter().chain(ELSEWHERE).chain(&totals) {
            assert!(known(name), "{name}");
        }
    }
}
