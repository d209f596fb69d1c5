//! Changes a body without writing it anew: every byte that is not `model` (or the wish for usage, or the name of the field
//! that bounds the answer, or a field that is [`idle`]) stays as it was.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Target;
use crate::config::MaxTokensField;
use crate::protocol::{ApiError, Dialect};

/// The client's body for a backend of the same dialect.
pub(super) fn request(target: &Target<'_>, body: &[u8], stream: bool) -> Result<Bytes, ApiError> {
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
        edits.extend(renamed_limit(body, &fields, known));
    }
    let mut added = String::new();
    if !found {
        added.push_str(&format!("\"model\":{model}"));
    }
    if stream && target.dialect == Dialect::OpenAi && target.quirks.stream_usage {
        match fields.iter().find(|field| field.key == "stream_options") {
            None => {
                if !added.is_empty() {
                    added.push(',');
                }
                added.push_str("\"stream_options\":{\"include_usage\":true}");
            }
            Some(field) => edits.extend(with_usage(body, field.value.clone())),
        }
    }
    if !added.is_empty() {
        let open = opened(body);
        let comma = if fields.is_empty() { "" } else { "," };
        edits.push((open..open, format!("{added}{comma}")));
    }
    Ok(apply(body, edits))
}

/// Which of the fields ask for nothing, as there are no tools. Vendors refuse them there, each its own (OpenAI
/// `tool_choice` and `parallel_tool_calls`, Anthropic `tool_choice`, DeepSeek a list of no tools), and other dialects
/// leave them out: it would depend on the model that is chosen whether the request is answered. A call that is demanded
/// is no such field.
fn idle(dialect: Dialect, body: &[u8], fields: &[Field]) -> Vec<bool> {
    let written = |field: &Field| &body[field.value.clone()];
    let is_toolless = |field: &Field| match field.key.as_str() {
        "tools" => is_empty_list(written(field)) || written(field) == b"null",
        // Their older form, and what brings tools of its own: vendors know best what goes with these.
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

/// Whether a choice in Anthropic's form leaves it to the model, or wants no call.
fn demands_nothing(written: &[u8]) -> bool {
    let choice: serde_json::Value = serde_json::from_slice(written).unwrap_or_default();
    matches!(choice["type"].as_str(), Some("auto" | "none"))
}

fn is_empty_list(written: &[u8]) -> bool {
    let within = written.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    within.is_some_and(|within| within.trim_ascii().is_empty())
}

/// Where the fields stand that are `out`, each with a comma that parts it from its neighbour.
fn cuts(body: &[u8], fields: &[Field], out: &[bool]) -> Vec<Range<usize>> {
    let kept = out.iter().position(|out| !out).unwrap_or(out.len());
    let mut cuts = Vec::new();
    if let Some(last) = fields[..kept].last() {
        // Before the first that stays there is none to part it from.
        let comma = body[last.value.end..].iter().position(|byte| *byte == b',').filter(|_| kept < out.len());
        cuts.push(opened(body)..last.value.end + comma.map_or(0, |comma| comma + 1));
    }
    let behind = (kept + 1..out.len()).filter(|at| out[*at]);
    cuts.extend(behind.map(|at| fields[at - 1].value.end..fields[at].value.end));
    cuts
}

/// Where the first field of a body may stand.
fn opened(body: &[u8]) -> usize {
    body.iter().position(|byte| *byte == b'{').unwrap_or(0) + 1
}

/// The field that bounds the answer under the name that is known, where it came under the other.
fn renamed_limit(body: &[u8], fields: &[Field], known: MaxTokensField) -> Option<(Range<usize>, String)> {
    let (known, other) = (known.as_str(), known.other().as_str());
    let field = fields.iter().find(|field| field.key == other)?;
    if fields.iter().any(|field| field.key == known) {
        return None;
    }
    let before = body[..field.value.start].trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let start = before.strip_suffix(format!("\"{other}\"").as_bytes())?.len();
    Some((start..before.len(), format!("\"{known}\"")))
}

/// `stream_options` with `include_usage` on, and whatever else is in it.
fn with_usage(body: &[u8], span: Range<usize>) -> Option<(Range<usize>, String)> {
    let mut options: serde_json::Value = serde_json::from_slice(&body[span.clone()]).ok()?;
    if options.is_null() {
        options = serde_json::json!({});
    }
    options.as_object_mut()?.insert("include_usage".into(), true.into());
    Some((span, options.to_string()))
}

/// A body with the text of each of these places, which do not overlap, in another's stead.
pub(super) fn apply(body: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Bytes {
    // What is added comes before what is cut out there.
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

/// A top-level field and where its value stands.
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

/// Notes where each top-level value stands.
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
