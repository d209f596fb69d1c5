//! Edits a JSON body in place of parsing it and writing it anew: every byte outside the edits stays as it was. See
//! [`passthrough_request`] for what is edited.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Target, openai_responses};
use crate::config::MaxTokensField;
use crate::protocol::{ApiError, Dialect};

/// The client's own body for a backend of the same dialect. Only these change: `model`; at OpenAI's the name of the
/// field that bounds the answer, and the wish for a stream's usage, by which the answer is priced; fields about tools
/// where there are none, which are left out; and in Responses what [`unstored`] says. Every other byte stays.
///
/// # Errors
///
/// When the body is no JSON object.
pub fn passthrough_request(target: &Target<'_>, body: &[u8], stream: bool) -> Result<Bytes, ApiError> {
    let mut fields = fields(body)?;
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let idle = idle(target.dialect, body, &fields);
    edits.extend(cuts(body, &fields, &idle).into_iter().map(|cut| (cut, String::new())));
    let mut is_idle = idle.into_iter();
    fields.retain(|_| !is_idle.next().unwrap_or_default());
    let model = serde_json::Value::from(target.model).to_string();
    let mut found = false;
    for field in fields.iter().filter(|field| field.key == "model") {
        found = true;
        edits.push((field.value.clone(), model.clone()));
    }
    if let (Dialect::OpenAi, Some(known)) = (target.dialect, target.quirks.max_tokens_field) {
        edits.extend(renamed_limit(body, &fields, known).into_iter().flatten());
    }
    let mut added = String::new();
    if !found {
        added.push_str(&format!("\"model\":{model}"));
    }
    if stream && target.dialect == Dialect::OpenAi && target.quirks.stream_usage {
        // Each of them, as with `model`: of two, vendors take the last.
        let mut options = fields.iter().filter(|field| field.key == "stream_options").peekable();
        if options.peek().is_none() {
            if !added.is_empty() {
                added.push(',');
            }
            added.push_str("\"stream_options\":{\"include_usage\":true}");
        }
        edits.extend(options.filter_map(|field| with_usage(body, field.value.clone())));
    }
    if target.dialect == Dialect::Responses {
        unstored(target, body, &fields, &mut edits, &mut added);
    }
    if !added.is_empty() {
        let open = after_brace(body);
        let comma = if fields.is_empty() { "" } else { "," };
        edits.push((open..open, format!("{added}{comma}")));
    }
    Ok(apply(body, edits))
}

/// Edits a body of Responses so that its vendor keeps nothing of it, and gives what a model thought to the client in its
/// stead. Clients have it kept unless they say that it is not to be; then they know to send the whole conversation, as
/// they must here, and a thought that is kept nowhere is not found.
fn unstored(
    target: &Target<'_>,
    body: &[u8],
    fields: &[Field],
    edits: &mut Vec<(Range<usize>, String)>,
    added: &mut String,
) {
    let mut set = |key: &str, edit: &dyn Fn(&[u8]) -> Option<String>| {
        let mut found = fields.iter().filter(|field| field.key == key).peekable();
        if found.peek().is_none() {
            let comma = if added.is_empty() { "" } else { "," };
            added.extend(edit(b"null").map(|value| format!("{comma}\"{key}\":{value}")));
        }
        edits.extend(found.filter_map(|field| Some((field.value.clone(), edit(&body[field.value.clone()])?))));
    };
    set("store", &|written| (written != b"false").then(|| "false".to_owned()));
    if target.reasoning {
        set("include", &|written| {
            let mut wishes: Vec<serde_json::Value> = serde_json::from_slice(written).unwrap_or_default();
            let sealed = serde_json::Value::from(openai_responses::SEALED_THOUGHTS);
            (!wishes.contains(&sealed)).then(|| {
                wishes.push(sealed);
                serde_json::Value::from(wishes).to_string()
            })
        });
    }
}

/// Which of the fields speak of tools where the request has none, and are left out. Vendors refuse them, each its own
/// (OpenAI `tool_choice` and `parallel_tool_calls`, Anthropic `tool_choice`, DeepSeek an empty list of tools), and
/// translated requests go without them: whether the request is answered must not depend on the chosen model. A choice
/// that demands a call stays.
fn idle(dialect: Dialect, body: &[u8], fields: &[Field]) -> Vec<bool> {
    let written = |field: &Field| &body[field.value.clone()];
    let is_toolless = |field: &Field| match field.key.as_str() {
        "tools" => is_empty_list(written(field)) || written(field) == b"null",
        // The older form of tools, and a field that brings tools of its own: the vendor is to judge what goes with
        // these.
        "functions" | "mcp_servers" => false,
        _ => true,
    };
    let toolless = fields.iter().all(is_toolless);
    let is_idle = |field: &Field| match (dialect, field.key.as_str()) {
        (Dialect::OpenAi, "tools") => is_empty_list(written(field)),
        (Dialect::OpenAi, "tool_choice") => [&b"\"auto\""[..], b"\"none\""].contains(&written(field)),
        (Dialect::OpenAi, "parallel_tool_calls") => true,
        (Dialect::Anthropic, "tool_choice") => demands_nothing(written(field)),
        _ => false,
    };
    fields.iter().map(|field| toolless && is_idle(field)).collect()
}

/// Whether a `tool_choice` in Anthropic's form demands no call.
fn demands_nothing(written: &[u8]) -> bool {
    let choice: serde_json::Value = serde_json::from_slice(written).unwrap_or_default();
    matches!(choice["type"].as_str(), Some("auto" | "none"))
}

fn is_empty_list(written: &[u8]) -> bool {
    let within = written.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    within.is_some_and(|within| within.trim_ascii().is_empty())
}

/// The ranges to cut so that the fields marked in `out` are gone, commas included.
fn cuts(body: &[u8], fields: &[Field], out: &[bool]) -> Vec<Range<usize>> {
    let kept = out.iter().position(|out| !out).unwrap_or(out.len());
    let mut cuts = Vec::new();
    if let Some(last) = fields[..kept].last() {
        // Everything before the first field that stays goes, with the comma behind it.
        let comma = body[last.value.end..].iter().position(|byte| *byte == b',').filter(|_| kept < out.len());
        cuts.push(after_brace(body)..last.value.end + comma.map_or(0, |comma| comma + 1));
    }
    let behind = (kept + 1..out.len()).filter(|at| out[*at]);
    cuts.extend(behind.map(|at| fields[at - 1].value.end..fields[at].value.end));
    cuts
}

/// Position behind the body's opening brace.
fn after_brace(body: &[u8]) -> usize {
    body.iter().position(|byte| *byte == b'{').unwrap_or(0) + 1
}

/// The edits that give the limit of the answer's length the name that the provider knows. Under that name null may
/// stand, which means none: clients that write all of their fields write it.
fn renamed_limit(body: &[u8], fields: &[Field], known: MaxTokensField) -> Option<Vec<(Range<usize>, String)>> {
    let (known, other) = (known.as_str(), known.other().as_str());
    let named = |name: &str| fields.iter().find(|field| field.key == name);
    let field = named(other)?;
    if let Some(known) = named(known) {
        let limit = String::from_utf8_lossy(&body[field.value.clone()]).into_owned();
        let is_null = &body[known.value.clone()] == b"null";
        return is_null.then(|| vec![(known.value.clone(), limit), (field.value.clone(), "null".into())]);
    }
    let before = body[..field.value.start].trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let start = before.strip_suffix(format!("\"{other}\"").as_bytes())?.len();
    Some(vec![(start..before.len(), format!("\"{known}\""))])
}

/// The edit that sets `include_usage` in `stream_options` and keeps its other fields.
fn with_usage(body: &[u8], span: Range<usize>) -> Option<(Range<usize>, String)> {
    let mut options: serde_json::Value = serde_json::from_slice(&body[span.clone()]).ok()?;
    if options.is_null() {
        options = serde_json::json!({});
    }
    options.as_object_mut()?.insert("include_usage".into(), true.into());
    Some((span, options.to_string()))
}

/// The body with each range replaced by its text. The ranges must not overlap.
pub(super) fn apply(body: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Bytes {
    // An insertion comes before a cut at the same place.
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut at = 0;
    for (span, text) in edits {
        out.extend_from_slice(&body[at..span.start]);
        out.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(&body[at..]);
    Bytes::from(out)
}

/// A top-level field and the range of its value.
struct Field {
    key: String,
    value: Range<usize>,
}

fn fields(body: &[u8]) -> Result<Vec<Field>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::invalid("the body is no valid UTF-8"))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(Spans { start: text.as_ptr() as usize })
        .map_err(|_| ApiError::invalid("the body is no JSON object"))
}

/// Collects the range of each top-level value.
struct Spans {
    start: usize,
}

impl<'de> Visitor<'de> for Spans {
    type Value = Vec<Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            // A borrowed raw value is a slice of the body itself, so its address tells where it stands.
            let at = value.get().as_ptr() as usize - self.start;
            fields.push(Field { key, value: at..at + value.get().len() });
        }
        Ok(fields)
    }
}
