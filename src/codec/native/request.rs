//! The native request -> [`ChatRequest`]. Unknown fields are errors: no backend would ever read them.

use serde_json::Map;

use super::super::json::{Object, not_a_count, unknown_value};
use super::super::openai_chat::{messages, request as openai};
use crate::protocol::{ApiError, ChatRequest, Objective, Reasoning, RoutingOptions};

/// Fields that hold whole numbers.
const COUNTS: [&str; 3] = ["max_tokens", "top_k", "seed"];

/// The hint for clients of Ollama, which has another `/api/chat`.
pub const NO_OLLAMA: &str = "this is no Ollama server: use its models through OpenAI's API, at this address with /v1";

/// Fields by which clients of Ollama are recognised.
const OF_OLLAMA: [&str; 5] = ["format", "images", "keep_alive", "options", "think"];

/// Reads a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut fields = Object::parse(body)?;
    let values = fields.messages()?;
    // Unknown values cannot be passed on: no vendor reads this dialect.
    let effort = fields.understood("reasoning_effort", openai::effort_of);
    let tool_choice = fields.understood("tool_choice", messages::decode_choice);
    for (key, known) in [
        ("reasoning_effort", "none, minimal, low, medium, high, xhigh, max"),
        ("tool_choice", "auto, none, required, a function"),
    ] {
        if fields.peek(key).is_some() {
            return Err(unknown_value(key, known));
        }
    }
    let mut leftovers = Map::new();
    let (tools, others) = messages::decode_tools(fields.array("tools")?.unwrap_or_default(), &mut leftovers)?;
    if !others.is_empty() {
        return Err(unknown_value("tools[].type", "function"));
    }
    let routing = match fields.take("routing") {
        Some(value) => serde_json::from_value::<RoutingOptions>(value)
            .map_err(|error| ApiError::invalid(format!("routing: {error}")).at("routing"))?,
        None => RoutingOptions::default(),
    };
    if routing.objective.is_some_and(|objective| !objective.is_valid()) {
        let told =
            format!("routing.objective: cost_per_usd and latency_per_s are from 0 to {}", Objective::MAX_WEIGHT);
        return Err(ApiError::invalid(told).at("routing.objective"));
    }
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let request = ChatRequest {
        model: fields.string("model")?.unwrap_or_default(),
        messages: messages::decode(values, &mut leftovers)?,
        tools,
        tool_choice,
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?,
        response_format: openai::response_format(&mut fields, &mut leftovers)?,
        max_tokens: fields.count("max_tokens")?,
        sampling: openai::sampling(&mut fields)?,
        reasoning: effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }),
        stream,
        stream_usage: stream,
        user: fields.string("user")?,
        routing,
        extensions: Default::default(),
        leftovers: Map::new(),
        items: Vec::new(),
        system_apart: false,
        answers_are_whole: false,
    };
    if let Some(key) = COUNTS.iter().find(|key| fields.peek(key).is_some()) {
        return Err(not_a_count(key));
    }
    leftovers.extend(fields.rest());
    match leftovers.keys().next() {
        Some(key) => {
            let of_ollama = OF_OLLAMA.iter().any(|known| key.rsplit('.').next() == Some(known));
            let hint = if of_ollama { format!("; {NO_OLLAMA}") } else { String::new() };
            Err(ApiError::invalid(format!("`{key}` is no field of /api/chat or /api/route{hint}")).at(key.as_str()))
        }
        None => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_it_for_ollamas_is_told_that_it_is_not() {
        let turn = |more: &str| format!(r#"{{"messages":[{{"role":"user","content":"hi"{more}}}]"#);
        for (body, field, is_ollamas) in [
            (turn("") + r#","options":{"num_ctx":4096}}"#, "options", true),
            (turn("") + r#","think":false}"#, "think", true),
            (turn(r#","images":["AAAA"]"#) + "}", "messages[0].images", true),
            (turn("") + r#","optoins":{}}"#, "optoins", false),
        ] {
            let error = decode(body.as_bytes()).unwrap_err();
            assert!(error.message.contains(field), "{}", error.message);
            assert_eq!(error.message.contains(NO_OLLAMA), is_ollamas, "{}", error.message);
        }
    }
}
