//! Turns, tools and tool choice in OpenAI's form, which the native dialect shares.

use serde_json::{Map, Value, json};

use super::super::documents::{self, Pdf};
use super::super::json::{Object, unknown_value, wrong_type};
use crate::protocol::{ApiError, ImageSource, Message, Part, Role, Tool, ToolChoice};

/// Reads `messages`. Neighbouring tool results become one user turn, as in Anthropic's dialect. Unknown fields are
/// noted in `leftovers`.
pub(crate) fn decode(values: Vec<Value>, leftovers: &mut Map<String, Value>) -> Result<Vec<Message>, ApiError> {
    let mut messages: Vec<Message> = Vec::with_capacity(values.len());
    let mut after_tool = false;
    for (index, value) in values.into_iter().enumerate() {
        let mut fields = Object::of(value, format!("messages[{index}]"))?;
        let role = fields.need_string("role")?;
        let is_tool = matches!(role.as_str(), "tool" | "function");
        let mut message = match role.as_str() {
            "system" => text_turn(&mut fields, Role::System, leftovers)?,
            "developer" => text_turn(&mut fields, Role::Developer, leftovers)?,
            "user" => text_turn(&mut fields, Role::User, leftovers)?,
            "assistant" => assistant(&mut fields, leftovers)?,
            "tool" => tool_result(&mut fields, "tool_call_id", leftovers)?,
            // The older form, in which a result names its function.
            "function" => tool_result(&mut fields, "name", leftovers)?,
            _ => return Err(unknown_value(&fields.at("role"), "system, developer, user, assistant, tool")),
        };
        if let Some(marker) = message.parts.iter_mut().rev().find_map(marker).filter(|marker| marker.is_none()) {
            *marker = fields.take("cache_control");
        }
        fields.leave(leftovers);
        match messages.last_mut() {
            Some(last) if is_tool && after_tool => last.parts.extend(message.parts),
            _ => messages.push(message),
        }
        after_tool = is_tool;
    }
    Ok(messages)
}

/// A part's prompt-cache marker. A marker on a whole turn, as some clients write it, goes to the turn's last part.
fn marker(part: &mut Part) -> Option<&mut Option<Value>> {
    match part {
        Part::Text { cache_control, .. }
        | Part::Image { cache_control, .. }
        | Part::ToolResult { cache_control, .. } => Some(cache_control),
        _ => None,
    }
}

fn text_turn(fields: &mut Object, role: Role, leftovers: &mut Map<String, Value>) -> Result<Message, ApiError> {
    let path = fields.at("content");
    let parts = match fields.take("content") {
        Some(content) => content_parts(content, &path, leftovers)?,
        None => return Err(super::super::json::missing(&path)),
    };
    Ok(Message { role, parts, name: fields.string("name")? })
}

/// Reads `content`: a string, or an array of parts.
fn content_parts(content: Value, path: &str, leftovers: &mut Map<String, Value>) -> Result<Vec<Part>, ApiError> {
    match content {
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(items) => {
            let part = |(index, item)| content_part(item, format!("{path}[{index}]"), leftovers);
            items.into_iter().enumerate().map(part).collect()
        }
        other => Err(wrong_type(path, "a string or an array of parts", &other)),
    }
}

fn content_part(value: Value, path: String, leftovers: &mut Map<String, Value>) -> Result<Part, ApiError> {
    let mut fields = Object::of(value, path)?;
    let kind = fields.kind()?;
    let part = match kind.as_str() {
        "text" => {
            let text = fields.need_string("text")?;
            Part::Text { text, cache_control: fields.take("cache_control"), breakpoint: breakpoint(&fields) }
        }
        "refusal" => Part::Refusal { text: fields.need_string("refusal")? },
        "image_url" => image(&mut fields, leftovers)?,
        _ => return Ok(Part::Foreign { kind, value: fields.whole() }),
    };
    fields.take("type");
    fields.leave(leftovers);
    Ok(part)
}

fn image(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Part, ApiError> {
    let (cache_control, breakpoint) = (fields.take("cache_control"), breakpoint(fields));
    // Some look-alikes take the URL itself in place of an object.
    if let Some(url) = fields.understood("image_url", |url| url.as_str().map(str::to_owned)) {
        return Ok(Part::Image { source: image_source(url), detail: None, cache_control, breakpoint });
    }
    let mut image = fields.need_object("image_url")?;
    let (url, detail) = (image.need_string("url")?, image.string("detail")?);
    image.leave(leftovers);
    Ok(Part::Image { source: image_source(url), detail, cache_control, breakpoint })
}

/// The field of a part with which OpenAI's prompt cache is to end, in both of its dialects.
pub(crate) const BREAKPOINT: &str = "prompt_cache_breakpoint";

/// A part's breakpoint. It stays among the fields, to be noted as lost wherever it is not written.
pub(crate) fn breakpoint(fields: &Object) -> Option<Box<Value>> {
    fields.peek(BREAKPOINT).cloned().map(Box::new)
}

/// A part, with its breakpoint.
pub(crate) fn marked(mut part: Value, breakpoint: Option<&Value>) -> Value {
    if let Some(breakpoint) = breakpoint.filter(|breakpoint| !breakpoint.is_null()) {
        part[BREAKPOINT] = breakpoint.clone();
    }
    part
}

/// Whether this is the path of a part's breakpoint.
pub(crate) fn is_breakpoint(path: &str) -> bool {
    let mut steps = path.rsplit('.');
    let is_of_part = |place: &str| place.starts_with("content[") || place.starts_with("output[");
    steps.next() == Some(BREAKPOINT) && steps.next().is_some_and(is_of_part)
}

/// The source of an image by its URL; a data URI holds the image itself.
pub(crate) fn image_source(url: String) -> ImageSource {
    let inside = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inside {
        Some((kind, data)) => ImageSource::Base64 { media_type: media_type(kind), data: data.to_owned() },
        None => ImageSource::Url(url),
    }
}

/// A media type by its registered name, without parameters.
fn media_type(kind: &str) -> String {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "image/jpg" { "image/jpeg".into() } else { kind }
}

fn assistant(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Message, ApiError> {
    let mut parts = Vec::new();
    for key in ["reasoning_content", "reasoning"] {
        // Some servers write an object in one of them, and some the same text in both. Only text is reasoning.
        let text = fields.understood(key, |text| text.as_str().map(str::to_owned));
        if let Some(text) = text.filter(|_| parts.is_empty()) {
            parts.push(Part::Thinking { text, signature: None });
        }
    }
    let path = fields.at("content");
    if let Some(content) = fields.take("content") {
        parts.extend(content_parts(content, &path, leftovers)?.into_iter().filter(|part| *part != Part::text("")));
    }
    if let Some(text) = fields.string("refusal")? {
        parts.push(Part::Refusal { text });
    }
    let path = fields.at("tool_calls");
    for (index, call) in fields.array("tool_calls")?.unwrap_or_default().into_iter().enumerate() {
        parts.push(tool_call(Object::of(call, format!("{path}[{index}]"))?, leftovers)?);
    }
    if let Some(mut function) = fields.object("function_call")? {
        let name = function.need_string("name")?;
        parts.push(Part::ToolCall { id: name.clone(), name, arguments: arguments(&mut function) });
        function.leave(leftovers);
    }
    // Spoken output, which only its vendor has kept.
    if let Some(value) = fields.take("audio") {
        parts.push(Part::Foreign { kind: "audio".into(), value });
    }
    Ok(Message { role: Role::Assistant, parts, name: fields.string("name")? })
}

/// Reads an entry of `tool_calls`; calls of anything but functions are kept as written.
fn tool_call(mut call: Object, leftovers: &mut Map<String, Value>) -> Result<Part, ApiError> {
    let other = |kind: &Value| kind.as_str().filter(|kind| *kind != "function").map(str::to_owned);
    if let Some(kind) = call.peek("type").and_then(other) {
        return Ok(Part::Foreign { kind, value: call.whole() });
    }
    // Some servers give no ids, and want none back.
    let id = call.string("id")?.unwrap_or_default();
    let mut function = call.need_object("function")?;
    let part = Part::ToolCall { id, name: function.need_string("name")?, arguments: arguments(&mut function) };
    // Clients that put an answer together from a stream leave `index` in.
    for known in ["type", "index"] {
        call.take(known);
    }
    function.leave(leftovers);
    call.leave(leftovers);
    Ok(part)
}

/// Takes a call's arguments as JSON text.
pub(crate) fn arguments(function: &mut Object) -> String {
    match function.take("arguments") {
        None => String::new(),
        Some(Value::String(text)) => text,
        // Some look-alikes send the object itself.
        Some(other) => other.to_string(),
    }
}

/// Reads a tool's turn; the field `call` names the call that it answers.
fn tool_result(fields: &mut Object, call: &str, leftovers: &mut Map<String, Value>) -> Result<Message, ApiError> {
    let call_id = fields.need_string(call)?;
    // Some clients repeat the tool's name here.
    fields.take("name");
    let path = fields.at("content");
    let content = match fields.take("content") {
        Some(content) => content_parts(content, &path, leftovers)?,
        None => Vec::new(),
    };
    let part = Part::ToolResult { call_id, content, is_error: false, cache_control: None };
    Ok(Message { role: Role::User, parts: vec![part], name: None })
}

/// Writes `messages`; losses are noted in `dropped`. `marks` = breakpoints are known there; else they are left out, and
/// noted elsewhere.
pub(crate) fn encode(messages: &[Message], marks: bool, dropped: &mut Vec<String>) -> Vec<Value> {
    let mut out = Vec::with_capacity(messages.len());
    // Nothing may stand among results, so what came with some waits for those of the next turn.
    let mut beside = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages[{index}]");
        let message = &*documents::in_words(message, &path, dropped);
        if !message.parts.iter().any(Part::is_tool_result) {
            out.append(&mut beside);
        }
        match message.role {
            Role::Assistant => out.push(encode_assistant(message, &path, marks, dropped)),
            Role::User => encode_user(message, &path, marks, dropped, &mut out, &mut beside),
            Role::System | Role::Developer => {
                let role = if message.role == Role::Developer { "developer" } else { "system" };
                // Only words are taken there; what is shown is the user's.
                let (shown, words): (Vec<Part>, Vec<Part>) =
                    message.parts.iter().cloned().partition(documents::is_shown);
                if shown.is_empty() || !words.is_empty() {
                    out.push(turn(role, encode_content(&words, &path, marks, dropped), message));
                }
                if !shown.is_empty() {
                    out.push(turn("user", encode_content(&shown, &path, marks, dropped), message));
                }
            }
        }
    }
    out.append(&mut beside);
    out
}

fn turn(role: &str, content: Value, message: &Message) -> Value {
    let mut turn = json!({ "role": role, "content": content });
    if let Some(name) = &message.name {
        turn["name"] = json!(name);
    }
    turn
}

/// Writes a user's turn. Tool results become turns of their own, which hold only text. Everything else, with the images
/// and files of results, becomes another turn, which is left in `beside` where there are results.
fn encode_user(
    message: &Message,
    path: &str,
    marks: bool,
    dropped: &mut Vec<String>,
    out: &mut Vec<Value>,
    beside: &mut Vec<Value>,
) {
    let mut rest: Vec<Part> = Vec::new();
    let mut any_result = false;
    for (index, part) in message.parts.iter().enumerate() {
        let Part::ToolResult { call_id, content, is_error, .. } = part else {
            rest.push(part.clone());
            continue;
        };
        note_cache(part, &format!("{path}.content[{index}]"), dropped);
        any_result = true;
        let (pictures, texts): (Vec<Part>, Vec<Part>) =
            content.iter().cloned().partition(|part| matches!(part, Part::Image { .. } | Part::Foreign { .. }));
        let is_marked = marks && texts.iter().any(|text| text.breakpoint().is_some());
        let content = if is_marked {
            let failure = is_error.then(|| Part::text("Error:"));
            let texts: Vec<Part> = failure.into_iter().chain(texts).collect();
            encode_content(&texts, path, marks, dropped)
        } else {
            json!(result_text(&texts, *is_error))
        };
        out.push(json!({ "role": "tool", "tool_call_id": call_id, "content": content }));
        rest.extend(pictures);
    }
    if !rest.is_empty() || !any_result {
        let turn = turn("user", encode_content(&rest, path, marks, dropped), message);
        if any_result { beside.push(turn) } else { out.push(turn) }
    }
}

/// What a tool gave back, as one text: there is no field for failure.
pub(crate) fn result_text(content: &[Part], is_error: bool) -> String {
    let text = Part::plain_text(content);
    if is_error { format!("Error: {text}") } else { text }
}

/// Writes `content`: a string where there are only texts without marks, or nothing, else an array of parts. Many
/// look-alikes (llama-cpp-python with most templates) take no array where a string would do.
fn encode_content(parts: &[Part], path: &str, marks: bool, dropped: &mut Vec<String>) -> Value {
    let is_plain = |part: &Part| matches!(part, Part::Text { breakpoint, .. } if !marks || breakpoint.is_none());
    if parts.iter().all(is_plain) {
        for (index, part) in parts.iter().enumerate() {
            note_cache(part, &format!("{path}.content[{index}]"), dropped);
        }
        return json!(Part::plain_text(parts));
    }
    let mut out = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let here = format!("{path}.content[{index}]");
        note_cache(part, &here, dropped);
        let breakpoint = part.breakpoint().filter(|_| marks);
        match part {
            Part::Text { text, .. } => out.push(marked(json!({ "type": "text", "text": text }), breakpoint)),
            Part::Image { source, detail, .. } => {
                let mut image = json!({ "url": source.url() });
                if let Some(detail) = detail {
                    image["detail"] = json!(detail);
                }
                out.push(marked(json!({ "type": "image_url", "image_url": image }), breakpoint));
            }
            Part::Refusal { text } => out.push(json!({ "type": "refusal", "refusal": text })),
            Part::Foreign { kind, value } => match Pdf::of(kind, value) {
                _ if is_ours(kind) => {
                    let mut value = value.clone();
                    if !marks && let Some(fields) = value.as_object_mut() {
                        fields.shift_remove(BREAKPOINT);
                    }
                    out.push(value);
                }
                Some(pdf) => {
                    if value.get("cache_control").is_some_and(|marker| !marker.is_null()) {
                        dropped.push(format!("{here}.cache_control"));
                    }
                    out.push(pdf.file());
                }
                // Ruled out before as an obstacle.
                None => dropped.push(here),
            },
            Part::ToolCall { .. } | Part::ToolResult { .. } => {}
            Part::Thinking { .. } | Part::RedactedThinking { .. } => dropped.push(here),
        }
    }
    // An empty array is refused.
    if out.is_empty() { json!("") } else { Value::Array(out) }
}

/// Whether a foreign part is of a type that OpenAI's dialect has.
pub(super) fn is_ours(kind: &str) -> bool {
    matches!(kind, "input_audio" | "file" | "video_url" | "audio_url")
}

pub(crate) fn note_cache(part: &Part, path: &str, dropped: &mut Vec<String>) {
    if part.cache_control().is_some() {
        dropped.push(format!("{path}.cache_control"));
    }
}

fn encode_assistant(message: &Message, path: &str, marks: bool, dropped: &mut Vec<String>) -> Value {
    let mut turn = Map::new();
    turn.insert("role".into(), json!("assistant"));
    let said: Vec<Part> = message
        .parts
        .iter()
        .filter(|part| matches!(part, Part::Text { .. } | Part::Foreign { .. }))
        .cloned()
        .collect();
    let calls: Vec<Value> = message.parts.iter().filter_map(encode_call).collect();
    let refusals = message.parts.iter().filter_map(|part| match part {
        Part::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    let refusal: String = refusals.collect();
    let content = match said.as_slice() {
        // Null is refused where the turn has no call. Where it has one an empty text is told from none: a model that Ollama
        // serves goes over to calls in words (vercel/ai#12390), and Bedrock refuses it (vercel/ai#13466).
        [] if calls.is_empty() && refusal.is_empty() => json!(""),
        [] => Value::Null,
        said => encode_content(said, path, false, dropped),
    };
    if marks {
        // Only what is asked has such marks.
        let lost = message.parts.iter().enumerate().filter(|(_, part)| part.breakpoint().is_some());
        dropped.extend(lost.map(|(index, _)| format!("{path}.content[{index}].{BREAKPOINT}")));
    }
    turn.insert("content".into(), content);
    // An assistant's turn takes no images.
    let pictures = message.parts.iter().enumerate().filter(|(_, part)| matches!(part, Part::Image { .. }));
    dropped.extend(pictures.map(|(index, _)| format!("{path}.content[{index}]")));
    let thoughts: Vec<&str> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Thinking { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    // Vendors that want reasoning back want it inside a tool loop, and may refuse it elsewhere (DeepSeek).
    if !calls.is_empty() && !thoughts.is_empty() {
        turn.insert("reasoning_content".into(), json!(thoughts.concat()));
    } else if !thoughts.is_empty() {
        dropped.push(format!("{path}.thinking"));
    }
    if message.parts.iter().any(|part| matches!(part, Part::RedactedThinking { .. })) {
        dropped.push(format!("{path}.redacted_thinking"));
    }
    if !refusal.is_empty() {
        turn.insert("refusal".into(), json!(refusal));
    }
    if !calls.is_empty() {
        turn.insert("tool_calls".into(), Value::Array(calls));
    }
    if let Some(name) = &message.name {
        turn.insert("name".into(), json!(name));
    }
    Value::Object(turn)
}

/// Writes a tool call as an entry of `tool_calls`.
pub(crate) fn encode_call(part: &Part) -> Option<Value> {
    let Part::ToolCall { id, name, arguments } = part else { return None };
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    Some(json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }))
}

/// Reads `tools`: functions, and tools of other types as written. Unknown fields are noted in `leftovers`.
pub(crate) fn decode_tools(
    values: Vec<Value>,
    leftovers: &mut Map<String, Value>,
) -> Result<(Vec<Tool>, Vec<Value>), ApiError> {
    let mut functions = Vec::new();
    let mut others = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let mut fields = Object::of(value, format!("tools[{index}]"))?;
        if fields.peek("type").is_some_and(|kind| kind != "function") {
            others.push(fields.whole());
            continue;
        }
        let mut function = fields.need_object("function")?;
        let mut tool = self::function(&mut function)?;
        // Clients write the marker in either place.
        tool.cache_control = fields.take("cache_control").or(tool.cache_control);
        functions.push(tool);
        fields.take("type");
        function.leave(leftovers);
        fields.leave(leftovers);
    }
    Ok((functions, others))
}

/// Reads a function's definition.
pub(crate) fn function(fields: &mut Object) -> Result<Tool, ApiError> {
    Ok(Tool {
        name: fields.need_string("name")?,
        description: fields.string("description")?,
        parameters: fields.schema("parameters")?.unwrap_or_else(|| json!({ "type": "object", "properties": {} })),
        strict: fields.boolean("strict")?,
        cache_control: fields.take("cache_control"),
    })
}

/// Writes `tools`.
pub(crate) fn encode_tools(tools: &[Tool]) -> Vec<Value> {
    let tool = |tool: &Tool| {
        let mut parameters = tool.parameters.clone();
        if let Some(schema) = parameters.as_object_mut().filter(|schema| schema.get("type") == Some(&json!("object")))
        {
            // An object without `properties` is refused.
            schema.entry("properties").or_insert_with(|| json!({}));
        }
        let mut function = json!({ "name": tool.name, "parameters": parameters });
        if let Some(description) = &tool.description {
            function["description"] = json!(description);
        }
        if let Some(strict) = tool.strict {
            function["strict"] = json!(strict);
        }
        json!({ "type": "function", "function": function })
    };
    tools.iter().map(tool).collect()
}

/// Reads `tool_choice`; `None` = an unknown choice.
pub(crate) fn decode_choice(value: &Value) -> Option<ToolChoice> {
    match value.as_str() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("none") => Some(ToolChoice::None),
        Some("required") => Some(ToolChoice::Required),
        _ => value["function"]["name"].as_str().map(|name| ToolChoice::Named(name.to_owned())),
    }
}

/// Writes `tool_choice`.
pub(crate) fn encode_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}
