//! The canonical form of a streamed answer, piece by piece.

use super::{ApiError, FinishReason, Usage};

/// One step of a streamed answer. A well-formed stream is `Start`, any number of deltas and `Usage`s, `Finish`,
/// or at any point `Error`, after which nothing follows.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// The answer has begun.
    Start {
        /// The vendor's id for the answer.
        id: String,
        /// The model as the vendor names it.
        model: String,
    },
    /// More text.
    Text(String),
    /// More reasoning.
    Thinking(String),
    /// The vendor's signature over the reasoning so far.
    ThinkingSignature(String),
    /// Reasoning the vendor encrypted, whole.
    RedactedThinking(String),
    /// More of a refusal.
    Refusal(String),
    /// A piece of a tool call.
    ToolCall(ToolCallDelta),
    /// Something that only the vendor's own dialect can say, as the call of a tool that the vendor runs itself: clients of
    /// that dialect get its bytes. How long the text is that the model wrote for it.
    Foreign(usize),
    /// Token counts so far, cumulative.
    Usage(Usage),
    /// The answer is complete.
    Finish {
        /// Why the answer ended.
        reason: FinishReason,
        /// The stop string that ended the answer.
        stop_sequence: Option<String>,
    },
    /// The answer broke off.
    Error(ApiError),
}

/// A piece of a tool call. The first piece of a call carries its id and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Which of the answer's calls, counted from 0.
    pub index: usize,
    /// Id and name, in the call's first piece only.
    pub start: Option<(String, String)>,
    /// More of the arguments' JSON text; may be empty.
    pub arguments: String,
}

impl StreamEvent {
    /// Whether the event carries a piece of the answer: once a client has one, failover would be visible.
    pub fn is_content(&self) -> bool {
        matches!(
            self,
            Self::Text(_)
                | Self::Thinking(_)
                | Self::ThinkingSignature(_)
                | Self::RedactedThinking(_)
                | Self::Refusal(_)
                | Self::ToolCall(_)
                | Self::Foreign(_)
        )
    }

    /// Whether a client has something to read or to do, as [`Part::says_something`](super::Part::says_something) says
    /// of a whole answer's parts.
    pub fn says_something(&self) -> bool {
        match self {
            Self::Text(text) | Self::Refusal(text) => !text.trim().is_empty(),
            Self::ToolCall(_) | Self::Foreign(_) => true,
            _ => false,
        }
    }

    /// Bytes of the answer that the event carries: what the vendor generated and charges for.
    pub fn answer_bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Thinking(text) | Self::Refusal(text) => text.len(),
            Self::RedactedThinking(data) => data.len(),
            Self::Foreign(length) => *length,
            // What a decoder writes for a call without arguments, behind the count that the vendor gave.
            Self::ToolCall(ToolCallDelta { start: None, arguments, .. }) if arguments == "{}" => 0,
            Self::ToolCall(call) => call.start.as_ref().map_or(0, |(_, name)| name.len()) + call.arguments.len(),
            Self::Start { .. }
            | Self::ThinkingSignature(_)
            | Self::Usage(_)
            | Self::Finish { .. }
            | Self::Error(_) => 0,
        }
    }

    /// Bytes of memory that the event takes, about: its texts and the event itself.
    pub fn memory_bytes(&self) -> usize {
        let texts = match self {
            // Its text is not kept.
            Self::Foreign(_) => 0,
            Self::ThinkingSignature(signature) => signature.len(),
            Self::ToolCall(ToolCallDelta { start: Some((id, _)), .. }) => id.len() + self.answer_bytes(),
            _ => self.answer_bytes(),
        };
        size_of::<Self>() + texts
    }
}
