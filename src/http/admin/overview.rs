//! `GET /api/admin/overview`: sums of the last hour, day, week or month, and what other strategies would have cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::gateway::Gateway;
use crate::http::error::Native;
use crate::http::middleware::caller::Operator;
use crate::protocol::ApiError;
pub use crate::store::Window;
use crate::store::{SingleModel, Summary};

/// The query.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// How far back; an hour if absent.
    pub window: Window,
}

/// The strategy of using one model for all requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// The model.
    pub model: String,
    /// Its cost and quality, as predicted.
    #[serde(flatten)]
    pub would_be: SingleModel,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// How far back.
    pub window: Window,
    /// Where the window begins, Unix milliseconds.
    pub from_ms: i64,
    /// Where the window ends, Unix milliseconds.
    pub until_ms: i64,
    /// Length of a bucket, milliseconds.
    pub bucket_ms: i64,
    /// Sums, latencies, models, tasks.
    #[serde(flatten)]
    pub summary: Summary,
    /// Always the model with the best mean prediction.
    pub best_single: Option<Alternative>,
    /// Always the cheapest model.
    pub cheapest: Option<Alternative>,
    /// Requests that no model could answer, by the model they asked for, since the gateway started: they have no
    /// decision and are in no other figure.
    pub refused: BTreeMap<String, u64>,
}

/// Computes the overview.
///
/// # Errors
///
/// `Unavailable` while the store is down.
pub async fn sum_up(gateway: &Gateway, window: Window) -> Result<Overview, ApiError> {
    let (_, bucket_ms) = window.lengths();
    let until_ms = Timestamp::now().as_millisecond() + 1;
    let from_ms = window.from_ms(until_ms);
    let summary = gateway.with_store(move |store| Ok(store.summary(window, until_ms))).await?;
    let all = || summary.single_models.iter();
    let alternative =
        |(model, would_be): (&String, &SingleModel)| Alternative { model: model.clone(), would_be: *would_be };
    let quality = |it: &(&String, &SingleModel)| it.1.quality.unwrap_or_default();
    let best_single = all()
        .filter(|it| it.1.quality.is_some())
        .max_by(|a, b| quality(a).total_cmp(&quality(b)).then(b.1.cost_usd.total_cmp(&a.1.cost_usd)))
        .map(alternative);
    let cheapest = all().min_by(|a, b| a.1.cost_usd.total_cmp(&b.1.cost_usd)).map(alternative);
    let refused = gateway.refusals.within(window, until_ms);
    Ok(Overview { window, from_ms, until_ms, bucket_ms, summary, best_single, cheapest, refused })
}

/// `GET /api/admin/overview`.
pub async fn overview(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Overview>, Native> {
    Ok(Json(sum_up(&gateway, query.window).await?))
}
