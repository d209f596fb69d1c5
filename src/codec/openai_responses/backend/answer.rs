//! The whole answer on the wire, which a stream repeats at its end, and its items.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::openai_chat::finish_of;
use super::super::super::{errors, raw};
use super::thoughts;
use crate::protocol::{ApiError, ErrorKind, FinishReason, Usage};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    #[serde(default, deserialize_with = "crate::codec::json::text")]
    pub(super) id: String,
    #[serde(default, deserialize_with = "crate::codec::json::text")]
    pub(super) model: String,
    #[serde(default, deserialize_with = "crate::codec::json::text")]
    status: String,
    /// Some servers write null for an item.
    #[serde(default)]
    pub(super) output: Option<Vec<Option<Item>>>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    incomplete_details: Option<Value>,
}

impl Answer {
    /// Takes over the end that a stream's last event is named after, where the answer in it does not say how it ended.
    pub(super) fn ended(&mut self, event: &str) {
        if !is_end(&self.status) {
            event.trim_start_matches("response.").clone_into(&mut self.status);
        }
    }

    /// Whether it was cut off, perhaps before its first item.
    pub(super) fn is_cut(&self) -> bool {
        self.status == "incomplete"
    }

    /// The tokens, where they are told.
    pub(super) fn usage(&self) -> Option<Usage> {
        super::super::usage_of(self.usage.as_ref().filter(|usage| usage.is_object())?)
    }

    /// Why the answer is none.
    pub(super) fn failure(&self) -> Option<ApiError> {
        if let Some(error) = self.error.as_ref().filter(|error| !errors::is_empty(error)) {
            return told(&json!({ "error": error }));
        }
        let broke = is_status(&self.status) && !matches!(self.status.as_str(), "completed" | "incomplete");
        broke.then(|| ApiError::new(ErrorKind::Upstream, format!("it broke off its answer ({})", self.status)))
    }

    /// Why the answer ended.
    pub(super) fn finish(&self, any_call: bool, refuses: bool) -> FinishReason {
        let word = match self.status.as_str() {
            "incomplete" => {
                self.incomplete_details.as_ref().and_then(|details| details["reason"].as_str()).unwrap_or_default()
            }
            "completed" => "stop",
            _ if any_call => "tool_calls",
            _ => "",
        };
        // Its words for a cut are no others than Chat Completions', but for this one.
        finish_of(if word == "max_output_tokens" { "length" } else { word }, any_call, refuses)
    }
}

/// Whether this is the status of an answer that has ended.
fn is_end(status: &str) -> bool {
    matches!(status, "completed" | "incomplete" | "failed" | "cancelled")
}

/// Whether this is the status of an answer.
pub(super) fn is_status(status: &str) -> bool {
    is_end(status) || matches!(status, "queued" | "in_progress")
}

/// An error in an answer or in an event. Whose fault it is, only a code of this dialect's tells.
pub(super) fn told(value: &Value) -> Option<ApiError> {
    let mut error = errors::in_band(value)?;
    let code = value.pointer("/error/code").or_else(|| value.get("code")).and_then(Value::as_str).unwrap_or_default();
    if error.kind == ErrorKind::Upstream {
        error.kind = match code {
            // Our organisation's answers may not be made there.
            "data_residency_mismatch" => ErrorKind::Permission,
            _ if ABOUT_REQUEST.iter().any(|beginning| code.starts_with(beginning)) => ErrorKind::InvalidRequest,
            _ => ErrorKind::Upstream,
        };
    }
    Some(error)
}

/// The beginnings of codes that are about what was sent, mostly pictures.
const ABOUT_REQUEST: [&str; 5] = ["invalid_", "image_", "empty_image", "unsupported_image", "failed_to_download"];

/// A sort of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sort {
    Thought,
    Message,
    Call,
}

/// What a text of an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A paragraph of the summary of a thought.
    Summary,
    /// The thought itself, which only open models tell.
    Thought,
    Text,
    Refusal,
    /// The arguments of a call, or the text that a custom tool is given.
    Arguments,
}

impl Kind {
    /// The items that have such a text.
    pub(super) fn sort(self) -> Sort {
        match self {
            Self::Summary | Self::Thought => Sort::Thought,
            Self::Text | Self::Refusal => Sort::Message,
            Self::Arguments => Sort::Call,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Item {
    #[serde(default, rename = "type", deserialize_with = "crate::codec::json::text")]
    kind: String,
    #[serde(default, deserialize_with = "crate::codec::json::text")]
    id: String,
    #[serde(default, deserialize_with = "crate::codec::json::text")]
    call_id: String,
    #[serde(default, deserialize_with = "crate::codec::json::text")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "raw::text")]
    arguments: Option<String>,
    /// What a custom tool is given.
    #[serde(default, deserialize_with = "raw::text")]
    input: Option<String>,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    summary: Option<Value>,
    #[serde(default)]
    encrypted_content: Option<Value>,
}

impl Item {
    /// Whether it is one that only this dialect has: the call of a tool that OpenAI runs itself, or has trained its models
    /// to use.
    pub(super) fn is_foreign(&self) -> bool {
        self.sort().is_none() && !self.kind.is_empty()
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// What sort of item it is; `None` = one that says nothing here.
    pub(super) fn sort(&self) -> Option<Sort> {
        match self.kind.as_str() {
            "message" => Some(Sort::Message),
            "reasoning" => Some(Sort::Thought),
            "function_call" | "custom_tool_call" => Some(Sort::Call),
            _ => None,
        }
    }

    pub(super) fn is_call(&self) -> bool {
        self.sort() == Some(Sort::Call)
    }

    pub(super) fn is_thought(&self) -> bool {
        self.sort() == Some(Sort::Thought)
    }

    /// Its id, and that of its call.
    pub(super) fn ids(&self) -> [&str; 2] {
        [&self.id, &self.call_id]
    }

    /// The id that a call's result refers to.
    pub(super) fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The signature of a thought.
    pub(super) fn signature(&self) -> Option<String> {
        let sealed = self.encrypted_content.as_ref().filter(|_| self.is_thought())?.as_str()?;
        (!sealed.is_empty()).then(|| thoughts::signature_of(sealed))
    }

    /// The item's texts, in order, each with its index among those of its kind. Items of other kinds have none.
    pub(super) fn texts(&self) -> Vec<(Kind, u64, &str)> {
        match self.sort() {
            Some(Sort::Call) => {
                let said = self.arguments.as_deref().or(self.input.as_deref());
                vec![(Kind::Arguments, 0, said.unwrap_or_default())]
            }
            Some(Sort::Message) => listed(self.content.as_ref(), |part| match part["type"].as_str()? {
                "output_text" => Some((Kind::Text, part["text"].as_str()?)),
                "refusal" => Some((Kind::Refusal, part["refusal"].as_str()?)),
                _ => None,
            }),
            Some(Sort::Thought) => {
                let summary = listed(self.summary.as_ref(), |part| Some((Kind::Summary, part["text"].as_str()?)));
                let thought = || listed(self.content.as_ref(), |part| Some((Kind::Thought, part["text"].as_str()?)));
                if summary.is_empty() { thought() } else { summary }
            }
            None => Vec::new(),
        }
    }
}

fn listed<'v>(
    parts: Option<&'v Value>,
    read: impl Fn(&'v Value) -> Option<(Kind, &'v str)>,
) -> Vec<(Kind, u64, &'v str)> {
    let parts = parts.and_then(Value::as_array).into_iter().flatten();
    let read = |(index, part): (usize, &'v Value)| read(part).map(|(kind, text)| (kind, index as u64, text));
    parts.enumerate().filter_map(read).collect()
}
