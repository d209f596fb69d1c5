//! `POST /api/outcomes`: the outcome of a call, reported by a client that asked `/api/route` for the model and called
//! it itself.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use crate::codec;
use crate::gateway::Gateway;
use crate::gateway::call_report::{self, CallReport};
use crate::http::error::Native;
use crate::http::middleware::caller::Chatter;
use crate::protocol::{ApiError, DecisionId, ErrorKind, FinishReason, Usage};
use crate::store::OutcomeStatus;

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
) -> Result<(StatusCode, Json<Value>), Native> {
    let _permit = gateway.admission.report()?;
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
    call_report::accept(&gateway, id, report).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "decision_id": id, "accepted": true }))))
}

fn status(text: Option<&str>) -> Result<OutcomeStatus, ApiError> {
    const WORDS: &str = "ok, cancelled, error, timeout, or another error code";
    let invalid = || ApiError::invalid(format!("must be {WORDS}")).at("status");
    match text.ok_or_else(|| ApiError::invalid(format!("status is missing: {WORDS}")).at("status"))? {
        "error" => Ok(OutcomeStatus::Failed(ErrorKind::Upstream)),
        name => OutcomeStatus::named(name).ok_or_else(invalid),
    }
}

/// Reads a finish reason as in a chat: an unknown word of a vendor does not make the report invalid.
fn finish_reason(word: &str) -> FinishReason {
    codec::finish_of(word).unwrap_or(FinishReason::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_missing_is_told_as_such() {
        let said = |text| status(text).map_err(|error| (error.message, error.param));
        assert_eq!(said(Some("timeout")), Ok(OutcomeStatus::Failed(ErrorKind::Timeout)));
        let at = Some("status".to_owned());
        let words = "ok, cancelled, error, timeout, or another error code";
        assert_eq!(said(Some("fine")), Err((format!("must be {words}"), at.clone())));
        assert_eq!(said(None), Err((format!("status is missing: {words}"), at)));
    }

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
        let responses = json!({ "input_tokens": 8, "input_tokens_details": { "cached_tokens": 3 }, "output_tokens": 7,
            "output_tokens_details": { "reasoning_tokens": 2 }, "total_tokens": 15 });
        assert_eq!(counts(responses.clone()), (5, 3, 7));
        assert_eq!(read(responses).unwrap().reasoning_tokens, 2);
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
