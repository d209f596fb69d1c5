//! The canonical chat answer.

use serde::{Deserialize, Serialize};

use super::{Part, Usage};

/// A whole answer in no dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatResponse {
    /// The vendor's id for the answer.
    pub id: String,
    /// The model as the vendor names it.
    pub model: String,
    /// What was said: text, thinking, tool calls, refusal, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop string that was met, where the vendor says so.
    pub stop_sequence: Option<String>,
    /// What it took, where the vendor says so.
    pub usage: Option<Usage>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was complete, or met a stop string.
    Stop,
    /// It ran into the token limit.
    Length,
    /// It wants tools called.
    ToolCalls,
    /// A filter cut it, or the model refused.
    ContentFilter,
    /// The vendor paused a long turn (Anthropic `pause_turn`).
    Pause,
    /// The vendor gave a reason this list does not have.
    Other,
}

impl FinishReason {
    /// Its name in the decision log and in the native API.
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
