//! Reactor and Kafka wire.

pub mod kafka;
pub mod reactor;
