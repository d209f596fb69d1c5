//! The stand-in for OpenAI's Responses, of which a stateless gateway needs this much: items, tools, thoughts, streams.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::answer::{Answer, End, Query, halves, tokens};
use super::dice::Dice;
use super::frames::Frames;
use super::vendor::Vendor;

/// The beginning of every sealed thought.
const SEAL: &str = "gAAAAsandbox";

/// `POST /responses`.
pub(super) fn chat(body: &Value, answer_to: impl Fn(&Query) -> Option<Answer>) -> Frames {
    let Some(items) = items(body) else { return wrong("Missing required parameter: 'input'.") };
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
        Frames::stream("text/event-stream", stream(&id, body, output(&items, body, &answer), &answer))
    } else {
        Frames::json(200, &object(&id, body, &answer, output(&items, body, &answer)))
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

/// The items that are calls of tools, and those that are results of these.
const CALLS: [&str; 2] = ["function_call", "custom_tool_call"];
const RESULTS: [&str; 2] = ["function_call_output", "custom_tool_call_output"];

/// A tool that is offered, at the top or in a namespace.
struct Tool<'a> {
    kind: &'a str,
    name: &'a str,
    namespace: Option<&'a str>,
    parameters: Value,
}

/// The tools of a request, those among its items included. Those that OpenAI runs itself are never called here.
fn offered<'a>(items: &'a [Value], body: &'a Value) -> Vec<Tool<'a>> {
    let more = items.iter().filter(|item| item["type"] == "additional_tools");
    let lists = std::iter::once(body).chain(more).filter_map(|it| it["tools"].as_array());
    let text = |tool: &'a Value, field: &str| tool[field].as_str().unwrap_or_default();
    let tool = |tool: &'a Value, namespace| {
        let parameters = match text(tool, "type") {
            "custom" => json!({ "type": "object", "properties": { "input": { "type": "string" } } }),
            _ => tool["parameters"].clone(),
        };
        Tool { kind: text(tool, "type"), name: text(tool, "name"), namespace, parameters }
    };
    let mut tools = Vec::new();
    for listed in lists.flatten() {
        match listed["tools"].as_array().filter(|_| listed["type"] == "namespace") {
            Some(inside) => tools.extend(inside.iter().map(|it| tool(it, listed["name"].as_str()))),
            None => tools.push(tool(listed, None)),
        }
    }
    tools.retain(|tool| ["function", "custom", ""].contains(&tool.kind));
    tools
}

fn refusal(model: &str, items: &[Value], body: &Value) -> Option<String> {
    let has = |field: &str| !body[field].is_null();
    if let Some(field) = UNKNOWN.into_iter().find(|field| has(field)) {
        return Some(format!("Unknown parameter: '{field}'."));
    }
    if offered(items, body).iter().any(|tool| tool.kind.is_empty() || tool.name.is_empty()) {
        return Some("Missing required parameter: 'tools[0].name'.".into());
    }
    let sealed = items.iter().filter(|item| item["type"] == "reasoning").map(|item| &item["encrypted_content"]);
    if sealed.into_iter().any(|sealed| !sealed.as_str().is_some_and(|sealed| sealed.starts_with(SEAL))) {
        return Some("The encrypted content could not be verified.".into());
    }
    let ids = |kinds: [&str; 2]| -> HashSet<&str> {
        let of_kind = items.iter().filter(|item| kinds.iter().any(|kind| item["type"] == *kind));
        of_kind.filter_map(|item| item["call_id"].as_str()).collect()
    };
    let (calls, results) = (ids(CALLS), ids(RESULTS));
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

/// `POST /v1/responses/input_tokens`, which takes nothing that is only about the answer.
pub(super) fn count(body: &Value) -> Frames {
    const ANSWERS: [&str; 7] =
        ["stream", "store", "include", "max_output_tokens", "temperature", "top_p", "prompt_cache_key"];
    if let Some(field) = ANSWERS.into_iter().find(|field| body.get(*field).is_some()) {
        return wrong(&format!("Unknown parameter: '{field}'."));
    }
    let Some(items) = items(body) else { return wrong("Missing required parameter: 'input'.") };
    let query = query(body["model"].as_str().unwrap_or_default(), &items, body);
    let count = tokens(&query.prompt) + 8;
    Frames::json(200, &json!({ "object": "response.input_tokens", "input_tokens": count }))
}

fn wrong(message: &str) -> Frames {
    Vendor::OpenAi.error(400, "invalid_request_error", message)
}

/// The items of `input`; `None` = it has none.
fn items(body: &Value) -> Option<Vec<Value>> {
    match &body["input"] {
        Value::String(text) => Some(vec![json!({ "role": "user", "content": text })]),
        Value::Array(items) if !items.is_empty() => Some(items.clone()),
        _ => None,
    }
}

fn query(model: &str, items: &[Value], body: &Value) -> Query {
    let mut query = Query { model: model.to_owned(), stream: body["stream"] == true, ..Query::default() };
    query.prompt.push_str(body["instructions"].as_str().unwrap_or_default());
    for item in items {
        let is_any = |kinds: [&str; 2]| kinds.iter().any(|kind| item["type"] == *kind);
        let said = if is_any(RESULTS) { &item["output"] } else { &item["content"] };
        let mut text = said.as_str().unwrap_or_default().to_owned();
        for part in said.as_array().into_iter().flatten() {
            text.push_str(part["text"].as_str().unwrap_or_default());
            query.images += usize::from(part["type"] == "input_image");
        }
        query.prompt.push_str(&text);
        query.prompt.push('\n');
        match (item["type"].as_str().unwrap_or("message"), item["role"].as_str()) {
            ("message", Some("user")) => query.hear(said),
            _ if is_any(RESULTS) => query.tool_result = Some(text),
            _ if is_any(CALLS) => query.called.extend(item["name"].as_str().map(str::to_owned)),
            _ => {}
        }
    }
    let format = &body["text"]["format"];
    query.shape(format, &format["schema"]);
    for tool in offered(items, body) {
        query.prompt.push_str(&format!("{} {}", tool.name, tool.parameters));
        query.tools.push((tool.name.to_owned(), tool.parameters));
    }
    let choice = &body["tool_choice"];
    query.choose(choice, &choice["name"]);
    query.max_tokens = body["max_output_tokens"].as_u64();
    query.thinks = !model.starts_with("gpt-4") && body["reasoning"]["effort"] != "none";
    query
}

/// The items of an answer.
fn output(input: &[Value], body: &Value, answer: &Answer) -> Vec<Value> {
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
        Some((id, name, arguments)) => {
            let tools = offered(input, body);
            let tool = tools.iter().find(|tool| tool.name == name);
            let mut item = json!({ "status": "completed", "call_id": id, "name": name });
            let (kind, id, field, said) = match tool.is_some_and(|tool| tool.kind == "custom") {
                true => (CALLS[1], "ctc_0", "input", arguments["input"].as_str().unwrap_or_default().to_owned()),
                false => (CALLS[0], "fc_0", "arguments", arguments.to_string()),
            };
            for (field, value) in [("type", kind), ("id", id), (field, &said)] {
                item[field] = json!(value);
            }
            if let Some(namespace) = tool.and_then(|tool| tool.namespace) {
                item["namespace"] = json!(namespace);
            }
            items.push(item);
        }
        None => items.push(json!({
            "id": "msg_0", "type": "message", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": answer.text, "annotations": [], "logprobs": [] }],
        })),
    }
    items
}

/// The answer, with the fields of the request that it repeats.
fn object(id: &str, body: &Value, answer: &Answer, output: Vec<Value>) -> Value {
    let is_cut = answer.end == End::Length;
    let thought = answer.thinking.as_deref().map_or(0, tokens);
    let mut whole = json!({
        "id": id, "object": "response", "created_at": 1_700_000_000, "model": body["model"], "error": null,
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
        "background": false, "previous_response_id": null, "truncation": "disabled",
    });
    for (field, usual) in [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("temperature", json!(1.0)),
        ("text", json!({ "format": { "type": "text" } })),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", json!(1.0)),
    ] {
        let asked = &body[field];
        whole[field] = if asked.is_null() { usual } else { asked.clone() };
    }
    whole
}

fn stream(id: &str, body: &Value, items: Vec<Value>, answer: &Answer) -> Vec<String> {
    let mut events = Events::default();
    let mut begun = object(id, body, answer, Vec::new());
    for (field, value) in
        [("status", json!("in_progress")), ("incomplete_details", json!(null)), ("usage", json!(null))]
    {
        begun[field] = value;
    }
    for kind in ["response.created", "response.in_progress"] {
        events.push(kind, json!({ "response": begun }));
    }
    for (at, item) in items.iter().enumerate() {
        events.item(at, item, answer);
    }
    let whole = object(id, body, answer, items);
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
        begun["status"] = json!("in_progress");
        let nothing = json!("");
        for (field, nothing) in
            [("content", json!([])), ("summary", json!([])), ("arguments", nothing.clone()), ("input", nothing)]
        {
            if begun.get(field).is_some() {
                begun[field] = nothing;
            }
        }
        let place = |field: &str, value: Value| {
            let mut event = json!({ "output_index": at, "item_id": item["id"] });
            event[field] = value;
            event
        };
        self.push("response.output_item.added", json!({ "output_index": at, "item": begun }));
        match item["type"].as_str() {
            Some("reasoning") => {
                if let Some(text) = item["summary"][0]["text"].as_str() {
                    let with = |field: &str, value: Value| {
                        let mut event = place(field, value);
                        event["summary_index"] = json!(0);
                        event
                    };
                    let part = |text: &str| with("part", json!({ "type": "summary_text", "text": text }));
                    self.push("response.reasoning_summary_part.added", part(""));
                    self.push("response.reasoning_summary_text.delta", with("delta", json!(text)));
                    self.push("response.reasoning_summary_text.done", with("text", json!(text)));
                    self.push("response.reasoning_summary_part.done", part(text));
                }
            }
            Some(kind) if CALLS.contains(&kind) => {
                let (field, told) = match kind == CALLS[0] {
                    true => ("arguments", "response.function_call_arguments"),
                    false => ("input", "response.custom_tool_call_input"),
                };
                let said = item[field].as_str().unwrap_or_default();
                for delta in halves(said) {
                    self.push(&format!("{told}.delta"), place("delta", json!(delta)));
                }
                self.push(&format!("{told}.done"), place(field, json!(said)));
            }
            _ => {
                let with = |field: &str, value: Value| {
                    let mut event = place(field, value);
                    event["content_index"] = json!(0);
                    event
                };
                let mut empty = item["content"][0].clone();
                empty["text"] = json!("");
                self.push("response.content_part.added", with("part", empty));
                for delta in answer.pieces() {
                    let mut piece = with("delta", json!(delta));
                    piece["logprobs"] = json!([]);
                    self.push("response.output_text.delta", piece);
                }
                let mut done = with("text", json!(answer.text));
                done["logprobs"] = json!([]);
                self.push("response.output_text.done", done);
                self.push("response.content_part.done", with("part", item["content"][0].clone()));
            }
        }
        self.push("response.output_item.done", json!({ "output_index": at, "item": item }));
    }
}
