//! What the coordinators keep in `__consumer_offsets`: Kafka's own records, so that its tools read
//! them and a log of Kafka's can be taken over.
//!
//! ```text
//! key    version i16 = 0, 1 | group | topic | partition i32          an offset
//!        version i16 = 2    | group                                  a group
//!
//! offset version i16 = 4 | offset i64 | leader epoch i32 | metadata | committed ms i64
//!                        | tagged fields: 0 = topic id
//!        version i16 = 1   with an expiry i64 behind, where the client asked for one
//! group  version i16 = 3 | protocol type | generation i32 | protocol? | leader?
//!                        | state since ms i64 | members:
//!            id | instance id? | client id | host | rebalance ms i32 | session ms i32
//!               | subscription bytes | assignment bytes
//! ```
//! Up to version 3 texts have 16-bit lengths, from 4 on compact ones. No value is a tombstone. Keys
//! of other numbers belong to group kinds that are not served yet and are left alone.

use bytes::{BufMut, Bytes, BytesMut};
use spate_net::kafka::{
    KafkaString,
    error::WireError,
    primitives::{Reader, Writer, tagged_content},
};
use spate_storage::types::TopicId;

use crate::handler::{kafka_uuid, topic_id};

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE: i16 = 4;
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE: i16 = 3;
/// The first value versions with compact lengths and tagged fields.
const FLEXIBLE_FROM: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// What a record is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// A group's offset in a partition.
    Offset {
        /// The group.
        group: String,
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A group.
    Group {
        /// The group.
        group: String,
    },
    /// Something of another kind.
    Other(i16),
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetValue {
    /// The next offset to read.
    pub offset: i64,
    /// The epoch of the record before it; -1 if unknown.
    pub leader_epoch: i32,
    /// The client's own.
    pub metadata: String,
    /// When it was committed.
    pub commit_ms: i64,
    /// When it expires, where the client said so.
    pub expire_ms: Option<i64>,
    /// The topic's id, where it was known.
    pub topic_id: Option<TopicId>,
}

/// A classic group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupValue {
    /// Empty before the first member.
    pub protocol_type: String,
    /// The number of its assignment.
    pub generation: i32,
    /// The protocol in use; none when nobody is in it.
    pub protocol: Option<String>,
    /// The leader's member id.
    pub leader: Option<String>,
    /// When its state last changed.
    pub state_since_ms: Option<i64>,
    /// Its members.
    pub members: Vec<MemberValue>,
}

/// A member of a classic group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberValue {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if it is static.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// How long a rebalance waits for it; -1 if it was not written.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// What it asked for under the group's protocol.
    pub subscription: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

/// A record to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Its key.
    pub key: Bytes,
    /// Its value; none to delete what the key names.
    pub value: Option<Bytes>,
}

impl Key {
    /// The key's bytes.
    ///
    /// # Panics
    /// For [`Key::Other`], which is never written.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(BytesMut::new(), false);
        match self {
            Key::Offset {
                group,
                topic,
                partition,
            } => write_offset_key(&mut writer, group, topic, *partition),
            Key::Group { group } => {
                writer.i16(GROUP_KEY);
                writer.string(group);
            }
            Key::Other(version) => unreachable!("a key of version {version} is not ours"),
        }
        writer.buffer.freeze()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// If the bytes are not what their version says.
    pub fn decode(bytes: &[u8]) -> Result<Key, WireError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut reader = Reader::new(&bytes, false);
        Ok(match reader.i16("key version")? {
            0 | OFFSET_KEY => Key::Offset {
                group: text(reader.string("group")?),
                topic: text(reader.string("topic")?),
                partition: reader.i32("partition")?,
            },
            GROUP_KEY => Key::Group {
                group: text(reader.string("group")?),
            },
            other => Key::Other(other),
        })
    }

    /// The record that deletes what this key names.
    pub fn tombstone(&self) -> LogRecord {
        LogRecord {
            key: self.encode(),
            value: None,
        }
    }
}

/// The bytes of [`Key::Offset`], behind what the writer holds.
fn write_offset_key(writer: &mut Writer, group: &str, topic: &str, partition: i32) {
    writer.i16(OFFSET_KEY);
    writer.string(group);
    writer.string(topic);
    writer.i32(partition);
}

/// Encodes one offset after the other, in memory that it uses again.
#[derive(Debug, Default)]
pub struct OffsetWriter {
    key: BytesMut,
    value: BytesMut,
}

impl OffsetWriter {
    /// Key and value of an offset.
    pub fn encode(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        value: &OffsetValue,
    ) -> (&[u8], &[u8]) {
        self.key.clear();
        let mut key = Writer::new(std::mem::take(&mut self.key), false);
        write_offset_key(&mut key, group, topic, partition);
        self.key = key.buffer;
        self.value.clear();
        self.value = value.write(std::mem::take(&mut self.value));
        (&self.key, &self.value)
    }
}

impl OffsetValue {
    /// The value's bytes.
    #[cfg(test)]
    fn encode(&self) -> Bytes {
        self.write(BytesMut::new()).freeze()
    }

    fn write(&self, buffer: BytesMut) -> BytesMut {
        let version = match self.expire_ms {
            Some(_) => OFFSET_VALUE_WITH_EXPIRY,
            None => OFFSET_VALUE,
        };
        let mut writer = Writer::new(buffer, version >= FLEXIBLE_FROM);
        writer.i16(version);
        writer.i64(self.offset);
        if version >= 3 {
            writer.i32(self.leader_epoch);
        }
        writer.string(&self.metadata);
        writer.i64(self.commit_ms);
        if let Some(expire_ms) = self.expire_ms {
            writer.i64(expire_ms);
        }
        let id = |id| (TOPIC_ID_TAG, tagged_content(|w| w.uuid(kafka_uuid(id))));
        let tagged: Vec<_> = self.topic_id.map(id).into_iter().collect();
        writer.tagged_fields(&tagged);
        writer.buffer
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes are not what their version says.
    pub fn decode(bytes: &[u8]) -> Result<OffsetValue, WireError> {
        let (version, rest) = versioned(bytes)?;
        let mut reader = Reader::new(&rest, version >= FLEXIBLE_FROM);
        let offset = reader.i64("offset")?;
        let leader_epoch = if version >= 3 {
            reader.i32("leader epoch")?
        } else {
            -1
        };
        let metadata = text(reader.string("metadata")?);
        let commit_ms = reader.i64("commit time")?;
        let expire_ms = match version {
            1 => Some(reader.i64("expiry")?).filter(|ms| *ms >= 0),
            _ => None,
        };
        let mut id = None;
        reader.tagged_fields(|tag, content| {
            if tag == TOPIC_ID_TAG {
                id = Some(topic_id(content.uuid("topic id")?));
            }
            Ok(())
        })?;
        Ok(OffsetValue {
            offset,
            leader_epoch,
            metadata,
            commit_ms,
            expire_ms,
            topic_id: id,
        })
    }
}

impl GroupValue {
    /// The value's bytes.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(BytesMut::new(), false);
        writer.i16(GROUP_VALUE);
        writer.string(&self.protocol_type);
        writer.i32(self.generation);
        writer.nullable_string(self.protocol.as_deref());
        writer.nullable_string(self.leader.as_deref());
        writer.i64(self.state_since_ms.unwrap_or(-1));
        writer.length(Some(self.members.len()));
        for member in &self.members {
            writer.string(&member.member_id);
            writer.nullable_string(member.instance_id.as_deref());
            writer.string(&member.client_id);
            writer.string(&member.client_host);
            writer.i32(member.rebalance_timeout_ms);
            writer.i32(member.session_timeout_ms);
            for bytes in [&member.subscription, &member.assignment] {
                writer.length(Some(bytes.len()));
                writer.buffer.put_slice(bytes);
            }
        }
        writer.buffer.freeze()
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes are not what their version says.
    pub fn decode(bytes: &[u8]) -> Result<GroupValue, WireError> {
        let (version, rest) = versioned(bytes)?;
        let mut reader = Reader::new(&rest, version >= FLEXIBLE_FROM);
        let protocol_type = text(reader.string("protocol type")?);
        let generation = reader.i32("generation")?;
        let protocol = reader.nullable_string("protocol")?.map(text);
        let leader = reader.nullable_string("leader")?.map(text);
        let state_since_ms = match version {
            2.. => Some(reader.i64("state time")?).filter(|ms| *ms >= 0),
            _ => None,
        };
        let count = reader.array("members", 12)?;
        let members = (0..count)
            .map(|_| MemberValue::read(&mut reader, version))
            .collect::<Result<_, _>>()?;
        Ok(GroupValue {
            protocol_type,
            generation,
            protocol,
            leader,
            state_since_ms,
            members,
        })
    }
}

impl MemberValue {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<MemberValue, WireError> {
        let member_id = text(reader.string("member id")?);
        let instance_id = match version {
            3.. => reader.nullable_string("instance id")?.map(text),
            _ => None,
        };
        let client_id = text(reader.string("client id")?);
        let client_host = text(reader.string("client host")?);
        let rebalance_timeout_ms = match version {
            1.. => reader.i32("rebalance timeout")?,
            _ => -1,
        };
        let session_timeout_ms = reader.i32("session timeout")?;
        let mut own = |field| -> Result<Bytes, WireError> {
            let bytes = reader.nullable_bytes(field)?.unwrap_or_default();
            Ok(Bytes::copy_from_slice(&bytes))
        };
        let subscription = own("subscription")?;
        let assignment = own("assignment")?;
        reader.skip_tagged_fields()?;
        Ok(MemberValue {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}

fn versioned(bytes: &[u8]) -> Result<(i16, Bytes), WireError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut reader = Reader::new(&bytes, false);
    let version = reader.i16("value version")?;
    Ok((version, reader.rest()))
}

fn text(text: KafkaString) -> String {
    text.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// Taken from the log of Apache Kafka 4.3.0.
    #[test]
    fn kafkas_own_records_are_read_and_written_the_same() {
        let offset = hex(
            "000400000000000000040000000001000001a207b4934e01001085be9e6e30184beb9912dc0dca7250dc",
        );
        let value = OffsetValue::decode(&offset).expect("Kafka wrote it");
        assert_eq!((value.offset, value.leader_epoch), (4, 0));
        assert_eq!(value.topic_id.map(|id| id.0[0]), Some(0x85));
        assert_eq!(&value.encode()[..], &offset[..]);

        let empty = hex("00030008636f6e73756d657200000002ffffffff000001a207b4936400000000");
        let value = GroupValue::decode(&empty).expect("Kafka wrote it");
        assert_eq!((value.generation, value.protocol.as_deref()), (2, None));
        assert_eq!(&value.encode()[..], &empty[..]);

        let stable = hex(concat!(
            "00030008636f6e73756d657200000001000572616e676500386b61666b612d707974686f6e2d332e302e",
            "31322d63353438313933612d653266632d343835392d626239652d343561353765663034643837000001",
            "a207b4926d0000000100386b61666b612d707974686f6e2d332e302e31322d63353438313933612d6532",
            "66632d343835392d626239652d343561353765663034643837ffff00136b61666b612d707974686f6e2d",
            "332e302e3132000a2f3132372e302e302e31000493e00000afc800000018000000000001000c67726f75",
            "70732d70726f6265000000000000002c000000000001000c67726f7570732d70726f6265000000040000",
            "000000000001000000020000000300000000",
        ));
        let value = GroupValue::decode(&stable).expect("Kafka wrote it");
        assert_eq!(value.members.len(), 1);
        assert_eq!(value.members[0].client_host, "/127.0.0.1");
        assert_eq!(value.members[0].session_timeout_ms, 45_000);
        assert_eq!(&value.encode()[..], &stable[..]);
    }

    #[test]
    fn keys_survive_the_way_through_the_log() {
        let offset = Key::Offset {
            group: "g".into(),
            topic: "t".into(),
            partition: 7,
        };
        let group = Key::Group { group: "ü".into() };
        for key in [offset, group] {
            assert_eq!(Key::decode(&key.encode()).expect("our own"), key);
        }
        assert_eq!(Key::decode(&[0, 3, 9]).expect("left alone"), Key::Other(3));
        assert!(Key::decode(&[0, 2, 0, 9]).is_err());
    }

    #[test]
    fn memory_that_is_used_again_gives_the_same_bytes() {
        let (mut writer, mut value) = (
            OffsetWriter::default(),
            OffsetValue {
                offset: 5,
                leader_epoch: 3,
                metadata: "a longer note".into(),
                commit_ms: 10,
                expire_ms: None,
                topic_id: Some(TopicId([7; 16])),
            },
        );
        for (group, metadata) in [("a long name", "a longer note"), ("g", "")] {
            value.metadata = metadata.into();
            let key = Key::Offset {
                group: group.into(),
                topic: "t".into(),
                partition: 1,
            };
            let encoded = writer.encode(group, "t", 1, &value);
            assert_eq!(encoded, (&key.encode()[..], &value.encode()[..]));
        }
    }

    #[test]
    fn an_expiry_of_its_own_is_kept_in_the_version_that_has_one() {
        let value = OffsetValue {
            offset: 5,
            leader_epoch: -1,
            metadata: "m".into(),
            commit_ms: 10,
            expire_ms: Some(20),
            topic_id: None,
        };
        assert_eq!(OffsetValue::decode(&value.encode()).expect("ours"), value);
    }
}
