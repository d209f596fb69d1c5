//! Marks the prompt of a translated request for the vendor's cache. OpenAI's vendors cache by themselves, and so its
//! clients mark nothing; Claude caches what is marked, and nothing else.
//!
//! A marker closes a prefix of the prompt: the vendor reads the longest one that it knows, and writes what is new. So
//! there is one behind the instructions, which other conversations share, and one at the end, for the next step. A step
//! finds the end of the one before without a marker if that is at most twenty blocks back; with many calls at once it is
//! further, hence the third. A prefix must be the same byte for byte, so that no text stands as a bare string here.

use serde_json::{Map, Value, json};

use super::blocks::is_blank;

/// Sets at most three markers; the vendor takes four.
pub(crate) fn set(body: &mut Map<String, Value>) {
    // Tools come before the instructions.
    let before = ["system", "tools"].into_iter().find(|field| body.contains_key(*field));
    if let Some(last) = before.and_then(|field| body.get_mut(field)?.as_array_mut()?.last_mut()) {
        mark(last);
    }
    let Some(turns) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    turns.iter_mut().for_each(unfold);
    let mut turns = turns.iter_mut().rev();
    let is_marked = turns.by_ref().any(mark_end);
    // Where the request before ended: at the user's turn before the answer.
    if is_marked && let Some(before) = turns.find(|turn| turn["role"] == "user") {
        mark_end(before);
    }
}

/// Writes a turn that is a bare string as a block.
fn unfold(turn: &mut Value) {
    if let Some(Value::String(text)) = turn.get("content") {
        turn["content"] = json!([{ "type": "text", "text": text }]);
    }
}

/// Marks a turn's last block that may carry a marker; false = there is none.
fn mark_end(turn: &mut Value) -> bool {
    let blocks = turn.get_mut("content").and_then(Value::as_array_mut);
    let last = blocks.and_then(|blocks| blocks.iter_mut().rfind(|block| takes_marker(block)));
    last.map(mark).is_some()
}

/// Whether a block may carry a marker: thoughts and blank texts may not.
fn takes_marker(block: &Value) -> bool {
    match block["type"].as_str() {
        Some("thinking" | "redacted_thinking") => false,
        Some("text") => block["text"].as_str().is_some_and(|text| !is_blank(text)),
        _ => true,
    }
}

fn mark(block: &mut Value) {
    block["cache_control"] = json!({ "type": "ephemeral" });
}
