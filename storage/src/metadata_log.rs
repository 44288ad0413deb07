//! The local metadata log: records of opaque bytes, each durable when [`RecordLog::append`]
//! returns, and a snapshot that takes the place of all before it (S17). It blocks its thread: the
//! control thread owns it and no shard waits for it. What records mean is the state machine's.
//!
//! ```text
//! <data>/metadata/snapshot                        the state up to some sequence
//! <data>/metadata/<first sequence, 20 digits>.log the records after it
//! <data>/metadata/*.new                           unfinished: removed at open
//! ```
//! A record is appended only after its predecessor is durable, so only the last one can be torn:
//! bytes at the end that hold no record are cut. Damage with a record behind it is corruption.
//! (A last record that was whole and was damaged later cannot be told from a torn one.)

mod format;

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use self::format::{Broken, LOG_HEAD_BYTES, RECORD_BYTES_MAX};
use crate::{
    disk::standard::{create_dir_now, list_now, remove_now, sync_dir_now},
    hash::Incarnation,
    space::is_no_space,
};
use rustix::fs::FallocateFlags;

/// Set aside beyond the last record: a few hundred ordinary records.
const AHEAD_BYTES: u64 = 128 << 10;

/// A record's number, from 1, without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

/// An open log, positioned after its last record.
#[derive(Debug)]
pub struct RecordLog {
    dir: PathBuf,
    file: fs::File,
    path: PathBuf,
    incarnation: Incarnation,
    position: u64,
    /// Bytes that the file system has set aside, beyond the file's length too.
    allocated: u64,
    last: Sequence,
    /// A write or flush failed: what is on disk is unknown, so nothing more is written (S10).
    poisoned: bool,
}

/// What an open found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    /// The state that the records go on from.
    pub snapshot: Option<Vec<u8>>,
    /// The records after it, in order.
    pub records: Vec<Vec<u8>>,
    /// Bytes of a torn record that were cut from the end: it was never acknowledged.
    pub cut_bytes: u64,
}

/// Why the metadata cannot be read or written.
#[derive(thiserror::Error, Debug)]
pub enum RecordLogError {
    /// The disk failed.
    #[error("{path}: {error}; check the disk and its free space, then start again")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Damage that no torn write explains.
    #[error(
        "{path}: at byte {position}: {what}: expected {expected}, found {found}; restore the \
         metadata directory from a backup"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        what: &'static str,
        /// What should stand there.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// The snapshot is there and the log that goes on from it is not.
    #[error(
        "{dir}: the snapshot ends at record {sequence} and no log goes on from there; restore the \
         directory from a backup"
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// The snapshot's last record.
        sequence: u64,
    },
    /// A record or snapshot too long to be read back.
    #[error("a metadata record of {len} bytes; the limit is {RECORD_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// An earlier write failed.
    #[error("{path}: an earlier write failed; start again, which reads what is on disk")]
    Poisoned {
        /// The log file.
        path: PathBuf,
    },
}

fn at(path: &Path) -> impl Fn(io::Error) -> RecordLogError {
    move |error| RecordLogError::Io {
        path: path.to_owned(),
        error,
    }
}

fn corrupt(path: &Path, broken: Broken) -> RecordLogError {
    let Broken {
        position,
        what,
        expected,
        found,
    } = broken;
    RecordLogError::Corrupt {
        path: path.to_owned(),
        position,
        what,
        expected,
        found,
    }
}

impl RecordLog {
    /// Opens the log in `dir`, creating both if there is nothing yet.
    pub fn open(dir: &Path) -> Result<(RecordLog, Contents), RecordLogError> {
        create_dir_now(dir).map_err(at(dir))?;
        let mut logs = log_files(dir)?;
        let (snapshot, covered) = match read_snapshot(&dir.join("snapshot"))? {
            Some((covered, bytes)) => (Some(bytes), covered),
            None => (None, Sequence(0)),
        };
        // A crash between a snapshot and the removal of the log before it leaves both.
        let obsolete = logs.partition_point(|(first, _)| *first <= covered.next());
        for (_, path) in logs.drain(..obsolete.saturating_sub(1)) {
            remove_now(&path).map_err(at(&path))?;
        }
        match (logs.as_slice(), &snapshot) {
            ([], None) => {
                let log = RecordLog::start(dir, Sequence(0))?;
                Ok((log, Contents::default()))
            }
            ([(first, path)], _) if *first <= covered.next() => {
                sync_dir_now(dir).map_err(at(dir))?;
                let (log, records, cut_bytes) = RecordLog::resume(dir, path, *first, covered)?;
                Ok((
                    log,
                    Contents {
                        snapshot,
                        records,
                        cut_bytes,
                    },
                ))
            }
            _ => Err(RecordLogError::Missing {
                dir: dir.to_owned(),
                sequence: covered.0,
            }),
        }
    }

    /// A new log file that goes on after `last`; durable with its name when it returns.
    fn start(dir: &Path, last: Sequence) -> Result<RecordLog, RecordLogError> {
        let path = dir.join(format!("{:020}.log", last.next().0));
        let incarnation = Incarnation::random();
        replace(dir, &path, &format::log_head(incarnation))?;
        let options = fs::OpenOptions::new().read(true).write(true).open(&path);
        let file = options.map_err(at(&path))?;
        let (dir, position) = (dir.to_owned(), LOG_HEAD_BYTES as u64);
        let mut log = RecordLog {
            dir,
            file,
            path,
            incarnation,
            position,
            allocated: 0,
            last,
            poisoned: false,
        };
        log.allocate_ahead();
        Ok(log)
    }

    fn resume(
        dir: &Path,
        path: &Path,
        first: Sequence,
        covered: Sequence,
    ) -> Result<(RecordLog, Vec<Vec<u8>>, u64), RecordLogError> {
        let options = fs::OpenOptions::new().read(true).write(true).open(path);
        let mut file = options.map_err(at(path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at(path))?;
        let incarnation = format::read_log_head(&bytes).map_err(|b| corrupt(path, b))?;
        let read =
            format::read_records(&bytes, incarnation, first).map_err(|b| corrupt(path, b))?;
        let cut_bytes = (bytes.len() - read.end) as u64;
        if cut_bytes > 0 {
            tracing::info!(
                path = %path.display(),
                position = read.end,
                cut_bytes,
                "cut a torn record that was never acknowledged from the metadata log"
            );
            file.set_len(read.end as u64).map_err(at(path))?;
        }
        // Also without a cut: a process that was killed before its flush left records that this
        // start acts on and a power cut would take back.
        file.sync_all().map_err(at(path))?;
        let last = Sequence(first.0 + read.records.len() as u64 - 1);
        if last < covered {
            return Err(RecordLogError::Missing {
                dir: dir.to_owned(),
                sequence: covered.0,
            });
        }
        let skip = (covered.0 + 1 - first.0) as usize;
        let records = read
            .records
            .into_iter()
            .skip(skip)
            .map(<[u8]>::to_vec)
            .collect();
        let (dir, path, position) = (dir.to_owned(), path.to_owned(), read.end as u64);
        let mut log = RecordLog {
            dir,
            file,
            path,
            incarnation,
            position,
            allocated: 0,
            last,
            poisoned: false,
        };
        log.allocate_ahead();
        Ok((log, records, cut_bytes))
    }

    /// The number of the last record.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Bytes of log since the last snapshot: for deciding when to make the next one.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.position - LOG_HEAD_BYTES as u64
    }

    /// Appends one record; durable when it returns.
    pub fn append(&mut self, record: &[u8]) -> Result<Sequence, RecordLogError> {
        if self.poisoned {
            return Err(RecordLogError::Poisoned {
                path: self.path.clone(),
            });
        }
        if record.len() > RECORD_BYTES_MAX {
            return Err(RecordLogError::TooLong { len: record.len() });
        }
        let sequence = self.last.next();
        let frame = format::frame(self.incarnation, sequence, record);
        if let Err(error) = self.file.write_all_at(&frame, self.position) {
            // A full disk refuses before anything is flushed: what came of the record is cut off
            // again, and the log is as it was.
            let is_whole = is_no_space(&error) && self.file.set_len(self.position).is_ok();
            self.poisoned = !is_whole;
            return Err(at(&self.path)(error));
        }
        if let Err(error) = self.file.sync_data() {
            self.poisoned = true;
            return Err(at(&self.path)(error));
        }
        self.position += frame.len() as u64;
        self.last = sequence;
        self.allocate_ahead();
        Ok(sequence)
    }

    /// Takes space for the records to come, so that a topic can be deleted on a disk that others
    /// have filled. Where that cannot be had a record takes its space when it comes.
    fn allocate_ahead(&mut self) {
        if self.allocated >= self.position + AHEAD_BYTES / 2 {
            return;
        }
        let end = self.position + AHEAD_BYTES;
        let keep = FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, keep, self.position, AHEAD_BYTES) {
            Ok(()) => self.allocated = end,
            Err(error) => tracing::debug!(%error, "no space was set aside for metadata"),
        }
    }

    /// Replaces everything so far by `state`, which must be what all records so far led to, and
    /// starts a new log file behind it.
    pub fn snapshot(&mut self, state: &[u8]) -> Result<(), RecordLogError> {
        if self.poisoned {
            return Err(RecordLogError::Poisoned {
                path: self.path.clone(),
            });
        }
        let restarted = self.snapshot_now(state);
        // A full disk has left the old files as they were.
        self.poisoned = match &restarted {
            Err(RecordLogError::Io { error, .. }) => !is_no_space(error),
            Err(_) => true,
            Ok(()) => false,
        };
        restarted
    }

    fn snapshot_now(&mut self, state: &[u8]) -> Result<(), RecordLogError> {
        let bytes = format::snapshot(self.last, state);
        replace(&self.dir, &self.dir.join("snapshot"), &bytes)?;
        if self.log_bytes() == 0 {
            // Nothing since the last one: the log already goes on from here.
            return Ok(());
        }
        let next = RecordLog::start(&self.dir, self.last)?;
        let old = std::mem::replace(self, next);
        remove_now(&old.path).map_err(at(&old.path))
    }
}

/// The log files by their first sequence. Unfinished files are removed on the way.
fn log_files(dir: &Path) -> Result<Vec<(Sequence, PathBuf)>, RecordLogError> {
    let mut logs = Vec::new();
    for path in list_now(dir).map_err(at(dir))? {
        let extension = path.extension().and_then(|e| e.to_str());
        let first = path
            .file_stem()
            .and_then(|s| s.to_str())
            .and_then(|s| s.parse().ok());
        match (extension, first) {
            (Some("new"), _) => remove_now(&path).map_err(at(&path))?,
            (Some("log"), Some(first)) => logs.push((Sequence(first), path)),
            _ => {}
        }
    }
    logs.sort();
    Ok(logs)
}

/// What a log file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogContents {
    /// Number of its first record.
    pub first: Sequence,
    /// Its records, in order.
    pub records: Vec<Vec<u8>>,
    /// Bytes behind them that hold no record: of one that is being written, or was torn.
    pub cut_bytes: u64,
}

/// Reads a log file's bytes and changes nothing. `path` names its first record.
pub fn read_log(path: &Path, file: &[u8]) -> Result<LogContents, RecordLogError> {
    let named = path
        .file_stem()
        .and_then(|stem| stem.to_str()?.parse().ok());
    let first = Sequence(named.unwrap_or(1));
    let incarnation = format::read_log_head(file).map_err(|broken| corrupt(path, broken))?;
    let read = format::read_records(file, incarnation, first);
    let read = read.map_err(|broken| corrupt(path, broken))?;
    Ok(LogContents {
        first,
        cut_bytes: (file.len() - read.end) as u64,
        records: read.records.into_iter().map(<[u8]>::to_vec).collect(),
    })
}

/// Reads a snapshot's bytes: the last record that it covers, and the state.
pub fn read_snapshot_bytes(
    path: &Path,
    file: &[u8],
) -> Result<(Sequence, Vec<u8>), RecordLogError> {
    let read = format::read_snapshot(file).map_err(|broken| corrupt(path, broken))?;
    Ok((read.0, read.1.to_vec()))
}

/// What is in a metadata directory, without touching it: for tools beside a running broker.
pub fn read(dir: &Path) -> Result<Contents, RecordLogError> {
    let snapshot = read_snapshot(&dir.join("snapshot"))?;
    let covered = snapshot
        .as_ref()
        .map_or(Sequence(0), |(covered, _)| *covered);
    let mut contents = Contents {
        snapshot: snapshot.map(|(_, state)| state),
        ..Contents::default()
    };
    let mut paths = list_now(dir).map_err(at(dir))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    for path in paths {
        let bytes = fs::read(&path).map_err(at(&path))?;
        let log = read_log(&path, &bytes)?;
        let numbered = (log.first.0..).zip(log.records);
        let news = numbered.filter(|(sequence, _)| *sequence > covered.0);
        contents.records.extend(news.map(|(_, record)| record));
        contents.cut_bytes += log.cut_bytes;
    }
    Ok(contents)
}

fn read_snapshot(path: &Path) -> Result<Option<(Sequence, Vec<u8>)>, RecordLogError> {
    match fs::read(path) {
        Ok(bytes) => {
            let (covered, state) = format::read_snapshot(&bytes).map_err(|b| corrupt(path, b))?;
            Ok(Some((covered, state.to_vec())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Puts a file in place whole or not at all.
fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), RecordLogError> {
    let unfinished = path.with_extension("new");
    let mut file = fs::File::create(&unfinished).map_err(at(&unfinished))?;
    file.write_all(bytes).map_err(at(&unfinished))?;
    file.sync_all().map_err(at(&unfinished))?;
    fs::rename(&unfinished, path).map_err(at(path))?;
    sync_dir_now(dir).map_err(at(dir))
}
