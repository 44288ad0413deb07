//! Settings as DescribeConfigs and CreateTopics tell of them.

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
