//! What an answer is made of: thoughts, messages, calls.

use serde_json::{Value, json};

use super::super::in_turn::is_whole;
use super::namespaces::parted;
use super::sealed::seal;
use crate::protocol::Part;

/// An item of an answer.
#[derive(Debug)]
pub(super) enum Item {
    /// A thought, readable or not.
    Thought(Part),
    /// Texts and refusals.
    Message(Vec<Part>),
    /// A call of a function.
    Call {
        /// Id that its result refers to.
        id: String,
        /// Where the function stands.
        namespace: Option<String>,
        /// Its name there.
        name: String,
        /// Arguments as JSON text.
        arguments: String,
    },
}

impl Item {
    /// A call of a function that is called so in other dialects, among the `tools` that the client offers.
    pub(super) fn call(id: &str, called: &str, tools: Option<&Value>) -> Self {
        let (namespace, name) = tools.and_then(|tools| parted(tools, called)).unzip();
        let name = name.unwrap_or_else(|| called.to_owned());
        Self::Call { id: id.to_owned(), namespace, name, arguments: String::new() }
    }

    /// The items that the parts of an answer are, to a client that offers `tools`. What is said in one go is one part of
    /// a message.
    pub(super) fn all(parts: &[Part], tools: Option<&Value>) -> Vec<Self> {
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
                    let mut call = Self::call(id, name, tools);
                    call.argue(arguments);
                    items.push(call);
                }
                Part::Image { .. } | Part::ToolResult { .. } | Part::Foreign { .. } => {}
            }
        }
        items
    }

    /// Takes in more of a call's arguments.
    pub(super) fn argue(&mut self, more: &str) {
        if let Self::Call { arguments, .. } = self {
            arguments.push_str(more);
        }
    }

    /// Its status where others follow, in an answer whose last item has the status `last`: calls may be told side by
    /// side, and several be cut off with the answer.
    pub(super) fn status<'a>(&self, last: &'a str) -> &'a str {
        match self {
            Self::Call { arguments, .. } if !is_whole(arguments) => last,
            _ => COMPLETED,
        }
    }

    /// Its id in the answer `answer`, where it stands at `index`.
    pub(super) fn id(&self, answer: &str, index: usize) -> String {
        let kind = match self {
            Self::Thought(_) => "rs",
            Self::Message(_) => "msg",
            Self::Call { .. } => "fc",
        };
        format!("{kind}_{}_{index}", answer.strip_prefix("resp_").unwrap_or(answer))
    }

    /// On the wire.
    pub(super) fn value(&self, id: &str, status: &str) -> Value {
        match self {
            Self::Thought(thought) => {
                let mut item = json!({ "id": id, "type": "reasoning", "summary": summary(thought) });
                // It is sealed once it is whole.
                if status != IN_PROGRESS {
                    item["encrypted_content"] = json!(seal(thought));
                }
                item
            }
            Self::Message(said) => json!({
                "id": id,
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": said.iter().map(content).collect::<Vec<_>>(),
            }),
            Self::Call { id: call, namespace, name, arguments } => {
                // A call that ends without a word of its arguments has none.
                let arguments = if arguments.is_empty() && status == COMPLETED { "{}" } else { arguments };
                let mut item = json!({
                    "id": id,
                    "type": "function_call",
                    "status": status,
                    "call_id": call,
                    "name": name,
                    "arguments": arguments,
                });
                if let Some(namespace) = namespace {
                    item["namespace"] = json!(namespace);
                }
                item
            }
        }
    }
}

/// The status of an item that is whole.
pub(super) const COMPLETED: &str = "completed";

/// The status of an item of which more is to come.
pub(super) const IN_PROGRESS: &str = "in_progress";

/// The items of an answer on the wire; its last one has the status `last`.
pub(super) fn output(items: &[Item], answer: &str, last: &str) -> Vec<Value> {
    let status = |index: usize, item: &Item| if index + 1 == items.len() { last } else { item.status(last) };
    let value = |(index, item): (usize, &Item)| item.value(&item.id(answer, index), status(index, item));
    items.iter().enumerate().map(value).collect()
}

fn summary(thought: &Part) -> Vec<Value> {
    match thought {
        Part::Thinking { text, .. } if !text.is_empty() => vec![summary_part(text)],
        _ => Vec::new(),
    }
}

/// A part of a summary.
pub(super) fn summary_part(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

/// A part of a message.
pub(super) fn content(part: &Part) -> Value {
    match part {
        Part::Refusal { text } => json!({ "type": "refusal", "refusal": text }),
        Part::Text { text, .. } => json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }),
        _ => Value::Null,
    }
}
