//! What the metadata log holds: entries of records, and snapshots, in format version 1.
//!
//! ```text
//! entry or snapshot:  | kind u8 | version u8 | rkyv archive of Vec<Record> or of Snapshot |
//!                       0x45 'E' or 0x53 'S'
//! ```
//! The log around it brings lengths and checksums. An entry's records take effect together or not
//! at all. Archived types are those of `v1` only; a change to one of them is a new module and a
//! new version number, and the old one stays readable.

use rkyv::{rancor, util::AlignedVec};

pub use self::v1::{Record, ResourceConfig, Setting, Snapshot, Tombstone, Topic};

const ENTRY: u8 = b'E';
const SNAPSHOT: u8 = b'S';
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 2;

/// Format version 1.
mod v1 {
    use rkyv::{Archive, Deserialize, Serialize};

    /// One change.
    #[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
    pub enum Record {
        /// The process started: the leader epoch of every partition rises by one (S18).
        NodeStarted {
            /// The number of this start; the first is 0.
            start: i32,
        },
        /// A topic came to be.
        TopicCreated(Topic),
        /// A topic went; its id stays known as a tombstone (S17).
        TopicDeleted {
            /// Which.
            id: [u8; 16],
        },
        /// A topic grew.
        PartitionsAdded {
            /// Which.
            id: [u8; 16],
            /// How many it has now.
            total: i32,
        },
        /// A topic's own setting changed.
        TopicSettingChanged {
            /// Which topic.
            id: [u8; 16],
            /// The topic's key.
            key: String,
            /// `None`: the broker's default holds again.
            value: Option<String>,
        },
        /// Producer ids up to this may have been given out.
        ProducerIdsReserved {
            /// The first id that is still free.
            next: i64,
        },
        /// No journal mentions these deleted topics any more.
        TombstonesForgotten {
            /// Which.
            ids: Vec<[u8; 16]>,
        },
        /// A setting of something that is no topic changed.
        ConfigChanged {
            /// Kafka's number of the kind of thing.
            kind: i8,
            /// Which of its kind.
            name: String,
            /// The key.
            key: String,
            /// `None`: the default holds again.
            value: Option<String>,
        },
    }

    /// A topic as it was created, or as it is at a snapshot.
    #[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
    pub struct Topic {
        /// Its id.
        pub id: [u8; 16],
        /// Its name.
        pub name: String,
        /// How many partitions it has.
        pub partitions: i32,
        /// Whether the broker keeps it for itself.
        pub internal: bool,
        /// The start in which it was created.
        pub created_at_start: i32,
        /// Its own settings, in the order of their keys.
        pub settings: Vec<Setting>,
    }

    /// A topic's own setting.
    #[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
    pub struct Setting {
        /// The topic's key.
        pub key: String,
        /// Its value.
        pub value: String,
    }

    /// The settings of something that is no topic.
    #[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
    pub struct ResourceConfig {
        /// Kafka's number of the kind of thing.
        pub kind: i8,
        /// Which of its kind.
        pub name: String,
        /// In the order of their keys.
        pub settings: Vec<Setting>,
    }

    /// A deleted topic which journals may still mention.
    #[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Tombstone {
        /// The topic's id.
        pub id: [u8; 16],
        /// The start in which it was deleted.
        pub deleted_at_start: i32,
    }

    /// The state that all records up to a point make.
    #[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
    pub struct Snapshot {
        /// How many starts there were.
        pub starts: i32,
        /// The first producer id that is still free.
        pub next_producer_id: i64,
        /// In the order of their ids.
        pub topics: Vec<Topic>,
        /// In the order of their ids.
        pub tombstones: Vec<Tombstone>,
        /// In the order of their kinds and names.
        pub configs: Vec<ResourceConfig>,
        /// How many records made this state.
        pub applied: i64,
    }
}

/// Bytes that are no entry or snapshot of a known version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another kind of thing, or nothing.
    #[error("begins with {found:?} where {expected:?} should stand")]
    Kind {
        /// The kind that was looked for.
        expected: char,
        /// The first byte as a character.
        found: Option<char>,
    },
    /// A later version.
    #[error("has format version {0}, and this program reads up to {VERSION}: start a newer one")]
    Version(u8),
    /// Bytes that make no value.
    #[error("is not a valid archive: {0}")]
    Archive(String),
}

/// An entry of these records.
#[must_use]
pub fn encode_entry(records: &[Record]) -> Vec<u8> {
    encode(ENTRY, &records.to_vec())
}

/// The records of an entry.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_entry(bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    let archive = body(ENTRY, bytes)?;
    rkyv::from_bytes::<Vec<Record>, rancor::Error>(&archive)
        .map_err(|error| DecodeError::Archive(error.to_string()))
}

/// A snapshot's bytes.
#[must_use]
pub fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    encode(SNAPSHOT, snapshot)
}

/// The snapshot that these bytes are.
///
/// # Errors
/// [`DecodeError`] if they are none.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
    let archive = body(SNAPSHOT, bytes)?;
    rkyv::from_bytes::<Snapshot, rancor::Error>(&archive)
        .map_err(|error| DecodeError::Archive(error.to_string()))
}

fn encode<T>(kind: u8, value: &T) -> Vec<u8>
where
    T: for<'a> rkyv::Serialize<
            rancor::Strategy<
                rkyv::ser::Serializer<
                    AlignedVec,
                    rkyv::ser::allocator::ArenaHandle<'a>,
                    rkyv::ser::sharing::Share,
                >,
                rancor::Error,
            >,
        >,
{
    let archive = rkyv::to_bytes::<rancor::Error>(value).expect("memory is the only limit");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + archive.len());
    bytes.extend_from_slice(&[kind, VERSION]);
    bytes.extend_from_slice(&archive);
    bytes
}

/// The archive behind the head, copied to where its alignment holds.
fn body(kind: u8, bytes: &[u8]) -> Result<AlignedVec, DecodeError> {
    match bytes {
        [found, VERSION, archive @ ..] if *found == kind => {
            let mut aligned = AlignedVec::with_capacity(archive.len());
            aligned.extend_from_slice(archive);
            Ok(aligned)
        }
        [found, version, ..] if *found == kind => Err(DecodeError::Version(*version)),
        _ => Err(DecodeError::Kind {
            expected: char::from(kind),
            found: bytes.first().map(|byte| char::from(*byte)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_went() {
        let topic = Topic {
            id: [3; 16],
            name: "orders".into(),
            partitions: 6,
            internal: false,
            created_at_start: 2,
            settings: vec![Setting {
                key: "retention.ms".into(),
                value: "5".into(),
            }],
        };
        let records = vec![
            Record::NodeStarted { start: 2 },
            Record::TopicCreated(topic.clone()),
            Record::ProducerIdsReserved { next: 1000 },
        ];
        assert_eq!(decode_entry(&encode_entry(&records)), Ok(records));
        let snapshot = Snapshot {
            starts: 3,
            topics: vec![topic],
            ..Snapshot::default()
        };
        assert_eq!(decode_snapshot(&encode_snapshot(&snapshot)), Ok(snapshot));
    }

    /// The bytes of a released version must stay readable: a change of rkyv's features or of a
    /// type in `v1` shows here.
    #[test]
    fn version_1_is_still_read() {
        const GOLDEN: &str = concat!(
            "4501612d6c6f6e672d746f7069632d6e616d657365676d656e742e6d73008a00",
            "0000f5ffffff37ffffffffffffff000000000100000009090909090909090909",
            "09090909090991000000bcffffff030000000100000001000000c4ffffff0100",
            "0000020808080808080808080808080808080800000000000000000000000000",
            "000000000000000000000000000000000000a0ffffff02000000",
        );
        let bytes: Vec<u8> = (0..GOLDEN.len() / 2)
            .map(|at| u8::from_str_radix(&GOLDEN[2 * at..2 * at + 2], 16).expect("hex"))
            .collect();
        let topic = Topic {
            id: [9; 16],
            name: "a-long-topic-name".into(),
            partitions: 3,
            internal: true,
            created_at_start: 1,
            settings: vec![Setting {
                key: "segment.ms".into(),
                value: "7".into(),
            }],
        };
        let deleted = Record::TopicDeleted { id: [8; 16] };
        let records = vec![Record::TopicCreated(topic), deleted];
        let hex: String = encode_entry(&records)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(decode_entry(&bytes), Ok(records));
    }

    #[test]
    fn noise_is_an_error() {
        let good = encode_entry(&[Record::TopicDeleted { id: [1; 16] }]);
        assert!(matches!(decode_entry(&[]), Err(DecodeError::Kind { .. })));
        assert!(matches!(
            decode_snapshot(&good),
            Err(DecodeError::Kind { .. })
        ));
        assert_eq!(decode_entry(&[ENTRY, 9, 0]), Err(DecodeError::Version(9)));
        assert!(decode_entry(&good[..HEAD_BYTES]).is_err());
        for at in HEAD_BYTES..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            // The log's checksum is what finds damage; this must only not panic.
            drop(decode_entry(&bad));
            drop(decode_entry(&good[..at]));
        }
    }
}
