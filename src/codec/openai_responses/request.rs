//! The Responses request -> [`ChatRequest`].
//!
//! `input` is read by [`Turns`]; tools in namespaces get the names that other dialects know; fields that need something
//! stored are refused; fields that may be lost go to `leftovers`. What only OpenAI can do (tools that it runs itself, and
//! whatever is unknown here) goes to `extensions`, or is a foreign part: it keeps the request from all others.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::super::json::{Object, is_empty, missing, not_a_count, unknown_value, wrong_type};
use super::super::obstacles::vendors_tool;
use super::super::openai_chat::{messages, request as openai};
use super::input::{Turns, UNKNOWN};
use super::namespaces::{MAX_NAMESPACE_BYTES, joined};
use super::{SEALED_THOUGHTS, SUMMARIES, custom};
use crate::protocol::{ApiError, ChatRequest, Message, Reasoning, ResponseFormat, Role, Tool, ToolChoice};

/// Fields that need something stored or done later, and what to do instead.
const REFUSED: [(&str, &str); 4] = [
    ("previous_response_id", "Pointsman keeps no answers: send the whole conversation in `input`"),
    ("conversation", "Pointsman keeps no conversations: send the whole one in `input`"),
    ("prompt", "Pointsman keeps no prompts: send its text in `instructions` and `input`"),
    ("background", "Pointsman answers at once or not at all: leave `background` out, or stream"),
];

/// Fields of chat completions, and their names here.
const RENAMED: [(&str, &str); 5] = [
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
];

/// Fields that may be lost: they say how an answer is kept, billed or delivered, and ask for no other answer.
pub(super) const LOST: [&str; 12] = [
    "access_programs",
    "background_options",
    "client_metadata",
    "context_management",
    "image",
    "include",
    "max_tool_calls",
    "metadata",
    "prompt_cache_options",
    "store",
    "stream_options",
    "truncation",
];

/// Fields that hold whole numbers.
const COUNTS: [&str; 3] = ["max_output_tokens", "top_k", "seed"];

/// Reads a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut fields = Object::parse(body)?;
    refuse(&mut fields)?;
    let mut leftovers = Map::new();
    let mut turns = turns(&mut fields, &mut leftovers)?;
    let mut lists = vec![("tools".to_owned(), fields.array("tools")?.unwrap_or_default())];
    lists.append(&mut turns.tools);
    let (messages, items) = turns.in_order();
    lose(&mut fields, &mut leftovers);
    let mut inside = HashMap::new();
    let mut offered = Vec::new();
    let mut hosted = Vec::new();
    // The last list that offers each name.
    let mut last = HashMap::new();
    for (at, (path, list)) in lists.into_iter().enumerate() {
        let list = self::tools(list, &path, false, &mut inside, &mut hosted, &mut leftovers)?;
        refuse_clash(&list, &inside, &path)?;
        last.extend(list.iter().map(|tool| (tool.name.clone(), at)));
        offered.extend(list.into_iter().map(|tool| (at, tool)));
    }
    // A later list, as Codex sends with each turn, replaces tools of the same name.
    let kept = offered.into_iter().filter(|(at, tool)| last.get(&tool.name) == Some(at));
    let mut tools: Vec<Tool> = kept.map(|(_, tool)| tool).collect();
    // A tool of the bare name wins over one in a namespace.
    tools.iter().for_each(|tool| drop(inside.remove(&tool.name)));
    let choice = fields.take("tool_choice");
    let hosted_choice = choice.clone().filter(|choice| !hosted.is_empty() && is_hosted(choice));
    let choice = choice.filter(|_| hosted_choice.is_none());
    let tool_choice = choice.map(|choice| tool_choice(&choice, &mut tools, &inside, &hosted)).transpose()?;
    let (response_format, verbosity) = text(&mut fields, &mut leftovers)?;
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let mut request = ChatRequest {
        model: fields.string("model")?.unwrap_or_default(),
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?,
        response_format,
        max_tokens: fields.count("max_output_tokens")?,
        sampling: openai::sampling(&mut fields)?,
        reasoning: reasoning(&mut fields, &mut leftovers)?,
        stream,
        stream_usage: stream,
        user: user(&mut fields)?,
        routing: Default::default(),
        extensions: Map::new(),
        leftovers,
        items,
        system_apart: false,
        answers_are_whole: true,
    };
    if let Some(key) = COUNTS.iter().find(|key| fields.peek(key).is_some()) {
        return Err(not_a_count(key));
    }
    request.extensions = fields.rest();
    let hosted = (!hosted.is_empty()).then_some(Value::Array(hosted));
    let known = [("verbosity", verbosity), ("tools", hosted), ("tool_choice", hosted_choice)];
    request.extensions.extend(known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Ok(request)
}

/// Refuses fields that nothing here can serve, and names of another dialect.
fn refuse(fields: &mut Object) -> Result<(), ApiError> {
    for (field, told) in REFUSED {
        match fields.take(field) {
            None | Some(Value::Bool(false)) => {}
            Some(_) => return Err(ApiError::invalid(told).at(field)),
        }
    }
    for (other, own) in RENAMED {
        if fields.take(other).is_some() {
            return Err(ApiError::invalid(format!("`{other}` is called `{own}` here")).at(own));
        }
    }
    Ok(())
}

fn turns(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Turns, ApiError> {
    let mut turns = Turns::default();
    if let Some(text) = fields.string("instructions")?.filter(|text| !text.is_empty()) {
        turns.add(0, Message::text(Role::System, text));
    }
    let instructions = turns.messages.len();
    match fields.take("input") {
        Some(Value::String(text)) => turns.add(0, Message::text(Role::User, text)),
        Some(Value::Array(items)) => {
            for (index, item) in items.into_iter().enumerate() {
                turns.item(index, Object::of(item, format!("input[{index}]"))?, leftovers)?;
            }
        }
        Some(other) => return Err(wrong_type("input", "a string or an array of items", &other)),
        None => return Err(missing("input")),
    }
    if turns.messages.len() == instructions {
        return Err(ApiError::invalid("input must not be empty").at("input"));
    }
    Ok(turns)
}

/// Moves [`LOST`] fields to `leftovers` unless they ask only for what is done anyway.
fn lose(fields: &mut Object, leftovers: &mut Map<String, Value>) {
    let sealed = |wish: &Value| wish == SEALED_THOUGHTS;
    let is_done = |key: &str, value: &Value| match key {
        "store" => *value == false,
        "truncation" => value == "disabled",
        "stream_options" => value.get("include_obfuscation") == Some(&Value::Bool(false)),
        "include" => value.as_array().is_some_and(|wishes| wishes.iter().all(sealed)),
        _ => false,
    };
    for key in LOST {
        if let Some(value) = fields.take(key).filter(|value| !is_empty(value) && !is_done(key, value)) {
            leftovers.insert(key.into(), value);
        }
    }
}

/// Reads the tools in the list at `path`: functions, custom tools, and namespaces of both. For tools in namespaces
/// `inside` maps the bare name to the name in other dialects; of several the first counts. All others are `hosted`:
/// tools that OpenAI runs itself (web_search, file_search, code_interpreter, mcp...), or has trained its models
/// to use (computer, apply_patch...).
fn tools(
    values: Vec<Value>,
    path: &str,
    in_namespace: bool,
    inside: &mut HashMap<String, String>,
    hosted: &mut Vec<Value>,
    leftovers: &mut Map<String, Value>,
) -> Result<Vec<Tool>, ApiError> {
    let mut tools = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let mut fields = Object::of(value, format!("{path}[{index}]"))?;
        match fields.need_string("type")?.as_str() {
            "function" => tools.push(messages::function(&mut fields)?),
            "custom" => tools.push(custom::tool(&mut fields, leftovers)?),
            // Namespaces are not nested.
            "namespace" if !in_namespace => {
                let (namespace, path) = (fields.need_string("name")?, fields.at("tools"));
                if namespace.len() > MAX_NAMESPACE_BYTES {
                    let told = format!("a namespace's name has at most {MAX_NAMESPACE_BYTES} bytes");
                    return Err(ApiError::invalid(told).at(fields.at("name")));
                }
                let functions = fields.array("tools")?.unwrap_or_default();
                let mut functions = self::tools(functions, &path, true, inside, hosted, leftovers)?;
                for tool in &mut functions {
                    let called = joined(&namespace, &tool.name);
                    let name = std::mem::replace(&mut tool.name, called.clone());
                    inside.entry(name).or_insert(called);
                }
                tools.extend(functions);
            }
            kind => {
                let kind = vendors_tool(kind).unwrap_or(UNKNOWN);
                let mut tool = fields.whole();
                tool["type"] = kind.into();
                hosted.push(tool);
                continue;
            }
        }
        fields.leave(leftovers);
    }
    Ok(tools)
}

/// Refuses two functions that would have one name in other dialects: nobody could tell which of them is called. Without
/// namespaces that is the vendor's business.
fn refuse_clash(tools: &[Tool], inside: &HashMap<String, String>, path: &str) -> Result<(), ApiError> {
    let mut names = HashSet::new();
    match tools.iter().find(|tool| !names.insert(tool.name.as_str())) {
        Some(Tool { name, .. }) if !inside.is_empty() => {
            let told = format!(
                "two functions would have the name `{name}`, since a namespace is joined with the names of its \
                 functions: rename one of them"
            );
            Err(ApiError::invalid(told).at(path))
        }
        _ => Ok(()),
    }
}

/// Whether a `tool_choice` is of a tool that OpenAI runs itself.
fn is_hosted(choice: &Value) -> bool {
    choice["type"].as_str().is_some_and(|kind| !["function", "custom", "allowed_tools"].contains(&kind))
}

/// Reads `tool_choice`. A choice among some of the tools removes the others from `tools`.
fn tool_choice(
    value: &Value,
    tools: &mut Vec<Tool>,
    inside: &HashMap<String, String>,
    hosted: &[Value],
) -> Result<ToolChoice, ApiError> {
    let name = |value: &Value| chosen(value, inside);
    let choice = match value["type"].as_str() {
        Some("function" | "custom") => name(value).map(ToolChoice::Named),
        Some("allowed_tools") => {
            let allowed: HashSet<String> = value["tools"].as_array().into_iter().flatten().filter_map(name).collect();
            tools.retain(|tool| allowed.contains(&tool.name));
            if tools.is_empty() && hosted.is_empty() {
                return Err(ApiError::invalid("tool_choice.tools names none of the tools").at("tool_choice.tools"));
            }
            messages::decode_choice(&value["mode"])
        }
        _ => messages::decode_choice(value),
    };
    choice.ok_or_else(|| unknown_value("tool_choice", "auto, none, required, a function, allowed_tools"))
}

/// The name in other dialects of a chosen function; its namespace may be given or not.
fn chosen(value: &Value, inside: &HashMap<String, String>) -> Option<String> {
    let name = value["name"].as_str()?;
    match value["namespace"].as_str() {
        Some(namespace) => Some(joined(namespace, name)),
        None => Some(inside.get(name).map_or(name, String::as_str).to_owned()),
    }
}

/// Reads `text`: the format and the verbosity.
fn text(
    fields: &mut Object,
    leftovers: &mut Map<String, Value>,
) -> Result<(Option<ResponseFormat>, Option<Value>), ApiError> {
    let Some(mut text) = fields.object("text")? else { return Ok((None, None)) };
    let mut wanted = None;
    if let Some(mut format) = text.object("format")? {
        wanted = match format.need_string("type")?.as_str() {
            "text" => None,
            "json_object" => Some(ResponseFormat::JsonObject),
            "json_schema" => {
                // Nested as in chat completions they would be lost, and the answer would follow no schema.
                if let Some(absent) = ["name", "schema"].into_iter().find(|key| format.peek(key).is_none()) {
                    return Err(missing(&format.at(absent)));
                }
                Some(openai::json_schema(&mut format)?)
            }
            _ => return Err(unknown_value(&format.at("type"), "text, json_object, json_schema")),
        };
        format.leave(leftovers);
    }
    // `medium` is the default.
    let verbosity = text.take("verbosity").filter(|verbosity| verbosity != "medium");
    text.leave(leftovers);
    Ok((wanted, verbosity))
}

/// Reads `reasoning`. Wishes for a summary are dropped: clients always get one where there is any.
fn reasoning(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Option<Reasoning>, ApiError> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok(None) };
    let effort = reasoning.understood("effort", openai::effort_of);
    for told in SUMMARIES {
        reasoning.take(told);
    }
    reasoning.leave(leftovers);
    Ok(effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }))
}

/// The end user's id, under its older name or its newer one.
fn user(fields: &mut Object) -> Result<Option<String>, ApiError> {
    match fields.string("user")? {
        Some(user) => Ok(Some(user)),
        None => fields.string("safety_identifier"),
    }
}
