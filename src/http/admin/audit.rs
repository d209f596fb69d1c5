//! `GET /api/admin/audit`: who changed what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;
use crate::protocol::ApiError;
use crate::store::AuditRecord;

/// Most acts at once.
const MOST: usize = 1_000;

/// How many.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Most acts; 200 where absent.
    limit: Option<usize>,
}

/// Acts.
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
    let acts = gateway.read_store(move |store| store.audits(limit.min(MOST))).await?;
    Ok(Acts { acts })
}

/// `GET`.
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(wish): Parameters<Wish>,
) -> Result<Json<Acts>, Rejection> {
    let acts = last(&gateway, wish.limit.unwrap_or(200)).await;
    acts.map(Json).map_err(Rejection::native)
}
