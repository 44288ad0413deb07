//! Waits until a fetch is worth answering: `min_bytes` are there over all its shards, something
//! must be said at once, or time is up.

use std::{pin::pin, rc::Rc};

use futures_util::future::{Either, select};
use spate_net::{kafka::api::fetch::FetchRequest, reactor};

use crate::{
    connection::Client,
    handler::{
        Context,
        fetch::{deadline, plan::Plan},
    },
    shard::{
        message::{Answer, Ask, WatchKey},
        scatter::Scatter,
    },
};

/// Probes until the fetch is worth answering; the plan then holds the last sizes.
///
/// The first probe arms nothing: under load it mostly finds enough. The next ones arm a watch with
/// each owner in the same step in which they ask for sizes, so that nothing falls between.
pub async fn until_worth_answering(
    context: &Rc<Context>,
    client: Client,
    asked: &FetchRequest,
    plan: &mut Plan,
) {
    let deadline = deadline(asked.max_wait_ms);
    // More than one answer may hold is never worth waiting for.
    let min_bytes = usize::try_from(asked.min_bytes.min(asked.max_bytes))
        .unwrap_or(0)
        .min(context.fetch.max_bytes);
    probe(context, plan, None).await;
    let key = context.router.watch_key(client.number);
    while plan.bytes() < min_bytes && !plan.is_urgent() && !plan.steps.is_empty() {
        let fired = context.router.listen(key);
        probe(context, plan, Some(key)).await;
        let now = reactor::now();
        if plan.bytes() >= min_bytes || plan.is_urgent() || now >= deadline {
            return;
        }
        let waiting = context.stats.fetches_waiting.present();
        let (fired, stopping) = (pin!(fired.notified()), pin!(context.stopping.wait()));
        let news = select(fired, stopping);
        let woken = reactor::timeout(deadline - now, news).await;
        drop(waiting);
        probe(context, plan, None).await;
        // Time is up, or the shard is about to end: whatever is there.
        if !matches!(woken, Ok(Either::Left(_))) {
            return;
        }
    }
}

async fn probe(context: &Rc<Context>, plan: &mut Plan, watch: Option<WatchKey>) {
    let mut scatter = Scatter::new();
    for (place, step) in plan.steps.iter().enumerate() {
        if let Ok(target) = step.target {
            // A client that takes no bytes still gets the batch that it stands before.
            let item = step.item(target, step.max_bytes().max(1), true);
            scatter.add(context.router.owner(target), place, item);
        }
    }
    let gather = scatter
        .send(&context.router, |items| Ask::Probe { items, watch })
        .await;
    let probed = gather.collect(|answer| match answer {
        Answer::Probe(probed) => Some(probed),
        _ => None,
    });
    for (place, probed) in probed.await {
        plan.steps[place].probed = Some(probed);
    }
}
