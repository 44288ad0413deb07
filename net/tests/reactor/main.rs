//! The reactor from outside, each behaviour on both backends.
#![allow(clippy::unwrap_used)]

mod both;
mod fallbacks;
mod files;
mod frames;
mod lifecycle;
mod tcp;
mod timers;
mod wakes;
