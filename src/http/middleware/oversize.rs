//! Refuses a body that is announced as too large before it is sent, where the client waits for leave to send it
//! (`Expect: 100-continue`).
//!
//! Only there: a client that sends at once would find the connection closed in the middle, and might never read why.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};

use crate::config;
use crate::gateway::Gateway;
use crate::http::api::body;
use crate::http::error::{Rejection, dialect_of};
use crate::protocol::ApiError;

/// The middleware.
pub async fn layer(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    match refusal(&gateway, request.headers()) {
        Some(error) => Rejection::new(dialect_of(request.uri().path()), error).into_response(),
        None => next.run(request).await,
    }
}

fn refusal(gateway: &Gateway, headers: &HeaderMap) -> Option<ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !text(EXPECT)?.eq_ignore_ascii_case("100-continue") {
        return None;
    }
    let bytes: usize = text(CONTENT_LENGTH)?.parse().ok()?;
    let live = gateway.live();
    let limits = &live.config.limits;
    (bytes > config::mebibytes(limits.max_body_mb)).then(|| body::too_large(limits))
}
