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
    all.find(|(key, value)| !harmless.contains(&key.as_str()) && !idle(key, value)).map(|(key, _)| key.clone())
}

/// One choice, and no probabilities, is what everybody gives.
fn idle(key: &str, value: &Value) -> bool {
    (key == "n" && value == 1) || (key == "logprobs" && value == false)
}
