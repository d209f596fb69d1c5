//! `GET /api/admin/config`: what is in force, and who set it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;

/// Every value with its origin, secrets blanked.
pub async fn effective(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Json<Value> {
    let live = gateway.live();
    let settings: Vec<Value> = live
        .settings
        .iter()
        .map(|setting| json!({ "path": setting.path, "value": setting.value, "origin": setting.origin.to_string() }))
        .collect();
    Json(json!({ "settings": settings }))
}
