//! OpenAI Chat Completions ("API reference: Chat", platform.openai.com), and its look-alikes.
//!
//! What is particular: tool results are turns of their own (`role: "tool"`), reasoning is hidden (or in
//! `reasoning_content`, DeepSeek), `prompt_tokens` includes cached ones, a stream's usage comes in a chunk without
//! choices (Kimi: in the last choice), and `[DONE]` ends the stream.

pub(super) mod adapt;
pub(super) mod messages;
pub(super) mod request;
pub(super) mod response;
pub(super) mod schemas;
pub(super) mod stream;
mod turn;

use serde::Deserialize;
use serde_json::{Value, json};

use super::errors;
use crate::protocol::{ApiError, ErrorKind, FinishReason, Usage};

/// `usage` on the wire.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct WireUsage {
    #[serde(default, deserialize_with = "super::json::count")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "super::json::count")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "super::json::count")]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's name for cached tokens.
    #[serde(default, deserialize_with = "super::json::count")]
    prompt_cache_hit_tokens: Option<u64>,
    /// Kimi's name for them.
    #[serde(default, deserialize_with = "super::json::count")]
    cached_tokens: Option<u64>,
    /// LiteLLM's name for tokens written to a cache, which is Anthropic's.
    #[serde(default, deserialize_with = "super::json::count")]
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct PromptDetails {
    #[serde(default, deserialize_with = "super::json::count")]
    cached_tokens: Option<u64>,
    #[serde(default, deserialize_with = "super::json::count")]
    cache_write_tokens: Option<u64>,
    /// LiteLLM's older name for tokens written to a cache.
    #[serde(default, deserialize_with = "super::json::count")]
    cache_creation_tokens: Option<u64>,
    /// Qwen's name for them.
    #[serde(default, deserialize_with = "super::json::count")]
    cache_creation_input_tokens: Option<u64>,
}

impl PromptDetails {
    /// Tokens written to a cache; some servers tell them by two names.
    fn written(&self) -> Option<u64> {
        self.cache_write_tokens.or(self.cache_creation_tokens).or(self.cache_creation_input_tokens)
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct CompletionDetails {
    #[serde(default, deserialize_with = "super::json::count")]
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    /// Tokens of the answer with reasoning, which xAI and Gemini count in `total_tokens` but not in
    /// `completion_tokens`.
    fn output(&self) -> u64 {
        let beside = |prompt| self.total_tokens.unwrap_or_default().saturating_sub(prompt);
        self.completion_tokens.unwrap_or_default().max(self.prompt_tokens.map_or(0, beside))
    }
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        let cached = prompt.cached_tokens.or(wire.prompt_cache_hit_tokens).or(wire.cached_tokens).unwrap_or_default();
        let written = prompt.written().or(wire.cache_creation_input_tokens).unwrap_or_default();
        Self {
            input_tokens: wire.prompt_tokens.unwrap_or_default().saturating_sub(cached.saturating_add(written)),
            cache_read_tokens: cached,
            cache_write_tokens: written,
            output_tokens: wire.output(),
            reasoning_tokens: wire.completion_tokens_details.unwrap_or_default().reasoning_tokens.unwrap_or_default(),
            ..Self::default()
        }
    }
}

pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens(),
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens(),
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
    })
}

/// A finish reason that says something: while the answer goes on, some servers write "" or "null".
pub(super) fn real_reason(reason: Option<String>) -> Option<String> {
    reason.filter(|reason| !matches!(reason.as_str(), "" | "null"))
}

/// The error of an answer that its vendor broke off. It stands beside the choice (OpenRouter), or a finish reason says
/// so: DeepSeek's, Mistral's and OpenRouter's, Z.ai's, vLLM's, and Gemini's for a tool call that it could not read.
pub(super) fn broken_off(reason: Option<&str>, error: Option<&Value>) -> Option<ApiError> {
    let told = error.filter(|error| !errors::is_empty(error));
    if let Some(told) = told.and_then(|error| errors::in_band(&json!({ "error": error }))) {
        return Some(told);
    }
    let reason = reason?;
    let by_model = reason.starts_with("function_call_filter");
    let kind = match reason {
        "insufficient_system_resource" => ErrorKind::Overloaded,
        "error" | "network_error" | "abort" => ErrorKind::Upstream,
        _ if by_model => ErrorKind::Upstream,
        _ => return None,
    };
    let error = ApiError::new(kind, format!("it broke off its answer ({})", errors::shorten(reason)));
    Some(ApiError { by_model, ..error })
}

/// The finish reason of a vendor's word. Vendors say "stop" also after a call that was forced, and look-alikes
/// "tool_calls" where there is none, hence `any_call`; and "stop" also after a refusal, hence `refuses`.
pub(super) fn finish_of(text: &str, any_call: bool, refuses: bool) -> FinishReason {
    match text {
        "stop" | "eos" | "tool_calls" | "function_call" if any_call => FinishReason::ToolCalls,
        "stop" if refuses => FinishReason::ContentFilter,
        "stop" | "eos" | "tool_calls" | "function_call" => FinishReason::Stop,
        // Mistral's, Z.ai's and other look-alikes' words beside OpenAI's.
        "length" | "max_tokens" | "model_length" | "model_context_window_exceeded" => FinishReason::Length,
        "content_filter" | "sensitive" => FinishReason::ContentFilter,
        // Gemini: `content_filter: SAFETY`.
        _ if text.starts_with("content_filter:") => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}

/// A finish reason in OpenAI's words. Beside a refusal in words it says "stop"; its SDK raises an error at the other.
fn finish_text(reason: FinishReason, refuses: bool) -> &'static str {
    match reason {
        FinishReason::ContentFilter if refuses => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop | FinishReason::Pause | FinishReason::Other => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_count_otherwise() {
        let counts = |wire: Value| {
            let usage = Usage::from(serde_json::from_value::<WireUsage>(wire).unwrap());
            (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)
        };
        let xai = json!({
            "prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
            "completion_tokens_details": { "reasoning_tokens": 94 },
        });
        assert_eq!(counts(xai), (32, 0, 103), "thoughts beside the answer");
        let openai = json!({
            "prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135,
            "completion_tokens_details": { "reasoning_tokens": 94 },
        });
        assert_eq!(counts(openai), (32, 0, 103), "thoughts within it");
        let kimi = json!({ "prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10 });
        assert_eq!(counts(kimi), (9, 10, 21));
        let written = |wire: Value| {
            let usage = Usage::from(serde_json::from_value::<WireUsage>(wire).unwrap());
            (usage.input_tokens, usage.cache_write_tokens)
        };
        for details in [
            json!({ "cache_write_tokens": 8 }),
            json!({ "cache_creation_tokens": 8, "cache_write_tokens": 8 }),
            json!({ "cache_creation_tokens": 8 }),
            json!({ "cache_creation_input_tokens": 8 }),
        ] {
            let wire = json!({ "prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": details });
            assert_eq!(written(wire), (2, 8), "{details}");
        }
        let litellm = json!({ "prompt_tokens": 10, "completion_tokens": 1, "cache_creation_input_tokens": 8 });
        assert_eq!(written(litellm), (2, 8));
        assert_eq!(
            counts(json!({ "completion_tokens": 7, "total_tokens": 40 })),
            (0, 0, 7),
            "a prompt that is not told"
        );
        assert_eq!(counts(json!({ "prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 40 })), (50, 0, 7));
    }
}
