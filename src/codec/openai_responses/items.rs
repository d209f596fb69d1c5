//! The items of an answer: reasoning, messages, calls.

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::custom;
use super::namespaces::{Namespaces, ToolName};
use super::sealed::seal;
use crate::protocol::{Dialect, Part};

/// An item of an answer.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// Reasoning, readable or encrypted.
    Thought(Part),
    /// A message of texts and refusals.
    Message(Vec<Part>),
    /// A call of a tool.
    Call {
        /// The id that the result refers to.
        id: String,
        /// The tool, by the client's names.
        tool: ToolName,
        /// Arguments as JSON text.
        arguments: String,
    },
}

impl Item {
    /// A call without arguments; `called` is the tool's name in other dialects, `namespaces` are the client's.
    pub(super) fn call(id: &str, called: &str, namespaces: &Namespaces) -> Self {
        Self::Call { id: id.to_owned(), tool: namespaces.name_of(called), arguments: String::new() }
    }

    /// The items of an answer's parts. Consecutive texts make one part of a message, and so do consecutive refusals.
    pub(super) fn all(parts: &[Part], namespaces: &Namespaces) -> Vec<Self> {
        let mut items = Vec::new();
        for part in parts {
            match part {
                Part::Text { .. } | Part::Refusal { .. } => match items.last_mut() {
                    Some(Self::Message(said)) => match (said.last_mut(), part) {
                        (Some(Part::Text { text, .. }), Part::Text { text: more, .. })
                        | (Some(Part::Refusal { text }), Part::Refusal { text: more }) => text.push_str(more),
                        _ => said.push(part.clone()),
                    },
                    _ => items.push(Self::Message(vec![part.clone()])),
                },
                Part::Thinking { .. } | Part::RedactedThinking { .. } => items.push(Self::Thought(part.clone())),
                Part::ToolCall { id, name, arguments } => {
                    let mut call = Self::call(id, name, namespaces);
                    call.add_arguments(arguments);
                    items.push(call);
                }
                Part::Image { .. } | Part::ToolResult { .. } | Part::Foreign { .. } => {}
            }
        }
        items
    }

    /// Appends to a call's arguments.
    pub(super) fn add_arguments(&mut self, more: &str) {
        if let Self::Call { arguments, .. } = self {
            arguments.push_str(more);
        }
    }

    /// The item's status in an answer whose last item has the status `last`. Calls may be interleaved, so an answer
    /// that breaks off can cut several of them; a call with broken arguments is incomplete however the answer ends.
    pub(super) fn status<'a>(&self, last: &'a str, at_the_end: bool) -> &'a str {
        match self {
            Self::Call { arguments, .. } if arguments.is_empty() => last,
            Self::Call { arguments, .. } if is_cut(arguments) => INCOMPLETE,
            _ if at_the_end => last,
            _ => COMPLETED,
        }
    }

    /// The item's id: of the answer's id and its own index.
    pub(super) fn id(&self, answer: &str, index: usize) -> String {
        let kind = match self {
            Self::Thought(_) => "rs",
            Self::Message(_) => "msg",
            Self::Call { tool, .. } if tool.is_custom => "ctc",
            Self::Call { .. } => "fc",
        };
        format!("{kind}_{}_{index}", answer.strip_prefix(Dialect::Responses.answer_prefix()).unwrap_or(answer))
    }

    /// The item as JSON. Takes `self`, since answers are long and need not be copied.
    pub(super) fn value(self, id: String, status: &str) -> Value {
        match self {
            Self::Thought(thought) => {
                // Reasoning is sealed once it is whole.
                let sealed = (status != IN_PROGRESS).then(|| seal(&thought));
                let mut item = Value::from_iter([
                    ("id", Value::from(id)),
                    ("type", "reasoning".into()),
                    ("summary", summary(thought).into()),
                ]);
                if let Some(sealed) = sealed {
                    item["encrypted_content"] = sealed.into();
                }
                item
            }
            Self::Message(said) => Value::from_iter([
                ("id", Value::from(id)),
                ("type", "message".into()),
                ("status", status.into()),
                ("role", "assistant".into()),
                ("content", said.into_iter().map(content).collect()),
            ]),
            Self::Call { id: call, tool, arguments } => {
                // A complete call without arguments gets an empty object.
                let nothing = arguments.is_empty() && status == COMPLETED;
                let (kind, key, arguments) = match tool.is_custom {
                    true => ("custom_tool_call", "input", custom::input(&arguments)),
                    false if nothing => ("function_call", "arguments", "{}".to_owned()),
                    false => ("function_call", "arguments", arguments),
                };
                let mut item = Value::from_iter([
                    ("id", Value::from(id)),
                    ("type", kind.into()),
                    ("status", status.into()),
                    ("call_id", call.into()),
                    ("name", tool.name.into()),
                    (key, arguments.into()),
                ]);
                if let Some(namespace) = tool.namespace {
                    item["namespace"] = namespace.into();
                }
                item
            }
        }
    }
}

fn is_cut(arguments: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(arguments).is_err()
}

/// The status of an item, or an answer, that is complete.
pub(super) const COMPLETED: &str = "completed";

/// The status of an item, or an answer, that was cut off.
pub(super) const INCOMPLETE: &str = "incomplete";

/// The status of an item, or an answer, of which more is to come.
pub(super) const IN_PROGRESS: &str = "in_progress";

/// The items of an answer as JSON; the last one has the status `last`.
pub(super) fn output(items: Vec<Item>, answer: &str, last: &str) -> Value {
    let count = items.len();
    let value = |(index, item): (usize, Item)| {
        let (id, status) = (item.id(answer, index), item.status(last, index + 1 == count));
        item.value(id, status)
    };
    items.into_iter().enumerate().map(value).collect()
}

fn summary(thought: Part) -> Vec<Value> {
    match thought {
        Part::Thinking { text, .. } if !text.is_empty() => vec![summary_part(text)],
        _ => Vec::new(),
    }
}

/// A part of a reasoning summary, as JSON.
pub(super) fn summary_part(text: String) -> Value {
    Value::from_iter([("type", Value::from("summary_text")), ("text", text.into())])
}

/// A part of a message, as JSON.
pub(super) fn content(part: Part) -> Value {
    match part {
        Part::Refusal { text } => Value::from_iter([("type", Value::from("refusal")), ("refusal", text.into())]),
        Part::Text { text, .. } => Value::from_iter([
            ("type", Value::from("output_text")),
            ("text", text.into()),
            ("annotations", json!([])),
            ("logprobs", json!([])),
        ]),
        _ => Value::Null,
    }
}
