//! Events -> the native streamed reply; the event types are described at [`super`].

use bytes::BytesMut;
use serde_json::json;

use super::super::lines::write_event;
use super::super::{AnswerMeta, NativeMeta, errors};
use super::usage;
use crate::protocol::{Dialect, StreamEvent, Usage};

/// Writes events.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: AnswerMeta,
    usage: Option<Usage>,
}

impl Encoder {
    pub(crate) fn new(meta: AnswerMeta) -> Self {
        Self { meta, usage: None }
    }

    pub(crate) fn settle(&mut self, native: NativeMeta) {
        self.meta.native = Some(native);
    }

    pub(crate) fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { .. } => {
                write_event("start", &json!({ "id": self.meta.id, "model": self.meta.model }), out);
            }
            StreamEvent::Text(text) => write_event("delta", &json!({ "text": text }), out),
            StreamEvent::Thinking(text) => write_event("delta", &json!({ "thinking": text }), out),
            StreamEvent::Refusal(text) => write_event("delta", &json!({ "refusal": text }), out),
            StreamEvent::ToolCall(call) => {
                let (id, name) = call.start.as_ref().map(|(id, name)| (id, name)).unzip();
                let piece = json!({ "index": call.index, "id": id, "name": name, "arguments": call.arguments });
                write_event("delta", &json!({ "tool_call": piece }), out);
            }
            StreamEvent::Usage(counts) => self.usage.get_or_insert_default().absorb(counts),
            StreamEvent::Finish { reason, .. } => {
                let native = self.meta.native.as_ref();
                let end = json!({
                    "finish_reason": reason.as_str(),
                    "usage": self.usage.as_ref().map(usage),
                    "cost_usd": native.and_then(|native| native.cost_usd),
                    "latency_ms": native.and_then(|native| native.latency_ms),
                    "routing": native.map(|native| &native.routing),
                });
                write_event("end", &end, out);
            }
            StreamEvent::Error(error) => out.extend_from_slice(&errors::encode_in_stream(Dialect::Native, error)),
            // Signatures and encrypted reasoning are of use to their own vendor only.
            StreamEvent::ThinkingSignature(_) | StreamEvent::RedactedThinking(_) | StreamEvent::Foreign(_) => {}
        }
    }
}
