//! `GET /api/admin/config`: every value in force, and where it was set; and why a changed file is not in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::gateway::Gateway;
use crate::http::middleware::caller::Operator;

/// The configuration in force.
#[derive(Debug, Serialize)]
pub struct Effective {
    /// Every value, sorted by key.
    pub settings: Vec<Value>,
    /// What is wrong with the configuration that was read last, in place of which an older one is in force. Mostly
    /// empty.
    pub errors: Vec<String>,
}

/// One value.
#[derive(Debug, Serialize)]
pub struct Value {
    /// Its key.
    pub path: String,
    /// The value as TOML, secrets blanked.
    pub value: String,
    /// Where it was set: a file, a variable, a flag, `dashboard` or `default`.
    pub origin: String,
}

/// Every value with its origin, secrets blanked.
pub fn all(gateway: &Gateway) -> Effective {
    let live = gateway.live();
    let mut settings: BTreeMap<&str, Value> = BTreeMap::new();
    let value = |setting: &crate::config::Setting| Value {
        path: setting.path.clone(),
        value: setting.value.clone(),
        origin: setting.origin.to_string(),
    };
    settings.extend(live.settings.iter().map(|setting| (setting.path.as_str(), value(setting))));
    let changed = live.config.overrides.settings();
    for (path, value) in &changed {
        let value = Value { path: path.clone(), value: value.clone(), origin: "dashboard".into() };
        settings.insert(path.as_str(), value);
    }
    Effective { settings: settings.into_values().collect(), errors: gateway.config_errors() }
}

/// `GET /api/admin/config`.
pub async fn effective(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Json<Effective> {
    Json(all(&gateway))
}
