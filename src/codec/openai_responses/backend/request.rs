//! [`ChatRequest`] -> the Responses request, of a model that thinks.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::super::ids::plain_user;
use super::super::super::openai_chat::{messages, request as openai};
use super::super::super::{Encoded, Target, obstacles};
use super::super::SEALED_THOUGHTS;
use super::items;
use crate::config::Refusal;
use crate::protocol::{ApiError, ChatRequest, Dialect, Effort, Tool, ToolChoice};

/// Writes a request.
pub(crate) fn encode(target: &Target<'_>, request: &ChatRequest) -> Result<Encoded, ApiError> {
    let mut dropped = Vec::new();
    let mut out = Map::new();
    let mut put = |field: &str, value: Value| {
        out.insert(field.to_owned(), value);
    };
    put("model", json!(target.model));
    for (path, value) in &request.leftovers {
        // Fields that a client of this dialect has, too, and no other backend.
        if obstacles::is_shared_by_responses(path, value) {
            put(path, value.clone());
        } else if !messages::is_breakpoint(path) && path != openai::EXCLUSION {
            dropped.push(path.clone());
        }
    }
    // These write each breakpoint, or note that it is lost.
    put("input", items::encode(target, &request.messages, &mut dropped).into());
    if !request.tools.is_empty() {
        if request.tools.iter().any(|tool| tool.cache_control.is_some()) {
            dropped.push("tools[].cache_control".into());
        }
        put("tools", tools(&request.tools));
        if let Some(choice) = &request.tool_choice {
            put("tool_choice", choice_of(choice));
        }
        if let Some(parallel) = request.parallel_tool_calls {
            put("parallel_tool_calls", json!(parallel));
        }
    }
    let mut text = Map::new();
    if let Some(format) = &request.response_format {
        text.insert("format".into(), flat(openai::encode_format(format, &mut dropped), "json_schema"));
    }
    if let Some(verbosity) = request.extensions.get("verbosity") {
        text.insert("verbosity".into(), verbosity.clone());
    }
    if !text.is_empty() {
        put("text", text.into());
    }
    if let Some(most) = request.max_tokens {
        put("max_output_tokens", json!(target.answer_tokens(most, &mut dropped)));
    }
    let sampling = [("temperature", request.sampling.temperature), ("top_p", request.sampling.top_p)];
    for (field, wanted) in sampling.into_iter().filter_map(|(field, wanted)| Some((field, wanted?))) {
        if target.refuses(Refusal::Sampling) {
            dropped.push(field.to_owned());
        } else {
            put(field, json!(wanted));
        }
    }
    if request.sampling.top_k.is_some() {
        dropped.push("top_k".into());
    }
    put("reasoning", reasoning(target, request));
    if let Some(user) = &request.user {
        put("user", json!(plain_user(user)));
    }
    put("store", json!(false));
    put("include", json!([SEALED_THOUGHTS]));
    if request.stream {
        put("stream", json!(true));
    }
    for (key, value) in &request.extensions {
        if obstacles::is_shared_by_responses(key, value) {
            put(key, value.clone());
        } else if !is_heeded(key, value) && obstacles::is_harmless(Dialect::Responses, key) {
            dropped.push(key.clone());
        }
    }
    Ok(Encoded { body: Bytes::from(Value::Object(out).to_string()), dropped })
}

/// How much to think, and whether a summary of it is to be told.
fn reasoning(target: &Target<'_>, request: &ChatRequest) -> Value {
    let told = target.tell_thoughts && !wants_no_thoughts(request);
    let mut reasoning = if told { json!({ "summary": "auto" }) } else { json!({}) };
    let effort = request.reasoning.as_ref().and_then(openai::effort_for).map(|effort| match effort {
        Effort::Minimal if target.refuses(Refusal::MinimalThinking) => Effort::Low,
        effort => effort,
    });
    if let Some(effort) = effort {
        // OpenAI's newest models, which are those that are asked here, have all the words.
        reasoning["effort"] = json!(effort.as_str());
    }
    reasoning
}

/// Whether nothing is lost with a field that is not written: it is said elsewhere, or asks for what is done anyway.
fn is_heeded(key: &str, value: &Value) -> bool {
    match key {
        "verbosity" | "include_reasoning" => true,
        "service_tier" => value == "auto",
        _ => false,
    }
}

/// Whether a client of OpenRouter's asks not to be told what the model thinks.
fn wants_no_thoughts(request: &ChatRequest) -> bool {
    let included = request.extensions.get("include_reasoning");
    request.leftovers.contains_key(openai::EXCLUSION) || included.is_some_and(|included| *included == false)
}

/// Writes tools. Where nothing is said of `strict` it must be said here: it would be on.
fn tools(tools: &[Tool]) -> Value {
    let flat = |tool: Value| {
        let mut tool = flat(tool, "function");
        if tool["strict"].is_null() {
            tool["strict"] = json!(false);
        }
        tool
    };
    messages::encode_tools(tools).into_iter().map(flat).collect()
}

fn choice_of(choice: &ToolChoice) -> Value {
    flat(messages::encode_choice(choice), "function")
}

/// An object of Chat Completions' form without the further object inside it.
fn flat(mut value: Value, inside: &str) -> Value {
    let fields = value.as_object_mut().and_then(|object| object.shift_remove(inside));
    super::super::super::json::extend(&mut value, fields.unwrap_or_default());
    value
}
