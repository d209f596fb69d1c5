//! Documents and cited texts, translated between dialects.
//!
//! A PDF inside a request is a `document` for Anthropic and a `file` for OpenAI. A document of plain text, and a text
//! with citations, become plain texts elsewhere, and so does the name of a tool that a search for tools found: programs
//! send its definition, too. A file that is only named by a vendor's id cannot be translated, nor
//! can a document that the answer is to cite.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::protocol::{Message, Part};

const DATA_URI: &str = "data:application/pdf;base64,";

/// A PDF inside a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pdf<'a> {
    base64: &'a str,
    name: Option<&'a str>,
}

impl<'a> Pdf<'a> {
    /// The PDF in a part of either dialect; `None` = the part is no PDF.
    pub(super) fn of(kind: &str, value: &'a Value) -> Option<Self> {
        match kind {
            "file" => Some(Self {
                base64: value["file"]["file_data"].as_str()?.strip_prefix(DATA_URI)?,
                name: value["file"]["filename"].as_str(),
            }),
            "document" if !wants_citations(value) && value["source"]["media_type"] == "application/pdf" => {
                Some(Self { base64: value["source"]["data"].as_str()?, name: value["title"].as_str() })
            }
            _ => None,
        }
    }

    /// The PDF in OpenAI's dialect, which requires a name.
    pub(super) fn file(&self) -> Value {
        let name = self.name.unwrap_or("document.pdf");
        json!({ "type": "file", "file": { "filename": name, "file_data": format!("{DATA_URI}{}", self.base64) } })
    }

    /// The PDF in Anthropic's dialect.
    pub(super) fn document(&self) -> Value {
        let source = json!({ "type": "base64", "media_type": "application/pdf", "data": self.base64 });
        let mut document = json!({ "type": "document", "source": source });
        if let Some(name) = self.name {
            document["title"] = json!(name);
        }
        document
    }
}

fn wants_citations(document: &Value) -> bool {
    document["citations"]["enabled"] == true
}

/// Whether a part is something that is shown, a picture or a file, and no words.
pub(super) fn is_shown(part: &Part) -> bool {
    matches!(part, Part::Image { .. } | Part::Foreign { .. }) && words(part).is_none()
}

/// The text of a part that is nothing but text, in a form that not every dialect has.
pub(super) fn words(part: &Part) -> Option<String> {
    let Part::Foreign { kind, value } = part else { return None };
    match kind.as_str() {
        "text" => value["text"].as_str().map(str::to_owned),
        "document" if !wants_citations(value) && value["source"]["type"] == "text" => {
            let said = [&value["title"], &value["context"], &value["source"]["data"]];
            let said: Vec<&str> = said.into_iter().filter_map(Value::as_str).collect();
            Some(said.join("\n\n"))
        }
        "tool_reference" => value["tool_name"].as_str().map(|name| format!("{name} can be called now.")),
        _ => None,
    }
}

/// A part that is nothing but text (see [`words`]) as a plain text part; any other part as it is.
pub(super) fn plain(part: Part) -> Part {
    let Some(text) = words(&part) else { return part };
    let Part::Foreign { value, .. } = &part else { return part };
    let marker = value.get("cache_control").filter(|marker| !marker.is_null());
    Part::Text { text, cache_control: marker.cloned(), breakpoint: None }
}

/// A turn whose parts were all put through [`plain`]; citations that are lost are noted in `dropped`.
pub(super) fn in_words<'a>(message: &'a Message, path: &str, dropped: &mut Vec<String>) -> Cow<'a, Message> {
    if !message.parts.iter().any(has_words) {
        return Cow::Borrowed(message);
    }
    let mut message = message.clone();
    put_in_words(&mut message.parts, path, dropped);
    Cow::Owned(message)
}

fn has_words(part: &Part) -> bool {
    match part {
        Part::ToolResult { content, .. } => content.iter().any(has_words),
        _ => words(part).is_some(),
    }
}

fn put_in_words(parts: &mut [Part], path: &str, dropped: &mut Vec<String>) {
    for (index, part) in parts.iter_mut().enumerate() {
        let here = format!("{path}.content[{index}]");
        match part {
            Part::ToolResult { content, .. } => put_in_words(content, &here, dropped),
            Part::Foreign { value, .. } => {
                let cited = value["citations"].as_array().is_some_and(|all| !all.is_empty());
                *part = plain(part.clone());
                if cited && matches!(part, Part::Text { .. }) {
                    dropped.push(format!("{here}.citations"));
                }
            }
            _ => {}
        }
    }
}
