//! Reactor and Kafka wire.

pub mod client;
pub mod frame;
pub mod kafka;
pub mod reactor;
