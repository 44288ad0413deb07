//! Log storage: blocks, journal, segments, recovery. Knows a [`disk::Disk`] and a
//! [`disk::Clock`]; never sockets, the cluster, or another shard.

pub mod disk;
pub mod types;
