//! One round, step by step: each reads or writes about a block, so that the housekeeper comes to
//! its other jobs in between, and whoever asks for the steps sets the pace.
//!
//! ```text
//!  Keys -----------------------------------------------> Rewrite -> done
//!    |  a transactional batch whose marker is not known    ^
//!    v                                                     |
//!  Markers (to the end, headers only) -> Keys, from there -+
//! ```

use super::{
    keys::KeyMap,
    plan::Plan,
    records::Records,
    retain::{Filter, Known, marker},
    source::{Cursor, Found},
    transactions::{Fate, Markers},
    writer::Writer,
};
use crate::{
    batch::{BatchHeader, batches},
    block::SealedBlock,
    disk::Disk,
    hash::{ChainHash, Incarnation},
    journal::row::FileRow,
    segment::{Generation, SegmentError},
    space::Space,
    types::{Offset, Position},
};
use bytes::Bytes;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a round gave up. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// The disk failed, or is full.
    #[error("{path}: {error}; check space and health of the disk")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
    /// An old file cannot be read.
    #[error(transparent)]
    Source(#[from] SegmentError),
    /// Blocks of an old file are damaged.
    #[error("{path}: at {position}: {reason}; restore the file from a replica or a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        position: Position,
        /// What is wrong.
        reason: String,
    },
    /// A batch's records cannot be read.
    #[error("{path}: the batch at offset {base} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The batch's first offset.
        base: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The housekeeper knows nothing of the round: a bug, or it was given up.
    #[error("the round was given up")]
    Unknown,
}

impl CompactionError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> CompactionError {
        let path = path.to_owned();
        move |error| CompactionError::Io { path, error }
    }

    /// Whether trying again later may help. A damaged log will not heal.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let error = match self {
            CompactionError::Io { error, .. } => Some(error),
            CompactionError::Source(SegmentError::Io { error, .. }) => Some(error),
            CompactionError::Unknown => None,
            _ => return false,
        };
        error.is_none_or(|error| error.kind() != io::ErrorKind::UnexpectedEof)
    }
}

/// What a round made: it becomes the log with the shard's switch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The generation.
    pub generation: Generation,
    /// Its files, oldest first, flushed and placed.
    pub files: Vec<FileRow>,
    /// Where they end, and the old chain there.
    pub end: (Offset, ChainHash),
    /// Up to where the log is clean now: not beyond the end; before it if the keys did not fit.
    pub clean_end: Offset,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Records that are not there any more.
    pub records_removed: u64,
}

/// What a step did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is more to do; so many bytes were read and written.
    More(u64),
    /// Nothing could be cleaned: the first dirty offset belongs to a transaction that goes on.
    Nothing,
    /// The new generation is on disk.
    Finished(Box<Outcome>),
}

enum Phase<D: Disk> {
    Keys(Cursor<D>),
    Markers(Cursor<D>, Offset),
    Rewrite(Cursor<D>, Box<Filter>),
}

/// A round under way.
pub struct Round<D: Disk> {
    disk: D,
    plan: Plan,
    phase: Option<Phase<D>>,
    known: Option<Known>,
    knows_markers: bool,
    /// Files of the first `files` are rewritten.
    files: usize,
    chain: ChainHash,
    writer: Writer<D>,
    read_bytes: u64,
}

/// Where a round works.
#[derive(Clone, Copy)]
pub struct Ground<'a, D: Disk> {
    /// The disk.
    pub disk: &'a D,
    /// How much room it has.
    pub space: &'a Space,
    /// The directory in which files are made.
    pub pool: &'a Path,
}

/// What is known of a batch for the map of keys.
enum Mapped {
    Whole,
    /// The map is full: the last offset that is in it.
    Full(Offset),
    /// The markers behind it are not known yet.
    WantsMarkers,
    /// Its transaction goes on.
    Undecided,
}

impl<D: Disk> Round<D> {
    /// Begins a round; nothing is read yet. `seed` tells the keys' hashes apart from those of every
    /// other round.
    pub fn new(ground: &Ground<'_, D>, plan: Plan, seed: u64, first: Incarnation) -> Round<D> {
        let keys_max = (plan.end.0 - plan.clean_end.0).max(0) as u64;
        let load = f64::from(plan.key_load_permille) / 1000.0;
        let known = Known {
            keys: KeyMap::new(seed, plan.key_memory_bytes, keys_max, load),
            latest: Offset(plan.clean_end.0 - 1),
            markers: Markers::default(),
        };
        Round {
            disk: ground.disk.clone(),
            phase: Some(Phase::Keys(Cursor::new(plan.clean_end))),
            known: Some(known),
            knows_markers: false,
            files: plan.sources.len(),
            chain: plan.compacted.1,
            writer: Writer::new(ground.disk, ground.space.clone(), ground.pool, &plan, first),
            read_bytes: 0,
            plan,
        }
    }

    /// Does one step. After an error only [`Round::abandon`] is left.
    pub async fn step(
        &mut self,
        records: &dyn Records,
        incarnations: &dyn Fn() -> Incarnation,
    ) -> Result<Step, CompactionError> {
        if self.writer.is_behind() {
            return self.writer.write_on(&self.plan).await.map(Step::More);
        }
        let before = self.read_bytes;
        match self.phase.take() {
            Some(Phase::Keys(cursor)) => self.map_keys(cursor, records).await?,
            Some(Phase::Markers(cursor, from)) => self.find_markers(cursor, from, records).await?,
            Some(Phase::Rewrite(cursor, filter)) => {
                let step = self.rewrite(cursor, filter, records, incarnations);
                if let Some(outcome) = step.await? {
                    return Ok(Step::Finished(Box::new(outcome)));
                }
            }
            None => return Ok(Step::Nothing),
        }
        Ok(Step::More(self.read_bytes - before))
    }

    /// Removes what the round has written.
    pub async fn abandon(self) {
        self.writer.discard(&self.plan).await;
    }

    async fn map_keys(
        &mut self,
        mut cursor: Cursor<D>,
        records: &dyn Records,
    ) -> Result<(), CompactionError> {
        let files = self.plan.sources.len();
        let Some(found) = cursor.next(&self.disk, &self.plan, files).await? else {
            self.note_latest(Offset(self.plan.end.0 - 1));
            self.begin_rewrite();
            return Ok(());
        };
        self.read_bytes += u64::from(found.entry.len);
        let payload = found.block.payload();
        for (header, batch) in whole(&found.block, &payload) {
            if header.last() < self.plan.clean_end {
                continue;
            }
            let mapped = self.map_batch(&header, &batch, records);
            match mapped.map_err(|reason| self.unreadable(&found, &header, reason))? {
                Mapped::Whole => self.note_latest(header.last()),
                Mapped::Full(latest) => {
                    self.note_latest(latest);
                    self.begin_rewrite();
                    return Ok(());
                }
                Mapped::Undecided => {
                    self.begin_rewrite();
                    return Ok(());
                }
                Mapped::WantsMarkers => {
                    self.phase = Some(Phase::Markers(Cursor::new(header.base), header.base));
                    return Ok(());
                }
            }
        }
        self.phase = Some(Phase::Keys(cursor));
        Ok(())
    }

    fn map_batch(
        &mut self,
        header: &BatchHeader,
        batch: &Bytes,
        records: &dyn Records,
    ) -> Result<Mapped, String> {
        let Some(known) = &mut self.known else {
            return Ok(Mapped::Undecided);
        };
        if header.is_control() {
            return Ok(Mapped::Whole);
        }
        if header.is_transactional() {
            if !self.knows_markers {
                return Ok(Mapped::WantsMarkers);
            }
            match known.markers.fate(header) {
                Fate::Committed => {}
                Fate::Aborted => return Ok(Mapped::Whole),
                Fate::Undecided => return Ok(Mapped::Undecided),
            }
        }
        let (keys, clean_end) = (&mut known.keys, self.plan.clean_end);
        let mut full_at = None;
        let visited = records.visit(batch, &mut |record| {
            let is_wanted = record.offset >= clean_end.0 && full_at.is_none();
            if let Some(key) = record.key.filter(|_| is_wanted)
                && !keys.put(key, Offset(record.offset))
            {
                full_at = Some(Offset(record.offset - 1));
            }
        });
        visited.map_err(|unreadable| unreadable.reason)?;
        Ok(full_at.map_or(Mapped::Whole, Mapped::Full))
    }

    fn note_latest(&mut self, latest: Offset) {
        if let Some(known) = &mut self.known {
            known.latest = known.latest.max(latest);
        }
    }

    async fn find_markers(
        &mut self,
        mut cursor: Cursor<D>,
        from: Offset,
        records: &dyn Records,
    ) -> Result<(), CompactionError> {
        let files = self.plan.sources.len();
        let Some(found) = cursor.next(&self.disk, &self.plan, files).await? else {
            self.knows_markers = true;
            // What lies before `from` in its block is mapped twice, to the same.
            self.phase = Some(Phase::Keys(Cursor::new(from)));
            return Ok(());
        };
        self.read_bytes += u64::from(found.entry.len);
        let payload = found.block.payload();
        for (header, batch) in whole(&found.block, &payload) {
            if !header.is_control() {
                continue;
            }
            let fate = marker(&batch, records);
            let fate =
                fate.map_err(|error| self.unreadable(&found, &header, error.reason.clone()))?;
            if let (Some(fate), Some(known)) = (fate, &mut self.known) {
                known.markers.note(header.producer, header.base, fate);
            }
        }
        self.phase = Some(Phase::Markers(cursor, from));
        Ok(())
    }

    /// Goes over to rewriting: the clean part and, of the dirty one, the Kafka segments whose keys
    /// are known, at least in part. Without any the round has nothing to do.
    fn begin_rewrite(&mut self) {
        let Some(known) = self.known.take() else {
            return;
        };
        let clean_end = known.latest.next();
        if clean_end <= self.plan.clean_end {
            return;
        }
        let sources = &self.plan.sources;
        let reached = sources.partition_point(|source| source.row.first < clean_end);
        let group = sources[..reached].last().map(|source| source.row.name.base);
        let is_same = |base: Offset| Some(base) == group;
        let rest = sources[reached..]
            .iter()
            .take_while(|source| is_same(source.row.name.base));
        self.files = reached + rest.count();
        let end = sources[..self.files]
            .last()
            .map_or(self.plan.end, |source| source.row.next);
        let filter = Filter::new(&self.plan, known, end);
        let cursor = Cursor::new(self.plan.start);
        self.phase = Some(Phase::Rewrite(cursor, Box::new(filter)));
    }

    async fn rewrite(
        &mut self,
        mut cursor: Cursor<D>,
        mut filter: Box<Filter>,
        records: &dyn Records,
        incarnations: &dyn Fn() -> Incarnation,
    ) -> Result<Option<Outcome>, CompactionError> {
        let Some(found) = cursor.next(&self.disk, &self.plan, self.files).await? else {
            self.writer.close(&self.plan, incarnations);
            if self.writer.is_behind() {
                self.phase = Some(Phase::Rewrite(cursor, filter));
                return Ok(None);
            }
            return Ok(Some(self.outcome(&filter)));
        };
        self.read_bytes += u64::from(found.entry.len);
        if found.entry.next > self.plan.compacted.0 {
            self.chain = found.entry.chain_after;
        }
        let payload = found.block.payload();
        for (header, batch) in whole(&found.block, &payload) {
            if header.last() < self.plan.start {
                continue;
            }
            let kept = filter.apply(&header, &batch, records);
            let kept =
                kept.map_err(|error| self.unreadable(&found, &header, error.reason.clone()))?;
            if let Some(kept) = kept {
                let source = &self.plan.sources[found.source];
                self.writer.push(&kept, source, &self.plan, incarnations);
            }
        }
        self.phase = Some(Phase::Rewrite(cursor, filter));
        Ok(None)
    }

    fn outcome(&mut self, filter: &Filter) -> Outcome {
        let end = filter.end();
        Outcome {
            generation: self.plan.generation,
            files: self.writer.files.clone(),
            end: (end, self.chain),
            clean_end: filter.clean_to().min(end),
            read_bytes: self.read_bytes,
            written_bytes: self.writer.written_bytes,
            records_removed: filter.records_removed,
        }
    }

    fn unreadable(&self, found: &Found, header: &BatchHeader, reason: String) -> CompactionError {
        CompactionError::Unreadable {
            path: self.plan.sources[found.source].path.clone(),
            base: header.base,
            reason,
        }
    }
}

/// A block's batches, as pieces of it.
fn whole<'a>(
    block: &SealedBlock,
    payload: &'a Bytes,
) -> impl Iterator<Item = (BatchHeader, Bytes)> + 'a {
    debug_assert!(block.len() >= payload.len());
    batches(payload).map(|(header, batch)| (header, payload.slice_ref(batch)))
}
