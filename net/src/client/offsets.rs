//! Where a partition starts, ends, or is at some time.

use super::cluster::{Cluster, RETRY_PAUSE};
use super::error::ClientError;
use crate::kafka::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use crate::kafka::error::ErrorCode;
use crate::reactor::{now, sleep};

impl Cluster {
    /// The offset of the first record that is not older than `timestamp`, or for one of the
    /// special timestamps of [`crate::kafka::api::list_offsets`]; none if there is no such record.
    pub async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, ClientError> {
        let deadline = now() + self.settings().retry_for;
        loop {
            match self.ask_offset(topic, partition, timestamp).await {
                Err(error) if error.is_retriable() && now() < deadline => {
                    self.forget_topic(topic);
                    sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn ask_offset(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<Option<i64>, ClientError> {
        let leader = self.leader(topic, partition).await?;
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp);
        let request = ListOffsetsRequest::default()
            .with_replica_id(-1)
            .with_topics(vec![
                ListOffsetsTopic::default()
                    .with_name(topic.to_owned().into())
                    .with_partitions(vec![asked]),
            ]);
        let response = leader.connection.call(&request).await?;
        let mut answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        let what = || format!("offset {timestamp} of {topic}-{partition}");
        let Some(answer) = answers.find(|answer| answer.partition_index == partition) else {
            let code = ErrorCode::UnknownServerError;
            return Err(ClientError::refused(
                what(),
                code,
                Some("it is missing in the answer"),
            ));
        };
        match ErrorCode::from(answer.error_code) {
            ErrorCode::None => Ok((answer.offset >= 0).then_some(answer.offset)),
            code => Err(ClientError::refused(what(), code, None)),
        }
    }
}
