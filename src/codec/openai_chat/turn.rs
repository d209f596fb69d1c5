//! The assistant's turn on the wire: of a whole answer, or a piece of it in a stream. Reading allows for what look-alikes
//! leave out or write otherwise.

use serde::Deserialize;
use serde_json::Value;

#[derive(Default, Deserialize)]
pub(super) struct Turn {
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
pub(super) struct Call {
    /// Which call a piece belongs to; whole answers have none.
    #[serde(default, deserialize_with = "super::super::json::count")]
    pub(super) index: Option<u64>,
    #[serde(default, deserialize_with = "super::super::json::text")]
    pub(super) id: String,
    #[serde(default)]
    function: Option<Function>,
    /// A call of a custom tool, which only requests that passed through can have.
    #[serde(default)]
    custom: Option<Function>,
}

#[derive(Default, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: Option<String>,
    /// JSON text or a piece of it; some look-alikes write the object itself.
    #[serde(default, alias = "input", deserialize_with = "super::super::raw::text")]
    pub(super) arguments: Option<String>,
}

/// Each takes what it tells out of the turn; `None` where there is nothing to tell.
impl Turn {
    pub(super) fn thought(&mut self) -> Option<String> {
        let reasoning = || self.reasoning.take().and_then(|value| value.as_str().map(str::to_owned));
        filled(self.reasoning_content.take().or_else(reasoning))
    }

    pub(super) fn text(&mut self) -> Option<String> {
        filled(self.content.take().map(text_of))
    }

    pub(super) fn refusal(&mut self) -> Option<String> {
        filled(self.refusal.take())
    }

    pub(super) fn calls(&mut self) -> Vec<Call> {
        self.tool_calls.take().unwrap_or_default()
    }
}

impl Call {
    /// Takes what is called out of it, and with which arguments.
    pub(super) fn function(&mut self) -> Option<Function> {
        self.function.take().or_else(|| self.custom.take())
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The text of a `content`: a string, or an array of parts, which some servers write.
fn text_of(content: Value) -> String {
    match content {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}
