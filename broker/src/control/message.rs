//! What shards and the control thread say to each other: closed enums, owned values.
//!
//! A request carries a ticket that its reply repeats. The reply to a change is sent only after
//! every shard has adopted the image that holds it, so that a client which created a topic finds
//! it whichever connection it asks on.

use std::sync::Arc;

use kacrab_protocol::generated::ErrorCode;
use spate_storage::types::TopicId;

use super::survey::ShardSurvey;
use crate::{
    config::describe::ConfigRow,
    image::{Image, ImageVersion},
};

/// Names a request of one shard until its reply; the shard chooses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// From a shard to the control thread.
#[derive(Debug)]
pub enum FromShard {
    /// A question or a change.
    Request {
        /// Repeated in the reply.
        ticket: Ticket,
        /// What is asked.
        request: ControlRequest,
    },
    /// The shard answers from this image (and any before it is forgotten) from now on.
    Adopted(ImageVersion),
    /// After [`ShardNotice::Survey`].
    Surveyed(ShardSurvey),
    /// After [`ShardNotice::Shutdown`]: all is flushed and answered, the shard is about to end.
    Drained,
}

/// From the control thread to a shard.
#[derive(Debug)]
pub enum ShardNotice {
    /// Answer from this image and confirm with [`FromShard::Adopted`].
    NewImage {
        /// The image.
        image: Arc<Image>,
        /// Topics which the image before still had: drop their logs, answer who waits on them.
        dropped: Vec<TopicId>,
    },
    /// The answer to a request.
    Reply {
        /// The request's.
        ticket: Ticket,
        /// What came of it.
        reply: ControlReply,
    },
    /// Say the numbers of all partitions: [`FromShard::Surveyed`]. Only after the answer comes the
    /// next such notice.
    Survey,
    /// Take no more connections, answer what is in hand, flush, say [`FromShard::Drained`], end.
    Shutdown,
}

/// What a shard may ask.
#[derive(Clone, PartialEq, Debug)]
pub enum ControlRequest {
    /// Kafka's CreateTopics.
    CreateTopics {
        /// In the client's order.
        topics: Vec<NewTopic>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Kafka's DeleteTopics.
    DeleteTopics {
        /// In the client's order.
        topics: Vec<TopicRef>,
    },
    /// Kafka's CreatePartitions.
    CreatePartitions {
        /// In the client's order.
        topics: Vec<MorePartitions>,
        /// Only say what would happen.
        validate_only: bool,
    },
    /// Topics that a Metadata request named, did not find, and may create. Creating one that
    /// exists by now is no error.
    AutoCreate {
        /// Their names.
        names: Vec<String>,
    },
    /// A topic of the broker's own, made if it is not there.
    InternalTopic(InternalTopic),
    /// A range of producer ids for this shard to give out.
    ProducerIdBlock,
    /// Kafka's AlterConfigs and IncrementalAlterConfigs.
    AlterConfigs {
        /// In the client's order.
        resources: Vec<ConfigChange>,
        /// Only say what would happen.
        validate_only: bool,
    },
}

/// Changes to the settings of one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigChange {
    /// Kafka's number of the kind of thing.
    pub kind: i8,
    /// Which of its kind.
    pub name: String,
    /// What becomes of its settings.
    pub change: Alteration,
}

/// What becomes of the settings of one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alteration {
    /// These take the place of all it had (AlterConfigs).
    Replace(Vec<(String, Option<String>)>),
    /// These are changed, one by one (IncrementalAlterConfigs).
    Each(Vec<Step>),
}

/// A change to one setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Which.
    pub key: String,
    /// Kafka's `AlterConfigOp.OpType`.
    pub operation: i8,
    /// The new value, or the items to add or take away.
    pub value: Option<String>,
}

/// A topic that coordinators keep their state in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InternalTopic {
    /// Groups and their offsets.
    ConsumerOffsets,
}

/// A topic to create.
#[derive(Clone, PartialEq, Debug)]
pub struct NewTopic {
    /// As the client wrote it.
    pub name: String,
    /// -1: as `num.partitions` says, or as many as `assignments` has.
    pub partitions: i32,
    /// -1: the default. Counts nodes.
    pub replication_factor: i16,
    /// Partition and its brokers; empty: the broker chooses.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Key and value; null is an error.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic by either of its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id (DeleteTopics v6).
    Id(TopicId),
}

/// Partitions to add to a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MorePartitions {
    /// The topic.
    pub name: String,
    /// How many it shall have altogether.
    pub total: i32,
    /// Brokers of each added partition; `None`: the broker chooses.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Kafka's error with a text for people.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What the client's program sees.
    pub code: ErrorCode,
    /// What its user sees.
    pub message: String,
}

impl Refusal {
    /// A refusal with this code and text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }
}

/// The answers, item by item in the request's order.
#[derive(Clone, PartialEq, Debug)]
pub enum ControlReply {
    /// To [`ControlRequest::CreateTopics`].
    CreateTopics(Vec<TopicOutcome<CreatedTopic>>),
    /// To [`ControlRequest::DeleteTopics`]; of a topic asked for by an unknown id the name is
    /// empty.
    DeleteTopics(Vec<TopicOutcome<TopicId>>),
    /// To [`ControlRequest::CreatePartitions`].
    CreatePartitions(Vec<TopicOutcome<()>>),
    /// To [`ControlRequest::AutoCreate`].
    AutoCreate(Vec<TopicOutcome<TopicId>>),
    /// To [`ControlRequest::InternalTopic`].
    InternalTopic(Result<TopicId, Refusal>),
    /// To [`ControlRequest::ProducerIdBlock`].
    ProducerIdBlock(Result<ProducerIdBlock, Refusal>),
    /// To [`ControlRequest::AlterConfigs`].
    AlterConfigs(Vec<Result<(), Refusal>>),
}

/// What became of one item.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicOutcome<T> {
    /// The topic's name.
    pub name: String,
    /// The id the client gave, or the topic's where it is known.
    pub id: Option<TopicId>,
    /// Done, or why not.
    pub outcome: Result<T, Refusal>,
}

/// What CreateTopics v5+ tells of a topic.
#[derive(Clone, PartialEq, Debug)]
pub struct CreatedTopic {
    /// Its id; zero if it was only validated.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// On how many nodes.
    pub replication_factor: i16,
    /// Every setting that holds for it.
    pub configs: Vec<ConfigRow>,
}

/// Producer ids that no one else will ever give out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdBlock {
    /// The first of them.
    pub first: i64,
    /// How many there are.
    pub count: i32,
}
