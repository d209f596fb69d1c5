//! Anthropic's streamed answer <-> events: `message_start`, blocks that open and close, `message_delta`,
//! `message_stop`.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::json::extend;
use super::super::lines::write_event;
use super::super::openai_chat::real_reason;
use super::super::sequencer::Sequencer;
use super::super::{AnswerMeta, errors};
use super::blocks::is_blank;
use super::ids::Told;
use super::pieces::Pieces;
use super::{UNSIGNED, WireUsage, finish_of, finish_text, fitted, is_vendors, usage};
use crate::protocol::{Dialect, FinishReason, StreamEvent, ToolCallDelta, Usage};

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Wire {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: usize,
        content_block: Value,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta,
    },
    ContentBlockStop {
        #[serde(default)]
        index: usize,
    },
    MessageDelta {
        delta: Ending,
        #[serde(default)]
        usage: Option<WireUsage>,
    },
    MessageStop {},
    Ping {},
    Error {
        error: Value,
    },
    /// Event types may be added at any time (Anthropic, "Versions").
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default, deserialize_with = "super::super::json::text")]
    id: String,
    #[serde(default, deserialize_with = "super::super::json::text")]
    model: String,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Ending {
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
}

/// Reads the events of a stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// For each tool call, in order: its arguments as its block began with them, until a piece of them comes.
    given: Vec<Option<String>>,
    /// The tool call of each block, by the block's index.
    calls: BTreeMap<usize, usize>,
    /// The newest reason of its end.
    ending: Option<(FinishReason, Option<String>)>,
    /// Whether a reason came, and nothing of the answer since.
    said_all: bool,
}

impl Decoder {
    /// Whether the reason of its end came, and nothing of the answer since.
    pub(crate) fn has_said_all(&self) -> bool {
        self.said_all
    }

    /// Appends the events in the data of one server-sent event; `Err` = the data cannot be read.
    pub(crate) fn decode(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ()> {
        match serde_json::from_slice::<Wire>(data).map_err(|_| ())? {
            Wire::MessageStart { message } => {
                out.push(StreamEvent::Start { id: message.id, model: message.model });
                out.extend(message.usage.map(|counts| StreamEvent::Usage(counts.into())));
            }
            Wire::ContentBlockStart { index, content_block } => {
                self.said_all = false;
                self.open(index, &content_block, out);
            }
            Wire::ContentBlockDelta { index, delta } => {
                self.said_all = false;
                self.delta(index, delta, out);
            }
            Wire::MessageDelta { delta, usage } => {
                // Without a reason it tells no more than the usage up to here.
                if let Some(reason) = real_reason(delta.stop_reason) {
                    // Told before the usage, which counts what a call began with; an empty object may still be filled.
                    for call in 0..self.given.len() {
                        if self.given[call].as_deref() != Some("{}") {
                            self.complete(call, out);
                        }
                    }
                    self.ending = Some((finish_of(&reason), delta.stop_sequence));
                    self.said_all = true;
                }
                out.extend(usage.map(|counts| StreamEvent::Usage(counts.into())));
            }
            Wire::MessageStop {} => self.end(out),
            Wire::Error { error } => {
                out.push(StreamEvent::Error(errors::in_band(&json!({ "error": error })).ok_or(())?));
            }
            Wire::ContentBlockStop { index } => {
                if let Some(call) = self.calls.get(&index).copied() {
                    self.complete(call, out);
                }
            }
            Wire::Ping {} | Wire::Unknown => {}
        }
        Ok(())
    }

    fn open(&mut self, index: usize, block: &Value, out: &mut Vec<StreamEvent>) {
        let text = |key: &str| block[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match block["type"].as_str() {
            Some("text") => out.extend(text("text").map(StreamEvent::Text)),
            Some("thinking") => {
                out.extend(text("thinking").map(StreamEvent::Thinking));
                let signature = text("signature").filter(|signature| is_vendors(signature));
                out.extend(signature.map(StreamEvent::ThinkingSignature));
            }
            Some("redacted_thinking") => out.extend(text("data").map(StreamEvent::RedactedThinking)),
            Some("tool_use") => {
                let start = Some((text("id").unwrap_or_default(), text("name").unwrap_or_default()));
                let call = self.given.len();
                self.calls.insert(index, call);
                self.given.push(Some(
                    block
                        .get("input")
                        .filter(|input| input.is_object())
                        .map_or_else(|| "{}".to_owned(), Value::to_string),
                ));
                out.push(StreamEvent::ToolCall(ToolCallDelta { index: call, start, arguments: String::new() }));
            }
            _ => {}
        }
    }

    fn delta(&mut self, index: usize, delta: Delta, out: &mut Vec<StreamEvent>) {
        match delta {
            Delta::Text { text } => out.push(StreamEvent::Text(text)),
            Delta::Thinking { thinking } => out.push(StreamEvent::Thinking(thinking)),
            Delta::Signature { signature } if is_vendors(&signature) => {
                out.push(StreamEvent::ThinkingSignature(signature));
            }
            Delta::InputJson { partial_json } => {
                // Calls of tools that the vendor runs itself are skipped.
                if let Some(index) = self.calls.get(&index).copied() {
                    if !partial_json.is_empty() {
                        self.given[index] = None;
                    }
                    let call = ToolCallDelta { index, start: None, arguments: partial_json };
                    out.push(StreamEvent::ToolCall(call));
                }
            }
            Delta::Signature { .. } | Delta::Unknown => {}
        }
    }

    /// Ends a call. Where no piece of its arguments came, they are those that its block began with: mostly an empty
    /// object, which other dialects require. (Look-alikes may begin with all of them, and send the pieces, too.)
    fn complete(&mut self, call: usize, out: &mut Vec<StreamEvent>) {
        if let Some(arguments) = self.given[call].take() {
            out.push(StreamEvent::ToolCall(ToolCallDelta { index: call, start: None, arguments }));
        }
    }

    /// Ends the answer, at `message_stop` or at the end of a body without it.
    pub(crate) fn end(&mut self, out: &mut Vec<StreamEvent>) {
        (0..self.given.len()).for_each(|call| self.complete(call, out));
        let any_call = !self.given.is_empty();
        let unsaid = FinishReason::unsaid(any_call);
        let (reason, stop_sequence) = self.ending.take().unwrap_or((unsaid, None));
        let reason = fitted(reason, any_call);
        out.push(StreamEvent::Finish { reason, stop_sequence });
    }
}

/// The kind of the open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Tool(usize),
}

/// Writes events: exactly one `message_start`, and blocks that never overlap.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: AnswerMeta,
    started: bool,
    open: Option<Block>,
    /// Whether the thought that is open, or was last, has its signature.
    signed: bool,
    /// Index of the next block.
    next: usize,
    /// Holds events back while a call is open.
    sequencer: Sequencer,
    /// A blank text, until others follow. Anthropic refuses one without words, should the client's next request pass
    /// through to it.
    blank: String,
    /// The arguments of the open call.
    arguments: Pieces,
    told: Told,
    usage: Usage,
}

impl Encoder {
    pub(crate) fn new(meta: AnswerMeta) -> Self {
        Self {
            meta,
            started: false,
            open: None,
            signed: false,
            next: 0,
            sequencer: Sequencer::default(),
            blank: String::new(),
            arguments: Pieces::default(),
            told: Told::default(),
            usage: Usage::default(),
        }
    }

    /// Bytes that are held back until a call ends, or words follow, about.
    pub(crate) fn kept(&self) -> usize {
        self.sequencer.kept() + self.blank.len() + self.arguments.kept()
    }

    pub(crate) fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        for event in self.sequencer.pass(event) {
            self.write(&event, out);
        }
    }

    fn write(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { .. } => self.start(out),
            StreamEvent::ToolCall(call) => self.call(call, out),
            StreamEvent::Usage(counts) => self.usage.absorb(counts),
            StreamEvent::Finish { reason, stop_sequence } => {
                if self.next == 0 && self.open.is_none() && !self.blank.is_empty() {
                    self.text("", out);
                }
                self.start(out);
                self.close(out);
                let stop = stop_sequence.as_deref();
                let delta = json!({ "stop_reason": finish_text(*reason, stop), "stop_sequence": stop });
                emit("message_delta", json!({ "delta": delta, "usage": usage(&self.usage) }), out);
                emit("message_stop", json!({}), out);
            }
            StreamEvent::Error(error) => out.extend_from_slice(&errors::encode_in_stream(Dialect::Anthropic, error)),
            StreamEvent::Text(text) | StreamEvent::Refusal(text) => match self.open {
                Some(Block::Text) => self.text(text, out),
                _ if is_blank(text) => self.blank.push_str(text),
                _ => self.text(text, out),
            },
            StreamEvent::Thinking(text) => {
                self.end_signed(out);
                self.enter_thinking(out);
                self.delta(json!({ "type": "thinking_delta", "thinking": text }), out);
            }
            StreamEvent::ThinkingSignature(signature) => {
                self.end_signed(out);
                self.enter_thinking(out);
                self.sign(signature, out);
            }
            StreamEvent::Foreign(_) => {}
            StreamEvent::RedactedThinking(data) => {
                self.blank.clear();
                self.close(out);
                self.start(out);
                let block = json!({ "type": "redacted_thinking", "data": data });
                let index = self.next;
                emit("content_block_start", json!({ "index": index, "content_block": block }), out);
                emit("content_block_stop", json!({ "index": index }), out);
                self.next += 1;
            }
        }
    }

    fn start(&mut self, out: &mut BytesMut) {
        if self.started {
            return;
        }
        self.started = true;
        let message = json!({
            "id": self.meta.id,
            "type": "message",
            "role": "assistant",
            "model": self.meta.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage(&Usage { output_tokens: 0, ..self.usage }),
        });
        emit("message_start", json!({ "message": message }), out);
    }

    fn text(&mut self, text: &str, out: &mut BytesMut) {
        let text = std::mem::take(&mut self.blank) + text;
        self.enter(Block::Text, json!({ "type": "text", "text": "" }), out);
        self.delta(json!({ "type": "text_delta", "text": text }), out);
    }

    fn enter_thinking(&mut self, out: &mut BytesMut) {
        self.enter(Block::Thinking, json!({ "type": "thinking", "thinking": "", "signature": "" }), out);
    }

    /// Ends a thought that is signed: what follows is another one, with a signature of its own.
    fn end_signed(&mut self, out: &mut BytesMut) {
        if self.open == Some(Block::Thinking) && self.signed {
            self.close(out);
        }
    }

    fn call(&mut self, call: &ToolCallDelta, out: &mut BytesMut) {
        if let Some((id, name)) = &call.start {
            let block = json!({ "type": "tool_use", "id": self.told.tell(id), "name": name, "input": {} });
            self.enter(Block::Tool(call.index), block, out);
        }
        let told = self.arguments.pass(&call.arguments);
        self.tell(&told, out);
    }

    fn tell(&mut self, arguments: &str, out: &mut BytesMut) {
        if !arguments.is_empty() {
            self.delta(json!({ "type": "input_json_delta", "partial_json": arguments }), out);
        }
    }

    /// Makes `block` the open one, with `opening` as its first event.
    fn enter(&mut self, block: Block, opening: Value, out: &mut BytesMut) {
        self.start(out);
        if self.open == Some(block) {
            return;
        }
        self.blank.clear();
        self.close(out);
        emit("content_block_start", json!({ "index": self.next, "content_block": opening }), out);
        self.open = Some(block);
        self.signed = false;
    }

    fn sign(&mut self, signature: &str, out: &mut BytesMut) {
        self.signed = true;
        self.delta(json!({ "type": "signature_delta", "signature": signature }), out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open == Some(Block::Thinking) && !self.signed {
            self.sign(UNSIGNED, out);
        }
        let rest = self.arguments.end();
        self.tell(&rest, out);
        if self.open.take().is_some() {
            emit("content_block_stop", json!({ "index": self.next }), out);
            self.next += 1;
        }
    }

    fn delta(&self, delta: Value, out: &mut BytesMut) {
        emit("content_block_delta", json!({ "index": self.next, "delta": delta }), out);
    }
}

fn emit(name: &str, fields: Value, out: &mut BytesMut) {
    let mut data = json!({ "type": name });
    extend(&mut data, fields);
    write_event(name, &data, out);
}
