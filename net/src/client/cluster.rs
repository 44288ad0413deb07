//! A cluster: its brokers, reached from any of them, and which one leads which partition.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use super::connection::{Connection, ConnectionSettings};
use super::error::ClientError;
use crate::kafka::KafkaUuid;
use crate::kafka::api::TopicRef;
use crate::kafka::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic, RANGE,
};
use crate::kafka::error::ErrorCode;
use crate::reactor::{now, sleep};

/// How to find a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// HOST:PORT of some of its brokers; one that answers is enough.
    pub bootstrap: Vec<String>,
    /// How to speak to them.
    pub connection: ConnectionSettings,
    /// Whether asking for a topic may create it.
    pub auto_create_topics: bool,
    /// How long leaderless partitions, lost connections and the like are tried again.
    pub retry_for: Duration,
}

impl Default for ClusterSettings {
    fn default() -> ClusterSettings {
        ClusterSettings {
            bootstrap: vec!["127.0.0.1:9092".to_owned()],
            connection: ConnectionSettings::default(),
            auto_create_topics: true,
            retry_for: Duration::from_secs(60),
        }
    }
}

/// The pause before something is tried again; long enough for an election to get on.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A topic as the cluster described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its id; zero if the broker is too old to say.
    pub id: KafkaUuid,
    /// The leader of each partition that has one: partition, node, leader epoch.
    pub leaders: Vec<(i32, i32, i32)>,
    /// All its partitions.
    pub partitions: Vec<i32>,
}

/// Where to send what concerns one partition.
#[derive(Clone, Debug)]
pub struct Leader {
    /// The way to the node.
    pub connection: Connection,
    /// The node.
    pub node_id: i32,
    /// The epoch of its leadership, -1 if unknown.
    pub epoch: i32,
    /// The topic's id, zero if unknown.
    pub topic_id: KafkaUuid,
}

impl Leader {
    /// The topic in the form that a version of Produce or Fetch wants, and the version, lowered to
    /// one that takes names if the id is not known.
    pub(super) fn topic_ref(&self, topic: &str, version: i16, ids_from: i16) -> (TopicRef, i16) {
        if version < ids_from || self.topic_id.is_nil() {
            return (
                TopicRef::Name(topic.to_owned().into()),
                version.min(ids_from - 1),
            );
        }
        (TopicRef::Id(self.topic_id), version)
    }
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    /// HOST:PORT by node id.
    nodes: RefCell<HashMap<i32, String>>,
    controller_id: Cell<i32>,
    connections: RefCell<HashMap<i32, Connection>>,
    bootstrapped: RefCell<Option<Connection>>,
    topics: RefCell<HashMap<String, Rc<Topic>>>,
}

impl Cluster {
    /// Finds the cluster: asks one broker for all of them.
    pub async fn connect(settings: ClusterSettings) -> Result<Rc<Cluster>, ClientError> {
        let cluster = Cluster {
            settings,
            nodes: RefCell::default(),
            controller_id: Cell::new(-1),
            connections: RefCell::default(),
            bootstrapped: RefCell::default(),
            topics: RefCell::default(),
        };
        cluster.metadata(Some(&[])).await?;
        Ok(Rc::new(cluster))
    }

    /// How it is spoken to.
    #[must_use]
    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// A connection to any broker.
    pub async fn any(&self) -> Result<Connection, ClientError> {
        let alive = |connection: &&Connection| connection.failure().is_none();
        let known = self.bootstrapped.borrow().as_ref().filter(alive).cloned();
        let known = known.or_else(|| self.connections.borrow().values().find(alive).cloned());
        if let Some(connection) = known {
            return Ok(connection);
        }
        let mut addresses = self.settings.bootstrap.clone();
        addresses.extend(self.nodes.borrow().values().cloned());
        let mut tried = Vec::new();
        for address in addresses {
            match self.open(&address).await {
                Ok(connection) => {
                    self.bootstrapped.replace(Some(connection.clone()));
                    return Ok(connection);
                }
                Err(error) => tried.push(format!("{address}: {error}")),
            }
        }
        Err(ClientError::NoBroker {
            tried: tried.join("; "),
        })
    }

    /// A connection to one broker.
    pub async fn node(&self, node_id: i32) -> Result<Connection, ClientError> {
        let known = self.connections.borrow().get(&node_id).cloned();
        if let Some(connection) = known.filter(|connection| connection.failure().is_none()) {
            return Ok(connection);
        }
        let address = self.nodes.borrow().get(&node_id).cloned();
        let unknown = || ClientError::NoBroker {
            tried: format!("node {node_id} is not known"),
        };
        let connection = self.open(&address.ok_or_else(unknown)?).await?;
        self.connections
            .borrow_mut()
            .insert(node_id, connection.clone());
        Ok(connection)
    }

    /// The brokers that are known, in order.
    #[must_use]
    pub fn node_ids(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = self.nodes.borrow().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// A connection to the broker that changes topics.
    pub async fn controller(&self) -> Result<Connection, ClientError> {
        match self.controller_id.get() {
            -1 => self.any().await,
            node_id => self.node(node_id).await,
        }
    }

    async fn open(&self, address: &str) -> Result<Connection, ClientError> {
        let mut last = std::io::ErrorKind::NotFound.into();
        let host = address.rsplit_once(':').map(|(host, _)| host);
        let settings = ConnectionSettings {
            host: host.map(|host| host.trim_matches(['[', ']']).to_owned()),
            ..self.settings.connection.clone()
        };
        for peer in resolve(address)? {
            match Connection::connect(peer, settings.clone()).await {
                Err(ClientError::Connect { source, .. }) => last = source,
                outcome => return outcome,
            }
        }
        Err(ClientError::Resolve {
            address: address.to_owned(),
            source: last,
        })
    }

    /// Asks for topics by name, or for all of them, and remembers the brokers.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse, ClientError> {
        let connection = self.any().await?;
        let version = connection.version_of(&RANGE)?;
        let request = metadata_request(topics, version, self.settings.auto_create_topics);
        let response = connection.call_at(version, &request).await?;
        let address = |host: &str, port| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let brokers = response.brokers.iter();
        *self.nodes.borrow_mut() = brokers
            .map(|broker| (broker.node_id, address(broker.host.as_str(), broker.port)))
            .collect();
        self.controller_id.set(response.controller_id);
        Ok(response)
    }

    /// A topic's partitions and leaders, from memory or, with patience, from the cluster.
    pub async fn topic(&self, name: &str) -> Result<Rc<Topic>, ClientError> {
        if let Some(topic) = self.topics.borrow().get(name) {
            return Ok(Rc::clone(topic));
        }
        let deadline = now() + self.settings.retry_for;
        loop {
            match self.ask_topic(name).await {
                Err(error) if error.is_retriable() && now() < deadline => {
                    sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn ask_topic(&self, name: &str) -> Result<Rc<Topic>, ClientError> {
        let response = self.metadata(Some(&[name])).await?;
        let found = response.topics.iter().find(|topic| {
            topic
                .name
                .as_ref()
                .is_some_and(|found| found.as_str() == name)
        });
        let what = || format!("topic `{name}`");
        let Some(found) = found else {
            let code = ErrorCode::UnknownTopicOrPartition;
            return Err(ClientError::refused(what(), code, None));
        };
        let code = ErrorCode::from(found.error_code);
        // A topic that is neither there nor to be created will not come by waiting.
        if code == ErrorCode::UnknownTopicOrPartition && !self.settings.auto_create_topics {
            return Err(ClientError::NoTopic {
                name: name.to_owned(),
            });
        }
        if code != ErrorCode::None {
            return Err(ClientError::refused(what(), code, None));
        }
        let topic = Rc::new(Topic::of(found));
        self.topics
            .borrow_mut()
            .insert(name.to_owned(), Rc::clone(&topic));
        Ok(topic)
    }

    /// A topic's id, if it is known.
    pub(super) fn known_id(&self, name: &str) -> Option<KafkaUuid> {
        self.topics.borrow().get(name).map(|topic| topic.id)
    }

    /// Forgets what is known about a topic: after an error that says that it is wrong.
    pub fn forget_topic(&self, name: &str) {
        self.topics.borrow_mut().remove(name);
    }

    /// A partition's leader.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<Leader, ClientError> {
        let found = self.topic(topic).await?;
        let refuse = |code| {
            self.forget_topic(topic);
            Err(ClientError::refused(
                format!("partition {partition} of `{topic}`"),
                code,
                None,
            ))
        };
        if !found.partitions.contains(&partition) {
            return refuse(ErrorCode::UnknownTopicOrPartition);
        }
        let mut leaders = found.leaders.iter();
        match leaders.find(|(index, _, _)| *index == partition) {
            Some(&(_, node_id, epoch)) => {
                let connection = self.node(node_id).await.inspect_err(|_| {
                    self.forget_topic(topic);
                })?;
                Ok(Leader {
                    connection,
                    node_id,
                    epoch,
                    topic_id: found.id,
                })
            }
            None => refuse(ErrorCode::LeaderNotAvailable),
        }
    }
}

impl Topic {
    fn of(found: &MetadataResponseTopic) -> Topic {
        let partitions = found.partitions.iter();
        let mut numbers: Vec<i32> = partitions
            .clone()
            .map(|each| each.partition_index)
            .collect();
        numbers.sort_unstable();
        let led = partitions.filter(|partition| partition.leader_id >= 0);
        Topic {
            id: found.topic_id,
            leaders: led
                .map(|each| (each.partition_index, each.leader_id, each.leader_epoch))
                .collect(),
            partitions: numbers,
        }
    }
}

/// The request that a version wants: version 0 has another way to say "all" and cannot say
/// "none", nor can versions below 4 forbid the creation of topics.
fn metadata_request(topics: Option<&[&str]>, version: i16, auto_create: bool) -> MetadataRequest {
    let named =
        |name: &&str| MetadataRequestTopic::default().with_name(Some((*name).to_owned().into()));
    let topics = topics.map(|names| names.iter().map(named).collect());
    MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(version < 4 || auto_create)
}

/// The addresses behind HOST:PORT. This asks the system and may block: it is for clients, whose
/// reactor has nothing else to do, and not for shards.
fn resolve(address: &str) -> Result<impl Iterator<Item = SocketAddr>, ClientError> {
    address
        .to_socket_addrs()
        .map_err(|source| ClientError::Resolve {
            address: address.to_owned(),
            source,
        })
}
