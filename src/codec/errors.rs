//! Errors on the wire: what a vendor's error means, and how each dialect tells one.
//!
//! Statuses and types as documented by the vendors: OpenAI "Error codes", Anthropic "Errors". Kinds are told by code
//! first, then by phrase (context overflow has no code everywhere), then by status.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::ErrorBody;
use crate::protocol::{ApiError, Dialect, ErrorKind};

/// A vendor's message is passed on up to this many characters.
const LONGEST_MESSAGE: usize = 500;

/// Phrases that vendors and look-alikes use when a prompt does not fit.
const OVERFLOW: [&str; 10] = [
    "context length",
    "context window",
    "prompt is too long",
    "maximum context",
    "too many tokens",
    "exceeds the context",
    "input is too long",
    "exceed context limit",
    "available context size",
    "exceeds the maximum number of tokens",
];

/// How vendors begin who refuse a key with a 400.
const REFUSED_KEY: [&str; 4] = ["incorrect api key", "invalid api key", "api key not valid", "api key expired"];

/// What vendors say with a 400 of a model's id they do not know: DeepSeek and OpenRouter.
const UNKNOWN_MODEL: [&str; 2] = ["model not exist", "is not a valid model id"];

pub(super) fn decode(dialect: Dialect, status: u16, body: &[u8], retry_after: Option<Duration>) -> ApiError {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut error = told(&value).unwrap_or_else(|| {
        // HTML from a proxy, or nothing at all: the body says nothing to a client.
        let said = if body.is_empty() { "without saying why" } else { "and what it says cannot be read" };
        Told { code: String::new(), message: format!("it answers with status {status} {said}"), param: None }
    });
    error.message = shorten(&error.message);
    let kind = kind(dialect, status, &error);
    ApiError { kind, message: error.message, param: error.param, retry_after }
}

/// An error inside a body or a stream event, where its status was 200.
pub(super) fn in_band(value: &Value) -> Option<ApiError> {
    let error = told(value)?;
    let kind = kind(Dialect::OpenAi, 200, &error);
    Some(ApiError { kind, message: shorten(&error.message), param: error.param, retry_after: None })
}

/// What an error body says.
struct Told {
    /// Code and type, in lower case, joined by a blank.
    code: String,
    message: String,
    param: Option<String>,
}

/// `{"error": {"message", "type", "code", "param"}}`, `{"error": "..."}`, `{"message": "..."}`, `{"detail": ...}`.
fn told(value: &Value) -> Option<Told> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (error, holder) = match value.get("error") {
        Some(Value::Null) | None => (value, value.get("message").or_else(|| value.get("detail"))?),
        Some(error) => (error, error.get("message").unwrap_or(error)),
    };
    let message = text(holder).unwrap_or_else(|| "it gives an error without a message".into());
    let code = |key: &str| error.get(key).map(|code| text(code).unwrap_or_else(|| code.to_string()));
    let code = [code("code"), code("type")].into_iter().flatten().collect::<Vec<_>>().join(" ").to_lowercase();
    Some(Told { code, message, param: error.get("param").and_then(text) })
}

fn kind(dialect: Dialect, status: u16, error: &Told) -> ErrorKind {
    let says = |word: &str| error.code.contains(word);
    let message = error.message.to_lowercase();
    let overflow = says("context_length_exceeded")
        || says("context_overflow")
        || says("exceed_context_size")
        || (matches!(status, 200 | 400 | 413 | 422 | 500) && OVERFLOW.iter().any(|phrase| message.contains(phrase)));
    if overflow {
        return ErrorKind::ContextOverflow;
    }
    if says("insufficient_quota") || says("billing") || message.contains("credit balance") {
        return ErrorKind::Quota;
    }
    if says("content_filter") || says("content_policy") {
        return ErrorKind::ContentFilter;
    }
    if says("overloaded") {
        return ErrorKind::Overloaded;
    }
    if says("rate_limit") {
        return ErrorKind::RateLimited;
    }
    // xAI and Gemini refuse a key with 400; none of ours is the client's fault. What a vendor quotes of a request never stands
    // at the beginning.
    let of_our_key = || says("api_key") || REFUSED_KEY.iter().any(|phrase| message.starts_with(phrase));
    if matches!(status, 200..=299 | 400) && of_our_key() {
        return ErrorKind::Authentication;
    }
    match status {
        200..=299 if says("authentication") => ErrorKind::Authentication,
        200..=299 if says("invalid_request") => ErrorKind::InvalidRequest,
        200..=299 => ErrorKind::Upstream,
        401 => ErrorKind::Authentication,
        402 => ErrorKind::Quota,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited,
        503 | 529 => ErrorKind::Overloaded,
        // A conflict, too early: vendors' own clients try again.
        409 | 425 => ErrorKind::Upstream,
        // Ollama says "try pulling it first" with a 400 in old versions.
        400 if dialect == Dialect::Ollama && message.contains("not found") => ErrorKind::NotFound,
        400 if says("model_not_found") || UNKNOWN_MODEL.iter().any(|phrase| message.contains(phrase)) => {
            ErrorKind::NotFound
        }
        400..=499 => ErrorKind::InvalidRequest,
        _ => ErrorKind::Upstream,
    }
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

/// Status, OpenAI type, Anthropic type.
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

fn value(dialect: Dialect, error: &ApiError) -> Value {
    let (_, openai, anthropic) = names(error.kind);
    match dialect {
        Dialect::OpenAi => json!({ "error": {
            "message": error.message, "type": openai, "param": error.param, "code": openai_code(error.kind),
        }}),
        Dialect::Anthropic => json!({ "type": "error", "error": { "type": anthropic, "message": error.message } }),
        Dialect::Native | Dialect::Ollama => json!({ "error": {
            "code": error.kind.as_str(), "message": error.message, "param": error.param,
        }}),
    }
}

pub(super) fn encode(dialect: Dialect, error: &ApiError) -> ErrorBody {
    let status = match (dialect, error.kind) {
        (Dialect::Anthropic, ErrorKind::Overloaded) => 529,
        (Dialect::Anthropic | Dialect::Native, ErrorKind::Quota) => 402,
        (_, kind) => names(kind).0,
    };
    ErrorBody { status, body: Bytes::from(value(dialect, error).to_string()) }
}

pub(super) fn encode_in_stream(dialect: Dialect, error: &ApiError) -> Bytes {
    let value = value(dialect, error);
    Bytes::from(match dialect {
        Dialect::OpenAi => format!("data: {value}\n\n"),
        Dialect::Ollama => format!("{value}\n"),
        Dialect::Anthropic | Dialect::Native => format!("event: error\ndata: {value}\n\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{decode_error, decode_response};
    use super::*;

    #[test]
    fn vendors_errors_are_told_apart() {
        let kind = |dialect, status, body: &str| decode_error(dialect, status, body.as_bytes(), None).kind;
        let cases = [
            (
                Dialect::OpenAi,
                400,
                r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#,
                ErrorKind::ContextOverflow,
            ),
            (
                Dialect::Anthropic,
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
                ErrorKind::ContextOverflow,
            ),
            (
                Dialect::OpenAi,
                400,
                r#"{"error":{"code":400,"type":"exceed_context_size_error","message":"the request exceeds the available context size"}}"#,
                ErrorKind::ContextOverflow,
            ),
            (
                Dialect::OpenAi,
                400,
                r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8)."}}"#,
                ErrorKind::ContextOverflow,
            ),
            (Dialect::OpenAi, 429, r#"{"error":{"code":"insufficient_quota","message":"x"}}"#, ErrorKind::Quota),
            (
                Dialect::OpenAi,
                429,
                r#"{"error":{"code":"rate_limit_exceeded","message":"x"}}"#,
                ErrorKind::RateLimited,
            ),
            (
                Dialect::Anthropic,
                529,
                r#"{"error":{"type":"overloaded_error","message":"x"}}"#,
                ErrorKind::Overloaded,
            ),
            (Dialect::OpenAi, 400, r#"{"error":{"code":"content_filter","message":"x"}}"#, ErrorKind::ContentFilter),
            (Dialect::Ollama, 404, r#"{"error":"model 'x' not found"}"#, ErrorKind::NotFound),
            (
                Dialect::OpenAi,
                400,
                r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
                ErrorKind::NotFound,
            ),
            (
                Dialect::OpenAi,
                400,
                r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xai-Ab***yz."}"#,
                ErrorKind::Authentication,
            ),
            (
                Dialect::OpenAi,
                400,
                r#"{"error":{"message":"x/y is not a valid model ID","code":400}}"#,
                ErrorKind::NotFound,
            ),
            (
                Dialect::OpenAi,
                400,
                r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#,
                ErrorKind::Authentication,
            ),
            (Dialect::OpenAi, 502, "<html>Bad Gateway</html>", ErrorKind::Upstream),
            (Dialect::OpenAi, 401, "", ErrorKind::Authentication),
            (Dialect::OpenAi, 413, "", ErrorKind::TooLarge),
            (Dialect::OpenAi, 504, "", ErrorKind::Timeout),
        ];
        for (dialect, status, body, expected) in cases {
            assert_eq!(kind(dialect, status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_error_with_status_200_is_an_error() {
        for (dialect, body) in [
            (Dialect::OpenAi, r#"{"error":{"message":"Overloaded","type":"overloaded_error"}}"#),
            (Dialect::Anthropic, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
            (Dialect::Ollama, r#"{"error":"overloaded_error: Overloaded"}"#),
        ] {
            assert!(decode_response(dialect, body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(decode_response(Dialect::OpenAi, b"{not json").unwrap_err().kind, ErrorKind::Upstream);
    }
}
