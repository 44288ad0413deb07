//! A shard in a storm: the histories that storage goes through (`storage/tests/storm`), with the
//! same machine, crashes, lying disks and model, but for the clients: they ask a shard's logs as
//! its connections do, and are answered when their records are durable. So what lies between them
//! and the store is in it: appends that wait for room, fetches that wait for records, lookups,
//! deleted records, deleted topics. `scripts/storm --shard` replays one, runs many, or shows that
//! deliberate bugs are found.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../storage/tests/storm/audit.rs"]
mod audit;
#[path = "../../storage/tests/storm/batch.rs"]
mod batch;
#[path = "../../storage/tests/storm/bugs.rs"]
mod bugs;
mod clients;
#[path = "../../storage/tests/storm/driver.rs"]
mod driver;
#[path = "../../storage/tests/storm/harm.rs"]
mod harm;
#[path = "../../storage/tests/storm/history.rs"]
mod history;
mod judge;
#[path = "../../storage/tests/storm/keyed.rs"]
mod keyed;
mod life;
#[path = "../../storage/tests/storm/machine.rs"]
mod machine;
#[path = "../../storage/tests/storm/model.rs"]
#[allow(
    dead_code,
    reason = "storage's own storm has the other half of the ways to ask"
)]
mod model;

use crate::shard::sabotage::{Sabotage, choose};

/// The command that runs these histories.
const REPLAY: &str = "scripts/storm --shard";
