//! The levels of the log's parts, changed while the process runs: Kafka's tools know them as a
//! broker's loggers. They are the process's own and are not kept: a restart has what `log.level`
//! says (as in Kafka).

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing_subscriber::EnvFilter;

/// The logger of all that has no level of its own.
pub const ROOT: &str = "root";

/// The others: the crates of this program.
const LOGGERS: [&str; 3] = ["spate", "spate_net", "spate_storage"];

/// Kafka's levels, as its complaints name them, with ours.
const LEVELS: [(&str, &str); 6] = [
    ("DEBUG", "debug"),
    ("ERROR", "error"),
    ("FATAL", "error"),
    ("INFO", "info"),
    ("TRACE", "trace"),
    ("WARN", "warn"),
];

/// Puts another filter in place of the present one; `false` if the log is gone.
pub type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

struct Levels {
    /// By logger.
    levels: BTreeMap<String, String>,
    /// Directives that are of no logger's level, kept as they are.
    others: Vec<String>,
    reload: Reload,
}

static LEVELS_NOW: OnceLock<Mutex<Levels>> = OnceLock::new();

/// Why a level was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoggerError {
    /// There is no such logger.
    #[error("Logger {0} does not exist!")]
    Unknown(String),
    /// There is no such level.
    #[error(
        "Cannot set the log level of {logger} to {level} as it is not a supported log level. \
         Valid log levels are {}", LEVELS.map(|(name, _)| name).join(", ")
    )]
    Level {
        /// Whose.
        logger: String,
        /// What was given.
        level: String,
    },
    /// The logger of all others must have one.
    #[error("Removing the log level of the root logger is not allowed")]
    Root,
}

/// Remembers what the log began with. A second call, of another test, is ignored.
pub fn begin(directives: &str, reload: Reload) {
    let (levels, others) = read(directives);
    drop(LEVELS_NOW.set(Mutex::new(Levels {
        levels,
        others,
        reload,
    })));
}

fn read(directives: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let mut levels = BTreeMap::from([(ROOT.to_owned(), "error".to_owned())]);
    let mut others = Vec::new();
    for directive in directives.split(',').map(str::trim) {
        let (logger, level) = directive.split_once('=').unwrap_or((ROOT, directive));
        let is_level = LEVELS
            .iter()
            .any(|(_, ours)| level.eq_ignore_ascii_case(ours));
        if is_level && (logger == ROOT || LOGGERS.contains(&logger)) {
            levels.insert(logger.to_owned(), level.to_lowercase());
        } else if !directive.is_empty() {
            others.push(directive.to_owned());
        }
    }
    (levels, others)
}

/// Every logger with its level, in Kafka's words.
#[must_use]
pub fn all() -> Vec<(&'static str, String)> {
    let Some(now) = LEVELS_NOW.get() else {
        return Vec::new();
    };
    let now = now.lock().unwrap_or_else(PoisonError::into_inner);
    let level = |logger: &str| now.levels.get(logger).or_else(|| now.levels.get(ROOT));
    let loggers = [ROOT].into_iter().chain(LOGGERS);
    loggers
        .map(|logger| {
            (
                logger,
                level(logger).map_or_else(String::new, |level| level.to_uppercase()),
            )
        })
        .collect()
}

/// What [`set`] would do, only checked.
///
/// # Errors
/// [`LoggerError`]
pub fn check(logger: &str, level: Option<&str>) -> Result<Option<&'static str>, LoggerError> {
    if logger != ROOT && !LOGGERS.contains(&logger) {
        return Err(LoggerError::Unknown(logger.to_owned()));
    }
    let Some(level) = level else {
        return if logger == ROOT {
            Err(LoggerError::Root)
        } else {
            Ok(None)
        };
    };
    let found = LEVELS.iter().find(|(name, _)| *name == level);
    let unknown = || LoggerError::Level {
        logger: logger.to_owned(),
        level: level.to_owned(),
    };
    found.map(|(_, ours)| Some(*ours)).ok_or_else(unknown)
}

/// Gives a logger a level, or with `None` the root's.
///
/// # Errors
/// [`LoggerError`]
pub fn set(logger: &str, level: Option<&str>) -> Result<(), LoggerError> {
    let level = check(logger, level)?;
    let Some(now) = LEVELS_NOW.get() else {
        return Ok(());
    };
    let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
    match level {
        Some(level) => now.levels.insert(logger.to_owned(), level.to_owned()),
        None => now.levels.remove(logger),
    };
    let directives = directives(&now.levels, &now.others);
    tracing::info!(directives, "log levels change");
    let taken = EnvFilter::try_new(&directives).is_ok_and(|filter| (now.reload)(filter));
    if !taken {
        tracing::error!(directives, "the log does not take these levels");
    }
    Ok(())
}

fn directives(levels: &BTreeMap<String, String>, others: &[String]) -> String {
    let level = |(logger, level): (&String, &String)| match logger.as_str() {
        ROOT => level.clone(),
        logger => format!("{logger}={level}"),
    };
    let mut all: Vec<_> = levels.iter().map(level).collect();
    all.extend_from_slice(others);
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_and_written_again() {
        let (levels, others) = read("info, spate_net=DEBUG,spate[span]=trace,other=warn");
        assert_eq!(levels[ROOT], "info");
        assert_eq!(levels["spate_net"], "debug");
        assert_eq!(others, ["spate[span]=trace", "other=warn"]);
        let expected = "info,spate_net=debug,spate[span]=trace,other=warn";
        assert_eq!(directives(&levels, &others), expected);
    }

    #[test]
    fn levels_and_loggers_are_checked_as_kafka_does() {
        assert_eq!(check("spate_net", Some("DEBUG")), Ok(Some("debug")));
        assert_eq!(check("spate_net", Some("FATAL")), Ok(Some("error")));
        assert_eq!(check("spate_net", None), Ok(None));
        assert_eq!(check(ROOT, None), Err(LoggerError::Root));
        let unknown = check("kafka.server.KafkaApis", Some("INFO"));
        assert!(matches!(unknown, Err(LoggerError::Unknown(_))));
        let level = check(ROOT, Some("debug")).expect_err("Kafka's are in capitals");
        assert!(
            level
                .to_string()
                .ends_with("DEBUG, ERROR, FATAL, INFO, TRACE, WARN")
        );
    }
}
