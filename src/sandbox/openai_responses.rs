//! The stand-in for OpenAI's Responses, of which a stateless gateway needs this much: items, tools, thoughts, streams.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::answer::{Answer, End, Query, asked, schema_in};
use super::dice::Dice;
use super::frames::Frames;
use super::vendor::Vendor;

/// The beginning of every sealed thought.
const SEAL: &str = "gAAAAsandbox";

/// `POST /responses`.
pub(super) fn chat(body: &Value, answer_to: impl Fn(&Query) -> Option<Answer>) -> Frames {
    let wrong = |message: &str| Vendor::OpenAi.error(400, "invalid_request_error", message);
    let items = match &body["input"] {
        Value::String(text) => vec![json!({ "role": "user", "content": text })],
        Value::Array(items) if !items.is_empty() => items.clone(),
        _ => return wrong("Missing required parameter: 'input'."),
    };
    let Some(model) = body["model"].as_str() else {
        return wrong("you must provide a model parameter");
    };
    if let Some(message) = refusal(model, &items, body) {
        return wrong(&message);
    }
    let query = query(model, &items, body);
    let Some(answer) = answer_to(&query) else { return Vendor::OpenAi.overflow() };
    let id = format!("resp_{:016x}", Dice::new(1).about(query.prompt.as_str()).bits());
    if query.stream {
        Frames::stream("text/event-stream", stream(&id, model, body, &answer))
    } else {
        Frames::json(200, &object(&id, model, &answer, output(body, &answer)))
    }
}

/// Fields of Chat Completions.
const UNKNOWN: [&str; 9] = [
    "messages",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "n",
    "stop",
    "seed",
    "logprobs",
];

fn refusal(model: &str, items: &[Value], body: &Value) -> Option<String> {
    let has = |field: &str| !body[field].is_null();
    if let Some(field) = UNKNOWN.into_iter().find(|field| has(field)) {
        return Some(format!("Unknown parameter: '{field}'."));
    }
    let mut tools = body["tools"].as_array().into_iter().flatten();
    if tools.any(|tool| tool["type"] != "function" || !tool["name"].is_string()) {
        return Some("Missing required parameter: 'tools[0].name'.".into());
    }
    let sealed = items.iter().filter(|item| item["type"] == "reasoning").map(|item| &item["encrypted_content"]);
    if sealed.into_iter().any(|sealed| !sealed.as_str().is_some_and(|sealed| sealed.starts_with(SEAL))) {
        return Some("The encrypted content could not be verified.".into());
    }
    let of_kind = |kind: &'static str| items.iter().filter(move |item| item["type"] == kind);
    let calls: HashSet<_> = of_kind("function_call").filter_map(|item| item["call_id"].as_str()).collect();
    let results: HashSet<_> = of_kind("function_call_output").filter_map(|item| item["call_id"].as_str()).collect();
    if let Some(id) = calls.difference(&results).next() {
        return Some(format!("No tool output found for function call {id}."));
    }
    if let Some(id) = results.difference(&calls).next() {
        return Some(format!("No tool call found for function call output with call_id {id}."));
    }
    let newest = model.starts_with("gpt-5.6") || model.starts_with("gpt-6");
    match () {
        () if body["max_output_tokens"].as_u64().is_some_and(|most| most < 16) => {
            Some("Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16.".into())
        }
        () if newest && body["reasoning"]["effort"] == "minimal" => {
            Some("Unsupported value: 'minimal' is not supported with this model.".into())
        }
        () if newest && (has("temperature") || has("top_p")) => {
            Some("Unsupported parameter: 'temperature' is not supported with this model.".into())
        }
        () => None,
    }
}

fn query(model: &str, items: &[Value], body: &Value) -> Query {
    let mut query = Query { model: model.to_owned(), stream: body["stream"] == true, ..Query::default() };
    query.prompt.push_str(body["instructions"].as_str().unwrap_or_default());
    for item in items {
        let said = if item["type"] == "function_call_output" { &item["output"] } else { &item["content"] };
        let mut text = said.as_str().unwrap_or_default().to_owned();
        for part in said.as_array().into_iter().flatten() {
            text.push_str(part["text"].as_str().unwrap_or_default());
            query.images += usize::from(part["type"] == "input_image");
        }
        query.prompt.push_str(&text);
        query.prompt.push('\n');
        match (item["type"].as_str().unwrap_or("message"), item["role"].as_str()) {
            ("message", Some("user")) => {
                if let Some(question) = asked(said, query.tool_result.is_some()) {
                    query.question = question;
                    query.tool_result = None;
                    query.called.clear();
                }
            }
            ("function_call_output", _) => query.tool_result = Some(text),
            ("function_call", _) => query.called.extend(item["name"].as_str().map(str::to_owned)),
            _ => {}
        }
    }
    let format = &body["text"]["format"];
    query.json = match format["type"].as_str() {
        Some("json_object") => Some(schema_in(&query.prompt)),
        Some("json_schema") => Some(format["schema"].clone()),
        _ => None,
    };
    for tool in body["tools"].as_array().into_iter().flatten() {
        let name = tool["name"].as_str().unwrap_or_default().to_owned();
        query.prompt.push_str(&tool.to_string());
        query.tools.push((name, tool["parameters"].clone()));
    }
    match &body["tool_choice"] {
        Value::String(choice) if choice == "required" => query.must_call = Some(None),
        Value::String(choice) if choice == "none" => query.no_call = true,
        Value::Object(choice) => query.must_call = Some(choice["name"].as_str().map(str::to_owned)),
        _ => {}
    }
    query.max_tokens = body["max_output_tokens"].as_u64();
    query.thinks = !model.starts_with("gpt-4") && body["reasoning"]["effort"] != "none";
    query
}

/// The items of an answer.
fn output(body: &Value, answer: &Answer) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(thinking) = &answer.thinking {
        let mut item = json!({ "id": "rs_0", "type": "reasoning", "summary": [] });
        if !body["reasoning"]["summary"].is_null() {
            item["summary"] = json!([{ "type": "summary_text", "text": thinking }]);
        }
        let wishes = body["include"].as_array().into_iter().flatten();
        if wishes.into_iter().any(|wish| wish == "reasoning.encrypted_content") {
            item["encrypted_content"] = json!(format!("{SEAL}{:016x}", Dice::new(2).about(thinking.as_str()).bits()));
        }
        items.push(item);
    }
    match &answer.call {
        Some((id, name, arguments)) => items.push(json!({
            "id": "fc_0", "type": "function_call", "status": "completed", "call_id": id, "name": name,
            "arguments": arguments.to_string(),
        })),
        None => items.push(json!({
            "id": "msg_0", "type": "message", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": answer.text, "annotations": [], "logprobs": [] }],
        })),
    }
    items
}

fn object(id: &str, model: &str, answer: &Answer, output: Vec<Value>) -> Value {
    let is_cut = answer.end == End::Length;
    let thought = answer.thinking.as_deref().map_or(0, super::answer::tokens);
    json!({
        "id": id, "object": "response", "created_at": 1_700_000_000, "model": model, "error": null,
        "status": if is_cut { "incomplete" } else { "completed" },
        "incomplete_details": if is_cut { json!({ "reason": "max_output_tokens" }) } else { Value::Null },
        "output": output, "store": false,
        "usage": {
            "input_tokens": answer.prompt_tokens,
            "input_tokens_details": { "cached_tokens": answer.cached_tokens, "cache_write_tokens": 0 },
            "output_tokens": answer.output_tokens,
            "output_tokens_details": { "reasoning_tokens": thought },
            "total_tokens": answer.prompt_tokens + answer.output_tokens,
        },
    })
}

fn stream(id: &str, model: &str, body: &Value, answer: &Answer) -> Vec<String> {
    let mut events = Events::default();
    let begun = json!({ "id": id, "object": "response", "model": model, "status": "in_progress", "output": [], "usage": null });
    for kind in ["response.created", "response.in_progress"] {
        events.push(kind, json!({ "response": begun }));
    }
    let items = output(body, answer);
    for (at, item) in items.iter().enumerate() {
        events.item(at, item, answer);
    }
    let whole = object(id, model, answer, items);
    let kind = if whole["status"] == "completed" { "response.completed" } else { "response.incomplete" };
    events.push(kind, json!({ "response": whole }));
    events.pieces
}

#[derive(Default)]
struct Events {
    pieces: Vec<String>,
}

impl Events {
    fn push(&mut self, kind: &str, mut event: Value) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.pieces.len());
        self.pieces.push(format!("event: {kind}\ndata: {event}\n\n"));
    }

    /// Tells an item: that it begins, its text in pieces, and all of it.
    fn item(&mut self, at: usize, item: &Value, answer: &Answer) {
        let mut begun = item.clone();
        for (field, nothing) in [("content", json!([])), ("summary", json!([])), ("arguments", json!(""))] {
            if begun.get(field).is_some() {
                begun[field] = nothing;
            }
        }
        self.push("response.output_item.added", json!({ "output_index": at, "item": begun }));
        match item["type"].as_str() {
            Some("reasoning") => {
                if let Some(text) = item["summary"][0]["text"].as_str() {
                    let part = json!({ "type": "summary_text", "text": "" });
                    let place = || json!({ "output_index": at, "summary_index": 0, "item_id": item["id"] });
                    let with = |key: &str, value: Value| {
                        let mut event = place();
                        event[key] = value;
                        event
                    };
                    self.push("response.reasoning_summary_part.added", with("part", part));
                    self.push("response.reasoning_summary_text.delta", with("delta", json!(text)));
                    self.push("response.reasoning_summary_text.done", with("text", json!(text)));
                }
            }
            Some("function_call") => {
                let arguments = item["arguments"].as_str().unwrap_or_default();
                let half = (0..=arguments.len() / 2).rev().find(|at| arguments.is_char_boundary(*at)).unwrap_or(0);
                for delta in [&arguments[..half], &arguments[half..]] {
                    let piece = json!({ "output_index": at, "item_id": item["id"], "delta": delta });
                    self.push("response.function_call_arguments.delta", piece);
                }
                let done = json!({ "output_index": at, "item_id": item["id"], "arguments": arguments });
                self.push("response.function_call_arguments.done", done);
            }
            _ => {
                for delta in answer.pieces() {
                    let piece =
                        json!({ "output_index": at, "content_index": 0, "item_id": item["id"], "delta": delta });
                    self.push("response.output_text.delta", piece);
                }
                let done =
                    json!({ "output_index": at, "content_index": 0, "item_id": item["id"], "text": answer.text });
                self.push("response.output_text.done", done);
            }
        }
        self.push("response.output_item.done", json!({ "output_index": at, "item": item }));
    }
}
