//! Cuts a stream of bytes into messages: server-sent events (WHATWG HTML, "Server-sent events") or lines of JSON. The
//! messages do not depend on how the bytes were split.

use std::fmt::Write;

use bytes::BytesMut;
use memchr::memchr;
use serde_json::Value;

/// The longest message that is accepted, but for [`Events::allow`]. No longer ones leave memory behind.
pub(super) const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// A message is longer than is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Cuts bytes into lines.
#[derive(Debug)]
struct Lines {
    /// The longest message that is accepted.
    longest: usize,
    buffer: Vec<u8>,
    /// Bytes at the front that were returned already.
    used: usize,
    /// Bytes at the front that hold no further line end, so that a long line in many pieces is searched once and not
    /// once per piece.
    searched: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { longest: MAX_MESSAGE_BYTES, buffer: Vec::new(), used: 0, searched: 0 }
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.buffer.shrink_to(MAX_MESSAGE_BYTES);
        }
        self.searched = self.searched.saturating_sub(self.used);
        self.used = 0;
        if self.buffer.len() + bytes.len() > self.longest {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole line without its end; LF and CRLF both end one.
    fn next(&mut self) -> Option<&[u8]> {
        let start = self.used;
        let from = self.searched.max(start);
        let Some(end) = memchr(b'\n', &self.buffer[from..]).map(|at| from + at) else {
            self.searched = self.buffer.len();
            return None;
        };
        self.used = end + 1;
        self.searched = self.used;
        let line = &self.buffer[start..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The last line of a body, if it has no line end.
    fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = self.buffer.split_off(self.used);
        self.buffer.clear();
        (self.used, self.searched) = (0, 0);
        (!rest.is_empty()).then_some(rest)
    }
}

/// Reads server-sent events and gives the data of each. Event names are not needed: all dialects repeat them in the
/// data.
#[derive(Debug, Default)]
pub(super) struct Events {
    lines: Lines,
    data: Vec<u8>,
    /// Whether the first line was read: only that may begin with a byte order mark.
    begun: bool,
}

/// The byte order mark of UTF-8. Some servers write it before a body or a stream; JSON parsers refuse it.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl Events {
    /// Accepts messages of so many bytes. While one comes there are two copies of it here, its line and its data.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.lines.longest = self.lines.longest.max(bytes);
    }

    /// Takes in bytes, and calls `each` with the data of every event they complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        self.lines.push(bytes)?;
        while let Some(line) = self.lines.next() {
            let marked = !std::mem::replace(&mut self.begun, true);
            let line = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| marked).unwrap_or(line);
            field(line, &mut self.data, &mut each);
            if self.data.len() > self.lines.longest {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    /// Ends the stream: some servers leave out the last empty line.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if let Some(line) = self.lines.rest() {
            field(&line, &mut self.data, &mut each);
        }
        field(b"", &mut self.data, &mut each);
    }
}

fn field(line: &[u8], data: &mut Vec<u8>, each: &mut impl FnMut(&[u8])) {
    if line.is_empty() {
        if !data.is_empty() {
            each(data);
            data.clear();
            data.shrink_to(MAX_MESSAGE_BYTES);
        }
    } else if let Some(value) = line.strip_prefix(b"data:") {
        if !data.is_empty() {
            data.push(b'\n');
        }
        data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
    }
}

/// Writes a server-sent event that has a name.
pub(super) fn write_event(name: &str, data: &Value, out: &mut BytesMut) {
    // Writing to memory does not fail.
    let _ = write!(out, "event: {name}\ndata: {data}\n\n");
}

/// Reads lines of JSON (NDJSON).
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    lines: Lines,
}

impl JsonLines {
    /// Takes in bytes, and calls `each` with every line they complete.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLong> {
        self.lines.push(bytes)?;
        while let Some(line) = self.lines.next() {
            if !line.trim_ascii().is_empty() {
                each(line);
            }
        }
        Ok(())
    }

    /// Ends the stream: the last line may have no line end.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if let Some(line) = self.lines.rest().filter(|line| !line.trim_ascii().is_empty()) {
            each(&line);
        }
    }
}
