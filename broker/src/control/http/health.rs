//! Whether the broker lives, and whether it serves: what an orchestrator asks.
//!
//! Live: every shard has been round its loop lately; if not, only a restart helps. Ready: it
//! serves, is not about to end, and its disk takes writes. A fenced disk is not ready but alive: a
//! restart is for a person to decide.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use spate_storage::commit::Fence;

use crate::stats::NodeStats;

/// A shard publishes every second; one that has not for so long is stuck. A machine that swaps, or
/// a paused virtual one, takes seconds.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What health is judged by.
pub struct Health {
    stats: NodeStats,
    fence: Fence,
    began: Instant,
    is_ending: AtomicBool,
}

impl Health {
    /// Of a node whose shards all serve.
    #[must_use]
    pub fn new(stats: NodeStats, fence: Fence) -> Health {
        Health {
            stats,
            fence,
            began: Instant::now(),
            is_ending: AtomicBool::new(false),
        }
    }

    /// The broker is about to end: nobody new should come.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Whether the broker is about to end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Whether the disk takes no writes any more.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fence.check().is_err()
    }

    /// How long it has been there.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Alive, or why not.
    ///
    /// # Errors
    /// Which shard is stuck.
    pub fn liveness(&self) -> Result<(), String> {
        let now_ms = self.stats.clock_ms();
        for (shard, heard_ms) in self.stats.heard_ms().enumerate() {
            let silent_ms = now_ms.saturating_sub(heard_ms);
            if u128::from(silent_ms) > STUCK_AFTER.as_millis() {
                return Err(format!("shard {shard} has been stuck for {silent_ms} ms"));
            }
        }
        Ok(())
    }

    /// Ready for clients, or why not.
    ///
    /// # Errors
    /// What stands against it.
    pub fn readiness(&self) -> Result<(), String> {
        if self.is_ending() {
            return Err("the broker is shutting down".into());
        }
        if let Err(fenced) = self.fence.check() {
            return Err(fenced.to_string());
        }
        self.liveness()
    }
}
