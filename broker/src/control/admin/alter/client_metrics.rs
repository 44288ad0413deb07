//! What a subscription to clients' metrics asks of its settings (KIP-714).

use kacrab_protocol::generated::ErrorCode;

use super::invalid;
use crate::{
    config::{
        layers::Texts,
        resource::client_metrics_setting,
        value::{Kind, list_items},
    },
    control::message::Refusal,
};

/// What a client can be chosen by.
const SELECTORS: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// All settings of a subscription in their normal form.
pub(super) fn check(after: &Texts) -> Result<Texts, Refusal> {
    let mut checked = Texts::new();
    for (key, text) in after {
        let Some(setting) = client_metrics_setting(key) else {
            let text = format!("Unknown client metrics configuration: {key}");
            return Err(invalid(text));
        };
        let value = setting.parse_for_topic(text).map_err(|_| match setting.kind {
            Kind::Int { min, max } if text.trim().parse::<i64>().is_ok() => invalid(format!(
                "Invalid value {text} for {key}, interval must be between {min} and {max} (1 hour)"
            )),
            _ => {
                let text = setting.kafkas_complaint(key, text);
                Refusal::new(ErrorCode::InvalidConfig, text)
            }
        })?;
        if key == "match" {
            check_patterns(text)?;
        }
        checked.insert(key.clone(), value.to_string());
    }
    Ok(checked)
}

fn check_patterns(text: &str) -> Result<(), Refusal> {
    let is_pattern = |item: &&str| {
        let parts = item.split_once('=');
        parts.is_some_and(|(selector, pattern)| {
            SELECTORS.contains(&selector.trim()) && !pattern.trim().is_empty()
        })
    };
    match list_items(text).into_iter().find(|item| !is_pattern(item)) {
        None => Ok(()),
        Some(item) => Err(Refusal::new(
            ErrorCode::InvalidConfig,
            format!("Illegal client matching pattern: {item}"),
        )),
    }
}
