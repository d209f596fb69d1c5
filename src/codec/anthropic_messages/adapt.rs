//! Fits a body in Anthropic's dialect to a model that refuses some of what the dialect can say, and to Anthropic a
//! conversation that goes on here: other vendors' reasoning and blank texts are removed, ids of calls replaced.
//!
//! Both translated bodies and clients' own go through [`adapt`]; [`takes`] tells whether a client's own needs it. All
//! other fields stay.

use serde_json::{Map, Value, json};

use super::super::Target;
use super::super::json::whole;
use super::super::openai_chat::request::{effort_of, effort_text, effort_within};
use super::blocks::is_blank;
use super::ids::{self, Ids};
use super::{is_claudes, is_signed};
use crate::config::Refusal;
use crate::protocol::{ChatRequest, Effort, Message, Part, Reasoning, Role};

/// Whether `target` takes the request as it is; most requests do. Looks only at the decoded form.
pub(crate) fn takes(target: &Target<'_>, request: &ChatRequest) -> bool {
    let unsigned = |part: &Part| matches!(part, Part::Thinking { .. }) && !is_signed(part);
    target.can_answer(request.max_tokens)
        && !(request.sampling.is_unusual() && target.refuses(Refusal::Sampling))
        && request.reasoning.as_ref().is_none_or(|reasoning| takes_reasoning(target, reasoning))
        && !(has_budget(request) && began_unthought(request.messages.iter().map(stage)))
        && !request.messages.iter().flat_map(|turn| &turn.parts).any(unsigned)
        && !before_last(&request.messages).iter().any(is_wordless)
        && ids::all_fit(request.messages.iter().flat_map(|turn| &turn.parts))
}

/// All turns but the last one, which may be the beginning of an answer.
fn before_last<T>(turns: &[T]) -> &[T] {
    turns.split_last().map_or(&[], |(_, before)| before)
}

/// Whether an answer of the conversation holds an empty text, or a blank one and no other.
fn is_wordless(turn: &Message) -> bool {
    let texts =
        || turn.parts.iter().filter_map(|part| if let Part::Text { text, .. } = part { Some(text) } else { None });
    let blank = texts().any(|text| is_blank(text)) && texts().all(|text| is_blank(text));
    turn.role == Role::Assistant && (blank || texts().any(String::is_empty))
}

/// Whether `target` can be told in this way how much to think.
fn takes_reasoning(target: &Target<'_>, reasoning: &Reasoning) -> bool {
    let in_words = reasoning.effort.is_none() || !target.refuses(Refusal::ThinkingEffort);
    let takes = match reasoning {
        Reasoning { enabled: Some(false), .. } => !target.refuses(Refusal::NoThinking),
        Reasoning { budget_tokens: Some(_), .. } => !target.refuses(Refusal::ThinkingBudget),
        _ => !target.refuses(Refusal::ThinkingEffort),
    };
    target.reasoning && in_words && takes
}

fn has_budget(request: &ChatRequest) -> bool {
    request.reasoning.as_ref().is_some_and(|reasoning| reasoning.budget_tokens.is_some())
}

/// What a turn is to Anthropic.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The user speaks.
    Asked,
    /// Results of tools.
    Results,
    /// The model speaks, and begins with a thought of this vendor's.
    Thought,
    /// The model speaks, and does not.
    Unthought,
    /// Instructions.
    Told,
}

fn stage(turn: &Message) -> Stage {
    let thought = |part: &Part| is_signed(part) || matches!(part, Part::RedactedThinking { .. });
    match turn.role {
        Role::User if turn.parts.iter().any(Part::is_tool_result) => Stage::Results,
        Role::User => Stage::Asked,
        Role::Assistant if turn.parts.first().is_some_and(thought) => Stage::Thought,
        Role::Assistant => Stage::Unthought,
        Role::System | Role::Developer => Stage::Told,
    }
}

fn stage_of(turn: &Value) -> Stage {
    let blocks = turn["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let thought = |block: &Value| matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"));
    match turn["role"].as_str() {
        Some("user") if blocks.iter().any(|block| block["type"] == "tool_result") => Stage::Results,
        Some("user") => Stage::Asked,
        Some("assistant") if blocks.first().is_some_and(thought) => Stage::Thought,
        Some("assistant") => Stage::Unthought,
        _ => Stage::Told,
    }
}

/// Whether a tool loop is open that began without a thought. To Anthropic all turns since the user spoke are one
/// answer, which thinks from its beginning or not at all; further thoughts in it are not required.
fn began_unthought(turns: impl DoubleEndedIterator<Item = Stage>) -> bool {
    let answer: Vec<Stage> = turns.rev().take_while(|stage| *stage != Stage::Asked).collect();
    let spoken = |stage: &&Stage| matches!(stage, Stage::Thought | Stage::Unthought);
    answer.contains(&Stage::Results) && answer.iter().rfind(spoken) == Some(&Stage::Unthought)
}

/// Changes what `target` would refuse in `body`; losses are noted in `dropped`.
pub(crate) fn adapt(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    target.cap(body, "max_tokens", dropped);
    if target.refuses(Refusal::Sampling) {
        for field in ["temperature", "top_p", "top_k"] {
            // A temperature that was clamped before is noted already.
            if body.shift_remove(field).is_some() && !dropped.iter().any(|named| named == field) {
                dropped.push(field.to_owned());
            }
        }
    }
    let thinking = body.contains_key("thinking");
    adapt_thinking(target, body, dropped);
    if let Some(turns) = body.get_mut("messages").and_then(Value::as_array_mut) {
        remove_blanks(turns);
        fit_ids(turns);
    }
    remove_unsigned(body, dropped);
    fit_budget(body, dropped);
    if thinking && !body.contains_key("thinking") {
        keep_no_thoughts(body);
    }
}

/// Says how much to think in the form that the model understands.
fn adapt_thinking(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    if !target.reasoning {
        let thinking = body.shift_remove("thinking").filter(|thinking| thinking["type"] != "disabled");
        if take_effort(body).is_some() || thinking.is_some_and(|thinking| !thinking.is_null()) {
            dropped.push("reasoning".into());
        }
        return;
    }
    let thinking = body.get("thinking").unwrap_or(&Value::Null);
    let budget = thinking["budget_tokens"].as_u64();
    // Models that take budgets show their reasoning by default, the newest do not.
    let display = thinking.get("display").cloned().unwrap_or_else(|| json!("summarized"));
    match thinking["type"].as_str() {
        Some("disabled") if target.refuses(Refusal::NoThinking) => {
            body.shift_remove("thinking");
            dropped.push("reasoning".into());
        }
        Some("enabled") if target.refuses(Refusal::ThinkingBudget) => {
            body.insert("thinking".into(), json!({ "type": "adaptive", "display": display }));
            let effort = effort_text(effort_within(budget.unwrap_or_default()));
            if let Some(config) = body.entry("output_config").or_insert_with(|| json!({})).as_object_mut() {
                config.entry("effort").or_insert_with(|| json!(effort));
            }
        }
        Some("adaptive") if target.refuses(Refusal::ThinkingEffort) => {
            let effort = take_effort(body).as_ref().and_then(effort_of);
            let budget = budget_for(effort.unwrap_or(Effort::Medium));
            body.insert("thinking".into(), json!({ "type": "enabled", "budget_tokens": budget }));
        }
        _ if target.refuses(Refusal::ThinkingEffort) => {
            dropped.extend(take_effort(body).map(|_| "reasoning".to_owned()));
        }
        _ => {}
    }
}

/// Takes the effort out of `output_config`.
fn take_effort(body: &mut Map<String, Value>) -> Option<Value> {
    let config = body.get_mut("output_config")?.as_object_mut()?;
    let effort = config.shift_remove("effort");
    if config.is_empty() {
        body.shift_remove("output_config");
    }
    effort.filter(|effort| !effort.is_null())
}

/// Removes what is said of earlier thoughts in `context_management`, which is refused without thinking.
fn keep_no_thoughts(body: &mut Map<String, Value>) {
    let context = body.get_mut("context_management").and_then(|context| context.get_mut("edits"));
    let Some(edits) = context.and_then(Value::as_array_mut) else { return };
    edits.retain(|edit| !edit["type"].as_str().is_some_and(|kind| kind.starts_with("clear_thinking")));
    if edits.is_empty() {
        body.shift_remove("context_management");
    }
}

/// The smallest thinking budget that is accepted, in tokens.
const MIN_BUDGET_TOKENS: u64 = 1024;

/// Lowers the thinking budget below `max_tokens`, which includes it. Thinking is removed where no room is left for the
/// smallest budget, and in a tool loop that began without thinking, where the vendor allows none to follow.
fn fit_budget(body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    let most = body.get("max_tokens").and_then(whole).unwrap_or(u64::MAX);
    let turns = body.get("messages").and_then(Value::as_array);
    let unthought = turns.is_some_and(|turns| began_unthought(turns.iter().map(stage_of)));
    let Some(thinking) = body.get_mut("thinking").filter(|thinking| thinking["type"] == "enabled") else { return };
    if most <= MIN_BUDGET_TOKENS || unthought {
        body.shift_remove("thinking");
        dropped.push("reasoning".into());
    } else if thinking["budget_tokens"].as_u64().is_some_and(|budget| budget >= most) {
        thinking["budget_tokens"] = json!(most - 1);
    }
}

/// A thinking budget, in tokens, for an effort in words.
fn budget_for(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High | Effort::XHigh | Effort::Max => 24_576,
    }
}

/// Removes other vendors' reasoning, which Anthropic refuses without its own signature, and turns that held nothing
/// else.
fn remove_unsigned(body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    let Some(turns) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    for (index, turn) in turns.iter_mut().enumerate() {
        let Some(blocks) = turn.get_mut("content").and_then(Value::as_array_mut) else { continue };
        let before = blocks.len();
        blocks.retain(|block| !is_unsigned(block));
        if blocks.len() < before {
            dropped.push(format!("messages[{index}].thinking"));
        }
    }
    turns.retain(|turn| !turn["content"].as_array().is_some_and(Vec::is_empty));
}

/// Removes texts from answers of the conversation that are refused: empty ones, and blank ones without words beside them.
/// A blank one beside words stays, as where the body passes untouched: that it is another now must change nothing of
/// what is in the vendor's prompt cache.
fn remove_blanks(turns: &mut [Value]) {
    let Some((_, before)) = turns.split_last_mut() else { return };
    for turn in before.iter_mut().filter(|turn| turn["role"] == "assistant") {
        match turn.get_mut("content") {
            Some(Value::Array(blocks)) => {
                let has_words = blocks.iter().filter_map(text_of).any(|text| !is_blank(text));
                let stays = |text: &str| !is_blank(text) || has_words && !text.is_empty();
                blocks.retain(|block| text_of(block).is_none_or(stays));
            }
            Some(content) if content.as_str().is_some_and(is_blank) => *content = json!([]),
            _ => {}
        }
    }
}

fn text_of(block: &Value) -> Option<&str> {
    block["text"].as_str().filter(|_| block["type"] == "text")
}

/// Replaces ids of calls that Anthropic refuses, in calls and results alike.
fn fit_ids(turns: &mut [Value]) {
    let mut ids = Ids::default();
    let blocks = turns.iter_mut().filter_map(|turn| turn.get_mut("content")?.as_array_mut()).flatten();
    for block in blocks {
        let field = match block["type"].as_str() {
            Some("tool_use") => "id",
            Some("tool_result") => "tool_use_id",
            _ => continue,
        };
        let Some(Value::String(id)) = block.get_mut(field) else { continue };
        *id = if field == "id" { ids.name(id) } else { ids.answer(id) };
    }
}

fn is_unsigned(block: &Value) -> bool {
    block["type"] == "thinking" && !block["signature"].as_str().is_some_and(is_claudes)
}
