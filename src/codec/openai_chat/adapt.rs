//! Fits a body in OpenAI's dialect to a provider that takes less than OpenAI ([`Quirks`](crate::config::Quirks)), and
//! to a model that refuses some of what the dialect can say ([`Refusal`]).
//!
//! Both translated bodies and clients' own go through [`adapt`]; [`takes`] tells whether a client's own needs it. All
//! other fields stay.

use serde_json::{Map, Value, json};

use super::super::Target;
use super::super::ids::hashed;
use super::super::obstacles;
use super::messages;
use super::request::{EXCLUSION, ROUTERS_REASONING, effort_for, effort_text, excludes_thoughts, reasoning_of};
use crate::config::MaxTokensField;
use crate::config::Refusal;
use crate::protocol::{ChatRequest, Effort, Message, Part, ResponseFormat, Role};

/// Whether `target` takes the request as it is; most requests do. Looks only at the decoded form.
pub(crate) fn takes(target: &Target<'_>, request: &ChatRequest) -> bool {
    let quirks = target.quirks;
    let turns = &request.messages;
    let thought = |part: &Part| matches!(part, Part::Thinking { .. });
    let is_text = |part: &Part| matches!(part, Part::Text { .. });
    let parts = || turns.iter().flat_map(|turn| &turn.parts);
    target.can_answer(request.max_tokens)
        && !(request.sampling.is_unusual() && target.refuses(Refusal::Sampling))
        && (thinks(target) || request.reasoning.is_none())
        && !(effort_of(request) == Some(Effort::None) && (quirks.thinking || target.refuses(Refusal::NoThinking)))
        && !(effort_of(request) == Some(Effort::Minimal) && target.refuses(Refusal::MinimalThinking))
        && !(must_not_think(target, request) && (effort_of(request) != Some(Effort::None) || quirks.thinking))
        && (quirks.parallel_tool_calls || request.parallel_tool_calls.is_none())
        && (quirks.json_schema || !matches!(request.response_format, Some(ResponseFormat::JsonSchema { .. })))
        && (quirks.developer_role != Some(false) || turns.iter().all(|turn| turn.role != Role::Developer))
        && (quirks.null_content || turns.iter().all(|turn| turn.role != Role::Assistant || turn.parts.iter().any(is_text)))
        && (quirks.reasoning_content || !parts().any(thought))
        && !(wants_reasoning(target) && turns.iter().any(calls_without_reasoning))
        // Whether a call has its signature, the decoded form does not tell.
        && !(quirks.thought_signatures && parts().any(Part::is_call))
        && takes_ids(target, request)
        && (quirks.extra_fields || !has_extras(request))
        && quirks.leave_out.iter().all(|field| is_surely_absent(field, request))
}

/// Whether a request is known not to bring a field that its provider refuses. The decoded form tells that only of other
/// routers' fields: of OpenAI's own it keeps no trace where they are null.
pub(crate) fn is_surely_absent(field: &str, request: &ChatRequest) -> bool {
    let asks = || request.reasoning.as_ref().is_some_and(|reasoning| reasoning.enabled.is_some());
    let is_routers = obstacles::is_routers(field) || (ROUTERS_REASONING.contains(&field) && !asks());
    is_routers && !request.extensions.contains_key(field)
}

/// Fields of turns, parts, calls and tools that clients write for other vendors.
const EXTRA: [&str; 5] =
    ["cache_control", "thinking_blocks", "reasoning_details", "provider_specific_fields", "extra_content"];

fn is_extra(path: &str) -> bool {
    EXTRA.contains(&path.rsplit('.').next().unwrap_or_default())
}

/// Whether a field, given by its path, does not reach `target`'s vendor in Chat Completions.
pub(crate) fn is_left_out(target: &Target<'_>, path: &str) -> bool {
    path == EXCLUSION || !target.quirks.extra_fields && is_extra(path)
}

fn has_extras(request: &ChatRequest) -> bool {
    request.leftovers.keys().any(|path| is_extra(path))
        || request.extensions.contains_key("cache_control")
        || request.tools.iter().any(|tool| tool.cache_control.is_some())
        || request.messages.iter().flat_map(|turn| &turn.parts).any(is_extended)
}

fn is_extended(part: &Part) -> bool {
    let inside = match part {
        Part::ToolResult { content, .. } => content.iter().any(is_extended),
        Part::Foreign { value, .. } => EXTRA.iter().any(|field| value.get(field).is_some()),
        _ => false,
    };
    inside || part.cache_control().is_some()
}

/// Stands for reasoning that is not known, where a model requires some. A blank, since DeepSeek V4 Pro is reported to
/// refuse an empty one.
const UNKNOWN_REASONING: &str = " ";

/// What Gemini documents for calls that it did not make itself, or whose signature is lost; it is not verified.
const UNKNOWN_SIGNATURE: &str = "skip_thought_signature_validator";

/// Whether a model refuses earlier tool calls without the reasoning that led to them.
fn wants_reasoning(target: &Target<'_>) -> bool {
    target.quirks.reasoning_content && target.reasoning
}

/// Whether a turn calls a tool and has no reasoning.
fn calls_without_reasoning(turn: &Message) -> bool {
    let has = |wanted: fn(&Part) -> bool| turn.parts.iter().any(wanted);
    let thought = |part: &Part| matches!(part, Part::Thinking { text, .. } if !text.is_empty());
    has(Part::is_call) && !has(thought)
}

fn call_id(part: &Part) -> Option<&str> {
    match part {
        Part::ToolCall { id, .. } | Part::ToolResult { call_id: id, .. } => Some(id),
        _ => None,
    }
}

/// Whether no call's id is longer than `target` takes.
pub(crate) fn takes_ids(target: &Target<'_>, request: &ChatRequest) -> bool {
    let mut ids = request.messages.iter().flat_map(|turn| &turn.parts).filter_map(call_id);
    target.quirks.longest_call_id.is_none_or(|most| !ids.any(|id| is_longer(id, most)))
}

fn is_longer(id: &str, most: usize) -> bool {
    id.chars().count() > most
}

/// The fields that say how to sample.
const SAMPLING: [&str; 5] = ["temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"];

/// Whether `target` is a model that thinks and takes `reasoning_effort`.
pub(crate) fn thinks(target: &Target<'_>) -> bool {
    target.quirks.reasoning_effort && target.reasoning && !target.refuses(Refusal::ThinkingEffort)
}

/// Whether `target` refuses the request unless thinking is switched off: some models do not think where there are
/// tools, others not where they must call one.
pub(super) fn must_not_think(target: &Target<'_>, request: &ChatRequest) -> bool {
    request.brings_tools() && not_beside_tools(target) || thinks_by_itself(target) && request.must_call()
}

/// Whether `target` thinks, and refuses to where there are tools.
pub(crate) fn not_beside_tools(target: &Target<'_>) -> bool {
    thinks(target) && target.refuses(Refusal::ThinkingWithTools)
}

/// Whether `target` knows where its prompt cache is to end by a mark (`prompt_cache_breakpoint`). OpenAI's older models
/// refuse it; the newest, which know it, are those that are asked in Responses where they have tools.
pub(crate) fn knows_breakpoints(target: &Target<'_>) -> bool {
    target.quirks.responses && not_beside_tools(target)
}

/// Whether `target` thinks unless the field `thinking` says not to. While it thinks, it refuses forced calls.
fn thinks_by_itself(target: &Target<'_>) -> bool {
    target.quirks.thinking && target.reasoning && !target.refuses(Refusal::NoThinking)
}

fn effort_of(request: &ChatRequest) -> Option<Effort> {
    request.reasoning.as_ref()?.effort
}

/// Changes what `target` would refuse in `body`; losses are noted in `dropped`.
pub(crate) fn adapt(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    let quirks = target.quirks;
    for field in [MaxTokensField::MaxCompletionTokens, MaxTokensField::MaxTokens] {
        target.cap(body, field.as_str(), dropped);
    }
    if target.refuses(Refusal::Sampling) {
        let lost = SAMPLING.into_iter().filter(|field| body.shift_remove(*field).is_some());
        dropped.extend(lost.map(str::to_owned));
    }
    reasoning_in_own_field(target, body, dropped);
    adapt_effort(target, body, dropped);
    if !quirks.parallel_tool_calls && body.shift_remove("parallel_tool_calls").is_some() {
        dropped.push("parallel_tool_calls".into());
    }
    let left_out = quirks.leave_out.iter().filter(|field| body.shift_remove(field.as_str()).is_some());
    dropped.extend(left_out.cloned());
    if !quirks.extra_fields {
        remove_extras(body, quirks.thought_signatures, dropped);
    }
    let schema = if quirks.json_schema { None } else { take_schema(body) };
    let may_call = brings(body, "tools") && body.get("tool_choice").is_none_or(|choice| choice != "none");
    let Some(turns) = body.get_mut("messages").and_then(Value::as_array_mut) else { return };
    for (index, turn) in turns.iter_mut().enumerate() {
        if quirks.developer_role == Some(false) && turn["role"] == "developer" {
            turn["role"] = json!("system");
        }
        if !quirks.null_content && turn["content"].is_null() {
            turn["content"] = json!("");
        }
        if !quirks.reasoning_content && remove_reasoning(turn) {
            dropped.push(format!("messages[{index}].thinking"));
        }
        if wants_reasoning(target) && turn["reasoning_content"].as_str().is_none_or(str::is_empty) && has_calls(turn)
        {
            // Another model made the call, and its reasoning is not known.
            turn["reasoning_content"] = json!(UNKNOWN_REASONING);
        }
        if quirks.thought_signatures {
            sign_calls(turn);
        }
        if let Some(most) = quirks.longest_call_id {
            shorten_ids(turn, most);
        }
    }
    if let Some(schema) = schema {
        dropped.push("response_format.json_schema".into());
        say_behind_the_question(turns, in_words(&schema, may_call));
    }
}

/// Says in OpenAI's field how much to think, where the provider refuses the field in which the client said it.
fn reasoning_in_own_field(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    for field in ROUTERS_REASONING.into_iter().filter(|field| target.quirks.leave_out.contains(*field)) {
        let Some(asked) = body.get(field).and_then(reasoning_of) else { continue };
        if body.shift_remove(field).is_some_and(|field| excludes_thoughts(&field)) {
            dropped.push(EXCLUSION.into());
        }
        if let Some(effort) = effort_for(&asked) {
            body.entry("reasoning_effort").or_insert_with(|| json!(effort_text(effort)));
        }
    }
}

fn brings(body: &Map<String, Value>, tools: &str) -> bool {
    body.get(tools).and_then(Value::as_array).is_some_and(|tools| !tools.is_empty())
}

/// Says how much to think in the form that the model understands.
fn adapt_effort(target: &Target<'_>, body: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    let tools = brings(body, "tools") || brings(body, "functions");
    let off = target.reasoning && body.get("reasoning_effort") == Some(&json!("none"));
    let choice = body.get("tool_choice").and_then(messages::decode_choice);
    let forced = choice.is_some_and(|choice| choice.demands_call());
    let asked = if forced && thinks_by_itself(target) {
        let thinking = body.insert("thinking".into(), json!({ "type": "disabled" }));
        let asked = thinking.and_then(|mut thinking| Some(thinking.get_mut("type")?.take()));
        body.shift_remove("reasoning_effort").or(asked).filter(|asked| *asked != "none" && *asked != "disabled")
    } else if off && target.refuses(Refusal::NoThinking) {
        body.shift_remove("reasoning_effort")
    } else if off && target.quirks.thinking {
        body.shift_remove("reasoning_effort");
        body.entry("thinking").or_insert_with(|| json!({ "type": "disabled" }));
        None
    } else if !thinks(target) {
        body.shift_remove("reasoning_effort")
    } else if tools && target.refuses(Refusal::ThinkingWithTools) {
        body.insert("reasoning_effort".into(), json!("none")).filter(|asked| asked.is_string() && asked != "none")
    } else {
        let least = body.get_mut("reasoning_effort").filter(|effort| **effort == "minimal");
        if let Some(effort) = least.filter(|_| target.refuses(Refusal::MinimalThinking)) {
            *effort = json!("low");
        }
        None
    };
    // A model that cannot think loses nothing with `none`.
    if asked.is_some_and(|asked| !asked.is_null() && (target.reasoning || asked != "none")) {
        dropped.push("reasoning".into());
    }
}

fn has_calls(turn: &Value) -> bool {
    turn["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty())
}

/// Gives a turn's calls a signature if they have none. Of calls that were made at once, Gemini signs the first.
fn sign_calls(turn: &mut Value) {
    let Some(calls) = turn.get_mut("tool_calls").and_then(Value::as_array_mut) else { return };
    let signed = |call: &Value| call.pointer("/extra_content/google/thought_signature").is_some_and(Value::is_string);
    if calls.iter().any(signed) {
        return;
    }
    if let Some(first) = calls.first_mut().and_then(Value::as_object_mut) {
        let signature = json!({ "google": { "thought_signature": UNKNOWN_SIGNATURE } });
        first.insert("extra_content".into(), signature);
    }
}

/// What stands for a call's id that is longer than `most` characters.
pub(crate) fn short_id(id: &str, most: usize) -> Option<String> {
    is_longer(id, most).then(|| hashed(id).chars().take(most).collect())
}

/// Replaces call ids that are longer than `most` characters, in calls and results alike.
fn shorten_ids(turn: &mut Value, most: usize) {
    let shorten = |id: &mut Value| {
        if let Some(short) = id.as_str().and_then(|id| short_id(id, most)) {
            *id = Value::String(short);
        }
    };
    turn.get_mut("tool_call_id").into_iter().for_each(shorten);
    let calls = turn.get_mut("tool_calls").and_then(Value::as_array_mut);
    calls.into_iter().flatten().filter_map(|call| call.get_mut("id")).for_each(shorten);
}

/// Takes the schema out of `response_format`, which then asks for any JSON object.
fn take_schema(body: &mut Map<String, Value>) -> Option<Value> {
    let format = body.get_mut("response_format").filter(|format| format["type"] == "json_schema")?;
    let schema = format.pointer_mut("/json_schema/schema").map_or_else(|| json!({}), Value::take);
    *format = json!({ "type": "json_object" });
    Some(schema)
}

/// The schema as an instruction. It must hold the word JSON, or vendors refuse `json_object`. It is the last that the
/// model hears, also between the calls of a loop, which it is not to end early.
fn in_words(schema: &Value, may_call: bool) -> String {
    let answer = if may_call { "When you answer instead of calling a function, answer" } else { "Answer" };
    format!("{answer} with one JSON object and nothing else. It must match this JSON Schema:\n{schema}")
}

/// Says this as the user, behind the question or the results of tools: the vendor's prompt cache has what stands before,
/// and agents often ask for a schema at their last step only. Instructions would not do, whose place is before all turns.
fn say_behind_the_question(turns: &mut Vec<Value>, words: String) {
    let behind = turns.iter().rposition(|turn| turn["role"] != "assistant").map_or(0, |last| last + 1);
    match behind.checked_sub(1).map(|last| &mut turns[last]).filter(|turn| turn["role"] == "user") {
        Some(Value::Object(turn)) => match turn.get_mut("content") {
            Some(Value::Array(parts)) => parts.push(json!({ "type": "text", "text": words })),
            Some(Value::String(text)) => *text = format!("{text}\n\n{words}"),
            _ => drop(turn.insert("content".into(), words.into())),
        },
        _ => turns.insert(behind, json!({ "role": "user", "content": words })),
    }
}

/// Removes a turn's reasoning, for which OpenAI has no field. Returns whether there was any.
fn remove_reasoning(turn: &mut Value) -> bool {
    let Some(turn) = turn.as_object_mut() else { return false };
    let taken = ["reasoning_content", "reasoning"].map(|field| turn.shift_remove(field));
    taken.iter().flatten().any(Value::is_string)
}

/// Removes what clients write for other vendors ([`EXTRA`]), but for signatures that this one wants back. What a tool's
/// schema or a call's arguments hold is theirs.
fn remove_extras(body: &mut Map<String, Value>, keeps_signatures: bool, dropped: &mut Vec<String>) {
    fn list<'a>(object: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = (usize, &'a mut Value)> {
        object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
    }
    let mut remove = |object: &mut Map<String, Value>, place: &dyn Fn() -> String| {
        let refused = EXTRA.into_iter().filter(|field| !(keeps_signatures && *field == "extra_content"));
        let taken = refused.filter(|field| object.shift_remove(*field).is_some_and(|value| !value.is_null()));
        dropped.extend(taken.map(|field| format!("{}{field}", place())));
    };
    let mut remove_from = |entry: &mut Value, place: &dyn Fn() -> String| {
        let Some(entry) = entry.as_object_mut() else { return };
        remove(entry, place);
        if let Some(function) = entry.get_mut("function").and_then(Value::as_object_mut) {
            remove(function, place);
        }
    };
    for (_, tool) in list(body, "tools") {
        remove_from(tool, &|| "tools[].".into());
    }
    for (index, turn) in list(body, "messages") {
        remove_from(turn, &|| format!("messages[{index}]."));
        let Some(turn) = turn.as_object_mut() else { continue };
        for key in ["content", "tool_calls"] {
            for (at, entry) in list(turn, key) {
                remove_from(entry, &|| format!("messages[{index}].{key}[{at}]."));
            }
        }
    }
    remove(body, &String::new);
}
