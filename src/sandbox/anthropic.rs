//! The stand-in for Anthropic: its wire format, and the requests that it refuses.

use serde_json::{Value, json};

use super::answer::{Answer, End, Query, asked, halves, schema_in, strings, tokens};
use super::dice::Dice;
use super::frames::Frames;
use super::vendor::Vendor;

/// `POST /v1/messages`.
pub(super) fn chat(body: &Value, answer_to: impl Fn(&Query) -> Option<Answer>) -> Frames {
    let wrong = |message: &str| Vendor::Anthropic.error(400, "invalid_request_error", message);
    let Some(messages) = body["messages"].as_array().filter(|messages| !messages.is_empty()) else {
        return wrong("messages: at least one message is required");
    };
    let Some(most) = body["max_tokens"].as_u64() else {
        return wrong("max_tokens: Field required");
    };
    let Some(model) = body["model"].as_str() else {
        return wrong("model: Field required");
    };
    if !model.starts_with("claude") {
        return Vendor::Anthropic.error(404, "not_found_error", &format!("model: {model}"));
    }
    if !body["thread"].is_null() {
        return Frames::json(400, &no_threads());
    }
    if let Err(message) = check_turns(messages) {
        return wrong(&message);
    }
    if let Some(message) = refusal(model, messages, body).or_else(|| invalid_field(model, most, messages, body)) {
        return wrong(message);
    }
    let mut query = query(model, messages, body);
    query.max_tokens = Some(most);
    let Some(answer) = answer_to(&query) else { return Vendor::Anthropic.overflow() };
    let id = format!("msg_{:016x}", Dice::new(1).about(query.prompt.as_str()).bits());
    if query.stream {
        Frames::stream("text/event-stream", stream(&id, model, &answer))
    } else {
        Frames::json(200, &whole(&id, model, &answer))
    }
}

/// The error for a request that continues a stored thread: its code tells the vendor's clients to send everything.
fn no_threads() -> Value {
    let details = json!({ "error_code": "thread_unsupported_request", "unsupported": ["thread"] });
    json!({ "type": "error", "error": {
        "type": "invalid_request_error", "message": "thread: not supported here", "details": details,
    }})
}

/// Checks that every tool result stands at the start of its turn and answers a call of the turn before, as the vendor
/// demands, and that no text is blank.
fn check_turns(messages: &[Value]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let brings = |block: &Value| block["type"] == "tool_result";
        if !blocks.is_sorted_by_key(|block| !brings(block)) {
            return Err(format!("messages.{index}: `tool_result` blocks must come first"));
        }
        for block in blocks {
            match block["type"].as_str() {
                Some("tool_result") => {
                    let id = block["tool_use_id"].as_str().unwrap_or_default();
                    if !open.contains(&id) {
                        return Err(format!("messages.{index}: unexpected `tool_use_id`: {id}"));
                    }
                }
                Some("text") if block["text"].as_str().is_none_or(|text| text.trim().is_empty()) => {
                    return Err(format!("messages.{index}: text content blocks must contain non-whitespace text"));
                }
                _ => {}
            }
        }
        if message["role"] == "assistant" {
            open = blocks
                .iter()
                .filter(|block| block["type"] == "tool_use")
                .filter_map(|block| block["id"].as_str())
                .collect();
        }
    }
    Ok(())
}

/// The vendor's error for fields that exclude each other or that the model refuses, and for foreign signatures.
fn refusal(model: &str, messages: &[Value], body: &Value) -> Option<&'static str> {
    let has = |field: &str| !body[field].is_null();
    let thinking = body["thinking"]["type"].as_str();
    let thinks = matches!(thinking, Some("enabled" | "adaptive"));
    let newest = model.ends_with("-5-5") || model.ends_with("-5-1");
    let always = newest && !model.contains("haiku");
    let steered = has("top_p") || has("top_k") || (has("temperature") && body["temperature"] != 1.0);
    let forced = matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool"));
    let mut blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    match () {
        () if newest && steered => Some("`temperature`, `top_p` and `top_k` are deprecated for this model."),
        () if newest && thinking == Some("enabled") => {
            Some("\"thinking.type.enabled\" is not supported for this model.")
        }
        () if always && thinking == Some("disabled") => {
            Some("\"thinking.type.disabled\" is not supported for this model.")
        }
        () if always && forced => Some("tool_choice: type \"tool\" and \"any\" are not supported for this model."),
        () if newest && prefilled(messages) => Some("This model does not support assistant message prefill."),
        () if has("temperature") && has("top_p") => Some("`temperature` and `top_p` cannot both be specified."),
        () if thinks && has("temperature") && body["temperature"] != 1.0 => {
            Some("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")
        }
        () if thinks && (has("top_p") || has("top_k")) => Some("`top_p` and `top_k` must be unset while thinking."),
        () if thinks && forced => Some("Thinking may not be enabled when tool_choice forces tool use."),
        () if blocks.any(|block| block["type"] == "thinking" && block["signature"] != SIGNATURE) => {
            Some("Invalid `signature` in `thinking` block")
        }
        () => None,
    }
}

/// Whether the request begins the answer itself (prefill): the last turn is text of the assistant's.
fn prefilled(messages: &[Value]) -> bool {
    let last = messages.last().filter(|turn| turn["role"] == "assistant");
    last.is_some_and(|turn| {
        let blocks = turn["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        turn["content"].is_string() || blocks.last().is_some_and(|block| block["type"] == "text")
    })
}

/// The vendor's error for a field with an invalid value.
fn invalid_field(model: &str, most: u64, messages: &[Value], body: &Value) -> Option<&'static str> {
    let able = if model.ends_with("-5-5") || model.ends_with("-5-1") { 128_000 } else { 64_000 };
    let blank = |stop: &Value| stop.as_str().is_none_or(|stop| stop.trim().is_empty());
    let mut stops = body["stop_sequences"].as_array().into_iter().flatten();
    let custom = |tool: &&Value| tool["type"].is_null() || tool["type"] == "custom";
    let mut tools = body["tools"].as_array().into_iter().flatten().filter(custom).map(|tool| &tool["input_schema"]);
    let choice = |schema: &Value| ["anyOf", "oneOf", "allOf"].iter().any(|key| !schema[key].is_null());
    let picture = |block: &Value| {
        let kind = block["source"]["media_type"].as_str();
        kind.is_some_and(|kind| !["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&kind))
    };
    let mut blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    match () {
        () if most > able => Some("max_tokens: more than the maximum allowed number of output tokens for this model"),
        () if messages[0]["role"] != "user" => Some("messages: first message must use the \"user\" role"),
        () if stops.any(blank) => Some("stop_sequences: each stop sequence must contain non-whitespace"),
        () if blocks.any(|block| block["type"] == "image" && picture(block)) => {
            Some("Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'")
        }
        () if body["metadata"]["user_id"].as_str().is_some_and(|user| user.contains('@')) => {
            Some("metadata.user_id: user_id appears to contain an email address")
        }
        () if body["thinking"]["budget_tokens"].as_u64().is_some_and(|budget| !(1024..most).contains(&budget)) => {
            Some("thinking.enabled.budget_tokens: at least 1024, and less than `max_tokens`")
        }
        () if tools.clone().any(|schema| schema["type"] != "object") => Some("input_schema.type: Field required"),
        () if tools.any(choice) => Some("input_schema does not support oneOf, allOf, or anyOf at the top level"),
        () => wrong_schema(&body["output_config"]["format"]["schema"]),
    }
}

/// The vendor's error for an answer's schema that has open objects or bounds.
fn wrong_schema(schema: &Value) -> Option<&'static str> {
    match schema {
        Value::Object(fields)
            if schema["type"] == "object" && fields.get("additionalProperties") != Some(&json!(false)) =>
        {
            Some("For 'object' type, 'additionalProperties' must be explicitly set to false")
        }
        Value::Object(_) if ["minimum", "maximum", "minLength"].iter().any(|key| schema[key].is_number()) => {
            Some("properties maximum, minimum and minLength are not supported")
        }
        Value::Object(fields) => fields.values().find_map(wrong_schema),
        Value::Array(items) => items.iter().find_map(wrong_schema),
        _ => None,
    }
}

fn texts(content: &Value, query: &mut Query, results: &mut Option<String>) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let mut out = String::new();
            for block in blocks {
                match block["type"].as_str() {
                    Some("text") => out.push_str(block["text"].as_str().unwrap_or_default()),
                    Some("image") => query.images += 1,
                    Some("tool_result") => *results = Some(texts(&block["content"], query, &mut None)),
                    _ => {}
                }
            }
            out
        }
        _ => String::new(),
    }
}

fn query(model: &str, messages: &[Value], body: &Value) -> Query {
    let mut query = Query { model: model.to_owned(), stream: body["stream"] == true, ..Query::default() };
    let system = texts(&body["system"], &mut query, &mut None);
    query.prompt.push_str(&system);
    for message in messages {
        let mut result = None;
        let text = texts(&message["content"], &mut query, &mut result);
        query.prompt.push_str(&text);
        query.prompt.push('\n');
        if message["role"] == "user" {
            query.tool_result = result;
            if query.tool_result.is_none() {
                query.called.clear();
            }
            if let Some(question) = asked(&message["content"], query.tool_result.is_some()) {
                query.question = question;
            }
        }
        let blocks = message["content"].as_array().into_iter().flatten();
        let calls = blocks.filter(|block| block["type"] == "tool_use");
        query.called.extend(calls.filter_map(|call| call["name"].as_str()).map(str::to_owned));
    }
    let format = &body["output_config"]["format"];
    if format["type"] == "json_schema" {
        query.json = Some(format["schema"].clone());
    } else if system.contains("JSON object") {
        query.json = Some(schema_in(&query.prompt));
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        query.prompt.push_str(&tool.to_string());
        query.tools.push((tool["name"].as_str().unwrap_or_default().to_owned(), tool["input_schema"].clone()));
    }
    match body["tool_choice"]["type"].as_str() {
        Some("any") => query.must_call = Some(None),
        Some("tool") => query.must_call = Some(body["tool_choice"]["name"].as_str().map(str::to_owned)),
        Some("none") => query.no_call = true,
        _ => {}
    }
    query.thinks = matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"));
    query.stop = strings(&body["stop_sequences"]);
    query
}

fn stop(answer: &Answer) -> (&'static str, Value) {
    match &answer.end {
        End::Complete => ("end_turn", Value::Null),
        End::Length => ("max_tokens", Value::Null),
        End::Tool => ("tool_use", Value::Null),
        End::StopString(stop) => ("stop_sequence", json!(stop)),
    }
}

fn usage(answer: &Answer, output: u64) -> Value {
    json!({
        "input_tokens": answer.prompt_tokens - answer.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.cached_tokens,
        "output_tokens": output,
    })
}

const SIGNATURE: &str = "c2FuZGJveCBzaWduYXR1cmU=";

fn whole(id: &str, model: &str, answer: &Answer) -> Value {
    let mut content = Vec::new();
    if let Some(thinking) = &answer.thinking {
        content.push(json!({ "type": "thinking", "thinking": thinking, "signature": SIGNATURE }));
    }
    if !answer.text.is_empty() {
        content.push(json!({ "type": "text", "text": answer.text }));
    }
    if let Some((id, name, input)) = &answer.call {
        content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
    }
    let (reason, sequence) = stop(answer);
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": reason, "stop_sequence": sequence, "usage": usage(answer, answer.output_tokens),
    })
}

fn stream(id: &str, model: &str, answer: &Answer) -> Vec<String> {
    let event = |name: &str, mut data: Value| {
        data["type"] = json!(name);
        format!("event: {name}\ndata: {data}\n\n")
    };
    let message = json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(answer, 1),
    });
    let mut pieces = vec![event("message_start", json!({ "message": message })), event("ping", json!({}))];
    let mut index = 0;
    let mut block = |opening: Value, deltas: Vec<Value>| {
        pieces.push(event("content_block_start", json!({ "index": index, "content_block": opening })));
        for delta in deltas {
            pieces.push(event("content_block_delta", json!({ "index": index, "delta": delta })));
        }
        pieces.push(event("content_block_stop", json!({ "index": index })));
        index += 1;
    };
    if let Some(thinking) = &answer.thinking {
        let deltas = vec![
            json!({ "type": "thinking_delta", "thinking": thinking }),
            json!({ "type": "signature_delta", "signature": SIGNATURE }),
        ];
        block(json!({ "type": "thinking", "thinking": "", "signature": "" }), deltas);
    }
    if !answer.text.is_empty() {
        let deltas = answer.pieces().into_iter().map(|text| json!({ "type": "text_delta", "text": text })).collect();
        block(json!({ "type": "text", "text": "" }), deltas);
    }
    if let Some((id, name, input)) = &answer.call {
        let input = input.to_string();
        let deltas =
            halves(&input).iter().map(|part| json!({ "type": "input_json_delta", "partial_json": part })).collect();
        block(json!({ "type": "tool_use", "id": id, "name": name, "input": {} }), deltas);
    }
    let (reason, sequence) = stop(answer);
    let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
    pieces.push(event("message_delta", json!({ "delta": delta, "usage": usage(answer, answer.output_tokens) })));
    pieces.push(event("message_stop", json!({})));
    pieces
}

/// `POST /v1/messages/count_tokens`.
pub(super) fn count(body: &Value) -> Frames {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let query = query(body["model"].as_str().unwrap_or_default(), messages, body);
    Frames::json(200, &json!({ "input_tokens": tokens(&query.prompt) + 8 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_first_in_their_turn() {
        let call = json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": "a" }] });
        let (result, text) =
            (json!({ "type": "tool_result", "tool_use_id": "a" }), json!({ "type": "text", "text": "t" }));
        let turn = |blocks: [&Value; 2]| json!({ "role": "user", "content": blocks });
        assert_eq!(check_turns(&[call.clone(), turn([&result, &text])]), Ok(()));
        assert!(check_turns(&[call, turn([&text, &result])]).is_err());
    }
}
