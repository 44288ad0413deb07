//! A block: the unit in which a partition's batches lie in a segment file. This room knows its
//! bytes and nothing of files or I/O.
//!
//! ```text
//!  block, at a multiple of 4 KiB in its file
//! +--------------+---------------------------+------------------------------+---------+
//! | prefix, 64 B | rkyv archive: BlockHeader | Kafka v2 batches, contiguous | zeros   |
//! +--------------+---------------------------+------------------------------+---------+
//! 0              64                          payload position               block length
//! ```
//! The archive's length depends on the number of index entries only, so the payload's position is
//! known before the payload is.

mod batches;
mod header;
pub mod open;
mod sealed;

pub use batches::{BatchView, Batches};
pub use header::{
    BlockError, BlockMeta, BlockView, HEADER_BYTES_MAX, IndexEntry, PREFIX_BYTES, Prefix,
    ProducerFlags, block_len, encode_block, payload_position, seal_block,
};
pub use sealed::SealedBlock;
