//! How the gateway is, in a few lines, for monitors.

use std::time::Instant;

use serde_json::{Value, json};

use super::Gateway;
use crate::store::{Health, OpenState};

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
                None if none => "serves no model".into(),
                None if sick == 0 => "ok".into(),
                None => format!("{sick} deployments are resting"),
            };
            json!({ "name": provider.name, "status": status })
        })
        .collect();
    json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "backends": backends,
        "store": store_line(&gateway.store.health()),
        "classifier": gateway.classifier.state_word(),
    })
}

/// The store's state, in one line without paths.
fn store_line(health: &Health) -> Value {
    let status = match (&health.failing, &health.opened.state) {
        (Some(_), _) => "failing: records are dropped and counted, answers go on",
        (None, OpenState::Memory { .. }) => {
            "in memory until a restart: its directory could not be written, no feedback is taken"
        }
        (None, OpenState::Replaced { .. }) => "ok: a fresh one, the damaged one was set aside",
        (None, OpenState::Opened) => "ok",
    };
    let durable = health.durable && health.failing.is_none();
    json!({ "status": status, "durable": durable, "damaged_records": health.damaged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::store::{Store, StoreError};

    #[test]
    fn a_store_that_fails_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &config::Store::default(), 0).unwrap();
        assert_eq!(store_line(&store.health())["durable"], true);
        store.note_failure(&StoreError::Down("no space".into()));
        assert_eq!(store_line(&store.health())["durable"], false);
    }
}
