//! Log storage: blocks, journal, segments, recovery. Knows a [`disk::Disk`] and a
//! [`disk::Clock`]; never sockets, the cluster, or another shard.

pub mod block;
pub mod cache;
pub mod disk;
pub mod hash;
pub mod housekeeper;
pub mod lock;
pub mod metadata_log;
pub mod node;
pub mod pool;
pub mod segment;
pub mod types;
