//! OpenAI's request <-> [`ChatRequest`].
//!
//! Reading: turns are read by [`messages`], unknown fields go to `leftovers` and `extensions`. Writing: [`adapt`] then
//! changes or leaves out what the provider or the model refuses.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::documents::{self, Pdf};
use super::super::ids::plain_user;
use super::super::json::{Object, unknown_value};
use super::super::obstacles;
use super::super::{Encoded, Target};
use super::{adapt, messages, schemas};
use crate::protocol::{ApiError, ChatRequest, Dialect, Effort, Part, Reasoning, ResponseFormat, Sampling};

/// Reads a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, ApiError> {
    let mut fields = Object::parse(body)?;
    if fields.peek("messages").is_none() && fields.peek("input").is_some() {
        // Some programs (Cursor) send it here.
        let what = "messages is missing, and there is `input`: such a body is for /v1/responses";
        return Err(ApiError::invalid(what).at("messages"));
    }
    let values = fields.messages()?;
    let (stream, stream_usage) = streaming(&mut fields)?;
    let mut leftovers = Map::new();
    note_exclusion(&fields, &mut leftovers);
    let reasoning = reasoning(&mut fields);
    let longest = fields.count("max_completion_tokens")?;
    let older = fields.count("max_tokens")?;
    let (tools, other_tools) = messages::decode_tools(fields.array("tools")?.unwrap_or_default(), &mut leftovers)?;
    let formats = |format: &Value| FORMATS.contains(&format["type"].as_str().unwrap_or_default());
    let knows_format = fields.peek("response_format").is_none_or(formats);
    let mut request = ChatRequest {
        model: fields.string("model")?.unwrap_or_default(),
        messages: messages::decode(values, &mut leftovers)?,
        tools,
        tool_choice: fields.understood("tool_choice", messages::decode_choice),
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?,
        response_format: if knows_format { response_format(&mut fields, &mut leftovers)? } else { None },
        max_tokens: longest.or(older),
        sampling: sampling(&mut fields)?,
        reasoning,
        stream,
        stream_usage,
        user: fields.string("user")?,
        routing: Default::default(),
        extensions: fields.rest(),
        leftovers,
        items: Vec::new(),
        system_apart: false,
        answers_are_whole: false,
    };
    if !other_tools.is_empty() {
        request.extensions.insert("tools".into(), Value::Array(other_tools));
    }
    Ok(request)
}

fn streaming(fields: &mut Object) -> Result<(bool, bool), ApiError> {
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let usage = match fields.object("stream_options")? {
        Some(mut options) => options.boolean("include_usage")?.unwrap_or(false),
        None => false,
    };
    Ok((stream, usage))
}

/// Reads how much to think: in OpenAI's field, in OpenRouter's, or in Anthropic's, which LiteLLM takes here, too.
fn reasoning(fields: &mut Object) -> Option<Reasoning> {
    let effort = fields.understood("reasoning_effort", effort_of);
    let [first, second] = ROUTERS_REASONING.map(|field| fields.understood(field, reasoning_of));
    let mut asked = first.or(second);
    if effort.is_some() {
        asked.get_or_insert_default().effort = effort;
    }
    asked
}

/// The wish of OpenRouter's clients to be told no thoughts, which is lost in a translation.
pub(crate) const EXCLUSION: &str = "reasoning.exclude";

/// Notes that wish.
pub(crate) fn note_exclusion(fields: &Object, leftovers: &mut Map<String, Value>) {
    if fields.peek("reasoning").is_some_and(excludes_thoughts) {
        leftovers.insert(EXCLUSION.into(), true.into());
    }
}

pub(super) fn excludes_thoughts(reasoning: &Value) -> bool {
    reasoning["exclude"] == true
}

/// OpenRouter's and Anthropic's fields that say how much to think.
pub(super) const ROUTERS_REASONING: [&str; 2] = ["reasoning", "thinking"];

/// Reads one of [`ROUTERS_REASONING`]; `None` = it asks for something else. Always says whether to think at all, which
/// tells the wish from one in OpenAI's field.
pub(super) fn reasoning_of(value: &Value) -> Option<Reasoning> {
    let tokens = |key: &str| value[key].as_u64().and_then(|tokens| u32::try_from(tokens).ok());
    let effort = effort_of(&value["effort"]);
    let budget_tokens = tokens("max_tokens").or_else(|| tokens("budget_tokens"));
    let enabled = match (&value["enabled"], value["type"].as_str()) {
        (Value::Bool(enabled), _) => *enabled,
        (_, Some("disabled")) => false,
        (_, Some("enabled" | "adaptive")) => true,
        _ => effort.map(|effort| effort != Effort::None).or(budget_tokens.map(|_| true))?,
    };
    Some(Reasoning { effort, budget_tokens, enabled: Some(enabled) })
}

/// Reads the sampling fields, which the native dialect shares.
pub(crate) fn sampling(fields: &mut Object) -> Result<Sampling, ApiError> {
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        stop: fields.strings("stop")?,
        seed: fields.integer("seed")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
    })
}

/// Writes the sampling parameters that OpenAI and Ollama have under the same names.
pub(crate) fn put_sampling(sampling: &Sampling, into: &mut Map<String, Value>) {
    let put = [
        ("temperature", sampling.temperature.map(Value::from)),
        ("top_p", sampling.top_p.map(Value::from)),
        ("seed", sampling.seed.map(Value::from)),
        ("frequency_penalty", sampling.frequency_penalty.map(Value::from)),
        ("presence_penalty", sampling.presence_penalty.map(Value::from)),
        ("stop", (!sampling.stop.is_empty()).then(|| Value::from(&*sampling.stop))),
    ];
    into.extend(put.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
}

/// Known types of `response_format`.
const FORMATS: [&str; 3] = ["text", "json_object", "json_schema"];

/// Reads `response_format`, which the native dialect shares.
pub(crate) fn response_format(
    fields: &mut Object,
    leftovers: &mut Map<String, Value>,
) -> Result<Option<ResponseFormat>, ApiError> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(None) };
    let read = match format.need_string("type")?.as_str() {
        "text" => None,
        // Some look-alikes take the schema here.
        "json_object" => Some(match format.take("schema").filter(Value::is_object) {
            Some(schema) => {
                ResponseFormat::JsonSchema { name: "answer".into(), schema, strict: None, implied: false }
            }
            None => ResponseFormat::JsonObject,
        }),
        "json_schema" => {
            let mut wanted = format.need_object("json_schema")?;
            let format = json_schema(&mut wanted)?;
            wanted.leave(leftovers);
            Some(format)
        }
        _ => return Err(unknown_value("response_format.type", &FORMATS.join(", "))),
    };
    format.leave(leftovers);
    Ok(read)
}

/// Reads a schema with its name, description and `strict`.
pub(crate) fn json_schema(wanted: &mut Object) -> Result<ResponseFormat, ApiError> {
    let mut schema = wanted.schema("schema")?.unwrap_or_else(|| json!({}));
    if let Some(what) = wanted.understood("description", |what| what.as_str().map(str::to_owned)) {
        describe(&mut schema, what);
    }
    let name = wanted.string("name")?.unwrap_or_else(|| "answer".into());
    Ok(ResponseFormat::JsonSchema { name, schema, strict: wanted.boolean("strict")?, implied: false })
}

/// Puts a schema's description into the schema: not every dialect has a field beside it.
fn describe(schema: &mut Value, what: String) {
    let Some(fields) = schema.as_object_mut() else { return };
    let own = fields.get("description").and_then(Value::as_str);
    let both = own.map_or(what.clone(), |own| format!("{what} {own}"));
    fields.insert("description".into(), both.into());
}

/// Reads an effort, in OpenAI's or Anthropic's words; `None` = an unknown word.
pub(crate) fn effort_of(value: &Value) -> Option<Effort> {
    Effort::from_name(value.as_str()?)
}

/// An effort in OpenAI's words.
pub(crate) fn effort_text(effort: Effort) -> &'static str {
    // It has no word for more.
    effort.min(Effort::XHigh).as_str()
}

/// The effort of a client's wish; `None` = thinking, as much as the model likes.
pub(crate) fn effort_for(reasoning: &Reasoning) -> Option<Effort> {
    if reasoning.is_off() {
        return Some(Effort::None);
    }
    reasoning.effort.or(reasoning.budget_tokens.map(|budget| effort_within(u64::from(budget))))
}

/// An effort in words for a budget in tokens, by the ranges of vendors' own defaults.
pub(crate) fn effort_within(budget_tokens: u64) -> Effort {
    match budget_tokens {
        0..=2048 => Effort::Low,
        2049..=12_288 => Effort::Medium,
        _ => Effort::High,
    }
}

/// The field that says how OpenAI's prompt cache is filled, in both of its dialects.
pub(crate) const CACHE_OPTIONS: &str = "prompt_cache_options";

/// Whether `target` takes an extension as it is: OpenAI's two dialects share some.
fn is_shared(target: &Target<'_>, key: &str, value: &Value) -> bool {
    match key {
        // Only models that think know the field.
        "verbosity" => adapt::thinks(target),
        // Only models that know marks know the one, and OpenAI takes the other only with what it stores.
        CACHE_OPTIONS | "metadata" => false,
        _ => obstacles::is_shared_by_responses(key, value),
    }
}

/// The first part or field that OpenAI's dialect cannot say although its loss would change the meaning.
pub(crate) fn obstacle(client: Dialect, request: &ChatRequest) -> Option<String> {
    let refused = |part: &Part| match part {
        Part::Foreign { kind, value } => {
            let said = messages::is_ours(kind) || Pdf::of(kind, value).is_some() || documents::words(part).is_some();
            (!said).then(|| kind.clone())
        }
        _ => None,
    };
    obstacles::refused_part(client, request, refused)
        .or_else(|| obstacles::untranslatable_extension(request, Dialect::OpenAi))
}

/// Writes a request.
pub(crate) fn encode(target: &Target<'_>, request: &ChatRequest) -> Result<Encoded, ApiError> {
    let mut dropped = Vec::new();
    let mut out = Map::new();
    out.insert("model".into(), json!(target.model));
    let marks = adapt::knows_breakpoints(target);
    for (path, value) in &request.leftovers {
        if marks && path == CACHE_OPTIONS {
            out.insert(path.clone(), value.clone());
        } else if !marks || !messages::is_breakpoint(path) {
            dropped.push(path.clone());
        }
    }
    let mut messages = messages::encode(&request.messages, marks, &mut dropped);
    if target.quirks.developer_role != Some(true) {
        let told = messages.iter_mut().filter(|turn| turn["role"] == "developer");
        told.for_each(|turn| turn["role"] = json!("system"));
    }
    out.insert("messages".into(), Value::Array(messages));
    if !request.tools.is_empty() {
        if request.tools.iter().any(|tool| tool.cache_control.is_some()) {
            dropped.push("tools[].cache_control".into());
        }
        out.insert("tools".into(), Value::Array(messages::encode_tools(&request.tools)));
        // Both are refused without tools.
        if let Some(choice) = &request.tool_choice {
            out.insert("tool_choice".into(), messages::encode_choice(choice));
        }
        if let Some(parallel) = request.parallel_tool_calls {
            out.insert("parallel_tool_calls".into(), json!(parallel));
        }
    }
    if let Some(format) = &request.response_format {
        out.insert("response_format".into(), encode_format(format, &mut dropped));
    }
    if let Some(most) = request.max_tokens {
        let most = target.answer_tokens(most, &mut dropped);
        out.insert(target.quirks.max_tokens_field.unwrap_or_default().as_str().into(), json!(most));
    }
    put_sampling(&request.sampling, &mut out);
    if request.sampling.top_k.is_some() {
        dropped.push("top_k".into());
    }
    match request.reasoning.as_ref().map(effort_for) {
        Some(Some(effort)) => {
            out.insert("reasoning_effort".into(), json!(effort_text(effort)));
        }
        // The model cannot think at all, or not with these tools.
        Some(None) if !target.reasoning || adapt::must_not_think(target, request) => dropped.push("reasoning".into()),
        _ => {}
    }
    if let Some(user) = &request.user {
        out.insert("user".into(), json!(plain_user(user)));
    }
    if request.stream {
        out.insert("stream".into(), json!(true));
        if target.quirks.stream_usage {
            out.insert("stream_options".into(), json!({ "include_usage": true }));
        }
    }
    for (key, value) in request.extensions.iter().filter(|(key, _)| obstacles::is_harmless(Dialect::OpenAi, key)) {
        if is_shared(target, key, value) {
            out.insert(key.clone(), value.clone());
        } else {
            dropped.push(key.clone());
        }
    }
    adapt::adapt(target, &mut out, &mut dropped);
    Ok(Encoded { body: Bytes::from(Value::Object(out).to_string()), dropped })
}

/// Writes the shape that an answer must have.
pub(crate) fn encode_format(format: &ResponseFormat, dropped: &mut Vec<String>) -> Value {
    match format {
        ResponseFormat::JsonSchema { name, schema, strict, implied } => {
            let mut inner = json!({ "name": name, "schema": schema });
            match strict {
                // The schema would be refused, and the client never said `strict`.
                Some(true) if *implied && !schemas::can_be_strict(schema) => {
                    dropped.push("output_config.format (not enforced)".into());
                }
                Some(strict) => inner["strict"] = json!(strict),
                None => {}
            }
            json!({ "type": "json_schema", "json_schema": inner })
        }
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
    }
}
