//! The streamed Responses answer -> events.
//!
//! An item is told up to three times: in pieces, when it is done, and at the end with the whole answer. What was said
//! of each text is counted, so that a server may leave out any of the three, and nothing is said twice.
//!
//! **Which item.** OpenAI gives each item an id and an index. Look-alikes leave out either, give all items the index 0,
//! or an item another id in each event. So an item is known by its id, or a call by the id of the call; else by its
//! index, among items of its sort; else it is the newest of its sort. At the end what is still unknown is one of those
//! that were told, in their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::super::raw;
use super::answer::{Answer, Item, Kind, Sort, told};
use crate::protocol::{FinishReason, StreamEvent, ToolCallDelta};

/// What stands between paragraphs of a summary, and between messages.
pub(super) const PARAGRAPH: &str = "\n\n";

#[derive(Deserialize)]
struct Head {
    #[serde(default, rename = "type", deserialize_with = "crate::codec::json::text")]
    kind: String,
}

/// Null counts as absent in all of them, as some servers write it.
#[derive(Deserialize)]
struct About {
    #[serde(default)]
    response: Option<Answer>,
}

#[derive(Deserialize)]
struct OfItem {
    #[serde(default, deserialize_with = "crate::codec::json::count")]
    output_index: Option<u64>,
    #[serde(default)]
    item: Option<Item>,
}

/// A piece of a text, or all of it.
#[derive(Deserialize)]
struct Piece {
    #[serde(default, deserialize_with = "crate::codec::json::count")]
    output_index: Option<u64>,
    #[serde(default, deserialize_with = "crate::codec::json::text")]
    item_id: String,
    #[serde(default, deserialize_with = "crate::codec::json::count")]
    content_index: Option<u64>,
    #[serde(default, deserialize_with = "crate::codec::json::count")]
    summary_index: Option<u64>,
    #[serde(default, deserialize_with = "raw::text")]
    delta: Option<String>,
    #[serde(default, deserialize_with = "raw::text")]
    text: Option<String>,
    #[serde(default, deserialize_with = "raw::text")]
    refusal: Option<String>,
    #[serde(default, deserialize_with = "raw::text")]
    arguments: Option<String>,
    #[serde(default, deserialize_with = "raw::text")]
    input: Option<String>,
}

/// A piece of a text that is not known.
#[derive(Deserialize)]
struct Unknown {
    delta: String,
}

/// A text's place: its item, what it is, and its index there.
type Place = (usize, Kind, u64);

/// Reads the events of a stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    /// Whether pieces of Chat Completions came in place of this dialect's.
    is_chat: bool,
    /// The items in the order in which they were first heard of.
    items: Vec<Heard>,
    /// Items by their ids, and by those of calls.
    by_id: HashMap<String, usize>,
    /// The newest item of each sort with that index, and with any.
    newest: HashMap<(Sort, Option<u64>), usize>,
    /// How many bytes of each text were said.
    said: BTreeMap<Place, usize>,
    /// For each item that is a call, its index among the calls.
    calls: BTreeMap<usize, usize>,
    /// The items that were signed.
    signed: BTreeSet<usize>,
    /// The message that spoke last.
    speaks: Option<usize>,
    refuses: bool,
}

/// An item that was heard of.
#[derive(Debug)]
struct Heard {
    sort: Sort,
    has_call_id: bool,
    /// Whether all of it was told.
    is_done: bool,
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
                self.start(&response.unwrap_or_default(), out);
            }
            "response.output_item.added" => {
                let OfItem { output_index, item } = read(data)?;
                self.added(output_index, &item.unwrap_or_default(), out);
            }
            "response.output_item.done" => {
                let OfItem { output_index, item } = read(data)?;
                self.done(output_index, &item.unwrap_or_default(), out);
            }
            "response.output_text.delta" | "response.output_text.done" => self.piece(Kind::Text, read(data)?, out),
            "response.refusal.delta" | "response.refusal.done" => self.piece(Kind::Refusal, read(data)?, out),
            "response.reasoning_summary_text.delta" | "response.reasoning_summary_text.done" => {
                self.piece(Kind::Summary, read(data)?, out);
            }
            "response.reasoning_text.delta" | "response.reasoning_text.done" => {
                self.piece(Kind::Thought, read(data)?, out);
            }
            "response.function_call_arguments.delta"
            | "response.function_call_arguments.done"
            | "response.custom_tool_call_input.delta"
            | "response.custom_tool_call_input.done" => {
                self.piece(Kind::Arguments, read(data)?, out);
            }
            event @ ("response.completed" | "response.incomplete" | "response.failed" | "response.cancelled") => {
                let About { response } = read(data)?;
                let mut answer = response.unwrap_or_default();
                answer.ended(event);
                self.end(answer, out);
            }
            "error" => out.push(StreamEvent::Error(told(&read(data)?).ok_or(())?)),
            // A server's own error, or a proxy's.
            "" => {
                let value: Value = read(data)?;
                if value.get("error").is_some_and(|error| !error.is_null()) {
                    out.push(StreamEvent::Error(told(&value).ok_or(())?));
                } else if value.get("choices").is_some() {
                    self.is_chat = true;
                    return Err(());
                }
            }
            // What a model writes for a tool of OpenAI's: code, a patch, arguments. Sound is no text.
            event if event.ends_with(".delta") && !event.ends_with("audio.delta") => {
                let length = read(data).map_or(0, |Unknown { delta }| delta.len());
                if length > 0 {
                    self.start(&Answer::default(), out);
                    out.push(StreamEvent::Foreign(length));
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

    /// Whether the stream is one of Chat Completions, or, if it is a page of HTML, that: nothing of an answer in this
    /// dialect was heard before.
    pub(crate) fn is_another(&self, is_page: bool) -> bool {
        !self.started && (self.is_chat || is_page)
    }

    /// The item with one of these ids: its own, and that of its call.
    fn with_id(&self, sort: Sort, ids: [&str; 2]) -> Option<usize> {
        let known = ids.iter().find_map(|id| self.by_id.get(*id)).copied();
        known.filter(|at| self.items[*at].sort == sort)
    }

    /// The newest item with this index, or with any where none is told. With another id of its call it is another call.
    fn with_index(&self, sort: Sort, ids: [&str; 2], index: Option<u64>) -> Option<usize> {
        let known = self.newest.get(&(sort, index)).copied();
        known.filter(|at| ids[1].is_empty() || !self.items[*at].has_call_id)
    }

    /// Takes in what is told of an item: of `known`, or else of a new one.
    fn hear_of(&mut self, known: Option<usize>, sort: Sort, ids: [&str; 2], index: Option<u64>) -> usize {
        let at = known.unwrap_or(self.items.len());
        if known.is_none() {
            self.items.push(Heard { sort, has_call_id: false, is_done: false });
            self.newest.extend([((sort, index), at), ((sort, None), at)]);
        }
        self.newest.entry((sort, index)).or_insert(at);
        self.items[at].has_call_id |= !ids[1].is_empty();
        for id in ids.into_iter().filter(|id| !id.is_empty()) {
            self.by_id.entry(id.to_owned()).or_insert(at);
        }
        at
    }

    /// An item begins. With an index that is known it is another one all the same, unless its id is known, too.
    fn added(&mut self, index: Option<u64>, item: &Item, out: &mut Vec<StreamEvent>) {
        self.start(&Answer::default(), out);
        if item.is_foreign() {
            out.push(StreamEvent::Foreign(0));
        }
        let Some(sort) = item.sort() else { return };
        let at = self.hear_of(self.with_id(sort, item.ids()), sort, item.ids(), index);
        if item.is_call() && !item.name.is_empty() {
            self.open(at, item, out);
        }
    }

    /// An item is whole.
    fn done(&mut self, index: Option<u64>, item: &Item, out: &mut Vec<StreamEvent>) {
        self.start(&Answer::default(), out);
        let Some(sort) = item.sort() else { return };
        let still_open = || self.with_index(sort, item.ids(), index).filter(|at| !self.items[*at].is_done);
        let known = self.with_id(sort, item.ids()).or_else(still_open);
        let at = self.hear_of(known, sort, item.ids(), index);
        let is_newest = at + 1 == self.items.len();
        self.close(at, item, is_newest, out);
    }

    fn piece(&mut self, kind: Kind, piece: Piece, out: &mut Vec<StreamEvent>) {
        self.start(&Answer::default(), out);
        let (sort, ids, index) = (kind.sort(), [piece.item_id.as_str(), ""], piece.output_index);
        // Behind a whole item an id that is not known is another item's.
        let still_open =
            || self.with_index(sort, ids, index).filter(|at| piece.item_id.is_empty() || !self.items[*at].is_done);
        let known = self.with_id(sort, ids).or_else(still_open);
        let at = self.hear_of(known, sort, ids, index);
        let part = if sort == Sort::Thought { piece.summary_index } else { None };
        let place = (at, kind, part.or(piece.content_index).unwrap_or_default());
        match (piece.delta, piece.text.or(piece.refusal).or(piece.arguments).or(piece.input)) {
            (Some(delta), _) => self.say(place, &delta, out),
            (None, Some(whole)) => self.say_rest(place, &whole, out),
            (None, None) => {}
        }
    }

    /// Begins a call.
    fn open(&mut self, at: usize, item: &Item, out: &mut Vec<StreamEvent>) {
        if self.calls.contains_key(&at) {
            return;
        }
        let index = self.calls.len();
        self.calls.insert(at, index);
        let start = Some((item.call_id().to_owned(), item.name.clone()));
        out.push(StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: String::new() }));
        self.say_texts(at, item, out);
    }

    /// Says whatever of an item has not been said. `may_sign` = nothing was said behind it: a signature would be taken
    /// for that of what was.
    fn close(&mut self, at: usize, item: &Item, may_sign: bool, out: &mut Vec<StreamEvent>) {
        if item.is_call() {
            self.open(at, item, out);
        }
        if !self.items[at].is_done {
            self.say_texts(at, item, out);
            self.items[at].is_done = item.texts().iter().any(|(_, _, text)| !text.is_empty());
        }
        let signature = item.signature().filter(|_| may_sign && self.signed.insert(at));
        out.extend(signature.map(StreamEvent::ThinkingSignature));
    }

    fn say_texts(&mut self, at: usize, item: &Item, out: &mut Vec<StreamEvent>) {
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

    /// Says whatever of the answer's items has not been said.
    fn close_all(&mut self, items: &[Item], out: &mut Vec<StreamEvent>) {
        let heard = self.items.len();
        let places = self.places(items);
        let last_heard = places.iter().rposition(|at| at.is_some_and(|at| at < heard)).unwrap_or_default();
        for (index, (item, at)) in items.iter().zip(places).enumerate() {
            if let Some(at) = at {
                self.close(at, item, index >= last_heard, out);
            }
        }
    }

    /// Which of the items that were heard of each item of the whole answer is; new ones are added.
    fn places(&mut self, items: &[Item]) -> Vec<Option<usize>> {
        let mut places: Vec<Option<usize>> =
            items.iter().map(|item| self.with_id(item.sort()?, item.ids())).collect();
        let taken: BTreeSet<usize> = places.iter().flatten().copied().collect();
        let mut free: BTreeSet<usize> = (0..self.items.len()).filter(|at| !taken.contains(at)).collect();
        // Some leave items out here, and none is where its index says.
        let is_at_its_index = |(index, item): (u64, &Item)| {
            let others =
                [Sort::Thought, Sort::Message, Sort::Call].into_iter().filter(|sort| item.sort() != Some(*sort));
            others.into_iter().all(|sort| !self.newest.contains_key(&(sort, Some(index))))
        };
        let are_at_their_indexes = (0..).zip(items).all(is_at_its_index);
        // Who is known by an id takes its item before the others do, and who is by an index before the rest.
        for by_index in [true, false].into_iter().filter(|by_index| are_at_their_indexes || !by_index) {
            for ((index, item), place) in (0..).zip(items).zip(&mut places) {
                let (Some(sort), None) = (item.sort(), *place) else { continue };
                let fits = |at: &usize| {
                    let known = &self.items[*at];
                    known.sort == sort && (item.call_id().is_empty() || !known.has_call_id)
                };
                *place = match by_index {
                    true => self.with_index(sort, item.ids(), Some(index)).filter(|at| free.contains(at)),
                    false => free.iter().copied().find(fits),
                };
                if let Some(at) = *place {
                    free.remove(&at);
                }
            }
        }
        for ((index, item), place) in (0..).zip(items).zip(&mut places) {
            if let (Some(sort), None) = (item.sort(), *place) {
                *place = Some(self.hear_of(None, sort, item.ids(), Some(index)));
            }
        }
        places
    }

    /// Ends the answer, complete or not.
    fn end(&mut self, mut answer: Answer, out: &mut Vec<StreamEvent>) {
        self.start(&answer, out);
        if let Some(error) = answer.failure() {
            out.extend(answer.usage().map(StreamEvent::Usage));
            out.push(StreamEvent::Error(error));
            return;
        }
        let items: Vec<Item> = answer.output.take().into_iter().flatten().map(Option::unwrap_or_default).collect();
        self.close_all(&items, out);
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
