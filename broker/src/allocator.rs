//! The memory allocator of the whole process: mimalloc, told to keep what it has.
//!
//! Requests and answers are allocated on one shard and often freed on another, which glibc's
//! allocator paid for with a sixth of the broker's CPU.

#![allow(
    unsafe_code,
    reason = "the allocator's options are set by a C function"
)]

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2 and 3, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps freed pages instead of giving them back to the kernel after a second. All large users of
/// memory have budgets, so the process stays within its plan; giving pages back only to fault them
/// in again cost a shard one `madvise` for every six turns of its loop.
pub fn keep_pages() {
    // SAFETY: the function takes two integers and stores one; any thread may call it at any time.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
}
