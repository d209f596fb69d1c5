//! `GET /`, `GET /health` and `GET /ready`, open to all: they show the gateway's state, and nothing of its traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::gateway::{Gateway, health};

/// 200, with the paths to call. Monitors ask here, and Claude Code does with `HEAD` whenever it starts.
pub async fn hello() -> &'static str {
    "Pointsman. Chat: /v1/chat/completions, /v1/responses, /v1/messages, /api/chat. Models: /v1/models. Health: /health\n"
}

/// Liveness: 200, with a line per backend.
pub async fn health(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    Json(health::report(&gateway))
}

/// Readiness: 200 once started, 503 before that and while draining.
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Json<Value>) {
    let ready = gateway.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Not "ready" alone: the gateway serves without the classifier, too, but a caller may want to wait for it.
    (status, Json(json!({ "ready": ready, "classifier": gateway.classifier.status().state })))
}
