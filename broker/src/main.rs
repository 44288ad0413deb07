//! Spate: the broker binary. One file for each room; here is only the way in.

#![allow(
    dead_code,
    reason = "the rooms are wired to each other one after another"
)]

mod command;
mod config;
mod control;
mod image;
mod logging;
mod node;

fn main() -> std::process::ExitCode {
    command::run()
}
