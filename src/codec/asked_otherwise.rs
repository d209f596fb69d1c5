//! Whether what a vendor refuses may be taken if it is asked otherwise: with less in it, or in another of its formats.

use super::openai_responses;
use crate::protocol::{ApiError, ChatRequest, ErrorKind};

/// Whether a body that passed through to Responses and was refused with this error may be taken with less in it, or once
/// it is translated to Chat Completions. What else is wrong with it the client is told: it is the client's own dialect.
pub fn may_be_translated(error: &ApiError, request: &ChatRequest) -> bool {
    let is_told = error.kind == ErrorKind::InvalidRequest && !error.by_model;
    may_be_taken_in_chat(error) && (!is_told || hides_thoughts(error) || may_refuse_thoughts(error, request))
}

/// Whether a request that Responses refuses with this error may be taken in Chat Completions.
pub fn may_be_taken_in_chat(error: &ApiError) -> bool {
    openai_responses::backend::may_be_taken_in_chat(error)
}

/// Whether an error says that there is no Responses where it was asked for, or not for that model.
pub fn lacks_responses(error: &ApiError) -> bool {
    error.kind == ErrorKind::NotFound && !openai_responses::backend::is_about_request(error)
}

/// Whether an error says that our key is not for Responses, if Chat Completions takes it.
pub fn may_forbid_responses(error: &ApiError) -> bool {
    error.kind == ErrorKind::Permission
}

/// Whether Responses may refuse a request with this error for a thought in it that was sealed for another organisation.
pub fn may_refuse_thoughts(error: &ApiError, request: &ChatRequest) -> bool {
    let is_requests = match error.kind {
        ErrorKind::InvalidRequest => true,
        ErrorKind::NotFound => openai_responses::backend::is_about_request(error),
        _ => false,
    };
    is_requests && returns_sealed_thoughts(request)
}

/// Whether Claude refuses a request with this error for a thought in it that is bound to what was said before it: a client
/// may have changed its tools or instructions since (Anthropic's documentation, "Preserved thinking").
pub fn unbinds_thoughts(error: &ApiError) -> bool {
    error.kind == ErrorKind::InvalidRequest && error.message.contains("bound to a different conversation")
}

/// Whether a request brings back thoughts that were sealed by OpenAI, which only the organisation's own key opens.
pub fn returns_sealed_thoughts(request: &ChatRequest) -> bool {
    openai_responses::backend::returns_thoughts(request)
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
