//! OpenAI's whole answer <-> [`ChatResponse`]. Reading allows for what look-alikes leave out or write otherwise.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{AnswerMeta, errors, parse_answer, unreadable};
use super::turn::Turn;
use super::{WireUsage, broken_off, finish_of, finish_text, messages, real_reason, usage};
use crate::protocol::{ApiError, ChatResponse, FinishReason, Part};

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "super::super::json::text")]
    id: String,
    #[serde(default, deserialize_with = "super::super::json::text")]
    model: String,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
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

/// Reads an answer.
pub(crate) fn decode(body: &[u8]) -> Result<ChatResponse, ApiError> {
    let wire: Wire = parse_answer(body)?;
    let choice = wire.choices.into_iter().next();
    // Beside an answer, too, an error ends it, as it ends a stream.
    let error = wire.error.as_ref().filter(|error| !errors::is_empty(error));
    let error = error.or_else(|| choice.as_ref()?.error.as_ref());
    let reason = choice.as_ref().and_then(|choice| choice.finish_reason.as_deref());
    if let Some(error) = broken_off(reason, error) {
        return Err(error);
    }
    let choice = choice.ok_or_else(unreadable)?;
    let mut turn = choice.message.ok_or_else(unreadable)?;
    let mut parts = Vec::new();
    parts.extend(turn.thought().map(|text| Part::Thinking { text, signature: None }));
    parts.extend(turn.text().map(Part::text));
    parts.extend(turn.refusal().map(|text| Part::Refusal { text }));
    for mut call in turn.calls() {
        let Some(called) = call.function() else { continue };
        let name = called.name.ok_or_else(unreadable)?;
        parts.push(Part::ToolCall { id: call.id, name, arguments: called.arguments.unwrap_or_default() });
    }
    let any = |wanted: fn(&Part) -> bool| parts.iter().any(wanted);
    let any_call = any(Part::is_call);
    let refuses = any(|part| matches!(part, Part::Refusal { .. }));
    let unsaid = FinishReason::unsaid(any_call);
    let finish_reason =
        real_reason(choice.finish_reason).map_or(unsaid, |reason| finish_of(&reason, any_call, refuses));
    Ok(ChatResponse {
        id: wire.id,
        model: wire.model,
        finish_reason,
        parts,
        stop_sequence: None,
        usage: wire.usage.map(Into::into),
    })
}

/// Writes an answer.
pub(crate) fn encode(response: &ChatResponse, meta: &AnswerMeta) -> Bytes {
    let refuses = response.parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    let mut answer = json!({
        "id": meta.id,
        "object": "chat.completion",
        "created": meta.created,
        "model": meta.model,
        "choices": [{
            "index": 0,
            "message": turn(response),
            "logprobs": null,
            "finish_reason": finish_text(response.finish_reason, refuses),
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
    let text = texts(Part::as_text);
    let refusal = texts(|part| match part {
        Part::Refusal { text } => Some(text),
        _ => None,
    });
    let reasoning = texts(|part| match part {
        Part::Thinking { text, .. } => Some(text),
        _ => None,
    });
    let mut calls: Vec<Value> = response.parts.iter().filter_map(messages::encode_call).collect();
    if let Some(Part::ToolCall { arguments, .. }) = response.parts.last()
        && arguments.is_empty()
        && response.finish_reason == FinishReason::Length
        && let Some(cut) = calls.last_mut()
    {
        // Nobody knows what was to come: an empty object would be a call that can be made.
        cut["function"]["arguments"] = json!("");
    }
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

#[cfg(test)]
mod tests {
    use super::super::super::{StreamDecoder, decode_response, reports_error};
    use super::*;
    use crate::protocol::{Dialect, StreamEvent};

    #[test]
    fn ids_of_look_alikes_may_be_numbers_and_their_numbers_texts() {
        let call = json!({ "index": "0", "id": 7, "function": { "name": "f", "arguments": "{}" } });
        let turn = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
        let whole = json!({ "id": 123, "choices": [{ "message": turn, "finish_reason": "tool_calls" }] });
        let whole = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
        let called = Part::ToolCall { id: "7".into(), name: "f".into(), arguments: "{}".into() };
        assert_eq!((whole.id.as_str(), whole.parts), ("123", vec![called]));
        let chunk = json!({ "id": 123, "model": null, "choices": [{ "delta": turn }] });
        let mut events = Vec::new();
        StreamDecoder::new(Dialect::OpenAi).push(format!("data: {chunk}\n\n").as_bytes(), &mut events);
        assert_eq!(events[0], StreamEvent::Start { id: "123".into(), model: String::new() });
        let StreamEvent::ToolCall(call) = &events[1] else { panic!("{events:?}") };
        assert_eq!(call.start, Some(("7".to_owned(), "f".to_owned())));
    }

    #[test]
    fn an_empty_error_beside_an_answer_that_was_broken_off_is_none() {
        let reports = |body: Value| reports_error(body.to_string().as_bytes());
        for error in [json!(""), json!({}), json!({ "message": "", "code": 0 }), json!(null)] {
            let choice = json!({ "message": { "content": "wo" }, "finish_reason": "error" });
            assert!(
                !reports(json!({ "choices": [choice], "usage": { "prompt_tokens": 5 }, "error": error })),
                "{error}"
            );
            assert!(!reports(json!({ "choices": [choice], "error": error })), "{error}");
        }
        assert!(reports(json!({ "error": {} })), "and nothing beside it");
        assert!(reports(json!({ "error": { "message": "busy" }, "choices": [], "usage": null })));
    }
}
