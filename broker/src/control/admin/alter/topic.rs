//! What a topic asks of its settings: known keys, values of their kinds, and no contradictions.

use kacrab_protocol::generated::ErrorCode;
use spate_storage::types::TopicId;

use super::invalid;
use crate::{
    config::{
        layers::Texts,
        source::Settings,
        table::{topic_setting, topic_settings},
        topic::TopicConfig,
        value::{Kind, Setting},
    },
    control::{message::Refusal, metadata::state::State, name},
};

/// The topic of this name.
pub(super) fn find(state: &State, topic: &str) -> Result<TopicId, Refusal> {
    if topic.is_empty() {
        return Err(invalid("Default topic resources are not allowed."));
    }
    name::check(topic).map_err(|text| Refusal::new(ErrorCode::InvalidTopicException, text))?;
    state.topic_id(topic).ok_or_else(|| {
        let text = format!("The topic '{topic}' does not exist.");
        Refusal::new(ErrorCode::UnknownTopicOrPartition, text)
    })
}

/// The row of a key whose value is a list.
pub(super) fn list(key: &str) -> Option<&'static Setting> {
    let is_list = |row: &&Setting| matches!(row.kind, Kind::List(_) | Kind::Replicas);
    topic_setting(key).filter(is_list)
}

/// All settings of a topic in their normal form. What it had before stays as it was: a value that
/// an older version took is no reason to refuse another.
pub(super) fn check(after: &Texts, before: &Texts, broker: &Settings) -> Result<Texts, Refusal> {
    let mut checked = Texts::new();
    for (key, text) in after {
        let value = match before.get(key) {
            Some(present) if present == text => text.clone(),
            _ => value(key, text)?,
        };
        checked.insert(key.clone(), value);
    }
    check_whole(&checked, broker)?;
    Ok(checked)
}

/// The value of one setting in its normal form.
pub(in crate::control::admin) fn value(key: &str, text: &str) -> Result<String, Refusal> {
    let refuse = |text| Refusal::new(ErrorCode::InvalidConfig, text);
    let Some(setting) = topic_setting(key) else {
        let known = topic_settings().map(|(key, _)| key);
        let nearest = crate::config::table::nearest(key, known);
        let text = format!("Unknown topic config name: {key}; the nearest is {nearest}");
        return Err(refuse(text));
    };
    let parsed = setting.parse_for_topic(text);
    match parsed {
        Ok(value) => Ok(value.to_string()),
        Err(_) => Err(refuse(setting.kafkas_complaint(key, text))),
    }
}

/// Settings that contradict each other, or what this broker is.
pub(in crate::control::admin) fn check_whole(
    settings: &Texts,
    broker: &Settings,
) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::new(ErrorCode::InvalidConfig, text));
    let config = TopicConfig::effective(broker, settings);
    let (min, max) = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
    if min > max {
        return refuse(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > \
             max.compaction.lag.ms ({max})"
        ));
    }
    if settings
        .get("remote.storage.enable")
        .is_some_and(|flag| flag == "true")
    {
        let text = "Tiered Storage functionality is disabled in the broker. Topic cannot be \
                    configured with remote log storage.";
        return refuse(text.into());
    }
    Ok(())
}
