//! Spate: the broker binary. One file for each room; here is only the way in.

#![allow(
    dead_code,
    reason = "the rooms are wired to each other one after another"
)]

mod config;
mod control;
mod image;

fn main() {}
