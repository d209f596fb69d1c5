//! The stand-in for Ollama: its wire format.

use serde_json::{Value, json};

use super::answer::{Answer, End, Query, schema_in, strings};
use super::frames::Frames;
use super::vendor::Vendor;

/// The models that it lists: name, context in tokens, capabilities.
const MODELS: [(&str, u32, &[&str]); 2] =
    [("llama3.2:latest", 8192, &["completion", "tools"]), ("qwen3:4b", 8192, &["completion", "tools", "thinking"])];

/// `POST /api/chat`.
pub(super) fn chat(body: &Value, answer_to: impl Fn(&Query) -> Option<Answer>) -> Frames {
    let model = body["model"].as_str().unwrap_or_default();
    if !MODELS.iter().any(|(name, ..)| *name == model) {
        return Vendor::Ollama.error(404, "", &format!("model '{model}' not found"));
    }
    let Some(messages) = body["messages"].as_array() else {
        return Vendor::Ollama.error(400, "", "messages are missing");
    };
    let query = query(model, messages, body);
    let Some(answer) = answer_to(&query) else { return Vendor::Ollama.overflow() };
    // Streaming is the default here.
    if body["stream"] == false {
        Frames::json(200, &line(model, message(&answer.text, answer.thinking.as_deref(), &answer), Some(&answer)))
    } else {
        Frames::stream("application/x-ndjson", stream(model, &answer))
    }
}

fn query(model: &str, messages: &[Value], body: &Value) -> Query {
    let mut query = Query { model: model.to_owned(), stream: body["stream"] != false, ..Query::default() };
    for message in messages {
        let text = message["content"].as_str().unwrap_or_default().to_owned();
        query.images += message["images"].as_array().map_or(0, Vec::len);
        query.prompt.push_str(&text);
        query.prompt.push('\n');
        match message["role"].as_str() {
            Some("user") => query.hear(&message["content"]),
            Some("tool") => query.tool_result = Some(text),
            _ => {}
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        query.called.extend(calls.filter_map(|call| call["function"]["name"].as_str()).map(str::to_owned));
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        let function = &tool["function"];
        query.tools.push((function["name"].as_str().unwrap_or_default().to_owned(), function["parameters"].clone()));
    }
    query.json = match &body["format"] {
        Value::String(_) => Some(schema_in(&query.prompt)),
        Value::Object(_) => Some(body["format"].clone()),
        _ => None,
    };
    query.thinks = body["think"] == true;
    let options = &body["options"];
    query.max_tokens = options["num_predict"].as_u64();
    query.stop = strings(&options["stop"]);
    query
}

fn message(text: &str, thinking: Option<&str>, answer: &Answer) -> Value {
    let mut message = json!({ "role": "assistant", "content": text });
    if let Some(thinking) = thinking {
        message["thinking"] = json!(thinking);
    }
    if let Some((_, name, arguments)) = &answer.call {
        message["tool_calls"] = json!([{ "function": { "name": name, "arguments": arguments } }]);
    }
    message
}

fn line(model: &str, message: Value, end: Option<&Answer>) -> Value {
    let mut line = json!({
        "model": model, "created_at": "2026-11-01T00:00:00Z", "message": message, "done": end.is_some(),
    });
    if let Some(answer) = end {
        line["done_reason"] = json!(if answer.end == End::Length { "length" } else { "stop" });
        line["prompt_eval_count"] = json!(answer.prompt_tokens);
        line["eval_count"] = json!(answer.output_tokens);
        line["total_duration"] = json!(1_000_000);
    }
    line
}

fn stream(model: &str, answer: &Answer) -> Vec<String> {
    let piece = |message: Value| format!("{}\n", line(model, message, None));
    let mut pieces = Vec::new();
    if let Some(thinking) = &answer.thinking {
        pieces.push(piece(json!({ "role": "assistant", "content": "", "thinking": thinking })));
    }
    pieces.extend(answer.pieces().into_iter().map(|text| piece(json!({ "role": "assistant", "content": text }))));
    if answer.call.is_some() {
        pieces.push(piece(message("", None, answer)));
    }
    pieces.push(format!("{}\n", line(model, json!({ "role": "assistant", "content": "" }), Some(answer))));
    pieces
}

/// `GET /api/tags`.
pub(super) fn tags() -> Frames {
    let models: Vec<Value> = MODELS.iter().map(|(name, ..)| json!({ "name": name, "model": name })).collect();
    Frames::json(200, &json!({ "models": models }))
}

/// `POST /api/show`.
pub(super) fn show(body: &Value) -> Frames {
    let name = body["model"].as_str().unwrap_or_default();
    match MODELS.iter().find(|(known, ..)| *known == name) {
        Some((_, context, can)) => Frames::json(
            200,
            &json!({
                "capabilities": can,
                "model_info": { "general.architecture": "llama", "llama.context_length": context },
            }),
        ),
        None => Vendor::Ollama.error(404, "", &format!("model '{name}' not found")),
    }
}
