//! The canonical chat request: what every dialect decodes into and encodes out of.

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
    /// Whether the model must call one, and which.
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model may make several calls in one turn.
    pub parallel_tool_calls: Option<bool>,
    /// Shape the answer must have.
    pub response_format: Option<ResponseFormat>,
    /// Most tokens to generate.
    pub max_tokens: Option<u32>,
    /// How the vendor is to sample.
    pub sampling: Sampling,
    /// How much the model is to think before it answers.
    pub reasoning: Option<Reasoning>,
    /// Whether the answer streams.
    pub stream: bool,
    /// Whether the client wants usage in the stream (OpenAI `stream_options.include_usage`; always in Anthropic's).
    pub stream_usage: bool,
    /// The end user's id, as the client gives it to the vendor.
    pub user: Option<String>,
    /// Wishes for the routing itself (`routing` in our own dialect, `x-pointsman-*` headers in the others).
    pub routing: RoutingOptions,
    /// Top-level fields that only the client's dialect knows, as written. A backend of the same dialect gets them;
    /// another gets those that it knows by the same name. Of the others, one that asks for another answer keeps the
    /// request from it, and the rest is reported as dropped. Tools of kinds that only the client's dialect has stand here
    /// under `tools`, and values that are newer than this gateway under their field's name.
    pub extensions: Map<String, Value>,
    /// Unknown fields inside messages, tools and other objects, by their paths, as written. They are lost where client
    /// and backend speak different dialects; encoders report every loss as "dropped".
    pub leftovers: Map<String, Value>,
    /// For each turn the index of the item that it begins with. Only OpenAI Responses has items, of which several make
    /// one turn; empty in all other dialects.
    pub items: Vec<usize>,
    /// Whether the first turn came in a field of its own (Anthropic `system`).
    pub system_apart: bool,
    /// Whether each answer among the turns is whole (OpenAI Responses), the last one, too; elsewhere an answer at the end
    /// is the beginning of one, for the model to go on with (prefill).
    pub answers_are_whole: bool,
}

/// Sampling parameters; an absent one means the vendor's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// Softmax temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling: the probability mass kept.
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are kept (Anthropic, Ollama).
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
    /// Whether anything differs from what vendors do by default. `stop` and `seed` do not count.
    pub fn is_unusual(&self) -> bool {
        let other_than = |usual: f64| move |wanted: f64| wanted != usual;
        self.temperature.is_some_and(other_than(1.0))
            || self.top_p.is_some_and(other_than(1.0))
            || self.top_k.is_some()
            || self.frequency_penalty.is_some_and(other_than(0.0))
            || self.presence_penalty.is_some_and(other_than(0.0))
    }
}

/// The shape that an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Value,
        /// Whether the vendor must enforce it.
        strict: Option<bool>,
        /// Whether `strict` comes from the client's dialect (Anthropic enforces every schema) and not from the client.
        implied: bool,
    },
}

/// How much a model is to think before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// In words (OpenAI `reasoning_effort`).
    pub effort: Option<Effort>,
    /// In tokens (Anthropic `thinking.budget_tokens`).
    pub budget_tokens: Option<u32>,
    /// `Some(false)` switches thinking off where it would be on.
    pub enabled: Option<bool>,
}

impl Reasoning {
    /// Whether the client wants no thinking.
    pub fn is_off(&self) -> bool {
        self.enabled == Some(false) || self.effort == Some(Effort::None)
    }
}

/// Reasoning effort in words, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

impl Effort {
    /// The word for it; not every vendor has each.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort of this name, see [`Self::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];
        all.into_iter().find(|effort| effort.as_str() == name)
    }
}

/// What a caller asks of the routing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingOptions {
    /// What to optimise for; where absent, the model's name (`auto:cost`), a rule or the configuration says.
    pub objective: Option<Objective>,
    /// Only these models; behind a model that the request names, these are asked where that does not answer, in this order.
    pub models: Option<Vec<String>>,
    /// Not these models.
    pub exclude: Vec<String>,
    /// `false`: always the model that is estimated best, never exploration.
    pub explore: Option<bool>,
    /// The conversation's name, which keeps it on its model; without one it is recognised by its first turns.
    pub conversation: Option<String>,
    /// `false`: no failover to another model than the chosen one.
    pub failover: Option<bool>,
    /// Free labels, for rules to match and for the decision log.
    pub tags: BTreeMap<String, String>,
}

/// What the choice of a model is to optimise.
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
    /// The largest weight: points of quality that a dollar or a second may be worth.
    pub const MAX_WEIGHT: f64 = 1e6;

    /// Whether all weights are within 0 and [`Self::MAX_WEIGHT`].
    pub fn is_valid(self) -> bool {
        match self {
            Self::Named(_) => true,
            Self::Weights { cost_per_usd, latency_per_s } => {
                [cost_per_usd, latency_per_s].iter().all(|weight| (0.0..=Self::MAX_WEIGHT).contains(weight))
            }
        }
    }
}

/// The named trade-offs between quality, cost and latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum NamedObjective {
    Quality,
    Balanced,
    Cost,
    Speed,
}

impl NamedObjective {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Quality, Self::Balanced, Self::Cost, Self::Speed];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Balanced => "balanced",
            Self::Cost => "cost",
            Self::Speed => "speed",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|objective| objective.as_str() == name)
    }
}

/// What a model must be able to do to serve a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Tool calls.
    pub tools: bool,
    /// Images in the prompt.
    pub vision: bool,
    /// Answers in JSON, with or without a schema.
    pub structured_output: bool,
}

/// What a request wants of a vendor's prompt cache that keeps what it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheWish {
    /// The client has marked what is to be kept.
    Said,
    /// It has marked nothing, but another call is likely to repeat this prompt.
    Unsaid,
    /// Nothing: writing to the cache costs more than it would save.
    None,
}

impl ChatRequest {
    /// What it wants of a prompt cache. Likely to be repeated is a prompt in a tool loop, or with tools of which the model
    /// may call this or that: a forced call of the only one mostly is the extraction of data, and ends with it.
    pub fn cache_wish(&self) -> CacheWish {
        let is_marked = self.extensions.contains_key("cache_control")
            || self.tools.iter().any(|tool| tool.cache_control.is_some())
            || self.messages.iter().flat_map(|message| &message.parts).any(Part::is_marked);
        let may_choose = match self.tool_choice {
            None | Some(ToolChoice::Auto) => !self.tools.is_empty(),
            Some(ToolChoice::Required) => self.tools.len() > 1,
            Some(ToolChoice::None | ToolChoice::Named(_)) => false,
        };
        match () {
            () if is_marked => CacheWish::Said,
            () if may_choose || self.is_in_tool_loop() => CacheWish::Unsaid,
            () => CacheWish::None,
        }
    }

    /// The last turn in which a person says something; inside a tool loop that is still the question.
    pub fn question(&self) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.is_question())
    }

    /// Whether the model must call a tool.
    pub fn must_call(&self) -> bool {
        self.tool_choice.as_ref().is_some_and(ToolChoice::demands_call)
    }

    /// How many answers the client asks for at once (OpenAI's `n`).
    pub fn choices(&self) -> u64 {
        self.extensions.get("n").and_then(Value::as_f64).map_or(1, |choices| choices as u64)
    }

    /// Whether it brings tools, of whatever type, or `functions`, their older form in Chat Completions.
    pub fn brings_tools(&self) -> bool {
        let functions = || self.extensions.get("functions").and_then(Value::as_array);
        !self.tools.is_empty()
            || self.extensions.contains_key("tools")
            || functions().is_some_and(|functions| !functions.is_empty())
    }

    /// What a model must be able to do beyond text.
    pub fn needs(&self) -> Needs {
        let has_image = |parts: &[Part]| parts.iter().any(|part| matches!(part, Part::Image { .. }));
        let vision = self.messages.iter().any(|message| {
            has_image(&message.parts)
                || message
                    .parts
                    .iter()
                    .any(|part| matches!(part, Part::ToolResult { content, .. } if has_image(content)))
        });
        let tools = self.brings_tools()
            || self.messages.iter().any(|message| {
                message.parts.iter().any(|part| matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. }))
            });
        Needs { tools, vision, structured_output: self.response_format.is_some() }
    }

    /// The id of the first call of a tool since the last question; what a person says beside results is heard in the midst
    /// of the loop.
    pub fn first_call_of_loop(&self) -> Option<&str> {
        let begins = |message: &Message| message.is_question() && !message.parts.iter().any(Part::is_tool_result);
        let asked = self.messages.iter().rposition(begins).map_or(0, |at| at + 1);
        let mut parts = self.messages[asked..].iter().flat_map(|message| &message.parts);
        parts.find_map(|part| match part {
            Part::ToolCall { id, .. } => Some(id.as_str()),
            _ => None,
        })
    }

    /// Whether the model is to continue an answer that is begun (prefill): the conversation ends with text of the
    /// assistant's. A turn that its vendor paused (`pause_turn`) ends with a call or a foreign part and is no prefill.
    pub fn is_prefilled(&self) -> bool {
        !self.answers_are_whole && self.ends_with_answer()
    }

    /// Whether the conversation ends with an answer that is whole. Programs ask so where the connection broke while the
    /// model went on after it (Codex).
    pub fn ends_with_whole_answer(&self) -> bool {
        self.answers_are_whole && self.ends_with_answer()
    }

    /// Whether the last turn is text of the assistant's. An instruction behind it says what is to be done, as a question
    /// does: nothing is to be continued then. A blank one says nothing.
    fn ends_with_answer(&self) -> bool {
        let blank = |part: &Part| matches!(part, Part::Text { text, .. } if text.trim().is_empty());
        let text = |part: &Part| matches!(part, Part::Text { .. }) && !blank(part);
        let more = |part: &Part| matches!(part, Part::Foreign { .. } | Part::ToolCall { .. });
        let says = |message: &&Message| !(message.role.is_instruction() && message.parts.iter().all(blank));
        self.messages.iter().rfind(says).is_some_and(|Message { role, parts, .. }| {
            *role == Role::Assistant && parts.iter().any(text) && !parts.iter().any(more)
        })
    }

    /// Index of the last turn that holds no instructions.
    pub fn last_turn(&self) -> Option<usize> {
        self.messages.iter().rposition(|message| !message.role.is_instruction())
    }

    /// Whether the last turn, instructions apart, brings results of tools that the model has just called.
    pub fn is_in_tool_loop(&self) -> bool {
        self.last_turn().is_some_and(|at| self.messages[at].parts.iter().any(Part::is_tool_result))
    }

    /// Whether it brings such results and nothing that a person says.
    pub fn goes_on_with_tools(&self) -> bool {
        self.is_in_tool_loop() && self.last_turn().is_none_or(|at| !self.messages[at].is_question())
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
