//! Spate: the broker binary. One file for each room; here is only the way in.

mod budget;
mod command;
mod config;
mod connection;
mod control;
mod disk;
mod handler;
mod image;
mod logging;
mod mesh;
mod node;
mod shard;
mod stats;

/// Requests and their answers are allocated on one shard and often freed on another, which glibc's
/// allocator paid for with a sixth of the broker's CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    command::run()
}
