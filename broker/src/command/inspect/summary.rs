//! A whole data directory in short: who the node is, its journals, and each partition with its
//! files. What the partitions are is read from the journal set that `node` names, as a start would
//! do it, and from nothing else; nothing is changed.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use futures_util::FutureExt as _;
use spate_storage::{
    disk::standard::StandardDisk,
    hash::Incarnation,
    journal::{
        fragment::{BlockPlace, Fragment, Kind, Reader},
        reader::FoundJournal,
        row::{FileRow, Row},
        switch::Switch,
    },
    metadata_log,
    node::read_slots,
    recovery::journal_dir,
    segment::{SegmentName, partition_dir},
    types::{TopicId, TopicPartition},
};

use super::{
    Wish, inspect_file, node, read_file,
    shown::{Bad, Item},
};
use crate::{
    command::CommandError,
    control::metadata::{Metadata, log::Opened, state::State},
};

/// A data directory, read.
pub struct Summary {
    node: Item,
    journals: Vec<Item>,
    topics: Vec<Item>,
    /// What does not verify, and where.
    pub bad: Vec<(PathBuf, Bad)>,
}

/// What the journal says of one partition.
#[derive(Default)]
struct Known {
    start: i64,
    next: i64,
    unsealed_bytes: u64,
    unreadable: usize,
    /// By the order of their offsets.
    files: BTreeMap<SegmentName, KnownFile>,
}

struct KnownFile {
    incarnation: Incarnation,
    file_bytes: u64,
    /// Where its flushed blocks end.
    end: u64,
    next: i64,
}

type Partitions = BTreeMap<TopicPartition, Known>;

/// Reads everything but the segments' contents; those too with `--verify`.
pub fn inspect(data: &Path, wish: Wish) -> Result<Summary, CommandError> {
    let slots = read_slots(&read_file(&data.join("node"))?);
    let in_force = slots
        .iter()
        .filter_map(|slot| slot.as_ref().ok())
        .max_by_key(|slot| slot.sequence);
    let Some(slot) = in_force else {
        let text = format!("{}/node: neither slot verifies", data.display());
        return Err(CommandError::Other(text));
    };
    let mut summary = Summary {
        node: node::with_state(Item::new(), &slot.state),
        journals: Vec::new(),
        topics: Vec::new(),
        bad: Vec::new(),
    };
    let mut partitions = Partitions::new();
    let set = journal_dir(data).join(slot.state.journal_set.to_string());
    for shard in shard_dirs(&set)? {
        summary.journal(&shard, &mut partitions)?;
    }
    let state = summary.metadata(data);
    summary.topics(state.as_ref(), &partitions);
    if wish.verify {
        summary.verify(data, &partitions, wish)?;
    }
    Ok(summary)
}

fn shard_dirs(set: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let failed = |error| CommandError::Io {
        what: format!("cannot list {}", set.display()),
        error,
    };
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(set).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u16>().ok());
        dirs.extend(number.map(|number| (number, path)));
    }
    dirs.sort_unstable();
    Ok(dirs.into_iter().map(|(_, path)| path).collect())
}

impl Summary {
    /// Everything, in order.
    pub fn item(self) -> Item {
        let bad = self
            .bad
            .iter()
            .map(|(path, bad)| bad.item().with("path", path.display().to_string()));
        let bad: Vec<Item> = bad.collect();
        self.node
            .with("journals", self.journals)
            .with("topics", self.topics)
            .with("bad", bad)
    }

    fn journal(&mut self, dir: &Path, partitions: &mut Partitions) -> Result<(), CommandError> {
        let disk = StandardDisk::new();
        let found = FoundJournal::read(&disk, dir).now_or_never();
        let found = match found {
            Some(Ok(found)) => found,
            Some(Err((path, error))) => {
                let what = format!("cannot read {}", path.display());
                return Err(CommandError::Io { what, error });
            }
            None => return Err(CommandError::Other("the plain disk waited".to_owned())),
        };
        let Some(readable) = found.readable(&disk).now_or_never().flatten() else {
            self.note(dir, 0, "no frame verifies".to_owned());
            return Ok(());
        };
        let mut is_in_head = true;
        let mut again = found.frames(&disk);
        for located in &readable.frames {
            let frame = again.read(located).now_or_never().and_then(Result::ok);
            let fragments = frame.and_then(|frame| frame.fragments());
            for (fragment, payload) in fragments.into_iter().flatten() {
                is_in_head &= fragment.kind != Kind::RowsEnd;
                take(&fragment, payload, is_in_head, partitions);
            }
        }
        for lost in &readable.lost {
            let reason = format!("frame {} is lost: {}", lost.sequence, lost.reason);
            self.note(&lost.path, lost.position, reason);
        }
        let last = readable.frames.last();
        let shard = dir
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into());
        let item = Item::new()
            .with("shard", shard)
            .with("frames", readable.frames.len())
            .with("first", readable.first.0)
            .with("last", last.map(|frame| frame.head.sequence.0))
            .with(
                "durable_through",
                last.map(|frame| frame.head.durable_through.0),
            )
            .with("torn", readable.torn.is_some())
            .with("lost", readable.lost.len());
        self.journals.push(item);
        Ok(())
    }

    fn note(&mut self, path: &Path, position: u64, reason: String) {
        let bad = Bad {
            position,
            offsets: None,
            reason,
        };
        self.bad.push((path.to_owned(), bad));
    }

    fn metadata(&mut self, data: &Path) -> Option<State> {
        let dir = data.join("metadata");
        let opened = metadata_log::read(&dir).map(|contents| Opened {
            snapshot: contents.snapshot,
            entries: contents.records,
        });
        let state = opened
            .map_err(|error| error.to_string())
            .and_then(|opened| Metadata::replay(&opened).map_err(|error| error.to_string()));
        match state {
            Ok((state, _)) => Some(state),
            Err(reason) => {
                self.note(&dir, 0, reason);
                None
            }
        }
    }

    fn topics(&mut self, state: Option<&State>, partitions: &Partitions) {
        let mut by_topic: BTreeMap<TopicId, Vec<Item>> = BTreeMap::new();
        for (tp, known) in partitions {
            by_topic.entry(tp.topic).or_default().push(known.item(*tp));
        }
        let mut names: HashMap<TopicId, (String, i32)> = HashMap::new();
        for (id, topic) in state.into_iter().flat_map(State::topics) {
            names.insert(id, (topic.name.to_string(), topic.partitions));
            by_topic.entry(id).or_default();
        }
        for (id, rows) in by_topic {
            let known = names.get(&id);
            let item = Item::new()
                .with("topic", known.map(|(name, _)| name.clone()))
                .with("id", id.to_string())
                .with("partitions", known.map(|(_, count)| *count))
                .with("written", rows);
            self.topics.push(item);
        }
    }

    /// Reads every segment file to where the journal says that its blocks end.
    fn verify(
        &mut self,
        data: &Path,
        partitions: &Partitions,
        wish: Wish,
    ) -> Result<(), CommandError> {
        let wish = Wish {
            records: false,
            ..wish
        };
        for (tp, known) in partitions {
            for (name, file) in &known.files {
                let path = partition_dir(data, *tp).join(name.to_string());
                match inspect_file(&path, Some(file.end), wish) {
                    Ok(found) => {
                        let bad = found.bad.into_iter().map(|bad| (path.clone(), bad));
                        self.bad.extend(bad);
                    }
                    Err(error) => self.note(&path, 0, error.to_string()),
                }
            }
        }
        Ok(())
    }
}

impl Known {
    fn item(&self, tp: TopicPartition) -> Item {
        let on_disk: u64 = self.files.values().map(|file| file.file_bytes).sum();
        Item::new()
            .with("partition", tp.partition.0)
            .with("start", self.start)
            .with("next", self.next)
            .with("files", self.files.len())
            .with("file_bytes", on_disk)
            .with("unsealed_bytes", self.unsealed_bytes)
            .with("unreadable_ranges", self.unreadable)
    }

    fn place(&mut self, place: &BlockPlace, next: i64) {
        let fresh = || KnownFile {
            incarnation: place.incarnation,
            file_bytes: place.file_bytes,
            end: 0,
            next,
        };
        let file = self.files.entry(place.segment).or_insert_with(fresh);
        if file.incarnation != place.incarnation {
            *file = fresh();
        }
        file.end = file
            .end
            .max(place.position.0 + u64::from(place.block_bytes));
        file.next = file.next.max(next);
    }

    fn take_file(&mut self, file: &FileRow) {
        let entry = KnownFile {
            incarnation: file.incarnation,
            file_bytes: file.file_bytes,
            end: file.end.0,
            next: file.next.0,
        };
        self.files.insert(file.name, entry);
    }

    /// Compaction wrote a generation that takes the place of everything before its end.
    fn switch_to(&mut self, switch: &Switch) {
        self.files.retain(|_, file| file.next > switch.end.0.0);
        let start = self.start;
        let files = switch.files.iter().filter(|file| file.next.0 > start);
        files.for_each(|file| self.take_file(file));
    }

    /// Files that end below the start are gone, but for the one being written.
    fn begin_at(&mut self, start: i64) {
        self.start = start;
        let last = self.files.keys().copied();
        let last = last.max_by_key(|name| (name.base, name.number));
        self.files
            .retain(|name, file| Some(*name) == last || file.next > start);
    }
}

/// Takes what one fragment changes, as a replay does.
fn take(fragment: &Fragment, payload: &[u8], is_in_head: bool, partitions: &mut Partitions) {
    let topic = fragment.tp.topic;
    match fragment.kind {
        Kind::Drop => return partitions.retain(|tp, _| tp.topic != topic),
        Kind::RowsEnd | Kind::NextFile => return,
        _ => {}
    }
    let known = partitions.entry(fragment.tp).or_default();
    match fragment.kind {
        Kind::Row if is_in_head => {
            if let Some(row) = Row::decode(payload) {
                take_row(known, &row);
            }
        }
        Kind::Batches => {
            known.next = known.next.max(fragment.next.0);
            known.unsealed_bytes += payload.len() as u64;
        }
        Kind::Sealed | Kind::Confirmed => {
            if let Some(place) = BlockPlace::decode(&mut Reader(payload)) {
                known.place(&place, fragment.next.0);
                known.next = known.next.max(fragment.next.0);
                let sealed = u64::from(place.payload_bytes);
                if fragment.kind == Kind::Sealed {
                    known.unsealed_bytes = known.unsealed_bytes.saturating_sub(sealed);
                }
            }
        }
        Kind::Switch => {
            if let Some(switch) = Switch::decode(fragment, payload) {
                known.switch_to(&switch);
            }
        }
        Kind::Start => known.begin_at(fragment.base.0),
        Kind::Truncate => known.next = fragment.next.0,
        _ => {}
    }
}

fn take_row(known: &mut Known, row: &Row) {
    known.start = row.start.0;
    known.next = row.flushed.0.0;
    known.unreadable = row.unreadable.len();
    row.files.iter().for_each(|file| known.take_file(file));
}
