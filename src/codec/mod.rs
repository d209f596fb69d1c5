//! Wire formats <-> the canonical forms of `protocol`; pure.
//!
//! One folder per dialect, each with `request`, `response` and `stream`, each decoding into and encoding out of the
//! canonical form, so that N formats need N codecs and not N x N. How a look-alike differs from the vendor whose format
//! it copies is data ([`Quirks`](crate::config::Quirks)), not a fork.
//!
//! **Loss.** Where client and backend speak the same dialect nothing is translated: the body passes through
//! ([`pass_request`]). Only `model` is changed, usage asked for, and what the backend is known to refuse changed or
//! left out; unknown fields survive. Where the dialects differ, a field that cannot be carried over is an error that
//! names it if its loss changes the meaning (see [`obstacles`]), and is listed in [`Encoded::dropped`] if not.

mod anthropic_messages;
mod asked_otherwise;
mod begun;
mod characters;
mod documents;
mod embeddings;
mod errors;
mod forced;
mod ids;
mod json;
mod lines;
mod native;
mod obstacles;
mod ollama_chat;
mod openai_chat;
mod openai_responses;
mod raw;
mod secrets;
mod sent_back;
mod sequencer;
mod splice;
mod stream;
mod tool_names;
mod weight;
mod whole_events;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::Quirks;
use crate::config::Refusal;
use crate::protocol::{
    ApiError, CacheWish, ChatRequest, ChatResponse, Dialect, ErrorKind, FinishReason, Part, Reasoning, Usage,
};

pub use asked_otherwise::{
    blame_what_is_named, hides_thoughts, is_for_the_verified, lacks_responses, may_be_for_another_account,
    may_be_taken_in_chat, may_be_translated, may_forbid_responses, may_refuse_thoughts, returns_what_is_sealed,
};
pub use begun::Begun;
pub use characters::whole_escapes;
pub use embeddings::{check_embeddings, embedded_tokens, embeddings_in_base64};
pub use forced::{ForcedCall, Forcing};
pub(crate) use lines::BYTE_ORDER_MARK;
pub use native::NO_OLLAMA;
pub use ollama_chat::request::needed_window;
pub use secrets::Secrets;
pub use sent_back::{still_refused, thoughts};
pub use splice::passthrough_request;
pub use stream::{StreamDecoder, StreamEncoder};
pub use tool_names::ToolNames;
pub use weight::parsed_bytes;
pub use whole_events::WholeEvents;

/// The model and provider that a request is encoded for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The provider's dialect.
    pub dialect: Dialect,
    /// How the provider differs from its dialect.
    pub quirks: &'a Quirks,
    /// The id the provider knows the model by.
    pub model: &'a str,
    /// Most tokens that the model can answer with, where known; fills `max_tokens` where the dialect requires it.
    pub max_output_tokens: Option<u32>,
    /// Whether the model can think.
    pub reasoning: bool,
    /// The context window in tokens, for a server that must be told how large a window to load (Ollama), see
    /// [`needed_window`].
    pub window: Option<u32>,
    /// What the model refuses although the dialect can say it.
    pub refuses: &'a BTreeSet<Refusal>,
    /// Whether thoughts are to be told where the dialect tells them only to who asks (Responses).
    pub tell_thoughts: bool,
    /// How many of the conversation's first thoughts the vendor does not get back, since it has refused them.
    pub refused_thoughts: usize,
}

static NO_REFUSALS: BTreeSet<Refusal> = BTreeSet::new();

impl<'a> Target<'a> {
    /// A model of which nothing is known but its id.
    pub fn new(dialect: Dialect, quirks: &'a Quirks, model: &'a str) -> Self {
        Self {
            dialect,
            quirks,
            model,
            max_output_tokens: None,
            reasoning: false,
            window: None,
            refuses: &NO_REFUSALS,
            tell_thoughts: true,
            refused_thoughts: 0,
        }
    }

    fn refuses(&self, what: Refusal) -> bool {
        self.refuses.contains(&what)
    }

    /// Whether the model can give an answer of as many tokens as a client allows.
    fn can_answer(&self, wanted: Option<u32>) -> bool {
        wanted.unwrap_or_default() <= self.max_output_tokens.unwrap_or(u32::MAX)
    }

    /// The limit for an answer where a client wants `wanted` tokens: vendors refuse more than the model can give.
    fn answer_tokens(&self, wanted: u32, dropped: &mut Vec<String>) -> u32 {
        let able = self.max_output_tokens.unwrap_or(u32::MAX);
        if wanted > able {
            dropped.push(format!("max_tokens (at most {able})"));
        }
        wanted.min(able)
    }

    /// Lowers the limit in `field` of a body to what the model can give.
    fn cap(&self, body: &mut Map<String, Value>, field: &str, dropped: &mut Vec<String>) {
        let Some(wanted) = body.get_mut(field) else { return };
        let number = json::whole(wanted).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        if let Some(number) = number.filter(|number| !self.can_answer(Some(*number))) {
            *wanted = Value::from(self.answer_tokens(number, dropped));
        }
    }
}

/// A request in a backend's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The HTTP body.
    pub body: Bytes,
    /// Fields that were lost, wholly or in part, without changing the meaning.
    pub dropped: Vec<String>,
}

/// What an answer in a client's dialect says besides its content.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerMeta {
    /// The answer's id.
    pub id: String,
    /// The model as this gateway lists it.
    pub model: String,
    /// Time of the answer, in Unix seconds.
    pub created: i64,
    /// What only the native dialect says.
    pub native: Option<NativeMeta>,
    /// Fields of the request that the answer repeats, see [`echo`].
    pub echo: Map<String, Value>,
}

/// What only the native dialect says of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeMeta {
    /// The cost in US dollars; estimated where the vendor reported no tokens.
    pub cost_usd: Option<f64>,
    /// Milliseconds from the request's arrival to the answer's end.
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
/// What is wrong with the request, with the field's path: `messages[2].content`.
pub fn decode_request(dialect: Dialect, body: &[u8]) -> Result<ChatRequest, ApiError> {
    let request = match dialect {
        Dialect::OpenAi => openai_chat::request::decode(body),
        Dialect::Responses => openai_responses::request::decode(body),
        Dialect::Anthropic => anthropic_messages::request::decode(body),
        Dialect::Native => native::request::decode(body),
        Dialect::Ollama => Err(ApiError::invalid("Ollama's dialect is spoken to backends only")),
    }?;
    // Of a dialect that vendors speak, too, the vendor is to judge that.
    if matches!(dialect, Dialect::Responses | Dialect::Native) && demands_absent_call(&request) {
        return Err(nothing_to_call());
    }
    Ok(request)
}

/// Writes a request for a backend.
///
/// # Errors
///
/// When the backend's dialect cannot say what the request means; the error names the field.
pub fn encode_request(target: &Target<'_>, request: &ChatRequest) -> Result<Encoded, ApiError> {
    if demands_absent_call(request) {
        return Err(nothing_to_call());
    }
    // Checked before a backend is chosen, too; the client's dialect, which names paths, is not known here.
    if let Some(field) = obstacle(Dialect::Native, target.dialect, request) {
        return Err(json::cannot_carry(&field, target.dialect));
    }
    let (request, lost) = sent_back::fit(target, request);
    let request = tool_names::fit(target.dialect, request);
    let mut encoded = match target.dialect {
        Dialect::OpenAi => openai_chat::request::encode(target, &request),
        Dialect::Anthropic => anthropic_messages::request::encode(target, &request),
        Dialect::Ollama => ollama_chat::request::encode(target, &request),
        Dialect::Native => Err(ApiError::invalid("our own dialect is spoken to clients only")),
        Dialect::Responses => openai_responses::backend::request::encode(target, &request),
    }?;
    encoded.dropped.extend(lost);
    Ok(encoded)
}

/// The first part or field of a request that `backend` cannot say although its loss would change the meaning. The
/// request is no error yet: another backend may be able to say it. Cheap, since nothing is written.
///
/// `None` where client and backend speak the same dialect: the body passes through.
pub fn obstacle(client: Dialect, backend: Dialect, request: &ChatRequest) -> Option<String> {
    let field = match backend {
        _ if client == backend => None,
        _ if demands_absent_call(request) => Some("tool_choice".into()),
        Dialect::OpenAi => openai_chat::request::obstacle(client, request),
        Dialect::Anthropic => anthropic_messages::request::obstacle(client, request),
        Dialect::Ollama => ollama_chat::request::obstacle(client, request),
        Dialect::Responses => openai_responses::backend::obstacle(client, request),
        Dialect::Native => None,
    };
    let misplaced = || (client != backend).then(|| obstacles::misplaced(client, request)).flatten();
    field.or_else(misplaced).map(|field| own_name(client, &field).into_owned())
}

/// Whether a model in OpenAI's dialect is to be asked in Responses: it does not think beside tools in Chat Completions,
/// the request has some and does not say that it is not to think, and loses nothing by it.
pub fn is_for_responses(client: Dialect, target: &Target<'_>, request: &ChatRequest) -> bool {
    target.dialect == Dialect::OpenAi
        && target.quirks.responses
        && openai_chat::adapt::not_beside_tools(target)
        && !request.tools.is_empty()
        && !request.reasoning.as_ref().is_some_and(Reasoning::is_off)
        && obstacle(Dialect::Native, Dialect::Responses, request).is_none()
        && !(client == Dialect::OpenAi && openai_responses::backend::loses_some(target, request))
}

/// Whether the body of a client that speaks Responses passes through to a model of OpenAI's.
pub fn passes_to_responses(client: Dialect, target: &Target<'_>, request: &ChatRequest) -> bool {
    client == Dialect::Responses
        && target.dialect == Dialect::OpenAi
        && target.quirks.responses
        && openai_responses::backend::verbatim::says(request)
}

/// Whether nobody but OpenAI's Responses can be asked: in what it is asked for there is something that no other dialect
/// can say.
pub fn is_only_for_responses(client: Dialect, request: &ChatRequest) -> bool {
    client == Dialect::Responses && openai_responses::backend::verbatim::is_needed(request)
}

/// Whether the request demands a tool call but offers no tools.
fn demands_absent_call(request: &ChatRequest) -> bool {
    request.must_call() && request.tools.is_empty() && !request.extensions.contains_key("tools")
}

fn nothing_to_call() -> ApiError {
    ApiError::invalid("tool_choice demands a call, and there are no tools").at("tool_choice")
}

/// A field's name, or path, in the client's dialect.
pub fn own_name(client: Dialect, field: &str) -> Cow<'_, str> {
    match client {
        Dialect::Responses => openai_responses::own_name(field),
        _ => Cow::Borrowed(field),
    }
}

/// The first part or field of a request that a provider is known to refuse although its dialect can say it; it rules
/// the provider out as an [`obstacle`] does. A begun answer (prefill) rules it out only where client and backend speak
/// different dialects: a client of the backend's own knows what a prefill means there.
pub fn refused_part(client: Dialect, backend: Dialect, quirks: &Quirks, request: &ChatRequest) -> Option<String> {
    if backend != Dialect::OpenAi {
        return None;
    }
    if client != backend && !quirks.prefill && request.is_prefilled() {
        let at = request.last_turn()?;
        return Some(format!("{} (the beginning of an answer)", obstacles::path_of_turn(client, request, at)));
    }
    if let Some(field) = obstacles::too_many(client, quirks, request) {
        return Some(field);
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
    obstacles::refused_part(client, request, refused)
        .or_else(|| obstacles::refused_extension(request, &quirks.cannot))
}

/// The field of a request that a model is known to refuse although its vendor's dialect can say it, and that cannot be
/// left out; it rules the model out as an [`obstacle`] does.
pub fn refused_field(client: Dialect, refuses: &BTreeSet<Refusal>, request: &ChatRequest) -> Option<String> {
    if refuses.contains(&Refusal::Stop) && request.sampling.stop.iter().any(|stop| !stop.is_empty()) {
        return Some(obstacles::stop_field(client).to_owned());
    }
    let probabilities = BTreeSet::from(["logprobs", "top_logprobs"].map(str::to_owned));
    refuses.contains(&Refusal::Logprobs).then(|| obstacles::refused_extension(request, &probabilities)).flatten()
}

/// Whether a provider that keeps in its prompt cache only what it is told to, and charges for it, is told so, by the
/// client or in its stead. `None` = its cache, if it has one, fills by itself.
pub fn marks_cache(client: Dialect, backend: Dialect, quirks: &Quirks, wish: CacheWish) -> Option<bool> {
    (backend == Dialect::Anthropic).then_some(match wish {
        CacheWish::Said => true,
        CacheWish::Unsaid => client != backend && quirks.cache_markers,
        CacheWish::None => false,
    })
}

/// The client's own request for a backend of the same dialect. Nearly always the body passes as [`passthrough_request`]
/// says. Where the backend would refuse something (a field it does not know, another vendor's reasoning), that is
/// changed or left out, and every other field stays.
///
/// # Errors
///
/// When the body is no JSON object.
pub fn pass_request(target: &Target<'_>, request: &ChatRequest, body: &[u8]) -> Result<Encoded, ApiError> {
    let mut dropped = Vec::new();
    let is_anthropics = target.dialect == Dialect::Anthropic;
    let adapt = match target.dialect {
        Dialect::OpenAi if !openai_chat::adapt::takes(target, request) => openai_chat::adapt::adapt,
        Dialect::Anthropic if !anthropic_messages::adapt::takes(target, request) => anthropic_messages::adapt::adapt,
        Dialect::Responses => {
            dropped.extend(request.leftovers.get("store").map(|_| "store".to_owned()));
            if openai_responses::backend::verbatim::takes(target, request, body) {
                return Ok(Encoded { body: passthrough_request(target, body, request.stream)?, dropped });
            }
            openai_responses::backend::verbatim::adapt
        }
        _ => return Ok(Encoded { body: passthrough_request(target, body, request.stream)?, dropped }),
    };
    let mut fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| ApiError::invalid("the body is no JSON object"))?;
    if is_anthropics {
        anthropic_messages::request::keep_inputs(body, &mut fields);
    }
    adapt(target, &mut fields, &mut dropped);
    let texts = if is_anthropics { anthropic_messages::request::INPUTS } else { &[] };
    let body = raw::write(&Value::Object(fields), texts);
    Ok(Encoded { body: passthrough_request(target, &body, request.stream)?, dropped })
}

/// The usage in a vendor's `usage` object, in one of OpenAI's two forms or in Anthropic's; `None` = in none.
pub(crate) fn usage_of(value: &Value) -> Option<Usage> {
    let is_number = |key: &str| value.get(key).is_some_and(Value::is_number);
    if is_number("prompt_tokens") {
        return openai_chat::WireUsage::deserialize(value).ok().map(Usage::from);
    }
    let counts = is_number("input_tokens") && is_number("output_tokens");
    if counts && value.get("input_tokens_details").is_some() {
        return openai_responses::usage_of(value);
    }
    counts.then(|| anthropic_messages::WireUsage::deserialize(value).ok().map(Usage::from)).flatten()
}

/// The finish reason of a vendor's word, or of a canonical one; `None` = unknown.
pub(crate) fn finish_of(word: &str) -> Option<FinishReason> {
    let of_vendors = || {
        let said =
            [anthropic_messages::finish_of(word), openai_chat::finish_of(word, word == "function_call", false)];
        said.into_iter().find(|reason| *reason != FinishReason::Other)
    };
    FinishReason::deserialize(Value::from(word)).ok().or_else(of_vendors)
}

/// A body without the byte order mark (BOM) that some servers put before it.
fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// A body that a backend sent, as JSON.
fn parse(body: &[u8]) -> Option<Value> {
    characters::read(without_bom(body), |body| serde_json::from_slice(body)).ok()
}

/// Reads a backend's answer.
///
/// # Errors
///
/// `Upstream` when the answer cannot be read; the error that it reports, where one came with a status of 200.
pub fn decode_response(dialect: Dialect, body: &[u8]) -> Result<ChatResponse, ApiError> {
    characters::read(without_bom(body), |body| match dialect {
        Dialect::OpenAi => openai_chat::response::decode(body),
        Dialect::Anthropic => anthropic_messages::response::decode(body),
        Dialect::Ollama => ollama_chat::response::decode(body),
        Dialect::Responses => openai_responses::backend::response::decode(body),
        Dialect::Native => Err(unreadable()),
    })
}

/// Whether the body of an answer with a status of 200 reports an error, and nothing of an answer beside it.
pub fn reports_error(body: &[u8]) -> bool {
    let says_some = |value: &Value| value["choices"].as_array().is_some_and(|choices| !choices.is_empty());
    // Beside a count an empty error is none.
    let counts = |value: &Value| !value["usage"].is_null() && errors::is_empty(&value["error"]);
    parse(body).is_some_and(|value| errors::holds_error(&value) && !says_some(&value) && !counts(&value))
}

/// What a vendor counted of a whole answer that is none: it charges for one that it broke off, and may count beside an
/// error.
pub fn counted(dialect: Dialect, body: &[u8]) -> Option<Usage> {
    let usage = parse(body)?.get("usage").filter(|usage| usage.is_object())?.clone();
    match dialect {
        Dialect::OpenAi => serde_json::from_value::<openai_chat::WireUsage>(usage).ok().map(Into::into),
        Dialect::Anthropic => serde_json::from_value::<anthropic_messages::WireUsage>(usage).ok().map(Into::into),
        Dialect::Responses => openai_responses::usage_of(&usage),
        Dialect::Ollama | Dialect::Native => None,
    }
}

/// Stands for an answer that [`decode_response`] could not read but that has the outer shape of one. A client of the
/// backend's own dialect gets the bytes themselves and may understand them. `None` = no such shape, or the body tells
/// an error.
pub fn opaque_response(dialect: Dialect, body: &[u8]) -> Option<ChatResponse> {
    let value = parse(body)?;
    let said = match dialect {
        Dialect::OpenAi if is_broken_off(&value["choices"][0]) => return None,
        Dialect::OpenAi => &value["choices"],
        Dialect::Anthropic => &value["content"],
        Dialect::Ollama | Dialect::Native | Dialect::Responses => return None,
    };
    let reports_none = value.get("error").is_none_or(errors::is_empty);
    said.as_array().filter(|said| !said.is_empty() && reports_none).map(|_| ChatResponse {
        id: String::new(),
        model: String::new(),
        parts: vec![Part::text(said.to_string())],
        finish_reason: FinishReason::Other,
        stop_sequence: None,
        usage: None,
    })
}

/// Whether a choice of OpenAI's dialect is of an answer that its vendor broke off.
fn is_broken_off(choice: &Value) -> bool {
    openai_chat::broken_off(choice["finish_reason"].as_str(), choice.get("error")).is_some()
}

/// Gives ids to the tool calls of an answer whose server gave them none. An id may not come twice in a conversation, so
/// it holds `at_ms`, the time of the request.
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

/// The fields of the request `body` that the dialect's answers repeat.
pub fn echo(dialect: Dialect, body: &[u8]) -> Map<String, Value> {
    match dialect {
        Dialect::Responses => openai_responses::echo(body),
        _ => Map::new(),
    }
}

/// The parts of a request's body that [`echo`] may take from it.
pub fn repeated(dialect: Dialect, body: &[u8]) -> Vec<&[u8]> {
    match dialect {
        Dialect::Responses => openai_responses::repeated(body),
        _ => Vec::new(),
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

/// Reads a backend's error: its kind, told by code, phrase or status, and its message.
pub fn decode_error(dialect: Dialect, status: u16, body: &[u8], retry_after: Option<Duration>) -> ApiError {
    errors::decode(dialect, status, body, retry_after)
}

/// Writes an error for a client, with the status that its dialect gives the kind.
pub fn encode_error(dialect: Dialect, error: &ApiError) -> ErrorBody {
    errors::encode(dialect, error)
}

/// Writes an error into a stream that has begun.
pub fn encode_stream_error(dialect: Dialect, error: &ApiError) -> Bytes {
    errors::encode_in_stream(dialect, error)
}

/// The end of a stream in a dialect of server-sent events whose bytes pass through, for a client whose vendor left it
/// out. Anthropic's own SDK, for one, has no answer without it.
pub fn end_of_stream(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::Anthropic => b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        Dialect::OpenAi => b"data: [DONE]\n\n",
        Dialect::Responses | Dialect::Native | Dialect::Ollama => b"",
    }
}

/// What a client is sent while an answer is silent, so that nobody takes the connection for dead: the dialect's own
/// keep-alive, which no client takes for a piece of the answer.
pub fn sign_of_life(dialect: Dialect) -> Bytes {
    Bytes::from_static(match dialect {
        Dialect::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        Dialect::OpenAi | Dialect::Responses | Dialect::Native => b": keep-alive\n\n",
        Dialect::Ollama => b"\n",
    })
}

/// The media type of the dialect's streams.
pub fn stream_content_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Ollama => "application/x-ndjson",
        _ => "text/event-stream; charset=utf-8",
    }
}

/// Writes the answer to Anthropic's `count_tokens`, or to OpenAI's `input_tokens`.
pub fn encode_token_count(dialect: Dialect, tokens: u32) -> Bytes {
    Bytes::from(match dialect {
        Dialect::Responses => format!("{{\"object\":\"response.input_tokens\",\"input_tokens\":{tokens}}}"),
        _ => format!("{{\"input_tokens\":{tokens}}}"),
    })
}

/// Parses an answer's body; where that fails, the error that the body reports.
fn parse_answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).or_else(|_| {
        let value: Value = serde_json::from_slice(body).map_err(|_| unreadable())?;
        Err(value.get("error").and_then(|_| errors::in_band(&value)).unwrap_or_else(unreadable))
    })
}

/// The error for an answer that is not what its dialect says it must be.
fn unreadable() -> ApiError {
    ApiError::new(ErrorKind::Upstream, "its answer cannot be read")
}

#[cfg(test)]
mod alike_tests;
#[cfg(test)]
mod arguments_tests;
#[cfg(test)]
mod asked_in_responses_tests;
#[cfg(test)]
mod breakpoints_tests;
#[cfg(test)]
mod caching_tests;
#[cfg(test)]
mod ends_tests;
#[cfg(test)]
mod hosted_tests;
#[cfg(test)]
mod lacks_tests;
#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod misplaced_tests;
#[cfg(test)]
mod newer_tests;
#[cfg(test)]
mod passing_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod responses_stream_tests;
#[cfg(test)]
mod responses_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unruly_responses_tests;
