//! One connection to a broker, for the driver: calls that wait for their answer (set-up and
//! fetches), and the raw stream for producers, which pipeline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::api_versions::ApiVersionsRequest;
use spate_net::kafka::api::{Call, Message};
use spate_net::kafka::error::{ErrorCode, WireError};
use spate_net::kafka::header::{encode_request, parse_response};
use spate_net::kafka::versions::{ApiKey, ApiRange};
use spate_net::reactor::{TcpStream, timeout};

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
    /// No version in common.
    #[error("{peer} does not serve {api:?} in a version the driver knows ({min} to {max})")]
    NoVersion {
        /// The broker.
        peer: SocketAddr,
        /// The API.
        api: ApiKey,
        /// The driver's lowest.
        min: i16,
        /// The driver's highest.
        max: i16,
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

fn detail(message: &Option<KafkaString>) -> String {
    message
        .as_ref()
        .map(|text| format!(": {}", text.as_str()))
        .unwrap_or_default()
}

/// A connection.
pub struct Connection {
    /// Where it leads.
    pub peer: SocketAddr,
    /// The socket.
    pub stream: TcpStream,
    served: Vec<(i16, i16, i16)>,
    correlation_id: i32,
    /// Received into again and again: when nothing of the last answer is left it is reused.
    buffer: BytesMut,
}

impl Connection {
    /// Connects, and asks which versions the broker serves.
    pub async fn open(peer: SocketAddr) -> Result<Connection, ClientError> {
        let stream = TcpStream::connect(peer).await;
        let stream = stream.map_err(|source| ClientError::Io { peer, source })?;
        let served = vec![(ApiKey::ApiVersions as i16, 0, 3)];
        let mut connection = Connection {
            peer,
            stream,
            served,
            correlation_id: 0,
            buffer: BytesMut::new(),
        };
        let answer = connection
            .call(&ApiVersionsRequest {
                client_software_name: KafkaString::from_static(CLIENT_ID),
                client_software_version: KafkaString::from_static(env!("CARGO_PKG_VERSION")),
                ..ApiVersionsRequest::default()
            })
            .await?;
        connection.check(answer.error_code, "ApiVersions", None)?;
        let ranges = answer.api_keys.iter();
        connection.served = ranges
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        Ok(connection)
    }

    /// The highest version, up to `max`, that both sides know.
    pub fn version(&self, range: &ApiRange, max: i16) -> Result<i16, ClientError> {
        let (api, min, max) = (range.key, range.min, range.max.min(max));
        let served = self.served.iter().find(|(key, ..)| *key == api as i16);
        let common = served.map(|(_, from, to)| (min.max(*from), max.min(*to)));
        match common {
            Some((lowest, highest)) if lowest <= highest => Ok(highest),
            _ => Err(ClientError::NoVersion {
                peer: self.peer,
                api,
                min,
                max,
            }),
        }
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

    fn wire(&self, source: WireError) -> ClientError {
        ClientError::Wire {
            peer: self.peer,
            source,
        }
    }
}
