//! Settings as DescribeConfigs and CreateTopics tell of them.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    layers::Layers,
    resource::{CLIENT_METRICS, GROUP},
    source::Source,
    table::{broker_setting, settings, topic_settings},
    value::Setting,
};

/// Where a value comes from, with Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigSource {
    /// Given for this topic.
    Topic = 1,
    /// Given for this broker while it ran.
    Broker = 2,
    /// Given for all brokers while they ran.
    DefaultBroker = 3,
    /// Given for this broker at its start: file, environment or flag.
    StaticBroker = 4,
    /// Nobody gave it.
    Default = 5,
    /// The level of a logger.
    BrokerLogger = 6,
    /// Given for this subscription to clients' metrics.
    ClientMetrics = 7,
    /// Given for this group.
    Group = 8,
}

/// A value's type, with Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ConfigType {
    /// Of a key that is not known.
    Unknown = 0,
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

impl ConfigType {
    /// Kafka's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConfigType::Unknown => "UNKNOWN",
            ConfigType::Boolean => "BOOLEAN",
            ConfigType::String => "STRING",
            ConfigType::Int => "INT",
            ConfigType::Long => "LONG",
            ConfigType::Double => "DOUBLE",
            ConfigType::List => "LIST",
        }
    }
}

/// Another key that the value would come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSynonym {
    /// The key.
    pub key: Cow<'static, str>,
    /// Its value.
    pub value: Option<String>,
    /// Where that comes from.
    pub source: ConfigSource,
}

/// One setting of a topic, a broker, a group and so on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigRow {
    /// The key.
    pub key: Cow<'static, str>,
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
pub fn describe_broker(broker: &Layers) -> Vec<ConfigRow> {
    let unknown = |(key, _): &(&String, &String)| broker_setting(key).is_none();
    let rows = settings().map(|setting| broker_row(setting, broker));
    let own = broker.broker().iter().filter(unknown);
    let own = own.map(|(key, _)| unknown_row(key, ConfigSource::Broker));
    let of_all = broker.cluster().iter().filter(unknown);
    let of_all = of_all.filter(|(key, _)| !broker.broker().contains_key(*key));
    let of_all = of_all.map(|(key, _)| unknown_row(key, ConfigSource::DefaultBroker));
    rows.chain(own).chain(of_all).collect()
}

/// What was set for all brokers of the cluster while they ran, and nothing else.
#[must_use]
pub fn describe_cluster(broker: &Layers) -> Vec<ConfigRow> {
    let row = |(key, text): (&String, &String)| {
        let Some(setting) = broker_setting(key) else {
            return unknown_row(key, ConfigSource::DefaultBroker);
        };
        let synonym = given(setting.key.into(), text, ConfigSource::DefaultBroker);
        row_of(setting.key, setting, vec![synonym])
    };
    broker.cluster().iter().map(row).collect()
}

/// All settings of a topic with these values of its own.
#[must_use]
pub fn describe_topic(broker: &Layers, overrides: &BTreeMap<String, String>) -> Vec<ConfigRow> {
    let row = |(key, setting): (&'static str, &'static Setting)| {
        let own = overrides.get(key);
        let own = own.map(|text| given(key.into(), text, ConfigSource::Topic));
        let mut synonyms: Vec<_> = own.into_iter().collect();
        if broker_setting(setting.key).is_some() {
            synonyms.extend(broker_synonyms(setting, broker));
        }
        row_of(key, setting, synonyms)
    };
    topic_settings().map(row).collect()
}

/// All settings of a group with these values of its own.
#[must_use]
pub fn describe_group(own: &BTreeMap<String, String>) -> Vec<ConfigRow> {
    let row = |setting| own_row(setting, own, ConfigSource::Group);
    GROUP.iter().map(row).collect()
}

/// All settings of a subscription to clients' metrics with these values of its own.
#[must_use]
pub fn describe_client_metrics(own: &BTreeMap<String, String>) -> Vec<ConfigRow> {
    let row = |setting| own_row(setting, own, ConfigSource::ClientMetrics);
    CLIENT_METRICS.iter().map(row).collect()
}

fn broker_row(setting: &'static Setting, broker: &Layers) -> ConfigRow {
    let mut synonyms = broker_synonyms(setting, broker);
    if setting.unset_in_kafka {
        synonyms.push(default_of(setting));
    }
    ConfigRow {
        read_only: !setting.dynamic,
        ..row_of(setting.key, setting, synonyms)
    }
}

/// A thing's setting whose default is the table's.
fn own_row(
    setting: &'static Setting,
    own: &BTreeMap<String, String>,
    source: ConfigSource,
) -> ConfigRow {
    let key = setting.topic_key.unwrap_or(setting.key);
    let own = own.get(key).map(|text| given(key.into(), text, source));
    let default = (!setting.unset_in_kafka).then(|| default_of(setting));
    row_of(key, setting, own.into_iter().chain(default).collect())
}

/// The row whose value is the first synonym's, or else the table's default.
fn row_of(key: &'static str, setting: &'static Setting, synonyms: Vec<ConfigSynonym>) -> ConfigRow {
    let default = default_of(setting);
    let holds = synonyms.first().unwrap_or(&default);
    ConfigRow {
        key: key.into(),
        value: holds.value.clone(),
        source: holds.source,
        synonyms,
        kind: setting.config_type(),
        documentation: documentation(setting),
        read_only: false,
        sensitive: false,
    }
}

/// A key that this broker does not know. Its value may be a secret, and is not told (as in Kafka).
fn unknown_row(key: &str, source: ConfigSource) -> ConfigRow {
    let synonym = ConfigSynonym {
        key: key.to_owned().into(),
        value: None,
        source,
    };
    ConfigRow {
        key: key.to_owned().into(),
        value: None,
        source,
        synonyms: vec![synonym],
        kind: ConfigType::Unknown,
        documentation: String::new(),
        read_only: true,
        sensitive: true,
    }
}

/// Every layer that says something, the one that holds first.
fn broker_synonyms(setting: &'static Setting, broker: &Layers) -> Vec<ConfigSynonym> {
    let dynamic = |layer: &BTreeMap<String, String>, source| {
        let text = layer.get(setting.key).filter(|_| setting.dynamic);
        text.map(|text| given(setting.key.into(), text, source))
    };
    let chosen = broker.started().chosen(setting.key);
    let started = (chosen.source != Source::Default).then(|| ConfigSynonym {
        key: setting.key.into(),
        value: shown(setting, chosen.value.to_string()),
        source: ConfigSource::StaticBroker,
    });
    let default = (!setting.unset_in_kafka).then(|| default_of(setting));
    dynamic(broker.broker(), ConfigSource::Broker)
        .into_iter()
        .chain(dynamic(broker.cluster(), ConfigSource::DefaultBroker))
        .chain(started)
        .chain(default)
        .collect()
}

fn given(key: Cow<'static, str>, text: &str, source: ConfigSource) -> ConfigSynonym {
    ConfigSynonym {
        key,
        value: Some(text.to_owned()),
        source,
    }
}

fn default_of(setting: &'static Setting) -> ConfigSynonym {
    ConfigSynonym {
        key: setting.key.into(),
        value: shown(setting, setting.default.to_string()),
        source: ConfigSource::Default,
    }
}

/// An empty list is a value, an empty text is none.
fn shown(setting: &Setting, text: String) -> Option<String> {
    let is_list = setting.config_type() == ConfigType::List;
    Some(text).filter(|text| is_list || !text.is_empty())
}

fn documentation(setting: &Setting) -> String {
    format!("{} Values: {}.", setting.meaning, setting.expected())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{layers::Texts, source::Settings},
        *,
    };

    fn row<'a>(rows: &'a [ConfigRow], key: &str) -> &'a ConfigRow {
        rows.iter()
            .find(|row| row.key == key)
            .expect("a row of this key")
    }

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn sources(row: &ConfigRow) -> Vec<ConfigSource> {
        let synonyms = row.synonyms.iter();
        synonyms.map(|synonym| synonym.source).collect()
    }

    #[test]
    fn a_topics_value_stands_before_the_brokers_and_the_default() {
        let mut started = Settings::default();
        started.set_pair("log.retention.bytes=1000").expect("set");
        let cluster = texts(&[("log.retention.bytes", "7")]);
        let broker = Layers::new(started, cluster, texts(&[("log.retention.bytes", "8")]));
        let rows = describe_topic(&broker, &texts(&[("retention.bytes", "5")]));
        let retention = row(&rows, "retention.bytes");
        assert_eq!(retention.value.as_deref(), Some("5"));
        let every_source = [
            ConfigSource::Topic,
            ConfigSource::Broker,
            ConfigSource::DefaultBroker,
            ConfigSource::StaticBroker,
            ConfigSource::Default,
        ];
        assert_eq!(sources(retention), every_source);
        let rows = describe_topic(&broker, &Texts::new());
        assert_eq!(row(&rows, "retention.bytes").value.as_deref(), Some("8"));
        assert_eq!(row(&rows, "segment.ms").source, ConfigSource::Default);
        assert_eq!(row(&rows, "segment.ms").kind, ConfigType::Long);
    }

    /// Kafka takes these from `log.retention.hours` and the like.
    #[test]
    fn what_kafka_leaves_unset_has_no_default_among_its_synonyms() {
        let broker = Layers::started_with(Settings::default());
        let rows = describe_topic(&broker, &Texts::new());
        let retention = row(&rows, "retention.ms");
        assert_eq!(retention.value.as_deref(), Some("604800000"));
        assert_eq!(sources(retention), []);
        assert_eq!(
            sources(row(&rows, "max.message.bytes")),
            [ConfigSource::Default]
        );
    }

    #[test]
    fn a_broker_tells_all_its_settings() {
        let broker = texts(&[("some.key", "secret")]);
        let broker = Layers::new(Settings::default(), Texts::new(), broker);
        let rows = describe_broker(&broker);
        assert_eq!(rows.len(), settings().count() + 1);
        assert_eq!(row(&rows, "num.partitions").value.as_deref(), Some("1"));
        assert_eq!(row(&rows, "broker.rack").value, None);
        assert!(row(&rows, "node.id").read_only);
        assert!(!row(&rows, "max.connections").read_only);
        let unknown = row(&rows, "some.key");
        assert!(unknown.sensitive && unknown.value.is_none());
    }

    #[test]
    fn the_cluster_tells_only_what_was_set_for_it() {
        let cluster = texts(&[("log.roll.ms", "7")]);
        let broker = Layers::new(Settings::default(), cluster, Texts::new());
        let rows = describe_cluster(&broker);
        assert_eq!(rows.len(), 1);
        assert_eq!(sources(&rows[0]), [ConfigSource::DefaultBroker]);
    }

    #[test]
    fn a_groups_value_stands_before_the_brokers_default() {
        let rows = describe_group(&texts(&[("consumer.session.timeout.ms", "50000")]));
        let timeout = row(&rows, "consumer.session.timeout.ms");
        assert_eq!(
            sources(timeout),
            [ConfigSource::Group, ConfigSource::Default]
        );
        assert_eq!(timeout.synonyms[1].key, "group.consumer.session.timeout.ms");
        let rows = describe_client_metrics(&Texts::new());
        assert_eq!(row(&rows, "match").value.as_deref(), Some(""));
    }
}
