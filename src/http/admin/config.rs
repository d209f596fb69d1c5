//! `GET /api/admin/config`: what is in force, and who set it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;

/// The configuration in force.
#[derive(Debug, Serialize)]
pub struct Effective {
    /// Every value, by key.
    pub settings: Vec<Value>,
}

/// One value.
#[derive(Debug, Serialize)]
pub struct Value {
    /// Its key.
    pub path: String,
    /// As TOML, secrets blanked.
    pub value: String,
    /// Who set it.
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
    Effective { settings: settings.into_values().collect() }
}

/// Every value with its origin, secrets blanked.
pub async fn effective(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Json<Effective> {
    Json(all(&gateway))
}
