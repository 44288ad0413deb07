//! The metadata's log on a single node: storage's record log in `<data>/metadata`.

use std::{io, path::Path};

use spate_storage::metadata_log::{RecordLog, RecordLogError};

use super::log::{MetadataLog, Opened};

/// Opens the log of a data directory, whose lock the caller holds.
///
/// # Errors
/// What the record log says: unreadable, or damaged beyond a torn end.
pub fn open(data_dir: &Path) -> Result<(Box<dyn MetadataLog>, Opened), RecordLogError> {
    let (log, contents) = RecordLog::open(&data_dir.join("metadata"))?;
    if contents.cut_bytes > 0 {
        tracing::info!(
            bytes = contents.cut_bytes,
            "cut a torn record from the end of the metadata log: it was never answered for"
        );
    }
    let opened = Opened {
        snapshot: contents.snapshot,
        entries: contents.records,
    };
    Ok((Box::new(log), opened))
}

/// Keeps what kind of failure it was: a full disk is none for ever.
fn of_kind(error: RecordLogError) -> io::Error {
    let kind = match &error {
        RecordLogError::Io { error, .. } => error.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl MetadataLog for RecordLog {
    fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        RecordLog::append(self, entry).map(|_| ()).map_err(of_kind)
    }

    fn snapshot(&mut self, snapshot: &[u8]) -> io::Result<()> {
        RecordLog::snapshot(self, snapshot).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Metadata, record::Record},
        *,
    };

    #[test]
    fn metadata_survives_in_a_directory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for start in 0..3_i64 {
            let (log, opened) = open(directory.path()).expect("a good log");
            let mut metadata = Metadata::open(log, &opened).expect("good records");
            assert_eq!(metadata.state().next_producer_id(), start * 10);
            metadata.start().expect("written");
            let next = (start + 1) * 10;
            metadata
                .commit(vec![Record::ProducerIdsReserved { next }])
                .expect("written");
            if start == 1 {
                metadata.take_snapshot();
            }
        }
    }
}
