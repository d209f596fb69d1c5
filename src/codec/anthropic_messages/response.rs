//! Anthropic's whole answer <-> [`ChatResponse`].

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::openai_chat::real_reason;
use super::super::{AnswerMeta, documents, parse_answer, raw, unreadable};
use super::blocks::is_blank;
use super::ids::Told;
use super::{UNSIGNED, WireUsage, blocks, finish_of, finish_text, fitted, usage};
use crate::protocol::{ApiError, ChatResponse, FinishReason, Part};

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "super::super::json::text")]
    id: String,
    #[serde(default, deserialize_with = "super::super::json::text")]
    model: String,
    content: Box<RawValue>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

/// Reads an answer.
pub(crate) fn decode(body: &[u8]) -> Result<ChatResponse, ApiError> {
    let wire: Wire = parse_answer(body)?;
    let parts = parts(&wire.content)?;
    let any_call = parts.iter().any(Part::is_call);
    let unsaid = FinishReason::unsaid(any_call);
    Ok(ChatResponse {
        id: wire.id,
        model: wire.model,
        // A text with citations becomes plain text, which every dialect has.
        parts: parts.into_iter().map(documents::plain).collect(),
        finish_reason: real_reason(wire.stop_reason).map_or(unsaid, |reason| fitted(finish_of(&reason), any_call)),
        stop_sequence: wire.stop_sequence,
        usage: wire.usage.map(Into::into),
    })
}

/// Reads `content`: blocks, or, of some look-alikes, a text or null.
fn parts(content: &RawValue) -> Result<Vec<Part>, ApiError> {
    if let Ok(text) = serde_json::from_str::<String>(content.get()) {
        return Ok(vec![Part::text(text)]);
    }
    let blocks: Option<Vec<&RawValue>> = serde_json::from_str(content.get()).map_err(|_| unreadable())?;
    blocks.unwrap_or_default().into_iter().map(part).collect()
}

fn part(block: &RawValue) -> Result<Part, ApiError> {
    #[derive(Deserialize)]
    struct Call {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default, deserialize_with = "super::super::json::text")]
        id: String,
        name: String,
        #[serde(default, deserialize_with = "super::super::raw::text")]
        input: Option<String>,
    }
    match serde_json::from_str(block.get()) {
        Ok(Call { kind, id, name, input }) if kind == "tool_use" => {
            Ok(Part::ToolCall { id, name, arguments: input.unwrap_or_else(|| "{}".into()) })
        }
        _ => {
            let mut block: Value = serde_json::from_str(block.get()).map_err(|_| unreadable())?;
            // Some look-alikes leave out what is empty.
            for kind in ["text", "thinking"] {
                if block["type"] == kind && !block[kind].is_string() {
                    block[kind] = json!("");
                }
            }
            blocks::decode_block(block, String::new(), &mut Map::new()).map_err(|_| unreadable())
        }
    }
}

/// Writes an answer. Anthropic refuses blank texts, should the client's next request pass through to it.
pub(crate) fn encode(response: &ChatResponse, meta: &AnswerMeta) -> Bytes {
    let is_blank = |part: &&Part| matches!(part, Part::Text { text, .. } | Part::Refusal { text } if is_blank(text));
    let only_blanks = response.parts.iter().all(|part| is_blank(&part));
    let said = response.parts.iter().filter(|part| only_blanks || !is_blank(part));
    let mut told = Told::default();
    let content: Vec<Value> = said.filter_map(|part| block(part, &mut told)).collect();
    let stop_sequence = response.stop_sequence.as_deref();
    let answer = json!({
        "id": meta.id,
        "type": "message",
        "role": "assistant",
        "model": meta.model,
        "content": content,
        "stop_reason": finish_text(response.finish_reason, stop_sequence),
        "stop_sequence": stop_sequence,
        "usage": usage(&response.usage.unwrap_or_default()),
    });
    raw::write(&answer, &["content", "input"])
}

fn block(part: &Part, told: &mut Told) -> Option<Value> {
    match part {
        Part::Text { text, .. } | Part::Refusal { text } => Some(json!({ "type": "text", "text": text })),
        Part::ToolCall { id, name, arguments } => {
            Some(json!({ "type": "tool_use", "id": told.tell(id), "name": name, "input": blocks::input(arguments) }))
        }
        Part::Thinking { text, signature } => Some(json!({
            "type": "thinking", "thinking": text, "signature": signature.as_deref().unwrap_or(UNSIGNED),
        })),
        Part::RedactedThinking { data } => Some(json!({ "type": "redacted_thinking", "data": data })),
        Part::Foreign { kind, value } => blocks::is_ours(kind, value).then(|| value.clone()),
        Part::Image { .. } | Part::ToolResult { .. } => None,
    }
}
