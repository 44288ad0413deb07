//! One file per API: its versions, its errors, and what its clients do that the schema does not
//! say. Produce and Fetch are parsed in place and made by hand, because every record passes there;
//! the others take their types from the generated codec, through the traits of this file.

use bytes::{Bytes, BytesMut};

use super::error::WireError;
use super::header::encode_request;
use super::primitives::{Reader, Writer, tagged_content};
use super::shape::{self, Shape};
use super::versions::ApiRange;
use super::{KafkaString, KafkaUuid};

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;
pub mod unregister_broker;
pub mod update_features;

/// A message body that can be read and written in some versions.
pub trait Message: Sized {
    /// Reads the message from the front of `body`.
    fn read(body: &mut Bytes, version: i16) -> Result<Self, WireError>;
    /// Writes the message behind what `buffer` holds.
    fn write(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError>;
}

/// A request: a message that belongs to an API and has an answer.
pub trait Call: Message {
    /// The API and its versions.
    const RANGE: ApiRange;
    /// What the generated codec is to find, so that it can be checked before; none if the
    /// message is read by hand.
    const SHAPE: Option<Shape> = None;
    /// What comes back.
    type Answer: Message;

    /// The whole frame with size and header.
    fn frame(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<Vec<Bytes>, WireError> {
        let frame = encode_request(&Self::RANGE, version, correlation_id, client_id, self)?;
        Ok(vec![frame])
    }
}

/// Reads a request's body. Bytes behind the message are ignored, as Kafka does.
pub fn decode_request<R: Call>(body: &Bytes, version: i16) -> Result<R, WireError> {
    if !R::RANGE.serves(version) {
        return Err(WireError::Version {
            key: R::RANGE.key as i16,
            version,
        });
    }
    if let Some(shape) = R::SHAPE {
        shape::check(shape, body, version, R::RANGE.is_flexible(version))?;
    }
    R::read(&mut body.clone(), version)
}

/// Ties a request and a response of the generated codec to their API.
macro_rules! generated_api {
    ($request:ty => $response:ty) => {
        crate::kafka::api::generated_message!($request);
        crate::kafka::api::generated_message!($response);

        impl crate::kafka::api::Call for $request {
            const RANGE: crate::kafka::versions::ApiRange = RANGE;
            const SHAPE: Option<crate::kafka::shape::Shape> = Some(SHAPE);
            type Answer = $response;
        }
    };
}

macro_rules! generated_message {
    ($message:ty) => {
        impl crate::kafka::api::Message for $message {
            fn read(
                body: &mut bytes::Bytes,
                version: i16,
            ) -> Result<Self, crate::kafka::error::WireError> {
                Ok(<$message>::read(body, version)?)
            }

            fn write(
                &self,
                buffer: &mut bytes::BytesMut,
                version: i16,
            ) -> Result<(), crate::kafka::error::WireError> {
                Ok(<$message>::write(self, buffer, version)?)
            }
        }
    };
}

pub(crate) use {generated_api, generated_message};

/// How a Produce or Fetch names a topic: by name, or by id from version 13 on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TopicRef {
    /// By name.
    Name(KafkaString),
    /// By id.
    Id(KafkaUuid),
}

impl TopicRef {
    /// The same in memory of its own: a name that was read is a slice of its frame, and keeps all
    /// of that.
    #[must_use]
    pub fn detached(&self) -> TopicRef {
        match self {
            TopicRef::Name(name) => TopicRef::Name(name.as_str().to_owned().into()),
            TopicRef::Id(id) => TopicRef::Id(*id),
        }
    }

    /// Reads the name or, from the version that has ids, the id.
    fn read(reader: &mut Reader<'_>, by_id: bool) -> Result<TopicRef, WireError> {
        Ok(if by_id {
            TopicRef::Id(reader.uuid("topic id")?)
        } else {
            TopicRef::Name(reader.string("topic name")?)
        })
    }

    /// Writes the name or the id, whichever `version` wants.
    fn write(&self, writer: &mut Writer, by_id: bool, version: i16) -> Result<(), WireError> {
        match (self, by_id) {
            (TopicRef::Name(name), false) => writer.string(name.as_str()),
            (TopicRef::Id(id), true) => writer.uuid(*id),
            (TopicRef::Name(_), true) => {
                return Err(WireError::TopicNaming {
                    version,
                    wanted: "id",
                });
            }
            (TopicRef::Id(_), false) => {
                return Err(WireError::TopicNaming {
                    version,
                    wanted: "name",
                });
            }
        }
        Ok(())
    }
}

/// The leader that the client should go to instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderIdAndEpoch {
    /// The leader's node id, or -1 if there is none.
    pub leader_id: i32,
    /// The epoch of its leadership.
    pub leader_epoch: i32,
}

/// Where a node listens: sent along with [`LeaderIdAndEpoch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEndpoint {
    /// The node.
    pub node_id: i32,
    /// Its host name or address.
    pub host: KafkaString,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<KafkaString>,
}

impl LeaderIdAndEpoch {
    fn read(reader: &mut Reader<'_>) -> Result<LeaderIdAndEpoch, WireError> {
        let leader_id = reader.i32("leader id")?;
        let leader_epoch = reader.i32("leader epoch")?;
        reader.skip_tagged_fields()?;
        Ok(LeaderIdAndEpoch {
            leader_id,
            leader_epoch,
        })
    }

    fn tagged(&self) -> BytesMut {
        tagged_content(|writer| {
            writer.i32(self.leader_id);
            writer.i32(self.leader_epoch);
            writer.no_tagged_fields();
        })
    }
}

impl NodeEndpoint {
    fn read(reader: &mut Reader<'_>) -> Result<NodeEndpoint, WireError> {
        let node_id = reader.i32("node id")?;
        let host = reader.string("host")?;
        let port = reader.i32("port")?;
        let rack = reader.nullable_string("rack")?;
        reader.skip_tagged_fields()?;
        Ok(NodeEndpoint {
            node_id,
            host,
            port,
            rack,
        })
    }

    fn read_all(reader: &mut Reader<'_>) -> Result<Vec<NodeEndpoint>, WireError> {
        // Id, port, and one byte each for host, rack and tagged fields.
        let count = reader.array("node endpoints", 11)?;
        (0..count).map(|_| NodeEndpoint::read(reader)).collect()
    }

    fn tagged(endpoints: &[NodeEndpoint]) -> BytesMut {
        tagged_content(|writer| {
            writer.length(Some(endpoints.len()));
            for endpoint in endpoints {
                writer.i32(endpoint.node_id);
                writer.string(endpoint.host.as_str());
                writer.i32(endpoint.port);
                writer.nullable_string(endpoint.rack.as_ref().map(KafkaString::as_str));
                writer.no_tagged_fields();
            }
        })
    }
}
