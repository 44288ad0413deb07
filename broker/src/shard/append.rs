//! Appending on the owner's shard: in the order of arrival, whoever asks.
//!
//! When the open blocks have used up their memory the log takes nothing more for the moment. What
//! then arrives queues here, in order, until there is room: nothing overtakes, nothing is dropped.
//! The queue is bounded by the askers: a connection's requests in flight, another shard's credits.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use spate_net::kafka::error::ErrorCode;
use spate_storage::{
    commit::CommitError,
    store::{AppendError, Appended, Stamp},
};

use crate::{
    config::topic::TimestampType,
    control::message::Refusal,
    disk::wall_ms,
    image::{Image, TopicImage},
    shard::{
        logs::ShardStore,
        message::AppendItem,
        outcome::{AppendOutcome, Placed},
        sabotage::{self, Sabotage},
    },
};

/// The order in which this shard's logs take batches.
#[derive(Default)]
pub struct AppendQueue {
    stalled: RefCell<VecDeque<Rc<Run>>>,
    stalls: Cell<u64>,
}

/// One request's batches on their way into the logs.
struct Run {
    items: RefCell<VecDeque<AppendItem>>,
    settled: RefCell<Vec<Result<Appended, Refusal>>>,
    waker: RefCell<Option<Waker>>,
}

enum Progress {
    Settled,
    NoRoom,
}

impl AppendQueue {
    /// Appends the batches now if nothing waits before them and there is room. The future is done
    /// when every batch is durable or refused; for acks=0 when every batch is in memory.
    pub fn append(
        &self,
        store: &Rc<ShardStore>,
        image: &Image,
        items: Vec<AppendItem>,
        wait_for_durable: bool,
    ) -> impl Future<Output = Vec<AppendOutcome>> + use<> {
        let run = Rc::new(Run {
            settled: RefCell::new(Vec::with_capacity(items.len())),
            items: RefCell::new(items.into()),
            waker: RefCell::new(None),
        });
        let queue_is_empty =
            self.stalled.borrow().is_empty() || sabotage::is(Sabotage::StalledOvertaken);
        if !queue_is_empty || matches!(run.advance(store, image), Progress::NoRoom) {
            self.stalls.set(self.stalls.get() + 1);
            match sabotage::is(Sabotage::StalledTurnedRound) {
                true => self.stalled.borrow_mut().push_front(Rc::clone(&run)),
                false => self.stalled.borrow_mut().push_back(Rc::clone(&run)),
            }
        }
        finish(run, wait_for_durable)
    }

    /// Goes on with what waits for room. Call when memory of open blocks came free.
    pub fn resume(&self, store: &Rc<ShardStore>, image: &Image) {
        if sabotage::is(Sabotage::RoomForgotten) {
            return;
        }
        loop {
            let Some(head) = self.stalled.borrow().front().map(Rc::clone) else {
                return;
            };
            if matches!(head.advance(store, image), Progress::NoRoom) {
                return;
            }
            self.stalled.borrow_mut().pop_front();
            let waker = head.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether anything waits for room.
    pub fn is_stalled(&self) -> bool {
        !self.stalled.borrow().is_empty()
    }

    /// Requests that had to wait for room since the start.
    pub fn stalls(&self) -> u64 {
        self.stalls.get()
    }
}

impl Run {
    fn advance(&self, store: &Rc<ShardStore>, image: &Image) -> Progress {
        let mut items = self.items.borrow_mut();
        while let Some(item) = items.front_mut() {
            match append_one(store, image, item) {
                Ok(appended) => self.settled.borrow_mut().push(Ok(appended)),
                Err(Denied::NoRoom) => return Progress::NoRoom,
                Err(Denied::Refused(refusal)) => self.settled.borrow_mut().push(Err(refusal)),
            }
            items.pop_front();
        }
        Progress::Settled
    }
}

async fn finish(run: Rc<Run>, wait_for_durable: bool) -> Vec<AppendOutcome> {
    poll_fn(|cx| {
        if run.items.borrow().is_empty() {
            return Poll::Ready(());
        }
        *run.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
    let settled = run.settled.take();
    let wait_for_durable = wait_for_durable && !sabotage::is(Sabotage::AnsweredBeforeDurable);
    let mut outcomes = Vec::with_capacity(settled.len());
    for result in settled {
        outcomes.push(match result {
            Ok(appended) if wait_for_durable => acknowledged(appended).await,
            Ok(appended) => Ok(placed(&appended)),
            Err(refusal) => Err(refusal),
        });
    }
    outcomes
}

async fn acknowledged(appended: Appended) -> AppendOutcome {
    match appended.commit.wait().await {
        Ok(()) => Ok(placed(&appended)),
        Err(error) => {
            let code = match &error {
                CommitError::Dropped { .. } => ErrorCode::UnknownTopicOrPartition,
                CommitError::Fenced(_) => ErrorCode::KafkaStorageError,
            };
            Err(Refusal::new(code, error.to_string()))
        }
    }
}

fn placed(appended: &Appended) -> Placed {
    Placed {
        base_offset: appended.base_offset,
        log_append_time: appended.log_append_time,
        log_start: appended.log_start,
    }
}

enum Denied {
    NoRoom,
    Refused(Refusal),
}

fn append_one(
    store: &ShardStore,
    image: &Image,
    item: &mut AppendItem,
) -> Result<Appended, Denied> {
    let Some(topic) = image.topic_by_id(item.target.topic) else {
        let text = format!(
            "topic id {} is not known here; refresh metadata",
            item.target.topic
        );
        return Err(Denied::Refused(Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            text,
        )));
    };
    let stamp = stamp_of(topic, item);
    let appended = match item.owns_frame {
        true => store.append_given(item.target, &mut item.batch, stamp),
        false => store.append(item.target, &item.batch, stamp),
    };
    appended.map_err(denied)
}

fn stamp_of(topic: &TopicImage, item: &AppendItem) -> Stamp {
    let log_append_time = match topic.config.timestamp_type {
        TimestampType::CreateTime => None,
        TimestampType::LogAppendTime => Some(wall_ms()),
    };
    Stamp {
        epoch: topic.leader_epoch(),
        max_timestamp: item.max_timestamp,
        log_append_time,
        segment_bytes: topic.config.segment_bytes,
        segment_ms: topic.config.roll_ms(),
        is_internal: topic.internal,
    }
}

fn denied(error: AppendError) -> Denied {
    let code = match &error {
        AppendError::NoMemory { .. } => return Denied::NoRoom,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::TooLarge { .. } => ErrorCode::RecordListTooLarge,
        // Of a full disk too: Java's producer and librdkafka try a batch again after this error,
        // with a pause and until their delivery timeout, so they go on by themselves when there
        // is space. POLICY_VIOLATION fails the record at once; THROTTLING_QUOTA_EXCEEDED is
        // unknown to librdkafka in an answer to produce, and fails there as well.
        AppendError::Fenced(_) | AppendError::DiskFull { .. } => ErrorCode::KafkaStorageError,
        _ => ErrorCode::UnknownServerError,
    };
    Denied::Refused(Refusal::new(code, error.to_string()))
}
