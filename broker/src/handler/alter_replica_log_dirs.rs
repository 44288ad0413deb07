//! AlterReplicaLogDirs: there is one data directory, where every partition is already.

use spate_net::kafka::{
    KafkaString,
    api::alter_replica_log_dirs::{
        AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
        AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
    },
    error::ErrorCode,
};
use spate_storage::types::PartitionIndex;

use crate::{config::Config, image::Image};

/// Answers in the order of the request.
pub fn answer(
    asked: &AlterReplicaLogDirsRequest,
    image: &Image,
    config: &Config,
) -> AlterReplicaLogDirsResponse {
    let ours = config.data_dir.display().to_string();
    let mut results = Vec::new();
    for dir in &asked.dirs {
        let is_ours = dir.path.as_str().trim_end_matches('/') == ours;
        for topic in &dir.topics {
            let partitions = topic.partitions.iter().map(|index| {
                let known = image.topic(topic.name.as_str());
                let known = known.is_some_and(|topic| topic.has_partition(PartitionIndex(*index)));
                let code = match (is_ours, known) {
                    (false, _) => ErrorCode::LogDirNotFound,
                    (true, false) => ErrorCode::UnknownTopicOrPartition,
                    (true, true) => ErrorCode::None,
                };
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(code.code())
            });
            let result = AlterReplicaLogDirTopicResult::default()
                .with_topic_name(KafkaString::clone(&topic.name))
                .with_partitions(partitions.collect());
            results.push(result);
        }
    }
    AlterReplicaLogDirsResponse::default().with_results(results)
}
