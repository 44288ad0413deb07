//! CreateAcls: without an authorizer a rule would forbid nothing, so none is taken, as in Kafka.

use spate_net::kafka::{
    KafkaString,
    api::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse},
    error::ErrorCode,
};

/// Answers in the order of the request.
pub fn answer(asked: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(KafkaString::from_static(
            "No Authorizer is configured.",
        )));
    CreateAclsResponse::default().with_results(vec![refused; asked.creations.len()])
}
