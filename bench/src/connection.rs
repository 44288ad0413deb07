//! One connection to a broker, for the driver: calls that wait for their answer (set-up and
//! fetches), and the raw stream for producers, which pipeline.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use spate_net::client::versions::BrokerVersions;
use spate_net::client::{self, Channel, ConnectionSettings, Security, handshake};
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::{Call, Message};
use spate_net::kafka::error::{ErrorCode, WireError};
use spate_net::kafka::header::{encode_request, parse_response};
use spate_net::kafka::versions::ApiRange;
use spate_net::reactor::timeout;

/// How the driver calls itself.
pub const CLIENT_ID: &str = "spate-bench";

/// An answer longer than this is nonsense: fetches ask for less.
const FRAME_MAX: usize = 512 << 20;

/// How long a call that sets something up may take. Creating thousands of partitions takes Kafka
/// some 10 s.
const CALL_WITHIN: Duration = Duration::from_secs(45);

/// Why a broker could not be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed.
    #[error("connection to {peer}: {source}; is a Kafka-protocol broker listening there?")]
    Io {
        /// The broker.
        peer: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The broker closed the connection.
    #[error("{peer} closed the connection; its log should say why")]
    Closed {
        /// The broker.
        peer: SocketAddr,
    },
    /// An answer that cannot be read.
    #[error("answer of {peer} cannot be read: {source}")]
    Wire {
        /// The broker.
        peer: SocketAddr,
        /// What is wrong with it.
        source: WireError,
    },
    /// A request that the protocol cannot express.
    #[error("a request cannot be made: {0}")]
    Request(WireError),
    /// A frame whose length is impossible.
    #[error("{peer} announces an answer of {bytes} bytes (at most {FRAME_MAX}): not Kafka?")]
    FrameLength {
        /// The broker.
        peer: SocketAddr,
        /// The length on the wire.
        bytes: i32,
    },
    /// An answer to another question.
    #[error("{peer} answered request {found} where {wanted} was next: answers out of order")]
    OutOfOrder {
        /// The broker.
        peer: SocketAddr,
        /// The request that is next.
        wanted: i32,
        /// The request that was answered.
        found: i32,
    },
    /// It could not be connected to, or is too old.
    #[error("{peer}: {text}")]
    Open {
        /// The broker.
        peer: SocketAddr,
        /// What is wrong.
        text: String,
        /// Whether it may be different later.
        is_retriable: bool,
    },
    /// A name that leads nowhere.
    #[error("broker {given:?}: {source}; give HOST:PORT")]
    Address {
        /// The name.
        given: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody knows.
    #[error("no broker can be reached: {tried}")]
    NoBroker {
        /// Each address with its error.
        tried: String,
    },
    /// The broker refuses.
    #[error("{peer} refuses {what}: {code} (error {}){}", code.code(), detail(message))]
    Refused {
        /// The broker.
        peer: SocketAddr,
        /// What was asked for.
        what: String,
        /// Kafka's error.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<KafkaString>,
    },
    /// Something did not come about in time.
    #[error("{peer}: {what} did not come about within {seconds} s")]
    Timeout {
        /// The broker.
        peer: SocketAddr,
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

impl ClientError {
    /// Whether the same may succeed later, perhaps with another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Io { .. }
            | ClientError::Closed { .. }
            | ClientError::Timeout { .. }
            | ClientError::NoBroker { .. } => true,
            ClientError::Open { is_retriable, .. } => *is_retriable,
            ClientError::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }
}

fn not_open(peer: SocketAddr, error: &client::ClientError) -> ClientError {
    ClientError::Open {
        peer,
        text: error.to_string(),
        is_retriable: error.is_retriable(),
    }
}

fn detail(message: &Option<KafkaString>) -> String {
    message
        .as_ref()
        .map(|text| format!(": {}", text.as_str()))
        .unwrap_or_default()
}

/// A broker's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The name it was found by.
    host: String,
    /// Where that may be: the first that answers is taken, as Kafka's clients do (KIP-602).
    addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// A place without a name.
    pub fn at(address: SocketAddr) -> Endpoint {
        Endpoint {
            host: address.ip().to_string(),
            addresses: vec![address],
        }
    }

    /// Finds out where a broker is that another one named.
    pub fn of(host: &str, port: i32) -> Result<Endpoint, ClientError> {
        Endpoint::resolve(&match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        })
    }

    /// Finds out where HOST:PORT is.
    pub fn resolve(given: &str) -> Result<Endpoint, ClientError> {
        let failed = |source| ClientError::Address {
            given: given.to_owned(),
            source,
        };
        let addresses: Vec<SocketAddr> = given.to_socket_addrs().map_err(failed)?.collect();
        if addresses.is_empty() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let host = given.rsplit_once(':').map_or(given, |(host, _)| host);
        Ok(Endpoint {
            host: host.trim_matches(['[', ']']).to_owned(),
            addresses,
        })
    }
}

/// How brokers are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Those to begin with.
    bootstrap: Vec<Endpoint>,
    /// What connections are protected by.
    security: Security,
    /// Those that the cluster named last: they may outlive those to begin with.
    learned: Arc<Mutex<Vec<Endpoint>>>,
}

impl Access {
    /// Reached through these at first.
    pub fn new(bootstrap: Vec<Endpoint>, security: Security) -> Access {
        Access {
            bootstrap,
            security,
            learned: Arc::default(),
        }
    }

    /// One broker that wants no protection.
    pub fn plain(peer: SocketAddr) -> Access {
        Access::new(vec![Endpoint::at(peer)], Security::default())
    }

    /// Takes note of the brokers that the cluster has now.
    pub fn learn(&self, brokers: Vec<Endpoint>) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = brokers;
    }

    /// All brokers that are known, those to begin with first.
    fn known(&self) -> Vec<Endpoint> {
        let mut known = self.bootstrap.clone();
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let news = learned.iter().filter(|one| !self.bootstrap.contains(one));
        known.extend(news.cloned());
        known
    }
}

/// A connection.
pub struct Connection {
    /// Where it leads.
    pub peer: SocketAddr,
    /// The socket.
    pub stream: Channel,
    versions: BrokerVersions,
    correlation_id: i32,
    /// Received into again and again: when nothing of the last answer is left it is reused.
    buffer: BytesMut,
}

impl Connection {
    /// Connects, asks which versions the broker serves, and says who we are if it wants to know.
    pub async fn open(endpoint: &Endpoint, access: &Access) -> Result<Connection, ClientError> {
        let settings = ConnectionSettings {
            client_id: CLIENT_ID.to_owned(),
            security: access.security.clone(),
            host: Some(endpoint.host.clone()),
            ..ConnectionSettings::default()
        };
        let mut failed = ClientError::NoBroker {
            tried: endpoint.host.clone(),
        };
        for &peer in &endpoint.addresses {
            match handshake::open(peer, &settings).await {
                Ok((stream, versions)) => {
                    return Ok(Connection {
                        peer,
                        stream,
                        versions,
                        correlation_id: 0,
                        buffer: BytesMut::new(),
                    });
                }
                Err(error) => failed = not_open(peer, &error),
            }
            if !failed.is_retriable() {
                break;
            }
        }
        Err(failed)
    }

    /// Connects to a broker that wants no protection.
    pub async fn to(peer: SocketAddr) -> Result<Connection, ClientError> {
        Connection::open(&Endpoint::at(peer), &Access::plain(peer)).await
    }

    /// A connection to the first of the known brokers that can be reached.
    pub async fn any(access: &Access) -> Result<Connection, ClientError> {
        let mut tried = Vec::new();
        for endpoint in access.known() {
            match Connection::open(&endpoint, access).await {
                Ok(connection) => return Ok(connection),
                Err(error) if error.is_retriable() => tried.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Err(ClientError::NoBroker {
            tried: tried.join("; "),
        })
    }

    /// The highest version, up to `max`, that both sides know.
    pub fn version(&self, range: &ApiRange, max: i16) -> Result<i16, ClientError> {
        let ours = ApiRange {
            max: range.max.min(max),
            ..*range
        };
        let peer = self.peer;
        let picked = self.versions.pick(&ours);
        picked.map_err(|error| not_open(peer, &error))
    }

    /// Sends a request and waits for its answer, in the highest common version.
    pub async fn call<R: Call>(&mut self, request: &R) -> Result<R::Answer, ClientError> {
        let answered = timeout(CALL_WITHIN, self.call_patiently(request)).await;
        answered.unwrap_or_else(|_| {
            let what = format!("an answer to {:?}", R::RANGE.key);
            let (peer, seconds) = (self.peer, CALL_WITHIN.as_secs());
            Err(ClientError::Timeout {
                peer,
                what,
                seconds,
            })
        })
    }

    async fn call_patiently<R: Call>(&mut self, request: &R) -> Result<R::Answer, ClientError> {
        let version = self.version(&R::RANGE, i16::MAX)?;
        self.call_at(version, request).await
    }

    /// Sends a request in a version of the caller's choice and waits for its answer.
    pub async fn call_at<R: Call>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Answer, ClientError> {
        let correlation_id = self.next_correlation_id();
        let frame = encode_request(&R::RANGE, version, correlation_id, Some(CLIENT_ID), request);
        self.send(frame.map_err(|source| self.wire(source))?)
            .await?;
        self.answer::<R>(version, correlation_id).await
    }

    /// Waits for the answer to a request that was sent.
    pub async fn answer<R: Call>(
        &mut self,
        version: i16,
        correlation_id: i32,
    ) -> Result<R::Answer, ClientError> {
        let frame = self.receive().await?;
        let parsed = parse_response(&R::RANGE, version, &frame);
        let (found, mut body) = parsed.map_err(|source| self.wire(source))?;
        if found != correlation_id {
            let (peer, wanted) = (self.peer, correlation_id);
            return Err(ClientError::OutOfOrder {
                peer,
                wanted,
                found,
            });
        }
        R::Answer::read(&mut body, version).map_err(|source| self.wire(source))
    }

    /// The number for the next request.
    pub fn next_correlation_id(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        self.correlation_id
    }

    /// Sends a whole frame.
    pub async fn send(&self, frame: Bytes) -> Result<(), ClientError> {
        let sent = self.stream.send(vec![frame]).await;
        sent.map_err(|source| ClientError::Io {
            peer: self.peer,
            source,
        })
    }

    /// The next frame, without its size.
    pub async fn receive(&mut self) -> Result<Bytes, ClientError> {
        self.buffer.clear();
        self.fill(4).await?;
        let bytes = self.buffer.get_i32();
        let length = usize::try_from(bytes)
            .ok()
            .filter(|length| *length <= FRAME_MAX);
        let Some(length) = length else {
            return Err(ClientError::FrameLength {
                peer: self.peer,
                bytes,
            });
        };
        self.fill(length).await?;
        Ok(self.buffer.split().freeze())
    }

    async fn fill(&mut self, length: usize) -> Result<(), ClientError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        // Takes the memory of the last answer again if nobody holds a piece of that.
        buffer.reserve(length);
        let (outcome, buffer) = self.stream.receive_into(buffer, length).await;
        self.buffer = buffer;
        outcome.map_err(|source| ClientError::Io {
            peer: self.peer,
            source,
        })?;
        if self.buffer.len() < length {
            return Err(ClientError::Closed { peer: self.peer });
        }
        Ok(())
    }

    /// Turns an error code into an error that says what was refused.
    pub fn check(
        &self,
        code: i16,
        what: &str,
        message: Option<KafkaString>,
    ) -> Result<(), ClientError> {
        let code = ErrorCode::from(code);
        if code == ErrorCode::None {
            return Ok(());
        }
        Err(ClientError::Refused {
            peer: self.peer,
            what: what.to_owned(),
            code,
            message,
        })
    }

    /// A message that cannot be read or written.
    pub fn wire(&self, source: WireError) -> ClientError {
        ClientError::Wire {
            peer: self.peer,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::PathBuf;
    use std::sync::mpsc::channel;
    use std::thread;

    use spate_net::reactor::{Reactor, ReactorChoice, ReactorConfig};

    use super::*;
    use crate::floor::{self, FloorOptions};

    #[test]
    fn a_broker_that_the_cluster_named_takes_the_place_of_one_that_is_gone() {
        let (tell, told) = channel();
        thread::spawn(move || {
            let options = FloorOptions {
                listen: ([127, 0, 0, 1], 0).into(),
                dir: PathBuf::new(),
                discard: true,
                reactor: ReactorChoice::Auto,
            };
            // It serves as long as the process lives.
            floor::serve(&options, |address| {
                tell.send(address).expect("the test waits")
            })
        });
        let alive = told.recv().expect("it listens");
        // Nobody listens where somebody did a moment ago.
        let gone = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let access = Access::plain(gone.expect("there is a port"));
        let mut reactor = Reactor::new(&ReactorConfig::default()).expect("the kernel has one");
        let any = |reactor: &mut Reactor| {
            let found = reactor.block_on(Connection::any(&access));
            found.map(|connection| connection.peer)
        };
        let refused = any(&mut reactor);
        assert!(
            matches!(refused, Err(ClientError::NoBroker { .. })),
            "{refused:?}"
        );
        access.learn(vec![Endpoint::at(alive)]);
        assert_eq!(any(&mut reactor).ok(), Some(alive));
        // Of one name's addresses the first that answers.
        let both = Endpoint {
            addresses: [&access.bootstrap[0], &Endpoint::at(alive)]
                .iter()
                .flat_map(|one| one.addresses.clone())
                .collect(),
            host: "both".to_owned(),
        };
        let opened = reactor.block_on(Connection::open(&both, &access));
        assert_eq!(opened.ok().map(|connection| connection.peer), Some(alive));
    }

    #[test]
    fn places_are_told_with_and_without_brackets() {
        let of = Endpoint::of("::1", 9092).expect("it is an address");
        assert_eq!(of.addresses, ["[::1]:9092".parse().expect("it is one")]);
        assert_eq!(
            of,
            Endpoint::resolve("[::1]:9092").expect("it is an address")
        );
        assert!(Endpoint::of("127.0.0.1", -1).is_err());
    }
}
