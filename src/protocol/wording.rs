//! Every text of a request, for whoever asks what stands in it before it may leave.
//!
//! What stands in JSON that is itself a text (a tool's arguments, mostly its results) is written with escapes there:
//! `\u6a5f` for a letter beyond ASCII, `\n` right before a word. So such a text is looked at as written and as meant.

use serde_json::Value;

use super::{ChatRequest, Message, Part, ResponseFormat, Tool};

/// JSON within JSON within JSON is looked into; nobody writes more by accident.
const DEEPEST: usize = 3;

/// Whether something is found in a text.
type Found<'a> = dyn Fn(&str) -> bool + 'a;

impl ChatRequest {
    /// Whether `found` says so of any text that is sent: in the messages, what stands in tools' arguments and results
    /// included, then beside them (tools, the schema of the answer, fields that nobody or only the client's dialect
    /// knows, and whatever else the client words). Of a text with escapes it is asked again without them. Neither what
    /// pictures show nor the name of the model is looked at.
    pub fn any_text(&self, found: &dyn Fn(&str) -> bool) -> bool {
        let found = &|text: &str| is_in(text, DEEPEST, found);
        self.messages.iter().any(|message| in_message(message, found)) || self.any_text_beside(found)
    }

    /// The same for all that is no message.
    fn any_text_beside(&self, found: &Found<'_>) -> bool {
        let in_format = |format: &ResponseFormat| match format {
            ResponseFormat::JsonObject => false,
            ResponseFormat::JsonSchema { name, schema, .. } => found(name) || in_value(schema, found),
        };
        self.tools.iter().any(|tool| in_tool(tool, found))
            || self.response_format.as_ref().is_some_and(in_format)
            || self.sampling.stop.iter().any(|stop| found(stop))
            || self.user.as_deref().is_some_and(found)
            || self.extensions.values().chain(self.leftovers.values()).any(|field| in_value(field, found))
    }
}

fn in_message(message: &Message, found: &Found<'_>) -> bool {
    message.name.as_deref().is_some_and(found) || message.parts.iter().any(|part| in_part(part, found))
}

fn in_part(part: &Part, found: &Found<'_>) -> bool {
    match part {
        Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text } => found(text),
        Part::ToolCall { name, arguments, .. } => found(name) || found(arguments),
        Part::ToolResult { content, .. } => content.iter().any(|part| in_part(part, found)),
        Part::Foreign { value, .. } => in_value(value, found),
        Part::Image { .. } | Part::RedactedThinking { .. } => false,
    }
}

fn in_tool(tool: &Tool, found: &Found<'_>) -> bool {
    found(&tool.name) || tool.description.as_deref().is_some_and(found) || in_value(&tool.parameters, found)
}

/// In the values of a JSON value, and in the names that a schema gives to properties. Other names are a dialect's own
/// (`type`, `source`) and say nothing.
fn in_value(value: &Value, found: &Found<'_>) -> bool {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().any(|item| in_value(item, found)),
        Value::Object(fields) => fields.iter().any(|(name, field)| {
            let mut properties = field.as_object().filter(|_| name == "properties").into_iter().flatten();
            properties.any(|(name, _)| found(name)) || in_value(field, found)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// In a text as written, or with its escapes undone up to `depth` times.
fn is_in(text: &str, depth: usize, found: &Found<'_>) -> bool {
    found(text) || (depth > 0 && unescaped(text).is_some_and(|meant| is_in(&meant, depth - 1, found)))
}

/// A text with JSON's escapes undone; `None` where it has none.
fn unescaped(text: &str) -> Option<String> {
    let mut rest = text;
    let mut plain = String::new();
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (letter, after) = escaped(after).unwrap_or(('\\', after));
        plain.push(letter);
        rest = after;
    }
    plain.push_str(rest);
    // Every escape is longer than the letter it stands for.
    (plain.len() < text.len()).then_some(plain)
}

/// The letter that an escape stands for, by what follows its backslash; and what follows the escape.
fn escaped(after: &str) -> Option<(char, &str)> {
    let letter = match after.chars().next()? {
        'u' => return numbered(&after[1..]),
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        mark @ ('"' | '\\' | '/') => mark,
        _ => return None,
    };
    Some((letter, &after[1..]))
}

/// A letter by its number, or by two where it is one of those that UTF-16 writes in two units.
fn numbered(digits: &str) -> Option<(char, &str)> {
    let unit = |digits: &str| u16::from_str_radix(digits.get(..4)?, 16).ok();
    let (first, after) = (unit(digits)?, digits.get(4..)?);
    if let Some(letter) = char::from_u32(first.into()) {
        return Some((letter, after));
    }
    let second = after.strip_prefix("\\u")?;
    let letter = char::decode_utf16([first, unit(second)?]).next()?.ok()?;
    Some((letter, second.get(4..)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::Role;

    fn says(request: &ChatRequest, word: &str) -> bool {
        request.any_text(&|text| text.contains(word))
    }

    #[test]
    fn escapes_are_undone() {
        for (written, meant) in [
            (r"\u6a5f\u5bc6", "\u{6a5f}\u{5bc6}"),
            (r#"a\n\"b\"\/\\"#, "a\n\"b\"/\\"),
            (r"\ud83d\ude00!", "\u{1f600}!"),
            (r"M\u00fcller", "M\u{fc}ller"),
        ] {
            assert_eq!(unescaped(written).as_deref(), Some(meant));
        }
        // No escapes, or none that JSON knows; the last is half of a pair.
        for plain in ["", "plain", r"C:\Users", r"\", r"\u12", r"\u00\u{e9}", r"\ud83d", r"\ud83dx"] {
            assert_eq!(unescaped(plain), None, "{plain}");
        }
    }

    #[test]
    fn json_in_a_text_is_looked_at_as_it_is_meant() {
        let word = "\u{6a5f}\u{5bc6}";
        let result = |text: &str| {
            let content = vec![Part::text(text)];
            let part = Part::ToolResult { call_id: "1".into(), content, is_error: false, cache_control: None };
            let messages = vec![Message { role: Role::User, parts: vec![part], name: None }];
            ChatRequest { messages, ..ChatRequest::default() }
        };
        let ascii = r#"{"d": "\u6a5f\u5bc6 report"}"#;
        let nested = json!({ "body": ascii }).to_string();
        for text in [ascii, &nested, &format!("The tool says: {ascii}"), &ascii[..ascii.len() - 2]] {
            assert!(says(&result(text), word), "{text}");
        }
        assert!(!says(&result(r#"{"d": "\u6a5f report"}"#), word));
        let call = Part::ToolCall { id: "1".into(), name: "f".into(), arguments: ascii.into() };
        let messages = vec![Message { role: Role::Assistant, parts: vec![call], name: None }];
        assert!(says(&ChatRequest { messages, ..ChatRequest::default() }, word));
    }

    #[test]
    fn what_is_sent_beside_the_messages_is_looked_at() {
        let schema = json!({ "type": "object", "properties": { "confidential": { "type": "string" } } });
        let tool = |name: &str, description: Option<&str>, parameters: Value| ChatRequest {
            tools: vec![Tool {
                name: name.into(),
                description: description.map(str::to_owned),
                parameters,
                strict: None,
                cache_control: None,
            }],
            ..ChatRequest::default()
        };
        let field = |name: &str, value: Value| ChatRequest {
            extensions: [(name.to_owned(), value)].into_iter().collect(),
            ..ChatRequest::default()
        };
        let named = Message { name: Some("confidential".into()), ..Message::text(Role::User, "hi") };
        let format = ResponseFormat::JsonSchema { name: "answer".into(), schema: schema.clone(), strict: None };
        let mut stops = ChatRequest::default();
        stops.sampling.stop = vec!["confidential".into()];
        for request in [
            tool("confidential", None, Value::Null),
            tool("f", Some("the confidential ledger"), Value::Null),
            tool("f", None, schema.clone()),
            field("prediction", json!({ "type": "content", "content": "# confidential" })),
            field("functions", json!([{ "name": "f", "parameters": schema }])),
            field("metadata", json!({ "project": "confidential" })),
            ChatRequest { response_format: Some(format), ..ChatRequest::default() },
            ChatRequest { messages: vec![named], ..ChatRequest::default() },
            ChatRequest { user: Some("confidential".into()), ..ChatRequest::default() },
            stops,
            ChatRequest {
                leftovers: [("tools[0].input_examples".to_owned(), json!(["confidential"]))].into_iter().collect(),
                ..ChatRequest::default()
            },
        ] {
            assert!(says(&request, "confidential"), "{request:?}");
        }
        let dialects_own = field("confidential", json!({ "confidential": true }));
        assert!(!says(&dialects_own, "confidential"), "a field's name is no text");
    }
}
