//! The arguments of a call, piece by piece. A whole answer has an object in their place, whatever the model wrote
//! ([`object`]), since an SDK reads them as one and sends them back. Of a stream that begins as one, only halves of
//! characters are mended on the way, and anything else waits for the call's end. What breaks later is told as it came:
//! to hold all arguments for that would cost their stream.

use super::super::characters;
use super::blocks::object;

/// The arguments of the call that is open.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// What has come and is not told yet.
    held: String,
    /// Whether they began as an object does.
    is_object: bool,
}

impl Pieces {
    /// Bytes that are held back.
    pub(super) fn kept(&self) -> usize {
        self.held.len()
    }

    /// Takes a piece; returns what may be told now.
    pub(super) fn pass(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        self.is_object = self.is_object || begins_object(&self.held);
        if !self.is_object {
            return String::new();
        }
        let rest = self.held.split_off(characters::settled(&self.held));
        mended(std::mem::replace(&mut self.held, rest))
    }

    /// Ends the arguments; returns what is left to be told.
    pub(super) fn end(&mut self) -> String {
        let Self { held, is_object } = std::mem::take(self);
        if is_object || held.is_empty() { mended(held) } else { object(&held) }
    }
}

/// Whether a text begins as a JSON object. Some models write one of Python's, with other quotes.
fn begins_object(text: &str) -> bool {
    let first = text.trim_start().strip_prefix('{').and_then(|inside| inside.trim_start().chars().next());
    matches!(first, Some('"' | '}'))
}

fn mended(json: String) -> String {
    characters::whole(json.as_bytes()).and_then(|whole| String::from_utf8(whole).ok()).unwrap_or(json)
}
