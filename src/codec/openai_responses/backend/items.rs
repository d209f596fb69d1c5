//! Turns -> `input`: each message, thought, call and result becomes an item.

use serde_json::{Value, json};

use super::super::super::Target;
use super::super::super::documents::{self, Pdf};
use super::super::super::openai_chat::{adapt, messages, messages::marked};
use super::thoughts;
use crate::protocol::{Message, Part, Role};

/// Writes the items; losses are noted in `dropped`.
pub(super) fn encode(target: &Target<'_>, turns: &[Message], dropped: &mut Vec<String>) -> Vec<Value> {
    let mut items = Items { out: Vec::with_capacity(turns.len()), target, dropped };
    for (index, turn) in turns.iter().enumerate() {
        let path = format!("messages[{index}]");
        let turn = &*documents::in_words(turn, &path, items.dropped);
        match turn.role {
            Role::Assistant => items.assistant(&turn.parts, &path),
            Role::User => items.user(&turn.parts, &path),
            Role::System => items.message("system", &turn.parts, &path),
            Role::Developer => items.message("developer", &turn.parts, &path),
        }
    }
    items.out
}

struct Items<'a> {
    out: Vec<Value>,
    target: &'a Target<'a>,
    dropped: &'a mut Vec<String>,
}

impl Items<'_> {
    fn message(&mut self, role: &str, parts: &[Part], path: &str) {
        let content = content(parts, path, self.dropped);
        self.out.push(json!({ "type": "message", "role": role, "content": content }));
    }

    /// Writes a user's turn: results first, whatever else it says behind them.
    fn user(&mut self, parts: &[Part], path: &str) {
        for (index, part) in parts.iter().enumerate() {
            let Part::ToolResult { call_id, content, is_error, .. } = part else { continue };
            let here = format!("{path}.content[{index}]");
            messages::note_cache(part, &here, self.dropped);
            let output = output(content, *is_error, &here, self.dropped);
            let call_id = self.call_id(call_id);
            self.out.push(json!({ "type": "function_call_output", "call_id": call_id, "output": output }));
        }
        let rest: Vec<Part> = parts.iter().filter(|part| !part.is_tool_result()).cloned().collect();
        if !rest.is_empty() || parts.is_empty() {
            self.message("user", &rest, path);
        }
    }

    /// Writes an answer: its thoughts, texts and calls in their order.
    fn assistant(&mut self, parts: &[Part], path: &str) {
        let mut said = Vec::new();
        let says = |part: &Part| matches!(part, Part::Text { .. } | Part::Refusal { .. } | Part::ToolCall { .. });
        let last_said = parts.iter().rposition(says);
        for (index, part) in parts.iter().enumerate() {
            let here = format!("{path}.content[{index}]");
            messages::note_cache(part, &here, self.dropped);
            if part.breakpoint().is_some() {
                // Only what is asked has such marks.
                self.dropped.push(format!("{here}.{}", messages::BREAKPOINT));
            }
            match part {
                Part::Text { text, .. } => said.push(json!({ "type": "output_text", "text": text })),
                Part::Refusal { text } => said.push(json!({ "type": "refusal", "refusal": text })),
                Part::ToolCall { id, name, arguments } => {
                    self.say(&mut said);
                    let arguments = if arguments.is_empty() { "{}" } else { arguments };
                    let call_id = self.call_id(id);
                    self.out.push(json!({
                        "type": "function_call", "call_id": call_id, "name": name, "arguments": arguments,
                    }));
                }
                Part::Thinking { text, signature } => {
                    let sealed = signature.as_deref().and_then(thoughts::encrypted_in);
                    // A thought that led to nothing is refused.
                    let leads_on = last_said.is_some_and(|last| index < last);
                    match sealed.filter(|_| leads_on) {
                        Some(sealed) => {
                            self.say(&mut said);
                            self.out.push(thought(text, sealed));
                        }
                        None => self.dropped.push(format!("{path}.thinking")),
                    }
                }
                Part::RedactedThinking { .. } => self.dropped.push(format!("{path}.redacted_thinking")),
                Part::Image { .. } | Part::ToolResult { .. } | Part::Foreign { .. } => self.dropped.push(here),
            }
        }
        self.say(&mut said);
    }

    /// Writes what was said so far as a message.
    fn say(&mut self, said: &mut Vec<Value>) {
        if !said.is_empty() {
            let content = std::mem::take(said);
            self.out.push(json!({ "type": "message", "role": "assistant", "content": content }));
        }
    }

    fn call_id(&self, id: &str) -> String {
        self.target.quirks.longest_call_id.and_then(|most| adapt::short_id(id, most)).unwrap_or_else(|| id.to_owned())
    }
}

fn thought(text: &str, sealed: &str) -> Value {
    let summary: Vec<Value> =
        (!text.is_empty()).then(|| json!({ "type": "summary_text", "text": text })).into_iter().collect();
    json!({ "type": "reasoning", "summary": summary, "encrypted_content": sealed })
}

/// Writes what a tool gave back: a string, or parts where there are pictures, files or marks. There is no field for
/// failure.
fn output(parts: &[Part], is_error: bool, path: &str, dropped: &mut Vec<String>) -> Value {
    // A string has no place for a mark.
    let is_text = |part: &Part| matches!(part, Part::Text { breakpoint: None, .. });
    if parts.iter().all(is_text) {
        return json!(messages::result_text(parts, is_error));
    }
    let mut parts = parts.to_vec();
    if is_error {
        parts.insert(0, Part::text("Error:"));
    }
    content(&parts, path, dropped)
}

/// Writes `content`: a string where there is only one text, else an array of parts.
fn content(parts: &[Part], path: &str, dropped: &mut Vec<String>) -> Value {
    if let [Part::Text { text, cache_control: None, breakpoint: None }] = parts {
        return json!(text);
    }
    let mut out = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let here = format!("{path}.content[{index}]");
        messages::note_cache(part, &here, dropped);
        match part {
            Part::Text { text, .. } | Part::Refusal { text } => {
                out.push(marked(json!({ "type": "input_text", "text": text }), part.breakpoint()));
            }
            Part::Image { source, detail, .. } => {
                let mut image = json!({ "type": "input_image", "image_url": source.url() });
                if let Some(detail) = detail {
                    image["detail"] = json!(detail);
                }
                out.push(marked(image, part.breakpoint()));
            }
            Part::Foreign { kind, value } => {
                let file = match Pdf::of(kind, value).map(|pdf| pdf.file()) {
                    Some(file) => file_of(&file),
                    None if super::is_file(kind, value) => file_of(value),
                    None => {
                        // Ruled out before as an obstacle.
                        dropped.push(here);
                        continue;
                    }
                };
                out.push(marked(file, value.get(messages::BREAKPOINT)));
            }
            Part::ToolCall { .. } | Part::ToolResult { .. } => {}
            Part::Thinking { .. } | Part::RedactedThinking { .. } => dropped.push(here),
        }
    }
    Value::Array(out)
}

/// A file of Chat Completions' form, whose fields stand in the part itself here.
fn file_of(part: &Value) -> Value {
    let mut file = json!({ "type": "input_file" });
    for key in ["filename", "file_data", "file_id"] {
        if part["file"][key].is_string() {
            file[key] = part["file"][key].clone();
        }
    }
    file
}
