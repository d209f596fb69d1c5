//! Whether what a vendor refuses may be taken if it is asked otherwise: with less in it, or in another of its formats.

use serde_json::Value;

use super::{errors, openai_responses, parse, thoughts};
use crate::protocol::{ApiError, ChatRequest, Dialect, ErrorKind, VendorError};

/// Whether a body that passed through to Responses and was refused with this error may be taken with less in it, or once
/// it is translated to Chat Completions. What else is wrong with it the client is told: it is the client's own dialect.
pub fn may_be_translated(error: &ApiError, request: &ChatRequest) -> bool {
    let is_told = error.kind == ErrorKind::InvalidRequest && !error.by_model;
    let brings_thoughts = || thoughts(Dialect::Responses, request) > 0;
    may_be_taken_in_chat(error)
        && (!is_told || hides_thoughts(error) || may_refuse_thoughts(Dialect::Responses, error) && brings_thoughts())
}

/// Whether a request that Responses refuses with this error may be taken in Chat Completions: by an organisation that
/// may not see thoughts before it is verified, a key that is limited to other endpoints, a server without this one, or
/// since a thought was sealed for somebody else. What a vendor's filter refuses is a [`ErrorKind::ContentFilter`] and
/// goes nowhere: vendors count how often they are sent it.
pub fn may_be_taken_in_chat(error: &ApiError) -> bool {
    let kinds = [ErrorKind::InvalidRequest, ErrorKind::NotFound, ErrorKind::Authentication, ErrorKind::Permission];
    kinds.contains(&error.kind)
}

/// Whether an error says that there is no Responses where it was asked for, or not for that model.
pub fn lacks_responses(error: &ApiError) -> bool {
    error.kind == ErrorKind::NotFound && !openai_responses::backend::is_about_request(error)
}

/// The error, with this status and body, of a request that nothing but Responses can say. Such a request names things that
/// OpenAI keeps for an account (a vector store, a container), and what it does not find of them is a 404, as an address is
/// or a model. That is no lack of Responses, which would be remembered against all other requests: either this one is at
/// fault, or another account has the thing.
pub fn blame_what_is_named(error: ApiError, status: u16, body: &[u8]) -> ApiError {
    let told = parse(body).unwrap_or_default();
    let is_named = openai_responses::backend::is_about_request(&error) || misses_what_is_named(&told);
    if error.kind != ErrorKind::NotFound || status != 404 || !is_named {
        return error;
    }
    let kind = ErrorKind::InvalidRequest;
    let fields = errors::vendors_fields(kind, &told);
    let vendor = fields.map(|fields| Box::new(VendorError { dialect: Dialect::Responses, status, fields }));
    ApiError { kind, vendor, by_model: true, ..error }
}

/// How the messages begin with which OpenAI, and who copies it, do not know an address or a model. What follows may quote
/// the request.
const UNKNOWN_ADDRESS: [&str; 6] =
    ["invalid url", "unknown request url", "the model ", "the requested model ", "this model ", "this is not a "];

/// Whether an error with a status of 404 is in OpenAI's own form, and of neither its address nor its model. A code that is
/// a status is none of OpenAI's.
fn misses_what_is_named(told: &Value) -> bool {
    let error = &told["error"];
    let message = error["message"].as_str().unwrap_or_default().to_lowercase();
    let is_about_address = UNKNOWN_ADDRESS.iter().any(|beginning| message.starts_with(beginning))
        || message.trim_end_matches('.') == "not found"
        || error["param"] == "model";
    let is_openais = match &error["code"] {
        Value::Null => true,
        Value::String(code) => {
            let is_status = !code.is_empty() && code.bytes().all(|letter| letter.is_ascii_digit());
            !is_status && !code.contains("model") && !code.contains("url")
        }
        _ => false,
    };
    error["type"] == "invalid_request_error" && is_openais && !message.is_empty() && !is_about_address
}

/// Whether an error says that our key is not for Responses, if Chat Completions takes it.
pub fn may_forbid_responses(error: &ApiError) -> bool {
    error.kind == ErrorKind::Permission
}

/// Whether a request may be refused with this error for a thought in it. OpenAI's are sealed for the organisation. Claude's
/// are bound to what was said before them, and a client may have changed its tools or instructions since (Anthropic's
/// documentation, "Preserved thinking").
pub fn may_refuse_thoughts(backend: Dialect, error: &ApiError) -> bool {
    match (backend, error.kind) {
        (Dialect::Responses, ErrorKind::InvalidRequest) => true,
        (Dialect::Responses, ErrorKind::NotFound) => openai_responses::backend::is_about_request(error),
        (Dialect::Anthropic, ErrorKind::InvalidRequest) => {
            error.message.contains("bound to a different conversation")
        }
        _ => false,
    }
}

/// Whether a request brings back what OpenAI has sealed, which only the organisation's own key opens: thoughts, or the
/// summary of a conversation that was compacted.
pub fn returns_what_is_sealed(request: &ChatRequest) -> bool {
    thoughts(Dialect::Responses, request) > 0 || openai_responses::backend::returns_summary(request)
}

/// Whether what is refused with this error was meant for another account at OpenAI, which has what is named there, or has
/// sealed it; or for none.
pub fn may_be_for_another_account(error: &ApiError) -> bool {
    let is_so =
        |told: &VendorError| told.status == 404 || told.fields.get("code").is_some_and(|code| code == errors::SEALED);
    error.by_model && error.vendor.as_ref().is_some_and(|told| told.dialect == Dialect::Responses && is_so(told))
}

/// Whether Responses refuses to tell thoughts with this error, or to tell them so.
pub fn hides_thoughts(error: &ApiError) -> bool {
    error.kind == ErrorKind::InvalidRequest && error.param.as_deref() == Some("reasoning.summary")
}

/// Whether it refuses that since OpenAI tells thoughts only to organisations that it has verified, and not for a word that
/// a model does not know.
pub fn is_for_the_verified(error: &ApiError) -> bool {
    hides_thoughts(error) && error.message.contains("verified")
}
