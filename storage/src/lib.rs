//! Log storage: blocks, journal, segments, recovery. Knows a [`disk::Disk`] and a
//! [`disk::Clock`]; never sockets, the cluster, or another shard.

pub mod batch;
pub mod block;
pub mod cache;
pub mod commit;
pub mod compaction;
pub mod disk;
pub mod epoch;
pub mod hash;
pub mod housekeeper;
pub mod journal;
pub mod lock;
pub mod metadata_log;
pub mod node;
mod partition;
pub mod pool;
pub mod producer;
pub mod recovery;
pub mod retention;
pub mod sabotage;
pub mod scrub;
pub mod segment;
pub mod space;
pub mod store;
pub mod types;
