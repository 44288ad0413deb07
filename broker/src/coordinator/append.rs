//! Writing to a partition of `__consumer_offsets`. A write takes its place in the log when it is
//! asked for, and takes effect when it is durable, in that order.

use std::rc::Rc;

use spate_net::kafka::{
    error::ErrorCode,
    record_batch::{BatchBuilder, NewRecord},
};
use spate_storage::types::TopicPartition;

use super::{
    Coordinator, GroupId, OFFSETS_TOPIC, Place,
    classic::{AfterStore, Event},
    log::{GroupValue, Key, LogRecord},
    partition::Turn,
};
use crate::{
    disk::wall_ms,
    shard::{
        logs::Pending,
        message::{Answer, AppendItem, Ask},
    },
};

use spate_net::reactor;

/// A write that is on its way.
pub(super) struct Write {
    place: Place,
    turn: Turn,
    outcome: Result<Pending, ErrorCode>,
}

impl Coordinator {
    /// Puts records into the partition's log, in one batch, behind all commits that were taken
    /// before.
    pub(super) fn append(self: &Rc<Self>, place: &Place, records: &[LogRecord]) -> Write {
        self.write_gathered(place);
        let timestamp = wall_ms();
        let mut builder = BatchBuilder::new(self.settings.codec);
        for record in records {
            builder.append(&NewRecord {
                timestamp,
                key: Some(&record.key),
                value: record.value.as_deref(),
                headers: &[],
            });
        }
        self.write(place, &mut builder)
    }

    /// Puts the records of a builder into the partition's log.
    pub(super) fn write(&self, place: &Place, builder: &mut BatchBuilder) -> Write {
        Write {
            place: place.clone(),
            turn: place.groups.begin(),
            outcome: self.send(place, builder),
        }
    }

    fn send(&self, place: &Place, builder: &mut BatchBuilder) -> Result<Pending, ErrorCode> {
        // The topic may have been deleted, and even made anew, since the records were accepted.
        place.groups.check()?;
        let logs = self.logs.upgrade().ok_or(ErrorCode::NotCoordinator)?;
        let image = logs.image();
        let topic = image
            .topic(OFFSETS_TOPIC)
            .ok_or(ErrorCode::NotCoordinator)?;
        let batch = match builder.finish(None) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(Pending::Ready(Answer::Append(Vec::new()))),
            Err(_) => return Err(ErrorCode::MessageTooLarge),
        };
        if batch.len() > topic.config.max_message_bytes as usize {
            return Err(ErrorCode::MessageTooLarge);
        }
        let item = AppendItem {
            target: TopicPartition {
                topic: topic.id,
                partition: place.partition,
            },
            batch,
            owns_frame: false,
            max_timestamp: None,
        };
        Ok(logs.accept(Ask::Append {
            items: vec![item],
            wait_for_durable: true,
        }))
    }

    /// Stores a group's metadata, then lets the group go on.
    pub(super) fn store(
        self: &Rc<Self>,
        place: &Place,
        group_id: &GroupId,
        value: &GroupValue,
        after: AfterStore,
    ) {
        let key = Key::Group {
            group: group_id.to_string(),
        };
        let record = LogRecord {
            key: key.encode(),
            value: Some(value.encode()),
        };
        let write = self.append(place, &[record]);
        let coordinator = Rc::clone(self);
        let (place, group_id) = (place.clone(), Rc::clone(group_id));
        let _detached = reactor::spawn(async move {
            let settled = write.durable().await;
            let outcome = settled.outcome.map_err(group_error);
            if let Err(code) = &outcome {
                tracing::warn!(group = %group_id, ?code, "a group's metadata was not stored");
            }
            coordinator.step(&place, &group_id, Event::Stored(after, outcome));
            settled.end();
        });
    }
}

impl Write {
    /// Waits until the records are durable and all writes before have taken effect. What the caller
    /// does before [`Settled::end`] without waiting is in the order of the log.
    pub(super) async fn durable(self) -> Settled {
        let answer = match self.outcome {
            Ok(Pending::Ready(answer)) => Ok(answer),
            Ok(Pending::Later(answer)) => Ok(answer.await),
            Err(code) => Err(code),
        };
        let outcome = answer.and_then(|answer| match answer {
            Answer::Append(outcomes) => outcomes
                .into_iter()
                .try_for_each(|outcome| outcome.map(drop).map_err(|refusal| refusal.code)),
            _ => Err(ErrorCode::UnknownServerError),
        });
        self.place.groups.reach(&self.turn).await;
        Settled {
            outcome,
            place: self.place,
            turn: self.turn,
        }
    }
}

/// A write whose turn it is to take effect.
pub(super) struct Settled {
    /// Whether the records are durable.
    pub(super) outcome: Result<(), ErrorCode>,
    place: Place,
    turn: Turn,
}

impl Settled {
    /// It has taken effect.
    pub(super) fn end(self) {
        self.place.groups.settle(self.turn);
    }
}

/// What members are told of an error of the log, as in Kafka.
fn group_error(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::KafkaStorageError | ErrorCode::NotLeaderOrFollower => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}

/// What who commits or deletes is told of an error of the log, as in Kafka.
pub(super) fn commit_error(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            ErrorCode::InvalidCommitOffsetSize
        }
        other => group_error(other),
    }
}
