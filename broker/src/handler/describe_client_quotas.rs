//! DescribeClientQuotas: no quotas are served yet, so none match; a filter without sense is
//! refused all the same.

use std::collections::BTreeSet;

use spate_net::kafka::{
    KafkaString,
    api::describe_client_quotas::{
        ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    },
    error::ErrorCode,
};

use crate::control::message::Refusal;

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// Answers.
pub fn answer(asked: &DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    match check(&asked.components) {
        Ok(()) => DescribeClientQuotasResponse::default()
            .with_error_message(Some(KafkaString::from_static("")))
            .with_entries(Some(Vec::new())),
        Err(refusal) => DescribeClientQuotasResponse::default()
            .with_error_code(refusal.code.code())
            .with_error_message(Some(refusal.message.into()))
            .with_entries(None),
    }
}

fn check(components: &[ComponentData]) -> Result<(), Refusal> {
    let invalid = |text: String| Err(Refusal::new(ErrorCode::InvalidRequest, text));
    let mut seen = BTreeSet::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if !seen.insert(kind) {
            return invalid(format!(
                "Entity type {kind} cannot appear more than once in the filter."
            ));
        }
        match kind {
            "user" | "client-id" | "ip" => {}
            "" => return invalid("Invalid empty entity type.".into()),
            _ => {
                let text = format!("Unsupported entity type {kind}");
                return Err(Refusal::new(ErrorCode::UnsupportedVersion, text));
            }
        }
        match (component.match_type, &component.r#match) {
            (EXACT, Some(_)) | (DEFAULT | ANY, None) => {}
            (EXACT, None) => {
                return invalid(
                    "Request specified MATCH_TYPE_EXACT, but set match string to null.".into(),
                );
            }
            (DEFAULT, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_DEFAULT, but set match string to a value.".into(),
                );
            }
            (ANY, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but set match string to a value."
                        .into(),
                );
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        }
    }
    if seen.contains("ip") && seen.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used \
             with user or clientId filter component."
                .into(),
        );
    }
    Ok(())
}
