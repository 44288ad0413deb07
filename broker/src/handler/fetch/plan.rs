//! One fetch from what is wanted to what is answered, partition by partition in the client's order.

use spate_net::kafka::{
    api::fetch::{EpochEndOffset, PartitionResponse},
    error::ErrorCode,
};
use spate_storage::types::{LeaderEpoch, TopicPartition};

use crate::{
    handler::locate,
    image::Image,
    shard::{
        message::ReadItem,
        outcome::{Probed, ReadOutcome},
        route::Router,
        session::Wanted,
    },
};

/// All partitions of one fetch.
pub struct Plan {
    /// In the client's order.
    pub steps: Vec<Step>,
}

/// One partition of it.
pub struct Step {
    /// What the client said.
    pub wanted: Wanted,
    /// Where that is, or why it cannot be read.
    pub target: Result<TopicPartition, ErrorCode>,
    /// What its owner said last of what is there.
    pub probed: Option<Probed>,
}

impl Plan {
    /// Locates everything that is wanted.
    pub fn new(router: &Router, wanted: Vec<Wanted>) -> Plan {
        let image = router.image();
        let steps = wanted
            .into_iter()
            .map(|wanted| {
                let target = locate(&image, &wanted);
                Step {
                    wanted,
                    target,
                    probed: None,
                }
            })
            .collect();
        Plan { steps }
    }

    /// Bytes that a read would find now.
    pub fn bytes(&self) -> usize {
        self.steps
            .iter()
            .filter_map(|step| Some(step.probed.as_ref()?.bytes))
            .sum()
    }

    /// Whether the client must hear of something at once: an error or a diverging epoch.
    pub fn is_urgent(&self) -> bool {
        self.steps.iter().any(|step| {
            step.target.is_err()
                || step
                    .probed
                    .as_ref()
                    .is_some_and(|probed| probed.failure.is_some() || probed.diverging.is_some())
        })
    }

    /// The answer's partitions; `outcomes` are of those that were read, by place.
    pub fn answer(
        self,
        outcomes: Vec<(usize, ReadOutcome)>,
        committed_only: bool,
    ) -> Vec<(Wanted, PartitionResponse)> {
        let mut read: Vec<Option<ReadOutcome>> = self.steps.iter().map(|_| None).collect();
        for (place, outcome) in outcomes {
            read[place] = Some(outcome);
        }
        self.steps
            .into_iter()
            .zip(read)
            .map(|(step, read)| {
                let mut partition = step.answer(read);
                if committed_only && partition.error == ErrorCode::None {
                    // No transactions yet: none was aborted, and all of the log is decided.
                    partition.aborted_transactions = Some(Vec::new());
                }
                (step.wanted, partition)
            })
            .collect()
    }
}

impl Step {
    /// What to read of it, up to `max_bytes`.
    pub fn item(&self, target: TopicPartition, max_bytes: usize, at_least_one: bool) -> ReadItem {
        let epoch = self.wanted.last_fetched_epoch;
        ReadItem {
            target,
            from: self.wanted.from,
            max_bytes,
            at_least_one,
            last_fetched_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
        }
    }

    /// The bytes that the client takes of it at most.
    pub fn max_bytes(&self) -> usize {
        usize::try_from(self.wanted.max_bytes).unwrap_or(0)
    }

    fn answer(&self, read: Option<ReadOutcome>) -> PartitionResponse {
        let index = self.wanted.partition;
        let (failure, extent, slices) = match (&self.target, read, &self.probed) {
            (Err(code), _, _) => return PartitionResponse::refused(index, *code),
            (Ok(_), Some(read), _) => (read.failure, read.extent, read.slices),
            (Ok(_), None, Some(probed)) => (probed.failure.clone(), probed.extent, Vec::new()),
            (Ok(_), None, None) => unreachable!("every partition that was found is probed"),
        };
        if let Some(refusal) = failure {
            let code = locate::told(&self.wanted.topic, refusal.code);
            return PartitionResponse::empty(index, code);
        }
        let diverging = self.probed.as_ref().and_then(|probed| probed.diverging);
        PartitionResponse {
            high_watermark: extent.high_watermark.0,
            last_stable_offset: extent.high_watermark.0,
            log_start_offset: extent.log_start.0,
            records: slices,
            diverging_epoch: diverging.map(|(epoch, end)| EpochEndOffset {
                epoch: epoch.0,
                end_offset: end.0,
            }),
            ..PartitionResponse::empty(index, ErrorCode::None)
        }
    }
}

fn locate(image: &Image, wanted: &Wanted) -> Result<TopicPartition, ErrorCode> {
    let topic = locate::topic(image, &wanted.topic)?;
    // Here, as in Kafka, every negative epoch is that of a client that does not care.
    let epoch = wanted.leader_epoch.max(locate::ANY_EPOCH);
    locate::partition(topic, wanted.partition, epoch)
}
