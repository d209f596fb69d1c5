//! `GET /api/admin/requests`, `/api/admin/requests/stream`: chat requests as they pass.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::live::{self, Events};
use crate::gateway::Gateway;
use crate::gateway::monitor::Passing;
use crate::http::middleware::caller::Operator;

/// The last requests.
#[derive(Debug, Serialize)]
pub struct Requests {
    /// Oldest first.
    requests: Vec<Passing>,
}

/// The last requests, oldest first.
pub async fn list(State(gateway): State<Arc<Gateway>>, Operator(_): Operator) -> Json<Requests> {
    Json(Requests { requests: gateway.monitor.recent() })
}

/// The last requests, then each request again with every step it takes, as server-sent events.
pub async fn stream(State(gateway): State<Arc<Gateway>>, Operator(caller): Operator) -> Events {
    let (first, live) = gateway.monitor.watch();
    live::events(&gateway, caller, first, live, |_| true)
}
