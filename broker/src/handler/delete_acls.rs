//! DeleteAcls: without an authorizer there are no rules to take back, as in Kafka.

use spate_net::kafka::{
    KafkaString,
    api::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse},
    error::ErrorCode,
};

/// Answers in the order of the request.
pub fn answer(asked: &DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(KafkaString::from_static(
            "No Authorizer is configured.",
        )));
    DeleteAclsResponse::default().with_filter_results(vec![refused; asked.filters.len()])
}
