//! Records the outcome of a chat request: in the decision log, in a log line, in metrics and a span; and settles the
//! API token's limits.

use std::sync::Arc;

use http::HeaderMap;
use jiff::Timestamp;
use tracing::{Span, field};

use crate::dispatch::{Outcome, Setback};
use crate::gateway::Gateway;
use crate::gateway::admission::Permit;
use crate::gateway::conversation::Conversation;
use crate::gateway::ledger;
use crate::gateway::limiter::{Amount, Taken};
use crate::protocol::{Dialect, FinishReason, OutcomeStatus, RequestId};
use crate::route::Answered;
use crate::store::Token;
use crate::telemetry::{Ended, SPAN_TARGET, join_trace, record_words};

/// One chat request whose outcome will be recorded.
pub(super) struct Recording {
    gateway: Arc<Gateway>,
    request_id: RequestId,
    token: Option<(String, String)>,
    dialect: Dialect,
    conversation: Conversation,
    taken: Taken,
    span: Span,
    /// Held until the answer is complete.
    _permit: Permit,
}

/// The caller of a chat request.
pub(super) struct Asker<'a> {
    pub(super) request_id: RequestId,
    pub(super) token: Option<&'a Token>,
    pub(super) dialect: Dialect,
    pub(super) conversation: Conversation,
    /// The expected use, taken from the token's limits.
    pub(super) taken: Taken,
    /// The request's headers, which may name the trace it is part of.
    pub(super) headers: &'a HeaderMap,
}

impl Recording {
    pub(super) fn new(gateway: Arc<Gateway>, asker: Asker<'_>, permit: Permit) -> Self {
        let Asker { request_id, token, dialect, conversation, taken, headers } = asker;
        gateway.metrics.began();
        let token = token.map(|token| (token.id.clone(), token.name.clone()));
        let span = span();
        if !span.is_disabled() {
            join_trace(&span, headers);
        }
        Self { gateway, request_id, token, dialect, conversation, taken, span, _permit: permit }
    }

    /// Records the outcome everywhere.
    pub(super) fn finish(mut self, outcome: &Outcome) {
        // A request that no model answered has used nothing.
        let tokens = outcome.any_usage().map_or(0, |usage| usage.total_tokens());
        self.taken.settle(Amount { tokens, cost_usd: outcome.cost.0 });
        let decision = &outcome.decision;
        let model = outcome.model.as_ref().unwrap_or(&decision.chosen).as_str();
        let failed_calls = outcome.causes.iter().filter(|setback| setback.called);
        let causes = failed_calls.map(|failed| (failed.model.as_str(), failed.kind.as_str())).collect();
        self.gateway.metrics.ended(&Ended {
            dialect: self.dialect.as_str(),
            model,
            status: outcome.status.as_str(),
            mode: decision.mode.as_str(),
            latency: outcome.latency,
            first_token: outcome.first_token,
            usage: outcome.usage,
            cost: outcome.cost,
            lost: outcome.lost.iter().map(|loss| (loss.model.as_str(), loss.usage, loss.cost)).collect(),
            calls: outcome.calls,
            failovers: outcome.failovers,
            causes,
        });
        let now_ms = Timestamp::now().as_millisecond();
        let mut record = ledger::outcome(outcome, now_ms);
        if outcome.status == OutcomeStatus::Cancelled && self.gateway.dispatcher.is_closed() {
            // No client went away: it was the shutdown, which meets the slowest models most.
            record.signals.clear();
        }
        self.gateway.observe(&record);
        self.gateway.recorder.outcome(record);
        self.remember(outcome);
        self.fill_span(outcome, model);
        self.log(outcome, model);
    }

    /// Learns for the next choices how long the model's answer was, and that the conversation is on this model now.
    fn remember(&self, outcome: &Outcome) {
        let (Some(model), Some(usage)) = (&outcome.model, outcome.usage) else { return };
        let is_whole = outcome.status == OutcomeStatus::Ok;
        // Some clients keep what they have of an answer that they leave, and go on; its prompt is in the vendor's cache.
        let is_left = outcome.status == OutcomeStatus::Cancelled && outcome.first_token.is_some();
        if !is_whole && !is_left {
            return;
        }
        let candidates = &outcome.decision.candidates;
        let predicted = candidates.iter().filter(|_| is_whole).find(|candidate| candidate.model == *model);
        if let Some(prediction) = predicted.and_then(|candidate| candidate.prediction.as_ref()) {
            let cut = outcome.finish == Some(FinishReason::Length);
            self.gateway.lengths.observe(model, &prediction.expected, usage.output_tokens, cut);
        }
        let deployment = outcome.deployment.as_ref();
        let answered = Answered { model, deployment, refused_thoughts: outcome.refused_thoughts, is_whole };
        self.gateway.note_stay(&self.conversation, answered, &usage);
    }

    fn log(&self, outcome: &Outcome, model: &str) {
        let decision = &outcome.decision;
        let usage = outcome.any_usage().unwrap_or_default();
        // Kinds, not messages: a vendor's words may quote the prompt.
        let told = |setback: &Setback| {
            let not_called = if setback.called { "" } else { " (not called)" };
            format!("{}: {}{not_called}", setback.model, setback.kind.as_str())
        };
        let causes: Vec<String> = outcome.causes.iter().map(told).collect();
        // Names are passed as strings, which log lines quote, and not by Display: some are a server's own.
        tracing::info!(
            request.id = %self.request_id,
            decision.id = %decision.id,
            token.name = self.token.as_ref().map_or("-", |(_, name)| name),
            dialect = self.dialect.as_str(),
            model.chosen = decision.chosen.as_str(),
            model,
            deployment = outcome.deployment.as_deref().unwrap_or("-"),
            mode = decision.mode.as_str(),
            status = outcome.status.as_str(),
            streamed = outcome.streamed,
            calls = outcome.calls,
            failovers = outcome.failovers,
            causes = (!causes.is_empty()).then(|| causes.join("; ")),
            tokens.input = usage.prompt_tokens(),
            tokens.cached = usage.cache_read_tokens,
            tokens.output = usage.output_tokens,
            cost_usd = outcome.cost.0,
            first_token_ms = outcome.first_token.map(|first| first.as_secs_f64() * 1e3),
            latency_ms = outcome.latency.as_secs_f64() * 1e3,
            "{}",
            match outcome.status {
                OutcomeStatus::Ok => "Answered a chat",
                OutcomeStatus::Failed(_) => "Failed a chat",
                OutcomeStatus::Cancelled => "A chat ended before its answer did",
            }
        );
    }

    fn fill_span(&self, outcome: &Outcome, model: &str) {
        let span = &self.span;
        if span.is_disabled() {
            return;
        }
        let requested = outcome.decision.requested.as_str();
        span.record("otel.name", format!("chat {requested}"));
        span.record("gen_ai.request.model", requested);
        span.record("gen_ai.response.model", model);
        span.record("gen_ai.response.id", outcome.answer_id.as_deref());
        if let Some(finish) = outcome.finish {
            record_words(span, "gen_ai.response.finish_reasons", &[finish.as_str()]);
        }
        let provider = outcome.provider.as_deref();
        span.record("gen_ai.provider.name", provider.unwrap_or("-"));
        let live = self.gateway.live();
        if let Some((host, port)) = provider.and_then(|name| live.catalog.provider(name)?.server()) {
            span.record("server.address", host);
            span.record("server.port", i64::from(port));
        }
        // OpenTelemetry has no unsigned numbers: they would be sent as text.
        if let Some(usage) = outcome.any_usage() {
            span.record("gen_ai.usage.input_tokens", usage.prompt_tokens() as i64);
            span.record("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens as i64);
            span.record("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens as i64);
            span.record("gen_ai.usage.output_tokens", usage.output_tokens as i64);
        }
        if let OutcomeStatus::Failed(kind) = outcome.status {
            span.record("error.type", kind.as_str());
            span.record("otel.status_code", "ERROR");
        }
        span.record("pointsman.decision.id", outcome.decision.id.to_string());
        span.record("pointsman.calls", i64::from(outcome.calls));
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
        gen_ai.response.id = field::Empty,
        server.address = field::Empty,
        server.port = field::Empty,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.cache_read.input_tokens = field::Empty,
        gen_ai.usage.cache_creation.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        error.type = field::Empty,
        pointsman.decision.id = field::Empty,
        pointsman.calls = field::Empty,
    )
}
