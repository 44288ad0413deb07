//! Where reading begins and ends in each partition.

use std::collections::BTreeMap;

use spate_net::{
    client::{ClientError, Cluster},
    kafka::api::list_offsets::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP},
};

use super::Start;

/// Where to begin in one partition.
pub async fn start(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    start: Start,
) -> Result<i64, ClientError> {
    let at = async |timestamp| cluster.offset_at(topic, partition, timestamp).await;
    let end = async || Ok(at(LATEST_TIMESTAMP).await?.unwrap_or(0));
    match start {
        Start::Offset(offset) => Ok(offset),
        Start::Beginning => Ok(at(EARLIEST_TIMESTAMP).await?.unwrap_or(0)),
        Start::End => end().await,
        Start::BeforeEnd(count) => {
            let first = at(EARLIEST_TIMESTAMP).await?.unwrap_or(0);
            Ok(end().await?.saturating_sub(count).max(first))
        }
        // No record that late: the next one to come is the first.
        Start::Timestamp(timestamp) => match at(timestamp).await? {
            Some(offset) => Ok(offset),
            None => end().await,
        },
    }
}

/// Where partitions end now.
pub async fn ends(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let mut ends = BTreeMap::new();
    for partition in partitions {
        let end = cluster
            .offset_at(topic, *partition, LATEST_TIMESTAMP)
            .await?;
        ends.insert(*partition, end.unwrap_or(0));
    }
    Ok(ends)
}
