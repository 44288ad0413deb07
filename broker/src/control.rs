//! The control thread's side of the broker: metadata, signals, questions from shards.
//! Never in the data path: a shard asks and goes on.

pub mod admin;
pub mod link;
pub mod message;
pub mod metadata;
pub mod name;
