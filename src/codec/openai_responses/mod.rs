//! OpenAI Responses ("API reference: Responses", "Streaming events", platform.openai.com), spoken to clients, and to OpenAI
//! where Chat Completions would not let its models think ([`backend`]).
//!
//! What is particular: a conversation is a list of items, in which reasoning, calls and their results stand beside the
//! messages; tools and schemas are not nested in a further object; an answer repeats fields of its request; a stream
//! opens and closes every item and every part of one, numbers its events, and ends without `[DONE]`.
//!
//! Custom tools take plain text, see [`custom`]. Tools may also come among the items (Codex): of several tools with one
//! name the last one counts.
//!
//! OpenAI can store conversations, answers and prompts. The gateway does not: a request that needs it is refused with
//! what to do instead. It can run tools of its own, too: a request that brings some goes to OpenAI's models only, as it
//! is (see [`backend::verbatim`]). Reasoning travels through the client, see [`sealed`].

pub(super) mod backend;
mod custom;
mod echo;
mod input;
mod items;
mod namespaces;
pub(super) mod request;
pub(super) mod response;
mod sealed;
pub(super) mod stream;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AnswerMeta, openai_chat};
use crate::protocol::{ApiError, ErrorKind, FinishReason, Usage};

/// The wish, in `include`, for thoughts in a form that can be sent back where nothing is stored.
pub(super) const SEALED_THOUGHTS: &str = "reasoning.encrypted_content";

/// The fields of `reasoning` that ask to be told what the model thinks.
const SUMMARIES: [&str; 2] = ["summary", "generate_summary"];

pub(super) use echo::{of as echo, parts as repeated};
use items::{COMPLETED, IN_PROGRESS, INCOMPLETE, Item};

/// The name in this dialect of a field that is named as in chat completions.
pub(super) fn own_name(field: &str) -> Cow<'_, str> {
    const NAMES: [(&str, &str); 4] = [
        ("messages", "input"),
        ("max_tokens", "max_output_tokens"),
        ("response_format.json_schema", "text.format"),
        ("verbosity", "text.verbosity"),
    ];
    let renamed = NAMES.iter().find_map(|(other, own)| {
        let rest = field.strip_prefix(other).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[', ' ']))?;
        Some(format!("{own}{rest}"))
    });
    renamed.map_or(Cow::Borrowed(field), Cow::Owned)
}

/// How far an answer has come.
enum Stage<'a> {
    /// It has no content yet.
    Begun,
    /// The model ended it, complete or not.
    Ended(FinishReason),
    /// It broke off.
    Broken(&'a ApiError),
}

impl Stage<'_> {
    /// The end of an answer. A refusal in the model's own words is a complete answer.
    fn ended(reason: FinishReason, refuses: bool) -> Self {
        match reason {
            FinishReason::ContentFilter if refuses => Self::Ended(FinishReason::Stop),
            _ => Self::Ended(reason),
        }
    }

    fn status(&self) -> &'static str {
        match self {
            Self::Begun => IN_PROGRESS,
            Self::Ended(reason) if why_incomplete(*reason).is_some() => INCOMPLETE,
            Self::Ended(_) => COMPLETED,
            Self::Broken(_) => "failed",
        }
    }

    /// The status of the last item.
    fn status_of_last(&self) -> &'static str {
        match self {
            Self::Broken(_) => INCOMPLETE,
            _ => self.status(),
        }
    }
}

/// Why an answer is incomplete, in OpenAI's words; `None` = it is complete.
fn why_incomplete(reason: FinishReason) -> Option<&'static str> {
    match reason {
        FinishReason::Length => Some("max_output_tokens"),
        FinishReason::ContentFilter => Some("content_filter"),
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause | FinishReason::Other => None,
    }
}

/// Writes an answer as far as it came.
fn object(meta: &AnswerMeta, stage: &Stage<'_>, items: Vec<Item>, counts: Option<&Usage>) -> Value {
    let details = match stage {
        Stage::Ended(reason) => why_incomplete(*reason).map(|reason| json!({ "reason": reason })),
        Stage::Begun | Stage::Broken(_) => None,
    };
    let error = match stage {
        Stage::Broken(error) => Some(json!({ "code": error_code(error.kind), "message": error.message })),
        Stage::Begun | Stage::Ended(_) => None,
    };
    let mut answer = json!({
        "id": meta.id,
        "object": "response",
        "created_at": meta.created,
        "status": stage.status(),
        "background": false,
        "error": error,
        "incomplete_details": details,
        "model": meta.model,
        "output": null,
        "previous_response_id": null,
        "store": false,
        "usage": counts.map(usage),
    });
    answer["output"] = items::output(items, &meta.id, stage.status_of_last());
    for (field, value) in &meta.echo {
        answer[field.as_str()] = value.clone();
    }
    answer
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens(),
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
        "total_tokens": usage.total_tokens(),
    })
}

/// Reads what [`usage`] writes: `input_tokens` holds the cached ones, too.
pub(super) fn usage_of(value: &Value) -> Option<Usage> {
    let counts = json!({
        "prompt_tokens": value["input_tokens"],
        "prompt_tokens_details": value["input_tokens_details"],
        "completion_tokens": value["output_tokens"],
        "completion_tokens_details": value["output_tokens_details"],
    });
    openai_chat::WireUsage::deserialize(counts).ok().map(Usage::from)
}

/// The code for an answer that broke off: OpenAI's documented ones, and others that its own clients look for.
fn error_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::RateLimited => "rate_limit_exceeded",
        ErrorKind::Quota => "insufficient_quota",
        ErrorKind::ContextOverflow => "context_length_exceeded",
        ErrorKind::InvalidRequest | ErrorKind::ContentFilter => "invalid_prompt",
        _ => "server_error",
    }
}
