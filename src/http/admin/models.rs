//! `GET /api/admin/models`: every model with the health of its deployments.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;
use crate::upstream::Availability;

/// Models with price, weight, and for each deployment breaker, load, calls and the last error.
pub async fn list(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Json<Value> {
    let live = gateway.live();
    let now = Instant::now();
    let models: Vec<Value> = live
        .catalog
        .models()
        .map(|model| {
            let reason = match model.availability(now) {
                Availability::Available => None,
                Availability::Unavailable(reason) => Some(reason),
            };
            let deployments: Vec<_> = model.deployments.iter().map(|place| place.status(now)).collect();
            json!({
                "name": model.name,
                "available": reason.is_none(),
                "reason": reason,
                "enabled": model.settings.enabled,
                "weight": model.settings.weight,
                "price": model.settings.price,
                "deployments": deployments,
            })
        })
        .collect();
    Json(json!({ "models": models }))
}
