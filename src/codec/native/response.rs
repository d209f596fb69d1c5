//! [`ChatResponse`] -> the native whole reply.

use bytes::Bytes;
use serde_json::json;

use super::super::AnswerMeta;
use super::super::openai_chat::response::turn;
use super::usage;
use crate::protocol::ChatResponse;

/// Writes a reply.
pub(crate) fn encode(response: &ChatResponse, meta: &AnswerMeta) -> Bytes {
    let native = meta.native.as_ref();
    let reply = json!({
        "id": meta.id,
        "model": meta.model,
        "message": turn(response),
        "finish_reason": response.finish_reason.as_str(),
        "usage": response.usage.as_ref().map(usage),
        "cost_usd": native.and_then(|native| native.cost_usd),
        "latency_ms": native.and_then(|native| native.latency_ms),
        "routing": native.map(|native| &native.routing),
    });
    Bytes::from(reply.to_string())
}
