//! Spate: the broker binary. One file for each room; here is only the way in.

mod allocator;
mod budget;
mod command;
mod config;
mod connection;
mod control;
mod coordinator;
mod disk;
mod features;
mod handler;
mod image;
mod logging;
mod mesh;
mod node;
mod records;
mod shard;
mod stats;
#[cfg(test)]
mod storm;

fn main() -> std::process::ExitCode {
    command::run()
}
