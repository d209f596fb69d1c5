//! The last log lines, for the dashboard: a bounded ring in memory, and every further line for those who watch.
//!
//! One for the process, as logging is. It holds what the log holds, so what the log must not say (prompts, keys) is
//! not here either.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that are kept.
pub const KEPT: usize = 2_000;

/// Lines that a watcher may be behind.
const BEHIND: usize = 1_024;

/// Longest message or field, in characters.
const LONGEST: usize = 1_000;

/// Most fields of a line.
const MOST_FIELDS: usize = 40;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number since the start.
    pub seq: u64,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// The module that said it.
    pub target: &'static str,
    /// What it said.
    pub message: String,
    /// Particulars, in order.
    pub fields: Vec<(&'static str, String)>,
}

impl Line {
    /// How bad it is: 0 = error, 4 = trace.
    fn rank(&self) -> usize {
        rank(self.level)
    }

    /// Whether it is at least as bad as `level` and holds `text` (lower case), in any case.
    pub fn passes(&self, level: Option<&str>, text: &str) -> bool {
        let has = |known: &str| known.to_lowercase().contains(text);
        let loud = level.is_none_or(|level| self.rank() <= rank(level));
        loud && (text.is_empty()
            || has(&self.message)
            || has(self.target)
            || self.fields.iter().any(|(name, value)| has(name) || has(value)))
    }
}

/// Levels from the worst to the least.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn rank(level: &str) -> usize {
    LEVELS.iter().position(|known| *known == level).unwrap_or(LEVELS.len())
}

/// The last lines.
#[derive(Debug)]
pub struct Tail {
    lines: Mutex<VecDeque<Arc<Line>>>,
    live: broadcast::Sender<Arc<Line>>,
}

/// The process's tail.
pub fn tail() -> &'static Tail {
    static TAIL: LazyLock<Tail> = LazyLock::new(Tail::new);
    &TAIL
}

impl Tail {
    fn new() -> Self {
        Self { lines: Mutex::default(), live: broadcast::Sender::new(BEHIND) }
    }

    /// The last `limit` lines that pass, oldest first.
    pub fn recent(&self, level: Option<&str>, text: &str, limit: usize) -> Vec<Arc<Line>> {
        choose(&self.lines.lock(), level, text, limit)
    }

    /// The last `limit` lines that pass, and every line from here on.
    pub fn watch(
        &self,
        level: Option<&str>,
        text: &str,
        limit: usize,
    ) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let lines = self.lines.lock();
        (choose(&lines, level, text, limit), self.live.subscribe())
    }

    fn push(&self, level: &'static str, target: &'static str, said: Said) {
        let mut lines = self.lines.lock();
        let seq = lines.back().map_or(0, |line| line.seq + 1);
        let line = Arc::new(Line {
            seq,
            at_ms: Timestamp::now().as_millisecond(),
            level,
            target,
            message: said.message,
            fields: said.fields,
        });
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(Arc::clone(&line));
        if self.live.receiver_count() > 0 {
            // An error means that the last watcher just left.
            let _ = self.live.send(line);
        }
    }
}

fn choose(lines: &VecDeque<Arc<Line>>, level: Option<&str>, text: &str, limit: usize) -> Vec<Arc<Line>> {
    let text = text.to_lowercase();
    let mut chosen: Vec<_> =
        lines.iter().rev().filter(|line| line.passes(level, &text)).take(limit).cloned().collect();
    chosen.reverse();
    chosen
}

/// Puts events into the process's tail.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct IntoTail;

impl<S: Subscriber> Layer<S> for IntoTail {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let fields = event.metadata().fields().len().min(MOST_FIELDS);
        let mut said = Said { message: String::new(), fields: Vec::with_capacity(fields) };
        event.record(&mut said);
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "trace",
        };
        tail().push(level, event.metadata().target(), said);
    }
}

/// What an event says.
#[derive(Debug)]
struct Said {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    fn take(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Short::default();
        // It ends with an error when the text is cut, which is what is wanted.
        let _ = text.write_fmt(value);
        self.keep(field, text);
    }

    fn keep(&mut self, field: &Field, text: Short) {
        if field.name() == "message" {
            self.message = text.0;
        } else if self.fields.len() < MOST_FIELDS {
            self.fields.push((field.name(), text.0));
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Short::default();
        let _ = text.write_str(value);
        self.keep(field, text);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, format_args!("{}", (value * 1e6).round() / 1e6));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format_args!("{value:?}"));
    }
}

/// Text that takes no more than [`LONGEST`] characters. The second part is how many it has, or more: while bytes are few
/// enough, characters need not be counted.
#[derive(Default)]
struct Short(String, usize);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.1 + text.len() <= LONGEST {
            self.0.push_str(text);
            self.1 += text.len();
            return Ok(());
        }
        // Bytes were counted so far, and a character may have several.
        self.1 = self.0.chars().count();
        for c in text.chars() {
            if self.1 >= LONGEST {
                self.0.push('…');
                return Err(fmt::Error);
            }
            self.0.push(c);
            self.1 += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn said(message: &str) -> Said {
        Said { message: message.into(), fields: vec![("model", "gpt-4o".into())] }
    }

    #[test]
    fn lines_are_chosen_by_level_and_text() {
        let tail = Tail::new();
        tail.push("error", "pointsman::app", said("Broken"));
        tail.push("info", "pointsman::http", said("Answered a chat"));
        tail.push("debug", "pointsman::http", said("Answered"));
        let chosen = |level, text| tail.recent(level, text, 10).iter().map(|line| line.seq).collect::<Vec<_>>();
        assert_eq!(chosen(None, ""), [0, 1, 2]);
        assert_eq!(chosen(Some("info"), ""), [0, 1]);
        assert_eq!(chosen(None, "ANSWERED"), [1, 2]);
        assert_eq!(chosen(Some("error"), "gpt-4o"), [0]);
    }

    #[test]
    fn the_ring_is_bounded() {
        let tail = Tail::new();
        (0..KEPT + 5).for_each(|_| tail.push("info", "t", said("x")));
        let lines = tail.recent(None, "", usize::MAX);
        assert_eq!((lines.len(), lines[0].seq), (KEPT, 5));
    }

    #[test]
    fn events_come_with_their_fields_and_long_ones_are_cut() {
        let long = "x".repeat(LONGEST * 2);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(IntoTail), || {
            tracing::warn!(tail.test = 7, long, "A line of the tail's test");
        });
        let lines = tail().recent(None, "a line of the tail's test", 1);
        assert_eq!((lines[0].level, lines[0].fields[0].1.as_str()), ("warn", "7"));
        assert_eq!(lines[0].fields[1].1.chars().count(), LONGEST + 1);
    }
}
