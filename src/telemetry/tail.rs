//! The last log lines, for the dashboard: a bounded ring in memory, and every further line for those who watch.
//!
//! One for the process, as logging is. It holds what the log holds, so what the log must not say (prompts, keys) is
//! not here either.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Line, Said};
use super::writer::LineWriter;

/// Lines that are kept.
pub const KEPT: usize = 2_000;

/// Lines that a watcher may be behind.
const BEHIND: usize = 1_024;

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
            || has(self.message())
            || has(self.target)
            || self.fields().any(|(name, value)| has(name) || has(value)))
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

    fn push(&self, level: &'static str, target: &'static str, said: &mut Said) -> Arc<Line> {
        let at = Timestamp::now();
        let mut lines = self.lines.lock();
        let seq = lines.back().map_or(0, |line| line.seq + 1);
        let line = Arc::new(said.line(seq, at, level, target));
        // Freed after the lock is.
        let _oldest = if lines.len() >= KEPT { lines.pop_front() } else { None };
        lines.push_back(Arc::clone(&line));
        if self.live.receiver_count() > 0 {
            // An error means that the last watcher just left.
            let _ = self.live.send(Arc::clone(&line));
        }
        drop(lines);
        line
    }
}

fn choose(lines: &VecDeque<Arc<Line>>, level: Option<&str>, text: &str, limit: usize) -> Vec<Arc<Line>> {
    let text = text.to_lowercase();
    let mut chosen: Vec<_> =
        lines.iter().rev().filter(|line| line.passes(level, &text)).take(limit).cloned().collect();
    chosen.reverse();
    chosen
}

/// Puts events into the process's tail, and into a log of JSON where one is written.
#[derive(Debug, Clone, Default)]
pub(super) struct IntoTail {
    pub(super) json: Option<LineWriter>,
}

thread_local! {
    static SAID: RefCell<Said> = RefCell::default();
}

impl<S: Subscriber> Layer<S> for IntoTail {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let keep = |said: &mut Said| {
            said.forget();
            event.record(said);
            let line = tail().push(level, event.metadata().target(), said);
            if let Some(json) = &self.json {
                json.line(line);
            }
        };
        SAID.with(|said| match said.try_borrow_mut() {
            Ok(mut said) => keep(&mut said),
            // A value that logs while it is being logged.
            Err(_) => keep(&mut Said::default()),
        });
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn said(message: &str) -> Said {
        Said::of(message, ("model", "gpt-4o"))
    }

    #[test]
    fn lines_are_chosen_by_level_and_text() {
        let tail = Tail::new();
        tail.push("error", "pointsman::app", &mut said("Broken"));
        tail.push("info", "pointsman::http", &mut said("Answered a chat"));
        tail.push("debug", "pointsman::http", &mut said("Answered"));
        let chosen = |level, text| tail.recent(level, text, 10).iter().map(|line| line.seq).collect::<Vec<_>>();
        assert_eq!(chosen(None, ""), [0, 1, 2]);
        assert_eq!(chosen(Some("info"), ""), [0, 1]);
        assert_eq!(chosen(None, "ANSWERED"), [1, 2]);
        assert_eq!(chosen(Some("error"), "gpt-4o"), [0]);
    }

    #[test]
    fn the_ring_is_bounded() {
        let tail = Tail::new();
        (0..KEPT + 5).for_each(|_| drop(tail.push("info", "t", &mut said("x"))));
        let lines = tail.recent(None, "", usize::MAX);
        assert_eq!((lines.len(), lines[0].seq), (KEPT, 5));
    }

    #[test]
    fn events_come_with_their_fields_and_long_ones_are_cut() {
        let long = "ä".repeat(2_000);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(IntoTail::default()), || {
            tracing::warn!(tail.test = 7, long, price = 0.000_001_25, "A line of the tail's test");
        });
        let line = tail().recent(None, "a line of the tail's test", 1).remove(0);
        let fields: Vec<_> = line.fields().collect();
        assert_eq!((line.level, fields[0]), ("warn", ("tail.test", "7")));
        assert_eq!(fields[1].1.chars().count(), 1_001, "and a mark that it was cut");
        assert_eq!(fields[2], ("price", "0.00000125"));
    }
}
