//! Ollama's native `POST /api/chat` ("API", ollama/ollama docs/api.md), spoken to backends.
//!
//! What is particular: sampling lives in `options`, pictures are base64 beside the text, tool calls come whole with
//! object arguments and without ids, a stream is lines of JSON and the last one has `done`.

pub(super) mod request;
pub(super) mod response;
pub(super) mod stream;

use serde::Deserialize;
use serde_json::Value;

use crate::protocol::{FinishReason, Usage};

/// A whole reply, or one line of a streamed one.
#[derive(Debug, Deserialize)]
pub(super) struct Wire {
    #[serde(default, deserialize_with = "super::json::text")]
    pub(super) model: String,
    #[serde(default)]
    pub(super) message: Option<Turn>,
    #[serde(default)]
    pub(super) done: bool,
    #[serde(default)]
    pub(super) done_reason: Option<String>,
    #[serde(default, deserialize_with = "super::json::count")]
    pub(super) prompt_eval_count: Option<u64>,
    #[serde(default, deserialize_with = "super::json::count")]
    pub(super) eval_count: Option<u64>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

/// The assistant's turn.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Turn {
    #[serde(default, deserialize_with = "super::json::text")]
    pub(super) content: String,
    #[serde(default)]
    pub(super) thinking: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Call {
    #[serde(default, deserialize_with = "super::json::text")]
    pub(super) id: String,
    pub(super) function: Function,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    #[serde(default, deserialize_with = "super::raw::text")]
    pub(super) arguments: Option<String>,
}

impl Wire {
    /// The token counts, where the reply has any.
    pub(super) fn usage(&self) -> Option<Usage> {
        (self.prompt_eval_count.is_some() || self.eval_count.is_some()).then(|| Usage {
            input_tokens: self.prompt_eval_count.unwrap_or_default(),
            output_tokens: self.eval_count.unwrap_or_default(),
            ..Usage::default()
        })
    }

    /// The finish reason; Ollama says "stop" for tool calls, too.
    pub(super) fn finish(&self, any_call: bool) -> FinishReason {
        match self.done_reason.as_deref() {
            Some("length") => FinishReason::Length,
            _ if any_call => FinishReason::ToolCalls,
            Some("stop") | None => FinishReason::Stop,
            Some(_) => FinishReason::Other,
        }
    }
}

impl Call {
    /// The call's id (empty where there is none), its name, and its arguments as JSON text.
    pub(super) fn parts(self) -> (String, String, String) {
        let arguments = self.function.arguments.unwrap_or_else(|| "{}".into());
        (self.id, self.function.name, arguments)
    }
}
