//! Commits on their way into the log: all that a partition takes in one turn of the shard go there
//! as one batch, with one frame around them and one wait for all.
//!
//! A commit has its place in the order when it is gathered. Whatever else is written to the
//! partition comes behind: it closes the batch first. So does a batch that would grow too large.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use spate_net::{
    kafka::{
        error::ErrorCode,
        record_batch::{BatchBuilder, NewRecord},
    },
    reactor,
};

use super::{
    Coordinator, GroupId, OFFSETS_TOPIC, Place, append::commit_error, commit::Accepted,
    log::OffsetWriter, message::GroupAnswer, partition::Standing,
};
use crate::disk::wall_ms;

/// A batch is closed at this size: reading back an offset decompresses no more than that.
const BATCH_BYTES: usize = 64 << 10;

/// What a partition has gathered in this turn.
#[derive(Default)]
pub struct Gathered {
    builder: Option<BatchBuilder>,
    commits: Vec<Commit>,
    writer: OffsetWriter,
}

/// One request's offsets.
struct Commit {
    group_id: GroupId,
    items: Vec<Accepted>,
    codes: Vec<ErrorCode>,
    answer: Rc<Answer>,
}

/// Where a commit's answer is left for who waits.
#[derive(Default)]
struct Answer {
    codes: Cell<Option<Vec<ErrorCode>>>,
    waker: Cell<Option<Waker>>,
}

impl Answer {
    fn give(&self, codes: Vec<ErrorCode>) {
        self.codes.set(Some(codes));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn given(&self) -> GroupAnswer {
        poll_fn(|context| match self.codes.take() {
            Some(codes) => Poll::Ready(GroupAnswer::Committed(codes)),
            None => {
                self.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

impl Coordinator {
    /// Takes offsets that are to be kept; the answer comes when they are durable.
    pub(super) fn gather(
        self: &Rc<Self>,
        place: &Place,
        group_id: &GroupId,
        items: Vec<Accepted>,
        codes: Vec<ErrorCode>,
    ) -> impl Future<Output = GroupAnswer> + use<> {
        let bytes: usize = items.iter().map(|item| item.bytes(group_id)).sum();
        if !place
            .groups
            .gathered()
            .borrow()
            .has_room(bytes, self.batch_limit())
        {
            self.write_gathered(place);
        }
        let mut gathered = place.groups.gathered().borrow_mut();
        if gathered.commits.is_empty() {
            self.gathering.borrow_mut().push(place.clone());
            self.has_gathered.notify_one();
        }
        let codec = self.settings.codec;
        gathered.put(codec, group_id, &items);
        let answer = Rc::new(Answer::default());
        gathered.commits.push(Commit {
            group_id: Rc::clone(group_id),
            items,
            codes,
            answer: Rc::clone(&answer),
        });
        async move { answer.given().await }
    }

    /// How large a batch may get before it is closed. One that is larger by a single request is
    /// refused by itself.
    fn batch_limit(&self) -> usize {
        let image = self.logs.upgrade().map(|logs| logs.image());
        let topic = image.as_ref().and_then(|image| image.topic(OFFSETS_TOPIC));
        let most = topic.map_or(0, |topic| topic.config.max_message_bytes as usize);
        BATCH_BYTES.min(most / 2)
    }

    /// Writes what each turn has gathered, for ever.
    pub async fn write_commits(self: Rc<Self>) {
        loop {
            self.has_gathered.notified().await;
            // Whoever was ready before us commits in this turn too.
            let places = self.gathering.take();
            for place in places {
                self.write_gathered(&place);
            }
        }
    }

    /// Closes the partition's batch and puts it into the log; nothing if there is none.
    pub(super) fn write_gathered(self: &Rc<Self>, place: &Place) {
        let mut gathered = place.groups.gathered().borrow_mut();
        let commits = std::mem::take(&mut gathered.commits);
        let builder = gathered.builder.take();
        drop(gathered);
        let (false, Some(mut builder)) = (commits.is_empty(), builder) else {
            return;
        };
        let write = self.write(place, &mut builder);
        let (coordinator, place) = (Rc::clone(self), place.clone());
        let _detached = reactor::spawn(async move {
            let settled = write.durable().await;
            let outcome = settled.outcome.map_err(commit_error);
            for commit in commits {
                let answer = Rc::clone(&commit.answer);
                answer.give(coordinator.take_effect(&place, commit, outcome));
            }
            settled.end();
        });
    }

    /// Puts offsets where they are read from, if their records are durable.
    fn take_effect(
        self: &Rc<Self>,
        place: &Place,
        commit: Commit,
        outcome: Result<(), ErrorCode>,
    ) -> Vec<ErrorCode> {
        let Commit {
            group_id,
            items,
            mut codes,
            ..
        } = commit;
        if place.groups.standing() == Standing::Dropped {
            for item in items {
                codes[item.place] = ErrorCode::NotCoordinator;
            }
            return codes;
        }
        // Deleted and expired groups come back with an offset that was committed after.
        let group_id = self.ensure(place, &group_id);
        self.with_group(place, &group_id, |group| {
            for item in items {
                let has_topic = group.offsets.end(&item.topic, item.partition);
                match outcome {
                    // What is in the log goes at the next load: it names the deleted topic.
                    Ok(()) if !has_topic => {
                        codes[item.place] = ErrorCode::UnknownTopicOrPartition;
                    }
                    Ok(()) => group.offsets.set(&item.topic, item.partition, item.value),
                    Err(code) => {
                        codes[item.place] = code;
                        if has_topic {
                            let topic_id = item.value.topic_id;
                            group
                                .offsets
                                .forget_other(&item.topic, item.partition, topic_id);
                        }
                    }
                }
            }
        });
        codes
    }
}

impl Gathered {
    fn has_room(&self, bytes: usize, limit: usize) -> bool {
        let held = self.builder.as_ref().map_or(0, BatchBuilder::bytes);
        self.commits.is_empty() || held + bytes <= limit
    }

    fn put(
        &mut self,
        codec: spate_net::kafka::record_batch::Codec,
        group_id: &GroupId,
        items: &[Accepted],
    ) {
        let builder = self.builder.get_or_insert_with(|| BatchBuilder::new(codec));
        let timestamp = wall_ms();
        for item in items {
            let (topic, partition) = (&item.topic, item.partition);
            let (key, value) = self.writer.encode(group_id, topic, partition, &item.value);
            builder.append(&NewRecord {
                timestamp,
                key: Some(key),
                value: Some(value),
                headers: &[],
            });
        }
    }
}
