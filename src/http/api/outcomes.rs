//! `POST /api/outcomes`: the outcome of a call, reported by a client that asked `/api/route` for the model and called it
//! itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

pub use super::call_report::CallReport;
use super::{body, bounds};
use crate::codec;
use crate::http::error::Rejection;
use crate::http::middleware::caller::Chatter;
use crate::http::state::Gateway;
use crate::protocol::{ApiError, DecisionId, ErrorKind, FinishReason, ModelName, Usage};
use crate::store::{Entry, OutcomeRecord, OutcomeStatus, Seen, signals};

/// How long the decision log may take over all steps, each of which has a deadline of its own.
const LOG_TIMEOUT: Duration = Duration::from_secs(15);

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    decision_id: String,
    /// `ok`, `cancelled`, `error`, or the code of an error.
    status: Option<String>,
    model: Option<String>,
    latency_ms: Option<f64>,
    first_token_ms: Option<f64>,
    usage: Option<AnyUsage>,
    cost_usd: Option<f64>,
    /// In the gateway's own words, or a vendor's.
    finish_reason: Option<String>,
}

/// Token counts in the gateway's own format, or a vendor's.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
struct AnyUsage(Usage);

impl TryFrom<Value> for AnyUsage {
    type Error = &'static str;

    fn try_from(sent: Value) -> Result<Self, &'static str> {
        const WRONG: &str = "must be input_tokens and output_tokens, or the usage of an answer as the vendor gave it";
        let below_zero = |value: &Value| value.as_f64().is_some_and(|number| number < 0.0);
        if sent.as_object().is_some_and(|counts| counts.values().any(below_zero)) {
            return Err(WRONG);
        }
        let vendors = codec::usage_of(&sent).ok_or(WRONG)?;
        // Both readings of the same object are merged: each format has fields that the other has not.
        let Ok(mut usage) = Usage::deserialize(sent) else { return Ok(Self(vendors)) };
        usage.absorb(&vendors);
        Ok(Self(usage))
    }
}

/// Takes a report. A later one about the same decision replaces it.
pub async fn report(
    State(gateway): State<Arc<Gateway>>,
    Chatter(_): Chatter,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Rejection> {
    take(&gateway, body).await.map_err(Rejection::native)
}

async fn take(gateway: &Gateway, body: Body) -> Result<(StatusCode, Json<Value>), ApiError> {
    let _permit = gateway.admit_report()?;
    let bytes = body::read_small(body, &gateway.live().config.limits).await?;
    let sent: Sent = body::json(&bytes)?;
    let id: DecisionId =
        sent.decision_id.parse().map_err(|_| ApiError::invalid("it is no id of a decision").at("decision_id"))?;
    let report = CallReport {
        status: status(sent.status.as_deref())?,
        model: sent.model,
        latency_ms: sent.latency_ms,
        first_token_ms: sent.first_token_ms,
        usage: sent.usage.map(|AnyUsage(usage)| usage),
        cost_usd: sent.cost_usd,
        finish_reason: sent.finish_reason.as_deref().map(finish_reason),
    };
    accept(gateway, id, report).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "decision_id": id, "accepted": true }))))
}

/// Records the outcome of a dry run's call. A later report about the same decision replaces it.
///
/// # Errors
///
/// `NotFound` when there is no such decision or model, `InvalidRequest` when the gateway made the call itself or a figure
/// is below 0 or more than one call can be, `Unavailable` while the store cannot be read in time.
pub async fn accept(gateway: &Gateway, id: DecisionId, report: CallReport) -> Result<(), ApiError> {
    let accepted = tokio::time::timeout(LOG_TIMEOUT, check_and_record(gateway, id, report)).await;
    accepted.unwrap_or_else(|_| {
        let message = "the decision log takes too long; send the report again, a later one replaces it";
        Err(ApiError::new(ErrorKind::Unavailable, message).after(Duration::from_secs(2)))
    })
}

async fn check_and_record(gateway: &Gateway, id: DecisionId, report: CallReport) -> Result<(), ApiError> {
    let live = gateway.live();
    // One report on a decision at a time, so that a later one sees the earlier one and charges only the difference.
    let _one_at_a_time = gateway.report_on(id).await;
    gateway.flush_log().await?;
    let entry = find(gateway, id).await?;
    if !entry.decision.request.dry_run {
        let message = "the gateway made this call itself and knows how it ended; outcomes are for /api/route";
        return Err(ApiError::invalid(message).at("decision_id"));
    }
    let model = match &report.model {
        None => entry.decision.chosen.clone(),
        Some(name) => {
            let known = live.catalog.find(name).map(|model| model.name.clone());
            known.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such model").at("model"))?
        }
    };
    bounds::check(&report, live.catalog.find(model.as_str()).map(|model| &model.settings))?;
    let record = record(id, model, report, |model, usage| {
        live.catalog.find(model.as_str()).map(|model| model.settings.price.of(usage).0)
    });
    let before = entry.outcome.as_ref();
    if before.is_none() {
        // Only once: a corrected report is of the same call.
        gateway.observe(&record);
    }
    // The last report counts, as it does where a restart adds up the decision log.
    let more = record.cost_usd.unwrap_or(0.0) - before.and_then(|before| before.cost_usd).unwrap_or(0.0);
    let request = &entry.decision.request;
    gateway.owe(request.token.as_deref(), more);
    // A corrected report is of the same answer, and moves the conversation no further.
    let is_correction = before.is_some_and(|before| (before.status, &before.model) == (record.status, &record.model));
    if let (OutcomeStatus::Ok, Some(model), false) = (record.status, &record.model, is_correction) {
        let estimated = Usage { input_tokens: u64::from(request.prompt_tokens), ..Usage::default() };
        // A record without a question is of a step in a tool loop.
        let is_known = request.conversation_named || request.turn > 1 || request.question.is_none();
        gateway.note_stay(request.conversation, is_known, model, &record.usage.unwrap_or(estimated));
    }
    gateway.recorder.outcome(record);
    Ok(())
}

fn record(
    id: DecisionId,
    model: ModelName,
    report: CallReport,
    price: impl Fn(&ModelName, &Usage) -> Option<f64>,
) -> OutcomeRecord {
    let CallReport { status, finish_reason, usage, .. } = report;
    let seen = Seen { status, finish_reason, empty: false, must_be_json: None };
    OutcomeRecord {
        attempts: 1,
        usage,
        cost_usd: report.cost_usd.or_else(|| price(&model, usage.as_ref()?)),
        latency_ms: report.latency_ms,
        first_token_ms: report.first_token_ms,
        finish_reason,
        signals: signals(&seen),
        model: Some(model),
        ..OutcomeRecord::ended(id, Timestamp::now().as_millisecond(), status)
    }
}

fn status(text: Option<&str>) -> Result<OutcomeStatus, ApiError> {
    let invalid = || ApiError::invalid("must be ok, cancelled, error, timeout, or another error code").at("status");
    match text.ok_or_else(invalid)? {
        "ok" => Ok(OutcomeStatus::Ok),
        "cancelled" => Ok(OutcomeStatus::Cancelled),
        "error" => Ok(OutcomeStatus::Failed(ErrorKind::Upstream)),
        code => {
            serde_json::from_value(Value::String(code.to_owned())).map(OutcomeStatus::Failed).map_err(|_| invalid())
        }
    }
}

/// Reads a finish reason as in a chat: an unknown word of a vendor does not make the report invalid.
fn finish_reason(word: &str) -> FinishReason {
    codec::finish_of(word).unwrap_or(FinishReason::Other)
}

/// The decision's entry, as far as it is written.
async fn find(gateway: &Gateway, id: DecisionId) -> Result<Entry, ApiError> {
    let entry = gateway.read_store(move |store| store.entry(id)).await?;
    entry.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such decision").at("decision_id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_an_end_is_taken_as_vendors_give_it() {
        for (word, reason) in [
            ("stop", FinishReason::Stop),
            ("end_turn", FinishReason::Stop),
            ("max_tokens", FinishReason::Length),
            ("tool_use", FinishReason::ToolCalls),
            ("function_call", FinishReason::ToolCalls),
            ("refusal", FinishReason::ContentFilter),
            ("other", FinishReason::Other),
            ("insufficient_system_resource", FinishReason::Other),
        ] {
            assert_eq!(finish_reason(word), reason, "{word}");
        }
    }

    #[test]
    fn usage_is_taken_as_vendors_give_it() {
        let read = |usage: Value| serde_json::from_value::<AnyUsage>(usage).map(|AnyUsage(usage)| usage);
        let plain = read(json!({ "input_tokens": 5, "output_tokens": 7, "cache_read_tokens": 3 })).unwrap();
        let anthropic =
            json!({ "input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 3, "service_tier": "x" });
        let openai = json!({ "prompt_tokens": 8, "completion_tokens": 7, "total_tokens": 15,
            "prompt_tokens_details": { "cached_tokens": 3 } });
        assert_eq!((plain.input_tokens, plain.cache_read_tokens, plain.output_tokens), (5, 3, 7));
        assert_eq!((read(anthropic).unwrap(), read(openai).unwrap()), (plain, plain));
        let long = json!({ "input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": 9,
            "cache_creation": { "ephemeral_1h_input_tokens": 4 } });
        let long = read(long).unwrap();
        assert_eq!((long.cache_write_tokens, long.cache_write_long_tokens), (9, 4));
        // As in a chat.
        let counts = |usage: Value| {
            let usage = read(usage).unwrap();
            (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)
        };
        let xai = json!({ "prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135 });
        assert_eq!(counts(xai), (32, 0, 103), "thoughts beside the answer");
        let kimi = json!({ "prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10 });
        assert_eq!(counts(kimi), (9, 10, 21));
        let deepseek = json!({ "prompt_tokens": 19, "completion_tokens": 21, "prompt_cache_hit_tokens": 10 });
        assert_eq!(counts(deepseek), (9, 10, 21));
        for wrong in [json!({ "tokens": 5 }), json!({ "prompt_tokens": -5, "completion_tokens": 1 }), json!("5")] {
            assert!(read(wrong).unwrap_err().to_string().contains("as the vendor gave it"));
        }
    }
}
