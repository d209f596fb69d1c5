//! The vendors that the sandbox stands in for, and the form of their errors.

use serde_json::json;

use super::frames::Frames;

/// A vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// OpenAI.
    OpenAi,
    /// DeepSeek: OpenAI's format with reasoning.
    DeepSeek,
    /// Anthropic.
    Anthropic,
    /// Ollama.
    Ollama,
}

impl Vendor {
    pub(super) const ALL: [Self; 4] = [Self::OpenAi, Self::DeepSeek, Self::Anthropic, Self::Ollama];

    /// The prefix of the vendor's paths on the sandbox's server.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::OpenAi => "/openai",
            Self::DeepSeek => "/deepseek",
            Self::Anthropic => "/anthropic",
            Self::Ollama => "/ollama",
        }
    }

    /// An error in the vendor's format.
    pub(super) fn error(self, status: u16, kind: &str, message: &str) -> Frames {
        let value = match self {
            Self::OpenAi | Self::DeepSeek => {
                json!({ "error": { "message": message, "type": kind, "param": null, "code": kind } })
            }
            Self::Anthropic => json!({ "type": "error", "error": { "type": kind, "message": message } }),
            Self::Ollama => json!({ "error": message }),
        };
        Frames::json(status, &value)
    }

    /// OpenAI's error for an organisation that is not to be told thoughts.
    pub(super) fn unverified(self) -> Frames {
        let message = "Your organization must be verified to generate reasoning summaries.";
        let (kind, param, code) = ("invalid_request_error", "reasoning.summary", "unsupported_value");
        Frames::json(400, &json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }))
    }

    /// The vendor's error for a prompt that does not fit the context window.
    pub(super) fn overflow(self) -> Frames {
        match self {
            Self::OpenAi | Self::DeepSeek => self.error(
                400,
                "context_length_exceeded",
                "This model's maximum context length is smaller than your messages.",
            ),
            Self::Anthropic => {
                self.error(400, "invalid_request_error", "prompt is too long: more tokens than the maximum")
            }
            Self::Ollama => self.error(400, "", "the prompt exceeds the context window"),
        }
    }

    /// The vendor's error for a status.
    pub(super) fn refusal(self, status: u16) -> Frames {
        let kind = match (self, status) {
            (Self::Anthropic, 429) => "rate_limit_error",
            (Self::Anthropic, 529 | 503) => "overloaded_error",
            (Self::Anthropic, 401) => "authentication_error",
            (Self::Anthropic, _) => "api_error",
            (_, 429) => "rate_limit_exceeded",
            (_, 401) => "invalid_api_key",
            _ => "server_error",
        };
        self.error(status, kind, "The sandbox was told to fail.")
    }
}
