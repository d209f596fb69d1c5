//! OpenAI's whole answer <-> [`ChatResponse`]. Reading allows for what look-alikes leave out or write otherwise.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{AnswerMeta, parse_answer, unreadable};
use super::{WireUsage, broken_off, finish_of, finish_text, messages, real_reason, text_of, usage};
use crate::protocol::{ApiError, ChatResponse, FinishReason, Part};

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    /// Absent where an error stands in its place.
    #[serde(default)]
    message: Option<Turn>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Turn {
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
    /// A call of a custom tool, which only requests that passed through can have.
    #[serde(default)]
    custom: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default, alias = "input", deserialize_with = "super::super::raw::text")]
    arguments: Option<String>,
}

/// Reads an answer.
pub(crate) fn decode(body: &[u8]) -> Result<ChatResponse, ApiError> {
    let wire: Wire = parse_answer(body)?;
    let choice = wire.choices.into_iter().next().ok_or_else(unreadable)?;
    if let Some(error) = broken_off(choice.finish_reason.as_deref(), choice.error.as_ref()) {
        return Err(error);
    }
    let turn = choice.message.ok_or_else(unreadable)?;
    let mut parts = Vec::new();
    let reasoning =
        turn.reasoning_content.or_else(|| turn.reasoning.and_then(|value| value.as_str().map(str::to_owned)));
    if let Some(text) = reasoning.filter(|text| !text.is_empty()) {
        parts.push(Part::Thinking { text, signature: None });
    }
    parts.extend(turn.content.map(text_of).filter(|text| !text.is_empty()).map(Part::text));
    parts.extend(turn.refusal.filter(|text| !text.is_empty()).map(|text| Part::Refusal { text }));
    for call in turn.tool_calls.unwrap_or_default() {
        let Some(called) = call.function.or(call.custom) else { continue };
        let arguments = called.arguments.unwrap_or_default();
        parts.push(Part::ToolCall { id: call.id.unwrap_or_default(), name: called.name, arguments });
    }
    let any = |wanted: fn(&Part) -> bool| parts.iter().any(wanted);
    let any_call = any(|part| matches!(part, Part::ToolCall { .. }));
    let refuses = any(|part| matches!(part, Part::Refusal { .. }));
    let unsaid = if any_call { FinishReason::ToolCalls } else { FinishReason::Other };
    let finish_reason =
        real_reason(choice.finish_reason).map_or(unsaid, |reason| finish_of(&reason, any_call, refuses));
    Ok(ChatResponse {
        id: wire.id.unwrap_or_default(),
        model: wire.model.unwrap_or_default(),
        finish_reason,
        parts,
        stop_sequence: None,
        usage: wire.usage.map(Into::into),
    })
}

/// Writes an answer.
pub(crate) fn encode(response: &ChatResponse, meta: &AnswerMeta) -> Bytes {
    let mut answer = json!({
        "id": meta.id,
        "object": "chat.completion",
        "created": meta.created,
        "model": meta.model,
        "choices": [{
            "index": 0,
            "message": turn(response),
            "logprobs": null,
            "finish_reason": finish_text(response.finish_reason),
        }],
    });
    if let Some(counts) = &response.usage {
        answer["usage"] = usage(counts);
    }
    Bytes::from(answer.to_string())
}

/// Writes the assistant's turn.
pub(crate) fn turn(response: &ChatResponse) -> Value {
    let texts = |pick: fn(&Part) -> Option<&str>| -> Option<String> {
        let found: Vec<&str> = response.parts.iter().filter_map(pick).collect();
        (!found.is_empty()).then(|| found.concat())
    };
    let text = texts(|part| match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    });
    let refusal = texts(|part| match part {
        Part::Refusal { text } => Some(text),
        _ => None,
    });
    let reasoning = texts(|part| match part {
        Part::Thinking { text, .. } => Some(text),
        _ => None,
    });
    let calls: Vec<Value> = response.parts.iter().filter_map(messages::encode_call).collect();
    // Beside neither, a vendor refuses null where the turn is sent back.
    let text = text.or_else(|| (calls.is_empty() && refusal.is_none()).then(String::new));
    let mut turn = json!({ "role": "assistant", "content": text, "refusal": refusal });
    if let Some(reasoning) = reasoning {
        turn["reasoning_content"] = json!(reasoning);
    }
    if !calls.is_empty() {
        turn["tool_calls"] = Value::Array(calls);
    }
    turn
}
