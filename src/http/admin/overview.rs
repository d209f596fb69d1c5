//! `GET /api/admin/overview`: what happened in the last hour, day, week or month, and what it would have cost otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;
use crate::protocol::ApiError;
pub use crate::store::Window;
use crate::store::{SingleModel, Summary};

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// How far back; an hour where absent.
    pub window: Window,
}

/// One model for everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// The model.
    pub model: String,
    /// What it would have come to.
    #[serde(flatten)]
    pub would_be: SingleModel,
}

/// What happened.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// How far back.
    pub window: Window,
    /// Unix milliseconds.
    pub from_ms: i64,
    /// Unix milliseconds.
    pub until_ms: i64,
    /// Length of a bucket, milliseconds.
    pub bucket_ms: i64,
    /// Sums, latencies, models, tasks.
    #[serde(flatten)]
    pub summary: Summary,
    /// Always the model that was predicted to be best on average.
    pub best_single: Option<Alternative>,
    /// Always the cheapest.
    pub cheapest: Option<Alternative>,
    /// Requests that no model could answer, by what they asked for, as far as the gateway runs: they have no decision and
    /// are in no other figure.
    pub refused: BTreeMap<String, u64>,
}

/// Sums up.
///
/// # Errors
///
/// `Unavailable` while the store is down.
pub async fn sum_up(gateway: &Gateway, window: Window) -> Result<Overview, ApiError> {
    let (_, bucket_ms) = window.lengths();
    let until_ms = Timestamp::now().as_millisecond() + 1;
    let from_ms = window.from_ms(until_ms);
    let summary = gateway.read_store(move |store| Ok(store.summary(window, until_ms))).await?;
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

/// `GET`.
pub async fn overview(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(wish): Parameters<Wish>,
) -> Result<Json<Overview>, Rejection> {
    sum_up(&gateway, wish.window).await.map(Json).map_err(Rejection::native)
}
