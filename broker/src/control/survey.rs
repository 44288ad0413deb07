//! A survey: the numbers of every partition, asked of all shards at once for the metrics. One at a
//! time, so that a shard has at most one answer on its way; a shard walks its partitions in steps.

use std::sync::Arc;

use spate_storage::store::PartitionNumbers;
use tokio::sync::{mpsc, oneshot};

use super::{link::ShardLink, message::ShardNotice};
use crate::image::TopicImage;

/// What all shards said, and the topics at that time.
#[derive(Debug, Default)]
pub struct Survey {
    /// Every topic.
    pub topics: Vec<Arc<TopicImage>>,
    /// Every partition with data, in no order.
    pub partitions: Vec<PartitionNumbers>,
    /// Every group, in no order.
    pub groups: Vec<GroupNumbers>,
}

/// One group's numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupNumbers {
    /// Its id.
    pub group: String,
    /// Its state's name.
    pub state: &'static str,
    /// How many members it has.
    pub members: usize,
    /// Topic, partition and offset of what it has committed.
    pub offsets: Vec<(String, i32, i64)>,
}

/// What one shard says.
#[derive(Debug, Default)]
pub struct ShardSurvey {
    /// Its partitions with data.
    pub partitions: Vec<PartitionNumbers>,
    /// The groups that it coordinates.
    pub groups: Vec<GroupNumbers>,
}

/// Asks for surveys; for any thread or task.
pub type SurveySender = mpsc::Sender<oneshot::Sender<Survey>>;

/// The control thread's side.
pub struct SurveyDesk {
    asked: mpsc::Receiver<oneshot::Sender<Survey>>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    reply: oneshot::Sender<Survey>,
    survey: Survey,
    /// Shards that have not answered.
    missing: Vec<bool>,
}

/// Askers that may wait for the one before them: scrapes, and people.
const WAITING_MAX: usize = 8;

/// The two ends.
#[must_use]
pub fn desk() -> (SurveySender, SurveyDesk) {
    let (sender, asked) = mpsc::channel(WAITING_MAX);
    let under_way = None;
    (sender, SurveyDesk { asked, under_way })
}

impl SurveyDesk {
    /// Waits for an asker, unless there is one already. Cancel-safe.
    pub async fn asked(&mut self) -> oneshot::Sender<Survey> {
        if self.under_way.is_none()
            && let Some(reply) = self.asked.recv().await
        {
            return reply;
        }
        std::future::pending().await
    }

    /// Asks all shards that are there.
    pub fn begin(
        &mut self,
        reply: oneshot::Sender<Survey>,
        topics: Vec<Arc<TopicImage>>,
        links: &mut [ShardLink],
    ) {
        let missing: Vec<bool> = links.iter().map(|link| !link.is_abandoned()).collect();
        for link in links.iter_mut().filter(|link| !link.is_abandoned()) {
            link.send(ShardNotice::Survey);
        }
        let survey = Survey {
            topics,
            ..Survey::default()
        };
        self.under_way = Some(UnderWay {
            reply,
            survey,
            missing,
        });
        self.finish();
    }

    /// Takes a shard's answer.
    pub fn answered(&mut self, shard: usize, answer: ShardSurvey) {
        if let Some(under_way) = &mut self.under_way {
            under_way.survey.partitions.extend(answer.partitions);
            under_way.survey.groups.extend(answer.groups);
            under_way.missing[shard] = false;
        }
        self.finish();
    }

    /// A shard that is gone, or about to be, answers no more.
    pub fn lost(&mut self, shard: usize) {
        if let Some(under_way) = &mut self.under_way {
            under_way.missing[shard] = false;
        }
        self.finish();
    }

    fn finish(&mut self) {
        let is_done = |it: &mut UnderWay| !it.missing.contains(&true);
        if let Some(done) = self.under_way.take_if(is_done) {
            // An asker that went away does not want it.
            drop(done.reply.send(done.survey));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::link::link;

    #[test]
    fn a_survey_is_answered_when_every_shard_has_or_is_gone() {
        let (_sender, mut desk) = desk();
        let (mut ports, mut links): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| link(Arc::default(), Box::new(|| {})))
            .unzip();
        drop(ports.pop());
        let (reply, mut survey) = oneshot::channel();
        desk.begin(reply, Vec::new(), &mut links);
        for port in &mut ports {
            assert!(matches!(port.receive(), Some(ShardNotice::Survey)));
        }
        desk.answered(1, ShardSurvey::default());
        assert!(survey.try_recv().is_err(), "shard 0 has not answered");
        desk.lost(0);
        assert!(survey.try_recv().is_ok());
    }
}
