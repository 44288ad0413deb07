//! The node's metadata: the state machine (`state`) over its log (`log`, `record`).
//!
//! Rule: a record is durable in the log before the state shows it, and the state is all that
//! images are made of, so no shard ever acts on what a crash could take back (S17).

pub mod local;
pub mod log;
pub mod record;
pub mod state;

use std::{io, sync::Arc};

use spate_storage::space::is_no_space;

use self::{
    log::{MetadataLog, Opened},
    record::{DecodeError, Record},
    state::{ApplyError, State},
};

/// Records in the log before a snapshot takes their place: replaying so many takes milliseconds.
const RECORDS_PER_SNAPSHOT: usize = 4096;

/// Records of one entry at most, so that an entry stays well below a megabyte.
const RECORDS_PER_ENTRY: usize = 1024;

/// Why the metadata cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The log's bytes make no sense although its checksums hold.
    #[error(
        "metadata {what} {error}: the log is of another program or was written by a faulty one; \
         restore the metadata directory from a copy"
    )]
    Decode {
        /// The snapshot, or which entry.
        what: String,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A record contradicts those before it.
    #[error(
        "metadata {what} {error}: the log was written by a faulty program; restore the metadata \
         directory from a copy"
    )]
    Apply {
        /// The snapshot, or which entry.
        what: String,
        /// What is wrong with it.
        error: ApplyError,
    },
    /// The log cannot be written. It stays so until a new start.
    #[error("the metadata log cannot be written: {0}; see to the disk and start again")]
    Write(Arc<io::Error>),
}

/// The state and the log it comes from.
pub struct Metadata {
    state: State,
    log: Box<dyn MetadataLog>,
    records_since_snapshot: usize,
    broken: Option<Arc<io::Error>>,
}

impl Metadata {
    /// The state that a log's contents make.
    ///
    /// # Errors
    /// [`MetadataError`] if they make none.
    pub fn open(log: Box<dyn MetadataLog>, opened: &Opened) -> Result<Metadata, MetadataError> {
        let (state, records_since_snapshot) = Metadata::replay(opened)?;
        Ok(Metadata {
            state,
            log,
            records_since_snapshot,
            broken: None,
        })
    }

    /// The state that a log's contents make, and how many records came after its snapshot.
    ///
    /// # Errors
    /// [`MetadataError`] if they make none.
    pub fn replay(opened: &Opened) -> Result<(State, usize), MetadataError> {
        let mut state = match &opened.snapshot {
            None => State::default(),
            Some(bytes) => {
                let what = || "snapshot".to_owned();
                let snapshot =
                    record::decode_snapshot(bytes).map_err(|error| MetadataError::Decode {
                        what: what(),
                        error,
                    })?;
                State::restore(&snapshot).map_err(|error| MetadataError::Apply {
                    what: what(),
                    error,
                })?
            }
        };
        let mut records_since_snapshot = 0;
        for (index, bytes) in opened.entries.iter().enumerate() {
            let what = || format!("entry {index} after the snapshot");
            let records = record::decode_entry(bytes).map_err(|error| MetadataError::Decode {
                what: what(),
                error,
            })?;
            for record in &records {
                state.apply(record).map_err(|error| MetadataError::Apply {
                    what: what(),
                    error,
                })?;
            }
            records_since_snapshot += records.len();
        }
        Ok((state, records_since_snapshot))
    }

    /// What holds now, all of it durable.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Records that the node starts, and so raises every leader epoch (S18). Once per process,
    /// before anything is served.
    ///
    /// # Errors
    /// [`MetadataError::Write`]
    pub fn start(&mut self) -> Result<(), MetadataError> {
        self.commit(vec![Record::NodeStarted {
            start: self.state.starts(),
        }])
    }

    /// Forgets deleted topics of earlier starts. Call it once this start's fresh journals are in
    /// force and the older ones unlinked: only then does no journal mention them (S17). Those of
    /// this start stay, for its own journals may.
    ///
    /// # Errors
    /// [`MetadataError::Write`]
    pub fn forget_tombstones(&mut self) -> Result<(), MetadataError> {
        let present = self.state.present_start();
        let old = self
            .state
            .tombstones()
            .filter(|(_, deleted)| *deleted < present);
        let ids: Vec<_> = old.map(|(id, _)| id.0).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.commit(vec![Record::TombstonesForgotten { ids }])
    }

    /// Makes records durable, then true. They must fit the state.
    ///
    /// # Errors
    /// [`MetadataError::Write`], now and for ever after; some of many records may then hold.
    pub fn commit(&mut self, records: Vec<Record>) -> Result<(), MetadataError> {
        if let Some(error) = &self.broken {
            return Err(MetadataError::Write(Arc::clone(error)));
        }
        for entry in records.chunks(RECORDS_PER_ENTRY) {
            self.log
                .append(&record::encode_entry(entry))
                .map_err(|error| self.poison(error))?;
            for record in entry {
                let applied = self.state.apply(record);
                assert_eq!(
                    applied,
                    Ok(()),
                    "a record was committed that does not fit: {record:?}"
                );
            }
            self.records_since_snapshot += entry.len();
        }
        if self.records_since_snapshot >= RECORDS_PER_SNAPSHOT {
            self.take_snapshot();
        }
        Ok(())
    }

    /// A snapshot only shortens the next start: if it fails the log goes on as it is, and the next
    /// one is tried after as many records again.
    fn take_snapshot(&mut self) {
        let bytes = record::encode_snapshot(&self.state.snapshot());
        if let Err(error) = self.log.snapshot(&bytes) {
            tracing::warn!(%error, "metadata snapshot failed; the log goes on without it");
        }
        self.records_since_snapshot = 0;
    }

    /// Whether a write has failed so that nobody knows what is on disk.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// A full disk has taken nothing and poisons nothing: the next change is tried again.
    fn poison(&mut self, error: io::Error) -> MetadataError {
        if is_no_space(&error) {
            return MetadataError::Write(Arc::new(error));
        }
        tracing::error!(%error, "the metadata log cannot be written: topics are frozen");
        let error = Arc::new(error);
        self.broken = Some(Arc::clone(&error));
        MetadataError::Write(error)
    }
}

#[cfg(test)]
mod tests;
