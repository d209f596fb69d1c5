//! Settings that are read once, at start: a change takes effect after a restart.

use super::layers::within;
use super::{Classifier, Config, Setting};

/// A section or key that is read at start.
struct Fixed {
    name: &'static str,
    is_same: fn(&Config, &Config) -> bool,
    keep: fn(&mut Config, &Config),
}

/// One entry of [`FIXED`]; the fields are the path in [`Config`].
macro_rules! fixed {
    ($name:literal, $($field:ident).+) => {
        Fixed {
            name: $name,
            is_same: |new, old| new.$($field).+ == old.$($field).+,
            keep: |new, old| new.$($field).+.clone_from(&old.$($field).+),
        }
    };
}

/// All sections and keys that are read at start.
const FIXED: [Fixed; 11] = [
    fixed!("server", server),
    fixed!("admin", admin),
    fixed!("telemetry", telemetry),
    fixed!("store", store),
    Fixed { name: "classifier", is_same: |new, old| with_head_of(new, old) == new.classifier, keep: keep_classifier },
    fixed!("limits.large_requests_mb", limits.large_requests_mb),
    fixed!("routing.seed", routing.seed),
    fixed!("dispatch.connect_timeout_ms", dispatch.connect_timeout_ms),
    fixed!("dispatch.large_answers_mb", dispatch.large_answers_mb),
    fixed!("dispatch.proxy", dispatch.proxy),
    fixed!("dispatch.no_proxy", dispatch.no_proxy),
];

/// The one key of a fixed section that is taken over while the gateway runs.
const NOT_FIXED: &str = "classifier.head";

/// The old classifier with the new one's head.
fn with_head_of(new: &Config, old: &Config) -> Classifier {
    Classifier { head: new.classifier.head.clone(), ..old.classifier.clone() }
}

fn keep_classifier(new: &mut Config, old: &Config) {
    new.classifier = with_head_of(new, old);
}

/// Names of fixed sections and keys that differ between two configurations.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    FIXED.iter().filter(|fixed| !(fixed.is_same)(new, old)).map(|fixed| fixed.name).collect()
}

/// The new configuration with the old values of fixed settings: what is shown is then what is in force.
pub fn keep_fixed(mut new: Config, old: &Config) -> Config {
    FIXED.iter().for_each(|fixed| (fixed.keep)(&mut new, old));
    new
}

/// The same for the list of settings as shown.
pub fn keep_fixed_settings(new: Vec<Setting>, old: &[Setting]) -> Vec<Setting> {
    let mut settings: Vec<Setting> = new.into_iter().filter(|setting| !is_fixed(&setting.path)).collect();
    settings.extend(old.iter().filter(|setting| is_fixed(&setting.path)).cloned());
    settings.sort_by(|a, b| a.path.cmp(&b.path));
    settings
}

fn is_fixed(path: &str) -> bool {
    path != NOT_FIXED && FIXED.iter().any(|fixed| within(path, fixed.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn what_is_read_at_start_is_kept_and_its_change_told() {
        let changes = [
            ("server", "server.max_connections = 7"),
            ("admin", "admin.session_hours = 7"),
            ("telemetry", "telemetry.log_format = 'json'"),
            ("store", "store.prompts = true"),
            ("classifier", "classifier.budget_ms = 7"),
            ("limits.large_requests_mb", "limits.large_requests_mb = 7"),
            ("routing.seed", "routing.seed = 7"),
            ("dispatch.connect_timeout_ms", "dispatch.connect_timeout_ms = 7"),
            ("dispatch.large_answers_mb", "dispatch.large_answers_mb = 7"),
            ("dispatch.proxy", "dispatch.proxy = 'http://proxy.example:3128'"),
            ("dispatch.no_proxy", "dispatch.no_proxy = ['vendor.example']"),
        ];
        assert_eq!(FIXED.map(|fixed| fixed.name), changes.map(|(name, _)| name));
        let old: Config = "".parse().unwrap();
        for (name, text) in changes {
            let new: Config = text.parse().unwrap();
            assert_eq!(needs_restart(&old, &new), [name]);
            assert!(needs_restart(&old, &keep_fixed(new, &old)).is_empty(), "{name}");
            let key = text.split(' ').next().unwrap_or_default();
            let setting =
                |value: &str| vec![Setting { path: key.into(), value: value.into(), origin: Origin::Default }];
            assert_eq!(keep_fixed_settings(setting("new"), &setting("old")), setting("old"));
        }
    }

    #[test]
    fn the_rest_is_taken_over() {
        let old: Config = "".parse().unwrap();
        let new: Config = "classifier.head = 'tuned.head'\nrouting.max_candidates = 7".parse().unwrap();
        assert!(needs_restart(&old, &new).is_empty());
        let kept = keep_fixed(new.clone(), &old);
        assert_eq!(kept.classifier.head, new.classifier.head);
        assert_eq!(kept.routing.max_candidates, 7);
        assert!(!is_fixed("classifier.head") && !is_fixed("routing.seeds") && is_fixed("classifier.hub.offline"));
    }
}
