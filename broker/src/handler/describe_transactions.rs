//! DescribeTransactions: transactions are not served yet, so no id is known.

use spate_net::kafka::{
    KafkaString,
    api::describe_transactions::{
        DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
    },
    error::ErrorCode,
};

/// Answers in the order of the request.
pub fn answer(asked: &DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let state = |id: &KafkaString| {
        let code = match id.as_str() {
            "" => ErrorCode::InvalidRequest,
            _ => ErrorCode::TransactionalIdNotFound,
        };
        TransactionState::default()
            .with_error_code(code.code())
            .with_transactional_id(id.clone())
    };
    let states = asked.transactional_ids.iter().map(state);
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}
