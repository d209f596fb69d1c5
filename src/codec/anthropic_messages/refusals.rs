//! What Anthropic's dialect can say and this model refuses, and thoughts of other vendors in a conversation that goes on here.
//!
//! The one place where a body is changed for that: those that were translated go through here, and the client's own, which
//! keep every other field.

use serde_json::{Map, Value, json};

use super::super::Target;
use super::super::json::whole;
use super::super::openai_chat::request::{effort_of, effort_text, effort_within};
use crate::config::Refusal;
use crate::protocol::{ChatRequest, Effort, Part, Reasoning};

/// Whether `target` takes the request as the dialect says it. A look at what is decoded: most requests pass.
pub(crate) fn takes(target: &Target<'_>, request: &ChatRequest) -> bool {
    let unsigned = |part: &Part| matches!(part, Part::Thinking { signature: None, .. });
    target.answers(request.max_tokens)
        && !(request.sampling.steers() && target.refuses(Refusal::Sampling))
        && request.reasoning.as_ref().is_none_or(|reasoning| thinks_so(target, reasoning))
        && !request.messages.iter().flat_map(|turn| &turn.parts).any(unsigned)
}

fn thinks_so(target: &Target<'_>, reasoning: &Reasoning) -> bool {
    match reasoning {
        Reasoning { enabled: Some(false), .. } => !target.refuses(Refusal::NoThinking),
        Reasoning { budget_tokens: Some(_), .. } => !target.refuses(Refusal::ThinkingBudget),
        _ => !target.refuses(Refusal::ThinkingEffort),
    }
}

/// Changes in `body` what `target` would refuse; what is lost is noted in `dropped`.
pub(crate) fn adapt(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    target.bound(body, "max_tokens", dropped);
    if target.refuses(Refusal::Sampling) {
        for field in ["temperature", "top_p", "top_k"] {
            // What was bent to the scale before is named already.
            if body.shift_remove(field).is_some() && !dropped.iter().any(|named| named == field) {
                dropped.push(field.to_owned());
            }
        }
    }
    adapt_thinking(target, body, dropped);
    forget(body, dropped);
    fit_budget(body, dropped);
}

/// Says how much to think in the way that the model understands.
fn adapt_thinking(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    let thinking = body.get("thinking").unwrap_or(&Value::Null);
    let budget = thinking["budget_tokens"].as_u64();
    // Where models take budgets, thoughts can be read unless it is said otherwise; the newest are the other way round.
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
            let config = body.get_mut("output_config").and_then(Value::as_object_mut);
            let effort = config.and_then(|config| config.shift_remove("effort"));
            if body.get("output_config").is_some_and(|config| *config == json!({})) {
                body.shift_remove("output_config");
            }
            let effort = effort.as_ref().and_then(effort_of);
            let budget = budget_for(effort.unwrap_or(Effort::Medium));
            body.insert("thinking".into(), json!({ "type": "enabled", "budget_tokens": budget }));
        }
        _ => {}
    }
}

/// The least budget for thoughts.
const LEAST_BUDGET: u64 = 1024;

/// A budget for thoughts counts within `max_tokens`, must be smaller, and has a least size; and where tools were called without
/// a thought before, none may follow. Where there is no room for thoughts, there are none.
fn fit_budget(body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    let most = body.get("max_tokens").and_then(whole).unwrap_or(u64::MAX);
    let rash = body.get("messages").and_then(Value::as_array).is_some_and(|turns| called_rashly(turns));
    let Some(thinking) = body.get_mut("thinking").filter(|thinking| thinking["type"] == "enabled") else { return };
    if most <= LEAST_BUDGET || rash {
        body.shift_remove("thinking");
        dropped.push("reasoning".into());
    } else if thinking["budget_tokens"].as_u64().is_some_and(|budget| budget >= most) {
        thinking["budget_tokens"] = json!(most - 1);
    }
}

/// Whether the conversation ends with results of tools that were called without a thought of this vendor's before.
fn called_rashly(turns: &[Value]) -> bool {
    let open = turns.last().is_some_and(|turn| blocks(turn).iter().any(|block| block["type"] == "tool_result"));
    let thought = |block: &Value| matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"));
    let answer = turns.iter().rfind(|turn| turn["role"] == "assistant");
    open && answer.is_some_and(|turn| !blocks(turn).first().is_some_and(thought))
}

fn blocks(turn: &Value) -> &[Value] {
    turn["content"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// An effort in words as a budget in tokens.
fn budget_for(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High | Effort::XHigh | Effort::Max => 24_576,
    }
}

/// Leaves other vendors' thoughts out: this one takes none without its own signature. A turn of nothing else goes with them.
fn forget(body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
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

fn is_unsigned(block: &Value) -> bool {
    block["type"] == "thinking" && block["signature"].as_str().is_none_or(str::is_empty)
}
