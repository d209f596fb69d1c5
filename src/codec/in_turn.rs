//! One thing after another, for dialects whose items or blocks never overlap.
//!
//! Elsewhere calls may: their pieces mix with those of others and with words, and none says that it has ended. Nothing
//! is begun here while a call is open whose arguments are not whole yet; what comes before that waits, in order.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use serde::de::IgnoredAny;

use super::json::written;
use crate::protocol::{StreamEvent, ToolCallDelta};

/// Bytes that it takes to keep an event, and to say it: JSON writes some letters as six.
pub(super) fn weight(event: &StreamEvent) -> usize {
    let text = match event {
        StreamEvent::Text(text) | StreamEvent::Thinking(text) | StreamEvent::Refusal(text) => text,
        StreamEvent::ToolCall(call) => &call.arguments,
        _ => return event.weight(),
    };
    event.weight() - text.len() + written(text)
}

/// What is under way and what waits for it.
#[derive(Debug, Default)]
pub(super) struct InTurn {
    /// The call that is open: its index, and its arguments as far as they came.
    open: Option<(usize, Arguments)>,
    /// What waits for its end; calls with all their arguments so far.
    held: VecDeque<StreamEvent>,
    /// Bytes that this takes.
    weight: usize,
    /// The calls that wait, by their index: how many events were held before each, since the beginning.
    calls: HashMap<usize, usize>,
    /// How many events wait no more.
    gone: usize,
}

impl InTurn {
    /// Takes in an event; what may be said now, in order. At the end of a stream that is all.
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

    /// Bytes that are kept here, about.
    pub(super) fn kept(&self) -> usize {
        self.weight + self.open.as_ref().map_or(0, |(_, arguments)| arguments.text.len())
    }

    /// A piece of a call. One that has ended has no more.
    fn go_on<'e>(&mut self, piece: &ToolCallDelta, event: &'e StreamEvent) -> Vec<Cow<'e, StreamEvent>> {
        match &mut self.open {
            Some((index, arguments)) if *index == piece.index => arguments.push(&piece.arguments),
            _ => {
                let at = self.calls.get(&piece.index).map(|at| at - self.gone);
                if let Some(StreamEvent::ToolCall(call)) = at.and_then(|at| self.held.get_mut(at)) {
                    call.arguments.push_str(&piece.arguments);
                    self.weight += written(&piece.arguments);
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
        self.weight += weight(&event);
        self.held.push_back(event);
    }

    /// The first of what waits, which does no more.
    fn release(&mut self) -> Option<StreamEvent> {
        let event = self.held.pop_front()?;
        if let StreamEvent::ToolCall(call) = &event {
            self.calls.remove(&call.index);
        }
        self.gone += 1;
        self.weight -= weight(&event);
        Some(event)
    }

    fn is_mid_call(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, arguments)| arguments.ended != Some(true))
    }
}

/// A call's arguments as they come in. That they are whole is known without reading them anew for every piece: an object
/// can only be over where its last brace closes.
#[derive(Debug, Default)]
struct Arguments {
    /// All of it, until they are over.
    text: String,
    /// How many braces and brackets are open.
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    /// Whether they are whole; absent = that is not known yet. What is not is never to be.
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
                // Behind an object only blanks may stand.
                if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                    self.ended = Some(false);
                }
            } else if self.closes(byte) {
                self.text.push_str(&piece[..=at]);
                self.ended = Some(is_whole(&std::mem::take(&mut self.text)));
            }
        }
        if self.ended.is_none() {
            self.text.push_str(piece);
        }
    }

    /// Whether the last of what is open closes here.
    fn closes(&mut self, byte: u8) -> bool {
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

/// Whether nothing more can follow of a call's arguments.
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
        let mut in_turn = InTurn::default();
        let mut said = Vec::new();
        let mut pass = |in_turn: &mut InTurn, event: StreamEvent| {
            said.extend(in_turn.pass(&event).into_iter().map(Cow::into_owned));
        };
        pass(&mut in_turn, StreamEvent::Text("not kept".into()));
        assert_eq!(in_turn.kept(), 0);
        pass(&mut in_turn, call(0, true, "{\"a\": "));
        assert_eq!(in_turn.kept(), 6);
        let held = [StreamEvent::Text("words".into()), call(1, true, "{")];
        let weight: usize = held.iter().map(StreamEvent::weight).sum();
        held.into_iter().for_each(|event| pass(&mut in_turn, event));
        pass(&mut in_turn, call(1, false, " \n"));
        assert_eq!(in_turn.kept(), 6 + weight + 3, "as it is written");
        pass(&mut in_turn, call(0, false, "1}"));
        assert_eq!(in_turn.kept(), "{ \n".len(), "the second is open now");
        pass(&mut in_turn, call(1, false, "}"));
        assert_eq!(in_turn.kept(), 0);
        assert_eq!(said.len(), 6);
        assert_eq!(said[4], call(1, true, "{ \n"));
    }

    /// A model that writes code calls with many braces, and some servers mix the pieces of many calls.
    #[test]
    fn long_calls_with_much_behind_them_pass_in_no_time() {
        let mut in_turn = InTurn::default();
        let (mut said, calls) = (0, 100_000);
        let mut pass = |event: StreamEvent| said += in_turn.pass(&event).len();
        pass(call(0, true, "{\"a\": \""));
        (1..=calls).for_each(|index| pass(call(index, true, "{")));
        // Read anew for every piece, and looked for one by one, they would take many minutes.
        (0..500_000).for_each(|_| pass(call(0, false, "}")));
        (1..=calls).rev().for_each(|index| pass(call(index, false, "}")));
        pass(call(0, false, "\"}"));
        assert_eq!(said, 1 + 500_000 + 1 + calls);
    }
}
