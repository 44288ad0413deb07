//! FindCoordinator: which broker decides about a group. With one node that is this one, or, for who
//! came through a shard's own port, the shard that owns the group's partition.

use spate_net::kafka::{
    KafkaString,
    api::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse},
    error::ErrorCode,
};

use crate::{
    control::message::Refusal,
    handler::{coordinate, message},
    image::{NodeInfo, brokers::Listener},
    shard::{control::ControlClient, route::Router},
};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// The first version that asks for many keys.
const BATCHED_FROM: i16 = 4;

/// Answers key by key. The topic of groups is made when the first is looked for.
pub async fn answer(
    version: i16,
    asked: &FindCoordinatorRequest,
    router: &Router,
    control: &ControlClient,
    listener: Listener,
) -> FindCoordinatorResponse {
    let checked = match asked.key_type {
        GROUP => coordinate::ensure_topic(router, control).await,
        TRANSACTION => {
            let text = "transactions are not served yet; unset transactional.id";
            let code = ErrorCode::TransactionalIdAuthorizationFailed;
            Err(Refusal::new(code, text))
        }
        other => {
            let text = format!("there are no coordinators of key type {other}");
            Err(Refusal::new(ErrorCode::InvalidRequest, text))
        }
    };
    let single = [asked.key.clone()];
    let keys = if version < BATCHED_FROM {
        &single[..]
    } else {
        &asked.coordinator_keys
    };
    let one = |key: &KafkaString| match &checked {
        Ok(()) => found(key, router, listener),
        Err(refusal) => refused(key, refusal),
    };
    let coordinators: Vec<Coordinator> = keys.iter().map(one).collect();
    if version >= BATCHED_FROM {
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let mut answer = FindCoordinatorResponse::default();
    for found in coordinators {
        answer = answer
            .with_error_code(found.error_code)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port);
        if version >= 1 {
            let is_found = found.error_code == ErrorCode::None.code();
            // The name of "no error" before v4, and nothing from then on, as in Kafka.
            let text = if is_found {
                message("NONE")
            } else {
                found.error_message
            };
            answer = answer.with_error_message(text);
        }
    }
    answer
}

fn found(key: &KafkaString, router: &Router, listener: Listener) -> Coordinator {
    let image = router.image();
    let NodeInfo {
        node_id,
        host,
        port,
        ..
    } = match coordinate::partition(router, key.as_str()) {
        Ok(partition) => image.brokers(listener).owner_of(partition),
        Err(code) => return refused(key, &Refusal::new(code, "the topic was deleted")),
    };
    Coordinator::default()
        .with_key(key.clone())
        .with_node_id(*node_id)
        .with_host(host.clone().into())
        .with_port(i32::from(*port))
        .with_error_message(Some(KafkaString::default()))
}

fn refused(key: &KafkaString, refusal: &Refusal) -> Coordinator {
    Coordinator::default()
        .with_key(key.clone())
        .with_node_id(-1)
        .with_port(-1)
        .with_error_code(refusal.code.code())
        .with_error_message(message(&refusal.message))
}
