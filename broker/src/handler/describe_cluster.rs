//! DescribeCluster: the nodes of the cluster, and which of them is the controller.

use spate_net::kafka::{
    KafkaString,
    api::describe_cluster::{
        DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
    },
    error::ErrorCode,
};

use crate::{
    handler::{message, metadata::CLUSTER_OPERATIONS},
    image::{Image, NodeInfo, brokers::Listener},
};

/// The endpoint types (KIP-919); controllers have no listener for clients here.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers.
pub fn answer(
    asked: &DescribeClusterRequest,
    image: &Image,
    listener: Listener,
) -> DescribeClusterResponse {
    if asked.endpoint_type != BROKERS {
        let code = if asked.endpoint_type == CONTROLLERS {
            ErrorCode::MismatchedEndpointType
        } else {
            ErrorCode::UnsupportedEndpointType
        };
        let text = format!(
            "endpoint type {} is not served on this listener: ask for brokers ({BROKERS})",
            asked.endpoint_type
        );
        return DescribeClusterResponse::default()
            .with_error_code(code.code())
            .with_error_message(message(&text));
    }
    let brokers = image.brokers(listener);
    DescribeClusterResponse::default()
        .with_cluster_id(image.cluster_id.to_string().into())
        .with_controller_id(brokers.controller().node_id)
        .with_brokers(brokers.all().iter().map(broker).collect())
        .with_cluster_authorized_operations(if asked.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        })
}

fn broker(known: &NodeInfo) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(known.node_id)
        .with_host(known.host.clone().into())
        .with_port(i32::from(known.port))
        .with_rack(known.rack.clone().map(KafkaString::from))
}
