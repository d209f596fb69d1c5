//! Ranges of whole numbers. The upper bounds are no advice: they keep products, points in time and memory sizes
//! within what a machine holds, where overflow would end in a panic at some later hour.

use super::Config;

/// Most things held at once.
const MAX_COUNT: u64 = 1_000_000;

/// Longest time in seconds, or in minutes: a third of a year, as seconds.
const MAX_S: u64 = 10_000_000;

/// The same in milliseconds.
const MAX_MS: u64 = MAX_S * 1_000;

/// Largest size in mebibytes: a tebibyte.
const MAX_MB: u64 = 1 << 20;

/// A key's value, and its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ranged {
    /// The key.
    pub(super) path: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl Ranged {
    /// What is wrong with the value, if anything.
    pub(super) fn fault(self) -> Option<String> {
        let Self { value, least, most, .. } = self;
        if value < least {
            return Some("must be more than 0".into());
        }
        (value > most).then(|| format!("must be at most {most}"))
    }
}

/// All keys with a range.
pub(super) fn ranged(config: &Config) -> Vec<Ranged> {
    let Config { server, admin, limits, routing, dispatch, learning, classifier, store, .. } = config;
    let positive = |path, value, most| Ranged { path, value, least: 1, most };
    let any = |path, value, most| Ranged { path, value, least: 0, most };
    vec![
        positive("server.max_connections", server.max_connections as u64, MAX_COUNT),
        positive("server.header_timeout_s", server.header_timeout_s, MAX_S),
        positive("server.keep_alive_s", server.keep_alive_s, MAX_S),
        positive("server.write_timeout_s", server.write_timeout_s, MAX_S),
        any("server.drain_s", server.drain_s, MAX_S),
        positive("admin.session_hours", admin.session_hours, 100_000),
        positive("limits.max_body_mb", limits.max_body_mb, MAX_MB),
        positive("limits.body_timeout_s", limits.body_timeout_s, MAX_S),
        positive("limits.max_in_flight", limits.max_in_flight as u64, MAX_COUNT),
        positive("limits.large_requests_mb", limits.large_requests_mb, MAX_MB),
        positive("routing.max_candidates", routing.max_candidates as u64, MAX_COUNT),
        any("routing.sticky.minutes", routing.sticky.minutes, MAX_S),
        positive("dispatch.max_attempts", u64::from(dispatch.max_attempts), MAX_COUNT),
        positive("dispatch.attempts_per_model", u64::from(dispatch.attempts_per_model), MAX_COUNT),
        positive("dispatch.connect_timeout_ms", dispatch.connect_timeout_ms, MAX_MS),
        positive("dispatch.first_byte_timeout_ms", dispatch.first_byte_timeout_ms, MAX_MS),
        positive("dispatch.thinking_timeout_ms", dispatch.thinking_timeout_ms, MAX_MS),
        positive("dispatch.whole_answer_timeout_ms", dispatch.whole_answer_timeout_ms, MAX_MS),
        positive("dispatch.idle_timeout_ms", dispatch.idle_timeout_ms, MAX_MS),
        positive("dispatch.sign_of_life_ms", dispatch.sign_of_life_ms, MAX_MS),
        positive("dispatch.total_timeout_ms", dispatch.total_timeout_ms, MAX_MS),
        positive("dispatch.stream_timeout_ms", dispatch.stream_timeout_ms, MAX_MS),
        any("dispatch.backoff_max_ms", dispatch.backoff_max_ms, MAX_MS),
        any("dispatch.max_retry_after_ms", dispatch.max_retry_after_ms, MAX_MS),
        positive("dispatch.max_answer_mb", dispatch.max_answer_mb, MAX_MB),
        positive("dispatch.large_answers_mb", dispatch.large_answers_mb, MAX_MB),
        positive(
            "dispatch.breaker.consecutive_failures",
            u64::from(dispatch.breaker.consecutive_failures),
            MAX_COUNT,
        ),
        positive("dispatch.breaker.window", u64::from(dispatch.breaker.window), MAX_COUNT),
        any("dispatch.breaker.open_ms", dispatch.breaker.open_ms, MAX_MS),
        any("dispatch.breaker.max_open_ms", dispatch.breaker.max_open_ms, MAX_MS),
        positive("learning.interval_s", learning.interval_s, MAX_S),
        any("learning.guard.hold_minutes", learning.guard.hold_minutes, MAX_S),
        positive("classifier.budget_ms", classifier.budget_ms, MAX_MS),
        positive("classifier.queue", classifier.queue as u64, MAX_COUNT),
        any("classifier.threads", classifier.threads as u64, 4096),
        any("classifier.cache_mb", classifier.cache_mb, MAX_MB),
        positive("classifier.hub.timeout_s", classifier.hub.timeout_s, MAX_S),
        positive("store.queue", store.queue as u64, MAX_COUNT),
        any("store.max_mb", store.max_mb, MAX_MB << 10),
        any("store.cache_mb", store.cache_mb, MAX_MB),
        any("store.retention_interval_s", store.retention_interval_s, MAX_S),
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
