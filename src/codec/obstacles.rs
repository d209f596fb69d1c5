//! Obstacles: parts and fields of a request that a backend's dialect cannot say although their loss would change the
//! meaning. They are found before a backend is chosen, and named by the paths that the client knows them by.

use std::collections::BTreeSet;

use serde_json::Value;

use super::errors::cut;
use super::json::is_empty;
use crate::config::Quirks;
use crate::protocol::{ChatRequest, Dialect, Message, Part, Role};

/// The first part, tool results searched too, for which `refused` gives a reason: its path in the client's body and the
/// reason. The path is worked out only for that part, since it takes a walk over all turns before it.
pub(super) fn refused_part(
    client: Dialect,
    request: &ChatRequest,
    refused: impl Fn(&Part) -> Option<String>,
) -> Option<String> {
    let results = if client == Dialect::Responses { "output" } else { "content" };
    let mut turns = request.messages.iter().enumerate();
    turns.find_map(|(at, message)| {
        if client == Dialect::Responses && message.role == Role::Assistant {
            // Several items make one turn: which of them it was, is not known any more.
            return message.parts.iter().find_map(&refused).map(|what| format!("input ({})", short(&what)));
        }
        if client == Dialect::Anthropic || !message.parts.first().is_some_and(Part::is_tool_result) {
            return refused_among(&message.parts, &|| list(client, request, at), &refused);
        }
        message.parts.iter().enumerate().find_map(|(index, part)| match part {
            Part::ToolResult { content, .. } => {
                let place = || path(client, number(client, request, at) + index);
                refused_among(content, &|| format!("{}.{results}", place()), &refused)
            }
            _ => None,
        })
    })
}

/// The first call in a user's turn, or result in an assistant's, and its path. Anthropic's clients can write such, and no
/// other dialect can say it.
pub(super) fn misplaced(client: Dialect, request: &ChatRequest) -> Option<String> {
    if client != Dialect::Anthropic {
        return None;
    }
    request.messages.iter().enumerate().find_map(|(at, message)| {
        let misplaced = |part: &Part| match part {
            Part::ToolCall { .. } if message.role != Role::Assistant => Some("tool_use in another's turn"),
            Part::ToolResult { .. } if message.role != Role::User => Some("tool_result in another's turn"),
            _ => None,
        };
        let (index, what) =
            message.parts.iter().enumerate().find_map(|(index, part)| Some((index, misplaced(part)?)))?;
        Some(format!("{}[{index}] ({what})", list(client, request, at)))
    })
}

/// The path of a turn in the client's body. Its number may differ from the index here: Anthropic's instructions stand
/// in `system`, OpenAI has a turn for each tool result, and Responses has several items to a turn.
pub(super) fn path_of_turn(client: Dialect, request: &ChatRequest, at: usize) -> String {
    if is_apart(client, request, at) { SYSTEM.into() } else { path(client, number(client, request, at)) }
}

/// The path of the array that holds a turn's parts.
fn list(client: Dialect, request: &ChatRequest, at: usize) -> String {
    let place = path_of_turn(client, request, at);
    if is_apart(client, request, at) { place } else { format!("{place}.content") }
}

/// Anthropic's field for instructions.
const SYSTEM: &str = "system";

fn is_apart(client: Dialect, request: &ChatRequest, at: usize) -> bool {
    client == Dialect::Anthropic && request.system_apart && at == 0
}

/// A turn's index in the client's body.
fn number(client: Dialect, request: &ChatRequest, at: usize) -> usize {
    let messages = &request.messages;
    match client {
        Dialect::Anthropic => {
            return at.saturating_sub(request.system_apart.into());
        }
        Dialect::Responses => return request.items.get(at).copied().unwrap_or(at),
        Dialect::OpenAi | Dialect::Native | Dialect::Ollama => {}
    }
    let results =
        |message: &Message| message.parts.iter().filter(|part| part.is_tool_result()).count().saturating_sub(1);
    at + messages[..at].iter().map(results).sum::<usize>()
}

fn path(client: Dialect, number: usize) -> String {
    let list = if client == Dialect::Responses { "input" } else { "messages" };
    format!("{list}[{number}]")
}

/// The first refused part among `parts`, which stand in the array at the path `list`.
fn refused_among(
    parts: &[Part],
    list: &dyn Fn() -> String,
    refused: &impl Fn(&Part) -> Option<String>,
) -> Option<String> {
    parts.iter().enumerate().find_map(|(index, part)| match part {
        Part::ToolResult { content, .. } => {
            refused_among(content, &|| format!("{}[{index}].content", list()), refused)
        }
        _ => refused(part).map(|what| format!("{}[{index}] ({})", list(), short(&what))),
    })
}

/// Which backends may lose a field. Ollama may lose all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LostBy {
    OpenAi,
    Anthropic,
    Both,
}

/// Fields that may be lost in a translation: they say how an answer is kept, billed or drawn, and ask for no other
/// answer. A request that brings any other field goes only where that field is known.
const HARMLESS: [(&str, LostBy); 17] = [
    ("metadata", LostBy::Both),
    ("service_tier", LostBy::Both),
    ("cache_control", LostBy::Both),
    ("prompt_cache_key", LostBy::Both),
    ("prompt_cache_retention", LostBy::Both),
    ("safety_identifier", LostBy::Both),
    ("verbosity", LostBy::Both),
    ("betas", LostBy::OpenAi),
    ("container", LostBy::OpenAi),
    ("context_management", LostBy::OpenAi),
    ("diagnostics", LostBy::OpenAi),
    ("speed", LostBy::OpenAi),
    ("logit_bias", LostBy::Anthropic),
    ("prediction", LostBy::Anthropic),
    ("prompt_cache_options", LostBy::Anthropic),
    ("seed", LostBy::Anthropic),
    ("store", LostBy::Anthropic),
];

/// Fields of OpenRouter's and LiteLLM's clients that steer the router and ask for no other answer.
const ROUTERS: [&str; 11] = [
    "drop_params",
    "include_reasoning",
    "litellm_metadata",
    "litellm_session_id",
    "litellm_trace_id",
    "num_retries",
    "session_id",
    "tags",
    "timeout",
    "transforms",
    "usage",
];

/// Whether a field is one that steers another router and asks for no other answer.
pub(super) fn is_routers(field: &str) -> bool {
    ROUTERS.contains(&field)
}

/// Whether `backend` has a field under the name that clients of another dialect give it.
pub(super) fn is_known(backend: Dialect, field: &str, value: &Value) -> bool {
    match backend {
        Dialect::Ollama => field == "min_p" && value.is_number(),
        // Nothing is stored there in any case.
        Dialect::Responses => is_shared_by_responses(field, value) || field == "store" && *value == false,
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Native => false,
    }
}

/// Whether OpenAI's two dialects share a field.
pub(super) fn is_shared_by_responses(field: &str, value: &Value) -> bool {
    match field {
        "prompt_cache_key" | "prompt_cache_retention" | "prompt_cache_options" | "safety_identifier" => true,
        "metadata" => value.is_object(),
        // Anthropic's values: `auto` means something else here, and is the default.
        "service_tier" => value != "auto" && value != "standard_only",
        _ => false,
    }
}

/// Whether `backend` may lose a field that it does not know.
pub(super) fn is_harmless(backend: Dialect, field: &str) -> bool {
    if is_routers(field) {
        return true;
    }
    let found = HARMLESS.iter().find(|(name, _)| *name == field);
    found.is_some_and(|(_, lost_by)| match backend {
        Dialect::OpenAi | Dialect::Responses => *lost_by != LostBy::Anthropic,
        Dialect::Anthropic => *lost_by != LostBy::OpenAi,
        Dialect::Ollama => true,
        Dialect::Native => false,
    })
}

/// The first field of the client's dialect that `backend` may not lose and that asks for more than every model gives.
pub(super) fn untranslatable_extension(request: &ChatRequest, backend: Dialect) -> Option<String> {
    let (mut all, functions) = (request.extensions.iter(), request.extensions.get("functions"));
    let passes = |key: &str, value: &Value| is_known(backend, key, value) || is_default(functions, key, value);
    let (key, value) = all.find(|(key, value)| !is_harmless(backend, key) && !passes(key, value))?;
    let tool = value[0]["type"].as_str().filter(|_| key == "tools").and_then(vendors_tool);
    Some(tool.map_or_else(|| short(key), |tool| format!("tools ({tool})")))
}

/// What tools are called that a vendor runs itself, or has trained its models to use.
const VENDORS_TOOLS: [&str; 17] = [
    "apply_patch",
    "bash",
    "code_execution",
    "code_interpreter",
    "compaction",
    "computer",
    "custom",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "memory",
    "shell",
    "text_editor",
    "tool_search",
    "web_fetch",
    "web_search",
];

/// The vendor's tool that a type of tools or items is of (`web_search_20260318`, `web_search_call`). Any other word is the
/// client's own, and is not repeated.
pub(super) fn vendors_tool(kind: &str) -> Option<&'static str> {
    let is_of = |tool: &str| kind.strip_prefix(tool).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    VENDORS_TOOLS.into_iter().find(|tool| is_of(tool))
}

/// The first field of the client's dialect that is among those a provider `cannot` take and that asks for more than
/// every model gives.
pub(super) fn refused_extension(request: &ChatRequest, cannot: &BTreeSet<String>) -> Option<String> {
    let (mut all, functions) = (request.extensions.iter(), request.extensions.get("functions"));
    all.find(|(key, value)| cannot.contains(*key) && !is_default(functions, key, value)).map(|(key, _)| short(key))
}

/// The field of which a request holds more than a provider takes.
pub(super) fn too_many(client: Dialect, quirks: &Quirks, request: &ChatRequest) -> Option<String> {
    let others = request.extensions.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
    let tools = request.tools.len() + others;
    if let Some(most) = quirks.most_tools.filter(|most| tools > *most) {
        return Some(format!("tools (more than {most})"));
    }
    let stops = request.sampling.stop.len();
    let most_stops = quirks.most_stops.or((client != Dialect::OpenAi).then_some(MOST_STOPS));
    most_stops.filter(|most| stops > *most).map(|_| stop_field(client).to_owned())
}

/// Stop strings that a translated request may have where nothing is known of the provider: OpenAI's own bound.
const MOST_STOPS: usize = 4;

/// The client's name for stop strings.
pub(super) fn stop_field(client: Dialect) -> &'static str {
    if client == Dialect::Anthropic { "stop_sequences" } else { "stop" }
}

/// A client's own word, cut: it is repeated for each model that is excluded, and kept in the decision log.
fn short(word: &str) -> String {
    cut(word, 64)
}

/// Whether a field asks for nothing but what every model gives: one choice of text, no probabilities; `functions` = the
/// request's own, in the older form of tools. -1 is how some servers say "no bound".
pub(super) fn is_default(functions: Option<&Value>, key: &str, value: &Value) -> bool {
    let empty = |value: &Value| !value.is_null() && is_empty(value);
    match key {
        "n" => value.as_f64() == Some(1.0),
        "logprobs" => value == false,
        "top_logprobs" => value == 0,
        "top_k" | "max_tokens" | "max_completion_tokens" => value == -1,
        // Even an empty object switches the search on.
        "web_search_options" => false,
        // Which thoughts to tell is no question to the model.
        "reasoning" => value.as_object().is_some_and(|asked| asked.keys().all(|key| key == "exclude")),
        "modalities" => *value == serde_json::json!(["text"]),
        // The older form of `tool_choice`, for `functions`.
        "function_call" => value.is_string() && functions.is_none_or(empty),
        _ => empty(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_steers_other_routers_is_what_openai_is_never_sent() {
        let config: Config = "".parse().unwrap();
        let mut left_out = config.providers["openai"].quirks.leave_out.clone();
        // How much to think is said in its own field instead.
        left_out.retain(|field| !["reasoning", "thinking"].contains(&field.as_str()));
        assert_eq!(left_out, ROUTERS.map(str::to_owned).into());
    }
}
