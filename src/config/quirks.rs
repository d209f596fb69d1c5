//! How look-alikes differ from OpenAI, and from Anthropic, as data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The field that bounds an answer's length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// OpenAI's newer name.
    MaxCompletionTokens,
    /// The older one, which most look-alikes know. The default, since a server that wants the newer one refuses this by
    /// name, while one that does not know the newer passes over it without a word: its answers are as long as it likes.
    #[default]
    MaxTokens,
}

impl MaxTokensField {
    /// The field's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxTokens => "max_tokens",
        }
    }

    /// The other of the two names.
    pub fn other(self) -> Self {
        match self {
            Self::MaxCompletionTokens => Self::MaxTokens,
            Self::MaxTokens => Self::MaxCompletionTokens,
        }
    }
}

/// How a provider differs from its dialect; the defaults are a server that takes all of it and has no more. What is
/// OpenAI's own (its limits, Responses) stands in `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// The field that bounds an answer's length, if the provider knows one name only. Absent: a request that passes
    /// through keeps the client's name for it, and a translated one gets the older name.
    pub max_tokens_field: Option<MaxTokensField>,
    /// Whether it gives its reasoning in `reasoning_content` and wants it back in tool loops (DeepSeek).
    pub reasoning_content: bool,
    /// Whether it refuses earlier tool calls without the signature of the thoughts that led to them, which its answers
    /// have in `extra_content` (Gemini 3): where a client did not send it back, one that Gemini documents stands in.
    pub thought_signatures: bool,
    /// Whether it knows the role `developer`; else such a turn is sent as `system`. Absent: it passes as it is, and a
    /// translated request says `system`, which all know.
    pub developer_role: Option<bool>,
    /// Whether it takes `content: null` in a turn that only calls tools; else the content is an empty text.
    pub null_content: bool,
    /// Whether it knows `stream_options.include_usage`.
    pub stream_usage: bool,
    /// Whether it knows `response_format` with a JSON schema; else the schema is put into words, and any JSON object
    /// is asked for.
    pub json_schema: bool,
    /// Whether it knows `parallel_tool_calls`.
    pub parallel_tool_calls: bool,
    /// Whether it knows `reasoning_effort`.
    pub reasoning_effort: bool,
    /// Whether the field `thinking` tells it not to think (DeepSeek).
    pub thinking: bool,
    /// Whether it takes files (PDF) inside a request.
    pub files: bool,
    /// Whether it has the endpoint `/responses`, too. What clients send in that dialect passes through to it, and models
    /// that refuse to think beside tools in Chat Completions are asked there for what has tools.
    pub responses: bool,
    /// Whether it continues an assistant's text at the end of the conversation; OpenAI itself answers anew.
    pub prefill: bool,
    /// Whether it says that text once more before it goes on (llama.cpp). Clients of other dialects, whose vendors do not,
    /// are told the continuation alone.
    pub repeats_prefill: bool,
    /// Most characters of a tool call's id (OpenAI: 40). Absent: ids pass as they are.
    pub longest_call_id: Option<usize>,
    /// Most tools of a request (OpenAI: 128): requests with more go elsewhere. Absent: any number is sent.
    pub most_tools: Option<usize>,
    /// Most stop strings of a request (OpenAI: 4): requests with more go elsewhere. Absent: a request that passes
    /// through may have any number, a translated one four.
    pub most_stops: Option<usize>,
    /// Whether it takes what clients of other vendors put into turns, parts and tools of this dialect (`cache_control`,
    /// `thinking_blocks`, `reasoning_details`, `provider_specific_fields`, `extra_content`); else they are left out.
    pub extra_fields: bool,
    /// Whether it takes markers for its prompt cache (`cache_control`) in requests of other dialects, whose clients set
    /// none: only where its own dialect is Anthropic's.
    pub cache_markers: bool,
    /// Top-level fields that it refuses; they are left out.
    pub leave_out: BTreeSet<String>,
    /// Top-level fields and kinds of parts that it refuses and that change the answer: requests with them go elsewhere.
    /// Of `tools` and `tool_choice` this means what only OpenAI knows.
    pub cannot: BTreeSet<String>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            max_tokens_field: None,
            reasoning_content: false,
            thought_signatures: false,
            developer_role: None,
            null_content: true,
            stream_usage: true,
            json_schema: true,
            parallel_tool_calls: true,
            reasoning_effort: true,
            thinking: false,
            files: true,
            responses: false,
            prefill: false,
            repeats_prefill: false,
            longest_call_id: None,
            most_tools: None,
            most_stops: None,
            extra_fields: true,
            cache_markers: true,
            leave_out: BTreeSet::new(),
            cannot: BTreeSet::new(),
        }
    }
}
