//! Wire formats <-> the canonical forms of `protocol`; pure.
//!
//! One folder per dialect, each with `request`, `response` and `stream`, each decoding into and encoding out of the
//! canonical form, so that N formats need N codecs and not N x N. How look-alikes differ from their model is data
//! ([`Quirks`](crate::config::Quirks)), not a fork.
//!
//! **Loss.** Where client and backend speak the same dialect nothing is translated: the body passes through ([`pass_request`]).
//! Only `model` is changed, the wish for usage added, and what the backend is known to refuse changed or left out; fields that
//! nobody here knows survive. Where they differ, a field that cannot be carried over is an error naming it if that changes
//! the meaning, and is listed in [`Encoded::dropped`] if it does not.

mod anthropic_messages;
mod carried;
mod documents;
mod embeddings;
mod errors;
mod forced;
mod in_turn;
mod json;
mod lines;
mod native;
mod ollama_chat;
mod openai_chat;
mod openai_responses;
mod secrets;
mod splice;
mod stream;
mod user;
mod whole_events;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::config::Quirks;
use crate::config::Refusal;
use crate::protocol::{ApiError, ChatRequest, ChatResponse, Dialect, FinishReason, Part, Usage};

pub use embeddings::{embeddings_in_base64, vector_in_base64};
pub use forced::ForcedCall;
pub(crate) use lines::BYTE_ORDER_MARK;
pub use native::NO_OLLAMA;
pub use secrets::Secrets;
pub use stream::{StreamDecoder, StreamEncoder};
pub use whole_events::WholeEvents;

/// Whom a request is encoded for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The dialect.
    pub dialect: Dialect,
    /// How the provider differs from it.
    pub quirks: &'a Quirks,
    /// The id the provider knows the model by.
    pub model: &'a str,
    /// Most tokens the model can answer with, where that is known; fills `max_tokens` where the dialect demands it.
    pub max_output_tokens: Option<u32>,
    /// Whether the model can think.
    pub reasoning: bool,
    /// Tokens that prompt and answer may have together, for a server that must be told how much to keep in mind.
    pub context: Option<u32>,
    /// About how many tokens the prompt has.
    pub prompt_tokens: u32,
    /// What the model refuses of what the dialect can say.
    pub refuses: &'a BTreeSet<Refusal>,
}

static NOTHING: BTreeSet<Refusal> = BTreeSet::new();

impl<'a> Target<'a> {
    /// A model of which nothing is known but its id.
    pub fn new(dialect: Dialect, quirks: &'a Quirks, model: &'a str) -> Self {
        Self {
            dialect,
            quirks,
            model,
            max_output_tokens: None,
            reasoning: false,
            context: None,
            prompt_tokens: 0,
            refuses: &NOTHING,
        }
    }

    fn refuses(&self, what: Refusal) -> bool {
        self.refuses.contains(&what)
    }
}

impl Target<'_> {
    /// Whether the model can answer as long as a client wants.
    fn answers(&self, wanted: Option<u32>) -> bool {
        wanted.unwrap_or_default() <= self.max_output_tokens.unwrap_or(u32::MAX)
    }

    /// The tokens an answer may have where a client wants `wanted`: a vendor refuses more than its model can give.
    fn answer_tokens(&self, wanted: u32, dropped: &mut Vec<String>) -> u32 {
        let able = self.max_output_tokens.unwrap_or(u32::MAX);
        if wanted > able {
            dropped.push(format!("max_tokens (at most {able})"));
        }
        wanted.min(able)
    }

    /// Holds `field` of a body to what the model can give.
    fn bound(&self, body: &mut Map<String, Value>, field: &str, dropped: &mut Vec<String>) {
        let Some(wanted) = body.get_mut(field) else { return };
        let number = json::whole(wanted).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        if let Some(number) = number.filter(|number| !self.answers(Some(*number))) {
            *wanted = Value::from(self.answer_tokens(number, dropped));
        }
    }
}

/// A request in a backend's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The body.
    pub body: Bytes,
    /// Fields that could not be carried over, or not in full, and do not change the meaning.
    pub dropped: Vec<String>,
}

/// What an answer says of itself besides its content.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerMeta {
    /// The answer's id.
    pub id: String,
    /// The model as this gateway lists it.
    pub model: String,
    /// When, in Unix seconds.
    pub created: i64,
    /// What only our own dialect says.
    pub native: Option<NativeMeta>,
    /// What the answer repeats of its request, see [`echo`].
    pub echo: Map<String, Value>,
}

/// What only our own dialect says of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeMeta {
    /// What it cost, US dollars; estimated where the vendor did not say how many tokens it took.
    pub cost_usd: Option<f64>,
    /// From the request's arrival to its end, milliseconds.
    pub latency_ms: Option<u64>,
    /// How the model was chosen.
    pub routing: Value,
}

/// An error in a client's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Reads a client's request.
///
/// # Errors
///
/// What is wrong with it, naming the field: `messages[2].content`.
pub fn decode_request(dialect: Dialect, body: &[u8]) -> Result<ChatRequest, ApiError> {
    let request = match dialect {
        Dialect::OpenAi => openai_chat::request::decode(body),
        Dialect::Responses => openai_responses::request::decode(body),
        Dialect::Anthropic => anthropic_messages::request::decode(body),
        Dialect::Native => native::request::decode(body),
        Dialect::Ollama => Err(ApiError::invalid("Ollama's dialect is spoken to backends only")),
    }?;
    // In a dialect that vendors speak, too, it is for them to say.
    if matches!(dialect, Dialect::Responses | Dialect::Native) && calls_nothing(&request) {
        return Err(nothing_to_call());
    }
    Ok(request)
}

/// Writes a request for a backend.
///
/// # Errors
///
/// When the backend's dialect cannot say what the request means; names the field.
pub fn encode_request(target: &Target<'_>, request: &ChatRequest) -> Result<Encoded, ApiError> {
    if calls_nothing(request) {
        return Err(nothing_to_call());
    }
    match target.dialect {
        Dialect::OpenAi => openai_chat::request::encode(target, request),
        Dialect::Anthropic => anthropic_messages::request::encode(target, request),
        Dialect::Ollama => ollama_chat::request::encode(target, request),
        Dialect::Native => Err(ApiError::invalid("our own dialect is spoken to clients only")),
        Dialect::Responses => Err(ApiError::invalid("OpenAI's Responses are spoken to clients only")),
    }
}

/// The first field of a request that a dialect cannot carry although it changes the meaning; such a request is no error
/// yet, another backend may carry it. Cheap: nothing is written.
///
/// Where client and backend speak the same dialect there is none: the body passes through.
pub fn obstacle(client: Dialect, backend: Dialect, request: &ChatRequest) -> Option<String> {
    let field = match backend {
        _ if client == backend => None,
        _ if calls_nothing(request) => Some("tool_choice".into()),
        Dialect::OpenAi => openai_chat::request::obstacle(client, request),
        Dialect::Anthropic => anthropic_messages::request::obstacle(client, request),
        Dialect::Ollama => ollama_chat::request::obstacle(client, request),
        Dialect::Native | Dialect::Responses => None,
    };
    field.map(|field| own_name(client, &field).into_owned())
}

/// Whether a call is demanded where there is nothing to call.
fn calls_nothing(request: &ChatRequest) -> bool {
    forced::is_wanted(request) && request.tools.is_empty() && !request.extensions.contains_key("tools")
}

fn nothing_to_call() -> ApiError {
    ApiError::invalid("tool_choice demands a call, and there are no tools").at("tool_choice")
}

/// A field of a request by the name that `client` knows it by.
pub fn own_name(client: Dialect, field: &str) -> Cow<'_, str> {
    match client {
        Dialect::Responses => openai_responses::own_name(field),
        _ => Cow::Borrowed(field),
    }
}

/// The first part or field of a request that a provider is known not to take although its dialect can say it: it stands in the
/// way as an [`obstacle`] does. Files do whatever the client speaks; the beginning of an answer does not where the
/// client speaks the backend's dialect, and knows what that means there.
pub fn refused_part(client: Dialect, backend: Dialect, quirks: &Quirks, request: &ChatRequest) -> Option<String> {
    if backend != Dialect::OpenAi {
        return None;
    }
    if client != backend && !quirks.prefill && request.is_prefilled() {
        let at = request.last_turn()?;
        return Some(format!("{} (the beginning of an answer)", carried::place(client, request, at)));
    }
    if quirks.files && quirks.cannot.is_empty() {
        return None;
    }
    let is_file = |kind: &str, value: &Value| kind == "file" || documents::Pdf::of(kind, value).is_some();
    let refused = |part: &Part| match part {
        Part::Foreign { kind, value } if !quirks.files && is_file(kind, value) || quirks.cannot.contains(kind) => {
            Some(kind.clone())
        }
        _ => None,
    };
    carried::part(client, request, refused).or_else(|| carried::beyond(request, &quirks.cannot))
}

/// The client's own request for a backend of the same dialect. Nearly always its body passes as [`passthrough_request`] says;
/// else what the backend would refuse (a field it does not know, another vendor's thoughts) is changed or left out, and every
/// other field stays.
///
/// # Errors
///
/// When the body is no JSON object.
pub fn pass_request(target: &Target<'_>, request: &ChatRequest, body: &[u8]) -> Result<Encoded, ApiError> {
    let mut dropped = Vec::new();
    let adapt = match target.dialect {
        Dialect::OpenAi if !openai_chat::likeness::takes(target, request) => openai_chat::likeness::adapt,
        Dialect::Anthropic if !anthropic_messages::refusals::takes(target, request) => {
            anthropic_messages::refusals::adapt
        }
        _ => return Ok(Encoded { body: splice::request(target, body, request.stream)?, dropped }),
    };
    let mut fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| ApiError::invalid("the body is no JSON object"))?;
    adapt(target, &mut fields, &mut dropped);
    let body = Value::Object(fields).to_string();
    Ok(Encoded { body: splice::request(target, body.as_bytes(), request.stream)?, dropped })
}

/// The client's own body for a backend of the same dialect: only `model` is changed, and at OpenAI's the name of the field
/// that bounds the answer, and the wish for a stream's usage, so that the answer's cost is known; and what is said of tools
/// where there are none is left out. Every other byte stays.
///
/// # Errors
///
/// When the body is no JSON object.
pub fn passthrough_request(target: &Target<'_>, body: &[u8], stream: bool) -> Result<Bytes, ApiError> {
    splice::request(target, body, stream)
}

/// The usage of an answer as a vendor gave it, in OpenAI's form or Anthropic's; `None` = it is neither.
pub(crate) fn usage_of(value: &Value) -> Option<Usage> {
    let is_number = |key: &str| value.get(key).is_some_and(Value::is_number);
    if is_number("prompt_tokens") {
        return openai_chat::WireUsage::deserialize(value).ok().map(Usage::from);
    }
    let counts = is_number("input_tokens") && is_number("output_tokens");
    counts.then(|| anthropic_messages::WireUsage::deserialize(value).ok().map(Usage::from)).flatten()
}

/// Why an answer ended, in a vendor's word or our own; `None` = in neither.
pub(crate) fn finish_of(word: &str) -> Option<FinishReason> {
    let of_vendors = || {
        let said = [anthropic_messages::finish_of(word), openai_chat::finish_of(word, false, false)];
        said.into_iter().find(|reason| *reason != FinishReason::Other)
    };
    FinishReason::deserialize(Value::from(word)).ok().or_else(of_vendors)
}

/// A body without the byte order mark that some servers put before it.
fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// Reads a backend's answer.
///
/// # Errors
///
/// `Upstream` when it cannot be read; the error it holds, where a status of 200 brought one.
pub fn decode_response(dialect: Dialect, body: &[u8]) -> Result<ChatResponse, ApiError> {
    let body = unmarked(body);
    match dialect {
        Dialect::OpenAi => openai_chat::response::decode(body),
        Dialect::Anthropic => anthropic_messages::response::decode(body),
        Dialect::Ollama => ollama_chat::response::decode(body),
        Dialect::Native | Dialect::Responses => Err(unreadable()),
    }
}

/// An answer of which nothing is understood but that it is one: for a client of the backend's own dialect, who gets it as it
/// is and may know better. `None` = it is none, or says that it is an error.
pub fn unread(dialect: Dialect, body: &[u8]) -> Option<ChatResponse> {
    let value: serde_json::Value = serde_json::from_slice(unmarked(body)).ok()?;
    let said = match dialect {
        Dialect::OpenAi => &value["choices"],
        Dialect::Anthropic => &value["content"],
        Dialect::Ollama | Dialect::Native | Dialect::Responses => return None,
    };
    let is_error = value.get("error").is_some_and(|error| !error.is_null());
    said.as_array().filter(|said| !said.is_empty() && !is_error).map(|_| ChatResponse {
        id: String::new(),
        model: String::new(),
        parts: vec![Part::text(said.to_string())],
        finish_reason: FinishReason::Other,
        stop_sequence: None,
        usage: None,
    })
}

/// Looks at an answer of embeddings, which passes on as it is.
///
/// # Errors
///
/// `Upstream` where it is none; the error it holds, where a status of 200 brought one: then the second is true.
pub fn check_embeddings(body: &[u8]) -> Result<(), (ApiError, bool)> {
    #[derive(Deserialize)]
    struct Wire {
        error: Option<Value>,
        data: Option<Vec<IgnoredAny>>,
    }
    let body = unmarked(body);
    let is_blank = |value: &Value| value.is_null() || value == "" || value == false || value.as_f64() == Some(0.0);
    let says_nothing = |error: &Value| match error {
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(is_blank),
        _ => true,
    };
    match serde_json::from_slice(body) {
        Ok(Wire { error, data: Some(_) }) if error.as_ref().is_none_or(says_nothing) => Ok(()),
        _ => {
            let said: Value = serde_json::from_slice(body).unwrap_or_default();
            let error = said.get("error").filter(|error| !error.is_null()).and_then(|_| errors::in_band(&said));
            Err(error.map_or_else(|| (unreadable(), false), |error| (error, true)))
        }
    }
}

/// Gives ids to the calls of an answer whose server gave them none. `at_ms`, when it was asked for, tells one answer's calls
/// from another's: within a conversation an id may not come twice.
pub fn name_calls(response: &mut ChatResponse, at_ms: i64) {
    let ids = response.parts.iter_mut().filter_map(|part| match part {
        Part::ToolCall { id, .. } => Some(id),
        _ => None,
    });
    ids.enumerate().for_each(|(index, id)| name_call(id, at_ms, index));
}

fn name_call(id: &mut String, at_ms: i64, index: usize) {
    if id.is_empty() {
        *id = format!("call_{at_ms:x}_{index}");
    }
}

/// What an answer repeats of the request `body`, where the dialect's answers do.
pub fn echo(dialect: Dialect, body: &[u8]) -> Map<String, Value> {
    match dialect {
        Dialect::Responses => openai_responses::echo(body),
        _ => Map::new(),
    }
}

/// Writes an answer for a client.
pub fn encode_response(dialect: Dialect, response: &ChatResponse, meta: &AnswerMeta) -> Bytes {
    match dialect {
        Dialect::OpenAi => openai_chat::response::encode(response, meta),
        Dialect::Responses => openai_responses::response::encode(response, meta),
        Dialect::Anthropic => anthropic_messages::response::encode(response, meta),
        Dialect::Native | Dialect::Ollama => native::response::encode(response, meta),
    }
}

/// Reads a backend's error: its kind by code, status or phrase, and its message.
pub fn decode_error(dialect: Dialect, status: u16, body: &[u8], retry_after: Option<Duration>) -> ApiError {
    errors::decode(dialect, status, body, retry_after)
}

/// Writes an error for a client, with the status its dialect gives that kind.
pub fn encode_error(dialect: Dialect, error: &ApiError) -> ErrorBody {
    errors::encode(dialect, error)
}

/// Writes an error into a stream that has begun.
pub fn encode_stream_error(dialect: Dialect, error: &ApiError) -> Bytes {
    errors::encode_in_stream(dialect, error)
}

/// What a client hears while an answer is under way and says nothing, so that the connection is not taken for dead: what
/// each dialect has for it, which no client takes for a piece of the answer.
pub fn sign_of_life(dialect: Dialect) -> Bytes {
    Bytes::from_static(match dialect {
        Dialect::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        Dialect::OpenAi | Dialect::Responses | Dialect::Native => b": keep-alive\n\n",
        Dialect::Ollama => b"\n",
    })
}

/// The media type of a stream.
pub fn stream_content_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Ollama => "application/x-ndjson",
        _ => "text/event-stream; charset=utf-8",
    }
}

/// Writes the answer to Anthropic's `count_tokens`.
pub fn encode_token_count(tokens: u32) -> Bytes {
    Bytes::from(format!("{{\"input_tokens\":{tokens}}}"))
}

/// An answer that is not what its dialect says it must be.
fn unreadable() -> ApiError {
    ApiError::new(crate::protocol::ErrorKind::Upstream, "its answer cannot be read")
}

#[cfg(test)]
mod alike_tests;
#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod newer_tests;
#[cfg(test)]
mod passing_tests;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod responses_stream_tests;
#[cfg(test)]
mod responses_tests;
#[cfg(test)]
mod tests;
