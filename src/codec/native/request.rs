//! The request: small, and strict about fields it does not know.

use serde_json::Map;

use super::super::json::{Object, missing, unfit, unknown};
use super::super::openai_chat::{messages, request as openai};
use crate::protocol::{ApiError, ChatRequest, Reasoning, RoutingOptions};

/// Fields that hold whole numbers.
const COUNTS: [&str; 3] = ["max_tokens", "top_k", "seed"];

/// Reads a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut fields = Object::parse(body)?;
    let values = fields.array("messages")?.ok_or_else(|| missing("messages"))?;
    if values.is_empty() {
        return Err(ApiError::invalid("messages must not be empty").at("messages"));
    }
    // Nobody but us reads this dialect: what we do not understand cannot be passed on.
    let effort = fields.understood("reasoning_effort", openai::effort_of);
    let tool_choice = fields.understood("tool_choice", messages::decode_choice);
    for (key, known) in [
        ("reasoning_effort", "none, minimal, low, medium, high, xhigh, max"),
        ("tool_choice", "auto, none, required, a function"),
    ] {
        if fields.peek(key).is_some() {
            return Err(unknown(key, known));
        }
    }
    let mut leftovers = Map::new();
    let (tools, others) = messages::decode_tools(fields.array("tools")?.unwrap_or_default(), &mut leftovers)?;
    if !others.is_empty() {
        return Err(unknown("tools[].type", "function"));
    }
    let routing = match fields.take("routing") {
        Some(value) => serde_json::from_value::<RoutingOptions>(value)
            .map_err(|error| ApiError::invalid(format!("routing: {error}")).at("routing"))?,
        None => RoutingOptions::default(),
    };
    if routing.objective.is_some_and(|objective| !objective.is_sound()) {
        let told = "routing.objective: cost_per_usd and latency_per_s are from 0 to 1000000";
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
    };
    if let Some(key) = COUNTS.iter().find(|key| fields.peek(key).is_some()) {
        return Err(unfit(key));
    }
    leftovers.extend(fields.rest());
    match leftovers.keys().next() {
        Some(key) => {
            Err(ApiError::invalid(format!("`{key}` is no field of /api/chat or /api/route")).at(key.as_str()))
        }
        None => Ok(request),
    }
}
