//! A broker's settings while it runs: what was set for this broker lies over what was set for all
//! of the cluster, and that over what the process was started with.
//!
//! The dynamic layers come from the metadata and were checked on their way in. One that no setting
//! of this version has, or that is no value any more, is kept and has no effect: a start must not
//! fail on it.

use std::collections::BTreeMap;

use super::{
    source::{Settings, Source},
    table::broker_setting,
    value::Value,
};

/// Settings by key, as texts.
pub type Texts = BTreeMap<String, String>;

/// The layers, and what comes of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Layers {
    started: Settings,
    cluster: Texts,
    broker: Texts,
    effective: Settings,
}

impl Layers {
    /// These layers.
    #[must_use]
    pub fn new(started: Settings, cluster: Texts, broker: Texts) -> Layers {
        let mut effective = started.clone();
        let dynamic = [(&cluster, Source::Cluster), (&broker, Source::Broker)];
        for (layer, source) in dynamic {
            for (key, text) in layer {
                if broker_setting(key).is_none_or(|setting| !setting.dynamic) {
                    continue;
                }
                if let Err(error) = effective.set(key, text, source.clone()) {
                    tracing::warn!(%error, "a dynamic setting is ignored");
                }
            }
        }
        Layers {
            started,
            cluster,
            broker,
            effective,
        }
    }

    /// Nothing set dynamically.
    #[must_use]
    pub fn started_with(started: Settings) -> Layers {
        Layers::new(started, Texts::new(), Texts::new())
    }

    /// The same start with other dynamic layers.
    #[must_use]
    pub fn changed(&self, cluster: Texts, broker: Texts) -> Layers {
        Layers::new(self.started.clone(), cluster, broker)
    }

    /// What holds now.
    #[must_use]
    pub fn effective(&self) -> &Settings {
        &self.effective
    }

    /// What the process was started with.
    #[must_use]
    pub fn started(&self) -> &Settings {
        &self.started
    }

    /// What was set for the whole cluster.
    #[must_use]
    pub fn cluster(&self) -> &Texts {
        &self.cluster
    }

    /// What was set for this broker.
    #[must_use]
    pub fn broker(&self) -> &Texts {
        &self.broker
    }

    /// A number among the dynamic settings.
    ///
    /// # Panics
    /// If the table has no such number: that is a mistake in the caller.
    #[must_use]
    pub fn number(&self, key: &str) -> i64 {
        match self.effective.value(key) {
            Value::Int(number) => *number,
            other => panic!("{key} is {other}, which is no number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn this_broker_wins_over_the_cluster_and_that_over_the_start() {
        let mut started = Settings::default();
        started.set_pair("log.retention.ms=1").expect("a value");
        started.set_pair("log.roll.ms=1").expect("a value");
        started.set_pair("max.connections=1").expect("a value");
        let cluster = texts(&[("log.retention.ms", "2"), ("log.roll.ms", "2")]);
        let broker = texts(&[("log.retention.ms", "3")]);
        let layers = Layers::new(started, cluster, broker);
        assert_eq!(layers.number("log.retention.ms"), 3);
        assert_eq!(layers.number("log.roll.ms"), 2);
        assert_eq!(layers.number("max.connections"), 1);
    }

    #[test]
    fn what_cannot_be_changed_or_is_unknown_has_no_effect() {
        let broker = texts(&[("node.id", "7"), ("some.key", "x"), ("log.roll.ms", "soon")]);
        let layers = Layers::new(Settings::default(), Texts::new(), broker);
        assert_eq!(layers.effective(), &Settings::default());
    }
}
