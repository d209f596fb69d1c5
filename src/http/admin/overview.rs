//! `GET /api/admin/overview`: what happened in the last hour, day or week, and what it would have cost otherwise.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Operator;
use crate::http::state::Gateway;
use crate::protocol::{ApiError, Dialect};
use crate::store::{SingleModel, Summary};

const MINUTE: i64 = 60_000;

/// A stretch of time back from now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// The last ten minutes, in buckets of ten seconds.
    #[serde(rename = "10m")]
    TenMinutes,
    /// The last hour, in buckets of a minute.
    #[default]
    #[serde(rename = "1h")]
    Hour,
    /// The last day, in buckets of twenty minutes.
    #[serde(rename = "24h")]
    Day,
    /// The last week, in buckets of three hours.
    #[serde(rename = "7d")]
    Week,
}

impl Window {
    /// All of them, shortest first.
    pub const ALL: [Self; 4] = [Self::TenMinutes, Self::Hour, Self::Day, Self::Week];

    /// As it is written in the query.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenMinutes => "10m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// Its length and that of its buckets, in milliseconds.
    pub fn lengths(self) -> (i64, i64) {
        match self {
            Self::TenMinutes => (10 * MINUTE, MINUTE / 6),
            Self::Hour => (60 * MINUTE, MINUTE),
            Self::Day => (24 * 60 * MINUTE, 20 * MINUTE),
            Self::Week => (7 * 24 * 60 * MINUTE, 180 * MINUTE),
        }
    }
}

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
}

/// Sums up.
///
/// # Errors
///
/// `Unavailable` while the store is down.
pub async fn sum_up(gateway: &Gateway, window: Window) -> Result<Overview, ApiError> {
    let (length, bucket_ms) = window.lengths();
    let until_ms = Timestamp::now().as_millisecond() + 1;
    // Whole buckets, so that the first is not a stump.
    let from_ms = (until_ms - length).div_euclid(bucket_ms) * bucket_ms;
    let summary = gateway.read_store(move |store| store.summary(from_ms, until_ms, bucket_ms)).await?;
    let all = || summary.single_models.iter();
    let alternative =
        |(model, would_be): (&String, &SingleModel)| Alternative { model: model.clone(), would_be: *would_be };
    let best_single = all()
        .max_by(|a, b| a.1.quality.total_cmp(&b.1.quality).then(b.1.cost_usd.total_cmp(&a.1.cost_usd)))
        .map(alternative);
    let cheapest = all().min_by(|a, b| a.1.cost_usd.total_cmp(&b.1.cost_usd)).map(alternative);
    Ok(Overview { window, from_ms, until_ms, bucket_ms, summary, best_single, cheapest })
}

/// `GET`.
pub async fn overview(
    State(gateway): State<Arc<Gateway>>,
    Operator(_): Operator,
    Parameters(wish): Parameters<Wish>,
) -> Result<Json<Overview>, Rejection> {
    sum_up(&gateway, wish.window).await.map(Json).map_err(|error| Rejection::new(Dialect::Native, error))
}
