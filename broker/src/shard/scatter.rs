//! One client's request spread over the shards that own its partitions, and their answers brought
//! back to the places that the items had in the request.

use futures_util::future::join_all;
use spate_storage::types::ShardId;

use crate::shard::{
    message::{Answer, Ask},
    route::{OwnersAnswer, Router},
};

/// Items by owner, each with its place in the client's request. A request names few owners, so a
/// list with a linear search beats a map.
pub struct Scatter<I> {
    by_owner: Vec<Share<I>>,
}

struct Share<I> {
    owner: ShardId,
    places: Vec<usize>,
    items: Vec<I>,
}

/// Answers to come, by owner.
pub struct Gather {
    parts: Vec<(Vec<usize>, OwnersAnswer)>,
}

impl<I> Scatter<I> {
    /// Nothing yet.
    pub fn new() -> Scatter<I> {
        Scatter {
            by_owner: Vec::new(),
        }
    }

    /// Puts an item behind the owner's others.
    pub fn add(&mut self, owner: ShardId, place: usize, item: I) {
        match self.by_owner.iter_mut().find(|share| share.owner == owner) {
            Some(share) => {
                share.places.push(place);
                share.items.push(item);
            }
            None => {
                self.by_owner.push(Share {
                    owner,
                    places: vec![place],
                    items: vec![item],
                });
            }
        }
    }

    /// Sends each owner its items. When this returns, all have their place in the owners' orders.
    pub async fn send(self, router: &Router, ask: impl Fn(Vec<I>) -> Ask) -> Gather {
        let mut parts = Vec::with_capacity(self.by_owner.len());
        for share in self.by_owner {
            parts.push((
                share.places,
                router.send(share.owner, ask(share.items)).await,
            ));
        }
        Gather { parts }
    }
}

impl Gather {
    /// Waits for all answers; `open` takes one apart into its items' outcomes, which come with
    /// the items' places.
    pub async fn collect<O>(self, open: impl Fn(Answer) -> Option<Vec<O>>) -> Vec<(usize, O)> {
        let (places, answers): (Vec<_>, Vec<_>) = self.parts.into_iter().unzip();
        let mut outcomes = Vec::new();
        for (places, answer) in places.into_iter().zip(all(answers).await) {
            let opened = open(answer).expect("an owner answers what it was asked");
            assert_eq!(opened.len(), places.len(), "an owner answers item by item");
            outcomes.extend(places.into_iter().zip(opened));
        }
        outcomes
    }
}

/// All answers; mostly there is one, which needs no set of futures around it.
async fn all(mut answers: Vec<OwnersAnswer>) -> Vec<Answer> {
    match answers.pop() {
        Some(only) if answers.is_empty() => vec![only.await],
        Some(last) => {
            answers.push(last);
            join_all(answers).await
        }
        None => Vec::new(),
    }
}
