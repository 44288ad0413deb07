//! InitProducerId: an id for an idempotent producer. Every call gets a fresh id with epoch 0, as
//! Kafka does for producers without a transactional id.

use spate_net::kafka::{
    api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
    error::ErrorCode,
};

use crate::shard::{control::ControlClient, producer_ids::ProducerIds};

const NO_PRODUCER_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

/// Answers. Transactions are not served yet: a transactional id gets an error that is final for
/// every client, so that it stops at once and says why, instead of retrying for ever.
pub async fn answer(
    asked: &InitProducerIdRequest,
    ids: &ProducerIds,
    control: &ControlClient,
) -> InitProducerIdResponse {
    let refused = |code: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(code.code())
            .with_producer_id(-1)
            .with_producer_epoch(-1)
    };
    // An id without its epoch, or the other way round; without a transactional id there is neither.
    let is_first = asked.producer_id == NO_PRODUCER_ID && asked.producer_epoch == NO_EPOCH;
    if !is_first {
        return refused(ErrorCode::InvalidRequest);
    }
    if asked.transactional_id.is_some() {
        return refused(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    match ids.next(control).await {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(id.0)
            .with_producer_epoch(0),
        Err(refusal) => refused(refusal.code),
    }
}
