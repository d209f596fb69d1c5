//! Has the linker lay the functions that requests go through side by side, in the order of `functions.order`, and says so
//! where the compiler has no profile of them (`rustc` beside this hands it that).
//!
//! A request runs through some 2 MB of the 29 MB of machine code. Spread over all of it they cost a tenth of the
//! processor time in lookups of pages, and 8 MB of memory, since Linux maps the pages around each. `record.sh` makes both
//! records. They hold the names as the linker sees them, which are others with another compiler or other versions of the
//! libraries; a name that is not there is passed over.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const HERE: &str = "packaging/profile";

fn main() {
    println!("cargo::rerun-if-changed={HERE}");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release")
        && let Ok(root) = env::var("CARGO_MANIFEST_DIR")
    {
        lay_in_order(&root);
        if !has_profile(&root).unwrap_or(false) {
            println!(
                "cargo::warning=built without a profile, as {HERE} has none for this compiler, or RUSTC_WRAPPER or --target is set"
            );
        }
    }
}

fn lay_in_order(root: &str) {
    let list = format!("--symbol-ordering-file={root}/{HERE}/functions.order");
    let arguments = ["-Xlinker", &list, "-Xlinker", "--no-warn-symbol-ordering"];
    if links_with(&arguments).unwrap_or(false) {
        for argument in arguments {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}

/// Whether `rustc` beside this is what the compiler is run through, and has a profile for it. For a target that is asked
/// for by name, be it the host, cargo has a folder of its own, and other names for the crates: the profile knows none.
fn has_profile(root: &str) -> Option<bool> {
    let (host, target, out) = (env::var("HOST").ok()?, env::var("TARGET").ok()?, env::var("OUT_DIR").ok()?);
    if host != target || out.contains(&format!("/{target}/release/")) {
        return Some(false);
    }
    let here = Path::new(root).join(HERE);
    let told = String::from_utf8(Command::new(env::var_os("RUSTC")?).arg("-vV").output().ok()?.stdout).ok()?;
    let said = |name| told.lines().find_map(|line| line.strip_prefix(name));
    let profile = here.join(format!("{}-{}.profdata", said("release: ")?, said("host: ")?));
    Some(Path::new(&env::var_os("RUSTC_WRAPPER")?) == here.join("rustc") && profile.exists())
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
