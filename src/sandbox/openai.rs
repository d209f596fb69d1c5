//! The stand-in for OpenAI and DeepSeek: their wire format, and the requests that they refuse.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::{Answer, End, Query, halves, strings};
use super::dice::Dice;
use super::frames::Frames;
use super::vendor::Vendor;

/// `POST /chat/completions`.
pub(super) fn chat(vendor: Vendor, body: &Value, answer_to: impl Fn(&Query) -> Option<Answer>) -> Frames {
    let wrong = |message: &str| vendor.error(400, "invalid_request_error", message);
    let Some(messages) = body["messages"].as_array().filter(|messages| !messages.is_empty()) else {
        return wrong("Missing required parameter: 'messages'.");
    };
    let Some(model) = body["model"].as_str() else {
        return wrong("you must provide a model parameter");
    };
    if vendor == Vendor::OpenAi && model.contains("deepseek") {
        return vendor.error(404, "model_not_found", "The model does not exist or you do not have access to it.");
    }
    if !are_answered(messages) {
        return wrong("An assistant message with 'tool_calls' must be followed by tool messages responding to each.");
    }
    if let Some(message) = refusal(vendor, model, messages, body) {
        return wrong(message);
    }
    let query = query(vendor, model, messages, body);
    let Some(answer) = answer_to(&query) else { return vendor.overflow() };
    let id = format!("chatcmpl-{:016x}", Dice::new(1).about(query.prompt.as_str()).bits());
    if query.stream {
        let usage = body["stream_options"]["include_usage"] == true;
        Frames::stream("text/event-stream", stream(&id, model, &answer, usage))
    } else {
        Frames::json(200, &whole(&id, model, &answer))
    }
}

/// Whether every call's result follows right behind it, as all vendors demand.
fn are_answered(messages: &[Value]) -> bool {
    messages.iter().enumerate().all(|(at, message)| {
        let Some(calls) = message["tool_calls"].as_array() else { return true };
        let results = messages[at + 1..].iter().take_while(|turn| turn["role"] == "tool");
        let answered: HashSet<_> = results.filter_map(|result| result["tool_call_id"].as_str()).collect();
        calls.iter().all(|call| call["id"].as_str().is_some_and(|id| answered.contains(id)))
    })
}

/// The vendor's error for a request that it, or the model, refuses.
fn refusal(vendor: Vendor, model: &str, messages: &[Value], body: &Value) -> Option<&'static str> {
    let has = |field: &str| !body[field].is_null();
    let format = &body["response_format"]["type"];
    if vendor == Vendor::DeepSeek {
        let forced = body["tool_choice"] == "required" || body["tool_choice"].is_object();
        let thinks = ["flash", "v4"].iter().any(|name| model.contains(name));
        let custom = body["tools"].as_array().into_iter().flatten().any(|tool| tool["function"].is_null());
        let mute = || !body["messages"].to_string().to_lowercase().contains("json");
        return match () {
            () if messages.iter().any(|turn| turn["role"] == "developer") => Some("unknown variant `developer`"),
            () if format == "json_schema" => Some("This response_format type is unavailable now"),
            () if format == "json_object" && mute() => Some("Prompt must contain the word 'json' in some form."),
            () if forced && thinks && body["thinking"]["type"] != "disabled" => {
                Some("Thinking mode does not support this tool_choice")
            }
            () if body["n"].as_u64().is_some_and(|choices| choices > 1) => {
                Some("Invalid n value (currently only n = 1 is supported)")
            }
            () if custom => Some("tools: missing field `function`"),
            () => None,
        };
    }
    // Models of look-alikes, which may be asked for here, too, refuse less.
    let reasons = model.starts_with("gpt-") && !model.starts_with("gpt-4");
    let old = model.starts_with("gpt-4");
    let newest = model.starts_with("gpt-5.6") || model.starts_with("gpt-6");
    let most = body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64()).unwrap_or_default();
    let toolless = body["tools"].as_array().is_none_or(Vec::is_empty);
    match () {
        () if toolless && has("tool_choice") => {
            Some("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.")
        }
        () if toolless && has("parallel_tool_calls") => Some(
            "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.",
        ),
        () if most > if old { 16_384 } else { 128_000 } => Some("max_tokens is too large for this model."),
        () if newest && body["reasoning_effort"] == "minimal" => {
            Some("Unsupported value: 'reasoning_effort' does not support 'minimal' with this model.")
        }
        () if newest && has("tools") && body["reasoning_effort"] != "none" => {
            Some("Function tools with reasoning_effort are not supported for this model in /v1/chat/completions.")
        }
        () if old && has("reasoning_effort") => Some("Unrecognized request argument supplied: reasoning_effort"),
        () if reasons && has("temperature") && body["temperature"] != 1.0 => {
            Some("Unsupported value: 'temperature' does not support this value with this model.")
        }
        () if reasons && has("max_tokens") => Some("Unsupported parameter: use 'max_completion_tokens' instead."),
        () if messages.iter().any(|turn| !turn["reasoning_content"].is_null()) => {
            Some("Additional properties are not allowed ('reasoning_content' was unexpected)")
        }
        () => None,
    }
}

fn query(vendor: Vendor, model: &str, messages: &[Value], body: &Value) -> Query {
    let mut query = Query { model: model.to_owned(), stream: body["stream"] == true, ..Query::default() };
    for message in messages {
        let mut text = String::new();
        match &message["content"] {
            Value::String(content) => text.push_str(content),
            Value::Array(parts) => {
                for part in parts {
                    text.push_str(part["text"].as_str().unwrap_or_default());
                    query.images += usize::from(part["type"] == "image_url");
                }
            }
            _ => {}
        }
        query.prompt.push_str(&text);
        query.prompt.push('\n');
        match message["role"].as_str() {
            Some("user") => query.hear(&message["content"]),
            Some("tool") => query.tool_result = Some(text),
            _ => {
                let calls = message["tool_calls"].as_array().into_iter().flatten();
                query.called.extend(calls.filter_map(|call| call["function"]["name"].as_str()).map(str::to_owned));
            }
        }
    }
    let format = &body["response_format"];
    query.shape(format, &format["json_schema"]["schema"]);
    for tool in body["tools"].as_array().into_iter().flatten() {
        let function = &tool["function"];
        let name = function["name"].as_str().unwrap_or_default().to_owned();
        query.prompt.push_str(&function.to_string());
        query.tools.push((name, function["parameters"].clone()));
    }
    let choice = &body["tool_choice"];
    query.choose(choice, &choice["function"]["name"]);
    query.max_tokens = body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64());
    query.stop = match &body["stop"] {
        Value::String(stop) => vec![stop.clone()],
        stops => strings(stops),
    };
    query.thinks = vendor == Vendor::DeepSeek && model.contains("reasoner");
    query
}

fn finish(answer: &Answer) -> &'static str {
    match answer.end {
        End::Complete | End::StopString(_) => "stop",
        End::Length => "length",
        End::Tool => "tool_calls",
    }
}

fn usage(answer: &Answer) -> Value {
    let thought = answer.thinking.as_deref().map_or(0, super::answer::tokens);
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.prompt_tokens + answer.output_tokens,
        "prompt_tokens_details": { "cached_tokens": answer.cached_tokens },
        "completion_tokens_details": { "reasoning_tokens": thought },
    })
}

fn whole(id: &str, model: &str, answer: &Answer) -> Value {
    let mut message = json!({ "role": "assistant", "content": answer.text, "refusal": null });
    if let Some(thinking) = &answer.thinking {
        message["reasoning_content"] = json!(thinking);
    }
    if let Some((id, name, arguments)) = &answer.call {
        message["content"] = Value::Null;
        message["tool_calls"] = json!([{
            "id": id, "type": "function", "function": { "name": name, "arguments": arguments.to_string() },
        }]);
    }
    json!({
        "id": id, "object": "chat.completion", "created": 1_700_000_000, "model": model,
        "system_fingerprint": "fp_sandbox",
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish(answer) }],
        "usage": usage(answer),
    })
}

fn stream(id: &str, model: &str, answer: &Answer, with_usage: bool) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model,
            "system_fingerprint": "fp_sandbox", "choices": choices,
        });
        if with_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value| chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]), Value::Null);
    let mut pieces = vec![delta(json!({ "role": "assistant", "content": "" }))];
    if let Some(thinking) = &answer.thinking {
        pieces.push(delta(json!({ "reasoning_content": thinking })));
    }
    pieces.extend(answer.pieces().into_iter().map(|piece| delta(json!({ "content": piece }))));
    if let Some((id, name, arguments)) = &answer.call {
        let start =
            json!({ "index": 0, "id": id, "type": "function", "function": { "name": name, "arguments": "" } });
        pieces.push(delta(json!({ "tool_calls": [start] })));
        let arguments = arguments.to_string();
        for part in halves(&arguments) {
            pieces.push(delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": part } }] })));
        }
    }
    pieces.push(chunk(json!([{ "index": 0, "delta": {}, "finish_reason": finish(answer) }]), Value::Null));
    if with_usage {
        pieces.push(chunk(json!([]), usage(answer)));
    }
    pieces.push("data: [DONE]\n\n".into());
    pieces
}

/// `GET /models`.
pub(super) fn models() -> Frames {
    let ids = ["gpt-6-sol", "gpt-6-luna", "gpt-4o", "gpt-4o-mini"];
    let data: Vec<Value> =
        ids.iter().map(|id| json!({ "id": id, "object": "model", "created": 0, "owned_by": "sandbox" })).collect();
    Frames::json(200, &json!({ "object": "list", "data": data }))
}

/// Numbers of a vector where nobody asks for another count, and most that may be asked for.
const DIMENSIONS: (u64, u64) = (8, 4096);

/// `POST /embeddings`: vectors of as many numbers as wanted, which depend on the text or on the ids of tokens, as lists
/// or in base64.
pub(super) fn embeddings(body: &Value) -> Frames {
    // Each input with its count of tokens. A list of ids is one input, as a text is.
    let one = |input: &Value| match input {
        Value::String(text) => Some((text.clone(), super::answer::tokens(text))),
        Value::Array(ids) if !ids.is_empty() && ids.iter().all(Value::is_u64) => {
            Some((input.to_string(), ids.len() as u64))
        }
        _ => None,
    };
    let inputs: Option<Vec<(String, u64)>> = match &body["input"] {
        Value::Array(inputs) => {
            one(&body["input"]).map(|input| vec![input]).or_else(|| inputs.iter().map(one).collect())
        }
        input => one(input).map(|input| vec![input]),
    };
    let Some(inputs) = inputs else {
        return Vendor::OpenAi.error(
            400,
            "invalid_request_error",
            "'input' must be text, ids of tokens, or lists of them",
        );
    };
    let (usual, most) = DIMENSIONS;
    let wanted = &body["dimensions"];
    let dimensions = if wanted.is_null() { Some(usual) } else { wanted.as_u64() };
    let Some(dimensions) = dimensions.filter(|count| (1..=most).contains(count)) else {
        let why = format!("'dimensions' must be a whole number from 1 to {most}");
        return Vendor::OpenAi.error(400, "invalid_request_error", &why);
    };
    let vector = |text: &str| {
        let numbers = (0..dimensions).map(|at| Dice::new(5).about(text).about(at).normal() as f32);
        let vector: Vec<f32> = numbers.collect();
        let packed = body["encoding_format"] == "base64";
        let bytes = || vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        if packed { json!(STANDARD.encode(bytes())) } else { json!(vector) }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, (text, _))| json!({ "object": "embedding", "index": index, "embedding": vector(text) }))
        .collect();
    let tokens: u64 = inputs.iter().map(|(_, tokens)| tokens).sum();
    Frames::json(
        200,
        &json!({
            "object": "list", "data": data, "model": body["model"],
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_in_base64_for_who_wants_that() {
        let vector = |format: &str| {
            let frames = embeddings(&json!({ "model": "m", "input": "hello", "encoding_format": format }));
            serde_json::from_slice::<Value>(&frames.pieces.concat()).unwrap()["data"][0]["embedding"].take()
        };
        let numbers: Vec<f32> = serde_json::from_value(vector("float")).unwrap();
        assert_eq!(numbers.len(), 8);
        // As Python reads it: struct.unpack("<8f", base64.b64decode(text)).
        let packed = STANDARD.decode(vector("base64").as_str().unwrap()).unwrap();
        let unpacked = packed.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        assert_eq!(unpacked.collect::<Vec<f32>>(), numbers);
    }

    #[test]
    fn vectors_have_as_many_numbers_as_wanted() {
        let count = |wanted: Value| {
            let frames = embeddings(&json!({ "model": "m", "input": "hello", "dimensions": wanted }));
            let answer: Value = serde_json::from_slice(&frames.pieces.concat()).unwrap();
            answer["data"][0]["embedding"].as_array().map(Vec::len)
        };
        assert_eq!([json!(null), json!(1), json!(256)].map(count), [Some(8), Some(1), Some(256)]);
        assert_eq!([json!(0), json!(-3), json!("8"), json!(1.5), json!(1_000_000)].map(count), [None; 5]);
    }

    #[test]
    fn ids_of_tokens_are_inputs_as_texts_are() {
        let told = |input: Value| {
            let frames = embeddings(&json!({ "model": "m", "input": input }));
            let answer: Value = serde_json::from_slice(&frames.pieces.concat()).unwrap();
            (answer["data"].as_array().map(Vec::len), answer["usage"]["prompt_tokens"].as_u64())
        };
        assert_eq!(told(json!([1, 2, 3])), (Some(1), Some(3)));
        assert_eq!(told(json!([[1], [2, 3]])), (Some(2), Some(3)));
        assert_eq!(told(json!(["a", "b"])).0, Some(2));
        for wrong in [json!(null), json!({}), json!([1, "a"]), json!([[1.5]])] {
            assert_eq!(told(wrong.clone()).0, None, "{wrong}");
        }
        assert_ne!(
            embeddings(&json!({ "input": [1, 2] })).pieces.concat(),
            embeddings(&json!({ "input": [2, 1] })).pieces.concat()
        );
    }

    #[test]
    fn calls_want_their_results_right_behind_them() {
        let calls = json!({ "role": "assistant", "tool_calls": [{ "id": "a" }, { "id": "b" }] });
        let result = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "1" });
        let note = json!({ "role": "developer", "content": "note" });
        assert!(are_answered(&[calls.clone(), result("b"), result("a"), note.clone()]));
        for late in [vec![calls.clone(), result("a"), note.clone(), result("b")], vec![calls, result("a")]] {
            assert!(!are_answered(&late), "{late:?}");
        }
    }
}
