//! What puts the binary on a machine: the image's recipe and the systemd unit. Neither can be run here, so what went
//! wrong with one once is looked for in its text.

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
