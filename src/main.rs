//! The `pointsman` binary: parse the command, run it, give its exit code.

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

/// A long-lived server makes many small allocations from many threads: mimalloc keeps memory flat where the system's
/// allocator fragments.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's option number of `purge_delay`, and its value in milliseconds: unused pages go back to the system after
/// that. By mimalloc's default of a second more pages lie idle than are in use (64 connections at full speed: 51 MiB of
/// memory of its own, 42 with a shorter delay).
const PURGE_DELAY_MS: (c_int, c_long) = (15, 100);

unsafe extern "C" {
    /// mimalloc's own function: sets an option's value unless the environment (`MIMALLOC_PURGE_DELAY`) does.
    fn mi_option_set_default(option: c_int, value: c_long);
}

fn main() -> ExitCode {
    let (option, value) = PURGE_DELAY_MS;
    // SAFETY: the function writes one number of its own table, and no other thread runs yet.
    unsafe { mi_option_set_default(option, value) };
    pointsman::cli::run()
}
