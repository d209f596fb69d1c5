//! The `pointsman` binary: parse the command, run it, give its exit code.

use std::process::ExitCode;

/// Long-lived servers with many small allocations from many threads: it keeps memory flat where the system's allocator
/// fragments.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pointsman::cli::run()
}
