//! Anthropic's request <-> [`ChatRequest`].
//!
//! Reading: `system` becomes a first turn, blocks become parts, unknown fields go to `leftovers` and `extensions`.
//! Writing: turns alternate, tool results stand first in theirs, and [`adapt`] then leaves out what the model refuses.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::documents::{Pdf, is_shown};
use super::super::ids::plain_user;
use super::super::json::{Object, missing, not_a_count, unknown_value};
use super::super::obstacles;
use super::super::openai_chat::request::{effort_of, note_exclusion};
use super::super::openai_chat::schemas::can_be_strict;
use super::super::{Encoded, Target, raw};
use super::blocks::is_blank;
use super::ids::Ids;
use super::{adapt, blocks, forced, is_signed, markers, schemas};
use crate::protocol::{
    ApiError, CacheWish, ChatRequest, Dialect, Effort, ImageSource, Message, Part, Reasoning, ResponseFormat, Role,
    Sampling, Tool, ToolChoice,
};

/// The path to the arguments of calls, which are written as they stand, see [`raw`].
pub(crate) const INPUTS: &[&str] = &["messages", "content", "input"];

/// `max_tokens`, which the dialect requires, where neither the client nor the configuration says one.
const DEFAULT_MAX_TOKENS: u32 = 8192;

/// Reads a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut fields = Object::parse(body)?;
    let values = fields.messages()?;
    let mut leftovers = Map::new();
    let mut messages = Vec::with_capacity(values.len() + 1);
    if let Some(system) = fields.take("system") {
        let mut parts = blocks::decode(system, "system", &mut leftovers)?;
        parts.retain(|part| !is_billing(part));
        if !parts.is_empty() {
            messages.push(Message { role: Role::System, parts, name: None });
        }
    }
    let system_apart = !messages.is_empty();
    let have_fractions: Vec<bool> = values.iter().map(calls_with_fractions).collect();
    for (index, value) in values.into_iter().enumerate() {
        messages.push(turn(Object::of(value, format!("messages[{index}]"))?, &mut leftovers)?);
    }
    if have_fractions.contains(&true) {
        keep_arguments(body, &mut messages[usize::from(system_apart)..], &have_fractions);
    }
    let max_tokens = fields.count("max_tokens")?;
    let lacks = if fields.peek("max_tokens").is_some() { not_a_count } else { missing };
    let max_tokens = max_tokens.ok_or_else(|| lacks("max_tokens"))?;
    let (tools, server_tools) = tools(fields.array("tools")?.unwrap_or_default(), &mut leftovers)?;
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut fields, &mut leftovers)?;
    let (reasoning, response_format) = output(&mut fields, &mut leftovers)?;
    note_exclusion(&fields, &mut leftovers);
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let mut request = ChatRequest {
        model: fields.string("model")?.unwrap_or_default(),
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        max_tokens: Some(max_tokens),
        sampling: Sampling {
            temperature: fields.number("temperature")?,
            top_p: fields.number("top_p")?,
            top_k: fields.count("top_k")?,
            stop: fields.strings("stop_sequences")?,
            ..Sampling::default()
        },
        reasoning,
        stream,
        stream_usage: stream,
        user: user(&mut fields, &mut leftovers)?,
        routing: Default::default(),
        extensions: Map::new(),
        leftovers,
        items: Vec::new(),
        system_apart,
        answers_are_whole: false,
    };
    request.extensions = fields.rest();
    if !server_tools.is_empty() {
        request.extensions.insert("tools".into(), Value::Array(server_tools));
    }
    Ok(request)
}

fn turn(mut fields: Object, leftovers: &mut Map<String, Value>) -> Result<Message, ApiError> {
    let role = match fields.need_string("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(unknown_value(&fields.at("role"), "user, assistant")),
    };
    let path = fields.at("content");
    let content = fields.take("content").ok_or_else(|| missing(&path))?;
    let parts = blocks::decode(content, &path, leftovers)?;
    fields.leave(leftovers);
    Ok(Message { role, parts, name: None })
}

/// Whether a call in a turn has a number among its arguments that an `f64` may not hold.
fn calls_with_fractions(turn: &Value) -> bool {
    fn has_fraction(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64(),
            Value::Array(items) => items.iter().any(has_fraction),
            Value::Object(fields) => fields.values().any(has_fraction),
            _ => false,
        }
    }
    let mut blocks = turn["content"].as_array().into_iter().flatten();
    blocks.any(|block| block["type"] == "tool_use" && has_fraction(&block["input"]))
}

/// Gives the calls in `turns` their arguments as they stand in the body, where a turn is to `keep` them. The others stay
/// as they were sent before there was a fraction: what comes later must not change what a vendor has in its prompt cache.
fn keep_arguments(body: &[u8], turns: &mut [Message], keep: &[bool]) {
    let written = turns.iter_mut().zip(inputs(body)).zip(keep);
    for ((turn, inputs), _) in written.filter(|(_, keep)| **keep) {
        for (part, input) in turn.parts.iter_mut().zip(inputs) {
            if let (Part::ToolCall { arguments, .. }, Some(input)) = (part, input) {
                *arguments = input.get().to_owned();
            }
        }
    }
}

/// Makes texts of the calls' arguments in a parsed body, as they stand in its bytes, see [`raw`].
pub(crate) fn keep_inputs(body: &[u8], fields: &mut Map<String, Value>) {
    let turns = fields.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten();
    for (turn, inputs) in turns.zip(inputs(body)) {
        let blocks = turn.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten();
        for (block, input) in blocks.zip(inputs) {
            if let (Some(parsed), Some(input)) = (block.get_mut("input"), input) {
                *parsed = input.get().into();
            }
        }
    }
}

/// The `input` of each block in each turn, as it stands in the body. None where a field is written twice.
fn inputs(body: &[u8]) -> Vec<Vec<Option<&RawValue>>> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Vec<Turn<'a>>,
    }
    #[derive(Deserialize)]
    struct Turn<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(default, borrow)]
        input: Option<&'a RawValue>,
    }
    let turns = serde_json::from_slice::<Body<'_>>(body).map(|body| body.messages).unwrap_or_default();
    turns
        .into_iter()
        .map(|turn| serde_json::from_str::<Vec<Block<'_>>>(turn.content.get()).unwrap_or_default())
        .map(|blocks| blocks.into_iter().map(|block| block.input).collect())
        .collect()
}

/// Whether this is the billing note that Claude Code puts before the system prompt. The note is no instruction and
/// differs every time: kept, it would make each turn a new conversation and defeat other vendors' prompt caches.
fn is_billing(part: &Part) -> bool {
    matches!(part, Part::Text { text, .. } if text.starts_with("x-anthropic-billing-header:"))
}

/// Reads `tools`: the client's own, and those that the vendor runs itself, as written.
fn tools(values: Vec<Value>, leftovers: &mut Map<String, Value>) -> Result<(Vec<Tool>, Vec<Value>), ApiError> {
    let mut own = Vec::new();
    let mut server = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let mut fields = Object::of(value, format!("tools[{index}]"))?;
        let custom = fields.peek("type").is_none_or(|kind| kind == "custom");
        if !custom {
            server.push(fields.whole());
            continue;
        }
        let parameters = fields.schema("input_schema")?.ok_or_else(|| missing(&fields.at("input_schema")))?;
        // Anthropic allows optional properties in strict schemas, other vendors refuse them.
        let is_ours_alone = fields.peek("strict") == Some(&Value::Bool(true)) && !can_be_strict(&parameters);
        own.push(Tool {
            name: fields.need_string("name")?,
            description: fields.string("description")?,
            parameters,
            strict: if is_ours_alone { None } else { fields.boolean("strict")? },
            cache_control: fields.take("cache_control"),
        });
        fields.take("type");
        fields.leave(leftovers);
    }
    Ok((own, server))
}

fn tool_choice(
    fields: &mut Object,
    leftovers: &mut Map<String, Value>,
) -> Result<(Option<ToolChoice>, Option<bool>), ApiError> {
    if !is_known(fields.peek("tool_choice"), "type", &["auto", "any", "none", "tool"]) {
        return Ok((None, None));
    }
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok((None, None)) };
    let parallel = choice.boolean("disable_parallel_tool_use")?.map(|disabled| !disabled);
    let read = match choice.need_string("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.need_string("name")?),
        _ => return Err(unknown_value("tool_choice.type", "auto, any, tool, none")),
    };
    choice.leave(leftovers);
    Ok((Some(read), parallel))
}

/// Whether the value of `key` in a field is one of `words`, or absent. A field with a newer value is kept as written.
fn is_known(field: Option<&Value>, key: &str, words: &[&str]) -> bool {
    field.and_then(|field| field.get(key)).is_none_or(|word| word.as_str().is_some_and(|word| words.contains(&word)))
}

/// Reads `thinking`, and `output_config` with its effort and format.
fn output(
    fields: &mut Object,
    leftovers: &mut Map<String, Value>,
) -> Result<(Option<Reasoning>, Option<ResponseFormat>), ApiError> {
    let mut reasoning: Option<Reasoning> = None;
    if is_known(fields.peek("thinking"), "type", &["enabled", "adaptive", "between_tools", "disabled"])
        && let Some(mut thinking) = fields.object("thinking")?
    {
        let reasoning = reasoning.get_or_insert_default();
        match thinking.need_string("type")?.as_str() {
            "enabled" => {
                reasoning.enabled = Some(true);
                reasoning.budget_tokens = thinking.count("budget_tokens")?;
            }
            "adaptive" | "between_tools" => reasoning.enabled = Some(true),
            "disabled" => reasoning.enabled = Some(false),
            _ => return Err(unknown_value("thinking.type", "enabled, adaptive, between_tools, disabled")),
        }
        thinking.leave(leftovers);
    }
    let mut format = fields.object("output_format")?;
    let effort = fields.peek("output_config").and_then(|output| output.get("effort"));
    if effort.is_none_or(|effort| effort.is_null() || effort_of(effort).is_some())
        && let Some(mut output) = fields.object("output_config")?
    {
        if let Some(effort) = output.understood("effort", effort_of) {
            reasoning.get_or_insert_default().effort = Some(effort);
        }
        format = output.object("format")?.or(format);
        output.leave(leftovers);
    }
    let Some(mut format) = format else { return Ok((reasoning, None)) };
    let schema = format.schema("schema")?.ok_or_else(|| missing("output_config.format.schema"))?;
    format.take("type");
    format.leave(leftovers);
    // Anthropic enforces every schema.
    let format = ResponseFormat::JsonSchema { name: "answer".into(), schema, strict: Some(true), implied: true };
    Ok((reasoning, Some(format)))
}

fn user(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Option<String>, ApiError> {
    let Some(mut metadata) = fields.object("metadata")? else { return Ok(None) };
    let user = metadata.string("user_id");
    metadata.leave(leftovers);
    user
}

/// The first part or field that Anthropic's dialect cannot say although its loss would change the meaning.
pub(crate) fn obstacle(client: Dialect, request: &ChatRequest) -> Option<String> {
    // Blank texts and unsigned thinking are left out.
    let unsaid = |part: &Part| match part {
        Part::Text { text, .. } | Part::Refusal { text } => is_blank(text),
        Part::Thinking { .. } => !is_signed(part),
        _ => false,
    };
    if request.messages.iter().all(|message| message.parts.iter().all(unsaid)) {
        return Some("messages (all of them are empty)".into());
    }
    // The dialect has no blank stop strings, such as a line break.
    let stops = &request.sampling.stop;
    if stops.iter().all(|stop| is_blank(stop)) && !stops.concat().is_empty() {
        return Some("stop (blanks alone)".into());
    }
    if let Some(ResponseFormat::JsonSchema { schema, .. }) = &request.response_format
        && let Some(unheld) = schemas::unheld(schema)
    {
        return Some(format!("response_format.json_schema ({unheld})"));
    }
    let refused = |part: &Part| match part {
        Part::Image { source: ImageSource::Url(url), .. } if !url.starts_with("https://") => {
            Some("an image by a URL that is not https".to_owned())
        }
        Part::Foreign { kind, value } if !blocks::is_ours(kind, value) && Pdf::of(kind, value).is_none() => {
            Some(kind.clone())
        }
        _ => None,
    };
    obstacles::refused_part(client, request, refused)
        .or_else(|| obstacles::untranslatable_extension(request, Dialect::Anthropic))
}

/// Writes a request. A call that the model refuses to be made to make is asked for otherwise, see [`forced`].
pub(crate) fn encode(target: &Target<'_>, request: &ChatRequest) -> Result<Encoded, ApiError> {
    let request = &*naming_called_tools(request);
    if !forced::is_needed(target, request) {
        return write(target, request, None);
    }
    let (asked, last_words) = forced::asked_otherwise(request);
    let mut encoded = write(target, &asked, Some(&last_words))?;
    forced::name_losses(request, &mut encoded.dropped);
    Ok(encoded)
}

/// The request, which names the tools that were called where it brings none, and forbids to call them. Agents leave them out
/// of a last request, for an answer in words; Claude refuses calls and results without tools.
fn naming_called_tools(request: &ChatRequest) -> Cow<'_, ChatRequest> {
    let parts = || request.messages.iter().flat_map(|message| &message.parts);
    let called: BTreeSet<&String> = parts()
        .filter_map(|part| match part {
            Part::ToolCall { name, .. } => Some(name),
            _ => None,
        })
        .collect();
    if !request.tools.is_empty() || called.is_empty() {
        return Cow::Borrowed(request);
    }
    let tools = called.into_iter().map(|name| Tool::new(name, json!({ "type": "object" }))).collect();
    Cow::Owned(ChatRequest { tools, tool_choice: Some(ToolChoice::None), ..request.clone() })
}

fn write(target: &Target<'_>, request: &ChatRequest, last_words: Option<&str>) -> Result<Encoded, ApiError> {
    let mut dropped: Vec<String> = request.leftovers.keys().cloned().collect();
    let mut out = Map::new();
    out.insert("model".into(), json!(target.model));
    let most = match request.max_tokens {
        Some(wanted) => target.answer_tokens(wanted, &mut dropped),
        None => target.max_output_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
    };
    out.insert("max_tokens".into(), json!(most));
    let mut system = system(request, &mut dropped);
    let mut turns = turns(&request.messages, &mut dropped);
    if turns.is_empty() {
        // Instructions alone are a valid conversation elsewhere; here they become the user's turn.
        turns.push(encode_turn(Role::User, &std::mem::take(&mut system)));
    } else if turns[0]["role"] == "assistant" {
        // The first turn must be the user's.
        turns.insert(0, json!({ "role": "user", "content": "." }));
    }
    if !system.is_empty() {
        out.insert("system".into(), Value::Array(system));
    }
    out.insert("messages".into(), Value::Array(turns));
    if !request.tools.is_empty() {
        out.insert("tools".into(), request.tools.iter().map(|known| tool(known, &mut dropped)).collect());
    }
    if let Some(choice) = choice(request) {
        out.insert("tool_choice".into(), choice);
    }
    encode_output(target, request, &mut out, &mut dropped);
    encode_sampling(&request.sampling, &mut out, &mut dropped);
    if let Some(user) = &request.user {
        out.insert("metadata".into(), json!({ "user_id": plain_user(user) }));
    }
    if request.stream {
        out.insert("stream".into(), json!(true));
    }
    // A field of this dialect, also where clients of another send it.
    let marker = request.extensions.get("cache_control");
    out.extend(marker.map(|marker| ("cache_control".to_owned(), marker.clone())));
    let lost = |key: &&String| obstacles::is_harmless(Dialect::Anthropic, key) && *key != "cache_control";
    dropped.extend(request.extensions.keys().filter(lost).cloned());
    adapt::adapt(target, &mut out, &mut dropped);
    if target.quirks.cache_markers && request.cache_wish() == CacheWish::Unsaid {
        markers::set(&mut out);
    }
    if let (Some(words), Some(turns)) = (last_words, out.get_mut("messages").and_then(Value::as_array_mut)) {
        forced::say_last(turns, words);
    }
    Ok(Encoded { body: raw::write(&Value::Object(out), INPUTS), dropped })
}

/// How many turns come before the first answer. Only instructions among them go into `system`: those that come later would
/// change the beginning of the prompt, and with it the vendor's cache, and the thoughts that are bound to what was said
/// before them, would be lost. And the last ones say what is to be done next.
fn before_first_answer(messages: &[Message]) -> usize {
    messages.iter().position(|message| message.role == Role::Assistant).unwrap_or(messages.len())
}

/// The blocks of system and developer turns [before the first answer](before_first_answer), in order.
fn system(request: &ChatRequest, dropped: &mut Vec<String>) -> Vec<Value> {
    let mut system = Vec::new();
    let before = &request.messages[..before_first_answer(&request.messages)];
    for (index, message) in before.iter().enumerate().filter(|(_, message)| message.role.is_instruction()) {
        note_name(index, message, dropped);
        let words: Vec<Part> = message.parts.iter().filter(|part| !is_shown(part)).cloned().collect();
        system.extend(blocks::encode(&words, "system", dropped));
    }
    if request.response_format == Some(ResponseFormat::JsonObject) {
        // The dialect knows only schemas; "any object" has to be said in words.
        system.push(json!({ "type": "text", "text": "Answer with one JSON object and nothing else." }));
    }
    system
}

/// Notes that the name of who speaks is lost.
fn note_name(index: usize, message: &Message, dropped: &mut Vec<String>) {
    if message.name.is_some() {
        dropped.push(format!("messages[{index}].name"));
    }
}

/// The other turns, alternating: neighbours of the same role are merged, and tool results stand first in their turn.
/// [Later](before_first_answer) instructions are the user's, and so is what others show: `system` takes only words.
fn turns(messages: &[Message], dropped: &mut Vec<String>) -> Vec<Value> {
    let mut merged: Vec<(Role, Vec<Value>)> = Vec::new();
    let mut ids = Ids::default();
    let before = before_first_answer(messages);
    for (index, message) in messages.iter().enumerate() {
        let role = if message.role.is_instruction() { Role::User } else { message.role };
        let path = format!("messages[{index}]");
        let mut parts = message.parts.clone();
        if index < before && message.role.is_instruction() {
            parts.retain(is_shown);
        } else {
            note_name(index, message, dropped);
        }
        parts.iter_mut().for_each(|part| ids.fit(part));
        let blocks = blocks::encode(&parts, &path, dropped);
        match merged.last_mut() {
            // An empty turn does not keep its neighbours apart.
            _ if blocks.is_empty() => {}
            Some((last, known)) if *last == role => known.extend(blocks),
            _ => merged.push((role, blocks)),
        }
    }
    for (_, blocks) in merged.iter_mut().filter(|(role, _)| *role == Role::User) {
        blocks.sort_by_key(|block| block["type"] != "tool_result");
    }
    if let Some((Role::Assistant, blocks)) = merged.last_mut() {
        trim(blocks);
    }
    merged.iter().map(|(role, blocks)| encode_turn(*role, blocks)).collect()
}

/// Trims the end of a prefill, which may not end with a blank.
fn trim(blocks: &mut [Value]) {
    if let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
}

fn encode_turn(role: Role, blocks: &[Value]) -> Value {
    let role = if role == Role::Assistant { "assistant" } else { "user" };
    // One text alone stays a string, as most clients write it.
    match blocks {
        [only] if only["type"] == "text" && only.get("cache_control").is_none() => {
            json!({ "role": role, "content": only["text"] })
        }
        _ => json!({ "role": role, "content": blocks }),
    }
}

fn tool(tool: &Tool, dropped: &mut Vec<String>) -> Value {
    let mut note = |field: &str| {
        if !dropped.iter().any(|noted| noted == field) {
            dropped.push(field.to_owned());
        }
    };
    let (schema, lost) = schemas::of_arguments(&tool.parameters);
    if lost {
        note("tools[].parameters");
    }
    let mut out = json!({ "name": tool.name, "input_schema": schema });
    if let Some(description) = &tool.description {
        out["description"] = json!(description);
    }
    // Strict schemas have many conditions here, and only a few tools may have them.
    if tool.strict == Some(true) {
        note("tools[].strict");
    }
    if let Some(marker) = &tool.cache_control {
        out["cache_control"] = marker.clone();
    }
    out
}

fn choice(request: &ChatRequest) -> Option<Value> {
    if request.tools.is_empty() {
        return None;
    }
    let serial = request.parallel_tool_calls == Some(false);
    let mut choice = match &request.tool_choice {
        None if serial => json!({ "type": "auto" }),
        None => return None,
        Some(ToolChoice::Auto) => json!({ "type": "auto" }),
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
        Some(ToolChoice::Required) => json!({ "type": "any" }),
        Some(ToolChoice::Named(name)) => json!({ "type": "tool", "name": name }),
    };
    if let Some(parallel) = request.parallel_tool_calls {
        choice["disable_parallel_tool_use"] = json!(!parallel);
    }
    Some(choice)
}

/// Writes the sampling parameters. With thinking none is allowed, and `temperature` excludes `top_p`.
fn encode_sampling(sampling: &Sampling, out: &mut Map<String, Value>, dropped: &mut Vec<String>) {
    let thinks = out.get("thinking").is_some_and(|thinking| thinking["type"] != "disabled");
    // Anthropic's scale ends at 1.
    let temperature = sampling.temperature.map(|wanted| wanted.clamp(0.0, 1.0));
    let wishes = [
        ("temperature", temperature.map(Value::from), !thinks),
        ("top_p", sampling.top_p.map(Value::from), !thinks && temperature.is_none()),
        ("top_k", sampling.top_k.map(Value::from), !thinks),
    ];
    for (field, wish, possible) in wishes {
        match wish {
            Some(value) if possible => {
                out.insert(field.into(), value);
            }
            Some(_) => dropped.push(field.to_owned()),
            None => {}
        }
    }
    if !thinks && sampling.temperature != temperature {
        dropped.push("temperature".into());
    }
    let stops: Vec<&String> = sampling.stop.iter().filter(|stop| !is_blank(stop)).collect();
    if stops.len() < sampling.stop.len() {
        dropped.push("stop".into());
    }
    if !stops.is_empty() {
        out.insert("stop_sequences".into(), json!(stops));
    }
    let lost = [
        ("seed", sampling.seed.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
        ("presence_penalty", sampling.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
    ];
    dropped.extend(lost.into_iter().filter(|(_, given)| *given).map(|(field, _)| field.to_owned()));
}

fn encode_output(
    target: &Target<'_>,
    request: &ChatRequest,
    out: &mut Map<String, Value>,
    dropped: &mut Vec<String>,
) {
    let mut config = Map::new();
    if let Some(reasoning) = &request.reasoning {
        // A demanded call and thinking exclude each other.
        if target.reasoning && (reasoning.is_off() || !request.must_call()) {
            encode_reasoning(reasoning, out, &mut config);
        } else if !reasoning.is_off() {
            dropped.push("reasoning".into());
        }
    }
    if let Some(ResponseFormat::JsonSchema { schema, .. }) = &request.response_format {
        let (schema, lost) = schemas::of_answer(schema);
        if lost {
            dropped.push("response_format.json_schema".into());
        }
        config.insert("format".into(), json!({ "type": "json_schema", "schema": schema }));
    }
    if !config.is_empty() {
        out.insert("output_config".into(), Value::Object(config));
    }
}

fn encode_reasoning(reasoning: &Reasoning, out: &mut Map<String, Value>, config: &mut Map<String, Value>) {
    if reasoning.is_off() {
        out.insert("thinking".into(), json!({ "type": "disabled" }));
        return;
    }
    match reasoning.budget_tokens {
        Some(budget) => {
            out.insert("thinking".into(), json!({ "type": "enabled", "budget_tokens": budget }));
        }
        None => {
            // Without `display` the newest models hide their reasoning.
            out.insert("thinking".into(), json!({ "type": "adaptive", "display": "summarized" }));
        }
    }
    if let Some(effort) = reasoning.effort {
        // There is no word for less.
        config.insert("effort".into(), json!(effort.max(Effort::Low).as_str()));
    }
}
