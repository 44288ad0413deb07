//! A shard's disk and clock: its ring. The shard's own tests run the same code on a machine that is
//! simulated (`storm`), where power fails and disks lie.

pub mod ground;
#[cfg(not(test))]
mod ring;

use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(not(test))]
pub use self::ring::{ReactorClock as ShardClock, ReactorDisk as ShardDisk};
#[cfg(test)]
pub use spate_storage::disk::simulated::{
    SimulatedClock as ShardClock, SimulatedDisk as ShardDisk, Simulation,
};

/// The disk and the clock of the shard whose thread asks.
#[cfg(not(test))]
pub fn of_this_shard() -> (ShardDisk, ShardClock) {
    (ShardDisk, ShardClock::new())
}

/// Those of a machine that nobody else has: no unit test starts a shard's thread.
#[cfg(test)]
pub fn of_this_shard() -> (ShardDisk, ShardClock) {
    let machine = Simulation::new(0);
    (machine.disk(), machine.clock())
}

/// Milliseconds since the Unix epoch; 0 on a machine whose clock stands before it.
pub fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
