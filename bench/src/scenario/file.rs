//! Scenario files: TOML whose keys are the flags of `spate-bench run`, without their dashes. They
//! become flags in front of those that were given, which therefore have the last word.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, Command, FromArgMatches};
use toml::Value;

use super::{BadScenario, Scenario};

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
    /// A key or a value that no flag has.
    #[error("scenario {}: {source}", path.display())]
    Flag {
        /// The file.
        path: PathBuf,
        /// What the command line's parser said.
        source: Box<clap::Error>,
    },
    /// Settings that contradict each other.
    #[error("scenario {}: {source}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// Which.
        source: BadScenario,
    },
}

/// A scenario by its file's name.
#[derive(Clone, Debug)]
pub struct Named {
    /// The file's name, without its ending.
    pub name: String,
    /// What it says.
    pub scenario: Scenario,
}

/// Reads a scenario that needs no further flags.
pub fn load(path: &str) -> Result<Named, FileError> {
    let path = Path::new(path);
    let line = Command::new("scenario").no_binary_name(true);
    let matches = Scenario::augment_args(line)
        .try_get_matches_from(read(path)?)
        .and_then(|matches| Scenario::from_arg_matches(&matches));
    let scenario = matches.map_err(|source| FileError::Flag {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    scenario
        .check()
        .map_err(|source| FileError::Contradiction {
            path: path.to_owned(),
            source,
        })?;
    let name = path.file_stem().unwrap_or(path.as_os_str());
    let name = name.to_string_lossy().into_owned();
    Ok(Named { name, scenario })
}

/// The subcommand that takes several scenarios, each for itself.
const TAKES_SEVERAL: &str = "compare";

/// The command line with every `--scenario FILE` replaced by what the file says, in front of all
/// other flags of its subcommand. `compare` reads its files itself.
pub fn expand(arguments: Vec<OsString>) -> Result<Vec<OsString>, FileError> {
    if arguments.get(1).is_some_and(|given| given == TAKES_SEVERAL) {
        return Ok(arguments);
    }
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
            assert!(load(name).is_err());
        }
        fs::write(&path, "rats = 5").unwrap();
        let error = load(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("--rats") && error.contains("bad.toml"),
            "{error}"
        );
        fs::write(&path, "producers = 0").unwrap();
        let error = load(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("--producers 0 cannot work"), "{error}");
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
            let loaded = load(name).unwrap_or_else(|error| panic!("{error}"));
            assert!(name.ends_with(&format!("/{}.toml", loaded.name)));
            let question = loaded.scenario.question;
            assert!(question.is_some_and(|text| text.ends_with('?')), "{name}");
            count += 1;
        }
        assert!(count >= 10, "{count}");
    }
}
