//! DescribeTransactions (65), version 0, flexible: what transactional ids are doing.
//!
//! Errors per id: 105 no such id, 16 another broker coordinates it, 42 an empty id, 53 not
//! authorised.
//!
//! Clients: Java's `kafka-transactions.sh describe`.

use kacrab_protocol::generated as schema;
pub use kacrab_protocol::generated::describe_transactions_response::{
    DescribeTransactionsResponseData as DescribeTransactionsResponse, TransactionState,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type DescribeTransactionsRequest =
    schema::describe_transactions_request::DescribeTransactionsRequestData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::DescribeTransactions, 0, 0, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[Part::always(Kind::Values(&Kind::Text))];

generated_api!(DescribeTransactionsRequest => DescribeTransactionsResponse);
