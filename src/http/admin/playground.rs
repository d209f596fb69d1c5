//! `POST /api/admin/chat`, `/api/admin/route`, `/api/admin/feedback`: `/api/chat`, `/api/route` and `/api/feedback` for
//! users of the dashboard, who have a session and no API token.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::http::api;
use crate::http::error::Native;
use crate::http::middleware::caller::{Chatter, Operator, Rater};
use crate::protocol::Dialect;

/// Answers a chat in the native dialect.
pub async fn chat(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    headers: HeaderMap,
    body: Body,
) -> Response {
    api::chat::chat(gateway, Dialect::Native, caller, headers, body).await
}

/// Says which model a chat would go to.
pub async fn route(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Native> {
    api::route::explain(State(gateway), Chatter(caller), headers, body).await
}

/// Takes a feedback.
pub async fn feedback(
    State(gateway): State<Arc<Gateway>>,
    Operator(caller): Operator,
    body: Body,
) -> Result<Json<Value>, Native> {
    api::feedback::give(State(gateway), Rater(caller), body).await
}
