//! One setting: its key, its range, its default, and how a text becomes its value.
//! Pure data; who gave a text is `source`'s business.

use std::{borrow::Cow, fmt};

use super::{address::HostPort, describe::ConfigType};

/// A value, in its normal form: what prints equal is equal.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// true or false.
    Bool(bool),
    /// A fraction.
    Ratio(f64),
    /// Anything else; lists have commas between. Empty is unset.
    Text(Cow<'static, str>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(number) => fmt::Display::fmt(number, f),
            Value::Bool(flag) => fmt::Display::fmt(flag, f),
            Value::Ratio(ratio) => fmt::Display::fmt(ratio, f),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// What a text must look like.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// A whole number in a range (both ends count).
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A whole number in a range, or -1: the codec's own choice.
    Level {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// true or false.
    Bool,
    /// A fraction from 0 to 1.
    Ratio,
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any of these words, with commas between; none is a value too.
    List(&'static [&'static str]),
    /// Any texts, with commas between.
    FreeList,
    /// PARTITION:BROKER pairs with commas between, or `*` for all.
    Replicas,
    /// HOST:PORT, also written PLAINTEXT://HOST:PORT; may be empty, but for `listeners`.
    Address,
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nothing, or things the meaning names.
    None,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::None => "-",
            Unit::Bytes => "bytes",
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "us",
        })
    }
}

/// One row of the table of settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// The broker's key: Kafka's where Kafka has the setting too.
    pub key: &'static str,
    /// The key under which a topic may have its own value.
    pub topic_key: Option<&'static str>,
    /// What values there are.
    pub kind: Kind,
    /// The value if nobody gives one.
    pub default: Value,
    /// What numbers count.
    pub unit: Unit,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// Whether it may be changed while the broker runs; what topics may have of their own always
    /// may.
    pub dynamic: bool,
    /// Whether Kafka leaves the broker's key unset and takes the value from another: then there is
    /// no default among a topic's synonyms.
    pub unset_in_kafka: bool,
}

/// A text that is no value of its setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key} = {given:?} is not {expected}")]
pub struct ValueError {
    /// The key under which it was given.
    pub key: &'static str,
    /// The text.
    pub given: String,
    /// What would be right, with range and unit.
    pub expected: String,
}

impl Setting {
    /// A whole number.
    pub const fn int(key: &'static str, default: i64, min: i64, max: i64, unit: Unit) -> Setting {
        let kind = Kind::Int { min, max };
        Setting {
            key,
            topic_key: None,
            kind,
            default: Value::Int(default),
            unit,
            meaning: "",
            dynamic: false,
            unset_in_kafka: false,
        }
    }

    /// A codec's level; -1 by default.
    pub const fn level(key: &'static str, min: i64, max: i64) -> Setting {
        Setting {
            key,
            topic_key: None,
            kind: Kind::Level { min, max },
            default: Value::Int(-1),
            unit: Unit::None,
            meaning: "",
            dynamic: false,
            unset_in_kafka: false,
        }
    }

    /// true or false.
    pub const fn bool(key: &'static str, default: bool) -> Setting {
        let default = Value::Bool(default);
        Setting {
            key,
            topic_key: None,
            kind: Kind::Bool,
            default,
            unit: Unit::None,
            meaning: "",
            dynamic: false,
            unset_in_kafka: false,
        }
    }

    /// A fraction from 0 to 1.
    pub const fn ratio(key: &'static str, default: f64) -> Setting {
        let default = Value::Ratio(default);
        Setting {
            key,
            topic_key: None,
            kind: Kind::Ratio,
            default,
            unit: Unit::None,
            meaning: "",
            dynamic: false,
            unset_in_kafka: false,
        }
    }

    /// A text of this kind.
    pub const fn text(key: &'static str, default: &'static str, kind: Kind) -> Setting {
        let default = Value::Text(Cow::Borrowed(default));
        Setting {
            key,
            topic_key: None,
            kind,
            default,
            unit: Unit::None,
            meaning: "",
            dynamic: false,
            unset_in_kafka: false,
        }
    }

    /// Says what it means.
    pub const fn means(mut self, meaning: &'static str) -> Setting {
        self.meaning = meaning;
        self
    }

    /// Lets topics have their own value, and so the broker's change while it runs.
    pub const fn topic(mut self, topic_key: &'static str) -> Setting {
        self.topic_key = Some(topic_key);
        self.dynamic = true;
        self
    }

    /// Lets it be changed while the broker runs.
    pub const fn dynamic(mut self) -> Setting {
        self.dynamic = true;
        self
    }

    /// Says that Kafka leaves the broker's key unset.
    pub const fn unset_in_kafka(mut self) -> Setting {
        self.unset_in_kafka = true;
        self
    }

    /// The value that a text means.
    ///
    /// # Errors
    /// [`ValueError`] if it means none.
    pub fn parse(&self, given: &str) -> Result<Value, ValueError> {
        self.parse_as(self.key, given)
    }

    /// The same for a topic's own value.
    ///
    /// # Errors
    /// [`ValueError`] with the topic's key.
    pub fn parse_for_topic(&self, given: &str) -> Result<Value, ValueError> {
        self.parse_as(self.topic_key.unwrap_or(self.key), given)
    }

    fn parse_as(&self, key: &'static str, given: &str) -> Result<Value, ValueError> {
        let text = given.trim();
        self.value_of(text).ok_or_else(|| ValueError {
            key,
            given: given.to_owned(),
            expected: self.expected(),
        })
    }

    fn value_of(&self, text: &str) -> Option<Value> {
        match self.kind {
            Kind::Int { min, max } => {
                let number: i64 = text.parse().ok()?;
                (min..=max).contains(&number).then_some(Value::Int(number))
            }
            Kind::Level { min, max } => {
                let level: i64 = text.parse().ok()?;
                let is_level = level == -1 || (min..=max).contains(&level);
                is_level.then_some(Value::Int(level))
            }
            Kind::Bool if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
            Kind::Bool => None,
            Kind::Ratio => {
                let ratio: f64 = text.parse().ok()?;
                (0.0..=1.0).contains(&ratio).then_some(Value::Ratio(ratio))
            }
            Kind::Text => Some(Value::Text(text.to_owned().into())),
            Kind::Choice(words) => words
                .iter()
                .find(|word| **word == text)
                .map(|word| Value::Text((*word).into())),
            Kind::List(_) if text.is_empty() => Some(Value::Text("".into())),
            Kind::List(words) => {
                let items = list_items(text);
                let known = items.iter().all(|item| words.contains(item));
                known.then(|| Value::Text(items.join(",").into()))
            }
            Kind::FreeList => Some(Value::Text(list_items(text).join(",").into())),
            Kind::Replicas => {
                let items = list_items(text);
                let known = text.is_empty() || text == "*" || items.iter().all(is_replica);
                known.then(|| Value::Text(items.join(",").into()))
            }
            // Whatever else may be off, a broker listens to its clients somewhere.
            Kind::Address if text.is_empty() => {
                (self.key != "listeners").then(|| Value::Text("".into()))
            }
            Kind::Address => text
                .parse::<HostPort>()
                .ok()
                .map(|address| Value::Text(address.to_string().into())),
        }
    }

    /// The range in words.
    #[must_use]
    pub fn expected(&self) -> String {
        let unit = match self.unit {
            Unit::None => String::new(),
            unit => format!(" {unit}"),
        };
        match self.kind {
            Kind::Int { min, max: i64::MAX } => format!("a whole number of at least {min}{unit}"),
            Kind::Int { min, max } => format!("a whole number from {min} to {max}{unit}"),
            Kind::Level { min, max } => format!("a whole number from {min} to {max}, or -1"),
            Kind::Bool => "true or false".into(),
            Kind::Ratio => "a fraction from 0 to 1".into(),
            Kind::Text => "a text".into(),
            Kind::Choice(words) => format!("one of: {}", words.join(", ")),
            Kind::List(words) => format!("a list, with commas between, of: {}", words.join(", ")),
            Kind::FreeList => "a list, with commas between".into(),
            Kind::Replicas => "a list of PARTITION:BROKER, with commas between, or *".into(),
            Kind::Address => "HOST:PORT or PLAINTEXT://HOST:PORT".into(),
        }
    }

    /// What is wrong with a text, in Kafka's words: its clients show them, and its users search
    /// for them.
    #[must_use]
    pub fn kafkas_complaint(&self, key: &str, given: &str) -> String {
        let text = given.trim();
        let reason = match self.kind {
            Kind::Int { min, max } => match text.parse::<i64>() {
                Ok(number) if number < min => format!("Value must be at least {min}"),
                Ok(number) if number > max => format!("Value must be no more than {max}"),
                _ => format!("Not a number of type {}", self.config_type().name()),
            },
            Kind::Level { min, max } => match text.parse::<i64>() {
                Ok(_) => format!("Value must be between {min} and {max} or equal to -1"),
                Err(_) => "Not a number of type INT".into(),
            },
            Kind::Ratio => match text.parse::<f64>() {
                Ok(ratio) if ratio < 0.0 => "Value must be at least 0".into(),
                Ok(ratio) if ratio > 1.0 => "Value must be no more than 1".into(),
                _ => "Not a number of type DOUBLE".into(),
            },
            Kind::Bool => "Expected value to be either true or false".into(),
            Kind::Choice(words) => format!("String must be one of: {}", words.join(", ")),
            Kind::List(words) => {
                let mut words = words.to_vec();
                words.sort_unstable();
                format!("String must be one of: {}", words.join(", "))
            }
            Kind::Replicas => {
                "Must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                    .into()
            }
            Kind::Text | Kind::FreeList | Kind::Address => self.expected(),
        };
        format!("Invalid value {given} for configuration {key}: {reason}")
    }

    /// Kafka's type of it.
    #[must_use]
    pub fn config_type(&self) -> ConfigType {
        match self.kind {
            Kind::Int { max, .. } if max <= i64::from(i32::MAX) => ConfigType::Int,
            Kind::Int { .. } => ConfigType::Long,
            Kind::Level { .. } => ConfigType::Int,
            Kind::Bool => ConfigType::Boolean,
            Kind::Ratio => ConfigType::Double,
            Kind::Text | Kind::Choice(_) => ConfigType::String,
            // Kafka takes several addresses; here one is the list.
            Kind::List(_) | Kind::FreeList | Kind::Replicas | Kind::Address => ConfigType::List,
        }
    }
}

/// The items of a list, each once and without the blanks around it, as Kafka stores them.
#[must_use]
pub fn list_items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    if text.trim().is_empty() {
        return items;
    }
    for item in text.split(',').map(str::trim) {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

fn is_replica(text: &&str) -> bool {
    let numbers = text.split_once(':');
    numbers.is_some_and(|(partition, broker)| {
        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Setting = Setting::int("a.bytes", 10, 1, 100, Unit::Bytes);
    const POLICY: Setting = Setting::text("policy", "delete", Kind::List(&["compact", "delete"]));
    const LISTEN: Setting = Setting::text("listeners", "localhost:1", Kind::Address);

    #[test]
    fn a_bad_value_is_told_with_range_and_unit() {
        let error = SIZE.parse("200").expect_err("out of range");
        assert_eq!(
            error.to_string(),
            "a.bytes = \"200\" is not a whole number from 1 to 100 bytes"
        );
        assert!(SIZE.parse("1MiB").is_err());
        assert_eq!(SIZE.parse(" 7 "), Ok(Value::Int(7)));
    }

    #[test]
    fn a_list_holds_known_words_only() {
        let both = Value::Text("compact,delete".into());
        assert_eq!(POLICY.parse("compact, delete"), Ok(both));
        assert!(POLICY.parse("compact,remove").is_err());
        assert!(POLICY.parse("compact,").is_err());
        assert_eq!(POLICY.parse(""), Ok(Value::Text("".into())));
        assert_eq!(
            POLICY.parse("delete,delete"),
            Ok(Value::Text("delete".into()))
        );
    }

    #[test]
    fn a_bad_value_is_told_to_clients_in_kafkas_words() {
        let complaint = |given| SIZE.kafkas_complaint("b", given);
        let expected = "Invalid value 0 for configuration b: Value must be at least 1";
        assert_eq!(complaint("0"), expected);
        assert!(complaint("x").ends_with("Not a number of type INT"));
        assert!(complaint("101").ends_with("Value must be no more than 100"));
        let complaint = POLICY.kafkas_complaint("p", "x");
        assert!(complaint.ends_with("String must be one of: compact, delete"));
    }

    #[test]
    fn a_level_may_be_left_to_the_codec() {
        const LEVEL: Setting = Setting::level("level", 1, 9);
        assert_eq!(LEVEL.parse("-1"), Ok(Value::Int(-1)));
        assert_eq!(LEVEL.parse("9"), Ok(Value::Int(9)));
        assert!(LEVEL.parse("0").is_err() && LEVEL.parse("10").is_err());
    }

    #[test]
    fn throttled_replicas_are_pairs_or_all() {
        let replicas = Setting::text("r", "", Kind::Replicas);
        for good in ["", "*", "0:1", "0:1, 1:2"] {
            assert!(replicas.parse(good).is_ok(), "{good}");
        }
        for bad in ["0", "a:b", "0:1,*"] {
            assert!(replicas.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_loses_kafkas_protocol_prefix() {
        let address = LISTEN
            .parse("PLAINTEXT://0.0.0.0:9092")
            .expect("an address");
        assert_eq!(address.to_string(), "0.0.0.0:9092");
        assert!(LISTEN.parse("").is_err());
        assert!(LISTEN.parse("0.0.0.0").is_err());
    }
}
