//! The streamed answer: `chat.completion.chunk` events, then `[DONE]`.

use std::collections::HashMap;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{AnswerMeta, errors};
use super::{WireUsage, arguments_text, finish_of, finish_text, said, text_of, usage};
use crate::protocol::{FinishReason, StreamEvent, ToolCallDelta, Usage};

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
    /// Kimi counts here.
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
    /// A call of a tool that takes text.
    #[serde(default)]
    custom: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    /// Their JSON text, or a piece of it; the arguments themselves at some look-alikes.
    #[serde(default, alias = "input")]
    arguments: Option<Value>,
}

/// What is known of a stream so far.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    /// Said already, and told last: usage comes after it.
    finish: Option<FinishReason>,
    /// The ids of the calls that have begun, in order.
    calls: Vec<String>,
    /// Which of them has an index on the wire; the newest.
    newest: HashMap<usize, usize>,
    /// Whether it says that it will not answer.
    refuses: bool,
}

impl Decoder {
    /// One event's data.
    pub(crate) fn hear(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ()> {
        if data.trim_ascii() == b"[DONE]" {
            let unsaid = if self.calls.is_empty() { FinishReason::Other } else { FinishReason::ToolCalls };
            let reason = self.finish.unwrap_or(unsaid);
            out.push(StreamEvent::Finish { reason, stop_sequence: None });
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| ())?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            let error = errors::in_band(&json!({ "error": error })).ok_or(())?;
            out.push(StreamEvent::Error(error));
            return Ok(());
        }
        if !self.started {
            self.started = true;
            let (id, model) = (chunk.id.unwrap_or_default(), chunk.model.unwrap_or_default());
            out.push(StreamEvent::Start { id, model });
        }
        let mut usage = chunk.usage;
        if let Some(choice) = chunk.choices.into_iter().flatten().next() {
            usage = usage.or(choice.usage);
            self.delta(choice.delta.unwrap_or_default(), out);
            if let Some(reason) = said(choice.finish_reason) {
                self.finish = Some(finish_of(&reason, !self.calls.is_empty(), self.refuses));
            }
        }
        out.extend(usage.map(|counts| StreamEvent::Usage(counts.into())));
        Ok(())
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<StreamEvent>) {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let reasoning = delta.reasoning.and_then(|value| value.as_str().map(str::to_owned));
        out.extend(filled(delta.reasoning_content.or(reasoning)).map(StreamEvent::Thinking));
        out.extend(filled(delta.content.map(text_of)).map(StreamEvent::Text));
        let refusal = filled(delta.refusal);
        self.refuses |= refusal.is_some();
        out.extend(refusal.map(StreamEvent::Refusal));
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(call, out);
        }
    }

    fn call(&mut self, call: Call, out: &mut Vec<StreamEvent>) {
        let function = call.function.or(call.custom).unwrap_or(Function { name: None, arguments: None });
        let arguments = arguments_text(function.arguments.unwrap_or_default());
        let (id, name) = (call.id.unwrap_or_default(), function.name.unwrap_or_default());
        // Look-alikes forget the index; then a name begins a new call.
        let begins = !name.is_empty();
        let wire = call.index.unwrap_or(if begins { self.calls.len() } else { self.calls.len().saturating_sub(1) });
        // Or they give all calls the same; then a name with another id does.
        let another = |known: &str| begins && !id.is_empty() && !known.is_empty() && known != id;
        match self.newest.get(&wire).copied().filter(|at| !another(&self.calls[*at])) {
            Some(index) => {
                if !arguments.is_empty() {
                    out.push(StreamEvent::ToolCall(ToolCallDelta { index, start: None, arguments }));
                }
            }
            None => {
                let index = self.calls.len();
                self.calls.push(id.clone());
                self.newest.insert(wire, index);
                out.push(StreamEvent::ToolCall(ToolCallDelta { index, start: Some((id, name)), arguments }));
            }
        }
    }

    /// The body ended without `[DONE]`: good enough where a finish reason came.
    pub(crate) fn end(&mut self) -> Option<StreamEvent> {
        self.finish.map(|reason| StreamEvent::Finish { reason, stop_sequence: None })
    }
}

/// Writes chunks.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: AnswerMeta,
    include_usage: bool,
    usage: Option<Usage>,
}

impl Encoder {
    pub(crate) fn new(meta: AnswerMeta, include_usage: bool) -> Self {
        Self { meta, include_usage, usage: None }
    }

    pub(crate) fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { .. } => self.delta(json!({ "role": "assistant", "content": "" }), out),
            StreamEvent::Text(text) => self.delta(json!({ "content": text }), out),
            StreamEvent::Thinking(text) => self.delta(json!({ "reasoning_content": text }), out),
            StreamEvent::Refusal(text) => self.delta(json!({ "refusal": text }), out),
            StreamEvent::ToolCall(call) => {
                let mut piece = json!({ "index": call.index, "function": { "arguments": call.arguments } });
                if let Some((id, name)) = &call.start {
                    piece["id"] = json!(id);
                    piece["type"] = json!("function");
                    piece["function"]["name"] = json!(name);
                }
                self.delta(json!({ "tool_calls": [piece] }), out);
            }
            StreamEvent::Usage(counts) => self.usage.get_or_insert_default().absorb(counts),
            StreamEvent::Finish { reason, .. } => {
                self.chunk(json!([{ "index": 0, "delta": {}, "finish_reason": finish_text(*reason) }]), None, out);
                if self.include_usage {
                    let counts = usage(&self.usage.unwrap_or_default());
                    self.chunk(json!([]), Some(counts), out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            StreamEvent::Error(error) => {
                out.extend_from_slice(&errors::encode_in_stream(crate::protocol::Dialect::OpenAi, error));
            }
            // Signatures and encrypted reasoning mean nothing to an OpenAI client.
            StreamEvent::ThinkingSignature(_) | StreamEvent::RedactedThinking(_) => {}
        }
    }

    fn delta(&self, delta: Value, out: &mut BytesMut) {
        self.chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]), None, out);
    }

    fn chunk(&self, choices: Value, usage: Option<Value>, out: &mut BytesMut) {
        let mut chunk = json!({
            "id": self.meta.id,
            "object": "chat.completion.chunk",
            "created": self.meta.created,
            "model": self.meta.model,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        out.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
    }
}
