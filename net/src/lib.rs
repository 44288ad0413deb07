//! Reactor and Kafka wire.

pub mod frame;
pub mod kafka;
pub mod reactor;
