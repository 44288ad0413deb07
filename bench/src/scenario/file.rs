//! Scenario files: TOML whose keys are the flags of `spate-bench run`, without their dashes. They
//! become flags in front of those that were given, which therefore have the last word.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::Value;

/// Why a scenario file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No such file.
    #[error("scenario {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not TOML.
    #[error("scenario {}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where it is not.
        source: Box<toml::de::Error>,
    },
    /// A value that no flag could have.
    #[error("scenario {}: {key} cannot be a {kind}: give text or a number", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What its value is.
        kind: &'static str,
    },
}

/// The command line with every `--scenario FILE` replaced by what the file says, in front of all
/// other flags of its subcommand.
pub fn expand(arguments: Vec<OsString>) -> Result<Vec<OsString>, FileError> {
    let (mut flags, mut rest) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let path = match text.strip_prefix("--scenario") {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(OsString::from),
            None => None,
        };
        match path {
            Some(path) => flags.extend(read(Path::new(&path))?),
            None => rest.push(argument),
        }
    }
    // Behind the program's name and the subcommand.
    let at = rest.len().min(2);
    rest.splice(at..at, flags);
    Ok(rest)
}

fn read(path: &Path) -> Result<Vec<OsString>, FileError> {
    let text = fs::read_to_string(path).map_err(|source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|source| FileError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let mut flags = Vec::new();
    for (key, value) in table {
        let flag = format!("--{}", key.replace('_', "-"));
        match value {
            // What is not so is not said.
            Value::Boolean(false) => {}
            Value::Boolean(true) => flags.push(flag.into()),
            Value::Array(values) => {
                for value in values {
                    flags.push(format!("{flag}={}", scalar(path, &key, &value)?).into());
                }
            }
            value => flags.push(format!("{flag}={}", scalar(path, &key, &value)?).into()),
        }
    }
    Ok(flags)
}

fn scalar(path: &Path, key: &str, value: &Value) -> Result<String, FileError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        other => Err(FileError::Kind {
            path: path.to_owned(),
            key: key.to_owned(),
            kind: other.type_str(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::scenario::Scenario;

    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Line {
        #[command(flatten)]
        scenario: Scenario,
    }

    fn strings(arguments: &[&str]) -> Vec<OsString> {
        arguments.iter().map(OsString::from).collect()
    }

    #[test]
    fn flags_have_the_last_word_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        let text = "rate = 500\nidempotent = true\nheader = ['a=1', 'b=2']\nexisting = false\n";
        fs::write(&path, text).unwrap();
        let name = path.to_str().unwrap();
        let line = strings(&["spate-bench", "run", "--rate", "900", "--scenario", name]);
        let mut expanded = expand(line).unwrap();
        expanded.remove(1);
        let scenario = Line::try_parse_from(expanded).unwrap().scenario;
        assert_eq!(scenario.rate.to_string(), "900");
        assert!(scenario.idempotent && !scenario.existing);
        assert_eq!(scenario.headers.len(), 2);
    }

    #[test]
    fn files_that_mean_nothing_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.toml");
        for bad in ["rate = ", "rate = { a = 1 }"] {
            fs::write(&path, bad).unwrap();
            let name = path.to_str().unwrap();
            assert!(expand(strings(&["b", "run", &format!("--scenario={name}")])).is_err());
        }
        assert!(expand(strings(&["b", "run", "--scenario", "/does/not/exist"])).is_err());
    }

    /// The scenarios that ship can be run, and say which question they answer.
    #[test]
    fn shipped_scenarios_are_sound() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut count = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap();
            let line = expand(strings(&["b", &format!("--scenario={name}")])).unwrap();
            let mut line = line;
            // There is no subcommand here, but `expand` leaves its place.
            line.retain(|argument| !argument.is_empty());
            let scenario = Line::try_parse_from(line).map_err(|error| error.to_string());
            let scenario = scenario
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .scenario;
            scenario
                .check()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(
                scenario.question.is_some_and(|text| text.ends_with('?')),
                "{name}"
            );
            count += 1;
        }
        assert!(count >= 10, "{count}");
    }
}
