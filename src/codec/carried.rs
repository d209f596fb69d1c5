//! What cannot be carried over although its loss would change the meaning: found before a backend is chosen.

use serde_json::Value;

use crate::protocol::{ChatRequest, Part};

/// The first part that is refused, by its place and what `refused` says of it; answers of tools are looked into.
pub(super) fn part(request: &ChatRequest, refused: impl Fn(&Part) -> Option<String>) -> Option<String> {
    let mut turns = request.messages.iter().enumerate();
    turns.find_map(|(index, message)| among(&message.parts, &format!("messages[{index}]"), &refused))
}

fn among(parts: &[Part], path: &str, refused: &impl Fn(&Part) -> Option<String>) -> Option<String> {
    parts.iter().enumerate().find_map(|(index, part)| {
        let here = || format!("{path}.content[{index}]");
        match part {
            Part::ToolResult { content, .. } => among(content, &here(), refused),
            _ => refused(part).map(|what| format!("{} ({what})", here())),
        }
    })
}

/// The first field that only the client's dialect knows and that is neither `harmless` nor what everybody gives anyway.
pub(super) fn extension(request: &ChatRequest, harmless: &[&str]) -> Option<String> {
    let mut all = request.extensions.iter();
    all.find(|(key, value)| !harmless.contains(&key.as_str()) && !idle(request, key, value))
        .map(|(key, _)| key.clone())
}

/// One choice of text, and no probabilities, is what everybody gives; -1 is how some servers say "no bound".
fn idle(request: &ChatRequest, key: &str, value: &Value) -> bool {
    let empty = |value: &Value| {
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    match key {
        "n" => value == 1,
        "logprobs" => value == false,
        "top_logprobs" => value == 0,
        "top_k" | "max_tokens" | "max_completion_tokens" => value == -1,
        // Nothing inside switches the search on.
        "web_search_options" => false,
        "modalities" => *value == serde_json::json!(["text"]),
        // It is about functions, as tools were named before.
        "function_call" => value.is_string() && request.extensions.get("functions").is_none_or(empty),
        _ => empty(value),
    }
}
