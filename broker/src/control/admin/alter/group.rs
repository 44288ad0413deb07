//! What a group asks of its settings.

use kacrab_protocol::generated::ErrorCode;

use crate::{
    config::{
        layers::Texts,
        resource::group_setting,
        value::{Kind, Setting},
    },
    control::message::Refusal,
};

/// All settings of a group in their normal form. What it had before stays as it was.
pub(super) fn check(after: &Texts, before: &Texts) -> Result<Texts, Refusal> {
    let mut checked = Texts::new();
    for (key, text) in after {
        let value = match before.get(key) {
            Some(present) if present == text => text.clone(),
            _ => value(key, text)?,
        };
        checked.insert(key.clone(), value);
    }
    Ok(checked)
}

fn value(key: &str, text: &str) -> Result<String, Refusal> {
    let refuse = |text| Refusal::new(ErrorCode::InvalidConfig, text);
    let Some(setting) = group_setting(key) else {
        return Err(refuse(format!("Unknown group config name: {key}")));
    };
    match setting.parse_for_topic(text) {
        Ok(value) if key != "share.auto.offset.reset" || is_reset(text) => Ok(value.to_string()),
        _ => Err(refuse(complaint(setting, key, text))),
    }
}

/// A limit is the broker's, and Kafka names the broker's key that would move it.
fn complaint(setting: &Setting, key: &str, text: &str) -> String {
    let limit = |bound: &str, words: &str| {
        let (head, tail) = setting
            .key
            .rsplit_once(key_tail(key))
            .unwrap_or((setting.key, ""));
        format!(
            "{key} must be {words} than or equal to {head}{bound}.{}{tail}",
            key_tail(key)
        )
    };
    match (setting.kind, text.trim().parse::<i64>()) {
        (Kind::Int { min, .. }, Ok(number)) if number < min => limit("min", "greater"),
        (Kind::Int { max, .. }, Ok(number)) if number > max => limit("max", "less"),
        _ => setting.kafkas_complaint(key, text),
    }
}

/// A group's key without the kind of group before it.
fn key_tail(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, tail)| tail)
}

/// Where a share group begins: a word, or a duration as ISO 8601 writes it.
fn is_reset(text: &str) -> bool {
    let is_duration = |text: &str| text.len() > 2 && text.starts_with(['P', 'p']);
    let duration = text.strip_prefix("by_duration:");
    matches!(text, "latest" | "earliest") || duration.is_some_and(is_duration)
}
