//! `input` -> turns: several items may make one turn.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::json::{Object, missing, unknown_value, wrong_type};
use super::super::obstacles::vendors_tool;
use super::super::openai_chat::messages;
use super::backend::thoughts;
use super::namespaces::joined;
use super::{custom, sealed};
use crate::protocol::{ApiError, Message, Part, Role};

/// Stands for a type that is not known here: it is not repeated, as it may be anything.
pub(super) const UNKNOWN: &str = "unknown";

/// The turns of the items read so far.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The turns in the order in which they came.
    pub(super) messages: Vec<Message>,
    /// For each turn the index of its first item.
    items: Vec<usize>,
    /// For each turn its sort key, the index of a turn: for results the turn that calls, else the turn itself.
    places: Vec<usize>,
    /// By call id: the index of the turn that holds the call.
    calls: HashMap<String, usize>,
    /// The lists of tools among the items, with their paths.
    pub(super) tools: Vec<(String, Vec<Value>)>,
}

impl Turns {
    /// The turns with results moved right behind their calls, and the index of each turn's first item. This dialect
    /// finds results by id, wherever they stand (Codex puts a hook's note before some); other dialects do not.
    pub(super) fn in_order(self) -> (Vec<Message>, Vec<usize>) {
        let mut turns: Vec<_> = self.places.into_iter().zip(self.messages.into_iter().zip(self.items)).collect();
        turns.sort_by_key(|(place, _)| *place);
        turns.into_iter().map(|(_, turn)| turn).unzip()
    }

    /// Adds a turn whose first item is the one at `index`.
    pub(super) fn add(&mut self, index: usize, message: Message) {
        self.insert(index, self.messages.len(), message);
    }

    fn insert(&mut self, index: usize, place: usize, message: Message) {
        self.places.push(place);
        self.messages.push(message);
        self.items.push(index);
    }

    /// Adds an item. Consecutive reasoning, messages and calls of the assistant make one turn, and so do consecutive
    /// results. Unknown fields are noted in `leftovers`.
    pub(super) fn item(
        &mut self,
        index: usize,
        mut fields: Object,
        leftovers: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        let kind = match fields.string("type")? {
            Some(kind) => kind,
            None if fields.peek("role").is_none() && fields.peek("id").is_some() => "item_reference".into(),
            None => "message".into(),
        };
        match kind.as_str() {
            "message" => {
                let message = message(&mut fields, leftovers)?;
                match message.role {
                    Role::Assistant => self.continue_assistant(index, message),
                    _ => self.add(index, message),
                }
            }
            "function_call" | "custom_tool_call" => {
                let (id, name) = (fields.need_string("call_id")?, fields.need_string("name")?);
                let name = fields.string("namespace")?.map_or(name.clone(), |space| joined(&space, &name));
                let arguments = match kind.as_str() {
                    "custom_tool_call" => custom::arguments(&fields.need_string("input")?),
                    _ => messages::arguments(&mut fields),
                };
                let call = Part::ToolCall { id: id.clone(), name, arguments };
                self.continue_assistant(index, turn(Role::Assistant, vec![call]));
                self.calls.insert(id, self.messages.len() - 1);
            }
            "function_call_output" | "custom_tool_call_output" => {
                let call_id = fields.need_string("call_id")?;
                let content = content(&mut fields, "output", leftovers)?;
                let called = self.calls.get(&call_id).copied();
                let result = Part::ToolResult { call_id, content, is_error: false, cache_control: None };
                self.add_result(index, called, result);
            }
            "reasoning" => {
                if let Some(thought) = reasoning(&mut fields) {
                    self.continue_assistant(index, turn(Role::Assistant, vec![thought]));
                }
            }
            "additional_tools" => {
                let path = fields.at("tools");
                self.tools.push((path, fields.array("tools")?.unwrap_or_default()));
                fields.take("role");
            }
            "item_reference" => {
                let at = fields.at("id");
                let cure = "send the item itself, as clients do that are told `store: false`";
                return Err(ApiError::invalid(format!("{at} names an item, and Pointsman keeps none: {cure}")).at(at));
            }
            _ => {
                self.foreign(index, kind, fields);
                return Ok(());
            }
        }
        // An item's id and status mean nothing to a model.
        for known in ["id", "status"] {
            fields.take(known);
        }
        fields.leave(leftovers);
        Ok(())
    }

    /// Adds an item that only OpenAI understands: of a tool that it runs itself, or of one that it has trained its models
    /// to use, whose results clients send. Whether it is a result, its type tells.
    fn foreign(&mut self, index: usize, kind: String, fields: Object) {
        let is_result = ["_output", "_response"].iter().any(|ending| kind.ends_with(ending));
        let id = ["call_id", "approval_request_id", "id"].iter().find_map(|key| fields.peek(key)?.as_str());
        let id = id.unwrap_or_default().to_owned();
        let part = foreign(vendors_tool(&kind).unwrap_or(UNKNOWN), fields.whole());
        if is_result {
            let called = self.calls.get(&id).copied();
            let result = Part::ToolResult { call_id: id, content: vec![part], is_error: false, cache_control: None };
            self.add_result(index, called, result);
        } else {
            self.continue_assistant(index, turn(Role::Assistant, vec![part]));
            self.calls.insert(id, self.messages.len() - 1);
        }
    }

    /// Adds to the assistant's turn, or begins one.
    fn continue_assistant(&mut self, index: usize, message: Message) {
        match self.messages.last_mut() {
            Some(last) if last.role == Role::Assistant => last.parts.extend(message.parts),
            _ => self.add(index, message),
        }
    }

    /// Adds a result, of a call that stands in the turn `called`.
    fn add_result(&mut self, index: usize, called: Option<usize>, result: Part) {
        match (self.messages.last_mut(), self.items.last(), self.places.last()) {
            (Some(last), Some(begun), Some(behind))
                if last.parts.first().is_some_and(Part::is_tool_result)
                    && begun + last.parts.len() == index
                    && called.is_none_or(|called| called == *behind) =>
            {
                last.parts.push(result);
            }
            _ => {
                let place = called.unwrap_or(self.messages.len());
                self.insert(index, place, turn(Role::User, vec![result]));
            }
        }
    }
}

fn turn(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None }
}

fn message(fields: &mut Object, leftovers: &mut Map<String, Value>) -> Result<Message, ApiError> {
    let role = match fields.need_string("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        _ => return Err(unknown_value(&fields.at("role"), "user, assistant, system, developer")),
    };
    let mut parts = content(fields, "content", leftovers)?;
    if role == Role::Assistant {
        parts.retain(|part| *part != Part::text(""));
    }
    Ok(turn(role, parts))
}

/// Reads a field that is a string, or an array of parts.
fn content(fields: &mut Object, key: &str, leftovers: &mut Map<String, Value>) -> Result<Vec<Part>, ApiError> {
    let path = fields.at(key);
    match fields.take(key) {
        Some(Value::String(text)) => Ok(vec![Part::text(text)]),
        Some(Value::Array(items)) => {
            let part = |(index, item)| part(Object::of(item, format!("{path}[{index}]"))?, leftovers);
            items.into_iter().enumerate().map(part).collect()
        }
        Some(other) => Err(wrong_type(&path, "a string or an array of parts", &other)),
        None => Err(missing(&path)),
    }
}

fn part(mut fields: Object, leftovers: &mut Map<String, Value>) -> Result<Part, ApiError> {
    let kind = fields.need_string("type")?;
    let part = match kind.as_str() {
        // One that OpenAI keeps.
        "input_image" if fields.peek("file_id").is_some() => return Ok(foreign(&kind, fields.whole())),
        "input_text" | "output_text" => {
            let text = fields.need_string("text")?;
            Part::Text { text, cache_control: None, breakpoint: messages::breakpoint(&fields) }
        }
        "refusal" => Part::Refusal { text: fields.need_string("refusal")? },
        "input_image" => Part::Image {
            source: messages::image_source(fields.need_string("image_url")?),
            detail: fields.string("detail")?,
            cache_control: None,
            breakpoint: messages::breakpoint(&fields),
        },
        "input_file" => file(&mut fields)?,
        "input_audio" => {
            let audio = json!({ "type": "input_audio", "input_audio": fields.take("input_audio") });
            foreign("input_audio", messages::marked(audio, fields.peek(messages::BREAKPOINT)))
        }
        "text" | "image_url" | "file" => {
            let known = "input_text, input_image, input_file, input_audio, output_text, refusal";
            return Err(unknown_value(&fields.at("type"), known));
        }
        _ => return Ok(foreign(UNKNOWN, fields.whole())),
    };
    fields.leave(leftovers);
    Ok(part)
}

/// Reads a file: one inside the request, or that OpenAI keeps, into the form of chat completions, one by URL into
/// Anthropic's `document`, since no other dialect has that.
fn file(fields: &mut Object) -> Result<Part, ApiError> {
    let name = fields.string("filename")?;
    if let Some(url) = fields.string("file_url")? {
        let mut document = json!({ "type": "document", "source": { "type": "url", "url": url } });
        if let Some(name) = name {
            document["title"] = json!(name);
        }
        return Ok(foreign("document", document));
    }
    let mut file = match fields.string("file_id")? {
        Some(id) => json!({ "file_id": id }),
        None => json!({ "file_data": fields.need_string("file_data")? }),
    };
    if let Some(name) = name {
        file["filename"] = json!(name);
    }
    let part = json!({ "type": "file", "file": file });
    Ok(foreign("file", messages::marked(part, fields.peek(messages::BREAKPOINT))))
}

/// A foreign part in the form of the dialect that has it.
fn foreign(kind: &str, value: Value) -> Part {
    Part::Foreign { kind: kind.into(), value }
}

/// Reads a `reasoning` item. Encrypted content of others than this gateway is taken for OpenAI's own, which is in answers
/// whose bytes passed through. Content of ours that was changed is of no use: it stays in `fields`, to be noted as lost,
/// and its readable text is taken away with it.
fn reasoning(fields: &mut Object) -> Option<Part> {
    let summary = fields.peek("summary").and_then(text_of).unwrap_or_default();
    let thought = fields.understood("encrypted_content", |sealed| match sealed.as_str()? {
        ours if sealed::is_ours(ours) => sealed::open(ours),
        "" => None,
        openais => Some(Part::Thinking { text: summary, signature: Some(thoughts::signature_of(openais)) }),
    });
    if thought.is_some() || fields.peek("encrypted_content").is_some() {
        fields.take("content");
        fields.take("summary");
        return thought;
    }
    // Where the full text is there, its summary stays in `fields`.
    let text = ["content", "summary"].into_iter().find_map(|key| fields.understood(key, text_of))?;
    Some(Part::Thinking { text, signature: None })
}

fn text_of(parts: &Value) -> Option<String> {
    let parts = parts.as_array().into_iter().flatten();
    let text = parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n\n");
    Some(text).filter(|text| !text.is_empty())
}
