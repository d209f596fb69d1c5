//! Streamed answers, whatever the dialect: bytes -> events, events -> bytes.
//!
//! The decoders promise what `protocol::StreamEvent` asks for: `Finish` is the last event, an `Error` ends the stream,
//! and after either nothing follows, however the bytes were split.

use bytes::BytesMut;

use super::lines::{Events, JsonLines, TooLong};
use super::{
    AnswerMeta, ForcedCall, NativeMeta, anthropic_messages, native, ollama_chat, openai_chat, openai_responses,
};
use crate::protocol::{ApiError, Dialect, ErrorKind, StreamEvent, ToolCallDelta};

/// Decodes a backend's stream.
#[derive(Debug)]
pub struct StreamDecoder {
    frames: Frames,
    ear: Ear,
}

/// Hears what the frames hold.
#[derive(Debug)]
struct Ear {
    dialect: Inner,
    over: Over,
    /// Whether the client gets the bytes themselves.
    beside: bool,
    /// When the answer was asked for.
    at_ms: i64,
    /// The call that the text is.
    forced: Option<ForcedCall>,
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
    /// It is not the call that it had to be.
    NoCall,
}

impl StreamDecoder {
    /// A decoder at the start of a stream.
    pub fn new(dialect: Dialect) -> Self {
        let (frames, dialect) = match dialect {
            Dialect::OpenAi | Dialect::Responses | Dialect::Native => {
                (Frames::Events(Events::default()), Inner::OpenAi(openai_chat::stream::Decoder::default()))
            }
            Dialect::Anthropic => {
                (Frames::Events(Events::default()), Inner::Anthropic(anthropic_messages::stream::Decoder::default()))
            }
            Dialect::Ollama => {
                (Frames::Lines(JsonLines::default()), Inner::Ollama(ollama_chat::stream::Decoder::default()))
            }
        };
        Self { frames, ear: Ear { dialect, over: Over::No, beside: false, at_ms: 0, forced: None } }
    }

    /// For an answer that was asked for at `at_ms`, by which calls are named as [`super::name_calls`] does.
    pub fn asked_at(mut self, at_ms: i64) -> Self {
        self.ear.at_ms = at_ms;
        self
    }

    /// For an answer that stands for a call.
    pub fn forced(mut self, call: Option<ForcedCall>) -> Self {
        self.ear.forced = call;
        self
    }

    /// For a stream whose bytes pass through beside it: what cannot be read is left out, the client may know better.
    pub fn beside(mut self) -> Self {
        self.ear.beside = true;
        self
    }

    /// Takes in bytes and appends the events they complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<StreamEvent>) {
        let Self { frames, ear } = self;
        let each = |data: &[u8]| ear.hear(data, out);
        let pushed = match frames {
            Frames::Events(events) => events.push(bytes, each),
            Frames::Lines(lines) => lines.push(bytes, each),
        };
        if let (Err(TooLong), Over::No) = (pushed, self.ear.over) {
            self.ear.over = Over::Broken;
            out.push(StreamEvent::Error(ApiError::new(ErrorKind::Upstream, "a piece of its stream is too long")));
        }
    }

    /// The body ended: a stream that has not said so was cut.
    pub fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        let Self { frames, ear } = self;
        let each = |data: &[u8]| ear.hear(data, out);
        match frames {
            Frames::Events(events) => events.finish(each),
            Frames::Lines(lines) => lines.finish(each),
        }
        if self.ear.over != Over::No {
            return;
        }
        let last = match &mut self.ear.dialect {
            Inner::OpenAi(decoder) => decoder.end(),
            Inner::Anthropic(_) | Inner::Ollama(_) => None,
        };
        let cut = || StreamEvent::Error(ApiError::new(ErrorKind::Connection, "its stream was cut off"));
        let last = last.unwrap_or_else(cut);
        self.ear.over = if matches!(last, StreamEvent::Error(_)) { Over::Broken } else { Over::Finished };
        out.push(last);
    }

    /// Whether the upstream told an error in its own stream, so that a client of the same dialect has seen it.
    pub fn saw_error(&self) -> bool {
        self.ear.over == Over::Refused
    }

    /// Whether it ended because it is not the call that it had to be.
    pub fn is_no_call(&self) -> bool {
        self.ear.over == Over::NoCall
    }
}

impl Ear {
    fn hear(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) {
        if self.over != Over::No {
            return;
        }
        let from = out.len();
        let heard = match &mut self.dialect {
            Inner::OpenAi(decoder) => decoder.hear(data, out),
            Inner::Anthropic(decoder) => decoder.hear(data, out),
            Inner::Ollama(decoder) => decoder.hear(data, out),
        };
        if heard.is_err() && self.beside {
            return;
        }
        if heard.is_err() {
            self.over = Over::Broken;
            out.push(StreamEvent::Error(ApiError::new(ErrorKind::Upstream, "its stream cannot be read")));
            return;
        }
        if let Some(call) = &mut self.forced {
            let said: Vec<StreamEvent> = out.drain(from..).collect();
            if let Err(error) = said.into_iter().try_for_each(|event| call.hear(event, out)) {
                self.over = Over::NoCall;
                out.push(StreamEvent::Error(error));
                return;
            }
        }
        let mut last = None;
        for (at, event) in out[from..].iter_mut().enumerate() {
            match event {
                StreamEvent::ToolCall(ToolCallDelta { index, start: Some((id, _)), .. }) => {
                    super::name_call(id, self.at_ms, *index);
                }
                StreamEvent::Finish { .. } | StreamEvent::Error(_) => {
                    last = Some(at);
                    break;
                }
                _ => {}
            }
        }
        if let Some(last) = last {
            out.truncate(from + last + 1);
            self.over = match out.last() {
                Some(StreamEvent::Error(_)) => Over::Refused,
                _ => Over::Finished,
            };
        }
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
    Responses(openai_responses::stream::Encoder),
    Anthropic(anthropic_messages::stream::Encoder),
    Native(native::stream::Encoder),
}

impl StreamEncoder {
    /// An encoder at the start of a stream. `include_usage`: whether an OpenAI client asked for it.
    pub fn new(dialect: Dialect, meta: AnswerMeta, include_usage: bool) -> Self {
        let dialect = match dialect {
            Dialect::OpenAi => Speaker::OpenAi(openai_chat::stream::Encoder::new(meta, include_usage)),
            Dialect::Responses => Speaker::Responses(openai_responses::stream::Encoder::new(meta)),
            Dialect::Anthropic => Speaker::Anthropic(anthropic_messages::stream::Encoder::new(meta)),
            Dialect::Native | Dialect::Ollama => Speaker::Native(native::stream::Encoder::new(meta)),
        };
        Self { dialect }
    }

    /// Appends what a client gets for `event`.
    pub fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match &mut self.dialect {
            Speaker::OpenAi(encoder) => encoder.encode(event, out),
            Speaker::Responses(encoder) => encoder.encode(event, out),
            Speaker::Anthropic(encoder) => encoder.encode(event, out),
            Speaker::Native(encoder) => encoder.encode(event, out),
        }
    }

    /// Bytes of what was said that are kept, about: to be told once more at the end, or because they wait for a call.
    pub fn kept(&self) -> usize {
        match &self.dialect {
            Speaker::Responses(encoder) => encoder.kept(),
            Speaker::Anthropic(encoder) => encoder.kept(),
            Speaker::OpenAi(_) | Speaker::Native(_) => 0,
        }
    }

    /// What our own dialect says at the end; to be called before `Finish`.
    pub fn settle(&mut self, meta: NativeMeta) {
        if let Speaker::Native(encoder) = &mut self.dialect {
            encoder.settle(meta);
        }
    }
}
