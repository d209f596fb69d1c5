//! The client's own body for OpenAI's Responses: what other dialects cannot say, or this gateway does not know, of its
//! items, tools and wishes stays in it, and so do the ids by which OpenAI knows its own items. What the model is known to
//! refuse is changed or left out ([`adapt`]).

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::super::openai_chat::request::CACHE_OPTIONS;
use super::super::super::openai_chat::{adapt as chat, messages, request as openai};
use super::super::super::{Target, obstacles};
use super::super::request::LOST;
use super::super::{SEALED_THOUGHTS, SUMMARIES, sealed};
use super::thoughts;
use crate::config::Refusal;
use crate::protocol::{ChatRequest, Dialect, Effort, Part};

/// What the decoded form does not tell of a body.
#[derive(Deserialize)]
struct Body<'a> {
    reasoning: Option<Value>,
    include: Option<Value>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    // Fields of Chat Completions, which a request may bring where they ask for nothing, or for what is said elsewhere.
    verbosity: Option<IgnoredAny>,
    stop: Option<IgnoredAny>,
    frequency_penalty: Option<IgnoredAny>,
    presence_penalty: Option<IgnoredAny>,
}

impl Body<'_> {
    fn is_of_chat(&self) -> bool {
        [&self.verbosity, &self.stop, &self.frequency_penalty, &self.presence_penalty].iter().any(|it| it.is_some())
    }
}

/// What is asked of an item.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    encrypted_content: Option<&'a RawValue>,
}

/// Whether there are words here for all that is asked. Else it is translated to Chat Completions, which may have some.
pub(crate) fn says(request: &ChatRequest) -> bool {
    super::unsaid(request).is_none() || is_needed(request)
}

/// Whether nothing but the client's own body can say the request: it brings tools that OpenAI runs itself, or parts or
/// fields that other dialects cannot say.
pub(crate) fn is_needed(request: &ChatRequest) -> bool {
    // A short answer is for OpenAI to refuse.
    super::unsaid(request).is_none_or(|field| field == "max_tokens")
        && openai::obstacle(Dialect::Responses, request).is_some()
}

/// Whether `target` takes the body as it is, but for its model and what it would have stored.
pub(crate) fn takes(target: &Target<'_>, request: &ChatRequest, body: &[u8]) -> bool {
    let effort = request.reasoning.as_ref().and_then(openai::effort_for);
    target.can_answer(request.max_tokens)
        && request.sampling.top_k.is_none()
        && request.extensions.keys().all(|field| OWN.contains(&field.as_str()))
        && (chat::thinks(target) || !request.extensions.contains_key("verbosity"))
        && (chat::knows_breakpoints(target) || !marks_cache(request))
        && (chat::thinks(target) && target.refused_thoughts == 0 || !returns_thoughts(request))
        && target.quirks.leave_out.iter().all(|field| field == REASONING || chat::is_surely_absent(field, request))
        && !(request.sampling.is_unusual() && target.refuses(Refusal::Sampling))
        && effort.is_none_or(|effort| takes_effort(target, effort))
        && chat::takes_ids(target, request)
        && serde_json::from_slice(body)
            .is_ok_and(|body: Body<'_>| !body.is_of_chat() && takes_wishes(target, &body) && takes_thoughts(&body))
}

/// Fields of this dialect that are no others' or unknown ones, as they are decoded: `tools` and `tool_choice` are of tools
/// that OpenAI runs itself, `verbosity` stands in `text`.
const OWN: [&str; 8] = [
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "tool_choice",
    "tools",
    "top_logprobs",
    "verbosity",
];

/// What Responses calls the wishes for thinking, and OpenRouter, too: as OpenRouter's it may be among what a provider
/// refuses.
const REASONING: &str = "reasoning";

fn returns_thoughts(request: &ChatRequest) -> bool {
    request.messages.iter().flat_map(|message| &message.parts).any(super::is_openais_thought)
}

/// Whether a request marks where the prompt cache is to end.
fn marks_cache(request: &ChatRequest) -> bool {
    let is_mark = |path: &String| path == CACHE_OPTIONS || messages::is_breakpoint(path);
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    request.leftovers.keys().any(is_mark) || parts.any(is_marked)
}

fn is_marked(part: &Part) -> bool {
    match part {
        Part::ToolResult { content, .. } => content.iter().any(is_marked),
        Part::Foreign { value, .. } => value.get(messages::BREAKPOINT).is_some(),
        _ => part.breakpoint().is_some(),
    }
}

/// Changes what `target` would refuse in `body`; losses are noted in `dropped`.
pub(crate) fn adapt(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    target.cap(body, "max_output_tokens", dropped);
    let marks = chat::knows_breakpoints(target);
    let is_own = |field: &str| OWN.contains(&field) || LOST.contains(&field);
    let is_lost = |field: &str| match field {
        field if field != REASONING && target.quirks.leave_out.contains(field) => true,
        "temperature" | "top_p" => target.refuses(Refusal::Sampling),
        "top_k" => true,
        CACHE_OPTIONS => !marks,
        field => !is_own(field) && obstacles::is_harmless(Dialect::Responses, field),
    };
    body.retain(|field, value| {
        let is_lost = is_lost(field);
        if is_lost {
            dropped.push(field.clone());
        }
        !is_lost && !asks_for_nothing(field, value)
    });
    if let Some(verbosity) = body.shift_remove("verbosity").filter(|verbosity| !verbosity.is_null())
        && let Some(text) = body.entry("text").or_insert_with(|| json!({})).as_object_mut()
    {
        text.entry("verbosity").or_insert(verbosity);
    }
    adapt_reasoning(target, body, dropped);
    let Some(items) = body.get_mut("input").and_then(Value::as_array_mut) else { return };
    let (mut index, all) = (0, items.len());
    let mut thoughts = Thoughts::of(items, target.refused_thoughts);
    items.retain_mut(|item| {
        let lost = thoughts.leave_out(target, item);
        dropped.extend(lost.map(|what| format!("input[{index}] ({what})")));
        index += 1;
        if !marks {
            remove_marks(item);
        }
        if let (Some(most), Some(id)) = (target.quirks.longest_call_id, item.get_mut("call_id"))
            && let Some(short) = id.as_str().and_then(|id| chat::short_id(id, most))
        {
            *id = short.into();
        }
        lost.is_none()
    });
    if items.len() < all {
        // By its id OpenAI may know an item, and refuse it without the thought that led to it. These need none.
        let by_thought = |item: &&mut Value| {
            item["type"].as_str().is_none_or(|kind| ["message", "function_call", "custom_tool_call"].contains(&kind))
        };
        let objects = items.iter_mut().filter(by_thought).filter_map(Value::as_object_mut);
        objects.for_each(|item| drop(item.shift_remove("id")));
    }
}

/// Items of what OpenAI ran by itself. It knows each by its id, which cannot be left out, and refuses it without the thought
/// that led to it.
const RUN_BY_OPENAI: [&str; 7] = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "mcp_list_tools",
    "mcp_approval_request",
];

/// On its way through the items: which thoughts are left out, and what cannot go back without them.
struct Thoughts {
    /// The requests to use a tool that the client answers. An answer is refused without its request.
    answered: BTreeSet<String>,
    /// Thoughts to come that are left out, since they were refused.
    refused: usize,
    /// Whether the last thought of the assistant's turn was left out.
    is_lost: bool,
}

impl Thoughts {
    fn of(items: &[Value], refused: usize) -> Self {
        let answers = items.iter().filter(|item| item["type"] == "mcp_approval_response");
        let answered = answers.filter_map(|item| item["approval_request_id"].as_str().map(str::to_owned)).collect();
        Self { answered, refused, is_lost: false }
    }

    /// What the next item is, if it is left out: a thought, or what OpenAI ran by itself upon one that is. What it said
    /// then stays, and so do calls whose results the client brings.
    fn leave_out(&mut self, target: &Target<'_>, item: &mut Value) -> Option<&'static str> {
        let kind = item["type"].as_str().unwrap_or("message").to_owned();
        match kind.as_str() {
            "reasoning" => {
                let is_openais = unwrap_thought(item);
                let is_refused = is_openais && self.refused > 0;
                self.refused -= usize::from(is_refused);
                // OpenAI refuses thoughts for models that do not think.
                self.is_lost = !is_openais || is_refused || !chat::thinks(target);
                self.is_lost.then_some("reasoning")
            }
            "message" => {
                self.is_lost &= item["role"] == "assistant";
                None
            }
            _ if kind.ends_with("_output") || kind.ends_with("_response") => {
                self.is_lost = false;
                None
            }
            _ => {
                let is_answered = || item["id"].as_str().is_some_and(|id| self.answered.contains(id));
                let is_left = self.is_lost && RUN_BY_OPENAI.contains(&kind.as_str()) && !is_answered();
                is_left.then(|| obstacles::vendors_tool(&kind)).flatten()
            }
        }
    }
}

/// Whether this is a field of Chat Completions that asks for what is done anyway.
fn asks_for_nothing(field: &str, value: &Value) -> bool {
    match field {
        "stop" => *value == json!([]),
        "frequency_penalty" | "presence_penalty" => value.as_f64() == Some(0.0),
        "n" | "logprobs" | "modalities" | "functions" | "function_call" => obstacles::is_default(None, field, value),
        _ => false,
    }
}

/// Removes the marks from an item's parts.
fn remove_marks(item: &mut Value) {
    for key in ["content", "output"] {
        let parts = item.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
        parts.filter_map(Value::as_object_mut).for_each(|part| drop(part.shift_remove(messages::BREAKPOINT)));
    }
}

/// Says how much to think in a word that the model has, and asks for no thoughts where none are told.
fn adapt_reasoning(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    if !chat::thinks(target) {
        let verbosity = body.get_mut("text").and_then(|text| text.as_object_mut()?.shift_remove("verbosity"));
        dropped.extend(verbosity.map(|_| "text.verbosity".to_owned()));
        if let Some(wishes) = body.get_mut("include").and_then(Value::as_array_mut) {
            wishes.retain(|wish| !is_for_thoughts(wish));
        }
        // A model that cannot think loses nothing with `none`.
        let asked = body.shift_remove("reasoning").filter(|asked| !asked.is_null() && asked["effort"] != "none");
        dropped.extend(asked.map(|_| "reasoning".to_owned()));
        return;
    }
    let Some(reasoning) = body.get_mut("reasoning").and_then(Value::as_object_mut) else { return };
    if !target.tell_thoughts {
        SUMMARIES.iter().for_each(|field| drop(reasoning.shift_remove(*field)));
    }
    let effort = reasoning.get("effort").and_then(openai::effort_of).filter(|effort| !takes_effort(target, *effort));
    let instead = match effort {
        None => return,
        Some(Effort::Minimal) => "low",
        Some(Effort::None) => "minimal",
        Some(_) => "high",
    };
    reasoning.insert("effort".into(), json!(instead));
    dropped.push("reasoning.effort".into());
}

/// Whether a thought is one that OpenAI has sealed. One that this gateway has wrapped is unwrapped.
fn unwrap_thought(item: &mut Value) -> bool {
    let Some(sealed) = item["encrypted_content"].as_str().filter(|sealed| !sealed.is_empty()) else { return false };
    if sealed::is_ours(sealed) {
        let Some(Part::Thinking { signature: Some(signature), .. }) = sealed::open(sealed) else { return false };
        let Some(openais) = thoughts::encrypted_in(&signature) else { return false };
        item["encrypted_content"] = openais.into();
    }
    true
}

/// Whether a wish in `include` is for the sealed thoughts.
fn is_for_thoughts(wish: &Value) -> bool {
    wish == SEALED_THOUGHTS
}

/// Whether the model has a word for that much thinking.
fn takes_effort(target: &Target<'_>, effort: Effort) -> bool {
    chat::thinks(target)
        && match effort {
            Effort::None => !target.refuses(Refusal::NoThinking),
            Effort::Minimal => !target.refuses(Refusal::MinimalThinking),
            Effort::Low | Effort::Medium | Effort::High => true,
            // The newest models have it, which are those that do not think beside tools elsewhere.
            Effort::XHigh | Effort::Max => chat::not_beside_tools(target),
        }
}

/// Whether the model takes what is asked of its thoughts.
fn takes_wishes(target: &Target<'_>, body: &Body<'_>) -> bool {
    let is_told = |field: &&str| body.reasoning.as_ref().is_some_and(|wishes| !wishes[*field].is_null());
    if chat::thinks(target) {
        // An organisation that OpenAI has not verified is refused for a summary.
        return target.tell_thoughts || !SUMMARIES.iter().any(is_told);
    }
    body.reasoning.is_none()
        && !body.include.as_ref().and_then(Value::as_array).is_some_and(|wishes| wishes.iter().any(is_for_thoughts))
}

/// Whether OpenAI takes all thoughts that come back: each with sealed content, for it looks for others among what it has
/// stored, and there is nothing; and none as this gateway wrote it, in whose content is another vendor's.
fn takes_thoughts(body: &Body<'_>) -> bool {
    let items =
        body.input.and_then(|input| serde_json::from_str::<Vec<Item<'_>>>(input.get()).ok()).unwrap_or_default();
    let is_openais = |sealed: &RawValue| {
        let written = sealed.get().strip_prefix('"');
        written.is_some_and(|written| written != "\"" && !sealed::is_ours(written))
    };
    items
        .iter()
        .all(|item| item.kind.as_deref() != Some("reasoning") || item.encrypted_content.is_some_and(is_openais))
}
