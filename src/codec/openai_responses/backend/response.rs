//! The whole Responses answer -> [`ChatResponse`].

use serde_json::{Map, Value};

use super::super::super::{json, parse, parse_answer, unreadable, without_bom};
use super::answer::{Answer, Item, Kind, is_status};
use super::stream::PARAGRAPH;
use crate::protocol::{ApiError, ChatResponse, ErrorKind, Part};

/// Reads an answer. One that is none of this dialect's comes from a server that has another one at this address, or a
/// page: it is not found here.
pub(crate) fn decode(body: &[u8]) -> Result<ChatResponse, ApiError> {
    let none = || if is_another(body) { absent() } else { unreadable() };
    let mut answer: Answer =
        parse_answer(body).map_err(|error| if error == unreadable() { none() } else { error })?;
    if let Some(error) = answer.failure() {
        return Err(error);
    }
    let output = answer.output.take().or_else(|| answer.is_cut().then(Vec::new)).ok_or_else(none)?;
    let items: Vec<Item> = output.into_iter().flatten().collect();
    let mut parts = Vec::new();
    let mut has_text = false;
    for item in &items {
        add(item, has_text, &mut parts);
        has_text |= item.texts().iter().any(|(kind, _, text)| *kind == Kind::Text && !text.is_empty());
    }
    let any = |wanted: fn(&Part) -> bool| parts.iter().any(wanted);
    let any_call = any(Part::is_call);
    let refuses = any(|part| matches!(part, Part::Refusal { .. }));
    Ok(ChatResponse {
        finish_reason: answer.finish(any_call, refuses),
        usage: answer.usage(),
        id: answer.id,
        model: answer.model,
        parts,
        stop_sequence: None,
    })
}

/// Whether a body is something else for certain, a page or JSON of another form. One that is empty or breaks off is a
/// broken answer: the next may be whole, so it must not be the last that is asked for.
fn is_another(body: &[u8]) -> bool {
    match parse(body) {
        Some(Value::Object(fields)) => !fields.is_empty() && !is_ours(&fields),
        Some(value) => !json::is_empty(&value),
        None => is_page(body),
    }
}

/// Whether an object has what only answers of this dialect have.
fn is_ours(fields: &Map<String, Value>) -> bool {
    let said = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    said("object") == "response" || is_status(said("status")) || fields.contains_key("output")
}

/// Whether a body, or a stream, is a page of HTML, by its beginning: none of JSON or of an event is like that.
pub(crate) fn is_page(body: &[u8]) -> bool {
    without_bom(body).trim_ascii_start().starts_with(b"<")
}

/// The error for an answer of something else than Responses.
pub(crate) fn absent() -> ApiError {
    ApiError::new(ErrorKind::NotFound, "what answers there is not OpenAI's Responses")
}

/// Adds an item's parts. A message behind another one begins a paragraph.
fn add(item: &Item, has_text: bool, parts: &mut Vec<Part>) {
    let texts = item.texts();
    if item.is_foreign() {
        // Its content is in the bytes that pass through.
        parts.push(Part::Foreign { kind: item.kind().to_owned(), value: Value::Null });
        return;
    }
    if item.is_thought() {
        let text = texts.iter().map(|(_, _, text)| *text).collect::<Vec<_>>().join(PARAGRAPH);
        let signature = item.signature();
        if !text.is_empty() || signature.is_some() {
            parts.push(Part::Thinking { text, signature });
        }
        return;
    }
    let mut begins = has_text;
    for (kind, _, text) in texts {
        match kind {
            Kind::Arguments => parts.push(Part::ToolCall {
                id: item.call_id().to_owned(),
                name: item.name.clone(),
                arguments: text.to_owned(),
            }),
            _ if text.is_empty() => {}
            Kind::Refusal => parts.push(Part::Refusal { text: text.to_owned() }),
            _ if std::mem::take(&mut begins) => parts.push(Part::text(format!("{PARAGRAPH}{text}"))),
            _ => parts.push(Part::text(text)),
        }
    }
}
