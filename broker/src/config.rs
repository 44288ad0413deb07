//! Settings: one table of keys, where their values come from, and the typed form the broker reads.

pub mod describe;
pub mod topic;
