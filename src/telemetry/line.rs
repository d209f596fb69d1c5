//! One log line: kept for the dashboard, and written as JSON for machines.
//!
//! All texts of a line are in one allocation. A line is made for every request, and an allocation per field would cost
//! more than everything else about it.

use std::fmt::{self, Write};

use jiff::Timestamp;
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use tracing::field::{Field, Visit};

/// Most characters of a message or a field.
const MAX_CHARS: usize = 1_000;

/// Most fields of a line.
const MAX_FIELDS: usize = 40;

/// One log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line's number since the process started.
    pub seq: u64,
    /// When it was logged.
    pub at: Timestamp,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// The module that logged it.
    pub target: &'static str,
    /// All texts, one after the other.
    texts: Box<str>,
    message: (u32, u32),
    fields: Box<[Piece]>,
}

/// A field's name, and the range of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    name: &'static str,
    from: u32,
    to: u32,
    /// A number or a boolean, which JSON has without quotes.
    bare: bool,
}

impl Line {
    /// The message.
    pub fn message(&self) -> &str {
        self.text(self.message.0, self.message.1)
    }

    /// The fields' names and texts, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.fields.iter().map(|piece| (piece.name, self.text(piece.from, piece.to)))
    }

    fn text(&self, from: u32, to: u32) -> &str {
        self.texts.get(from as usize..to as usize).unwrap_or_default()
    }

    /// Appends the line as a JSON object and a newline: `timestamp` (RFC 3339), `level`, `message`, its fields,
    /// `target`.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        // Writing to memory does not fail.
        let _ = io_write(out, format_args!("{:.6}", self.at));
        out.extend_from_slice(b"\",\"level\":");
        quoted(out, &self.level.to_ascii_uppercase());
        out.extend_from_slice(b",\"message\":");
        quoted(out, self.message());
        for piece in &self.fields {
            // Names are written in the source, and none needs escaping.
            out.extend_from_slice(b",\"");
            out.extend_from_slice(piece.name.as_bytes());
            out.extend_from_slice(b"\":");
            let text = self.text(piece.from, piece.to);
            if piece.bare { out.extend_from_slice(text.as_bytes()) } else { quoted(out, text) }
        }
        out.extend_from_slice(b",\"target\":");
        quoted(out, self.target);
        out.extend_from_slice(b"}\n");
    }
}

fn io_write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) -> std::io::Result<()> {
    std::io::Write::write_fmt(out, text)
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    // Nearly all texts need no escaping. Without an early end the compiler looks at many bytes at a time.
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if !text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing text to memory does not fail.
        let _ = serde_json::to_writer(out, text);
    }
}

/// The dashboard's form of a line: `seq`, `at_ms`, `level`, `target`, `message`, and `fields` as pairs of texts.
impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Line", 6)?;
        line.serialize_field("seq", &self.seq)?;
        line.serialize_field("at_ms", &self.at.as_millisecond())?;
        line.serialize_field("level", self.level)?;
        line.serialize_field("target", self.target)?;
        line.serialize_field("message", self.message())?;
        line.serialize_field("fields", &Fields(self))?;
        line.end()
    }
}

struct Fields<'a>(&'a Line);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_seq(Some(self.0.fields.len()))?;
        self.0.fields().try_for_each(|field| fields.serialize_element(&field))?;
        fields.end()
    }
}

/// Gathers a line field by field; reused for the next line.
#[derive(Debug, Default)]
pub(super) struct LineBuilder {
    texts: String,
    message: (u32, u32),
    fields: Vec<Piece>,
}

impl LineBuilder {
    /// Makes the line, and clears the builder.
    pub(super) fn line(&mut self, seq: u64, at: Timestamp, level: &'static str, target: &'static str) -> Line {
        let line = Line {
            seq,
            at,
            level,
            target,
            texts: self.texts.as_str().into(),
            message: self.message,
            fields: self.fields.as_slice().into(),
        };
        self.clear();
        line
    }

    /// Clears the builder.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.message = (0, 0);
        self.fields.clear();
    }

    fn take(&mut self, field: &Field, bare: bool, value: fmt::Arguments<'_>) {
        let from = self.texts.len();
        // An error means that the text was cut, which is intended.
        let _ = Short { texts: &mut self.texts, from }.write_fmt(value);
        self.keep(field.name(), bare, from);
    }

    fn keep(&mut self, name: &'static str, bare: bool, from: usize) {
        // Fits: the number of fields and their lengths are bounded.
        let (from, to) = (from as u32, self.texts.len() as u32);
        if name == "message" {
            self.message = (from, to);
        } else if self.fields.len() < MAX_FIELDS {
            self.fields.push(Piece { name, from, to, bare });
        } else {
            self.texts.truncate(from as usize);
        }
    }

    #[cfg(test)]
    pub(super) fn of(message: &str, field: (&'static str, &str)) -> Self {
        let mut builder = Self::default();
        builder.texts.push_str(message);
        builder.keep("message", false, 0);
        builder.texts.push_str(field.1);
        builder.keep(field.0, false, message.len());
        builder
    }
}

impl Visit for LineBuilder {
    fn record_str(&mut self, field: &Field, value: &str) {
        let from = self.texts.len();
        let _ = Short { texts: &mut self.texts, from }.write_str(value);
        self.keep(field.name(), false, from);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, true, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, true, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, true, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // Six decimals: milliseconds to the nanosecond. Twelve for tiny values: the cost of a short answer.
        let unit = if value.abs() < 1e-3 { 1e12 } else { 1e6 };
        self.take(field, value.is_finite(), format_args!("{}", (value * unit).round() / unit));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, false, format_args!("{value:?}"));
    }
}

/// Appends a text, which began at `from`, up to [`MAX_CHARS`] characters. Characters are counted only once there are
/// more bytes than that.
struct Short<'a> {
    texts: &'a mut String,
    from: usize,
}

impl Write for Short<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let so_far = self.texts.len() - self.from;
        if so_far + text.len() <= MAX_CHARS {
            self.texts.push_str(text);
            return Ok(());
        }
        let left = MAX_CHARS.saturating_sub(self.texts[self.from..].chars().count());
        match text.char_indices().nth(left) {
            None => self.texts.push_str(text),
            Some((end, _)) => {
                self.texts.push_str(&text[..end]);
                self.texts.push('…');
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_json_it_is_one_line_that_says_everything() {
        let mut builder = LineBuilder::of("Said \"so\"\nand so", ("who", "naïve\u{1}"));
        builder.texts.push_str("0.25");
        builder.keep("cost", true, builder.texts.len() - 4);
        let line = builder.line(7, Timestamp::UNIX_EPOCH, "info", "pointsman::test");
        let mut json = Vec::new();
        line.write_json(&mut json);
        assert_eq!(json.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let wanted = serde_json::json!({
            "timestamp": "1970-01-01T00:00:00.000000Z", "level": "INFO", "message": "Said \"so\"\nand so",
            "who": "naïve\u{1}", "cost": 0.25, "target": "pointsman::test",
        });
        assert_eq!(read, wanted);
    }

    #[test]
    fn the_dashboard_reads_pairs_of_texts() {
        let line = LineBuilder::of("Hello", ("model", "gpt-4o")).line(7, Timestamp::UNIX_EPOCH, "warn", "t");
        let wanted = serde_json::json!({
            "seq": 7, "at_ms": 0, "level": "warn", "target": "t", "message": "Hello", "fields": [["model", "gpt-4o"]],
        });
        assert_eq!(serde_json::to_value(&line).unwrap(), wanted);
    }

    #[test]
    fn what_was_said_is_forgotten() {
        let mut builder = LineBuilder::of("Hello", ("model", "gpt-4o"));
        let _ = builder.line(0, Timestamp::UNIX_EPOCH, "info", "t");
        let next = builder.line(1, Timestamp::UNIX_EPOCH, "info", "t");
        assert_eq!((next.message(), next.fields().count()), ("", 0));
    }
}
