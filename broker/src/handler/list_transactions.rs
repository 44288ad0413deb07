//! ListTransactions: transactions are not served yet, so there are none.

use spate_net::kafka::{
    KafkaString,
    api::list_transactions::{ListTransactionsRequest, ListTransactionsResponse},
};

/// Kafka's states of a transaction.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

/// Answers; states that do not exist are named.
pub fn answer(asked: &ListTransactionsRequest) -> ListTransactionsResponse {
    let is_unknown = |state: &&KafkaString| !STATES.contains(&state.as_str());
    let unknown = asked.state_filters.iter().filter(is_unknown);
    ListTransactionsResponse::default().with_unknown_state_filters(unknown.cloned().collect())
}
