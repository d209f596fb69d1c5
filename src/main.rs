//! The `pointsman` binary: parse the command, run it, give its exit code.

fn main() {}
