//! What builds the binary and puts it on a machine. The image's recipe and the systemd unit cannot be run here, so what
//! went wrong with one once is looked for in its text.

use std::fs;
use std::path::Path;
use std::process::Command;

const CONTAINERFILE: &str = include_str!("../../Containerfile");
const JUSTFILE: &str = include_str!("../../justfile");
const UNIT: &str = include_str!("../../packaging/pointsman.service");

/// What stands behind each such beginning of a line.
fn behind<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(beginning)).collect()
}

fn seconds(key: &str) -> f64 {
    behind(UNIT, key)[0].parse().unwrap()
}

/// Kubernetes verifies `runAsNonRoot` for numbers only.
#[test]
fn the_image_s_user_is_a_number_and_owns_its_folder() {
    let user = behind(CONTAINERFILE, "USER ")[0];
    let (uid, gid) = user.split_once(':').unwrap();
    assert!(uid.parse::<u32>().unwrap() > 0 && gid.parse::<u32>().unwrap() > 0, "{user}");
    for made in [
        format!("groupadd --gid {gid} "),
        format!("useradd --uid {uid} --gid {gid} "),
        format!("-o {uid} -g {gid} /var/lib/pointsman"),
    ] {
        assert!(CONTAINERFILE.contains(&made), "{made}");
    }
}

/// Podman leaves it out of its own format.
#[test]
fn the_image_s_health_check_is_built_in() {
    assert_eq!(behind(CONTAINERFILE, "HEALTHCHECK ").len(), 1);
    assert!(behind(JUSTFILE, "    podman build ")[0].contains("--format docker "));
}

/// A start that fails takes less than a second.
#[test]
fn a_service_that_never_comes_up_is_given_up() {
    let starts = seconds("StartLimitBurst=") * (seconds("RestartSec=") + 1.0);
    assert!(starts < seconds("StartLimitIntervalSec="), "{starts} s");
}

#[test]
fn a_compiler_is_given_the_profile_that_was_made_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = folder.path().join(name);
        // By a process of its own: what another test starts meanwhile would hold the file open, and it could not be run.
        let write = ["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""];
        assert!(Command::new("sh").args(write).arg(&path).arg(text).status().unwrap().success());
        path
    };
    let wrapper = script("rustc", include_str!("../../packaging/profile/rustc"));
    let profile = folder.path().join("1.2.3-ours.profdata");
    fs::write(&profile, "").unwrap();
    // A compiler that only says what it was asked for.
    let compiler = |name: &str, release: &str| {
        let told = format!("binary: rustc\nhost: ours\nrelease: {release}");
        script(name, &format!("#!/bin/sh\nif [ \"$*\" = -vV ]; then echo '{told}'; else echo \"$*\"; fi\n"))
    };
    let (same, other) = (compiler("same", "1.2.3"), compiler("other", "1.2.4"));
    let asked = |compiler: &Path, options: &[&str], into: Option<&str>| {
        let mut command = Command::new(&wrapper);
        command.arg(compiler).args(options).env_remove("RECORD_INTO").envs(into.map(|into| ("RECORD_INTO", into)));
        String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
    };

    let release = ["--crate-name", "a", "-C", "opt-level=3", "--out-dir", "/x/target/release/deps"];
    let debug = ["--crate-name", "a", "-C", "opt-level=3", "--out-dir", "/x/target/debug/deps"];
    let cold = ["--crate-name", "build_script", "--out-dir", "/x/target/release/deps"];
    let with = format!("{} -Cprofile-use={} -Cllvm-args=-no-pgo-warn-mismatch", release.join(" "), profile.display());
    assert_eq!(asked(&same, &release, None), with);
    assert_eq!(asked(&other, &release, None), release.join(" "));
    assert_eq!(asked(&same, &debug, None), debug.join(" "));
    assert_eq!(asked(&same, &cold, Some("/counts")), cold.join(" "));
    assert_eq!(asked(&other, &release, Some("/counts")), format!("{} -Cprofile-generate=/counts", release.join(" ")));
}

/// Cargo gives crates other names where `--target` is given, and those are in every function's.
#[test]
fn a_build_that_the_profile_does_not_fit_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let build = at("build");
    let source = ["--edition", "2024", "packaging/profile/build.rs", "-o"];
    assert!(Command::new("rustc").args(source).arg(&build).status().unwrap().success());
    let here = at("packaging/profile");
    fs::create_dir_all(&here).unwrap();
    fs::write(here.join("1.2.3-ours.profdata"), "").unwrap();
    let compiler = "#!/bin/sh\nif [ \"$*\" = -vV ]; then echo 'host: ours\nrelease: 1.2.3'; else exit 1; fi\n";
    let write = ["-c", "printf '%b' \"$1\" >\"$0\" && chmod 755 \"$0\""];
    assert!(Command::new("sh").args(write).arg(at("compiler")).arg(compiler).status().unwrap().success());
    let warns = |target: &str, out: &str, wrapper: &str| {
        fs::create_dir_all(at(out)).unwrap();
        let mut command = Command::new(&build);
        command.env("CARGO_MANIFEST_DIR", folder.path()).env("PROFILE", "release").env("RUSTC", at("compiler"));
        command.env("HOST", "ours").env("TARGET", target).env("OUT_DIR", at(out)).env("RUSTC_WRAPPER", at(wrapper));
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        said.contains("cargo::warning=built without a profile")
    };

    let (wrapper, plain) = ("packaging/profile/rustc", "target/release/build/p-0/out");
    assert!(!warns("ours", plain, wrapper));
    assert!(warns("ours", plain, "sccache"));
    assert!(warns("ours", "target/ours/release/build/p-0/out", wrapper));
    assert!(warns("theirs", "target/theirs/release/build/p-0/out", wrapper));
}
