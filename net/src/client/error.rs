//! What can go wrong between us and a broker.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::kafka::error::{ErrorCode, WireError};
use crate::kafka::record_batch::BatchError;
use crate::kafka::versions::ApiKey;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A name that leads to no address.
    #[error("`{address}` cannot be resolved: {source}; give HOST:PORT")]
    Resolve {
        /// What was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// No broker answers.
    #[error("no broker can be reached: {tried}")]
    NoBroker {
        /// Each address with its error.
        tried: String,
    },
    /// A broker does not answer.
    #[error("{peer} cannot be reached: {source}")]
    Connect {
        /// Where.
        peer: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The connection is gone.
    #[error("the connection to {peer} is closed: {reason}")]
    Closed {
        /// Which broker.
        peer: SocketAddr,
        /// Why.
        reason: Rc<str>,
    },
    /// The answer takes too long.
    #[error("{peer} has not answered {api:?} within {waited:?}")]
    Timeout {
        /// Which broker.
        peer: SocketAddr,
        /// What was asked.
        api: ApiKey,
        /// How long was waited.
        waited: Duration,
    },
    /// A message that cannot be read or written.
    #[error("{api:?}: {source}")]
    Wire {
        /// What was asked.
        api: ApiKey,
        /// What is wrong.
        source: WireError,
    },
    /// No version in common.
    #[error("the broker serves {api:?} in versions {min} to {max}, this client speaks others")]
    Version {
        /// Which API.
        api: ApiKey,
        /// The broker's lowest, -1 if it does not serve it at all.
        min: i16,
        /// The broker's highest.
        max: i16,
    },
    /// A topic that does not exist, and is not to be created by asking.
    #[error("topic `{name}` does not exist")]
    NoTopic {
        /// Its name.
        name: String,
    },
    /// The broker refuses.
    #[error("{what}: {code:?} ({number}): {message}", number = code.code())]
    Refused {
        /// What was asked of it.
        what: String,
        /// Its answer.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// A batch that cannot be read.
    #[error("{what}: {source}")]
    Batch {
        /// Which partition.
        what: String,
        /// What is wrong with it.
        source: BatchError,
    },
    /// Records that cannot be made a batch.
    #[error("the records cannot be made a batch: {0}")]
    Build(io::Error),
}

impl ClientError {
    /// The broker's refusal, with its own words or those that Kafka has for the code.
    #[must_use]
    pub fn refused(what: String, code: ErrorCode, message: Option<&str>) -> ClientError {
        let message = message.map_or_else(|| code.to_string(), str::to_owned);
        ClientError::Refused {
            what,
            code,
            message,
        }
    }

    /// Whether the same request may succeed later, perhaps at another broker.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::NoBroker { .. }
            | ClientError::Connect { .. }
            | ClientError::Closed { .. }
            | ClientError::Timeout { .. } => true,
            ClientError::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }
}
