//! Events -> the streamed Responses answer: `response.created`, items that open and close, `response.completed`.
//!
//! The last event repeats the whole answer, so all of it is kept; [`Encoder::kept`] says how much that is.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::super::AnswerMeta;
use super::super::json::extend;
use super::super::lines::write_event;
use super::super::sequencer::{Sequencer, written_bytes};
use super::custom;
use super::items::{COMPLETED, IN_PROGRESS, Item, content, summary_part};
use super::namespaces::Namespaces;
use super::{Stage, object};
use crate::protocol::{Part, StreamEvent, ToolCallDelta, Usage};

/// Bytes of JSON that an item, or a part of one, takes beside its texts, about.
const FRAME_BYTES: usize = 1 << 10;

/// Writes events. One item is open at a time, as clients expect.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: AnswerMeta,
    namespaces: Namespaces,
    started: bool,
    /// Sequence number of the next event.
    next: u64,
    /// All items so far.
    items: Vec<Item>,
    /// Bytes that `items` will take as JSON, about.
    weight: usize,
    /// Whether the last item is open.
    is_open: bool,
    /// Holds events back while a call is open.
    sequencer: Sequencer,
    /// Whether the model refuses to answer.
    refuses: bool,
    /// The status of the last item, as far as it is known.
    last: &'static str,
    usage: Usage,
}

impl Encoder {
    pub(crate) fn new(meta: AnswerMeta) -> Self {
        Self {
            namespaces: Namespaces::of(meta.echo.get("tools")),
            meta,
            started: false,
            next: 0,
            items: Vec::new(),
            weight: 0,
            is_open: false,
            sequencer: Sequencer::default(),
            refuses: false,
            last: COMPLETED,
            usage: Usage::default(),
        }
    }

    /// Bytes that are kept, about, as JSON.
    pub(crate) fn kept(&self) -> usize {
        self.weight + self.sequencer.kept()
    }

    pub(crate) fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        // The end of the answer decides the status of a call that is incomplete by then.
        match event {
            StreamEvent::Refusal(_) => self.refuses = true,
            StreamEvent::Finish { reason, .. } => self.last = Stage::ended(*reason, self.refuses).status_of_last(),
            StreamEvent::Error(error) => self.last = Stage::Broken(error).status_of_last(),
            _ => {}
        }
        for event in self.sequencer.pass(event) {
            self.write(&event, out);
        }
    }

    fn write(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        if event.is_content() {
            self.weight += written_bytes(event) - size_of::<StreamEvent>();
        }
        match event {
            StreamEvent::Start { .. } => self.start(out),
            StreamEvent::Text(text) => self.write_text(text, out),
            StreamEvent::Refusal(text) => self.write_refusal(text, out),
            StreamEvent::Thinking(text) => self.write_reasoning(text, out),
            StreamEvent::ThinkingSignature(signature) => {
                self.end_signed(out);
                self.enter_thought(out);
                if let Some(Item::Thought(Part::Thinking { signature: known, .. })) = self.open_mut() {
                    *known = Some(signature.clone());
                }
            }
            StreamEvent::Foreign(_) => {}
            StreamEvent::RedactedThinking(data) => {
                self.add(Item::Thought(Part::RedactedThinking { data: data.clone() }), out);
            }
            StreamEvent::ToolCall(call) => self.write_call(call, out),
            StreamEvent::Usage(counts) => self.usage.absorb(counts),
            StreamEvent::Finish { reason, .. } => {
                let stage = Stage::ended(*reason, self.refuses);
                self.close(true, out);
                self.end(&stage, out);
            }
            StreamEvent::Error(error) => self.end(&Stage::Broken(error), out),
        }
    }

    fn start(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for name in ["response.created", "response.in_progress"] {
            let begun = object(&self.meta, &Stage::Begun, Vec::new(), None);
            self.emit(name, Value::from_iter([("response", begun)]), out);
        }
    }

    /// Writes the last event.
    fn end(&mut self, stage: &Stage<'_>, out: &mut BytesMut) {
        self.start(out);
        let items = std::mem::take(&mut self.items);
        let answer = object(&self.meta, stage, items, Some(&self.usage));
        self.emit(&format!("response.{}", stage.status()), Value::from_iter([("response", answer)]), out);
    }

    fn write_text(&mut self, text: &str, out: &mut BytesMut) {
        self.enter_part(&Part::text(""), out);
        if let Some(Part::Text { text: said, .. }) = self.part_mut() {
            said.push_str(text);
        }
        let delta = json!({ "content_index": self.part_index(), "delta": text, "logprobs": [] });
        self.emit_about_open("response.output_text.delta", delta, out);
    }

    fn write_refusal(&mut self, text: &str, out: &mut BytesMut) {
        self.enter_part(&Part::Refusal { text: String::new() }, out);
        if let Some(Part::Refusal { text: said }) = self.part_mut() {
            said.push_str(text);
        }
        let delta = json!({ "content_index": self.part_index(), "delta": text });
        self.emit_about_open("response.refusal.delta", delta, out);
    }

    fn write_reasoning(&mut self, text: &str, out: &mut BytesMut) {
        self.end_signed(out);
        self.enter_thought(out);
        let Some(Item::Thought(Part::Thinking { text: thought, .. })) = self.open_mut() else { return };
        let first = thought.is_empty();
        thought.push_str(text);
        if first {
            let part = json!({ "summary_index": 0, "part": summary_part(String::new()) });
            self.emit_about_open("response.reasoning_summary_part.added", part, out);
        }
        let delta = json!({ "summary_index": 0, "delta": text });
        self.emit_about_open("response.reasoning_summary_text.delta", delta, out);
    }

    fn write_call(&mut self, call: &ToolCallDelta, out: &mut BytesMut) {
        if let Some((id, name)) = &call.start {
            self.add(Item::call(id, name, &self.namespaces), out);
        }
        if let Some(item) = self.open_mut() {
            item.add_arguments(&call.arguments);
            self.write_arguments(&call.arguments, out);
        }
    }

    /// Writes a piece of a call's arguments. A custom tool's text is known only once they are whole.
    fn write_arguments(&mut self, text: &str, out: &mut BytesMut) {
        let is_custom = matches!(self.open(), Some(Item::Call { tool, .. }) if tool.is_custom);
        if !text.is_empty() && !is_custom {
            self.emit_about_open("response.function_call_arguments.delta", json!({ "delta": text }), out);
        }
    }

    /// The open item.
    fn open(&self) -> Option<&Item> {
        self.items.last().filter(|_| self.is_open)
    }

    fn open_mut(&mut self) -> Option<&mut Item> {
        self.items.last_mut().filter(|_| self.is_open)
    }

    /// Closes a reasoning item that has its signature: what follows belongs to another.
    fn end_signed(&mut self, out: &mut BytesMut) {
        if matches!(self.open(), Some(Item::Thought(Part::Thinking { signature: Some(_), .. }))) {
            self.close(false, out);
        }
    }

    /// Makes a readable reasoning item the open one.
    fn enter_thought(&mut self, out: &mut BytesMut) {
        if !matches!(self.open(), Some(Item::Thought(Part::Thinking { .. }))) {
            self.add(Item::Thought(Part::Thinking { text: String::new(), signature: None }), out);
        }
    }

    /// Makes a part like `empty` the open one, in the open message or a new one.
    fn enter_part(&mut self, empty: &Part, out: &mut BytesMut) {
        let same = |said: &Part| std::mem::discriminant(said) == std::mem::discriminant(empty);
        match self.open() {
            Some(Item::Message(said)) if said.last().is_some_and(same) => return,
            Some(Item::Message(_)) => self.close_part(out),
            _ => self.add(Item::Message(Vec::new()), out),
        }
        if let Some(Item::Message(said)) = self.open_mut() {
            said.push(empty.clone());
        }
        self.weight += FRAME_BYTES;
        let part = json!({ "content_index": self.part_index(), "part": content(empty.clone()) });
        self.emit_about_open("response.content_part.added", part, out);
    }

    fn part_mut(&mut self) -> Option<&mut Part> {
        match self.open_mut() {
            Some(Item::Message(said)) => said.last_mut(),
            _ => None,
        }
    }

    /// Index of the open part in its message.
    fn part_index(&self) -> usize {
        match self.open() {
            Some(Item::Message(said)) => said.len().saturating_sub(1),
            _ => 0,
        }
    }

    /// Closes the open item and opens another.
    fn add(&mut self, item: Item, out: &mut BytesMut) {
        self.start(out);
        self.close(false, out);
        self.is_open = true;
        self.weight += FRAME_BYTES;
        let index = self.items.len();
        let added = item.clone().value(item.id(&self.meta.id, index), IN_PROGRESS);
        self.items.push(item);
        let added = Value::from_iter([("output_index", index.into()), ("item", added)]);
        self.emit("response.output_item.added", added, out);
    }

    /// Closes the open item, at the end of the answer or before another item.
    fn close(&mut self, at_the_end: bool, out: &mut BytesMut) {
        let Some(item) = self.open() else { return };
        let status = item.status(self.last, at_the_end);
        match item {
            Item::Thought(Part::Thinking { text, .. }) if !text.is_empty() => {
                let done = Value::from_iter([("summary_index", Value::from(0)), ("text", text.as_str().into())]);
                let part = Value::from_iter([("summary_index", 0.into()), ("part", summary_part(text.clone()))]);
                self.emit_about_open("response.reasoning_summary_text.done", done, out);
                self.emit_about_open("response.reasoning_summary_part.done", part, out);
            }
            Item::Thought(_) => {}
            Item::Message(_) => self.close_part(out),
            Item::Call { tool, arguments, .. } if tool.is_custom => {
                let input = custom::input(arguments);
                let done = Value::from_iter([("input", Value::from(input.as_str()))]);
                if !input.is_empty() {
                    let delta = Value::from_iter([("delta", Value::from(input))]);
                    self.emit_about_open("response.custom_tool_call_input.delta", delta, out);
                }
                self.emit_about_open("response.custom_tool_call_input.done", done, out);
            }
            Item::Call { tool, arguments, .. } => {
                let unsaid = arguments.is_empty() && status == COMPLETED;
                let whole = if unsaid { "{}" } else { arguments };
                let done = Value::from_iter([("name", tool.name.as_str().into()), ("arguments", Value::from(whole))]);
                if unsaid {
                    self.write_arguments("{}", out);
                }
                self.emit_about_open("response.function_call_arguments.done", done, out);
            }
        }
        let Some(item) = self.open().cloned() else { return };
        self.is_open = false;
        let index = self.items.len() - 1;
        let id = item.id(&self.meta.id, index);
        let done = Value::from_iter([("output_index", index.into()), ("item", item.value(id, status))]);
        self.emit("response.output_item.done", done, out);
    }

    /// Closes the open part.
    fn close_part(&mut self, out: &mut BytesMut) {
        let index = self.part_index();
        let Some(part) = self.part_mut().cloned() else { return };
        let mut done = json!({ "content_index": index });
        let name = match &part {
            Part::Text { text, .. } => {
                done["text"] = text.as_str().into();
                done["logprobs"] = json!([]);
                "response.output_text.done"
            }
            Part::Refusal { text } => {
                done["refusal"] = text.as_str().into();
                "response.refusal.done"
            }
            _ => return,
        };
        self.emit_about_open(name, done, out);
        let whole = Value::from_iter([("content_index", index.into()), ("part", content(part))]);
        self.emit_about_open("response.content_part.done", whole, out);
    }

    /// Writes an event about the open item.
    fn emit_about_open(&mut self, name: &str, fields: Value, out: &mut BytesMut) {
        let Some(item) = self.open() else { return };
        let index = self.items.len() - 1;
        let mut data = json!({ "item_id": item.id(&self.meta.id, index), "output_index": index });
        extend(&mut data, fields);
        self.emit(name, data, out);
    }

    fn emit(&mut self, name: &str, fields: Value, out: &mut BytesMut) {
        let mut data = json!({ "type": name, "sequence_number": self.next });
        extend(&mut data, fields);
        self.next += 1;
        write_event(name, &data, out);
    }
}
