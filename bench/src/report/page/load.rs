//! Finds out what each file is, by its own word: a run, a comparison, a saturation, a probe, or an
//! interval log.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compare::{self, Compared};
use crate::probe::{self, Probe};
use crate::result::{self, ResultError, RunResult, hlog};
use crate::saturate::{self, Saturation};

/// Everything that goes into one page.
#[derive(Debug, Default)]
pub struct Material {
    /// Runs.
    pub runs: Vec<RunResult>,
    /// Comparisons.
    pub comparisons: Vec<Compared>,
    /// Saturations.
    pub saturations: Vec<Saturation>,
    /// What the machine itself gives.
    pub probe: Option<Probe>,
}

/// Reads files, and all that are in directories.
pub fn load(paths: &[PathBuf]) -> Result<Material, ResultError> {
    let mut material = Material::default();
    for path in paths {
        if path.is_dir() {
            for path in results_in(path)? {
                material.add(&path)?;
            }
        } else {
            material.add(path)?;
        }
    }
    Ok(material)
}

/// The results of a directory, by name. A log beside a result of the same name says the same.
fn results_in(folder: &Path) -> Result<Vec<PathBuf>, ResultError> {
    let failed = |source| ResultError::File {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let is = |path: &Path, kind: &str| path.extension().is_some_and(|found| found == kind);
    let wanted = |path: &PathBuf| {
        is(path, "json") || is(path, "hlog") && !path.with_extension("json").exists()
    };
    let wanted: Vec<PathBuf> = paths.into_iter().filter(wanted).collect();
    match wanted.is_empty() {
        true => Err(ResultError::Foreign {
            path: folder.to_owned(),
            why: "no .json and no .hlog in it".to_owned(),
        }),
        false => Ok(wanted),
    }
}

impl Material {
    fn add(&mut self, path: &Path) -> Result<(), ResultError> {
        if path.extension().is_some_and(|kind| kind == "hlog") {
            self.runs.push(hlog::read(path)?);
            return Ok(());
        }
        let text = fs::read_to_string(path).map_err(|source| ResultError::File {
            path: path.to_owned(),
            source,
        })?;
        let foreign = |why: String| ResultError::Foreign {
            path: path.to_owned(),
            why,
        };
        let value: Value =
            serde_json::from_str(&text).map_err(|error| foreign(error.to_string()))?;
        let format = value
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or("no format");
        match format {
            result::FORMAT => self.runs.push(typed(path, &value)?),
            compare::FORMAT => self.comparisons.push(typed(path, &value)?),
            saturate::FORMAT => self.saturations.push(typed(path, &value)?),
            probe::FORMAT => self.probe = Some(typed(path, &value)?),
            other => return Err(foreign(format!("it says that it is {other:?}"))),
        }
        Ok(())
    }
}

fn typed<T: DeserializeOwned>(path: &Path, value: &Value) -> Result<T, ResultError> {
    T::deserialize(value).map_err(|error| ResultError::Foreign {
        path: path.to_owned(),
        why: error.to_string(),
    })
}
