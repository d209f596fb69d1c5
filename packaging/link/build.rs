//! Has the linker lay the functions that requests go through side by side, in the order of `functions.order`.
//!
//! A request runs through some 2 MB of the 29 MB of machine code. Spread over all of it they cost a tenth of the
//! processor time in lookups of pages, and 8 MB of memory, since Linux maps the pages around each. `record.sh` makes the
//! list. It holds the names as the linker sees them, which are others with another compiler or other versions of the
//! libraries; a name that is not there is passed over.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=packaging/link/build.rs");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release")
        && let Ok(root) = env::var("CARGO_MANIFEST_DIR")
    {
        println!("cargo::rerun-if-changed=packaging/link/functions.order");
        let list = format!("--symbol-ordering-file={root}/packaging/link/functions.order");
        let arguments = ["-Xlinker", &list, "-Xlinker", "--no-warn-symbol-ordering"];
        if links_with(&arguments).unwrap_or(false) {
            for argument in arguments {
                println!("cargo::rustc-link-arg-bins={argument}");
            }
        }
    }
}

/// Whether the linker takes `arguments`, tried with an empty program: LLVM's does, GNU's and Apple's do not.
fn links_with(arguments: &[&str]) -> Option<bool> {
    let out = env::var_os("OUT_DIR")?;
    let source = Path::new(&out).join("empty.rs");
    fs::write(&source, "fn main() {}").ok()?;
    let mut compiler = Command::new(env::var_os("RUSTC")?);
    compiler.arg(&source).arg("--target").arg(env::var_os("TARGET")?).arg("-o").arg(Path::new(&out).join("empty"));
    compiler.args(
        env::var("CARGO_ENCODED_RUSTFLAGS").iter().flat_map(|flags| flags.split('\x1f')).filter(|it| !it.is_empty()),
    );
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut flag = OsString::from("-Clinker=");
        flag.push(linker);
        compiler.arg(flag);
    }
    compiler.args(arguments.iter().map(|argument| format!("-Clink-arg={argument}")));
    compiler.stdout(Stdio::null()).stderr(Stdio::null()).status().ok().map(|status| status.success())
}
