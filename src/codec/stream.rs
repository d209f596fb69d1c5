//! Streamed answers, whatever the dialect: bytes -> events, events -> bytes.
//!
//! The decoders promise what `protocol::StreamEvent` asks for: `Finish` is the last event, an `Error` ends the stream,
//! and after either nothing follows, however the bytes were split.

use bytes::BytesMut;

use super::lines::{Events, JsonLines, TooLong};
use super::{AnswerMeta, NativeMeta, anthropic_messages, native, ollama_chat, openai_chat};
use crate::protocol::{ApiError, Dialect, ErrorKind, StreamEvent};

/// Decodes a backend's stream.
#[derive(Debug)]
pub struct StreamDecoder {
    frames: Frames,
    dialect: Inner,
    over: Over,
    /// Whether the client gets the bytes themselves.
    beside: bool,
}

#[derive(Debug)]
enum Frames {
    Events(Events),
    Lines(JsonLines),
}

#[derive(Debug)]
enum Inner {
    OpenAi(openai_chat::stream::Decoder),
    Anthropic(anthropic_messages::stream::Decoder),
    Ollama(ollama_chat::stream::Decoder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    No,
    Finished,
    /// The upstream itself said so, in its stream.
    Refused,
    Broken,
}

impl StreamDecoder {
    /// A decoder at the start of a stream.
    pub fn new(dialect: Dialect) -> Self {
        let (frames, dialect) = match dialect {
            Dialect::OpenAi | Dialect::Native => {
                (Frames::Events(Events::default()), Inner::OpenAi(openai_chat::stream::Decoder::default()))
            }
            Dialect::Anthropic => {
                (Frames::Events(Events::default()), Inner::Anthropic(anthropic_messages::stream::Decoder::default()))
            }
            Dialect::Ollama => {
                (Frames::Lines(JsonLines::default()), Inner::Ollama(ollama_chat::stream::Decoder::default()))
            }
        };
        Self { frames, dialect, over: Over::No, beside: false }
    }

    /// For a stream whose bytes pass through beside it: what cannot be read is left out, the client may know better.
    pub fn beside(self) -> Self {
        Self { beside: true, ..self }
    }

    /// Takes in bytes and appends the events they complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<StreamEvent>) {
        let Self { frames, dialect, over, beside } = self;
        let each = |data: &[u8]| hear(dialect, over, *beside, data, out);
        let pushed = match frames {
            Frames::Events(events) => events.push(bytes, each),
            Frames::Lines(lines) => lines.push(bytes, each),
        };
        if let (Err(TooLong), Over::No) = (pushed, self.over) {
            self.over = Over::Broken;
            out.push(StreamEvent::Error(ApiError::new(ErrorKind::Upstream, "a piece of its stream is too long")));
        }
    }

    /// The body ended: a stream that has not said so was cut.
    pub fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        let Self { frames, dialect, over, beside } = self;
        let each = |data: &[u8]| hear(dialect, over, *beside, data, out);
        match frames {
            Frames::Events(events) => events.finish(each),
            Frames::Lines(lines) => lines.finish(each),
        }
        if self.over != Over::No {
            return;
        }
        let last = match &mut self.dialect {
            Inner::OpenAi(decoder) => decoder.end(),
            Inner::Anthropic(_) | Inner::Ollama(_) => None,
        };
        let cut = || StreamEvent::Error(ApiError::new(ErrorKind::Connection, "its stream was cut off"));
        let last = last.unwrap_or_else(cut);
        self.over = if matches!(last, StreamEvent::Error(_)) { Over::Broken } else { Over::Finished };
        out.push(last);
    }

    /// Whether the upstream told an error in its own stream, so that a client of the same dialect has seen it.
    pub fn saw_error(&self) -> bool {
        self.over == Over::Refused
    }
}

fn hear(dialect: &mut Inner, over: &mut Over, beside: bool, data: &[u8], out: &mut Vec<StreamEvent>) {
    if *over != Over::No {
        return;
    }
    let from = out.len();
    let heard = match dialect {
        Inner::OpenAi(decoder) => decoder.hear(data, out),
        Inner::Anthropic(decoder) => decoder.hear(data, out),
        Inner::Ollama(decoder) => decoder.hear(data, out),
    };
    if heard.is_err() && beside {
        return;
    }
    if heard.is_err() {
        *over = Over::Broken;
        out.push(StreamEvent::Error(ApiError::new(ErrorKind::Upstream, "its stream cannot be read")));
        return;
    }
    let last =
        out[from..].iter().position(|event| matches!(event, StreamEvent::Finish { .. } | StreamEvent::Error(_)));
    if let Some(last) = last {
        out.truncate(from + last + 1);
        *over = match out.last() {
            Some(StreamEvent::Error(_)) => Over::Refused,
            _ => Over::Finished,
        };
    }
}

/// Encodes a stream for a client.
#[derive(Debug)]
pub struct StreamEncoder {
    dialect: Speaker,
}

#[derive(Debug)]
enum Speaker {
    OpenAi(openai_chat::stream::Encoder),
    Anthropic(anthropic_messages::stream::Encoder),
    Native(native::stream::Encoder),
}

impl StreamEncoder {
    /// An encoder at the start of a stream. `include_usage`: whether an OpenAI client asked for it.
    pub fn new(dialect: Dialect, meta: AnswerMeta, include_usage: bool) -> Self {
        let dialect = match dialect {
            Dialect::OpenAi => Speaker::OpenAi(openai_chat::stream::Encoder::new(meta, include_usage)),
            Dialect::Anthropic => Speaker::Anthropic(anthropic_messages::stream::Encoder::new(meta)),
            Dialect::Native | Dialect::Ollama => Speaker::Native(native::stream::Encoder::new(meta)),
        };
        Self { dialect }
    }

    /// Appends what a client gets for `event`.
    pub fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match &mut self.dialect {
            Speaker::OpenAi(encoder) => encoder.encode(event, out),
            Speaker::Anthropic(encoder) => encoder.encode(event, out),
            Speaker::Native(encoder) => encoder.encode(event, out),
        }
    }

    /// What our own dialect says at the end; to be called before `Finish`.
    pub fn settle(&mut self, meta: NativeMeta) {
        if let Speaker::Native(encoder) = &mut self.dialect {
            encoder.settle(meta);
        }
    }
}
