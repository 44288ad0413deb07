//! One file per API, and the one place that knows which handler answers which.
//!
//! A handler gets narrow handles (the router, the control client, an image), never the shard. It
//! answers with a whole response frame; what it cannot read closes the connection, as in Kafka.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use spate_net::{
    frame::FrameLimits,
    kafka::{
        KafkaString, KafkaUuid,
        api::{Call, Message, decode_request},
        error::ErrorCode,
        header::{Request, RequestHeader, encode_response},
        versions::ApiKey,
    },
};
use spate_storage::{commit::Fence, space::Space, types::TopicId};

use crate::{
    budget::{Budget, Grant},
    config::Config,
    connection::{Client, Closed, Memory, PendingAnswer},
    handler::{fetch::FetchLimits, produce::Checker},
    logging::WarnLimiter,
    shard::{
        Stopping, control::ControlClient, producer_ids::ProducerIds, route::Router,
        session::Sessions,
    },
    stats::{ShardStats, latency::ApiStats},
};

pub mod administration;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod coordinate;
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
pub mod group_apis;
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
pub mod locate;
pub mod lookup;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;
pub mod unregister_broker;
pub mod update_features;

/// The bounds that one connection is held to.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Sizes and deadlines of frames.
    pub frame: FrameLimits,
    /// How long a connection may say nothing.
    pub idle_timeout: Duration,
    /// Requests taken before the first of them is answered.
    pub in_flight_per_connection: usize,
    /// How long a client may take no byte of a slice of an answer.
    pub send_timeout: Duration,
}

/// What the connections of one shard share.
pub struct Context {
    /// The way to the partitions.
    pub router: Router,
    /// The way to the control thread.
    pub control: ControlClient,
    /// Fetch sessions.
    pub sessions: RefCell<Sessions>,
    /// Ids for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Memory of requests.
    pub receive: Rc<Budget>,
    /// What frames that are received slowly, the large ones, may have of it.
    pub receive_large: Rc<Budget>,
    /// Bounds of a connection.
    pub limits: ConnectionLimits,
    /// Checks producers' batches.
    pub checker: RefCell<Checker>,
    /// Memory of batches in a topic's own codec.
    pub recode: Rc<Budget>,
    /// Bounds and memory of fetches.
    pub fetch: FetchLimits,
    /// The broker's settings.
    pub config: Arc<Config>,
    /// This shard's counters.
    pub stats: Arc<ShardStats>,
    /// Its counters by API.
    pub apis: Arc<ApiStats>,
    /// Keeps bad clients from flooding the log.
    pub warnings: WarnLimiter,
    /// Whether the shard is about to end.
    pub stopping: Rc<Stopping>,
    /// Whether the disk may still be written to.
    pub fence: Fence,
    /// How full it is.
    pub space: Space,
}

/// What a handler has made of a request.
pub enum Answered {
    /// A response frame, and the memory it is charged to until it is sent.
    Frame {
        /// The frame, its size in front.
        parts: Vec<Bytes>,
        /// What to hold meanwhile.
        memory: Option<Grant>,
    },
    /// The client wants no answer (acks=0).
    Nothing,
    /// The connection must end, for this reason.
    Close(String),
}

impl Context {
    /// How long a producer is to hold back: the nearer the disk is to full, the longer, up to a
    /// second. Kafka's clients wait so long before they send again, and this end reads nothing more
    /// from the connection meanwhile (KIP-219).
    pub fn produce_throttle(&self) -> Duration {
        Duration::from_millis(self.space.shortage_permille())
    }

    /// Notes that a connection is over, and why. A peer that goes away without a word is ordinary;
    /// one that we had to close is worth a look.
    pub fn closed(&self, client: Client, reason: &Closed) {
        let peer = client.peer;
        if reason.is_the_peers() {
            tracing::debug!(%peer, "a connection ended: {reason}");
            return;
        }
        self.stats.connections_refused.add(1);
        if let Some(suppressed) = self.warnings.admit() {
            tracing::warn!(%peer, suppressed, "closed a connection: {reason}");
        }
    }
}

/// A larger commit waits for those before it: what it becomes is many times its size, and charged
/// to nobody.
const OVERLAPPING_COMMIT_BYTES_MAX: u64 = 64 << 10;

/// Whether requests of this kind overlap on one connection; all others run alone.
pub fn overlaps(header: &RequestHeader) -> bool {
    matches!(header.api.key, ApiKey::Produce | ApiKey::OffsetCommit)
}

/// Whether a request that overlaps with others begins only when all before it have ended.
pub fn waits_for_others(header: &RequestHeader, frame_bytes: u64) -> bool {
    header.api.key == ApiKey::OffsetCommit && frame_bytes > OVERLAPPING_COMMIT_BYTES_MAX
}

/// Takes a request that overlaps with others: when this returns it has its place in every
/// partition's order, and the answer comes from the future.
pub async fn begin(context: &Rc<Context>, request: Request) -> Result<PendingAnswer, Closed> {
    if request.header.api.key == ApiKey::OffsetCommit {
        return offset_commit::begin(context, request).await;
    }
    context.stats.produce_requests.add(1);
    produce::begin(context, request).await
}

/// Answers a request that runs alone. One that has to wait for others and needs its frame no more
/// gives its memory back before.
pub async fn answer(
    context: &Rc<Context>,
    client: Client,
    request: Request,
    memory: &Cell<Option<Memory>>,
) -> Result<Answered, Closed> {
    let Request { header, body, .. } = &request;
    let router = &context.router;
    let control = &context.control;
    match header.api.key {
        ApiKey::Produce | ApiKey::OffsetCommit => unreachable!("these overlap"),
        ApiKey::Fetch => {
            context.stats.fetch_requests.add(1);
            fetch::answer(context, client, header, body).await
        }
        ApiKey::ApiVersions => api_versions::answer(&request, &router.image()),
        ApiKey::Metadata => {
            let asked = decode(header, body)?;
            let auto_create = context.config.auto_create_topics.then_some(control);
            reply(
                header,
                &metadata::answer(header.version, &asked, router, client.listener, auto_create)
                    .await,
            )
        }
        ApiKey::ListOffsets => reply(
            header,
            &list_offsets::answer(header.version, decode(header, body)?, router).await,
        ),
        ApiKey::OffsetForLeaderEpoch => reply(
            header,
            &offset_for_leader_epoch::answer(decode(header, body)?, router).await,
        ),
        ApiKey::InitProducerId => {
            let asked = decode(header, body)?;
            reply(
                header,
                &init_producer_id::answer(&asked, &context.producer_ids, control).await,
            )
        }
        ApiKey::JoinGroup => join_group::answer(context, client, request, memory).await,
        ApiKey::SyncGroup => sync_group::answer(context, client, request, memory).await,
        ApiKey::FindCoordinator
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::OffsetFetch
        | ApiKey::OffsetDelete
        | ApiKey::ListGroups
        | ApiKey::DescribeGroups
        | ApiKey::DeleteGroups => group_apis::answer(context, client, &request).await,
        _ => administration::answer(context, client, &request).await,
    }
}

fn decode<R: Call>(header: &RequestHeader, body: &Bytes) -> Result<R, Closed> {
    decode_request(body, header.version).map_err(|error| unreadable(header, &error))
}

fn unreadable(header: &RequestHeader, error: &dyn std::fmt::Display) -> Closed {
    let RequestHeader {
        api,
        version,
        client_id,
        ..
    } = header;
    let client = client_id.as_ref().map_or("", KafkaString::as_str);
    Closed::Request(format!(
        "a {:?} request of version {version} from client id {client:?} cannot be read: {error}",
        api.key
    ))
}

fn reply(header: &RequestHeader, response: &impl Message) -> Result<Answered, Closed> {
    let frame = encode_response(header.api, header.version, header.correlation_id, response)
        .map_err(|error| Closed::Request(format!("an answer cannot be written: {error}")))?;
    Ok(Answered::Frame {
        parts: vec![frame],
        memory: None,
    })
}

/// The wire's topic id as storage's.
pub fn topic_id(id: KafkaUuid) -> TopicId {
    TopicId(*uuid::Uuid::from(id).as_bytes())
}

/// Storage's topic id as the wire's.
pub fn kafka_uuid(id: TopicId) -> KafkaUuid {
    KafkaUuid::from_uuid(uuid::Uuid::from_bytes(id.0))
}

/// A text in memory of its own: a request's are slices of its frame, which may be large.
pub fn detached(text: &KafkaString) -> KafkaString {
    text.as_str().to_owned().into()
}

/// Text for a nullable field; the empty one is null.
pub fn message(text: &str) -> Option<KafkaString> {
    (!text.is_empty()).then(|| KafkaString::from(text.to_owned()))
}

/// What to say when the control thread is gone: the process is ending.
pub const ENDING: (ErrorCode, &str) = (
    ErrorCode::CoordinatorNotAvailable,
    "the broker is shutting down; try again",
);
