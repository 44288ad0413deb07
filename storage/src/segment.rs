//! Segment files: where a partition's sealed blocks lie, how they are found, and what is said when
//! one cannot be read.
//!
//! ```text
//!  a segment file; its length never changes while it is in use
//! +-----------+-------+-------+-----+-------+--------------------+-------------+
//! | head page | block | block | ... | block | never written      | block index |
//! +-----------+-------+-------+-----+-------+--------------------+-------------+
//! 0           4096                          end of the blocks                  size class
//! ```
//! The block index is written when the file is closed. S20 asks an open file for one every 32 MiB;
//! the largest size class is 32 MiB, so reading an open file's block headers is bounded without.
//!
//! ```text
//! <data>/topics/<topic uuid>/<partition>/<generation>-<base offset>-<n>.seg
//! ```

mod file;
mod index;
mod name;
mod scan;

pub use file::{Found, SegmentError, SegmentFile};
pub use index::{BlockEntry, INDEX_ENTRY_BYTES, index_len, index_of};
pub use name::{Generation, SegmentName, partition_dir, topic_dir};
pub use scan::{Damage, scan};
