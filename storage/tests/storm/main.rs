//! Storage in a storm: histories of a whole node on a simulated machine, each decided by a seed,
//! with crashes at any step, disks that fail and disks that lie, and a model of what clients were
//! told that everything is compared with. `scripts/storm` replays one, runs many, or shows that
//! deliberate bugs are found. A shard of the broker goes through the same (`broker/src/storm.rs`).
#![allow(missing_docs, clippy::unwrap_used)]

mod audit;
mod batch;
mod bugs;
mod clients;
mod driver;
mod harm;
mod history;
mod keyed;
#[allow(dead_code, reason = "only the broker's storm asks for the housekeeper")]
mod machine;
#[allow(
    dead_code,
    reason = "the broker's storm has the other half of the ways to ask"
)]
mod model;

use spate_storage::sabotage::{Sabotage, choose};

/// The command that runs these histories.
const REPLAY: &str = "scripts/storm";
