//! OpenAI Responses ("API reference: Responses", "Streaming events", platform.openai.com), spoken to clients.
//!
//! What is particular: a conversation is a list of items, in which thoughts, calls and their results stand beside the
//! messages; tools and schemas are described without a nest; an answer repeats what was asked for; a stream names,
//! opens and closes every item and every part of one, counts its events, and ends without `[DONE]`.
//!
//! Custom tools take a text as it is: see [`custom`]. Tools may come among the items, too (Codex): what was offered last
//! under a name counts.
//!
//! OpenAI can keep conversations, answers and prompts, and run tools of its own. Here nothing is kept and nothing run:
//! a request that builds on either is refused with what to do instead. Thoughts go through the client's hands, see
//! [`sealed`].

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

use serde_json::{Value, json};

use super::AnswerMeta;
use crate::protocol::{ApiError, ErrorKind, FinishReason, Usage};

pub(super) use echo::of as echo;
use items::{INCOMPLETE, Item};

/// A field by the name that it has here, where others speak of chat completions.
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

/// Where an answer stands.
enum Stage<'a> {
    /// Nothing is said yet.
    Begun,
    /// It ended by itself, whole or not.
    Ended(FinishReason),
    /// It broke off.
    Broken(&'a ApiError),
}

impl Stage<'_> {
    /// The end of an answer. That a model will not answer is an answer, too.
    fn ended(reason: FinishReason, refuses: bool) -> Self {
        match reason {
            FinishReason::ContentFilter if refuses => Self::Ended(FinishReason::Stop),
            _ => Self::Ended(reason),
        }
    }

    fn status(&self) -> &'static str {
        match self {
            Self::Begun => "in_progress",
            Self::Ended(reason) if why_incomplete(*reason).is_some() => "incomplete",
            Self::Ended(_) => "completed",
            Self::Broken(_) => "failed",
        }
    }

    /// The status of the last item.
    fn status_of_last(&self) -> &'static str {
        match self.status() {
            "failed" => INCOMPLETE,
            status => status,
        }
    }
}

/// Why an answer is not whole, in OpenAI's words.
fn why_incomplete(reason: FinishReason) -> Option<&'static str> {
    match reason {
        FinishReason::Length => Some("max_output_tokens"),
        FinishReason::ContentFilter => Some("content_filter"),
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause | FinishReason::Other => None,
    }
}

/// An answer, as far as it came.
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

/// Why an answer broke off: OpenAI's codes, and those that its own clients look for besides.
fn error_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::RateLimited => "rate_limit_exceeded",
        ErrorKind::Quota => "insufficient_quota",
        ErrorKind::ContextOverflow => "context_length_exceeded",
        ErrorKind::InvalidRequest | ErrorKind::ContentFilter => "invalid_prompt",
        _ => "server_error",
    }
}
