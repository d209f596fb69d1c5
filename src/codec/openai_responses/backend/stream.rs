//! The streamed Responses answer -> events.
//!
//! An item is told up to three times: in pieces, when it is done, and at the end with the whole answer. What was said
//! of each text is counted, so that a server may leave out any of the three, and nothing is said twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::super::raw;
use super::answer::{Answer, Item, Kind, told};
use crate::protocol::{FinishReason, StreamEvent, ToolCallDelta};

/// What stands between paragraphs of a summary, and between messages.
pub(super) const PARAGRAPH: &str = "\n\n";

#[derive(Deserialize)]
struct Head {
    #[serde(default, rename = "type", deserialize_with = "crate::codec::json::text")]
    kind: String,
}

#[derive(Deserialize)]
struct About {
    #[serde(default)]
    response: Answer,
}

#[derive(Deserialize)]
struct OfItem {
    #[serde(default, deserialize_with = "crate::codec::json::count")]
    output_index: Option<u64>,
    #[serde(default)]
    item: Item,
}

/// A piece of a text, or all of it.
#[derive(Deserialize)]
struct Piece {
    #[serde(default, deserialize_with = "crate::codec::json::count")]
    output_index: Option<u64>,
    #[serde(default, deserialize_with = "crate::codec::json::count", alias = "summary_index")]
    content_index: Option<u64>,
    #[serde(default, deserialize_with = "raw::text")]
    delta: Option<String>,
    #[serde(default, deserialize_with = "raw::text", alias = "refusal", alias = "arguments")]
    text: Option<String>,
}

/// A text's place: its item's index, what it is, and its index there.
type Place = (u64, Kind, u64);

/// Reads the events of a stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    /// How many bytes of each text were said.
    said: BTreeMap<Place, usize>,
    /// For each item that is a call, its index among the calls.
    calls: BTreeMap<u64, usize>,
    /// The items that were signed.
    signed: BTreeSet<u64>,
    /// The item that was last heard of.
    newest: u64,
    /// The message that spoke last.
    speaks: Option<u64>,
    refuses: bool,
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Result<T, ()> {
    serde_json::from_slice(data).map_err(|_| ())
}

impl Decoder {
    /// Appends the events in the data of one server-sent event; `Err` = the data cannot be read.
    pub(crate) fn decode(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ()> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        match read::<Head>(data)?.kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => {
                let About { response } = read(data)?;
                self.start(&response, out);
            }
            "response.output_item.added" => {
                let OfItem { output_index, item } = read(data)?;
                let at = self.heard_of(output_index, out);
                if item.is_call() && !item.name.is_empty() {
                    self.open(at, &item, out);
                }
            }
            "response.output_item.done" => {
                let OfItem { output_index, item } = read(data)?;
                let at = self.heard_of(output_index, out);
                self.close(at, &item, out);
            }
            "response.output_text.delta" | "response.output_text.done" => self.piece(Kind::Text, read(data)?, out),
            "response.refusal.delta" | "response.refusal.done" => self.piece(Kind::Refusal, read(data)?, out),
            "response.reasoning_summary_text.delta" | "response.reasoning_summary_text.done" => {
                self.piece(Kind::Summary, read(data)?, out);
            }
            "response.reasoning_text.delta" | "response.reasoning_text.done" => {
                self.piece(Kind::Thought, read(data)?, out);
            }
            "response.function_call_arguments.delta" | "response.function_call_arguments.done" => {
                self.piece(Kind::Arguments, read(data)?, out);
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                let About { response } = read(data)?;
                self.end(response, out);
            }
            "error" => out.push(StreamEvent::Error(told(&read(data)?).ok_or(())?)),
            // A server's own error, or a proxy's.
            "" => {
                let value: Value = read(data)?;
                if value.get("error").is_some_and(|error| !error.is_null()) {
                    out.push(StreamEvent::Error(told(&value).ok_or(())?));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, answer: &Answer, out: &mut Vec<StreamEvent>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push(StreamEvent::Start { id: answer.id.clone(), model: answer.model.clone() });
        }
    }

    /// The index of the item that an event is about. Where it does not say so, it is the one before's.
    fn heard_of(&mut self, index: Option<u64>, out: &mut Vec<StreamEvent>) -> u64 {
        self.start(&Answer::default(), out);
        self.newest = index.unwrap_or(self.newest);
        self.newest
    }

    fn piece(&mut self, kind: Kind, piece: Piece, out: &mut Vec<StreamEvent>) {
        let at = self.heard_of(piece.output_index, out);
        let place = (at, kind, piece.content_index.unwrap_or_default());
        match (piece.delta, piece.text) {
            (Some(delta), _) => self.say(place, &delta, out),
            (None, Some(whole)) => self.say_rest(place, &whole, out),
            (None, None) => {}
        }
    }

    /// Begins a call.
    fn open(&mut self, at: u64, item: &Item, out: &mut Vec<StreamEvent>) {
        if self.calls.contains_key(&at) {
            return;
        }
        let index = self.calls.len();
        self.calls.insert(at, index);
        let start = Some((item.call_id().to_owned(), item.name.clone()));
        out.push(StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: String::new() }));
        self.say_texts(at, item, out);
    }

    /// Says whatever of an item has not been said.
    fn close(&mut self, at: u64, item: &Item, out: &mut Vec<StreamEvent>) {
        if item.is_call() {
            self.open(at, item, out);
        }
        self.say_texts(at, item, out);
        // Behind other items a signature would be taken for theirs.
        let signature = item.signature().filter(|_| at >= self.newest && self.signed.insert(at));
        out.extend(signature.map(StreamEvent::ThinkingSignature));
    }

    fn say_texts(&mut self, at: u64, item: &Item, out: &mut Vec<StreamEvent>) {
        for (kind, index, text) in item.texts() {
            self.say_rest((at, kind, index), text, out);
        }
    }

    fn say_rest(&mut self, place: Place, whole: &str, out: &mut Vec<StreamEvent>) {
        let said = self.said.get(&place).copied().unwrap_or_default();
        if let Some(rest) = whole.get(said..) {
            self.say(place, rest, out);
        }
    }

    fn say(&mut self, place: Place, text: &str, out: &mut Vec<StreamEvent>) {
        let (at, kind, index) = place;
        if text.is_empty() {
            return;
        }
        let begins = !self.said.contains_key(&place);
        let mut text = text.to_owned();
        let bytes = text.len();
        match kind {
            Kind::Summary if begins && index > 0 => text.insert_str(0, PARAGRAPH),
            Kind::Text => {
                let before = self.speaks.replace(at);
                if before.is_some_and(|before| before != at) {
                    text.insert_str(0, PARAGRAPH);
                }
            }
            Kind::Refusal => self.refuses = true,
            _ => {}
        }
        out.push(match kind {
            Kind::Summary | Kind::Thought => StreamEvent::Thinking(text),
            Kind::Text => StreamEvent::Text(text),
            Kind::Refusal => StreamEvent::Refusal(text),
            Kind::Arguments => {
                // Until its name is known a call's arguments wait for the whole item.
                let Some(index) = self.calls.get(&at).copied() else { return };
                StreamEvent::ToolCall(ToolCallDelta { index, start: None, arguments: text })
            }
        });
        *self.said.entry(place).or_default() += bytes;
    }

    /// Ends the answer, complete or not.
    fn end(&mut self, answer: Answer, out: &mut Vec<StreamEvent>) {
        self.start(&answer, out);
        if let Some(error) = answer.failure() {
            out.extend(answer.usage().map(StreamEvent::Usage));
            out.push(StreamEvent::Error(error));
            return;
        }
        for (at, item) in answer.output.iter().flatten().enumerate() {
            self.close(at as u64, item, out);
        }
        let reason = answer.finish(!self.calls.is_empty(), self.refuses);
        // Other dialects require an object. In an answer that was cut off the arguments may have been to come.
        let silent = self.calls.iter().filter(|(at, _)| !self.said.contains_key(&(**at, Kind::Arguments, 0)));
        for (_, index) in silent.filter(|_| reason != FinishReason::Length) {
            let arguments = "{}".to_owned();
            out.push(StreamEvent::ToolCall(ToolCallDelta { index: *index, start: None, arguments }));
        }
        out.extend(answer.usage().map(StreamEvent::Usage));
        out.push(StreamEvent::Finish { reason, stop_sequence: None });
    }
}
