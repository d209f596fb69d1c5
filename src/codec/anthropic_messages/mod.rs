//! Anthropic Messages ("Messages API", docs.anthropic.com).
//!
//! What is particular: `system` stands apart from the turns, `max_tokens` is required, tool results are blocks of the
//! user's turn right after the call, `input_tokens` excludes cached tokens, thinking is signed and must go back
//! unchanged, and a stream consists of blocks that open and close.

pub(super) mod adapt;
pub(super) mod blocks;
pub(super) mod forced;
mod ids;
pub(super) mod markers;
mod pieces;
pub(super) mod request;
pub(super) mod response;
mod schemas;
pub(super) mod stream;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::openai_responses::backend::thoughts::is_openais;
use crate::protocol::{Compaction, FinishReason, Part, Usage};

/// Stands for the signature of a thought that its vendor did not sign. Clients keep a streamed thought only if a
/// signature came with it, and take one that is empty for no thought; what they send back with this mark is as unsigned
/// as it was.
const UNSIGNED: &str = "pointsman-unsigned";

/// Whether a signature is a vendor's. Look-alikes write empty ones.
fn is_vendors(signature: &str) -> bool {
    !matches!(signature, "" | UNSIGNED)
}

/// Whether a signature is one that Anthropic may take: those of OpenAI's thoughts travel in the same field.
fn is_claudes(signature: &str) -> bool {
    is_vendors(signature) && !is_openais(signature)
}

/// Whether a thought is signed so that Anthropic may take it.
fn is_signed(thought: &Part) -> bool {
    matches!(thought, Part::Thinking { signature: Some(signature), .. } if is_claudes(signature))
}

/// `usage` on the wire.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct WireUsage {
    #[serde(default, deserialize_with = "super::json::count")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "super::json::count")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "super::json::count")]
    cache_read_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "super::json::count")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation: Option<WireCreation>,
    #[serde(default)]
    output_tokens_details: Option<WireOutput>,
    #[serde(default, rename = "iterations", deserialize_with = "compaction")]
    compaction: Compaction,
}

/// Tokens written to the prompt cache, by how long they are kept.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct WireCreation {
    #[serde(default, deserialize_with = "super::json::count")]
    ephemeral_1h_input_tokens: Option<u64>,
}

/// What the answer's tokens were spent on.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct WireOutput {
    #[serde(default, deserialize_with = "super::json::count")]
    thinking_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        Self {
            input_tokens: wire.input_tokens.unwrap_or_default(),
            cache_read_tokens: wire.cache_read_input_tokens.unwrap_or_default(),
            cache_write_tokens: wire.cache_creation_input_tokens.unwrap_or_default(),
            cache_write_long_tokens: wire
                .cache_creation
                .and_then(|written| written.ephemeral_1h_input_tokens)
                .unwrap_or_default(),
            output_tokens: wire.output_tokens.unwrap_or_default(),
            reasoning_tokens: wire.output_tokens_details.and_then(|spent| spent.thinking_tokens).unwrap_or_default(),
            compaction: wire.compaction,
        }
    }
}

/// Reads `iterations`, the samplings that an answer took, for those that compacted the conversation: the other counts
/// are without them. What else is listed there is in the other counts, or was sampled by another model (the advisor's).
fn compaction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Compaction, D::Error> {
    let iterations = Value::deserialize(deserializer)?;
    let mut sum = Compaction::default();
    for iteration in iterations.as_array().into_iter().flatten().filter(|one| one["type"] == "compaction") {
        if let Ok(counts) = WireUsage::deserialize(iteration) {
            sum.add(&counts.into());
        }
    }
    Ok(sum)
}

pub(super) fn usage(usage: &Usage) -> Value {
    let mut told = json!({
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    });
    if usage.reasoning_tokens > 0 {
        told["output_tokens_details"] = json!({ "thinking_tokens": usage.reasoning_tokens });
    }
    told
}

pub(super) fn finish_of(text: &str) -> FinishReason {
    match text {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        // Claude has summed up the conversation, and waits to be asked to go on.
        "pause_turn" | "compaction" => FinishReason::Pause,
        _ => FinishReason::Other,
    }
}

/// The reason beside what was said: look-alikes name calls where there are none, and an end beside one.
pub(super) fn fitted(reason: FinishReason, any_call: bool) -> FinishReason {
    match reason {
        FinishReason::ToolCalls if !any_call => FinishReason::Stop,
        FinishReason::Stop if any_call => FinishReason::ToolCalls,
        reason => reason,
    }
}

pub(super) fn finish_text(reason: FinishReason, stop_sequence: Option<&str>) -> &'static str {
    match reason {
        FinishReason::Stop if stop_sequence.is_some() => "stop_sequence",
        FinishReason::Stop | FinishReason::Other => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
        FinishReason::Pause => "pause_turn",
    }
}
