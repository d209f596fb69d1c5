//! `GET /api/admin/audit`: the last acts of operators and of the tuner.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::gateway::Gateway;
use crate::http::error::Native;
use crate::http::middleware::caller::Operator;
use crate::protocol::ApiError;
use crate::store::AuditRecord;

/// Most acts in one answer.
const MAX_ACTS: usize = 1_000;

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Most acts; 200 if absent.
    limit: Option<usize>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Acts {
    /// Newest first.
    pub acts: Vec<AuditRecord>,
}

/// The last acts.
///
/// # Errors
///
/// `Unavailable` while the store is down.
pub async fn last(gateway: &Gateway, limit: usize) -> Result<Acts, ApiError> {
    let acts = gateway.with_store(move |store| store.audits(limit.min(MAX_ACTS))).await?;
    Ok(Acts { acts })
}

/// `GET /api/admin/audit`.
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Acts>, Native> {
    Ok(Json(last(&gateway, query.limit.unwrap_or(200)).await?))
}
