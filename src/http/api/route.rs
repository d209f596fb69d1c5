//! `POST /api/route`: a dry run that says which model would be called, and why.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{body, chat};
use crate::gateway::Gateway;
use crate::http::error::Native;
use crate::http::middleware::caller::Chatter;
use crate::protocol::{ApiError, Dialect, ErrorKind};

/// Takes the request of `/api/chat`, calls no model, and answers with the decision: candidates in the order they would
/// be tried, why the others were excluded, which rules matched. With the `decision_id` the caller can make the call
/// itself and report its outcome.
pub async fn explain(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Native> {
    let live = gateway.live();
    let token = caller.token.as_deref();
    let (_permit, bytes) = body::admit(&gateway, &live, token, body, Instant::now()).await?;
    let read = |bytes: &[u8]| chat::read_request(Dialect::Native, bytes, &headers);
    let (request, _) = body::understood(bytes, read)?;
    let plan = gateway.dry_run(&live, &request, &headers, token).await?;
    let order: Vec<&str> = plan.candidates.iter().map(|model| model.name.as_str()).collect();
    let mut told = json!({ "decision_id": plan.decision.id, "order": order });
    let decision = serde_json::to_value(&*plan.decision)
        .map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    if let (Some(told), Value::Object(mut decision)) = (told.as_object_mut(), decision) {
        decision.shift_remove("id");
        told.extend(decision);
    }
    Ok(Json(told))
}
