//! `GET /metrics`, for Prometheus.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::gateway::{Gateway, now_s};
use crate::http::middleware::caller::Passer;
use crate::telemetry::{ClassifierFigures, DeploymentFigures, LogFigures};
use crate::upstream::BreakerState;

/// Whether a scraper accepts the older text format and not OpenMetrics.
fn wants_older(headers: &HeaderMap) -> bool {
    let names = |kind: &str| {
        let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
        accepted.any(|accepted| accepted.contains(kind))
    };
    names("text/plain") && !names("application/openmetrics-text")
}

/// All metrics in OpenMetrics' text format, or in Prometheus' older one where only that is accepted. No token is
/// needed, as scrapers expect, only an allowed network.
pub async fn metrics(State(gateway): State<Arc<Gateway>>, _: Passer, headers: HeaderMap) -> Response {
    let live = gateway.live();
    let now = Instant::now();
    let mut deployments = Vec::new();
    for model in live.catalog.models() {
        for deployment in model.deployments.iter().filter(|deployment| deployment.provider.unusable.is_none()) {
            let status = deployment.status(now);
            let breaker = match status.breaker {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            deployments.push(DeploymentFigures {
                model: model.name.as_str(),
                deployment: &deployment.name,
                breaker,
                in_flight: status.in_flight as i64,
            });
        }
    }
    gateway.metrics.deployments(&deployments);
    let (log, store) = (gateway.recorder.status(), gateway.store.health());
    gateway.metrics.log(&LogFigures {
        decisions: log.decisions,
        outcomes: log.outcomes,
        feedback: log.feedback,
        dropped: log.dropped,
        lost: log.lost,
        queued: log.queued,
        durable: store.is_durable(),
    });
    let counts = gateway.classifier.status().counts;
    let whole = counts.read.saturating_sub(counts.shortened);
    let read = [("read", whole), ("shortened", counts.shortened), ("cached", counts.cached)];
    gateway.metrics.classifier(&ClassifierFigures {
        prompts: &[&read[..], &counts.missed].concat(),
        abandoned: counts.abandoned,
        tokens: counts.tokens,
        ready: gateway.classifier.is_ready(),
        batch_us: (counts.p50_us, counts.p99_us),
    });
    gateway.metrics.config(gateway.config_errors().is_empty());
    let policy = gateway.learner.live();
    gateway.metrics.policy(policy.policy.version, policy.policy.learned_from(), gateway.budgets.price(now_s()));
    let (media_type, text) = if wants_older(&headers) {
        ("text/plain; version=0.0.4; charset=utf-8", gateway.metrics.render_older())
    } else {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", gateway.metrics.render())
    };
    ([(CONTENT_TYPE, media_type)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_that_know_the_older_format_alone_get_it() {
        let older =
            |accepted: &'static str| wants_older(&HeaderMap::from_iter([(ACCEPT, accepted.parse().unwrap())]));
        assert!(older("application/vnd.google.protobuf;q=0.7,text/plain;version=0.0.4;q=0.3"));
        assert!(!older("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
        assert!(!older("*/*") && !wants_older(&HeaderMap::new()));
    }
}
