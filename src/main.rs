//! The `pointsman` binary: parse the command, run it, give its exit code.

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

/// Long-lived servers with many small allocations from many threads: it keeps memory flat where the system's allocator
/// fragments.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// After so many milliseconds unused pages go back to the system. By the allocator's own second more of them lie idle
/// than are in use (64 connections at full speed: 51 MiB of memory of its own, 42 with a shorter one).
const PURGE_DELAY: (c_int, c_long) = (15, 100);

unsafe extern "C" {
    /// mimalloc's own: what an option is where the environment (`MIMALLOC_PURGE_DELAY`) says nothing.
    fn mi_option_set_default(option: c_int, value: c_long);
}

fn main() -> ExitCode {
    let (option, value) = PURGE_DELAY;
    // SAFETY: it writes one number of a table of its own, and no other thread runs yet.
    unsafe { mi_option_set_default(option, value) };
    pointsman::cli::run()
}
