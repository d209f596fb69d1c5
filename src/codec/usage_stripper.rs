//! Takes the usage chunk out of an OpenAI stream for a client that did not ask for it.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

/// Passes an OpenAI stream on, event by event, without the one that has usage and no choices.
#[derive(Debug, Default)]
pub struct UsageStripper {
    buffer: BytesMut,
    /// Bytes at the front in which no event ends.
    searched: usize,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<serde::de::IgnoredAny>,
    usage: Option<serde::de::IgnoredAny>,
}

impl UsageStripper {
    /// Takes in bytes, gives out those of whole events.
    pub fn push(&mut self, bytes: &[u8]) -> Bytes {
        self.buffer.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        while let Some(end) = event_end(&self.buffer[self.searched..]) {
            let event = self.buffer.split_to(self.searched + end);
            self.searched = 0;
            if !is_usage(&event) {
                out.extend_from_slice(&event);
            }
        }
        // An empty line may be cut anywhere: the longest one has four bytes.
        self.searched = self.buffer.len().saturating_sub(3);
        out.freeze()
    }
}

/// The end of the first event, its empty line included.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let lf = bytes.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2);
    let crlf = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    match (lf, crlf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn is_usage(event: &[u8]) -> bool {
    let Some(data) = event.strip_prefix(b"data:") else { return false };
    serde_json::from_slice::<Chunk>(data).is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}
