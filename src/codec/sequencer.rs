//! Puts the events of a stream in sequence, for dialects whose items or blocks must not overlap.
//!
//! In OpenAI's dialect the pieces of several calls, and text, may be interleaved, and no event says that a call has
//! ended. Here a call is open until its arguments are whole JSON; other content waits until then, in order.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use serde::de::IgnoredAny;

use super::json::escaped_len;
use crate::protocol::{StreamEvent, ToolCallDelta};

/// Bytes that an event takes in memory, with its text as JSON writes it: some characters as six.
pub(super) fn written_bytes(event: &StreamEvent) -> usize {
    let text = match event {
        StreamEvent::Text(text) | StreamEvent::Thinking(text) | StreamEvent::Refusal(text) => text,
        StreamEvent::ToolCall(call) => &call.arguments,
        _ => return event.memory_bytes(),
    };
    event.memory_bytes() - text.len() + escaped_len(text)
}

/// The open call and the events that wait for its end.
#[derive(Debug, Default)]
pub(super) struct Sequencer {
    /// The open call: its index, and its arguments so far.
    open: Option<(usize, Arguments)>,
    /// The waiting events; a waiting call holds all its arguments so far.
    held: VecDeque<StreamEvent>,
    /// Bytes of `held`, see [`written_bytes`].
    weight: usize,
    /// The waiting calls by their index: how many events were ever held before each.
    calls: BTreeMap<usize, usize>,
    /// How many events were held and are released.
    gone: usize,
}

impl Sequencer {
    /// Takes in an event and returns the events that are due, in order. At the end of a stream all are.
    pub(super) fn pass<'e>(&mut self, event: &'e StreamEvent) -> Vec<Cow<'e, StreamEvent>> {
        let mut due = Vec::new();
        match event {
            StreamEvent::Start { .. } | StreamEvent::Usage(_) => {}
            StreamEvent::Finish { .. } | StreamEvent::Error(_) => {
                due.extend(std::iter::from_fn(|| self.release()).map(Cow::Owned));
            }
            StreamEvent::ToolCall(call) if call.start.is_none() => return self.go_on(call, event),
            _ if !self.held.is_empty() || self.is_mid_call() => {
                self.hold(event.clone());
                return due;
            }
            _ => self.begin(event),
        }
        due.push(Cow::Borrowed(event));
        due
    }

    /// Bytes that are held back, about.
    pub(super) fn kept(&self) -> usize {
        self.weight + self.open.as_ref().map_or(0, |(_, arguments)| arguments.text.len())
    }

    /// Takes in a further piece of a call. Pieces of a call that has ended are dropped.
    fn go_on<'e>(&mut self, piece: &ToolCallDelta, event: &'e StreamEvent) -> Vec<Cow<'e, StreamEvent>> {
        match &mut self.open {
            Some((index, arguments)) if *index == piece.index => arguments.push(&piece.arguments),
            _ => {
                let at = self.calls.get(&piece.index).map(|at| at - self.gone);
                if let Some(StreamEvent::ToolCall(call)) = at.and_then(|at| self.held.get_mut(at)) {
                    call.arguments.push_str(&piece.arguments);
                    self.weight += escaped_len(&piece.arguments);
                }
                return Vec::new();
            }
        }
        let mut due = vec![Cow::Borrowed(event)];
        while !self.is_mid_call() {
            let Some(held) = self.release() else { break };
            self.begin(&held);
            due.push(Cow::Owned(held));
        }
        due
    }

    fn begin(&mut self, event: &StreamEvent) {
        self.open = match event {
            StreamEvent::ToolCall(call) => Some((call.index, Arguments::begun(&call.arguments))),
            _ => None,
        };
    }

    fn hold(&mut self, event: StreamEvent) {
        if let StreamEvent::ToolCall(call) = &event {
            self.calls.insert(call.index, self.gone + self.held.len());
        }
        self.weight += written_bytes(&event);
        self.held.push_back(event);
    }

    /// Takes the first waiting event.
    fn release(&mut self) -> Option<StreamEvent> {
        let event = self.held.pop_front()?;
        if let StreamEvent::ToolCall(call) = &event {
            self.calls.remove(&call.index);
        }
        self.gone += 1;
        self.weight -= written_bytes(&event);
        Some(event)
    }

    fn is_mid_call(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, arguments)| arguments.ended != Some(true))
    }
}

/// Where in a JSON text one is.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    /// Open braces and brackets.
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Goes on by a byte; whether it closes the last open brace or bracket.
    pub(super) fn closes(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_text => self.is_escaped = true,
            b'"' => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// A call's arguments as they come in. Whether they are whole is checked only where the last open brace closes, so that
/// they are not parsed anew for every piece.
#[derive(Debug, Default)]
struct Arguments {
    /// The arguments, until they are whole.
    text: String,
    nesting: Nesting,
    /// Whether the arguments are whole JSON; `None` = not known yet, `Some(false)` = they never will be.
    ended: Option<bool>,
}

impl Arguments {
    fn begun(text: &str) -> Self {
        let mut arguments = Self::default();
        arguments.push(text);
        arguments
    }

    fn push(&mut self, piece: &str) {
        for (at, byte) in piece.bytes().enumerate() {
            if self.ended.is_some() {
                // Only blanks may follow an object.
                if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                    self.ended = Some(false);
                }
            } else if self.nesting.closes(byte) {
                self.text.push_str(&piece[..=at]);
                self.ended = Some(is_whole(&std::mem::take(&mut self.text)));
            }
        }
        if self.ended.is_none() {
            self.text.push_str(piece);
        }
    }
}

/// Whether a call's arguments are a whole JSON object.
fn is_whole(arguments: &str) -> bool {
    arguments.trim_end().ends_with('}') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_whole_when_their_object_is_however_they_come() {
        for text in [
            "{}",
            " {\"a\": [{\"b\": \"}\\\"}\"}, []]} \n",
            "{\"a\": \"\u{e9}}\"}",
            "",
            "{",
            "{\"a\": \"}",
            "{\"a\":}",
            "{} {}",
            "{}x",
            "[]",
            "[{}]",
            "null",
            "\"}\"",
            "}",
            "x{}",
        ] {
            let mut arguments = Arguments::default();
            text.chars().for_each(|letter| arguments.push(letter.encode_utf8(&mut [0; 4])));
            assert_eq!(arguments.ended == Some(true), is_whole(text), "{text}");
            assert_eq!(Arguments::begun(text).ended, arguments.ended, "{text}");
        }
    }

    fn call(index: usize, begins: bool, arguments: &str) -> StreamEvent {
        let start = begins.then(|| ("id".to_owned(), "f".to_owned()));
        StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: arguments.into() })
    }

    #[test]
    fn what_waits_is_counted_until_it_is_said() {
        let mut sequencer = Sequencer::default();
        let mut said = Vec::new();
        let mut pass = |sequencer: &mut Sequencer, event: StreamEvent| {
            said.extend(sequencer.pass(&event).into_iter().map(Cow::into_owned));
        };
        pass(&mut sequencer, StreamEvent::Text("not kept".into()));
        assert_eq!(sequencer.kept(), 0);
        pass(&mut sequencer, call(0, true, "{\"a\": "));
        assert_eq!(sequencer.kept(), 6);
        let held = [StreamEvent::Text("words".into()), call(1, true, "{")];
        let weight: usize = held.iter().map(StreamEvent::memory_bytes).sum();
        held.into_iter().for_each(|event| pass(&mut sequencer, event));
        pass(&mut sequencer, call(1, false, " \n"));
        assert_eq!(sequencer.kept(), 6 + weight + 3, "as it is written");
        pass(&mut sequencer, call(0, false, "1}"));
        assert_eq!(sequencer.kept(), "{ \n".len(), "the second is open now");
        pass(&mut sequencer, call(1, false, "}"));
        assert_eq!(sequencer.kept(), 0);
        assert_eq!(said.len(), 6);
        assert_eq!(said[4], call(1, true, "{ \n"));
    }

    /// A model that writes code calls with many braces, and some servers mix the pieces of many calls.
    #[test]
    fn long_calls_with_much_behind_them_pass_in_no_time() {
        let mut sequencer = Sequencer::default();
        let (mut said, calls) = (0, 100_000);
        let mut pass = |event: StreamEvent| said += sequencer.pass(&event).len();
        pass(call(0, true, "{\"a\": \""));
        (1..=calls).for_each(|index| pass(call(index, true, "{")));
        // Read anew for every piece, and looked for one by one, they would take many minutes.
        (0..500_000).for_each(|_| pass(call(0, false, "}")));
        (1..=calls).rev().for_each(|index| pass(call(index, false, "}")));
        pass(call(0, false, "\"}"));
        assert_eq!(said, 1 + 500_000 + 1 + calls);
    }
}
