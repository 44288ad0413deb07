//! What a producer does when a connection breaks or a partition has another leader: everything
//! under way is gathered, the leaders are asked for again, and all is sent once more in its order.

use std::rc::Rc;
use std::time::Duration;

use spate_net::client::Channel;
use spate_net::reactor::{sleep, spawn, timeout};

use super::{Link, Pending, Run};
use crate::answer::Frames;
use crate::connection::{ClientError, Connection};
use crate::topic;

/// The pause before the next try; long enough for an election to get on.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the answers of those that were sent after a refused request are waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

impl Run {
    /// Takes the answers of every link that has nobody who does.
    pub(super) fn listen(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let round = state.round;
        for index in state.receivers.len()..state.links.len() {
            let stream = state.links[index].stream.clone();
            let task = spawn(Rc::clone(self).receive_all(round, index, stream));
            state.receivers.push(task);
        }
    }

    async fn receive_all(self: Rc<Self>, round: u64, link: usize, stream: Channel) {
        let mut frames = Frames::default();
        loop {
            let chunk = match stream.receive().await {
                Ok(chunk) if chunk.is_empty() => {
                    return self.trouble(round, "the broker closed the connection".to_owned());
                }
                Ok(chunk) => chunk,
                Err(error) => return self.trouble(round, format!("receiving: {error}")),
            };
            if self.state.borrow().round != round {
                return;
            }
            let now = self.clock.now();
            let mut failed = None;
            let fed = frames.feed(&chunk, |frame| {
                if failed.is_none() {
                    failed = self.answered(link, frame, now).err();
                }
            });
            if let Some(text) = failed.or_else(|| fed.err().map(|error| error.to_string())) {
                return self.trouble(round, text);
            }
            self.changed.notify_one();
        }
    }

    /// Something went wrong on a link of that round.
    pub(super) fn trouble(&self, round: u64, text: String) {
        let mut state = self.state.borrow_mut();
        if state.round == round {
            state.trouble.get_or_insert(text);
            // Whoever waits for the rest of the answers waits in vain.
            state.cut = true;
            state.links.iter().for_each(|link| link.stream.shutdown());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends all links.
    pub(super) fn hang_up(&self) {
        let receivers = {
            let mut state = self.state.borrow_mut();
            state.round += 1;
            state.links.iter().for_each(|link| link.stream.shutdown());
            std::mem::take(&mut state.receivers)
        };
        for receiver in receivers {
            receiver.cancel();
        }
    }

    /// Makes the links anew, as long as it takes: the run's end is the limit.
    pub(super) async fn recover(self: &Rc<Self>) {
        // Behind a refused request others may yet be answered: what is known need not be sent.
        let _ = timeout(ANSWERS_WITHIN, self.await_answers()).await;
        self.hang_up();
        self.regather();
        loop {
            sleep(PAUSE).await;
            match self.connect_again().await {
                Ok(links) => {
                    self.take_over(links);
                    return self.listen();
                }
                Err(error) if error.is_retriable() => {}
                Err(error) => {
                    self.state.borrow_mut().failure = Some(error.to_string());
                    return;
                }
            }
        }
    }

    /// Gets a lane a new producer id, as long as it takes.
    pub(super) async fn identify(&self, lane: usize) {
        loop {
            let asked = async {
                let mut connection = Connection::any(&self.access).await?;
                topic::identify(&mut connection).await
            };
            match asked.await {
                Ok(identity) => {
                    return self.state.borrow_mut().lanes[lane].take_identity(identity);
                }
                Err(error) if error.is_retriable() => sleep(PAUSE).await,
                Err(error) => {
                    self.state.borrow_mut().failure = Some(error.to_string());
                    return;
                }
            }
        }
    }

    async fn await_answers(&self) {
        let waits = || {
            let state = self.state.borrow();
            !state.cut && state.links.iter().any(|link| !link.pending.is_empty())
        };
        while waits() {
            self.changed.notified().await;
        }
    }

    /// All requests without an answer, in their order, before any new one.
    fn regather(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut again: Vec<Pending> = state.again.drain(..).collect();
        let refused = again.len();
        for link in &mut state.links {
            again.extend(link.pending.drain(..).map(|pending| Pending {
                is_unknown: true,
                ..pending
            }));
        }
        let unanswered: usize = again[refused..]
            .iter()
            .map(|pending| pending.records.len())
            .sum();
        again.sort_by_key(|pending| pending.number);
        state.again = again.into();
        let trouble = state.trouble.take().unwrap_or_default();
        let mut tally = self.tally.borrow_mut();
        tally.errors.add(format!("{trouble}: connected again"), 1);
        if !self.idempotent {
            // They may have been written, and will be once more.
            tally.resent += unanswered as u64;
        }
    }

    /// The leaders of all lanes, and a connection to each.
    async fn connect_again(&self) -> Result<Vec<(Link, Vec<i32>)>, ClientError> {
        let mut links = Vec::new();
        for leader in topic::find_leaders(&self.access, &self.topic).await? {
            let partitions: Vec<i32> = {
                let state = self.state.borrow();
                let ours = |index: &i32| state.lanes.iter().any(|lane| lane.partition == *index);
                leader.partitions.iter().copied().filter(ours).collect()
            };
            if partitions.is_empty() {
                continue;
            }
            let connection = Connection::open(&leader.endpoint, &self.access).await?;
            let link = Link {
                stream: connection.stream,
                pending: Default::default(),
                open_since: self.clock.now(),
            };
            links.push((link, partitions));
        }
        Ok(links)
    }

    fn take_over(&self, links: Vec<(Link, Vec<i32>)>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.links.clear();
        for (index, (link, partitions)) in links.into_iter().enumerate() {
            for lane in &mut state.lanes {
                if partitions.contains(&lane.partition) {
                    lane.link = index;
                }
            }
            state.links.push(link);
        }
        state.cut = false;
    }
}
