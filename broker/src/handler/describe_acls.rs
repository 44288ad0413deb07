//! DescribeAcls: without an authorizer there are no rules, as in Kafka.

use spate_net::kafka::{
    KafkaString,
    api::describe_acls::{DescribeAclsRequest, DescribeAclsResponse},
    error::ErrorCode,
};

/// Answers.
pub fn answer(_asked: &DescribeAclsRequest) -> DescribeAclsResponse {
    let text = "No Authorizer is configured on the broker";
    DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(KafkaString::from_static(text)))
}
