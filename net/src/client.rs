//! A small Kafka client over the reactor: for the command line, the load driver and the tests. It
//! speaks to any broker from Kafka 2.1 on; it keeps no threads, and no queue that its caller does
//! not fill.

pub mod channel;
pub mod cluster;
pub mod connection;
pub mod error;
pub mod fetcher;
pub mod groups;
pub mod handshake;
pub mod offsets;
pub mod producer;
mod reply;
pub mod security;
mod tls;
pub mod versions;

pub use channel::{Channel, Chunk};
pub use cluster::{Cluster, ClusterSettings, Leader};
pub use connection::{Connection, ConnectionSettings};
pub use error::ClientError;
pub use fetcher::{Fetched, Fetcher, FetcherSettings};
pub use groups::CommittedOffset;
pub use producer::{Produced, Producer, ProducerSettings};
pub use reply::Reply;
pub use security::{Sasl, Security, SecurityError, Tls, TlsOptions};
