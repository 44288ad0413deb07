//! Where values come from: defaults, then a TOML file, then the environment, then flags, then
//! `--set`; the later wins. Nothing is read here that the caller did not hand in.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    table::{broker_setting, environment_name, nearest, settings, topic_setting},
    value::{Setting, Value, ValueError},
};

/// Who gave a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// This flag.
    Flag(&'static str),
    /// `--set`.
    Set,
    /// A client, for all brokers of the cluster.
    Cluster,
    /// A client, for this broker.
    Broker,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Environment(variable) => write!(f, "environment variable {variable}"),
            Source::Flag(flag) => f.write_str(flag),
            Source::Set => f.write_str("--set"),
            Source::Cluster => f.write_str("set for all brokers"),
            Source::Broker => f.write_str("set for this broker"),
        }
    }
}

/// Why the settings cannot be used. Each text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not TOML: {error}", path.display())]
    NotToml {
        /// Which.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
    /// A key that no setting has.
    #[error(
        "{given_by}: there is no setting {key}; did you mean {nearest}? (`spate config` lists all)"
    )]
    UnknownKey {
        /// The key.
        key: String,
        /// Who used it.
        given_by: Source,
        /// What was probably meant.
        nearest: &'static str,
    },
    /// A text that is no value of its setting.
    #[error("{given_by}: {error}")]
    BadValue {
        /// Who gave it.
        given_by: Source,
        /// The text, and what would be right.
        error: ValueError,
    },
    /// A TOML value that is no scalar and no list of scalars.
    #[error("{given_by}: {key} is {found}; write a text, a number, true or false")]
    BadType {
        /// The key.
        key: String,
        /// Who gave it.
        given_by: Source,
        /// What it is.
        found: &'static str,
    },
    /// An argument of `--set` without `=`.
    #[error("--set {0}: write --set KEY=VALUE")]
    NotAPair(String),
    /// Two settings that contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

/// A value and who gave it.
#[derive(Clone, PartialEq, Debug)]
pub struct Chosen {
    /// The value.
    pub value: Value,
    /// Who gave it.
    pub source: Source,
}

/// Every setting with its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    chosen: BTreeMap<&'static str, Chosen>,
}

impl Default for Settings {
    fn default() -> Settings {
        let default_of = |setting: &Setting| Chosen {
            value: setting.default.clone(),
            source: Source::Default,
        };
        Settings {
            chosen: settings()
                .map(|setting| (setting.key, default_of(setting)))
                .collect(),
        }
    }
}

impl Settings {
    /// The value of a broker's key and who gave it.
    ///
    /// # Panics
    /// If the table has no such key: keys from users come in through [`Settings::set`].
    #[must_use]
    pub fn chosen(&self, key: &str) -> &Chosen {
        self.chosen
            .get(key)
            .unwrap_or_else(|| panic!("no setting {key} in the table"))
    }

    /// The value of a broker's key.
    #[must_use]
    pub fn value(&self, key: &str) -> &Value {
        &self.chosen(key).value
    }

    /// Gives a setting a value.
    ///
    /// # Errors
    /// [`ConfigError`] for an unknown key or a bad value.
    pub fn set(&mut self, key: &str, text: &str, source: Source) -> Result<(), ConfigError> {
        let Some(setting) = broker_setting(key) else {
            return Err(unknown_key(key, source));
        };
        match setting.parse(text) {
            Ok(value) => {
                self.chosen.insert(setting.key, Chosen { value, source });
                Ok(())
            }
            Err(error) => Err(ConfigError::BadValue {
                given_by: source,
                error,
            }),
        }
    }

    /// Reads a TOML file; dotted keys and tables mean the same.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read or says something that cannot be.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        let table: toml::Table = text.parse().map_err(|error| {
            let error = Box::new(error);
            ConfigError::NotToml {
                path: path.to_owned(),
                error,
            }
        })?;
        let source = Source::File(path.to_owned());
        let mut found = Vec::new();
        flatten("", &table, &source, &mut found)?;
        found
            .iter()
            .try_for_each(|(key, text)| self.set(key, text, source.clone()))
    }

    /// Takes the `SPATE_*` variables. One that names no setting is only reported, in the returned
    /// notes: Kubernetes puts such variables for a service named `spate` into every container.
    ///
    /// # Errors
    /// [`ConfigError`] for a bad value.
    pub fn read_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Vec<String>, ConfigError> {
        let names: Vec<_> = settings()
            .map(|setting| (environment_name(setting.key), setting.key))
            .collect();
        let mut notes = Vec::new();
        for (variable, text) in variables.filter(|(name, _)| name.starts_with("SPATE_")) {
            match names.iter().find(|(name, _)| *name == variable) {
                Some((_, key)) => self.set(key, &text, Source::Environment(variable))?,
                None => {
                    let meant = nearest(&variable, names.iter().map(|(name, _)| name.as_str()));
                    notes.push(format!(
                        "environment variable {variable} names no setting and is ignored; the \
                         nearest is {meant}"
                    ));
                }
            }
        }
        Ok(notes)
    }

    /// Takes one `KEY=VALUE`.
    ///
    /// # Errors
    /// [`ConfigError`] for anything else, an unknown key or a bad value.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), ConfigError> {
        let (key, text) = pair
            .split_once('=')
            .ok_or_else(|| ConfigError::NotAPair(pair.to_owned()))?;
        self.set(key.trim(), text, Source::Set)
    }
}

/// A topic's key at the broker's place means the broker's default for it: name that one.
fn unknown_key(key: &str, given_by: Source) -> ConfigError {
    let nearest = match topic_setting(key) {
        Some(setting) => setting.key,
        None => nearest(key, settings().map(|setting| setting.key)),
    };
    ConfigError::UnknownKey {
        key: key.to_owned(),
        given_by,
        nearest,
    }
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    source: &Source,
    found: &mut Vec<(String, String)>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, source, found)?,
            toml::Value::Array(items) => {
                let texts: Result<Vec<_>, _> = items
                    .iter()
                    .map(|item| scalar(&key, item, source))
                    .collect();
                found.push((key, texts?.join(",")));
            }
            value => {
                let text = scalar(&key, value, source)?;
                found.push((key, text));
            }
        }
    }
    Ok(())
}

fn scalar(key: &str, value: &toml::Value, source: &Source) -> Result<String, ConfigError> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        other => Err(ConfigError::BadType {
            key: key.to_owned(),
            given_by: source.clone(),
            found: match other {
                toml::Value::Datetime(_) => "a date",
                _ => "a list or table inside a list",
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn from_file(text: &str) -> Result<Settings, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        let mut settings = Settings::default();
        settings.read_file(file.path()).map(|()| settings)
    }

    #[test]
    fn dotted_keys_and_tables_mean_the_same() {
        let dotted = from_file("num.partitions = 4\nauto.create.topics.enable = false\n");
        let tables = from_file("[num]\npartitions = 4\n[auto.create]\ntopics = {enable = false}\n");
        for settings in [dotted, tables] {
            let settings = settings.expect("good settings");
            assert_eq!(settings.value("num.partitions"), &Value::Int(4));
            assert_eq!(
                settings.value("auto.create.topics.enable"),
                &Value::Bool(false)
            );
        }
    }

    #[test]
    fn a_list_may_be_an_array() {
        let settings = from_file("log.cleanup.policy = [\"compact\", \"delete\"]").expect("good");
        assert_eq!(
            settings.value("log.cleanup.policy").to_string(),
            "compact,delete"
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        let error = from_file("num.partition = 4")
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("no setting num.partition; did you mean num.partitions?"),
            "{error}"
        );
        let error = Settings::default()
            .set_pair("retention.ms=5")
            .expect_err("unknown");
        assert!(
            error.to_string().contains("did you mean log.retention.ms?"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_value_names_its_file() {
        let error = from_file("node.id = 0")
            .expect_err("out of range")
            .to_string();
        assert!(
            error.contains("node.id = \"0\" is not a whole number from 1 to 999"),
            "{error}"
        );
        let error = from_file("node.id = [[1]]")
            .expect_err("nested")
            .to_string();
        assert!(
            error.contains("node.id is a list or table inside a list"),
            "{error}"
        );
        assert!(matches!(
            from_file("node.id = = 1"),
            Err(ConfigError::NotToml { .. })
        ));
    }

    #[test]
    fn the_environment_is_matched_by_the_keys() {
        let mut settings = Settings::default();
        let variables = [
            ("SPATE_NUM_PARTITIONS", "8"),
            ("SPATE_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
            ("HOME", "/root"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let notes = settings
            .read_environment(variables.into_iter())
            .expect("good values");
        assert_eq!(settings.value("num.partitions"), &Value::Int(8));
        assert_eq!(notes.len(), 1, "{notes:?}");
        let bad = [("SPATE_SHARDS".to_owned(), "many".to_owned())];
        let error = settings
            .read_environment(bad.into_iter())
            .expect_err("bad")
            .to_string();
        assert!(
            error.starts_with("environment variable SPATE_SHARDS: shards = "),
            "{error}"
        );
    }
}
