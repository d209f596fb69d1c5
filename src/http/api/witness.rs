//! What is made of an outcome: a record, a line in the log, metrics, a span, and the API token's account put right.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Span, field};

use crate::dispatch::{Outcome, Status};
use crate::http::ledger;
use crate::http::state::Gateway;
use crate::protocol::{Dialect, RequestId};
use crate::store::Token;
use crate::telemetry::{Ended, SPAN_TARGET};

/// Hears the end of one chat request.
pub(super) struct Witness {
    gateway: Arc<Gateway>,
    request_id: RequestId,
    token: Option<(String, String)>,
    dialect: Dialect,
    estimated: u32,
    span: Span,
    /// Held until the answer is complete.
    _permit: OwnedSemaphorePermit,
}

impl Witness {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        request_id: RequestId,
        token: Option<&Token>,
        dialect: Dialect,
        estimated: u32,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        gateway.metrics.began();
        let token = token.map(|token| (token.id.clone(), token.name.clone()));
        let span = span();
        Self { gateway, request_id, token, dialect, estimated, span, _permit: permit }
    }

    /// Tells everybody.
    pub(super) fn hear(self, outcome: &Outcome) {
        let decision = &outcome.decision;
        let model = outcome.model.as_ref().unwrap_or(&decision.chosen).as_str();
        let causes = outcome.causes.iter().map(|(model, kind)| (model.as_str(), kind.as_str())).collect();
        self.gateway.metrics.ended(&Ended {
            dialect: self.dialect.as_str(),
            model,
            status: outcome.status.as_str(),
            mode: decision.mode.as_str(),
            latency: outcome.latency,
            first_token: outcome.first_token,
            usage: outcome.usage,
            cost: outcome.cost,
            calls: outcome.calls,
            failovers: outcome.failovers,
            causes,
        });
        if let Some(usage) = outcome.usage {
            let id = self.token.as_ref().map(|(id, _)| id.as_str());
            self.gateway.limiter.correct(id, self.estimated, usage.total_tokens());
        }
        self.gateway.recorder.outcome(ledger::outcome(outcome, Timestamp::now().as_millisecond()));
        self.fill_span(outcome, model);
        self.log(outcome, model);
    }

    fn log(&self, outcome: &Outcome, model: &str) {
        let decision = &outcome.decision;
        let usage = outcome.usage.unwrap_or_default();
        tracing::info!(
            request.id = %self.request_id,
            decision.id = %decision.id,
            token.name = self.token.as_ref().map_or("-", |(_, name)| name),
            dialect = self.dialect.as_str(),
            model.chosen = %decision.chosen,
            model,
            deployment = outcome.deployment.as_deref().unwrap_or("-"),
            mode = decision.mode.as_str(),
            status = outcome.status.as_str(),
            streamed = outcome.streamed,
            calls = outcome.calls,
            failovers = outcome.failovers,
            tokens.input = usage.prompt_tokens(),
            tokens.cached = usage.cache_read_tokens,
            tokens.output = usage.output_tokens,
            cost_usd = outcome.cost.0,
            first_token_ms = outcome.first_token.map(|first| first.as_secs_f64() * 1e3),
            latency_ms = outcome.latency.as_secs_f64() * 1e3,
            "{}",
            match outcome.status {
                Status::Ok => "Answered a chat",
                Status::Failed(_) => "Failed a chat",
                Status::Cancelled => "A client went away",
            }
        );
    }

    fn fill_span(&self, outcome: &Outcome, model: &str) {
        let span = &self.span;
        if span.is_disabled() {
            return;
        }
        span.record("otel.name", format!("chat {model}"));
        span.record("gen_ai.request.model", outcome.decision.requested.as_str());
        span.record("gen_ai.response.model", model);
        span.record("gen_ai.provider.name", outcome.provider.as_deref().unwrap_or("-"));
        if let Some(usage) = outcome.usage {
            span.record("gen_ai.usage.input_tokens", usage.prompt_tokens());
            span.record("gen_ai.usage.output_tokens", usage.output_tokens);
        }
        if let Status::Failed(kind) = outcome.status {
            span.record("error.type", kind.as_str());
            span.record("otel.status_code", "ERROR");
        }
        span.record("pointsman.decision.id", outcome.decision.id.to_string());
        span.record("pointsman.calls", outcome.calls);
    }
}

/// A span after OpenTelemetry's "Semantic conventions for generative client AI spans".
fn span() -> Span {
    tracing::info_span!(
        target: SPAN_TARGET,
        "chat",
        otel.name = field::Empty,
        otel.kind = "client",
        otel.status_code = field::Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = field::Empty,
        gen_ai.request.model = field::Empty,
        gen_ai.response.model = field::Empty,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        error.type = field::Empty,
        pointsman.decision.id = field::Empty,
        pointsman.calls = field::Empty,
    )
}
