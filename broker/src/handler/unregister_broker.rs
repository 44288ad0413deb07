//! UnregisterBroker: the only broker cannot be forgotten, and there is no other.

use spate_net::kafka::{
    KafkaString,
    api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse},
    error::ErrorCode,
};

use crate::image::Image;

/// Answers.
pub fn answer(asked: &UnregisterBrokerRequest, image: &Image) -> UnregisterBrokerResponse {
    let id = asked.broker_id;
    let (code, text) = if image.is_this_node(id) {
        (
            ErrorCode::InvalidRequest,
            format!("Broker ID {id} is this broker, and the only one: it cannot be unregistered"),
        )
    } else {
        (
            ErrorCode::BrokerIdNotRegistered,
            format!("Broker ID {id} is not currently registered"),
        )
    };
    UnregisterBrokerResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(KafkaString::from(text)))
}
