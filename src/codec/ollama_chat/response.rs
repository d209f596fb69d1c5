//! Ollama's whole answer -> [`ChatResponse`].

use serde_json::json;

use super::super::{errors, unreadable};
use super::Wire;
use crate::protocol::{ApiError, ChatResponse, Part};

/// Reads an answer.
pub(crate) fn decode(body: &[u8]) -> Result<ChatResponse, ApiError> {
    let mut wire: Wire = serde_json::from_slice(body).map_err(|_| unreadable())?;
    if let Some(error) = wire.error.as_ref().filter(|error| !errors::is_empty(error)) {
        return Err(errors::in_band(&json!({ "error": error })).unwrap_or_else(unreadable));
    }
    let turn = wire.message.take().ok_or_else(unreadable)?;
    let mut parts = Vec::new();
    if let Some(text) = turn.thinking.filter(|text| !text.is_empty()) {
        parts.push(Part::Thinking { text, signature: None });
    }
    if !turn.content.is_empty() {
        parts.push(Part::text(turn.content));
    }
    let calls = turn.tool_calls.unwrap_or_default();
    let any_call = !calls.is_empty();
    for call in calls {
        let (id, name, arguments) = call.parts();
        parts.push(Part::ToolCall { id, name, arguments });
    }
    Ok(ChatResponse {
        id: String::new(),
        finish_reason: wire.finish(any_call),
        usage: wire.usage(),
        model: wire.model,
        parts,
        stop_sequence: None,
    })
}
