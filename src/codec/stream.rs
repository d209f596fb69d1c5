//! Streamed answers in any dialect: bytes -> events, events -> bytes.
//!
//! The decoders promise what `protocol::StreamEvent` asks for: `Finish` is the last event, an `Error` ends the stream,
//! and after either nothing follows, however the bytes were split.

use bytes::BytesMut;

use super::lines::{Events, JsonLines, TooLong};
use super::openai_responses::backend::response;
use super::{
    AnswerMeta, Begun, ForcedCall, NativeMeta, ToolNames, anthropic_messages, characters, native, ollama_chat,
    openai_chat, openai_responses,
};
use crate::protocol::{ApiError, Dialect, ErrorKind, StreamEvent, ToolCallDelta};

/// Decodes a backend's stream.
#[derive(Debug)]
pub struct StreamDecoder {
    frames: Frames,
    state: DecoderState,
}

/// Everything of a decoder but its framing.
#[derive(Debug)]
struct DecoderState {
    dialect: DialectDecoder,
    end: End,
    /// Whether frames that cannot be read are skipped.
    lenient: bool,
    /// Time of the request, in Unix milliseconds.
    at_ms: i64,
    /// The forced call that the text stands for.
    forced: Option<ForcedCall>,
    /// The client's names of tools.
    names: Option<ToolNames>,
    /// Whether it begins as a page of HTML does; `None` = nothing but blanks has come.
    is_page: Option<bool>,
    /// Whether the body did not end with a frame that can be read and lacks no more than its end.
    is_torn: bool,
}

#[derive(Debug)]
enum Frames {
    Events(Events),
    Lines(JsonLines),
}

#[derive(Debug)]
enum DialectDecoder {
    OpenAi(openai_chat::stream::Decoder),
    Responses(openai_responses::backend::stream::Decoder),
    Anthropic(anthropic_messages::stream::Decoder),
    Ollama(ollama_chat::stream::Decoder),
}

impl DialectDecoder {
    fn broken_off(&self) -> Option<&ApiError> {
        match self {
            Self::OpenAi(decoder) => decoder.broken_off(),
            // Say it as an error.
            Self::Responses(_) | Self::Anthropic(_) | Self::Ollama(_) => None,
        }
    }

    /// Why a stream that is none of this dialect's for certain is refused. Nothing of it was read, so nothing was said.
    fn foreign(&self, is_page: bool) -> Option<ApiError> {
        match self {
            Self::Responses(decoder) if decoder.is_another(is_page) => Some(response::absent()),
            _ => None,
        }
    }

    /// Whether the error that ends the stream stands in it as the dialect's clients know errors.
    fn tells_error(&self) -> bool {
        match self {
            Self::OpenAi(decoder) => decoder.tells_error(),
            Self::Responses(_) | Self::Anthropic(_) | Self::Ollama(_) => true,
        }
    }
}

/// Whether and how the stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Finished,
    /// All was said, and the body ended without the stream's own end.
    Unmarked,
    /// The upstream reported an error in its stream.
    Refused,
    /// It broke off, or cannot be read.
    Broken,
}

impl StreamDecoder {
    /// A decoder at the start of a stream.
    pub fn new(dialect: Dialect) -> Self {
        let (frames, dialect) = match dialect {
            Dialect::OpenAi | Dialect::Native => {
                (Frames::Events(Events::default()), DialectDecoder::OpenAi(openai_chat::stream::Decoder::default()))
            }
            Dialect::Responses => (
                Frames::Events(Events::default()),
                DialectDecoder::Responses(openai_responses::backend::stream::Decoder::default()),
            ),
            Dialect::Anthropic => (
                Frames::Events(Events::default()),
                DialectDecoder::Anthropic(anthropic_messages::stream::Decoder::default()),
            ),
            Dialect::Ollama => {
                (Frames::Lines(JsonLines::default()), DialectDecoder::Ollama(ollama_chat::stream::Decoder::default()))
            }
        };
        let state = DecoderState {
            dialect,
            end: End::Open,
            lenient: false,
            at_ms: 0,
            forced: None,
            names: None,
            is_page: None,
            is_torn: false,
        };
        Self { frames, state }
    }

    /// For a request of `at_ms`, from which calls without ids get theirs, as [`super::name_calls`] does.
    pub fn asked_at(mut self, at_ms: i64) -> Self {
        self.state.at_ms = at_ms;
        self
    }

    /// For an answer whose text stands for a forced call.
    pub fn forced(mut self, call: Option<ForcedCall>) -> Self {
        self.state.forced = call;
        self
    }

    /// For an answer that calls tools by other names than the client's.
    pub fn naming(mut self, names: Option<ToolNames>) -> Self {
        self.state.names = names;
        self
    }

    /// For an answer of so many choices.
    pub fn asked_for(mut self, choices: u64) -> Self {
        if let DialectDecoder::OpenAi(decoder) = &mut self.state.dialect {
            decoder.asked_for(choices);
        }
        self
    }

    /// For a stream whose bytes the client gets themselves: frames that cannot be read are skipped, since the client
    /// may understand them.
    pub fn lenient(mut self) -> Self {
        self.state.lenient = true;
        self
    }

    /// For a stream whose bytes the client gets themselves, and of which as much may be kept as of a whole answer: where
    /// OpenAI makes pictures, one event holds all of them. While such an event comes there are three copies of it, two here
    /// and the one that passes ([`super::WholeEvents`]), which are given back behind it. So a stream holds at most three
    /// times as much.
    pub fn up_to(mut self, bytes: usize) -> Self {
        if let Frames::Events(events) = &mut self.frames {
            events.allow(bytes);
        }
        self
    }

    /// Takes in bytes and appends the events that they complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<StreamEvent>) {
        let Self { frames, state } = self;
        if state.is_page.is_none() && !bytes.trim_ascii_start().is_empty() {
            state.is_page = Some(response::is_page(bytes));
        }
        let each = |data: &[u8]| {
            state.on_frame(data, out);
        };
        let pushed = match frames {
            Frames::Events(events) => events.push(bytes, each),
            Frames::Lines(lines) => lines.push(bytes, each),
        };
        if let (Err(TooLong), End::Open) = (pushed, self.state.end) {
            self.state.end = End::Broken;
            out.push(StreamEvent::Error(ApiError::new(ErrorKind::Upstream, "a piece of its stream is too long")));
        }
    }

    /// Ends the body: a stream without its own end was cut off.
    pub fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        // Behind the answer, half a frame is no loss.
        self.state.lenient |= self.is_over();
        let Self { frames, state } = self;
        let mut is_read = false;
        let each = |data: &[u8]| is_read |= state.on_frame(data, out);
        match frames {
            Frames::Events(events) => events.finish(each),
            Frames::Lines(lines) => lines.finish(each),
        }
        self.state.is_torn = !is_read;
        if self.state.end != End::Open {
            return;
        }
        if !self.is_over() {
            self.state.end = End::Broken;
            let cut = || ApiError::new(ErrorKind::Connection, "its stream was cut off");
            out.push(StreamEvent::Error(self.state.foreign().unwrap_or_else(cut)));
            return;
        }
        let from = out.len();
        match &mut self.state.dialect {
            DialectDecoder::OpenAi(decoder) => decoder.end(out),
            DialectDecoder::Anthropic(decoder) => decoder.end(out),
            DialectDecoder::Responses(_) | DialectDecoder::Ollama(_) => {}
        }
        if !self.state.make_call(from, out) {
            return;
        }
        self.state.name_calls(&mut out[from..]);
        self.state.end = if self.broken_off().is_some() { End::Broken } else { End::Unmarked };
    }

    /// Whether no more of the answer is to come, complete or not.
    pub fn is_over(&self) -> bool {
        self.has_said_all() || self.broken_off().is_some()
    }

    /// Why the vendor broke the answer off, where a finish reason or a choice says so: its count may be to come, and the
    /// error follows that, or the stream's end.
    pub fn broken_off(&self) -> Option<&ApiError> {
        self.state.dialect.broken_off()
    }

    /// Whether the whole answer is here while the stream goes on: its usage may be to come.
    pub fn has_said_all(&self) -> bool {
        let said_all = match &self.state.dialect {
            DialectDecoder::OpenAi(decoder) => decoder.has_said_all(),
            DialectDecoder::Anthropic(decoder) => decoder.has_said_all(),
            // Say all of their end at once.
            DialectDecoder::Responses(_) | DialectDecoder::Ollama(_) => false,
        };
        said_all && self.state.end == End::Open
    }

    /// Whether that is so for certain: where the stream breaks off now, it is complete.
    pub fn is_at_end(&self) -> bool {
        self.has_said_all()
            && match &self.state.dialect {
                DialectDecoder::OpenAi(decoder) => decoder.is_at_end(),
                // Name their reason apart from the answer.
                DialectDecoder::Responses(_) | DialectDecoder::Anthropic(_) | DialectDecoder::Ollama(_) => true,
            }
    }

    /// Bytes of the answer that stand for a forced call and are held back until it is whole.
    pub fn held_bytes(&self) -> u64 {
        self.state.forced.as_ref().map_or(0, |call| call.held_bytes() as u64)
    }

    /// Whether the stream has ended well without its dialect's own end.
    pub fn is_unmarked(&self) -> bool {
        self.state.end == End::Unmarked
    }

    /// Whether what came last, after its last whole frame, is none that can be read.
    pub fn is_torn(&self) -> bool {
        self.state.is_torn
    }

    /// Whether the upstream reported an error in its stream, so that a client of the same dialect has seen it.
    pub fn saw_error(&self) -> bool {
        self.state.end == End::Refused
    }
}

impl DecoderState {
    /// Takes in a frame; whether it can be read, which behind the end does not matter.
    fn on_frame(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> bool {
        if self.end != End::Open {
            return true;
        }
        let from = out.len();
        // A frame that cannot be read leaves nothing of the answer behind, and is read once more.
        let decoded = characters::read(data, |data| match &mut self.dialect {
            DialectDecoder::OpenAi(decoder) => decoder.decode(data, out),
            DialectDecoder::Responses(decoder) => decoder.decode(data, out),
            DialectDecoder::Anthropic(decoder) => decoder.decode(data, out),
            DialectDecoder::Ollama(decoder) => decoder.decode(data, out),
        });
        if decoded.is_err() {
            if !self.lenient {
                self.end = End::Broken;
                let unreadable = || ApiError::new(ErrorKind::Upstream, "its stream cannot be read");
                out.push(StreamEvent::Error(self.foreign().unwrap_or_else(unreadable)));
            }
            return false;
        }
        if !self.make_call(from, out) {
            return true;
        }
        self.name_calls(&mut out[from..]);
        let is_last = |event: &StreamEvent| matches!(event, StreamEvent::Finish { .. } | StreamEvent::Error(_));
        if let Some(last) = out[from..].iter().position(is_last) {
            out.truncate(from + last + 1);
            self.end = match out.last() {
                Some(StreamEvent::Error(_)) if self.dialect.tells_error() => End::Refused,
                Some(StreamEvent::Error(_)) => End::Broken,
                _ => End::Finished,
            };
        }
        true
    }

    /// Has the forced call, if there is one, take in the events since `from`; false = the answer is no call, and ended.
    fn make_call(&mut self, from: usize, out: &mut Vec<StreamEvent>) -> bool {
        let Some(call) = &mut self.forced else { return true };
        let said: Vec<StreamEvent> = out.drain(from..).collect();
        let Err(error) = said.into_iter().try_for_each(|event| call.on_event(event, out)) else { return true };
        self.end = End::Broken;
        out.push(StreamEvent::Error(error));
        false
    }

    fn foreign(&self) -> Option<ApiError> {
        self.dialect.foreign(self.is_page == Some(true))
    }

    fn name_calls(&self, events: &mut [StreamEvent]) {
        for event in events {
            if let StreamEvent::ToolCall(ToolCallDelta { index, start: Some((id, name)), .. }) = event {
                super::name_call(id, self.at_ms, *index);
                self.names.iter().for_each(|names| names.restore(name));
            }
        }
    }
}

/// Encodes a stream for a client.
#[derive(Debug)]
pub struct StreamEncoder {
    dialect: DialectEncoder,
    /// What the answer may repeat, until it has, or has not.
    begun: Option<Begun>,
}

#[derive(Debug)]
enum DialectEncoder {
    OpenAi(openai_chat::stream::Encoder),
    Responses(openai_responses::stream::Encoder),
    Anthropic(anthropic_messages::stream::Encoder),
    Native(native::stream::Encoder),
}

impl DialectEncoder {
    fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match self {
            Self::OpenAi(encoder) => encoder.encode(event, out),
            Self::Responses(encoder) => encoder.encode(event, out),
            Self::Anthropic(encoder) => encoder.encode(event, out),
            Self::Native(encoder) => encoder.encode(event, out),
        }
    }
}

impl StreamEncoder {
    /// An encoder at the start of a stream. `include_usage`: whether an OpenAI client asked for usage.
    pub fn new(dialect: Dialect, meta: AnswerMeta, include_usage: bool) -> Self {
        let dialect = match dialect {
            Dialect::OpenAi => DialectEncoder::OpenAi(openai_chat::stream::Encoder::new(meta, include_usage)),
            Dialect::Responses => DialectEncoder::Responses(openai_responses::stream::Encoder::new(meta)),
            Dialect::Anthropic => DialectEncoder::Anthropic(anthropic_messages::stream::Encoder::new(meta)),
            Dialect::Native | Dialect::Ollama => DialectEncoder::Native(native::stream::Encoder::new(meta)),
        };
        Self { dialect, begun: None }
    }

    /// For the continuation of an answer, which may begin with what it continues.
    pub fn after(mut self, begun: Option<Begun>) -> Self {
        self.begun = begun;
        self
    }

    /// Appends the bytes that a client gets for `event`.
    pub fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        let Some(begun) = &mut self.begun else { return self.dialect.encode(event, out) };
        let (text, is_text) = match event {
            StreamEvent::Text(text) => (Some(begun.next(text)).filter(|text| !text.is_empty()), true),
            StreamEvent::ToolCall(_)
            | StreamEvent::Refusal(_)
            | StreamEvent::Finish { .. }
            | StreamEvent::Error(_) => (begun.end(), false),
            _ => (None, false),
        };
        if begun.is_over() {
            self.begun = None;
        }
        if let Some(text) = text {
            self.dialect.encode(&StreamEvent::Text(text), out);
        }
        if !is_text {
            self.dialect.encode(event, out);
        }
    }

    /// Bytes of the answer that are kept, about: to be repeated at the end (Responses), or until an open call ends.
    pub fn kept(&self) -> usize {
        match &self.dialect {
            DialectEncoder::Responses(encoder) => encoder.kept(),
            DialectEncoder::Anthropic(encoder) => encoder.kept(),
            DialectEncoder::OpenAi(_) | DialectEncoder::Native(_) => 0,
        }
    }

    /// Sets what the native dialect says at the end; to be called before `Finish`.
    pub fn settle(&mut self, meta: NativeMeta) {
        if let DialectEncoder::Native(encoder) = &mut self.dialect {
            encoder.settle(meta);
        }
    }
}
