//! Passes a vendor's server-sent events on byte for byte, but only whole ones: an event of the gateway's own (the
//! stream broke off) then never follows half an event, where no client could read it.
//!
//! The usage event of OpenAI's dialect is taken out for a client that did not ask for it: the gateway always does. So is
//! `[DONE]` where the answer is none: its clients would not read the error behind it.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::lines::MAX_MESSAGE_BYTES;

/// A stream of events that passes through.
#[derive(Debug, Default)]
pub struct WholeEvents {
    /// The beginning of an event whose end has not come yet.
    begun: BytesMut,
    without_usage: bool,
    without_end: bool,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<serde::de::IgnoredAny>,
    usage: Option<serde::de::IgnoredAny>,
}

impl WholeEvents {
    /// `without_usage`: whether to take out the event that has usage and no choices.
    pub fn new(without_usage: bool) -> Self {
        Self { without_usage, ..Self::default() }
    }

    /// From here on takes out OpenAI's `[DONE]`.
    pub fn leave_out_end(&mut self) {
        self.without_end = true;
    }

    /// Takes in bytes and returns those of whole events. A piece that ends where an event ends is not copied.
    pub fn push(&mut self, mut bytes: Bytes) -> Bytes {
        if self.begun.is_empty() {
            self.begun.extend_from_slice(&bytes.split_off(last_end(&bytes)));
            return self.passed(bytes);
        }
        // The end of an event (at most three bytes) may be split, so two bytes are searched again.
        let searched = self.begun.len().saturating_sub(2);
        self.begun.extend_from_slice(&bytes);
        let whole = match last_end(&self.begun[searched..]) {
            0 => Bytes::new(),
            end => self.begun.split_to(searched + end).freeze(),
        };
        if whole.len() > MAX_MESSAGE_BYTES {
            // The rest stands behind it in the same memory, which would be held, or filled again, to the end of the stream.
            self.begun = BytesMut::from(&self.begun[..]);
        }
        self.passed(whole)
    }

    /// The rest, once the stream has ended, with the last event's empty line: some servers leave it out, and some clients
    /// read no event without it.
    pub fn finish(&mut self) -> Bytes {
        if !self.begun.trim_ascii().is_empty() {
            let left_out = if self.begun.ends_with(b"\n") { &b"\n"[..] } else { b"\n\n" };
            self.begun.extend_from_slice(left_out);
        }
        let rest = self.begun.split().freeze();
        self.passed(rest)
    }

    fn passed(&self, events: Bytes) -> Bytes {
        if !self.without_usage && !self.without_end {
            return events;
        }
        // Only filled once there is something to leave out.
        let mut kept: Option<BytesMut> = None;
        let mut at = 0;
        while at < events.len() {
            let end = at + first_end(&events[at..]);
            let event = &events[at..end];
            let is_out = self.without_usage && is_usage(event) || self.without_end && is_done(event);
            match (&mut kept, is_out) {
                (None, true) => kept = Some(BytesMut::from(&events[..at])),
                (Some(kept), false) => kept.extend_from_slice(event),
                (None, false) | (Some(_), true) => {}
            }
            at = end;
        }
        kept.map_or(events, BytesMut::freeze)
    }
}

fn is_usage(event: &[u8]) -> bool {
    let Some(data) = event.strip_prefix(b"data:") else { return false };
    serde_json::from_slice::<Chunk>(data).is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

fn is_done(event: &[u8]) -> bool {
    let data = |line: &[u8]| line.strip_prefix(b"data:").is_some_and(|data| data.trim_ascii() == b"[DONE]");
    event.split(|byte| *byte == b'\n').any(data)
}

/// Whether the bytes end with an empty line.
fn is_end(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n")
}

/// The end of the last whole event; 0 = there is none.
fn last_end(bytes: &[u8]) -> usize {
    (1..=bytes.len()).rev().find(|end| is_end(&bytes[..*end])).unwrap_or(0)
}

/// The end of the first event; all bytes where it has no end.
pub(super) fn first_end(bytes: &[u8]) -> usize {
    let mut lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    lines.find(|end| is_end(&bytes[..*end])).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\r\n\r\ndata: [DONE]\n\n";

    fn in_two(stream: &[u8], split: usize, without_usage: bool) -> (Vec<Bytes>, Bytes) {
        let mut events = WholeEvents::new(without_usage);
        let pieces = [&stream[..split], &stream[split..]].map(|piece| events.push(Bytes::copy_from_slice(piece)));
        (pieces.to_vec(), events.finish())
    }

    #[test]
    fn whatever_the_split_all_of_it_passes_in_whole_events() {
        for split in 0..STREAM.len() {
            let (pieces, rest) = in_two(STREAM, split, false);
            assert_eq!(pieces.concat(), STREAM, "at {split}");
            assert!(rest.is_empty() && pieces.iter().all(|piece| piece.is_empty() || is_end(piece)), "at {split}");
        }
    }

    #[test]
    fn usage_nobody_asked_for_is_taken_out_whatever_the_split() {
        for split in 0..STREAM.len() {
            let (pieces, _) = in_two(STREAM, split, true);
            let left = b"data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\ndata: [DONE]\n\n";
            assert_eq!(pieces.concat(), left, "at {split}");
        }
    }

    #[test]
    fn the_end_of_an_answer_that_is_none_is_taken_out() {
        let mut events = WholeEvents::default();
        events.leave_out_end();
        let passed = events.push(Bytes::from_static(STREAM));
        assert_eq!(passed, STREAM[..STREAM.len() - b"data: [DONE]\n\n".len()]);
    }

    #[test]
    fn half_an_event_waits_for_its_end_or_for_the_streams() {
        let mut events = WholeEvents::default();
        assert_eq!(events.push(Bytes::from_static(b"data: 1\n\ndata: 2")), "data: 1\n\n");
        assert_eq!(events.push(Bytes::from_static(b"2\n")), "");
        assert_eq!(events.finish(), "data: 22\n\n", "with the line that says that it is whole");
        assert_eq!(events.finish(), "");
        for (rest, whole) in [("data: 3", "data: 3\n\n"), ("data: 3\r\n", "data: 3\r\n\n"), ("\n", "\n")] {
            assert_eq!(events.push(Bytes::from_static(rest.as_bytes())), "");
            assert_eq!(events.finish(), whole);
        }
    }
}
