//! Anthropic's content blocks <-> [`Part`]s. Blocks of unknown types, texts with citations and images by file id are
//! kept as written.

use serde_json::{Map, Value, json};

use super::super::characters;
use super::super::documents::Pdf;
use super::super::json::{Object, wrong_type};
use super::super::raw;
use super::{is_claudes, is_vendors};
use crate::protocol::{ApiError, ImageSource, Part};

/// Reads `content`: a string, or blocks. Unknown fields are noted in `leftovers`.
pub(crate) fn decode(content: Value, path: &str, leftovers: &mut Map<String, Value>) -> Result<Vec<Part>, ApiError> {
    match content {
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Array(items) => {
            let block = |(index, item)| decode_block(item, format!("{path}[{index}]"), leftovers);
            items.into_iter().enumerate().map(block).collect()
        }
        other => Err(wrong_type(path, "a string or an array of blocks", &other)),
    }
}

/// Reads one block.
pub(super) fn decode_block(value: Value, path: String, leftovers: &mut Map<String, Value>) -> Result<Part, ApiError> {
    let mut fields = Object::of(value, path)?;
    let kind = fields.kind()?;
    let part = match kind.as_str() {
        // A text part cannot hold citations: such a block is kept as written.
        "text" if fields.peek("citations").is_none() => {
            let text = fields.need_string("text")?;
            Part::Text { text, cache_control: fields.take("cache_control"), breakpoint: None }
        }
        // An image given by the vendor's file id is kept as written, too.
        "image" if fields.peek("source").is_none_or(|source| source["type"] != "file") => {
            image(&mut fields, leftovers)?
        }
        "tool_use" => Part::ToolCall {
            id: fields.need_string("id")?,
            name: fields.need_string("name")?,
            arguments: fields.take("input").unwrap_or_else(|| json!({})).to_string(),
        },
        "tool_result" => {
            let call_id = fields.need_string("tool_use_id")?;
            let path = fields.at("content");
            let content = fields.take("content").map(|content| decode(content, &path, leftovers)).transpose()?;
            Part::ToolResult {
                call_id,
                content: content.unwrap_or_default(),
                is_error: fields.boolean("is_error")?.unwrap_or(false),
                cache_control: fields.take("cache_control"),
            }
        }
        "thinking" => Part::Thinking {
            text: fields.need_string("thinking")?,
            signature: fields.string("signature")?.filter(|signature| is_vendors(signature)),
        },
        "redacted_thinking" => Part::RedactedThinking { data: fields.need_string("data")? },
        _ => return Ok(Part::Foreign { kind, value: fields.whole() }),
    };
    fields.take("type");
    fields.leave(leftovers);
    Ok(part)
}

fn image(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Part, ApiError> {
    let mut source = fields.need_object("source")?;
    let picture = match source.need_string("type")?.as_str() {
        "url" => ImageSource::Url(source.need_string("url")?),
        _ => ImageSource::Base64 { media_type: source.need_string("media_type")?, data: source.need_string("data")? },
    };
    source.leave(leftovers);
    let cache_control = fields.take("cache_control");
    Ok(Part::Image { source: picture, detail: None, cache_control, breakpoint: None })
}

/// Writes blocks; what could not be carried over is noted in `dropped`.
pub(crate) fn encode(parts: &[Part], path: &str, dropped: &mut Vec<String>) -> Vec<Value> {
    let mut out = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let here = format!("{path}.content[{index}]");
        match part {
            // Blank texts are refused.
            Part::Text { text, .. } | Part::Refusal { text } if is_blank(text) => {}
            Part::Text { text, cache_control, .. } => {
                out.push(marked(json!({ "type": "text", "text": text }), cache_control.as_ref()));
            }
            Part::Refusal { text } => out.push(json!({ "type": "text", "text": text })),
            Part::Image { source, detail, cache_control, .. } => {
                if detail.as_ref().is_some_and(|detail| detail != "auto") {
                    dropped.push(format!("{here}.image_url.detail"));
                }
                let source = match source {
                    ImageSource::Url(url) => json!({ "type": "url", "url": url }),
                    ImageSource::Base64 { media_type, data } => {
                        json!({ "type": "base64", "media_type": type_of(data, media_type), "data": data })
                    }
                };
                out.push(marked(json!({ "type": "image", "source": source }), cache_control.as_ref()));
            }
            Part::ToolCall { id, name, arguments } => {
                out.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input(arguments) }));
            }
            Part::ToolResult { call_id, content, is_error, cache_control } => {
                let content = encode(content, &here, dropped);
                let mut block = json!({ "type": "tool_result", "tool_use_id": call_id, "content": content });
                if *is_error {
                    block["is_error"] = json!(true);
                }
                out.push(marked(block, cache_control.as_ref()));
            }
            // Anthropic takes only thinking that it signed itself.
            Part::Thinking { text, signature: Some(signature) } if is_claudes(signature) => {
                out.push(json!({ "type": "thinking", "thinking": text, "signature": signature }));
            }
            Part::Thinking { .. } => dropped.push(format!("{path}.thinking")),
            Part::RedactedThinking { data } => out.push(json!({ "type": "redacted_thinking", "data": data })),
            Part::Foreign { kind, value } if is_ours(kind, value) => out.push(value.clone()),
            Part::Foreign { kind, value } => match Pdf::of(kind, value) {
                Some(pdf) => out.push(pdf.document()),
                // Ruled out before as an obstacle.
                None => dropped.push(here),
            },
        }
    }
    out
}

/// The media type of a picture by its first bytes, in base64; the one that was said where they do not tell. Anthropic
/// refuses a picture of another type than it is said to be, OpenAI does not look, and many programs say one type of all.
fn type_of<'t>(data: &str, said: &'t str) -> &'t str {
    let known =
        [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    known.iter().find(|(beginning, _)| data.starts_with(beginning)).map_or(said, |(_, media_type)| media_type)
}

/// Whether a foreign part is a block that Anthropic takes as it is.
pub(super) fn is_ours(kind: &str, value: &Value) -> bool {
    match kind {
        // A foreign part of these types may come from another dialect, in another form.
        "text" | "image" => decode_block(value.clone(), String::new(), &mut Map::new()).is_ok(),
        "document" | "search_result" | "server_tool_use" | "mcp_tool_use" | "container_upload" => true,
        _ => kind.ends_with("_tool_result"),
    }
}

/// Whether a text is blank, which the dialect refuses.
pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn marked(mut block: Value, cache_control: Option<&Value>) -> Value {
    if let Some(marker) = cache_control {
        block["cache_control"] = marker.clone();
    }
    block
}

/// A call's arguments as the object that Anthropic requires. It stands as a text, see [`raw`].
pub(crate) fn input(arguments: &str) -> Value {
    Value::String(object(arguments))
}

/// A call's arguments as a JSON object; a model may have written invalid JSON.
pub(super) fn object(arguments: &str) -> String {
    match arguments.trim() {
        "" | "null" => "{}".into(),
        said if !raw::is_sound(said) => match characters::whole(said.as_bytes()).map(String::from_utf8) {
            Some(Ok(whole)) if raw::is_sound(&whole) => object(&whole),
            _ => json!({ "arguments": arguments }).to_string(),
        },
        said if said.starts_with('{') => said.to_owned(),
        said => format!("{{\"value\":{said}}}"),
    }
}
