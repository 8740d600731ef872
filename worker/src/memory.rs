//! The allocator, and what it is told.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the crate has no name for.
const PURGE_DELAY: mi_option_t = 15;
/// Never. Memory given back to the system and taken again is cleared page by page, in the thread
/// that needs it. A snapshot gives back and takes again as much as it holds: engine threads stood
/// still for up to 10 ms (measured).
const NEVER: c_long = -1;

/// Keeps memory that is free, for what needs it next. `MIMALLOC_PURGE_DELAY` in the environment, in
/// milliseconds, says otherwise. To be called before there are other threads.
pub fn keep() {
    // SAFETY: it sets a number, and nobody else does.
    unsafe { mi_option_set_default(PURGE_DELAY, NEVER) };
}
