//! The streamed answer: `response.created`, items that open and close, `response.completed`.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::super::AnswerMeta;
use super::super::in_turn::InTurn;
use super::items::{COMPLETED, IN_PROGRESS, Item, content, summary_part};
use super::{Stage, object};
use crate::protocol::{Part, StreamEvent, ToolCallDelta, Usage};

/// Writes events. One item is open at a time, as clients are used to.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: AnswerMeta,
    started: bool,
    /// Number of the next event.
    next: u64,
    /// All items, as far as they came.
    items: Vec<Item>,
    /// Whether the last one is open.
    is_open: bool,
    /// What waits for the end of a call.
    in_turn: InTurn,
    /// The status of the last item, as far as it is known.
    last: &'static str,
    usage: Usage,
}

impl Encoder {
    pub(crate) fn new(meta: AnswerMeta) -> Self {
        Self {
            meta,
            started: false,
            next: 0,
            items: Vec::new(),
            is_open: false,
            in_turn: InTurn::default(),
            last: COMPLETED,
            usage: Usage::default(),
        }
    }

    pub(crate) fn encode(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        // How an answer ends says how a call did that was not whole by then.
        match event {
            StreamEvent::Finish { reason, .. } => self.last = Stage::ended(*reason, &self.items).of_last(),
            StreamEvent::Error(error) => self.last = Stage::Broken(error).of_last(),
            _ => {}
        }
        let mut in_turn = std::mem::take(&mut self.in_turn);
        in_turn.pass(event, |event| self.write(event, out));
        self.in_turn = in_turn;
    }

    fn write(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { .. } => self.start(out),
            StreamEvent::Text(text) => self.say_text(text, out),
            StreamEvent::Refusal(text) => self.refuse(text, out),
            StreamEvent::Thinking(text) => self.think(text, out),
            StreamEvent::ThinkingSignature(signature) => {
                self.enter_thought(out);
                if let Some(Item::Thought(Part::Thinking { signature: known, .. })) = self.open_mut() {
                    *known = Some(signature.clone());
                }
            }
            StreamEvent::RedactedThinking(data) => {
                self.add(Item::Thought(Part::RedactedThinking { data: data.clone() }), out);
            }
            StreamEvent::ToolCall(call) => self.call(call, out),
            StreamEvent::Usage(counts) => self.usage.absorb(counts),
            StreamEvent::Finish { reason, .. } => {
                let stage = Stage::ended(*reason, &self.items);
                self.close(stage.of_last(), out);
                self.tell(&stage, out);
            }
            StreamEvent::Error(error) => self.tell(&Stage::Broken(error), out),
        }
    }

    fn start(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let begun = object(&self.meta, &Stage::Begun, &[], None);
        self.say("response.created", json!({ "response": begun }), out);
        self.say("response.in_progress", json!({ "response": begun }), out);
    }

    /// The last event.
    fn tell(&mut self, stage: &Stage<'_>, out: &mut BytesMut) {
        self.start(out);
        let answer = object(&self.meta, stage, &self.items, Some(&self.usage));
        self.say(&format!("response.{}", stage.status()), json!({ "response": answer }), out);
    }

    fn say_text(&mut self, text: &str, out: &mut BytesMut) {
        self.enter_part(&Part::text(""), out);
        if let Some(Part::Text { text: said, .. }) = self.part_mut() {
            said.push_str(text);
        }
        let delta = json!({ "content_index": self.part_index(), "delta": text, "logprobs": [] });
        self.say_of_open("response.output_text.delta", delta, out);
    }

    fn refuse(&mut self, text: &str, out: &mut BytesMut) {
        self.enter_part(&Part::Refusal { text: String::new() }, out);
        if let Some(Part::Refusal { text: said }) = self.part_mut() {
            said.push_str(text);
        }
        let delta = json!({ "content_index": self.part_index(), "delta": text });
        self.say_of_open("response.refusal.delta", delta, out);
    }

    fn think(&mut self, text: &str, out: &mut BytesMut) {
        // What comes after a signature is another thought.
        if matches!(self.open(), Some(Item::Thought(Part::Thinking { signature: Some(_), .. }))) {
            self.close(COMPLETED, out);
        }
        self.enter_thought(out);
        let Some(Item::Thought(Part::Thinking { text: thought, .. })) = self.open_mut() else { return };
        let first = thought.is_empty();
        thought.push_str(text);
        if first {
            let part = json!({ "summary_index": 0, "part": summary_part("") });
            self.say_of_open("response.reasoning_summary_part.added", part, out);
        }
        let delta = json!({ "summary_index": 0, "delta": text });
        self.say_of_open("response.reasoning_summary_text.delta", delta, out);
    }

    fn call(&mut self, call: &ToolCallDelta, out: &mut BytesMut) {
        if let Some((id, name)) = &call.start {
            self.add(Item::call(id, name, self.meta.echo.get("tools")), out);
        }
        if let Some(item) = self.open_mut() {
            item.argue(&call.arguments);
            self.say_arguments(&call.arguments, out);
        }
    }

    fn say_arguments(&mut self, text: &str, out: &mut BytesMut) {
        if !text.is_empty() {
            self.say_of_open("response.function_call_arguments.delta", json!({ "delta": text }), out);
        }
    }

    /// The item that is open.
    fn open(&self) -> Option<&Item> {
        self.items.last().filter(|_| self.is_open)
    }

    fn open_mut(&mut self) -> Option<&mut Item> {
        self.items.last_mut().filter(|_| self.is_open)
    }

    /// Makes a readable thought the open item.
    fn enter_thought(&mut self, out: &mut BytesMut) {
        if !matches!(self.open(), Some(Item::Thought(Part::Thinking { .. }))) {
            self.add(Item::Thought(Part::Thinking { text: String::new(), signature: None }), out);
        }
    }

    /// Makes a part like `empty` the open one, in a message that is open.
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
        let part = json!({ "content_index": self.part_index(), "part": content(empty) });
        self.say_of_open("response.content_part.added", part, out);
    }

    fn part_mut(&mut self) -> Option<&mut Part> {
        match self.open_mut() {
            Some(Item::Message(said)) => said.last_mut(),
            _ => None,
        }
    }

    /// Where the part that was said last stands in its message.
    fn part_index(&self) -> usize {
        match self.open() {
            Some(Item::Message(said)) => said.len().saturating_sub(1),
            _ => 0,
        }
    }

    /// Opens an item, behind the one that was open.
    fn add(&mut self, item: Item, out: &mut BytesMut) {
        self.start(out);
        let status = self.items.last().map_or(COMPLETED, |item| item.status(self.last));
        self.close(status, out);
        self.is_open = true;
        let index = self.items.len();
        let added = item.value(&item.id(&self.meta.id, index), IN_PROGRESS);
        self.items.push(item);
        self.say("response.output_item.added", json!({ "output_index": index, "item": added }), out);
    }

    /// Closes the item that is open, which ends with `status`.
    fn close(&mut self, status: &str, out: &mut BytesMut) {
        let Some(item) = self.open() else { return };
        let index = self.items.len() - 1;
        let whole = item.value(&item.id(&self.meta.id, index), status);
        match item {
            Item::Thought(Part::Thinking { text, .. }) if !text.is_empty() => {
                let (part, text) = (summary_part(text), text.clone());
                let done = json!({ "summary_index": 0, "text": text });
                self.say_of_open("response.reasoning_summary_text.done", done, out);
                let done = json!({ "summary_index": 0, "part": part });
                self.say_of_open("response.reasoning_summary_part.done", done, out);
            }
            Item::Thought(_) => {}
            Item::Message(_) => self.close_part(out),
            Item::Call { name, arguments, .. } => {
                let done = json!({ "name": name, "arguments": whole["arguments"] });
                if arguments.is_empty() {
                    self.say_arguments(done["arguments"].as_str().unwrap_or_default(), out);
                }
                self.say_of_open("response.function_call_arguments.done", done, out);
            }
        }
        self.is_open = false;
        self.say("response.output_item.done", json!({ "output_index": index, "item": whole }), out);
    }

    /// Closes the part that was said last.
    fn close_part(&mut self, out: &mut BytesMut) {
        let index = self.part_index();
        let Some(part) = self.part_mut() else { return };
        let whole = content(part);
        let (name, done) = match part {
            Part::Refusal { text } => ("response.refusal.done", json!({ "content_index": index, "refusal": text })),
            _ => {
                let done = json!({ "content_index": index, "text": whole["text"], "logprobs": [] });
                ("response.output_text.done", done)
            }
        };
        self.say_of_open(name, done, out);
        self.say_of_open("response.content_part.done", json!({ "content_index": index, "part": whole }), out);
    }

    /// Says something of the item that is open.
    fn say_of_open(&mut self, name: &str, fields: Value, out: &mut BytesMut) {
        let Some(item) = self.open() else { return };
        let index = self.items.len() - 1;
        let mut data = json!({ "item_id": item.id(&self.meta.id, index), "output_index": index });
        extend(&mut data, fields);
        self.say(name, data, out);
    }

    fn say(&mut self, name: &str, fields: Value, out: &mut BytesMut) {
        let mut data = json!({ "type": name, "sequence_number": self.next });
        extend(&mut data, fields);
        self.next += 1;
        out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
    }
}

fn extend(data: &mut Value, fields: Value) {
    if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
        data.extend(fields);
    }
}
