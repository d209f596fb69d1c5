//! Errors on the wire: reading a vendor's error, and writing one in a client's dialect.
//!
//! Statuses and types as documented by the vendors: OpenAI "Error codes", Anthropic "Errors". The kind follows from the code
//! first, then from a phrase (not every vendor has a code for context overflow), then from the status.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{ErrorBody, own_name};
use crate::protocol::{ApiError, Dialect, ErrorKind, VendorError};

/// Characters of a vendor's message that are passed on.
const MAX_MESSAGE_CHARS: usize = 500;

/// Bytes of a vendor's other error fields, as JSON; more are not passed on.
const MAX_VENDOR_FIELDS_BYTES: usize = 4096;

/// Claude's words for a prompt that does not fit.
const TOO_LONG: &str = "prompt is too long";

/// Claude's words for a prompt that fits, and an answer as long as the client allows that does not fit behind it.
const TOO_MUCH_ALLOWED: &str = "exceed context limit";

/// Phrases that vendors and look-alikes use when a prompt does not fit.
const OVERFLOW: [&str; 15] = [
    "context length",
    "context window",
    TOO_LONG,
    "maximum context",
    "too many tokens",
    "exceeds the context",
    "input is too long",
    TOO_MUCH_ALLOWED,
    "available context size",
    "exceeds the maximum number of tokens",
    // xAI, Moonshot, TGI, Z.ai.
    "maximum prompt length",
    "exceeded model token limit",
    "`inputs` tokens + `max_new_tokens`",
    "prompt exceeds max length",
    // llama.cpp, of a text to embed.
    "is too large to process",
];

/// What LiteLLM writes before the message of an error whose code is a mere 400: that a prompt does not fit, that it was
/// refused by a filter, that the model behind it does not take a field.
const LITELLMS_OVERFLOW: &str = "litellm.contextwindowexceedederror";
const LITELLMS_FILTER: &str = "litellm.contentpolicyviolationerror";
const LITELLMS_UNSUPPORTED: &str = "litellm.unsupportedparamserror";

/// Beginnings of the messages of vendors that refuse an API key with a 400.
const REFUSED_KEY: [&str; 4] = ["incorrect api key", "invalid api key", "api key not valid", "api key expired"];

/// Phrases with which OpenAI refuses, with a 401, a key that is good, but not for this endpoint.
const FORBIDDEN: [&str; 2] = ["missing scopes", "insufficient permissions"];

/// Phrases with which OpenRouter and xAI refuse a prompt, with a 403.
const MODERATED: [&str; 2] = ["your input was flagged", "content violates usage guidelines"];

/// Beginnings of the messages that say with a 400 that our account may spend no more: Anthropic's limit of an
/// organisation or a workspace, LiteLLM's budget, OpenAI's closed account.
const SPENT: [&str; 3] =
    ["you have reached your specified", "budget has been exceeded", "your account is not active"];

/// Beginnings of the messages with which Anthropic and Gemini refuse us as a customer, with a 400.
const UNWELCOME: [&str; 2] = ["this organization has been disabled", "user location is not supported"];

/// Codes with which Groq says that the model wrote a tool call, or JSON, that is none. Asked again it may do better.
const BAD_ANSWER: [&str; 2] = ["tool_use_failed", "json_validate_failed"];

/// Codes with which OpenAI says that this one of its models does not take a field, or a value of it. Another may.
const UNSUPPORTED: [&str; 2] = ["unsupported_parameter", "unsupported_value"];

/// OpenAI's code for what it has sealed, a thought or a summary of the conversation, and cannot open. The account that it
/// was sealed for can.
pub(super) const SEALED: &str = "invalid_encrypted_content";

/// Beginning of llama.cpp's message that the model's own template cannot write this conversation (two questions in a
/// row, say), and what such templates say, there and at vLLM. Another model's may.
const UNWRITABLE: &str = "unable to generate parser for this template";
const ALTERNATE: &str = "roles must alternate";

/// What vLLM calls every error within a stream, its engine's death as well, until late 2025.
const UNSORTED: &str = "400 badrequesterror";

/// Phrases with which DeepSeek, OpenRouter and LiteLLM refuse an unknown model id, with a 400.
const UNKNOWN_MODEL: [&str; 3] =
    ["model not exist", "is not a valid model id", "invalid model name passed in model="];

/// Ends of the messages with which Ollama says, with a 400, that the model cannot do what it was declared to do.
const UNABLE: [&str; 2] = ["does not support tools", "does not support thinking"];

/// Beginnings of the messages with which llama.cpp says the same, with a 500.
const NO_INPUT: [&str; 3] =
    ["image input is not supported", "audio input is not supported", "video input is not supported"];

/// Reads a vendor's error. The message comes whole; it is cut once our secrets are hidden in it.
pub(super) fn decode(dialect: Dialect, status: u16, body: &[u8], retry_after: Option<Duration>) -> ApiError {
    let value = match super::parse(body).unwrap_or(Value::Null) {
        // Google wraps the object in an array.
        Value::Array(mut all) if !all.is_empty() => all.swap_remove(0),
        value => value,
    };
    let mut error = parse(&value).unwrap_or_else(|| {
        // HTML from a proxy, or an empty body: of no use to a client.
        let said = if body.is_empty() { "without saying why" } else { "and what it says cannot be read" };
        let message = format!("it answers with status {status} {said}");
        Parsed { code: String::new(), message, param: None, flagged: false }
    });
    let kind = kind(dialect, status, &error);
    if kind == ErrorKind::ContentFilter
        && status == 403
        && let Some(end) = error.message.find(" Team: ")
    {
        // What follows at xAI names our team and our key.
        error.message.truncate(end);
    }
    // Not where the vendor takes for its own what is the request's fault.
    let fields = vendors_fields(kind, &value).filter(|_| status < 500);
    let vendor = fields.map(|fields| Box::new(VendorError { dialect, status, fields }));
    let by_model = is_bad_answer(&error) || is_by_model(kind, &error);
    ApiError { kind, message: error.message, param: error.param, retry_after, vendor, by_model }
}

/// Whether a request that is refused may be taken by another model, or under another account.
fn is_by_model(kind: ErrorKind, error: &Parsed) -> bool {
    let message = || shorten(&error.message).to_lowercase();
    let says_so = |message: String| {
        let begins = [LITELLMS_UNSUPPORTED, UNWRITABLE].iter().any(|words| message.starts_with(words));
        begins || message.contains(ALTERNATE) || is_unable(&message)
    };
    UNSUPPORTED.iter().any(|word| error.code.contains(word))
        || error.code.contains(SEALED)
        || kind == ErrorKind::InvalidRequest && says_so(message())
}

/// Whether a model cannot do what it was declared, or guessed, to do. `message` is in lower case.
fn is_unable(message: &str) -> bool {
    UNABLE.iter().any(|phrase| message.ends_with(phrase)) || NO_INPUT.iter().any(|phrase| message.starts_with(phrase))
}

fn is_bad_answer(error: &Parsed) -> bool {
    BAD_ANSWER.iter().any(|word| error.code.contains(word))
}

/// The fields of a vendor's error that its own clients look for, where the request is at fault.
pub(super) fn vendors_fields(kind: ErrorKind, value: &Value) -> Option<Map<String, Value>> {
    if !kind.is_requests_fault() {
        return None;
    }
    let mut fields = value.get("error")?.as_object()?.clone();
    // The message is passed on apart: cut, and with the vendor's name before it.
    fields.retain(|key, value| match key.as_str() {
        "message" => false,
        // Some vendors write the status as a number there.
        "code" | "type" | "param" => value.is_string(),
        _ => !value.is_null(),
    });
    (Value::Object(fields.clone()).to_string().len() <= MAX_VENDOR_FIELDS_BYTES).then_some(fields)
}

/// Whether a body, or an event of a stream, reports an error.
pub(super) fn holds_error(value: &Value) -> bool {
    value.get("error").is_some_and(|error| !error.is_null())
}

/// Whether the `error` beside an answer reports none: some servers write the field empty, or its fields.
pub(super) fn is_empty(error: &Value) -> bool {
    match error {
        Value::Null => true,
        Value::Bool(failed) => !failed,
        Value::Number(code) => code.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(errors) => errors.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// The error that a body or a stream event reports although the status was 200. Its message is whole, too. Where its
/// code is a status, as OpenRouter and vLLM write it, that is the one it would have had.
pub(super) fn in_band(value: &Value) -> Option<ApiError> {
    let error = parse(value)?;
    let code = value.pointer("/error/code");
    let number = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.trim().parse().ok()));
    let status = number.and_then(|number| u16::try_from(number).ok()).filter(|status| (400..600).contains(status));
    let kind = kind(Dialect::OpenAi, status.unwrap_or(200), &error);
    // Nobody can tell whose fault it is: it is asked elsewhere, and not held against its vendor.
    let is_unsorted = kind == ErrorKind::InvalidRequest && error.code == UNSORTED;
    let kind = if is_unsorted { ErrorKind::Upstream } else { kind };
    let by_model = is_bad_answer(&error) || is_unsorted || error.code.contains(SEALED);
    Some(ApiError { kind, message: error.message, param: error.param, retry_after: None, vendor: None, by_model })
}

/// What an error body says.
struct Parsed {
    /// Code, type and Anthropic's `details.error_code`, in lower case, joined by blanks.
    code: String,
    message: String,
    param: Option<String>,
    /// Whether the body says why a prompt was refused by a filter (OpenRouter).
    flagged: bool,
}

/// Reads the shapes in use: `{"error": {"message", "type", "code", "param"}}`, `{"error": "..."}`, `{"message": ...}`,
/// `{"detail": ...}`.
fn parse(value: &Value) -> Option<Parsed> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (error, holder) = match value.get("error") {
        Some(Value::Null) | None => (value, value.get("message").or_else(|| value.get("detail"))?),
        Some(error) => (error, error.get("message").unwrap_or(error)),
    };
    if let Some(behind) = said_behind(error, holder) {
        return Some(behind);
    }
    let message = sentence(holder)
        .filter(|message| !message.trim().is_empty())
        .unwrap_or_else(|| "it gives an error without a message".into());
    let code = |at: &str| error.pointer(at).map(|code| text(code).unwrap_or_else(|| code.to_string()));
    let codes = ["/code", "/type", "/details/error_code"].into_iter().filter_map(code);
    let code = codes.collect::<Vec<_>>().join(" ").to_lowercase();
    let flagged = ["/metadata/flagged_input", "/metadata/reasons"].iter().any(|at| error.pointer(at).is_some());
    Some(Parsed { code, message, param: error.get("param").and_then(text), flagged })
}

/// What the provider behind OpenRouter said, where OpenRouter itself says no more than that there is an error.
fn said_behind(error: &Value, message: &Value) -> Option<Parsed> {
    let opaque = message.as_str()?.to_lowercase().starts_with("provider returned");
    let raw = error.pointer("/metadata/raw").filter(|_| opaque)?;
    match raw.as_str().map(str::trim) {
        // HTML is of no use to a client.
        Some(text) if text.is_empty() || text.starts_with('<') => None,
        Some(text) => match serde_json::from_str(text) {
            Ok(value @ Value::Object(_)) => parse(&value),
            _ => parse(&json!({ "message": text })),
        },
        None => parse(raw),
    }
}

/// The message as one sentence: a string, or what FastAPI and Mistral write,
/// `{"detail": [{"loc": [...], "msg": "..."}]}`. Other fields are left out, since they quote the request.
fn sentence(said: &Value) -> Option<String> {
    match said {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().filter_map(sentence).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => {
            let text = ["message", "msg", "detail"].into_iter().find_map(|key| sentence(fields.get(key)?))?;
            let step = |step: &Value| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
            let place: Vec<String> =
                fields.get("loc").and_then(Value::as_array).into_iter().flatten().map(step).collect();
            Some(if place.is_empty() { text } else { format!("{}: {text}", place.join(".")) })
        }
        _ => None,
    }
}

fn kind(dialect: Dialect, status: u16, error: &Parsed) -> ErrorKind {
    let says = |word: &str| error.code.contains(word);
    // Only the part that a client would see: the rest may quote the whole request.
    let message = shorten(&error.message).to_lowercase();
    let overflow = says("context_length_exceeded")
        || says("context_overflow")
        || says("exceed_context_size")
        || message.starts_with(LITELLMS_OVERFLOW)
        || (matches!(status, 200 | 400 | 413 | 422 | 500) && OVERFLOW.iter().any(|phrase| message.contains(phrase)));
    if overflow {
        return ErrorKind::ContextOverflow;
    }
    // Only the message's beginning counts where it stands for the vendor's refusal of us, which is not the client's
    // fault: what follows may quote the request.
    let refuses_us = matches!(status, 200..=299 | 400 | 403);
    let begins = |phrases: &[&str]| refuses_us && phrases.iter().any(|phrase| message.starts_with(phrase));
    let spent = says("budget_exceeded") || message.contains("credit balance") || begins(&SPENT);
    if says("insufficient_quota") || says("billing") || spent {
        return ErrorKind::Quota;
    }
    let moderated = error.flagged
        || (status == 403 && MODERATED.iter().any(|phrase| message.contains(phrase)))
        || begins(&["content exists risk", LITELLMS_FILTER]);
    // `invalid_prompt` and `bio_policy`, `content_policy_violation`...: OpenAI's, of which it counts who brings them about.
    let refused = says("content_filter") || says("_policy") || says("invalid_prompt");
    if refused || says("data_inspection_failed") || moderated {
        return ErrorKind::ContentFilter;
    }
    // A thread that the vendor has lost or cannot keep: only the client can send the whole conversation.
    if says("thread_") {
        return ErrorKind::InvalidRequest;
    }
    if says("overloaded") {
        return ErrorKind::Overloaded;
    }
    if says("rate_limit") {
        return ErrorKind::RateLimited;
    }
    // xAI and Gemini refuse our key with a 400, and LiteLLM where it has no database to look for it in.
    if matches!(status, 200..=299 | 400) && (says("api_key") || says("no_db_connection") || begins(&REFUSED_KEY)) {
        return ErrorKind::Authentication;
    }
    if begins(&UNWELCOME) {
        return ErrorKind::Permission;
    }
    if BAD_ANSWER.into_iter().any(says) {
        return ErrorKind::Upstream;
    }
    match status {
        200..=299 if says("authentication") => ErrorKind::Authentication,
        200..=299 if says("invalid_request") => ErrorKind::InvalidRequest,
        200..=299 => ErrorKind::Upstream,
        401 if says("permission")
            || says("missing_scope")
            || FORBIDDEN.iter().any(|phrase| message.contains(phrase)) =>
        {
            ErrorKind::Permission
        }
        401 => ErrorKind::Authentication,
        402 => ErrorKind::Quota,
        403 => ErrorKind::Permission,
        // A retired model (410), or an address that takes no chats (405): not the client's fault.
        404 | 405 | 410 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited,
        503 | 529 => ErrorKind::Overloaded,
        // Servers that have but the other one of OpenAI's dialects say so, and llama.cpp what it was not started with.
        501 if dialect == Dialect::Responses || says("not_supported_error") => ErrorKind::NotFound,
        500 if dialect == Dialect::Responses
            && (says("convert_request_failed") || message.contains("not implemented")) =>
        {
            ErrorKind::NotFound
        }
        // A conflict, or too early: vendors' own clients try again.
        409 | 425 => ErrorKind::Upstream,
        // Old versions of Ollama say "try pulling it first" with a 400.
        400 if dialect == Dialect::Ollama && message.contains("not found") => ErrorKind::NotFound,
        400 if says("model_not_found") || UNKNOWN_MODEL.iter().any(|phrase| message.contains(phrase)) => {
            ErrorKind::NotFound
        }
        400 | 500 | 501 if is_unable(&message) => ErrorKind::InvalidRequest,
        400..=499 => ErrorKind::InvalidRequest,
        _ => ErrorKind::Upstream,
    }
}

/// A vendor's message, cut to what is passed on.
pub(super) fn shorten(message: &str) -> String {
    cut(message, MAX_MESSAGE_CHARS)
}

/// The first `most` characters of a text; dots stand for the rest.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// An error kind's HTTP status, OpenAI type and Anthropic type.
fn names(kind: ErrorKind) -> (u16, &'static str, &'static str) {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::ContextOverflow | ErrorKind::ContentFilter => {
            (400, "invalid_request_error", "invalid_request_error")
        }
        ErrorKind::Authentication => (401, "authentication_error", "authentication_error"),
        ErrorKind::Quota => (429, "insufficient_quota", "billing_error"),
        ErrorKind::Permission => (403, "permission_error", "permission_error"),
        ErrorKind::NotFound => (404, "invalid_request_error", "not_found_error"),
        ErrorKind::TooLarge => (413, "invalid_request_error", "request_too_large"),
        ErrorKind::SlowBody => (408, "invalid_request_error", "invalid_request_error"),
        ErrorKind::RateLimited => (429, "rate_limit_error", "rate_limit_error"),
        ErrorKind::Overloaded => (503, "overloaded_error", "overloaded_error"),
        ErrorKind::Timeout => (504, "timeout_error", "timeout_error"),
        ErrorKind::Connection | ErrorKind::Upstream => (502, "upstream_error", "api_error"),
        ErrorKind::Unavailable => (503, "unavailable_error", "overloaded_error"),
        ErrorKind::Internal => (500, "server_error", "api_error"),
    }
}

/// The codes that OpenAI's clients look for.
fn openai_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ContextOverflow => "context_length_exceeded",
        ErrorKind::Authentication => "invalid_api_key",
        ErrorKind::Quota => "insufficient_quota",
        ErrorKind::RateLimited => "rate_limit_exceeded",
        ErrorKind::ContentFilter => "content_filter",
        other => other.as_str(),
    }
}

/// The error as the JSON of a dialect.
fn value(dialect: Dialect, error: &ApiError) -> Value {
    let (_, openai, anthropic) = names(error.kind);
    let param = error.param.as_deref().map(|param| own_name(dialect, param));
    let mut value = match dialect {
        Dialect::OpenAi | Dialect::Responses => json!({ "error": {
            "message": error.message, "type": openai, "param": param, "code": openai_code(error.kind),
        }}),
        Dialect::Anthropic => {
            json!({ "type": "error", "error": { "type": anthropic, "message": in_claudes_words(error) } })
        }
        Dialect::Native | Dialect::Ollama => json!({ "error": {
            "code": error.kind.as_str(), "message": error.message, "param": param,
        }}),
    };
    if dialect == Dialect::Anthropic && error.param.as_deref() == Some("thread") {
        // By this code Anthropic's clients know that they must send the whole conversation.
        value["error"]["details"] = json!({ "error_code": "thread_unsupported_request", "unsupported": ["thread"] });
    }
    for (field, own) in vendor_error(dialect, error).iter().flat_map(|vendor| &vendor.fields) {
        value["error"][field.as_str()] = own.clone();
    }
    value
}

/// The message as Claude Code understands it: it knows by these words of Claude's, and by nothing else, that it must
/// compact the conversation, or allow a shorter answer; any other error ends its session.
fn in_claudes_words(error: &ApiError) -> Cow<'_, str> {
    let message = error.message.as_str();
    let is_claudes = |said: String| [TOO_LONG, TOO_MUCH_ALLOWED].iter().any(|words| said.contains(words));
    if error.kind != ErrorKind::ContextOverflow || is_claudes(message.to_lowercase()) {
        return message.into();
    }
    let counted = match counts(message) {
        Some((tokens, most)) => format!("{tokens} tokens > {most} maximum: "),
        None => String::new(),
    };
    format!("the {TOO_LONG}: {counted}{message}").into()
}

/// The tokens of a prompt and the most that its model takes, where the message of a look-alike of OpenAI's has both.
fn counts(message: &str) -> Option<(u64, u64)> {
    let number_after = |phrase: &str| {
        let (_, rest) = message.split_once(phrase)?;
        rest[..rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len())].parse::<u64>().ok()
    };
    let most = ["maximum context length is ", "maximum prompt length is "].into_iter().find_map(number_after)?;
    let tokens = ["resulted in ", "you requested ", "request contains "].into_iter().find_map(number_after)?;
    (tokens > most).then_some((tokens, most))
}

/// The vendor's own error, where the vendor speaks this dialect.
fn vendor_error(dialect: Dialect, error: &ApiError) -> Option<&VendorError> {
    error.vendor.as_deref().filter(|vendor| vendor.dialect == dialect)
}

pub(super) fn encode(dialect: Dialect, error: &ApiError) -> ErrorBody {
    let usual = match (dialect, error.kind) {
        (Dialect::Anthropic, ErrorKind::Overloaded) => 529,
        (Dialect::Anthropic | Dialect::Native, ErrorKind::Quota) => 402,
        (_, kind) => names(kind).0,
    };
    let status = vendor_error(dialect, error).map_or(usual, |vendor| vendor.status);
    ErrorBody { status, body: Bytes::from(value(dialect, error).to_string()) }
}

pub(super) fn encode_in_stream(dialect: Dialect, error: &ApiError) -> Bytes {
    let value = value(dialect, error);
    Bytes::from(match dialect {
        Dialect::OpenAi => format!("data: {value}\n\n"),
        Dialect::Responses => {
            let mut event = json!({ "type": "error", "sequence_number": 0 });
            for field in ["code", "message", "param"] {
                event[field] = value["error"][field].clone();
            }
            format!("event: error\ndata: {event}\n\n")
        }
        Dialect::Ollama => format!("{value}\n"),
        Dialect::Anthropic | Dialect::Native => format!("event: error\ndata: {value}\n\n"),
    })
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
