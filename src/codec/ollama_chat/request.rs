//! [`ChatRequest`] -> Ollama's request.
//!
//! Tool results are turns of their own, images stand beside the text, sampling goes into `options`, and a call that
//! must be made is asked for by [`forced`]. The context window comes with the target.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::anthropic_messages::blocks::input;
use super::super::openai_chat::messages::{encode_tools, result_text};
use super::super::openai_chat::request::put_sampling;
use super::super::{Encoded, Target};
use super::super::{documents, forced, obstacles, raw};
use crate::config::Refusal;
use crate::protocol::{
    ApiError, ChatRequest, Dialect, ImageSource, Message, Part, ResponseFormat, Role, Sampling, ToolChoice,
};

/// The first part or field that Ollama's dialect cannot say although its loss would change the meaning.
pub(crate) fn obstacle(client: Dialect, request: &ChatRequest) -> Option<String> {
    if matches!(request.tool_choice, Some(ToolChoice::Named(_))) && forced::tool(request).is_none() {
        return Some("tool_choice".into());
    }
    let refused = |part: &Part| match part {
        Part::Image { source: ImageSource::Url(_), .. } => Some("an image by URL".to_owned()),
        Part::Foreign { kind, .. } if documents::words(part).is_none() => Some(kind.clone()),
        _ => None,
    };
    obstacles::refused_part(client, request, refused)
        .or_else(|| obstacles::untranslatable_extension(request, Dialect::Ollama))
}

/// Writes a request.
pub(crate) fn encode(target: &Target<'_>, request: &ChatRequest) -> Result<Encoded, ApiError> {
    let mut dropped: Vec<String> = request.leftovers.keys().cloned().collect();
    let mut out = Map::new();
    out.insert("model".into(), json!(target.model));
    let mut messages = turns(&request.messages, &mut dropped);
    let forced = forced::tool(request);
    if request.must_call() {
        // After the other instructions: many models' templates require the last turn to be a user's or a tool's.
        let at = messages.iter().take_while(|message| message["role"] == "system").count();
        let told = match forced {
            Some(tool) => format!("{} of this schema: {}", forced::instruction(tool), forced::schema(tool)),
            None => {
                dropped.push("tool_choice".into());
                forced::demand(request)
            }
        };
        messages.insert(at, json!({ "role": "system", "content": told }));
    }
    out.insert("messages".into(), Value::Array(messages));
    out.insert("stream".into(), json!(request.stream));
    match &request.tool_choice {
        // The dialect has no tool choice: no call is wanted, so no tool is offered.
        Some(ToolChoice::None) => {}
        _ if request.tools.is_empty() || forced.is_some() => {}
        _ => {
            out.insert("tools".into(), Value::Array(encode_tools(&request.tools)));
            if request.tools.iter().any(|tool| tool.cache_control.is_some()) {
                dropped.push("tools[].cache_control".into());
            }
        }
    }
    let format = match (forced, &request.response_format) {
        (Some(tool), _) => Some(forced::schema(tool)),
        (None, Some(ResponseFormat::JsonObject)) => Some(json!("json")),
        (None, Some(ResponseFormat::JsonSchema { schema, .. })) => Some(schema.clone()),
        (None, None) => None,
    };
    out.extend(format.map(|format| ("format".to_owned(), format)));
    // Some servers enforce no schema while thinking is switched off.
    let must_think = forced.is_some() || target.refuses(Refusal::NoThinking);
    match think(request) {
        Some(false) if must_think && target.reasoning => dropped.push("reasoning".into()),
        Some(think) if target.reasoning => {
            out.insert("think".into(), json!(think));
            let effort = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort);
            // Few models take an effort, and the others refuse the field.
            if think && effort.is_some() {
                dropped.push("reasoning.effort".into());
            }
        }
        Some(true) => dropped.push("reasoning".into()),
        _ => {}
    }
    let mut options = options(&request.sampling, request.max_tokens);
    let own = request.extensions.iter().filter(|(key, value)| obstacles::is_known(Dialect::Ollama, key, value));
    options.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    if let Some(window) = target.window.filter(|window| *window > DEFAULT_WINDOW) {
        options.insert("num_ctx".into(), json!(window));
    }
    // A prompt that does not fit is to be an error; by default its beginning is cut off.
    out.insert("truncate".into(), json!(false));
    if !options.is_empty() {
        out.insert("options".into(), Value::Object(options));
    }
    if request.user.is_some() {
        dropped.push("user".into());
    }
    if request.parallel_tool_calls.is_some() {
        dropped.push("parallel_tool_calls".into());
    }
    dropped.extend(request.extensions.keys().filter(|key| obstacles::is_harmless(Dialect::Ollama, key)).cloned());
    let body = raw::write(&Value::Object(out), &["messages", "tool_calls", "function", "arguments"]);
    Ok(Encoded { body, dropped })
}

fn think(request: &ChatRequest) -> Option<bool> {
    request.reasoning.as_ref().map(|reasoning| !reasoning.is_off())
}

/// Ollama's default context window, in tokens.
const DEFAULT_WINDOW: u32 = 4096;

/// Tokens reserved for an answer whose length the client does not limit.
const ANSWER_ROOM: u32 = 1024;

/// Tokens reserved for an answer at most: programs allow far more than they get (Claude Code 32,000 tokens and up), and
/// the server allocates memory for the whole window.
const MAX_ANSWER_ROOM: u32 = 4096;

/// The context window that a request needs of Ollama, in tokens, by the estimated tokens of its prompt. A power of two,
/// because the server reloads the model whenever the window changes.
pub fn needed_window(prompt_tokens: u32, max_tokens: Option<u32>) -> u32 {
    // The estimate may be a quarter too low.
    let prompt = prompt_tokens.saturating_add(prompt_tokens / 4);
    let needed = prompt.saturating_add(max_tokens.unwrap_or(ANSWER_ROOM).min(MAX_ANSWER_ROOM));
    needed.max(DEFAULT_WINDOW).checked_next_power_of_two().unwrap_or(u32::MAX)
}

fn options(sampling: &Sampling, max_tokens: Option<u32>) -> Map<String, Value> {
    let mut options = Map::new();
    put_sampling(sampling, &mut options);
    options.extend(sampling.top_k.map(|top_k| ("top_k".to_owned(), top_k.into())));
    options.extend(max_tokens.map(|most| ("num_predict".to_owned(), most.into())));
    options
}

/// A longer tool name, in bytes, is left out of results: the name is repeated with each of them.
const MAX_NAME_BYTES: usize = 256;

fn turns(messages: &[Message], dropped: &mut Vec<String>) -> Vec<Value> {
    let mut out = Vec::with_capacity(messages.len());
    // A result names its tool here, and only the call has the name.
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages[{index}]");
        for part in &message.parts {
            if let Part::ToolCall { id, name, .. } = part {
                names.insert(id, name);
            }
        }
        let message = &*documents::in_words(message, &path, dropped);
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        if message.name.is_some() {
            dropped.push(format!("{path}.name"));
        }
        let mut any_result = false;
        for part in &message.parts {
            if let Part::ToolResult { call_id, content, is_error, .. } = part {
                any_result = true;
                let said = result_text(content, *is_error);
                let name = names.get(call_id.as_str()).filter(|name| name.len() <= MAX_NAME_BYTES);
                out.push(json!({ "role": "tool", "content": said, "tool_name": name, "tool_call_id": call_id }));
            }
        }
        let turn = turn(role, message, &path, dropped);
        let silent = turn.len() == 2 && turn["content"] == "";
        if !(any_result && silent) {
            out.push(Value::Object(turn));
        }
    }
    out
}

fn turn(role: &str, message: &Message, path: &str, dropped: &mut Vec<String>) -> Map<String, Value> {
    let mut texts = Vec::new();
    let mut images = Vec::new();
    let mut calls = Vec::new();
    let mut thinking = String::new();
    for (index, part) in message.parts.iter().enumerate() {
        let here = format!("{path}.content[{index}]");
        note_marks(part, &here, dropped);
        match part {
            Part::Text { text, .. } | Part::Refusal { text } => texts.push(text.as_str()),
            Part::Image { source: ImageSource::Base64 { data, .. }, .. } => images.push(json!(data)),
            // Ruled out before as obstacles.
            Part::Image { source: ImageSource::Url(_), .. } | Part::Foreign { .. } => {}
            // Ids tell several calls of one tool apart; older servers ignore them.
            Part::ToolCall { id, name, arguments } => {
                calls.push(json!({ "id": id, "function": { "name": name, "arguments": input(arguments) } }));
            }
            Part::ToolResult { content, .. } => {
                let pictures = content.iter().filter_map(|part| match part {
                    Part::Image { source: ImageSource::Base64 { data, .. }, .. } => Some(json!(data)),
                    _ => None,
                });
                images.extend(pictures);
            }
            Part::Thinking { text, .. } => thinking.push_str(text),
            Part::RedactedThinking { .. } => dropped.push(format!("{path}.redacted_thinking")),
        }
    }
    let mut turn =
        Map::from_iter([("role".to_owned(), json!(role)), ("content".to_owned(), json!(texts.join("\n")))]);
    if !images.is_empty() {
        turn.insert("images".into(), Value::Array(images));
    }
    if !thinking.is_empty() && !calls.is_empty() {
        turn.insert("thinking".into(), json!(thinking));
    } else if !thinking.is_empty() {
        dropped.push(format!("{path}.thinking"));
    }
    if !calls.is_empty() {
        turn.insert("tool_calls".into(), Value::Array(calls));
    }
    turn
}

/// Notes the marks of a part that the dialect cannot say.
fn note_marks(part: &Part, here: &str, dropped: &mut Vec<String>) {
    if part.cache_control().is_some() {
        dropped.push(format!("{here}.cache_control"));
    }
    if matches!(part, Part::Image { detail: Some(detail), .. } if detail != "auto") {
        dropped.push(format!("{here}.image_url.detail"));
    }
}
