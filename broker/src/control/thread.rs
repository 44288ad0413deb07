//! The control thread: takes what shards ask, makes it durable, hands out images, listens to
//! signals. It may block on its own log; no shard ever waits for it but by a message.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use kacrab_protocol::generated::ErrorCode;
use spate_storage::{commit::Fence, space::Space, types::TopicId};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, oneshot},
    time::{sleep, sleep_until},
};

use super::{
    admin::Admin,
    http::{self, Http},
    inspect::Inspector,
    link::ShardLink,
    message::{ControlReply, ControlRequest, FromShard, Refusal, ShardNotice, Ticket},
    metadata::Metadata,
    publish::Publisher,
    survey::{Survey, SurveyDesk},
};
use crate::{image::ImageVersion, node::data::look_at_space};

/// How soon a notice that found a full ring is tried again: the shard is busy, not gone.
const RETRY: Duration = Duration::from_millis(2);

/// How often the control thread looks around when nobody wakes it. A disk that is written to at
/// 500 MB/s loses so much between two looks; files ahead of that are the housekeeper's to count.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// How the control thread ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Every shard said that all is flushed.
    Clean,
    /// Time was up before every shard had.
    TimedOut,
    /// A shard's thread ended by itself.
    ShardLost(usize),
    /// The housekeeper's thread ended by itself: no shard would ever get another file.
    HousekeeperLost,
}

/// All that the control thread works with. The metadata has been started and the first image
/// published, with which the shards began.
pub struct Control {
    /// The state and its log.
    pub metadata: Metadata,
    /// Makes images.
    pub publisher: Publisher,
    /// One for each shard, in order.
    pub links: Vec<ShardLink>,
    /// What shards wake this thread with.
    pub wake: Arc<Notify>,
    /// Where the socket for `spate stats` goes; its lock is held.
    pub data_dir: PathBuf,
    /// Whether the housekeeper's thread is there; looked at every few seconds.
    pub housekeeper_runs: Box<dyn Fn() -> bool>,
    /// Whether the disk may still be written to.
    pub fence: Fence,
    /// How full it is: told here, every second.
    pub space: Space,
    /// What is asked of all shards at once.
    pub surveys: SurveyDesk,
    /// What operators see; `None`: nothing listens for them.
    pub http: Option<Http>,
    /// The statistics now, for the log (SIGUSR1).
    pub statistics: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

impl Control {
    /// Serves until a signal or the loss of a shard has ended every shard. Calls `ready` when a
    /// signal would be heeded: whoever is told that the broker is ready may send one at once.
    ///
    /// # Errors
    /// If the runtime or the signal handlers cannot be made.
    pub fn run(mut self, ready: impl FnOnce()) -> std::io::Result<Ended> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let signals = Signals::install()?;
            if let Some(http) = &mut self.http
                && let Some(listener) = http.listener.take()
            {
                http::serve(listener, Arc::clone(&http.observed))?;
            }
            ready();
            Ok(Loop::new(self).run(signals).await)
        })
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }
}

/// What one shard has done so far.
#[derive(Clone, Copy, Default)]
struct Progress {
    adopted: ImageVersion,
    drained: bool,
}

/// A reply that waits until every shard has this image.
struct Waiting {
    shard: usize,
    ticket: Ticket,
    reply: ControlReply,
    version: ImageVersion,
}

struct Loop {
    control: Control,
    progress: Vec<Progress>,
    waiting: Vec<Waiting>,
    /// Set once the shards have been told to end.
    deadline: Option<Instant>,
    lost: Option<Ended>,
}

impl Loop {
    fn new(control: Control) -> Loop {
        let adopted = control.publisher.version();
        let progress = vec![
            Progress {
                adopted,
                drained: false
            };
            control.links.len()
        ];
        Loop {
            control,
            progress,
            waiting: Vec::new(),
            deadline: None,
            lost: None,
        }
    }

    async fn run(mut self, mut signals: Signals) -> Ended {
        let wake = Arc::clone(&self.control.wake);
        let mut inspector = self.inspector();
        let mut look_at = Instant::now();
        loop {
            if Instant::now() >= look_at {
                look_at_space(&self.control.space, &self.control.data_dir);
                look_at = Instant::now() + LOOK_AROUND;
            }
            self.take_messages();
            self.release_replies();
            let all_sent = self.flush();
            if let Some(ended) = self.ended() {
                return ended;
            }
            let deadline = self.deadline.unwrap_or(look_at);
            tokio::select! {
                () = wake.notified() => {}
                _ = signals.terminate.recv() => self.shut_down("SIGTERM"),
                _ = signals.interrupt.recv() => self.shut_down("SIGINT"),
                _ = signals.user.recv() => self.log_statistics(),
                asker = self.control.surveys.asked() => self.survey(asker),
                () = Inspector::serve_one(&mut inspector, &self.control.statistics) => {}
                () = sleep(RETRY), if !all_sent => {}
                () = sleep_until(deadline.into()) => {}
            }
        }
    }

    /// Without the socket the broker serves all the same.
    fn inspector(&self) -> Option<Inspector> {
        let refused = |error| {
            tracing::warn!(%error, "no control socket in the data directory: `spate stats` will \
                not work; SIGUSR1 logs the statistics");
        };
        Inspector::listen(&self.control.data_dir)
            .map_err(refused)
            .ok()
    }

    /// Takes all that is there, and publishes one image for all changes in it.
    fn take_messages(&mut self) {
        let mut asked = Vec::new();
        // Looked at before the rings are emptied: what a shard said last is then among them.
        let abandoned: Vec<_> = self
            .control
            .links
            .iter()
            .map(ShardLink::is_abandoned)
            .collect();
        for (shard, link) in self.control.links.iter_mut().enumerate() {
            while let Some(message) = link.receive() {
                match message {
                    FromShard::Request { ticket, request } => asked.push((shard, ticket, request)),
                    FromShard::Adopted(version) => self.progress[shard].adopted = version,
                    FromShard::Surveyed(answer) => self.control.surveys.answered(shard, answer),
                    FromShard::Drained => {
                        self.progress[shard].drained = true;
                        self.control.surveys.lost(shard);
                    }
                }
            }
        }
        self.find_lost_threads(&abandoned);
        if asked.is_empty() {
            return;
        }
        let mut changed = false;
        let mut replies = Vec::with_capacity(asked.len());
        for (shard, ticket, request) in asked {
            let (reply, is_change) = self.execute(request);
            changed |= is_change;
            replies.push((shard, ticket, reply));
        }
        if changed {
            self.publish();
        }
        let version = self.control.publisher.version();
        let wait = |(shard, ticket, reply)| Waiting {
            shard,
            ticket,
            reply,
            version,
        };
        self.waiting.extend(replies.into_iter().map(wait));
    }

    /// Plans, makes durable, and says whether shards must see something new.
    fn execute(&mut self, request: ControlRequest) -> (ControlReply, bool) {
        let shown = request != ControlRequest::ProducerIdBlock;
        let metadata = &mut self.control.metadata;
        let admin = Admin {
            state: metadata.state(),
            config: self.control.publisher.config(),
            broker: self.control.publisher.broker(),
        };
        let mut plan = admin.plan(request, &mut random_id);
        let records = std::mem::take(&mut plan.records);
        if records.is_empty() {
            return (plan.reply, false);
        }
        tracing::debug!(?records, "metadata changes");
        let committed = match self.control.fence.check() {
            Ok(()) => metadata.commit(records).map_err(|error| error.to_string()),
            Err(fenced) => Err(fenced.to_string()),
        };
        match committed {
            Ok(()) => (plan.reply, shown),
            Err(error) => {
                if metadata.is_broken() {
                    self.control.fence.trip(format!("metadata log: {error}"));
                }
                let refusal = Refusal::new(ErrorCode::KafkaStorageError, error.to_string());
                (plan.refuse_all(&refusal), false)
            }
        }
    }

    fn publish(&mut self) {
        let (image, dropped) = self
            .control
            .publisher
            .publish(self.control.metadata.state());
        for link in &mut self.control.links {
            link.send(ShardNotice::NewImage {
                image: Arc::clone(&image),
                dropped: dropped.clone(),
            });
        }
    }

    fn survey(&mut self, asker: oneshot::Sender<Survey>) {
        let topics = self.control.publisher.topics().cloned().collect();
        let links = &mut self.control.links;
        self.control.surveys.begin(asker, topics, links);
    }

    fn release_replies(&mut self) {
        let live = self.progress.iter().filter(|progress| !progress.drained);
        let everywhere = live.map(|progress| progress.adopted).min();
        let links = &mut self.control.links;
        let is_seen = |waiting: &mut Waiting| everywhere.is_none_or(|seen| waiting.version <= seen);
        for done in self.waiting.extract_if(.., is_seen) {
            links[done.shard].send(ShardNotice::Reply {
                ticket: done.ticket,
                reply: done.reply,
            });
        }
    }

    /// True if nothing is left to send. A lost shard takes nothing and needs nothing.
    fn flush(&mut self) -> bool {
        let mut all_sent = true;
        for link in &mut self.control.links {
            all_sent &= link.is_abandoned() || link.flush();
        }
        all_sent
    }

    fn find_lost_threads(&mut self, abandoned: &[bool]) {
        for (shard, (progress, abandoned)) in self.progress.iter_mut().zip(abandoned).enumerate() {
            if *abandoned && !progress.drained {
                progress.drained = true;
                self.control.surveys.lost(shard);
                self.lost.get_or_insert(Ended::ShardLost(shard));
            }
        }
        if self.deadline.is_none() && !(self.control.housekeeper_runs)() {
            self.lost.get_or_insert(Ended::HousekeeperLost);
        }
        if let (Some(lost), None) = (self.lost, self.deadline) {
            tracing::error!(?lost, "a thread has ended by itself: the broker shuts down");
            self.shut_down("the loss of a thread");
        }
    }

    /// A second signal ends without waiting: whoever sends two means it.
    fn shut_down(&mut self, cause: &str) {
        if self.deadline.is_some() {
            tracing::warn!(
                cause,
                "shutting down at once: requests in hand are not answered"
            );
            self.deadline = Some(Instant::now());
            return;
        }
        let timeout = self.control.publisher.config().shutdown_timeout;
        tracing::info!(cause, ?timeout, "shutting down: answering what is in hand");
        self.deadline = Some(Instant::now() + timeout);
        if let Some(http) = &self.control.http {
            http.observed.health.end();
        }
        for link in &mut self.control.links {
            link.send(ShardNotice::Shutdown);
        }
    }

    fn ended(&self) -> Option<Ended> {
        let deadline = self.deadline?;
        if self.progress.iter().all(|progress| progress.drained) {
            return Some(self.lost.unwrap_or(Ended::Clean));
        }
        (Instant::now() >= deadline).then_some(Ended::TimedOut)
    }

    fn log_statistics(&self) {
        let statistics = (self.control.statistics)();
        tracing::info!(%statistics, "statistics (SIGUSR1)");
    }
}

fn random_id() -> TopicId {
    TopicId(uuid::Uuid::new_v4().into_bytes())
}

#[cfg(test)]
mod tests;
