//! Log compaction (S16): rewriting the closed Kafka segments of a partition so that of each key
//! only the newest record stays, with Kafka's semantics for tombstones, transactions and emptied
//! batches.
//!
//! A round reads and writes in the housekeeper, one bounded step for each job, and never touches a
//! shard's memory; what it made becomes the log only by the shard's switch frame. Records are
//! opaque to storage: whoever can open them gives a [`Records`].
//!
//! Stations: [`choose`] says how much a log wants it, `plan` what a round is to do, [`keys`] keeps
//! the newest offset of each key, `transactions` knows what was aborted, `retain` decides over
//! batches and records, `source` reads old blocks, `writer` writes new files, `round` walks through
//! all of that.
//!
//! ```text
//!  old files    |--- clean part, generation 3 ---|-- dirty: closed Kafka segments --|-- active --
//!  round            copied, less what the dirty      its keys are mapped first, then
//!                   part overwrites                  copied, less what it overwrites
//!  new files    |--- generation 4 ------------------------------------------------|
//!                                                                  old chain goes on ^
//! ```
//! The chain hash: a generation has a chain of its own over the batches it stores, from
//! `ChainHash::START` at its first block, through all of its files. It ends with the generation;
//! behind it the uncompacted part goes on with the chain it always had, which the switch frame and
//! the rows carry. So two logs prove themselves prefixes of each other where neither is compacted,
//! and a generation proves that it is whole.

pub mod choose;
pub mod keys;
pub mod plan;
mod records;
mod retain;
mod round;
mod source;
mod transactions;
mod writer;

pub use choose::{CompactionRules, Dirtiness};
pub use plan::{Plan, Source};
pub use records::{RecordView, Records, UnreadableBatch};
pub use round::{CompactionError, Ground, Outcome, Round, Step};
