//! Kafka's wire protocol: headers, one file per API, record batches. Bytes in, typed values out and
//! back. It knows neither sockets nor logs, and never trusts a length it read from the wire.

pub mod api;
pub mod error;
pub mod header;
pub mod primitives;
pub mod record_batch;
pub mod shape;
pub mod splice;
pub mod versions;

/// Kafka's string type in messages: UTF-8 that shares the frame's memory.
pub use kacrab_protocol::KafkaString;
/// Kafka's UUID type in messages; zero stands for "none".
pub use kacrab_protocol::KafkaUuid;
