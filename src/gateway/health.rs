//! How the gateway is, in a few lines, for monitors.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Gateway;
use crate::store::{Health, OpenState, Window};

/// The body of `GET /health`.
pub fn report(gateway: &Gateway) -> Value {
    let live = gateway.live();
    let now = Instant::now();
    let backends: Vec<Value> = live
        .catalog
        .providers()
        .map(|provider| {
            let deployments = live.catalog.models().flat_map(|model| &model.deployments);
            let mut deployments =
                deployments.filter(|deployment| deployment.provider.name == provider.name).peekable();
            let none = deployments.peek().is_none();
            let sick = deployments.filter(|deployment| deployment.check(now).is_err()).count();
            let status = match &provider.unusable {
                Some(reason) => reason.clone(),
                None if none => match gateway.listing(&provider.name).silence() {
                    Some(reason) => format!("does not list its models: {reason}"),
                    None => "serves no model".into(),
                },
                None if sick == 0 => "ok".into(),
                None => format!("{sick} deployments are resting"),
            };
            json!({ "name": provider.name, "status": status })
        })
        .collect();
    let health = gateway.store.health();
    json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "backends": backends,
        "store": store_line(&health),
        "overview": overview_line(health.complete_since_ms, Timestamp::now().as_millisecond()),
        "classifier": gateway.classifier.state_word(),
    })
}

/// The store's state, in one line without paths.
pub fn store_line(health: &Health) -> Value {
    let status = match (&health.failing, &health.opened) {
        (Some(_), _) => "failing: records are dropped and counted, answers go on",
        (None, OpenState::Memory { .. }) => {
            "in memory until a restart: its directory could not be written, no feedback is taken"
        }
        (None, OpenState::Replaced { .. }) => "ok: a fresh one, the damaged one was set aside",
        (None, OpenState::Opened) if health.left_broken => {
            "ok: an earlier one, which was damaged, is still set aside"
        }
        (None, OpenState::Opened) => "ok",
    };
    json!({ "status": status, "durable": health.is_durable(), "damaged_records": health.damaged })
}

/// How far back the overview goes: after a start the decision log is added up, newest first, as far as the longest
/// window goes and there are not too many requests.
fn overview_line(complete_since_ms: Option<i64>, now_ms: i64) -> String {
    let longest = Window::ALL.into_iter().map(|window| window.from_ms(now_ms)).min();
    let lacking = complete_since_ms.filter(|since_ms| Some(*since_ms) > longest);
    match lacking.map(Timestamp::from_millisecond) {
        None => "complete".to_owned(),
        Some(Ok(since)) => format!("complete since {since:.0}"),
        Some(Err(_)) => "incomplete".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::store::{Store, StoreError};

    #[test]
    fn how_far_the_log_is_added_up_is_told() {
        let since = 1_764_000_123_456;
        assert_eq!(overview_line(None, since), "complete");
        // It may be going on, or have ended at the most that are added up.
        assert_eq!(overview_line(Some(since), since + 60_000), "complete since 2025-11-24T16:02:03Z");
        assert_eq!(overview_line(Some(since), since + 31 * 86_400_000), "complete", "no window goes back to it");
    }

    #[test]
    fn a_log_that_was_set_aside_is_told_of_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let status = || {
            let (store, _) = Store::open(dir.path(), &config::Store::default(), 7).unwrap();
            store_line(&store.health())["status"].as_str().unwrap().to_owned()
        };
        assert_eq!(status(), "ok");
        std::fs::write(dir.path().join("log/conf"), "no configuration").unwrap();
        assert!(status().contains("a fresh one"));
        assert!(status().contains("is still set aside"));
        std::fs::remove_dir_all(dir.path().join("log.broken-7")).unwrap();
        assert_eq!(status(), "ok");
    }

    #[test]
    fn a_store_that_fails_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        assert_eq!(store_line(&store.health())["durable"], true);
        store.note_failure(&StoreError::Down("no space".into()));
        assert_eq!(store_line(&store.health())["durable"], false);
    }
}
