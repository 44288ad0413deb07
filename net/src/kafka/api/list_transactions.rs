//! ListTransactions (66), versions 0-2, flexible from 0: transactional ids by state, producer, age
//! (v1) and pattern (v2).
//!
//! Errors: 128 a pattern that is no regular expression. States that are not known are listed, and
//! match nothing.
//!
//! Clients: Java's `kafka-transactions.sh list` and `find-hanging`.

use kacrab_protocol::generated as schema;

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The request.
pub type ListTransactionsRequest = schema::list_transactions_request::ListTransactionsRequestData;

/// The response.
pub type ListTransactionsResponse =
    schema::list_transactions_response::ListTransactionsResponseData;

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::ListTransactions, 0, 2, 0);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::always(Kind::Values(&Kind::Text)),
    Part::always(Kind::Values(&Kind::Fixed(8))),
    Part::since(1, Kind::Fixed(8)),
    Part::since(2, Kind::NullableText(2)),
];

generated_api!(ListTransactionsRequest => ListTransactionsResponse);
