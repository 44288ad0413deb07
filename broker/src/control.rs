//! The control thread's side of the broker: metadata, signals, questions from shards.
//! Never in the data path: a shard asks and goes on.

pub mod admin;
pub mod http;
pub mod inspect;
pub mod link;
pub mod message;
pub mod metadata;
pub mod name;
pub mod publish;
pub mod survey;
pub mod thread;
