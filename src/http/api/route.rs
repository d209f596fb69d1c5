//! `POST /api/route`: a dry run. Which model, and why.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{body, chat};
use crate::http::error::Rejection;
use crate::http::ledger::Asking;
use crate::http::middleware::caller::Chatter;
use crate::http::state::{Gateway, PlanRequest};
use crate::protocol::{ApiError, Dialect};

/// Takes what `/api/chat` takes, calls nobody, and answers with the decision: candidates in the order they would be
/// tried, why the others fell out, which rules matched. The `decision_id` lets a caller make the call itself.
pub async fn explain(
    State(gateway): State<Arc<Gateway>>,
    Chatter(caller): Chatter,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Rejection> {
    let live = gateway.live();
    let run = async {
        let _permit = gateway.admit()?;
        let token = caller.token.as_deref();
        gateway.limiter.enter(token, &live.config.limits, Instant::now())?;
        let bytes = body::read(body, &live.config.limits).await?;
        let request = chat::read_request(Dialect::Native, &bytes, &headers)?;
        let conversation = gateway.conversation(&request, token);
        let dialect = Dialect::Native;
        let asked = PlanRequest { request: &request, dialect, body: None, headers: &headers, token, conversation };
        let plan = gateway.plan(&live, asked).await?;
        gateway.record(&plan.decision, Asking { request: &request, dialect, token, conversation, dry_run: true });
        let order: Vec<&str> = plan.candidates.iter().map(|model| model.name.as_str()).collect();
        let mut told = json!({ "decision_id": plan.decision.id, "order": order });
        let decision = serde_json::to_value(&*plan.decision)
            .map_err(|error| ApiError::new(crate::protocol::ErrorKind::Internal, error.to_string()))?;
        if let (Some(told), Value::Object(mut decision)) = (told.as_object_mut(), decision) {
            decision.shift_remove("id");
            told.extend(decision);
        }
        Ok(Json(told))
    };
    run.await.map_err(Rejection::native)
}
