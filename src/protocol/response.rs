//! The canonical whole answer.

use serde::{Deserialize, Serialize};

use super::{Part, Usage};

/// A whole answer in no dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatResponse {
    /// The vendor's id for the answer.
    pub id: String,
    /// The model as the vendor names it.
    pub model: String,
    /// The content, in order: text, thinking, tool calls, refusal.
    pub parts: Vec<Part>,
    /// Why the answer ended.
    pub finish_reason: FinishReason,
    /// The stop string that ended the answer, where the vendor reports it.
    pub stop_sequence: Option<String>,
    /// The tokens, where the vendor reports them.
    pub usage: Option<Usage>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The answer is complete, or met a stop string.
    Stop,
    /// The answer reached the token limit.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A filter cut the answer off, or the model refused.
    ContentFilter,
    /// The vendor paused a long turn (Anthropic `pause_turn`).
    Pause,
    /// The vendor gave a reason this list does not have.
    Other,
}

impl FinishReason {
    /// The reason of an answer whose vendor told none.
    pub fn unsaid(any_call: bool) -> Self {
        if any_call { Self::ToolCalls } else { Self::Other }
    }

    /// The reason's name in the decision log and in the native API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Pause => "pause",
            Self::Other => "other",
        }
    }
}
