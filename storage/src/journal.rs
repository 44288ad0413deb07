//! The journal: one sequence of writes per shard in which every fresh batch, and everything else
//! that changes a log, becomes durable (S2-S9).
//!
//! [`frame`] and [`fragment`] are its bytes, [`row`] what begins each file, `files` the ring of
//! files a shard writes them to, `buffers` the memory they are written from, [`reader`] how a start
//! finds them again.

mod buffers;
mod files;
pub mod fragment;
pub mod frame;
pub mod reader;
pub mod row;
mod scan;
pub mod switch;

pub(crate) use buffers::Buffers;
pub use files::JournalState;
pub(crate) use files::{
    FIRST_FILE, FLIGHTS_MAX, FileId, Flight, Journal, ReadyFile, Touched, file_path, slot_of,
};
