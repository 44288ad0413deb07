//! What a broker asks of settings that are changed while it runs: only those that it heeds at
//! once, with values that do not contradict the others.

use super::{Admin, invalid};
use crate::{
    config::{
        Config,
        layers::{Layers, Texts},
        table::broker_setting,
        value::{Kind, Setting},
    },
    control::message::Refusal,
};

/// The name under which this broker's settings are kept; all brokers' are under the empty one.
pub(super) fn find(config: &Config, name: &str) -> Result<String, Refusal> {
    if name.is_empty() {
        return Ok(String::new());
    }
    let Ok(id) = name.parse::<i32>() else {
        let text = format!("Node id must be an integer, but it is: {name}");
        return Err(invalid(text));
    };
    if !config.names_this_node(id) {
        let expected = config.node_id;
        let text = format!("Unexpected broker id, expected {expected}, but received {name}");
        return Err(invalid(text));
    }
    Ok(config.node_id.to_string())
}

/// The row of a key whose value is a list.
pub(super) fn list(key: &str) -> Option<&'static Setting> {
    broker_setting(key).filter(|row| matches!(row.kind, Kind::List(_)))
}

impl Admin<'_> {
    /// All dynamic settings of a broker, or of all brokers, in their normal form. A key that is
    /// not known is kept: it may be a plugin's of another broker (as in Kafka).
    pub(super) fn check_broker_config(self, after: Texts, name: &str) -> Result<Texts, Refusal> {
        let is_fixed = |key: &&String| broker_setting(key).is_some_and(|row| !row.dynamic);
        let fixed: Vec<_> = after.keys().filter(is_fixed).map(String::as_str).collect();
        if !fixed.is_empty() {
            let text = format!(
                "Cannot update these configs dynamically: [{}]",
                fixed.join(", ")
            );
            return Err(invalid(text));
        }
        let mut checked = Texts::new();
        for (key, text) in after {
            let text = match broker_setting(&key) {
                None => text,
                Some(row) => match row.parse(&text) {
                    Ok(value) => value.to_string(),
                    Err(_) => return Err(invalid(row.kafkas_complaint(&key, &text))),
                },
            };
            checked.insert(key, text);
        }
        let (of_all, of_this) = (self.broker.cluster(), self.broker.broker());
        let layers = if name.is_empty() {
            self.broker.changed(checked.clone(), of_this.clone())
        } else {
            self.broker.changed(of_all.clone(), checked.clone())
        };
        self.check_together(&layers)?;
        Ok(checked)
    }

    fn check_together(self, layers: &Layers) -> Result<(), Refusal> {
        match Config::new(layers.effective().clone()) {
            Ok(_) => Ok(()),
            Err(error) => Err(invalid(error.to_string())),
        }
    }
}
