//! Kafka's record batches, version 2: what producers send, logs store and consumers get.
//!
//! [`validate`] is the gate of the produce path. It walks a batch without copying it: plain batches
//! in place, compressed ones through a window of fixed size, so that neither a lying length nor a
//! bomb can take memory. [`BatchHeader`] and the mutators of [`header`] are for whoever stamps or
//! inspects a batch, [`Records`] and [`BatchBuilder`] for clients.

pub mod builder;
pub mod compression;
pub mod cursor;
pub mod filter;
pub mod header;
pub mod recompress;
pub mod records;
pub mod validate;

pub use builder::{BatchBuilder, NewRecord, ProducerStamp};
pub use compression::{Codec, DecompressionLimits, Scratch};
pub use filter::filter;
pub use header::{BATCH_HEADER_BYTES, BatchHeader};
pub use recompress::{Recompress, RecompressError, Target};
pub use records::{Batches, Record, Records};
pub use validate::{BatchError, Rules, Suspect, Validated, check_shape, inspect, validate};
