//! The `node` file: who this node is and which set of journals is the one to believe. It is the
//! commit point of every start (S11), so it changes by one write of one page, to the slot that is
//! not in force: a torn write leaves the other slot valid.
//!
//! ```text
//!  the file: two slots, one page each; the valid one with the higher sequence is in force
//! +--------+--------+
//! | slot 0 | slot 1 |
//! +--------+--------+
//! 0        4096     8192
//!
//!  a slot (little-endian)
//!  0       8        12      16         24         40         56        64              72
//! +-------+--------+-------+----------+----------+----------+---------+---------------+-------+
//! | magic | format | node  | sequence | cluster  | disk     | journal | checksum u64  | zeros |
//! | u64   | u32    | id i32| u64      | uuid 16 B| uuid 16 B| set u64 | of 0..64      |       |
//! +-------+--------+-------+----------+----------+----------+---------+---------------+-------+
//! ```

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::{
    disk::{Disk, Flush, OpenMode, PAGE},
    hash::{self, Incarnation},
};

/// "SPATENOD", read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"SPATENOD");
/// The format of the whole data directory: a start reads this first.
pub const DATA_FORMAT: u32 = 1;
const CHECKSUM_AT: usize = 64;
/// The file is never reused, so its checksums have a constant seed.
const SEED: Incarnation = Incarnation(MAGIC);
const SLOTS: u64 = 2;

/// A cluster's id. Shown as Kafka shows it: 22 characters of URL-safe base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClusterId(pub Uuid);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 128 bits are 21 digits of 6 bits and one of 2, which base64 pads with zeros at its end.
        let bits = self.0.as_u128();
        for digit in 0..22 {
            let shift = 122 - 6 * digit;
            let value = if shift >= 0 {
                bits >> shift
            } else {
                bits << -shift
            };
            write!(f, "{}", char::from(DIGITS[(value & 63) as usize]))?;
        }
        Ok(())
    }
}

/// A node's id in its cluster: 1 to 999, as shards appear to some clients as `id * 1000 + shard`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(i32);

/// Not a node id.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("node id {0} is not in 1 to 999; set node.id to one that is")]
pub struct NotANodeId(i32);

impl NodeId {
    /// Checks the range.
    pub fn new(id: i32) -> Result<NodeId, NotANodeId> {
        if (1..=999).contains(&id) {
            Ok(NodeId(id))
        } else {
            Err(NotANodeId(id))
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which start's journals: `<data>/journal/<set>/<shard>/<n>`. 0 before the first start's commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct JournalSet(pub u64);

impl fmt::Display for JournalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeState {
    /// Whose data this is.
    pub cluster: ClusterId,
    /// Which node of it.
    pub node: NodeId,
    /// This data directory: another one, even a copy that lost something, is another disk.
    pub disk: Uuid,
    /// The journals to believe.
    pub journal_set: JournalSet,
}

/// The open `node` file. Holds no descriptor: it is read once and written once a start.
#[derive(Clone, Debug)]
pub struct NodeFile {
    path: PathBuf,
    sequence: u64,
    state: NodeState,
}

/// Why the `node` file cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum NodeError {
    /// The disk failed.
    #[error("{path}: {error}; check the disk and the directory's permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
    /// Neither slot verifies.
    #[error(
        "{path}: no valid slot: at 0: {first}; at 4096: {second}; restore the file from a backup, \
         or move the data directory away to start empty"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with the first slot.
        first: SlotError,
        /// What is wrong with the second.
        second: SlotError,
    },
    /// The data is of a release that this one does not know.
    #[error(
        "{path}: the data directory has format {found}, this release reads format {DATA_FORMAT}; \
         start it with the release that wrote it"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format's number.
        found: u32,
    },
    /// There is data, and no file that says whose.
    #[error(
        "{path} is missing and {data} is there; restore the file from a backup, or move the data \
         directory away to start empty"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is there.
        data: PathBuf,
    },
}

/// What is wrong with a slot.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotError {
    /// Never written, or not ours.
    #[error("magic: expected {MAGIC:#018x}, found {0:#018x}")]
    Magic(u64),
    /// Torn or damaged.
    #[error("checksum: expected {expected:016x}, found {found:016x}")]
    Checksum {
        /// What stands there.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
    /// Written by another release.
    #[error("format {0}")]
    Format(u32),
    /// Verified and still wrong.
    #[error("{0}")]
    Node(NotANodeId),
}

impl NodeFile {
    fn path_in(data: &Path) -> PathBuf {
        data.join("node")
    }

    /// Reads the file; nothing in a data directory that was never used. What it says, and its name,
    /// are durable when it returns: a process that was killed half-way through writing them left
    /// them to be seen by this start and lost by the next power cut.
    pub async fn open<D: Disk>(disk: &D, data: &Path) -> Result<Option<NodeFile>, NodeError> {
        let path = Self::path_in(data);
        let io = |error| NodeError::Io {
            path: path.clone(),
            error,
        };
        let file = match disk.open(&path, OpenMode::Read).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return no_data_in(disk, data).await.map(|()| None);
            }
            Err(error) => return Err(io(error)),
        };
        let (read, bytes) = disk
            .read(&file, 0, disk.buffer(SLOTS as usize * PAGE))
            .await;
        read.map_err(io)?;
        disk.sync(&file).await.map_err(io)?;
        disk.sync_dir(data).await.map_err(io)?;
        let (first, second) = bytes.as_ref().split_at(PAGE);
        let (sequence, state) = match (decode(first), decode(second)) {
            // A newer release has written here, and its slot may be the one in force.
            (Err(SlotError::Format(found)), _) | (_, Err(SlotError::Format(found))) => {
                return Err(NodeError::Format { path, found });
            }
            (Ok(first), Ok(second)) if first.0 > second.0 => first,
            (Ok(_), Ok(second)) => second,
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            (Err(first), Err(second)) => {
                return Err(NodeError::Corrupt {
                    path,
                    first,
                    second,
                });
            }
        };
        Ok(Some(NodeFile {
            path,
            sequence,
            state,
        }))
    }

    /// Writes the file of a new node; durable with its name when it returns.
    pub async fn create<D: Disk>(
        disk: &D,
        data: &Path,
        state: NodeState,
    ) -> Result<NodeFile, NodeError> {
        let path = Self::path_in(data);
        let io = |error| NodeError::Io {
            path: path.clone(),
            error,
        };
        let unfinished = data.join("node.new");
        disk.remove(&unfinished).await.map_err(io)?;
        let mode = OpenMode::Create {
            len: SLOTS * PAGE as u64,
        };
        let file = disk.open(&unfinished, mode).await.map_err(io)?;
        let mut slots = disk.buffer(SLOTS as usize * PAGE);
        slots.as_mut().fill(0);
        encode(0, state, &mut slots.as_mut()[..PAGE]);
        disk.write(&file, 0, slots, Flush::Data)
            .await
            .0
            .map_err(io)?;
        disk.sync(&file).await.map_err(io)?;
        disk.rename(&unfinished, &path).await.map_err(io)?;
        disk.sync_dir(data).await.map_err(io)?;
        Ok(NodeFile {
            path,
            sequence: 0,
            state,
        })
    }

    /// What is in force.
    #[must_use]
    pub fn state(&self) -> &NodeState {
        &self.state
    }

    /// Makes another journal set the one to believe, by one write (S11). After an error nobody
    /// knows which one is: the process must end.
    pub async fn commit<D: Disk>(&mut self, disk: &D, set: JournalSet) -> Result<(), NodeError> {
        let io = |error| NodeError::Io {
            path: self.path.clone(),
            error,
        };
        let state = NodeState {
            journal_set: set,
            ..self.state
        };
        let sequence = self.sequence + 1;
        let file = disk.open(&self.path, OpenMode::Write).await.map_err(io)?;
        let mut page = disk.buffer(PAGE);
        encode(sequence, state, page.as_mut());
        let position = (sequence % SLOTS) * PAGE as u64;
        disk.write(&file, position, page, Flush::Data)
            .await
            .0
            .map_err(io)?;
        (self.sequence, self.state) = (sequence, state);
        Ok(())
    }
}

/// One slot of the file, as `spate inspect` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Counts the writes: the higher one is in force.
    pub sequence: u64,
    /// What it says.
    pub state: NodeState,
}

/// Both slots of a file's bytes; what is missing of them is read as zeros.
pub fn read_slots(file: &[u8]) -> [Result<Slot, SlotError>; 2] {
    [0, PAGE].map(|at| {
        let mut page = [0; PAGE];
        let rest = file.get(at..).unwrap_or_default();
        let len = rest.len().min(PAGE);
        page[..len].copy_from_slice(&rest[..len]);
        decode(&page).map(|(sequence, state)| Slot { sequence, state })
    })
}

/// A directory with journals or topics and no `node` file lost it: starting empty beside the data
/// would look like losing everything.
async fn no_data_in<D: Disk>(disk: &D, data: &Path) -> Result<(), NodeError> {
    let path = NodeFile::path_in(data);
    for name in ["journal", "topics"] {
        let dir = data.join(name);
        let entries = disk.list(&dir).await;
        let entries = entries.map_err(|error| NodeError::Io {
            path: dir.clone(),
            error,
        })?;
        if !entries.is_empty() {
            return Err(NodeError::Missing { path, data: dir });
        }
    }
    Ok(())
}

fn encode(sequence: u64, state: NodeState, page: &mut [u8]) {
    page.fill(0);
    page[..8].copy_from_slice(&MAGIC.to_le_bytes());
    page[8..12].copy_from_slice(&DATA_FORMAT.to_le_bytes());
    page[12..16].copy_from_slice(&state.node.get().to_le_bytes());
    page[16..24].copy_from_slice(&sequence.to_le_bytes());
    page[24..40].copy_from_slice(state.cluster.0.as_bytes());
    page[40..56].copy_from_slice(state.disk.as_bytes());
    page[56..64].copy_from_slice(&state.journal_set.0.to_le_bytes());
    let sum = hash::checksum(SEED, &page[..CHECKSUM_AT]);
    page[CHECKSUM_AT..CHECKSUM_AT + 8].copy_from_slice(&sum.to_le_bytes());
}

fn decode(page: &[u8]) -> Result<(u64, NodeState), SlotError> {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&page[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let uuid = |at: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&page[at..at + 16]);
        Uuid::from_bytes(bytes)
    };
    if word(0) != MAGIC {
        return Err(SlotError::Magic(word(0)));
    }
    let (expected, found) = (
        word(CHECKSUM_AT),
        hash::checksum(SEED, &page[..CHECKSUM_AT]),
    );
    if found != expected {
        return Err(SlotError::Checksum { expected, found });
    }
    let (format, node) = (word(8) as u32, (word(8) >> 32) as i32);
    if format != DATA_FORMAT {
        return Err(SlotError::Format(format));
    }
    let state = NodeState {
        cluster: ClusterId(uuid(24)),
        node: NodeId::new(node).map_err(SlotError::Node)?,
        disk: uuid(40),
        journal_set: JournalSet(word(56)),
    };
    Ok((word(16), state))
}
