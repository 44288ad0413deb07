//! Reactor and Kafka wire.
pub mod kafka;
