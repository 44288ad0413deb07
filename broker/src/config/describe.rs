//! Settings as DescribeConfigs and CreateTopics tell of them.

use std::collections::BTreeMap;

use super::{
    source::{Settings, Source},
    table::settings,
    value::Setting,
};

/// Where a value comes from, with Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigSource {
    /// Given for this topic.
    Topic = 1,
    /// Given for this broker at its start: file, environment or flag.
    StaticBroker = 4,
    /// Nobody gave it.
    Default = 5,
}

/// A value's type, with Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigType {
    /// true or false
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 64 bits.
    Long = 5,
    /// A fraction.
    Double = 6,
    /// Texts with commas between.
    List = 7,
}

/// Another key that the value would come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSynonym {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: Option<String>,
    /// Where that comes from.
    pub source: ConfigSource,
}

/// One setting of a topic or of the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigRow {
    /// The key.
    pub key: &'static str,
    /// The value that holds; `None` if unset or sensitive.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Keys it could come from, the one that holds first.
    pub synonyms: Vec<ConfigSynonym>,
    /// The value's type.
    pub kind: ConfigType,
    /// What it means.
    pub documentation: String,
    /// It changes only with a restart.
    pub read_only: bool,
    /// It is a secret.
    pub sensitive: bool,
}

/// All settings of a broker.
#[must_use]
pub fn describe_broker(broker: &Settings) -> Vec<ConfigRow> {
    settings()
        .map(|setting| broker_row(setting, broker))
        .collect()
}

/// All settings of a topic with these values of its own.
#[must_use]
pub fn describe_topic(broker: &Settings, overrides: &BTreeMap<String, String>) -> Vec<ConfigRow> {
    let row = |setting: &'static Setting| {
        setting
            .topic_key
            .map(|key| topic_row(key, setting, broker, overrides.get(key)))
    };
    settings().filter_map(row).collect()
}

fn broker_row(setting: &'static Setting, broker: &Settings) -> ConfigRow {
    let synonyms = broker_synonyms(setting, broker);
    ConfigRow {
        key: setting.key,
        value: synonyms[0].value.clone(),
        source: synonyms[0].source,
        synonyms,
        kind: setting.config_type(),
        documentation: documentation(setting),
        read_only: true,
        sensitive: false,
    }
}

fn topic_row(
    key: &'static str,
    setting: &'static Setting,
    broker: &Settings,
    own: Option<&String>,
) -> ConfigRow {
    let own = own.map(|text| ConfigSynonym {
        key,
        value: Some(text.clone()),
        source: ConfigSource::Topic,
    });
    let synonyms: Vec<_> = own
        .into_iter()
        .chain(broker_synonyms(setting, broker))
        .collect();
    ConfigRow {
        key,
        value: synonyms[0].value.clone(),
        source: synonyms[0].source,
        synonyms,
        kind: setting.config_type(),
        documentation: documentation(setting),
        read_only: false,
        sensitive: false,
    }
}

/// Never empty: the default is always last.
fn broker_synonyms(setting: &'static Setting, broker: &Settings) -> Vec<ConfigSynonym> {
    let text = |value: String| Some(value).filter(|value| !value.is_empty());
    let chosen = broker.chosen(setting.key);
    let given = (chosen.source != Source::Default).then(|| ConfigSynonym {
        key: setting.key,
        value: text(chosen.value.to_string()),
        source: ConfigSource::StaticBroker,
    });
    let default = ConfigSynonym {
        key: setting.key,
        value: text(setting.default.to_string()),
        source: ConfigSource::Default,
    };
    given.into_iter().chain([default]).collect()
}

fn documentation(setting: &Setting) -> String {
    format!("{} Values: {}.", setting.meaning, setting.expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(rows: &'a [ConfigRow], key: &str) -> &'a ConfigRow {
        rows.iter()
            .find(|row| row.key == key)
            .expect("a row of this key")
    }

    #[test]
    fn a_topics_value_stands_before_the_brokers_and_the_default() {
        let mut broker = Settings::default();
        broker.set_pair("log.retention.ms=1000").expect("a value");
        let own = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        let rows = describe_topic(&broker, &own);
        let retention = row(&rows, "retention.ms");
        assert_eq!(retention.value.as_deref(), Some("5"));
        let sources: Vec<_> = retention
            .synonyms
            .iter()
            .map(|synonym| synonym.source)
            .collect();
        assert_eq!(
            sources,
            [
                ConfigSource::Topic,
                ConfigSource::StaticBroker,
                ConfigSource::Default
            ]
        );
        let rows = describe_topic(&broker, &BTreeMap::new());
        assert_eq!(
            row(&rows, "retention.ms").source,
            ConfigSource::StaticBroker
        );
        assert_eq!(row(&rows, "segment.ms").source, ConfigSource::Default);
        assert_eq!(row(&rows, "segment.ms").kind, ConfigType::Long);
    }

    #[test]
    fn a_broker_tells_all_its_settings() {
        let rows = describe_broker(&Settings::default());
        assert_eq!(rows.len(), settings().count());
        assert_eq!(row(&rows, "num.partitions").value.as_deref(), Some("1"));
        assert_eq!(row(&rows, "broker.rack").value, None);
        assert!(row(&rows, "node.id").read_only);
    }
}
