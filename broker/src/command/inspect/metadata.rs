//! The metadata log and its snapshot: topics, settings and the like, as they were written.

use std::path::Path;

use spate_storage::metadata_log::{self, LogContents};

use super::shown::{Bad, Found, Item};
use crate::control::metadata::record;

/// A log file's records.
pub fn inspect_log(path: &Path, file: &[u8]) -> Found {
    let LogContents {
        first,
        records,
        cut_bytes,
    } = match metadata_log::read_log(path, file) {
        Ok(contents) => contents,
        Err(error) => return broken("metadata log", &error.to_string()),
    };
    let mut bad = Vec::new();
    let mut items = Vec::new();
    for (sequence, bytes) in (first.0..).zip(&records) {
        match record::decode_entry(bytes) {
            Ok(changes) => items.extend(changes.iter().map(|change| {
                Item::new()
                    .with("sequence", sequence)
                    .with("record", format!("{change:?}"))
            })),
            Err(error) => bad.push(Bad {
                position: 0,
                offsets: None,
                reason: format!("record {sequence}: {error}"),
            }),
        }
    }
    let item = Item::new()
        .with("kind", "metadata log")
        .with("torn_bytes", cut_bytes)
        .with("records", items);
    Found { item, bad }
}

/// A snapshot's state.
pub fn inspect_snapshot(path: &Path, file: &[u8]) -> Found {
    let read = metadata_log::read_snapshot_bytes(path, file);
    let (sequence, state) = match read {
        Ok(read) => read,
        Err(error) => return broken("metadata snapshot", &error.to_string()),
    };
    match record::decode_snapshot(&state) {
        Ok(snapshot) => Found {
            item: Item::new()
                .with("kind", "metadata snapshot")
                .with("sequence", sequence.0)
                .with("state", format!("{snapshot:?}")),
            bad: Vec::new(),
        },
        Err(error) => broken("metadata snapshot", &error.to_string()),
    }
}

fn broken(kind: &str, reason: &str) -> Found {
    let bad = Bad {
        position: 0,
        offsets: None,
        reason: reason.to_owned(),
    };
    Found {
        item: Item::new().with("kind", kind).with("error", reason),
        bad: vec![bad],
    }
}
