//! How large a whole number may be. The upper ends are no advice: they keep what is multiplied, added to a clock or
//! set aside in memory from going beyond what a machine holds, which would end in a panic at some later hour.

use super::Config;

/// Things held at once.
const HELD: u64 = 1_000_000;

/// Seconds or minutes: a third of a year, in seconds.
const LONG: u64 = 10_000_000;

/// As milliseconds.
const LONG_MS: u64 = LONG * 1_000;

/// Mebibytes: a tebibyte.
const LARGE_MB: u64 = 1 << 20;

/// A key's value, and what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ranged {
    /// The key.
    pub(super) path: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl Ranged {
    /// What is wrong with it, if anything is.
    pub(super) fn fault(self) -> Option<String> {
        let Self { value, least, most, .. } = self;
        if value < least {
            return Some("must be more than 0".into());
        }
        (value > most).then(|| format!("must be at most {most}"))
    }
}

/// Every key of this kind.
pub(super) fn ranged(config: &Config) -> Vec<Ranged> {
    let Config { server, admin, limits, routing, dispatch, learning, classifier, store, .. } = config;
    let positive = |path, value, most| Ranged { path, value, least: 1, most };
    let any = |path, value, most| Ranged { path, value, least: 0, most };
    vec![
        positive("server.max_connections", server.max_connections as u64, HELD),
        positive("server.header_timeout_s", server.header_timeout_s, LONG),
        positive("server.keep_alive_s", server.keep_alive_s, LONG),
        positive("server.write_timeout_s", server.write_timeout_s, LONG),
        any("server.drain_s", server.drain_s, LONG),
        positive("admin.session_hours", admin.session_hours, 100_000),
        positive("limits.max_body_mb", limits.max_body_mb, LARGE_MB),
        positive("limits.body_timeout_s", limits.body_timeout_s, LONG),
        positive("limits.max_in_flight", limits.max_in_flight as u64, HELD),
        positive("routing.max_candidates", routing.max_candidates as u64, HELD),
        any("routing.sticky.minutes", routing.sticky.minutes, LONG),
        positive("dispatch.max_attempts", u64::from(dispatch.max_attempts), HELD),
        positive("dispatch.attempts_per_model", u64::from(dispatch.attempts_per_model), HELD),
        positive("dispatch.connect_timeout_ms", dispatch.connect_timeout_ms, LONG_MS),
        positive("dispatch.first_byte_timeout_ms", dispatch.first_byte_timeout_ms, LONG_MS),
        positive("dispatch.thinking_timeout_ms", dispatch.thinking_timeout_ms, LONG_MS),
        positive("dispatch.whole_answer_timeout_ms", dispatch.whole_answer_timeout_ms, LONG_MS),
        positive("dispatch.idle_timeout_ms", dispatch.idle_timeout_ms, LONG_MS),
        positive("dispatch.sign_of_life_ms", dispatch.sign_of_life_ms, LONG_MS),
        positive("dispatch.total_timeout_ms", dispatch.total_timeout_ms, LONG_MS),
        positive("dispatch.stream_timeout_ms", dispatch.stream_timeout_ms, LONG_MS),
        any("dispatch.backoff_max_ms", dispatch.backoff_max_ms, LONG_MS),
        any("dispatch.max_retry_after_ms", dispatch.max_retry_after_ms, LONG_MS),
        positive("dispatch.max_answer_mb", dispatch.max_answer_mb, LARGE_MB),
        positive("dispatch.breaker.consecutive_failures", u64::from(dispatch.breaker.consecutive_failures), HELD),
        positive("dispatch.breaker.window", u64::from(dispatch.breaker.window), HELD),
        any("dispatch.breaker.open_ms", dispatch.breaker.open_ms, LONG_MS),
        any("dispatch.breaker.max_open_ms", dispatch.breaker.max_open_ms, LONG_MS),
        positive("learning.interval_s", learning.interval_s, LONG),
        any("learning.guard.hold_minutes", learning.guard.hold_minutes, LONG),
        positive("classifier.budget_ms", classifier.budget_ms, LONG_MS),
        positive("classifier.queue", classifier.queue as u64, HELD),
        any("classifier.threads", classifier.threads as u64, 4096),
        any("classifier.cache_mb", classifier.cache_mb, LARGE_MB),
        positive("classifier.hub.timeout_s", classifier.hub.timeout_s, LONG),
        positive("store.queue", store.queue as u64, HELD),
        any("store.max_mb", store.max_mb, LARGE_MB << 10),
        any("store.cache_mb", store.cache_mb, LARGE_MB),
        any("store.retention_interval_s", store.retention_interval_s, LONG),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULTS;

    #[test]
    fn both_ends_are_told_and_every_key_exists() {
        let table: toml::Table = DEFAULTS.parse().unwrap();
        for Ranged { path, most, .. } in ranged(&Config::default()) {
            let (sections, key) = path.rsplit_once('.').unwrap();
            let section = sections.split('.').try_fold(&table, |table, section| table[section].as_table());
            assert!(section.unwrap().contains_key(key), "{path}");
            let refused = format!("{sections}.{key} = {}", most + 1).parse::<Config>().unwrap_err().to_string();
            assert!(refused.contains(&format!("{path}: must be at most {most}")), "{refused}");
            assert!(format!("{sections}.{key} = {}", most.min(i64::MAX as u64)).parse::<Config>().is_ok(), "{path}");
        }
        let refused = "limits.max_in_flight = 9223372036854775807".parse::<Config>().unwrap_err().to_string();
        assert!(refused.contains("limits.max_in_flight: must be at most 1000000"), "{refused}");
        let refused = "limits.max_in_flight = 0".parse::<Config>().unwrap_err().to_string();
        assert!(refused.contains("limits.max_in_flight: must be more than 0"), "{refused}");
    }
}
