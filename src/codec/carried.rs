//! What cannot be carried over although its loss would change the meaning: found before a backend is chosen.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::protocol::{ChatRequest, Dialect, Message, Part};

/// The first part that is refused, by the place where `client` put it and what `refused` says of it; answers of tools
/// are looked into. The place is found out only then: to count turns takes a look at all that are before.
pub(super) fn part(
    client: Dialect,
    request: &ChatRequest,
    refused: impl Fn(&Part) -> Option<String>,
) -> Option<String> {
    let results = if client == Dialect::Responses { "output" } else { "content" };
    let mut turns = request.messages.iter().enumerate();
    turns.find_map(|(at, message)| {
        let brings = |part: &Part| matches!(part, Part::ToolResult { .. });
        if client == Dialect::Anthropic || !message.parts.first().is_some_and(brings) {
            return among(&message.parts, &|| list(client, request, at), &refused);
        }
        message.parts.iter().enumerate().find_map(|(index, part)| match part {
            Part::ToolResult { content, .. } => {
                let place = || path(client, number(client, request, at) + index);
                among(content, &|| format!("{}.{results}", place()), &refused)
            }
            _ => None,
        })
    })
}

/// The place of a turn as `client` counts: Anthropic's instructions stand apart, and OpenAI's tools speak one by one,
/// where their results are one turn here; so does everything in a list of items.
pub(super) fn place(client: Dialect, request: &ChatRequest, at: usize) -> String {
    if is_apart(client, request, at) { SYSTEM.into() } else { path(client, number(client, request, at)) }
}

/// The list that its parts stand in.
fn list(client: Dialect, request: &ChatRequest, at: usize) -> String {
    let place = place(client, request, at);
    if is_apart(client, request, at) { place } else { format!("{place}.content") }
}

/// Where Anthropic's instructions stand.
const SYSTEM: &str = "system";

fn is_apart(client: Dialect, request: &ChatRequest, at: usize) -> bool {
    client == Dialect::Anthropic && request.system_apart && at == 0
}

/// The number of a turn.
fn number(client: Dialect, request: &ChatRequest, at: usize) -> usize {
    let messages = &request.messages;
    match client {
        Dialect::Anthropic => {
            return at.saturating_sub(request.system_apart.into());
        }
        Dialect::Responses => return request.items.get(at).copied().unwrap_or(at),
        Dialect::OpenAi | Dialect::Native | Dialect::Ollama => {}
    }
    let results = |message: &Message| {
        message.parts.iter().filter(|part| matches!(part, Part::ToolResult { .. })).count().saturating_sub(1)
    };
    at + messages[..at].iter().map(results).sum::<usize>()
}

fn path(client: Dialect, number: usize) -> String {
    let list = if client == Dialect::Responses { "input" } else { "messages" };
    format!("{list}[{number}]")
}

/// The same among the parts of the list at `list`.
fn among(parts: &[Part], list: &dyn Fn() -> String, refused: &impl Fn(&Part) -> Option<String>) -> Option<String> {
    parts.iter().enumerate().find_map(|(index, part)| match part {
        Part::ToolResult { content, .. } => among(content, &|| format!("{}[{index}].content", list()), refused),
        _ => refused(part).map(|what| format!("{}[{index}] ({})", list(), short(&what))),
    })
}

/// The first field that only the client's dialect knows and that is neither `harmless` nor what everybody gives anyway.
pub(super) fn extension(request: &ChatRequest, harmless: &[&str]) -> Option<String> {
    let mut all = request.extensions.iter();
    all.find(|(key, value)| !harmless.contains(&key.as_str()) && !idle(request, key, value))
        .map(|(key, _)| short(key))
}

/// The first field that only the client's dialect knows, is among those that a provider `cannot` take, and asks for more
/// than everybody gives anyway.
pub(super) fn beyond(request: &ChatRequest, cannot: &BTreeSet<String>) -> Option<String> {
    let mut all = request.extensions.iter();
    all.find(|(key, value)| cannot.contains(*key) && !idle(request, key, value)).map(|(key, _)| short(key))
}

/// Letters of a client's own word that are told.
const WORD: usize = 64;

/// The beginning of what a client calls something: it is told of each model that is left out, and kept in the log.
fn short(word: &str) -> String {
    match word.char_indices().nth(WORD) {
        Some((end, _)) => format!("{}...", &word[..end]),
        None => word.to_owned(),
    }
}

/// One choice of text, and no probabilities, is what everybody gives; -1 is how some servers say "no bound".
fn idle(request: &ChatRequest, key: &str, value: &Value) -> bool {
    let empty = |value: &Value| {
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    match key {
        "n" => value.as_f64() == Some(1.0),
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
