//! The canonical chat request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Message, Part, Role, Tool, ToolChoice};

/// A chat request in no dialect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatRequest {
    /// The model as the client wrote it: `auto`, `auto:cost`, a name or an alias.
    pub model: String,
    /// The conversation, system and developer turns in their places.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls may come in one turn.
    pub parallel_tool_calls: Option<bool>,
    /// Shape the answer must have.
    pub response_format: Option<ResponseFormat>,
    /// Most tokens to generate.
    pub max_tokens: Option<u32>,
    /// How to sample.
    pub sampling: Sampling,
    /// How much to think first.
    pub reasoning: Option<Reasoning>,
    /// Whether the answer streams.
    pub stream: bool,
    /// Whether the client wants usage in the stream (OpenAI `stream_options.include_usage`; always in Anthropic's).
    pub stream_usage: bool,
    /// The end user's id, as the client gives it to the vendor.
    pub user: Option<String>,
    /// Wishes for the routing itself (`routing` in our own dialect, `x-pointsman-*` headers in the others).
    pub routing: RoutingOptions,
    /// Top-level fields only the client's dialect knows, as written. They survive where client and backend
    /// speak the same dialect, and are reported as dropped where they do not. Tools of kinds that only it knows are
    /// here under `tools`, as are choices and words that are newer than this gateway under their fields' names.
    pub extensions: Map<String, Value>,
    /// Fields inside messages, tools and the rest that nobody here knows, by their paths, as written: lost where client
    /// and backend speak different dialects. What is lost in the end, of these, of `extensions` and of what is understood,
    /// an encoder calls dropped.
    pub leftovers: Map<String, Value>,
    /// The item that each turn begins with, where the client's conversation is made of items (OpenAI Responses) and
    /// several of them make a turn; else empty.
    pub items: Vec<usize>,
    /// Whether the first turn stands in a field of its own (Anthropic `system`).
    pub system_apart: bool,
}

/// How to sample; every field absent means the vendor's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// Temperature.
    pub temperature: Option<f64>,
    /// Nucleus mass.
    pub top_p: Option<f64>,
    /// Candidates kept (Anthropic, Ollama).
    pub top_k: Option<u32>,
    /// Strings that end the answer.
    pub stop: Vec<String>,
    /// Seed for repeatable sampling (OpenAI, Ollama).
    pub seed: Option<i64>,
    /// Penalty on frequent tokens (OpenAI, Ollama).
    pub frequency_penalty: Option<f64>,
    /// Penalty on tokens already present (OpenAI, Ollama).
    pub presence_penalty: Option<f64>,
}

impl Sampling {
    /// Whether it asks for anything but what vendors do anyway.
    pub fn steers(&self) -> bool {
        let other_than = |usual: f64| move |wanted: f64| wanted != usual;
        self.temperature.is_some_and(other_than(1.0))
            || self.top_p.is_some_and(other_than(1.0))
            || self.top_k.is_some()
            || self.frequency_penalty.is_some_and(other_than(0.0))
            || self.presence_penalty.is_some_and(other_than(0.0))
    }
}

/// Shape the answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON held to a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Value,
        /// Whether the vendor must enforce it.
        strict: Option<bool>,
        /// Whether nobody asked for that: the client's dialect (Anthropic's) has every answer so.
        implied: bool,
    },
}

/// How much to think before answering.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// In words (OpenAI `reasoning_effort`).
    pub effort: Option<Effort>,
    /// In tokens (Anthropic `thinking.budget_tokens`).
    pub budget_tokens: Option<u32>,
    /// `Some(false)` switches thinking off where it would be on.
    pub enabled: Option<bool>,
}

/// Reasoning effort in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

/// What the caller wishes of the routing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingOptions {
    /// What to optimise for; the route's or the configuration's where absent.
    pub objective: Option<Objective>,
    /// Only these models.
    pub models: Option<Vec<String>>,
    /// Not these models.
    pub exclude: Vec<String>,
    /// `false`: always the best guess, never a try-out.
    pub explore: Option<bool>,
    /// Names the conversation, so that it stays on its model; else it is recognised by its first turns.
    pub conversation: Option<String>,
    /// `false`: no failover to another model than the chosen one.
    pub failover: Option<bool>,
    /// Free labels that rules and the log can see.
    pub tags: BTreeMap<String, String>,
}

/// What a route is to optimise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "it is quality, balanced, cost, speed, or numbers for both cost_per_usd and latency_per_s"
)]
pub enum Objective {
    /// One of the named trade-offs.
    Named(NamedObjective),
    /// Explicit weights.
    Weights {
        /// Utility lost per US dollar.
        cost_per_usd: f64,
        /// Utility lost per second until the answer is there.
        latency_per_s: f64,
    },
}

impl Objective {
    /// Most that a dollar or a second may be worth, in points of quality.
    pub const HEAVIEST: f64 = 1e6;

    /// Whether its weights can be reckoned with: from 0 to [`Self::HEAVIEST`].
    pub fn is_sound(self) -> bool {
        match self {
            Self::Named(_) => true,
            Self::Weights { cost_per_usd, latency_per_s } => {
                [cost_per_usd, latency_per_s].iter().all(|weight| (0.0..=Self::HEAVIEST).contains(weight))
            }
        }
    }
}

/// The trade-offs that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum NamedObjective {
    Quality,
    Balanced,
    Cost,
    Speed,
}

/// What a model must be able to do to serve a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// It must call tools.
    pub tools: bool,
    /// It must see pictures.
    pub vision: bool,
    /// It must hold its answer to a JSON schema or at least to JSON.
    pub structured_output: bool,
}

impl ChatRequest {
    /// The last turn in which a person says something: inside a tool loop that is still the question.
    pub fn question(&self) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.is_question())
    }

    /// What the request asks of a model beyond text.
    pub fn needs(&self) -> Needs {
        let has_image = |parts: &[Part]| parts.iter().any(|part| matches!(part, Part::Image { .. }));
        let vision = self.messages.iter().any(|message| {
            has_image(&message.parts)
                || message
                    .parts
                    .iter()
                    .any(|part| matches!(part, Part::ToolResult { content, .. } if has_image(content)))
        });
        let tools = !self.tools.is_empty()
            || self.extensions.contains_key("tools")
            || self.messages.iter().any(|message| {
                message.parts.iter().any(|part| matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. }))
            });
        Needs { tools, vision, structured_output: self.response_format.is_some() }
    }

    /// The id of the first call of a tool since the last question.
    pub fn first_call_of_loop(&self) -> Option<&str> {
        let asked = self.messages.iter().rposition(Message::is_question).map_or(0, |at| at + 1);
        let mut parts = self.messages[asked..].iter().flat_map(|message| &message.parts);
        parts.find_map(|part| match part {
            Part::ToolCall { id, .. } => Some(id.as_str()),
            _ => None,
        })
    }

    /// Whether it must go on with an answer that is begun: its conversation ends with a text of the assistant's. One
    /// that its vendor paused (`pause_turn`) ends with more, and goes on everywhere.
    pub fn is_prefilled(&self) -> bool {
        let text = |part: &Part| matches!(part, Part::Text { text, .. } if !text.trim().is_empty());
        let more = |part: &Part| matches!(part, Part::Foreign { .. } | Part::ToolCall { .. });
        self.last_turn().is_some_and(|at| {
            let Message { role, parts, .. } = &self.messages[at];
            *role == Role::Assistant && parts.iter().any(text) && !parts.iter().any(more)
        })
    }

    /// Where the last turn stands that is no instruction.
    pub fn last_turn(&self) -> Option<usize> {
        self.messages.iter().rposition(|message| !matches!(message.role, Role::System | Role::Developer))
    }

    /// Whether it goes on with what was asked before: it brings results of tools that the model has just called, whatever
    /// instructions follow.
    pub fn is_in_tool_loop(&self) -> bool {
        let is_result = |part: &Part| matches!(part, Part::ToolResult { .. });
        self.last_turn().is_some_and(|at| self.messages[at].parts.iter().any(is_result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_tools_are_no_questions() {
        let mut request = ChatRequest::default();
        assert_eq!(request.question(), None);
        request.messages.push(Message::text(Role::User, "what time is it?"));
        let result =
            Part::ToolResult { call_id: "1".into(), content: Vec::new(), is_error: false, cache_control: None };
        request.messages.push(Message { role: Role::User, parts: vec![result], name: None });
        assert_eq!(request.question(), Some(&request.messages[0]));
        let mut says = |text: &str| {
            request.messages[1].parts.truncate(1);
            request.messages[1].parts.push(Part::text(text));
            request.question() == Some(&request.messages[1])
        };
        assert!(!says(
            "<system-reminder>be brief</system-reminder>\n<system-reminder>\ntoday is Monday</system-reminder>\n"
        ));
        assert!(!says("\n"));
        assert!(says("<system-reminder>be brief</system-reminder> and in Rome?"));
    }
}
