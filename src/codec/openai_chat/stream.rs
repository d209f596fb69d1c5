//! OpenAI's streamed answer <-> events: `chat.completion.chunk`s, then `[DONE]`.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::sequencer::Nesting;
use super::super::{AnswerMeta, errors};
use super::turn::{Call, Turn};
use super::{WireUsage, broken_off, finish_of, finish_text, real_reason, usage};
use crate::protocol::{ApiError, FinishReason, StreamEvent, ToolCallDelta, Usage};

#[derive(Deserialize)]
struct Chunk {
    #[serde(default, deserialize_with = "super::super::json::text")]
    id: String,
    #[serde(default, deserialize_with = "super::super::json::text")]
    model: String,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default, deserialize_with = "super::super::json::count")]
    index: Option<u64>,
    #[serde(default)]
    delta: Option<Turn>,
    /// What some servers write in a piece's place, or beside it: then it is all of the answer so far.
    #[serde(default)]
    message: Option<Box<RawValue>>,
    #[serde(default)]
    finish_reason: Option<String>,
    /// Where Kimi reports usage.
    #[serde(default)]
    usage: Option<WireUsage>,
    /// Where OpenRouter reports what broke an answer off.
    #[serde(default)]
    error: Option<Value>,
}

/// A call of the answer.
#[derive(Debug, Default)]
struct HeardCall {
    id: String,
    /// Whether its start went out: it waits for the call's name, or its arguments.
    is_told: bool,
    /// Whether arguments came.
    has_arguments: bool,
    nesting: Nesting,
    /// Whether the arguments are a whole object.
    is_whole: bool,
    /// Hashes of the name and of the arguments.
    name: u64,
    hash: u64,
}

/// FNV-1a, without blanks: arguments that differ in nothing else are the same.
fn mixed(hash: u64, text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().filter(|byte| !byte.is_ascii_whitespace()).fold(hash, mix)
}

/// Reads the chunks of a stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    /// The newest finish reason; the event waits for `[DONE]`, since usage comes in between, and some servers name a
    /// reason in each piece, or before a call's arguments.
    finish: Option<String>,
    /// For each choice, by its index, whether its reason came, and nothing of it since.
    choices: BTreeMap<u64, bool>,
    /// How many choices were asked for.
    asked: u64,
    /// Whether it is so of all, and the newest piece held nothing of the answer: some servers name a reason in each.
    is_at_end: bool,
    /// Why the vendor broke the answer off; the event waits for the count, or the stream's end.
    broken: Option<ApiError>,
    /// Whether it told an error in a chunk of its own.
    tells_error: bool,
    /// All calls, in order.
    calls: Vec<HeardCall>,
    /// The newest call of each index on the wire, as an index into `calls`.
    newest: BTreeMap<u64, usize>,
    /// The newest call of each id, likewise.
    by_id: BTreeMap<String, usize>,
    /// Whether the model refuses to answer.
    refuses: bool,
    /// Whether the answer comes in deltas.
    has_deltas: bool,
}

impl Decoder {
    /// For a request that asks for so many choices (`n`).
    pub(crate) fn asked_for(&mut self, choices: u64) {
        self.asked = choices;
    }

    /// Appends the events in the data of one server-sent event; `Err` = the data cannot be read.
    pub(crate) fn decode(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ()> {
        if data.trim_ascii() == b"[DONE]" {
            self.end(out);
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| ())?;
        // Beside a piece of an answer, an empty error is none. Some pieces have no choice: Azure's first one, and the count
        // in the end.
        let is_piece = !chunk.id.is_empty() || chunk.choices.is_some() || chunk.usage.is_some();
        if let Some(error) = chunk.error.filter(|error| !(is_piece && errors::is_empty(error))) {
            let error = errors::in_band(&json!({ "error": error })).ok_or(())?;
            out.extend(chunk.usage.map(|counts| StreamEvent::Usage(counts.into())));
            out.push(StreamEvent::Error(error));
            self.tells_error = true;
            return Ok(());
        }
        if !self.started {
            self.started = true;
            out.push(StreamEvent::Start { id: chunk.id, model: chunk.model });
        }
        let mut usage = chunk.usage;
        let from = out.len();
        let mut choices = chunk.choices.unwrap_or_default();
        self.has_deltas |= choices.iter().any(|choice| choice.delta.is_some());
        for choice in choices.iter_mut().filter(|_| !self.has_deltas) {
            let turn = choice.message.take();
            choice.delta = turn.map(|turn| serde_json::from_str(turn.get())).transpose().map_err(|_| ())?;
        }
        for choice in choices {
            usage = usage.or(choice.usage);
            let before = out.len();
            self.delta(choice.delta.unwrap_or_default(), out);
            let broken = || broken_off(choice.finish_reason.as_deref(), choice.error.as_ref());
            self.broken = self.broken.take().or_else(broken);
            let reason = real_reason(choice.finish_reason);
            let said = self.choices.entry(choice.index.unwrap_or_default()).or_default();
            *said = reason.is_some() || *said && out.len() == before;
            self.finish = reason.or(self.finish.take());
        }
        self.is_at_end = self.has_said_all() && self.choices.len() as u64 >= self.asked && out.len() == from;
        if let Some(counts) = usage {
            out.push(StreamEvent::Usage(counts.into()));
            out.extend(self.broken.clone().map(StreamEvent::Error));
        }
        Ok(())
    }

    fn delta(&mut self, mut delta: Turn, out: &mut Vec<StreamEvent>) {
        out.extend(delta.thought().map(StreamEvent::Thinking));
        out.extend(delta.text().map(StreamEvent::Text));
        let refusal = delta.refusal();
        self.refuses |= refusal.is_some();
        out.extend(refusal.map(StreamEvent::Refusal));
        for call in delta.calls() {
            self.call(call, out);
        }
    }

    fn call(&mut self, mut call: Call, out: &mut Vec<StreamEvent>) {
        let function = call.function().unwrap_or_default();
        let arguments = function.arguments.unwrap_or_default();
        let (id, name) = (call.id, function.name.unwrap_or_default());
        // Some look-alikes leave the index out; then a name begins a new call.
        let begins = !name.is_empty();
        let next = self.calls.len() as u64;
        let wire = call.index.unwrap_or(if begins { next } else { next.saturating_sub(1) });
        // Others give all calls the same index; then a name with a new id begins a new call, or with an object behind one
        // that is whole.
        let another = |known: &HeardCall| {
            let is_new = !id.is_empty() && !known.id.is_empty() && known.id != id;
            begins && (is_new || known.is_whole && arguments.trim_start().starts_with('{'))
        };
        // And others say a call once more in the end, perhaps in another place.
        let repeats = |at: &usize| {
            let known = &self.calls[*at];
            known.is_whole && known.name == mixed(0, &name) && known.hash == mixed(0, &arguments)
        };
        if begins && self.by_id.get(&id).is_some_and(repeats) {
            return;
        }
        let known = self.newest.get(&wire).copied().filter(|at| !another(&self.calls[*at]));
        let index = known.unwrap_or(self.calls.len());
        if known.is_none() {
            self.newest.insert(wire, index);
            self.calls.push(HeardCall::default());
        }
        let call = &mut self.calls[index];
        if !call.is_told && call.id.is_empty() && !id.is_empty() {
            self.by_id.insert(id.clone(), index);
            call.id = id;
        }
        call.has_arguments |= !arguments.is_empty();
        for byte in arguments.bytes() {
            call.is_whole = call.nesting.closes(byte) || call.is_whole && byte.is_ascii_whitespace();
        }
        if begins {
            call.name = mixed(0, &name);
        }
        call.hash = mixed(call.hash, &arguments);
        // Some name a call after its first piece.
        let is_due = !call.is_told && (!name.is_empty() || !arguments.is_empty());
        call.is_told |= is_due;
        if is_due || !arguments.is_empty() {
            let start = is_due.then(|| (call.id.clone(), name));
            out.push(StreamEvent::ToolCall(ToolCallDelta { index, start, arguments }));
        }
    }

    /// Whether each choice that began has its finish reason, and nothing of it came since: at most usage follows, or
    /// another choice, where several were asked for (some servers give but one).
    pub(crate) fn has_said_all(&self) -> bool {
        self.broken.is_none() && !self.choices.is_empty() && self.choices.values().all(|said| *said)
    }

    /// Why the vendor broke the answer off: at most its count is to come, or another choice.
    pub(crate) fn broken_off(&self) -> Option<&ApiError> {
        self.broken.as_ref()
    }

    /// Whether the vendor told an error as this dialect's clients know it, not by a finish reason or a choice.
    pub(crate) fn tells_error(&self) -> bool {
        self.tells_error
    }

    /// Whether nothing but usage and the stream's end is to come, for certain.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Ends the answer, at `[DONE]` or at the end of a body without it. Calls without arguments get an empty object, as
    /// other dialects require. In an answer that was cut off they may have been to come.
    pub(crate) fn end(&mut self, out: &mut Vec<StreamEvent>) {
        if let Some(error) = &self.broken {
            out.push(StreamEvent::Error(error.clone()));
            return;
        }
        let any_call = !self.calls.is_empty();
        let unsaid = FinishReason::unsaid(any_call);
        let reason = self.finish.take().map_or(unsaid, |reason| finish_of(&reason, any_call, self.refuses));
        for (index, call) in self.calls.iter_mut().enumerate() {
            let start = (!call.is_told).then(|| (std::mem::take(&mut call.id), String::new()));
            let is_empty = !call.has_arguments && reason != FinishReason::Length;
            if start.is_some() || is_empty {
                let arguments = if is_empty { "{}".to_owned() } else { String::new() };
                out.push(StreamEvent::ToolCall(ToolCallDelta { index, start, arguments }));
            }
        }
        out.push(StreamEvent::Finish { reason, stop_sequence: None });
    }
}

/// Writes chunks.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: AnswerMeta,
    include_usage: bool,
    usage: Option<Usage>,
    refuses: bool,
}

impl Encoder {
    pub(crate) fn new(meta: AnswerMeta, include_usage: bool) -> Self {
        Self { meta, include_usage, usage: None, refuses: false }
    }

    pub(crate) fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { .. } => self.delta(json!({ "role": "assistant", "content": "" }), out),
            StreamEvent::Text(text) => self.delta(json!({ "content": text }), out),
            StreamEvent::Thinking(text) => self.delta(json!({ "reasoning_content": text }), out),
            StreamEvent::Refusal(text) => {
                self.refuses = true;
                self.delta(json!({ "refusal": text }), out);
            }
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
                let reason = finish_text(*reason, self.refuses);
                self.chunk(json!([{ "index": 0, "delta": {}, "finish_reason": reason }]), None, out);
                if self.include_usage {
                    let counts = usage(&self.usage.unwrap_or_default());
                    self.chunk(json!([]), Some(counts), out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            StreamEvent::Error(error) => {
                out.extend_from_slice(&errors::encode_in_stream(crate::protocol::Dialect::OpenAi, error));
            }
            // The dialect has no place for signatures and encrypted reasoning.
            StreamEvent::ThinkingSignature(_) | StreamEvent::RedactedThinking(_) | StreamEvent::Foreign(_) => {}
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
