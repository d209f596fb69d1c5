//! Ollama's wire format.

use serde_json::{Value, json};

use super::answer::{Asked, End, Said, schema_in};
use super::frames::Frames;
use super::vendor::Vendor;

/// The models it "has": name, context, capabilities.
const MODELS: [(&str, u32, &[&str]); 2] =
    [("llama3.2:latest", 8192, &["completion", "tools"]), ("qwen3:4b", 8192, &["completion", "tools", "thinking"])];

/// `POST /api/chat`.
pub(super) fn chat(body: &Value, say: impl Fn(&Asked) -> Option<Said>) -> Frames {
    let model = body["model"].as_str().unwrap_or_default();
    if !MODELS.iter().any(|(name, ..)| *name == model) {
        return Vendor::Ollama.error(404, "", &format!("model '{model}' not found"));
    }
    let Some(messages) = body["messages"].as_array() else {
        return Vendor::Ollama.error(400, "", "messages are missing");
    };
    let asked = asked(model, messages, body);
    let Some(said) = say(&asked) else { return Vendor::Ollama.overflow() };
    // Streaming is what it does unless told not to.
    if body["stream"] == false {
        Frames::json(200, &line(model, message(&said.text, said.thinking.as_deref(), &said), Some(&said)))
    } else {
        Frames::stream("application/x-ndjson", stream(model, &said))
    }
}

fn asked(model: &str, messages: &[Value], body: &Value) -> Asked {
    let mut asked = Asked { model: model.to_owned(), stream: body["stream"] != false, ..Asked::default() };
    for message in messages {
        let text = message["content"].as_str().unwrap_or_default().to_owned();
        asked.images += message["images"].as_array().map_or(0, Vec::len);
        asked.prompt.push_str(&text);
        asked.prompt.push('\n');
        match message["role"].as_str() {
            Some("user") => {
                asked.question = text;
                asked.tool_result = None;
            }
            Some("tool") => asked.tool_result = Some(text),
            _ => {}
        }
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        let function = &tool["function"];
        asked.tools.push((function["name"].as_str().unwrap_or_default().to_owned(), function["parameters"].clone()));
    }
    asked.json = match &body["format"] {
        Value::String(_) => Some(schema_in(&asked.prompt)),
        Value::Object(_) => Some(body["format"].clone()),
        _ => None,
    };
    asked.thinks = body["think"] == true;
    let options = &body["options"];
    asked.max_tokens = options["num_predict"].as_u64();
    asked.stop =
        options["stop"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    asked
}

fn message(text: &str, thinking: Option<&str>, said: &Said) -> Value {
    let mut message = json!({ "role": "assistant", "content": text });
    if let Some(thinking) = thinking {
        message["thinking"] = json!(thinking);
    }
    if let Some((_, name, arguments)) = &said.call {
        message["tool_calls"] = json!([{ "function": { "name": name, "arguments": arguments } }]);
    }
    message
}

fn line(model: &str, message: Value, end: Option<&Said>) -> Value {
    let mut line = json!({
        "model": model, "created_at": "2026-11-01T00:00:00Z", "message": message, "done": end.is_some(),
    });
    if let Some(said) = end {
        line["done_reason"] = json!(if said.end == End::Length { "length" } else { "stop" });
        line["prompt_eval_count"] = json!(said.prompt_tokens);
        line["eval_count"] = json!(said.output_tokens);
        line["total_duration"] = json!(1_000_000);
    }
    line
}

fn stream(model: &str, said: &Said) -> Vec<String> {
    let piece = |message: Value| format!("{}\n", line(model, message, None));
    let mut pieces = Vec::new();
    if let Some(thinking) = &said.thinking {
        pieces.push(piece(json!({ "role": "assistant", "content": "", "thinking": thinking })));
    }
    pieces.extend(said.pieces().into_iter().map(|text| piece(json!({ "role": "assistant", "content": text }))));
    if said.call.is_some() {
        pieces.push(piece(message("", None, said)));
    }
    pieces.push(format!("{}\n", line(model, json!({ "role": "assistant", "content": "" }), Some(said))));
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
