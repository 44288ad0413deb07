//! Reactor and Kafka wire.
