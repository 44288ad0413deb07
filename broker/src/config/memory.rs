//! The memory plan: what every budget may take, in sum, said at start. Each part is a setting and
//! each is enforced where the bytes are admitted; here they are only added up.

use std::fmt;

use spate_net::reactor::buffers::SPARE_BYTES_MAX;

use super::Config;
use crate::handler::produce::recode;

/// One budget of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// What it is for.
    pub name: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
}

/// All budgets of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryPlan {
    /// Of each shard.
    pub shard: Vec<Budget>,
    /// How many shards there are.
    pub shards: u16,
    /// Locked memory of all shards together, in bytes.
    pub registered_bytes: u64,
    /// Journals on disk of all shards together, in bytes.
    pub journal_bytes: u64,
}

impl MemoryPlan {
    /// The plan that these settings make.
    #[must_use]
    pub fn of(config: &Config) -> MemoryPlan {
        let ring_bytes =
            u64::from(config.ring_receive_buffers) * u64::from(config.ring_receive_buffer_bytes);
        let shard = vec![
            Budget {
                name: "receive buffers",
                bytes: ring_bytes,
            },
            Budget {
                name: "requests",
                bytes: config.memory_receive_bytes,
            },
            Budget {
                name: "open blocks",
                bytes: config.memory_open_bytes,
            },
            Budget {
                name: "block cache",
                // A block that is read into spare memory leaves up to a fifth of that unused.
                bytes: config.memory_cache_bytes / 4 * 5,
            },
            Budget {
                name: "spare transfers",
                bytes: SPARE_BYTES_MAX as u64,
            },
            Budget {
                name: "recompressed batches",
                bytes: recode::MEMORY_BYTES as u64,
            },
            Budget {
                name: "fetch answers",
                bytes: config.memory_fetch_bytes,
            },
            Budget {
                name: "compaction",
                bytes: config.cleaner.shard_bytes(config.shards),
            },
            Budget {
                name: "groups",
                bytes: config.groups.memory_bytes,
            },
        ];
        MemoryPlan {
            shard,
            shards: config.shards,
            registered_bytes: config.ring_registered_bytes,
            journal_bytes: config.journal_bytes * u64::from(config.shards),
        }
    }

    /// The most memory that budgets allow, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let shard_bytes: u64 = self.shard.iter().map(|budget| budget.bytes).sum();
        shard_bytes * u64::from(self.shards) + self.registered_bytes
    }

    /// A warning if the plan is larger than the memory that the machine has.
    #[must_use]
    pub fn warning(&self, machine_bytes: u64) -> Option<String> {
        (self.total_bytes() > machine_bytes).then(|| {
            format!(
                "the memory plan allows {} and this machine has {}: lower memory.cache.bytes or \
                 the other memory.* settings, or run fewer shards",
                Size(self.total_bytes()),
                Size(machine_bytes)
            )
        })
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory at most {} = {} x (",
            Size(self.total_bytes()),
            self.shards
        )?;
        for (index, budget) in self.shard.iter().enumerate() {
            let plus = if index == 0 { "" } else { " + " };
            write!(f, "{plus}{} {}", budget.name, Size(budget.bytes))?;
        }
        write!(f, ") + locked {}", Size(self.registered_bytes))?;
        write!(f, "; journals on disk {}", Size(self.journal_bytes))
    }
}

/// A number of bytes, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(size, _)| self.0 >= *size) {
            Some((size, unit)) if self.0.is_multiple_of(*size) => {
                write!(f, "{} {unit}", self.0 / size)
            }
            #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
            Some((size, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / *size as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_counts_every_budget_of_every_shard() {
        let budget = |name, bytes| Budget { name, bytes };
        let plan = MemoryPlan {
            shard: vec![budget("a", 1 << 20), budget("b", 3 << 20)],
            shards: 4,
            registered_bytes: 512 << 10,
            journal_bytes: 1 << 30,
        };
        assert_eq!(plan.total_bytes(), (16 << 20) + (512 << 10));
        assert_eq!(
            plan.to_string(),
            "memory at most 16.5 MiB = 4 x (a 1 MiB + b 3 MiB) + locked 512 KiB; journals on \
             disk 1 GiB"
        );
        assert!(plan.warning(16 << 20).is_some());
        assert_eq!(plan.warning(17 << 20), None);
    }
}
