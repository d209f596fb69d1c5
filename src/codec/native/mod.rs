//! The native dialect, `POST /api/chat`: messages in OpenAI's form, and with each answer its routing, cost and latency.
//!
//! A stream has the server-sent events `start` (id, model), `delta` (one of `text`, `thinking`, `refusal`, `tool_call`)
//! and `end` (the rest of a whole reply), or `error` where it breaks off.

pub(super) mod request;
pub(super) mod response;
pub(super) mod stream;

use serde_json::{Value, json};

pub use request::NO_OLLAMA;

use crate::protocol::Usage;

pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    })
}
