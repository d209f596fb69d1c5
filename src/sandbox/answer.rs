//! The stand-ins' answers: deterministic, short, and clear about where they come from.

use serde_json::{Value, json};

use super::dice::Dice;
use crate::protocol::{Message, Part, Role};

/// A request, in no wire format.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pub(super) model: String,
    /// The user's last words.
    pub(super) question: String,
    /// All text of the prompt, to count tokens and for the prompt cache.
    pub(super) prompt: String,
    /// Tools by name, with their schemas.
    pub(super) tools: Vec<(String, Value)>,
    /// `Some` = a tool must be called: any, or this one.
    pub(super) must_call: Option<Option<String>>,
    pub(super) no_call: bool,
    /// The tools called since the question.
    pub(super) called: Vec<String>,
    /// The last turn's tool result, where it is one.
    pub(super) tool_result: Option<String>,
    /// `Some` = the answer must be JSON, of this schema unless it is empty.
    pub(super) json: Option<Value>,
    pub(super) max_tokens: Option<u64>,
    pub(super) thinks: bool,
    pub(super) stream: bool,
    pub(super) stop: Vec<String>,
    pub(super) images: usize,
    /// Tokens that an answer in prose has on average, about; short ones are lengthened.
    pub(super) mean_tokens: u64,
}

impl Query {
    /// Reads a user's turn: what is asked in it is to be answered, and no longer what tools said before.
    pub(super) fn hear(&mut self, content: &Value) {
        if let Some(question) = asked(content, self.tool_result.is_some()) {
            self.question = question;
            self.tool_result = None;
            self.called.clear();
        }
    }

    /// Reads OpenAI's `tool_choice`, which has the tool's `name` in a place of its own in each format.
    pub(super) fn choose(&mut self, choice: &Value, name: &Value) {
        match choice {
            Value::String(choice) if choice == "required" => self.must_call = Some(None),
            Value::String(choice) if choice == "none" => self.no_call = true,
            Value::Object(_) => self.must_call = Some(name.as_str().map(str::to_owned)),
            _ => {}
        }
    }

    /// Reads OpenAI's `format` of an answer, likewise; the prompt has been read.
    pub(super) fn shape(&mut self, format: &Value, schema: &Value) {
        self.json = match format["type"].as_str() {
            Some("json_object") => Some(schema_in(&self.prompt)),
            Some("json_schema") => Some(schema.clone()),
            _ => None,
        };
    }
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Length,
    Tool,
    StopString(String),
}

/// An answer, in no wire format.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) thinking: Option<String>,
    pub(super) text: String,
    pub(super) call: Option<(String, String, Value)>,
    pub(super) end: End,
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) output_tokens: u64,
}

impl Answer {
    /// The text in pieces of a few words, as a model streams it.
    pub(super) fn pieces(&self) -> Vec<&str> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for (count, (at, _)) in self.text.match_indices(' ').enumerate() {
            if count % 3 == 2 {
                pieces.push(&self.text[from..at]);
                from = at;
            }
        }
        pieces.push(&self.text[from..]);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// What a person asks in the `content` of a user's turn, read as routing reads it: without what client programs add
/// (Claude Code's `<system-reminder>`). `None` = nothing, beside or `after_results` of tools.
pub(super) fn asked(content: &Value, after_results: bool) -> Option<String> {
    let texts: Vec<&str> = match content {
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        other => other.as_str().into_iter().collect(),
    };
    let mut parts: Vec<Part> = texts.into_iter().map(Part::text).collect();
    if after_results {
        let (call_id, content) = (String::new(), Vec::new());
        parts.push(Part::ToolResult { call_id, content, is_error: false, cache_control: None });
    }
    let turn = Message { role: Role::User, parts, name: None };
    (!after_results || turn.is_question()).then(|| turn.question_text())
}

/// The texts of an array.
pub(super) fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A text in two, as what comes in pieces is streamed.
pub(super) fn halves(text: &str) -> [&str; 2] {
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.split_at(middle).into()
}

/// Estimated tokens of a text, at four characters each.
pub(super) fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

/// Makes the answer. `cached` is how many tokens of the prompt come from the prompt cache.
pub(super) fn answer(query: &Query, cached: u64) -> Answer {
    let dice = Dice::new(11).about(query.model.as_str()).about(query.prompt.as_str());
    let prompt_tokens = tokens(&query.prompt) + 8 + 85 * query.images as u64;
    let thinking = query.thinks.then(|| {
        format!(
            "The user asks {} words; a sandbox need not think for long.",
            query.question.split_whitespace().count()
        )
    });
    let call = call(query, dice);
    let mut text = match &call {
        Some(_) => String::new(),
        None => text(query, dice),
    };
    let mut end = if call.is_some() { End::Tool } else { End::Complete };
    if let Some(stop) = query.stop.iter().find(|stop| !stop.is_empty() && text.contains(stop.as_str())) {
        text.truncate(text.find(stop.as_str()).unwrap_or(text.len()));
        end = End::StopString(stop.clone());
    }
    if let Some(most) = query.max_tokens
        && call.is_none()
        && tokens(&text) > most
    {
        text = text.chars().take(most as usize * 4).collect();
        end = End::Length;
    }
    let output_tokens = tokens(&text)
        + thinking.as_deref().map_or(0, tokens)
        + call.as_ref().map_or(0, |(_, _, arguments)| tokens(&arguments.to_string()) + 4);
    Answer {
        thinking,
        text,
        call,
        end,
        prompt_tokens,
        cached_tokens: cached.min(prompt_tokens),
        output_tokens: output_tokens.max(1),
    }
}

fn text(query: &Query, dice: Dice) -> String {
    if let Some(schema) = &query.json {
        if schema.as_object().is_none_or(|schema| schema.is_empty()) {
            return json!({ "answer": "sandbox" }).to_string();
        }
        return Example::of(schema, dice).to_string();
    }
    if let Some(result) = &query.tool_result {
        return format!("[sandbox {}] The tool says: {result}", query.model);
    }
    let openings = ["Here is", "This would be", "You would get", "Imagine"];
    let opening = openings[dice.about("opening").below(openings.len())];
    let start: String = query.question.chars().take(60).collect();
    let pictures = if query.images > 0 { format!(" I see {} picture(s).", query.images) } else { String::new() };
    let short = format!(
        "[sandbox {}] {opening} an answer to \"{}\".{pictures} No model was asked, and nothing was spent.",
        query.model,
        start.replace('\n', " ")
    );
    at_length(short, query)
}

/// Lengthens an answer to 0.5 to 1.5 times [`Query::mean_tokens`]. The factor depends on the question alone: it is the
/// question that calls for a long answer or a short one, whatever the model.
fn at_length(mut text: String, query: &Query) -> String {
    const GOING_ON: &str = " And so on: the sandbox only fills the space that an answer would take.";
    let spread = 0.5 + Dice::new(13).about(query.question.as_str()).unit();
    let wanted = (query.mean_tokens as f64 * spread) as u64;
    while tokens(&text) < wanted {
        text.push_str(GOING_ON);
    }
    text
}

/// A tool call, where one is demanded, or where the question mentions a tool.
fn call(query: &Query, dice: Dice) -> Option<(String, String, Value)> {
    // Who cannot be made to call a tool may be told to, and then does.
    let told = || query.prompt.contains("Answer by calling ").then_some(None);
    let must_call = query.must_call.clone().or_else(told);
    if query.no_call || query.tool_result.is_some() && must_call.is_none() {
        return None;
    }
    let question = query.question.to_lowercase();
    let wanted = match &must_call {
        Some(Some(name)) => query.tools.iter().find(|(known, _)| known == name),
        // Some clients offer a tool for the final answer after those to find it with: uncalled tools come first.
        Some(None) => query.tools.iter().find(|(name, _)| !query.called.contains(name)).or(query.tools.last()),
        None => query.tools.iter().find(|(name, _)| {
            question.contains("tool") || name.split(['_', '-']).any(|word| word.len() > 3 && question.contains(word))
        }),
    };
    let (name, schema) = wanted?;
    let id = format!("call_{:016x}", dice.about("call").bits());
    Some((id, name.clone(), Example::of(schema, dice)))
}

/// The last JSON schema in a prompt's text, `{}` if there is none: clients put it there where the dialect has no field
/// for it.
pub(super) fn schema_in(prompt: &str) -> Value {
    /// Braces that are tried as the beginning of a schema.
    const MAX_TRIES: usize = 1000;
    let mut found = json!({});
    let mut from = 0;
    for (at, _) in prompt.match_indices('{').take(MAX_TRIES) {
        if at < from {
            continue;
        }
        let mut values = serde_json::Deserializer::from_str(&prompt[at..]).into_iter::<Value>();
        if let Some(Ok(value)) = values.next()
            && (value["type"] == "object" || value["properties"].is_object())
        {
            from = at + values.byte_offset();
            found = value;
        }
    }
    found
}

/// How deep a schema is followed.
const MAX_DEPTH: usize = 6;

/// Characters written, about: a schema that refers to itself in many places could make gigabytes.
const MAX_CHARS: usize = 1 << 20;

/// A value that fits a JSON schema, as far as types, enums and required fields go.
struct Example<'a> {
    /// The whole schema, into which `$ref`s point.
    root: &'a Value,
    /// Characters that may still be written.
    left: usize,
}

impl Example<'_> {
    fn of(schema: &Value, dice: Dice) -> Value {
        Example { root: schema, left: MAX_CHARS }.value(schema, dice, 0)
    }

    fn value(&mut self, schema: &Value, dice: Dice, depth: usize) -> Value {
        let goes_on = depth < MAX_DEPTH && self.left > 0;
        let mut schema = schema;
        // References and choices are no depth, and may go round in a circle.
        for _ in 0..MAX_DEPTH {
            let Some(other) = meant(self.root, schema, goes_on).filter(|_| self.left > 0) else { break };
            schema = other;
        }
        if let Some(options) = schema["enum"].as_array().filter(|options| !options.is_empty()) {
            return self.counted(options[dice.about(depth).below(options.len())].clone());
        }
        if let Some(value) = schema.get("const") {
            return self.counted(value.clone());
        }
        let kind = match &schema["type"] {
            Value::String(kind) => kind.as_str(),
            Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or("string"),
            _ if schema.get("properties").is_some() => "object",
            _ if depth == 0 => "object",
            _ => "string",
        };
        match kind {
            "object" if goes_on => {
                let properties = schema["properties"].as_object();
                let field = |(key, schema): (&String, &Value)| {
                    self.left = self.left.saturating_sub(key.len());
                    (key.clone(), self.value(schema, dice.about(key.as_str()), depth + 1))
                };
                properties.into_iter().flatten().map(field).collect()
            }
            "array" if goes_on => json!([self.value(&schema["items"], dice, depth + 1)]),
            "integer" => self.counted(json!(dice.below(100))),
            "number" => self.counted(json!(dice.below(1000) as f64 / 10.0)),
            "boolean" => self.counted(json!(dice.happens(0.5))),
            "null" => self.counted(Value::Null),
            _ => self.counted(json!("sandbox")),
        }
    }

    fn counted(&mut self, value: Value) -> Value {
        self.left = self.left.saturating_sub(value.to_string().len());
        value
    }
}

/// The schema of `root` that another one refers to, or the first of its choices; where a value is not to go on, null, if
/// it may.
fn meant<'v>(root: &'v Value, schema: &'v Value, goes_on: bool) -> Option<&'v Value> {
    let referred = || root.pointer(schema["$ref"].as_str()?.strip_prefix('#')?);
    let one_of = || {
        let parts = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[key].as_array())?;
        parts.iter().find(|part| !goes_on && part["type"] == "null").or(parts.first())
    };
    referred().or_else(one_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(schemas: &[(&str, Value)]) -> Query {
        let tools = schemas.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
        Query { tools, must_call: Some(None), ..Query::default() }
    }

    #[test]
    fn what_a_program_adds_to_a_question_is_not_asked() {
        let reminder = "<system-reminder>\nBe brief.\n</system-reminder>\n";
        let block = |text: &str| json!({ "type": "text", "text": text });
        let blocks = json!([block(reminder), block("What is 2+2?"), block(reminder)]);
        let whole = json!(format!("{reminder}What is 2+2?"));
        for after_results in [false, true] {
            for content in [&blocks, &whole] {
                assert_eq!(asked(content, after_results).as_deref(), Some("What is 2+2?"), "{content}");
            }
        }
        for nothing in [json!([block(reminder)]), json!(reminder), json!(""), Value::Null] {
            assert_eq!(asked(&nothing, true), None, "{nothing}: the tool's result is what is to be answered");
        }
        assert_eq!(asked(&json!(""), false).as_deref(), Some(""));
    }

    #[test]
    fn who_must_call_calls_a_tool_that_was_not_called_yet() {
        let mut query = tools(&[("weather", json!({})), ("final_result", json!({}))]);
        let called = |query: &Query| answer(query, 0).call.unwrap().1;
        assert_eq!(called(&query), "weather");
        query.called.push("weather".into());
        query.tool_result = Some("sunny".into());
        assert_eq!(called(&query), "final_result");
        query.called.push("final_result".into());
        assert_eq!(called(&query), "final_result");
    }

    #[test]
    fn a_tool_without_parameters_is_called_without_arguments() {
        for schema in [json!({ "type": "object", "properties": {} }), json!({}), Value::Null] {
            assert_eq!(answer(&tools(&[("time_now", schema.clone())]), 0).call.unwrap().2, json!({}), "{schema}");
        }
    }

    #[test]
    fn a_schema_in_words_is_found_in_the_prompt() {
        let schema = json!({ "type": "object", "properties": { "age": { "type": "object", "properties": {} } } });
        let prompt =
            format!("fn main() {{ f({{}}) }} {{\"type\": \"text\"}} JSON Schema:\n{schema:#}\nBob's age {{?");
        assert_eq!(schema_in(&prompt), schema);
        assert_eq!(schema_in("Answer in JSON, {like this}"), json!({}));
        let answer = |json: Value| answer(&Query { json: Some(json), ..Query::default() }, 0).text;
        assert_eq!(
            (answer(schema_in(&prompt)), answer(json!({}))),
            (r#"{"age":{}}"#.into(), r#"{"answer":"sandbox"}"#.into())
        );
    }

    #[test]
    fn a_schema_is_followed_where_it_refers_to_a_part_of_itself() {
        let schema = json!({
            "$defs": {
                "Inner": { "type": "object", "properties": { "n": { "type": "integer" } } },
                "Loop": { "$ref": "#/$defs/Loop" },
            },
            "type": "object",
            "properties": {
                "inner": { "$ref": "#/$defs/Inner" },
                "some": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
                "loop": { "$ref": "#/$defs/Loop" },
            },
        });
        let value = Example::of(&schema, Dice::new(1));
        assert!(value["inner"]["n"].is_u64() && value["some"].is_u64(), "{value}");
    }

    #[test]
    fn what_is_referred_to_or_chosen_is_no_deeper_for_it() {
        let object = |name: &str, field: Value| json!({ "type": "object", "properties": { name: field } });
        let mut schema = object("tasks", json!({ "type": "array", "items": { "$ref": "#/$defs/User" } }));
        schema["$defs"] = json!({
            "User": object("address", json!({ "$ref": "#/$defs/Address" })),
            "Address": object("zip", json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] })),
            "Node": object("next", json!({ "anyOf": [{ "$ref": "#/$defs/Node" }, { "type": "null" }] })),
        });
        let value = Example::of(&schema, Dice::new(1));
        assert!(value["tasks"][0]["address"]["zip"].is_u64(), "{value}");
        schema["$ref"] = json!("#/$defs/Node");
        let mut node = &Example::of(&schema, Dice::new(1));
        while let Some(next) = node.get("next") {
            node = next;
        }
        assert_eq!(*node, Value::Null, "the end of a list");
    }

    #[test]
    fn a_schema_that_refers_to_itself_everywhere_has_an_end() {
        let itself = json!({ "$ref": "#" });
        let fields = |count: usize| (0..count).map(|at| (format!("p{at}"), itself.clone())).collect::<Value>();
        // 150 in 150 in 150 values would be some 50 MB.
        let schema = json!({ "type": "object", "properties": fields(150) });
        let length = Example::of(&schema, Dice::new(1)).to_string().len();
        assert!((MAX_CHARS / 2..4 * MAX_CHARS).contains(&length), "{length}");
        let word = "x".repeat(10_000);
        let mut schema = json!({ "$defs": { "word": { "const": word } }, "type": "object" });
        schema["properties"] =
            (0..10_000).map(|at| (at.to_string(), json!({ "$ref": "#/$defs/word" }))).collect::<Value>();
        let length = Example::of(&schema, Dice::new(1)).to_string().len();
        assert!((MAX_CHARS / 2..4 * MAX_CHARS).contains(&length), "{length}");
    }
}
