//! A small consumer without a group: partitions and offsets in, batches of records out. One fetch
//! per leader is under way, so that a quiet broker does not hold up a busy one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::cluster::{Cluster, Leader, RETRY_PAUSE};
use super::error::ClientError;
use crate::kafka::api::TopicRef;
use crate::kafka::api::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, IDS_FROM, PartitionResponse, RANGE,
    READ_UNCOMMITTED,
};
use crate::kafka::error::ErrorCode;
use crate::kafka::record_batch::{Batches, DecompressionLimits, Record, Records, Scratch};
use crate::reactor::{now, sleep};

/// How to fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetcherSettings {
    /// How long a broker waits for `min_bytes`.
    pub max_wait: Duration,
    /// How many bytes are worth an answer.
    pub min_bytes: i32,
    /// How many bytes an answer may have.
    pub max_bytes: i32,
    /// How many of them from one partition.
    pub partition_max_bytes: i32,
    /// Whether only decided transactions are read.
    pub isolation_level: i8,
    /// How far a batch may grow.
    pub limits: DecompressionLimits,
}

impl Default for FetcherSettings {
    fn default() -> FetcherSettings {
        FetcherSettings {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            isolation_level: READ_UNCOMMITTED,
            limits: DecompressionLimits {
                output_bytes: 1 << 30,
                ..Default::default()
            },
        }
    }
}

/// What came of one partition.
#[derive(Debug)]
pub struct Fetched {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition.
    pub partition: i32,
    /// Up to where it is committed.
    pub high_watermark: i64,
    /// Where it starts.
    pub log_start_offset: i64,
    /// From where on it was asked for.
    from: i64,
    batches: Vec<Records>,
}

impl Fetched {
    /// The records, from the offset asked for on, without the brokers' own markers.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, ClientError>> {
        let batches = self.batches.iter().filter(|batch| !batch.is_control());
        let what = || format!("reading {}-{}", self.topic, self.partition);
        let records = batches.flat_map(Records::iter);
        records
            .map(move |record| {
                record.map_err(|source| ClientError::Batch {
                    what: what(),
                    source,
                })
            })
            .filter(|record| {
                record
                    .as_ref()
                    .map_or(true, |record| record.offset >= self.from)
            })
    }
}

#[derive(Debug)]
struct Position {
    topic: Rc<str>,
    partition: i32,
    offset: i64,
    /// It is part of a fetch that is under way.
    is_asked: bool,
}

type Answer = (Vec<usize>, Result<FetchResponse, ClientError>);

/// Reads partitions from given offsets on.
pub struct Fetcher {
    cluster: Rc<Cluster>,
    settings: FetcherSettings,
    positions: Vec<Position>,
    under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Answer>>>>,
    scratch: Scratch,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("positions", &self.positions)
            .finish()
    }
}

impl Fetcher {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(cluster: Rc<Cluster>, settings: FetcherSettings) -> Fetcher {
        Fetcher {
            cluster,
            settings,
            positions: Vec::new(),
            under_way: FuturesUnordered::new(),
            scratch: Scratch::new(),
        }
    }

    /// Also reads this partition, from `offset` on.
    pub fn add(&mut self, topic: &str, partition: i32, offset: i64) {
        let known = self
            .positions
            .iter()
            .find(|position| *position.topic == *topic);
        let topic = known.map_or_else(|| topic.into(), |position| Rc::clone(&position.topic));
        self.positions.push(Position {
            topic,
            partition,
            offset,
            is_asked: false,
        });
    }

    /// The offset that is read next.
    #[must_use]
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let mut positions = self.positions.iter();
        let found = positions.find(|each| *each.topic == *topic && each.partition == partition);
        found.map(|position| position.offset)
    }

    /// What came next, of one leader's partitions; nothing if nothing came within `max_wait`.
    /// What can be tried again is, for as long as the cluster's `retry_for` says.
    pub async fn poll(&mut self) -> Result<Vec<Fetched>, ClientError> {
        let deadline = now() + self.cluster.settings().retry_for;
        loop {
            match self.attempt().await {
                Err(error) if error.is_retriable() && now() < deadline => {
                    tracing::debug!(%error, "fetching again");
                    for position in &self.positions {
                        self.cluster.forget_topic(&position.topic);
                    }
                    sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&mut self) -> Result<Vec<Fetched>, ClientError> {
        self.ask().await?;
        let Some((asked, answer)) = self.under_way.next().await else {
            return Ok(Vec::new());
        };
        for index in &asked {
            self.positions[*index].is_asked = false;
        }
        let answer = answer?;
        if answer.error != ErrorCode::None {
            return Err(ClientError::refused(
                "fetching".to_owned(),
                answer.error,
                None,
            ));
        }
        self.take_in(&asked, answer)
    }

    /// Starts a fetch at each leader that has partitions not asked for.
    async fn ask(&mut self) -> Result<(), ClientError> {
        let mut by_leader: HashMap<i32, (Leader, Vec<usize>)> = HashMap::new();
        for (index, position) in self.positions.iter().enumerate() {
            if position.is_asked {
                continue;
            }
            let leader = self
                .cluster
                .leader(&position.topic, position.partition)
                .await?;
            let (_, asked) = by_leader
                .entry(leader.node_id)
                .or_insert((leader, Vec::new()));
            asked.push(index);
        }
        for (leader, asked) in by_leader.into_values() {
            let (version, request) = self.request(&leader, &asked).await?;
            for index in &asked {
                self.positions[*index].is_asked = true;
            }
            let connection = leader.connection;
            self.under_way.push(Box::pin(async move {
                let answer = connection.call_at(version, &request).await;
                (asked, answer)
            }));
        }
        Ok(())
    }

    async fn request(
        &self,
        leader: &Leader,
        asked: &[usize],
    ) -> Result<(i16, FetchRequest), ClientError> {
        let mut version = leader.connection.version_of(&RANGE)?;
        let mut leaders = Vec::with_capacity(asked.len());
        for index in asked {
            let position = &self.positions[*index];
            let leader = self
                .cluster
                .leader(&position.topic, position.partition)
                .await?;
            // One topic without a known id has all of them named.
            version = leader.topic_ref(&position.topic, version, IDS_FROM).1;
            leaders.push(leader);
        }
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (index, leader) in asked.iter().zip(&leaders) {
            let position = &self.positions[*index];
            let (topic, _) = leader.topic_ref(&position.topic, version, IDS_FROM);
            let partition = FetchPartition {
                index: position.partition,
                current_leader_epoch: leader.epoch,
                fetch_offset: position.offset,
                max_bytes: self.settings.partition_max_bytes,
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|each| each.topic == topic) {
                Some(each) => each.partitions.push(partition),
                None => topics.push(FetchTopic {
                    topic,
                    partitions: vec![partition],
                }),
            }
        }
        let request = FetchRequest {
            max_wait_ms: self.settings.max_wait.as_millis() as i32,
            min_bytes: self.settings.min_bytes,
            max_bytes: self.settings.max_bytes,
            isolation_level: self.settings.isolation_level,
            topics,
            ..FetchRequest::default()
        };
        Ok((version, request))
    }

    fn take_in(
        &mut self,
        asked: &[usize],
        answer: FetchResponse,
    ) -> Result<Vec<Fetched>, ClientError> {
        let (mut all, mut failed) = (Vec::new(), None);
        for topic in answer.topics {
            for partition in topic.partitions {
                let names = |index: &&usize| {
                    let position = &self.positions[**index];
                    position.partition == partition.index && self.is_named(position, &topic.topic)
                };
                if let Some(index) = asked.iter().find(names) {
                    match self.take_partition(*index, partition) {
                        Ok(fetched) => all.extend(fetched),
                        Err(error) => failed = Some(error),
                    }
                }
            }
        }
        // What has come is handed over first: the partition that failed will fail again.
        match failed {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
    }

    fn is_named(&self, position: &Position, topic: &TopicRef) -> bool {
        match topic {
            TopicRef::Name(name) => name.as_str() == &*position.topic,
            TopicRef::Id(id) => self.cluster.known_id(&position.topic) == Some(*id),
        }
    }

    fn take_partition(
        &mut self,
        index: usize,
        answer: PartitionResponse,
    ) -> Result<Option<Fetched>, ClientError> {
        let Fetcher {
            settings,
            positions,
            scratch,
            ..
        } = self;
        let position = &mut positions[index];
        let what = || format!("fetching {}-{}", position.topic, position.partition);
        if answer.error != ErrorCode::None {
            return Err(ClientError::refused(what(), answer.error, None));
        }
        let mut batches = Vec::new();
        for batch in answer.records.into_iter().flat_map(Batches::new) {
            let open = |batch: Bytes| Records::open(&batch, &settings.limits, scratch);
            let opened = batch.and_then(open);
            batches.push(opened.map_err(|source| ClientError::Batch {
                what: what(),
                source,
            })?);
        }
        let Some(last) = batches.last() else {
            return Ok(None);
        };
        let from = position.offset;
        position.offset = last.last_offset() + 1;
        Ok(Some(Fetched {
            topic: Rc::clone(&position.topic),
            partition: position.partition,
            high_watermark: answer.high_watermark,
            log_start_offset: answer.log_start_offset,
            from,
            batches,
        }))
    }
}
