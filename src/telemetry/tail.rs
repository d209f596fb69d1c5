//! The last log lines, for the dashboard: a bounded ring in memory, and every new line for those who watch.
//!
//! There is one for the process, as there is one logger. What log lines must not hold (prompts, keys) is not here
//! either.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Line, LineBuilder};
use super::writer::LineWriter;

/// Most lines that are kept.
pub const MAX_LINES: usize = 2_000;

/// Lines that a watcher may be behind before it misses some.
const MAX_LAG: usize = 1_024;

impl Line {
    /// The severity: 0 = error, 4 = trace.
    fn rank(&self) -> usize {
        rank(self.level)
    }

    /// Whether the line is at least as severe as `level` and contains `text` (given in lower case), in any case.
    pub fn passes(&self, level: Option<&str>, text: &str) -> bool {
        let has = |known: &str| known.to_lowercase().contains(text);
        let loud = level.is_none_or(|level| self.rank() <= rank(level));
        loud && (text.is_empty()
            || has(self.message())
            || has(self.target)
            || self.fields().any(|(name, value)| has(name) || has(value)))
    }
}

/// Levels from the most severe to the least.
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
        Self { lines: Mutex::default(), live: broadcast::Sender::new(MAX_LAG) }
    }

    /// The last `limit` lines that pass, oldest first.
    pub fn recent(&self, level: Option<&str>, text: &str, limit: usize) -> Vec<Arc<Line>> {
        choose(&self.lines.lock(), level, text, limit)
    }

    /// The last `limit` lines that pass, and every line from now on.
    pub fn watch(
        &self,
        level: Option<&str>,
        text: &str,
        limit: usize,
    ) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let lines = self.lines.lock();
        (choose(&lines, level, text, limit), self.live.subscribe())
    }

    fn push(&self, level: &'static str, target: &'static str, builder: &mut LineBuilder) -> Arc<Line> {
        let at = Timestamp::now();
        let mut lines = self.lines.lock();
        let seq = lines.back().map_or(0, |line| line.seq + 1);
        let line = Arc::new(builder.line(seq, at, level, target));
        // Freed after the lock is released.
        let _oldest = if lines.len() >= MAX_LINES { lines.pop_front() } else { None };
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

/// Puts events into the process's tail, and as JSON lines to a writer where there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct IntoTail {
    pub(super) json: Option<LineWriter>,
}

thread_local! {
    static BUILDER: RefCell<LineBuilder> = RefCell::default();
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
        let keep = |builder: &mut LineBuilder| {
            builder.clear();
            event.record(builder);
            let line = tail().push(level, event.metadata().target(), builder);
            if let Some(json) = &self.json {
                json.line(line);
            }
        };
        BUILDER.with(|builder| match builder.try_borrow_mut() {
            Ok(mut builder) => keep(&mut builder),
            // A value that logs while it is being logged.
            Err(_) => keep(&mut LineBuilder::default()),
        });
    }
}

/// Runs something whose log lines go to the tail.
#[cfg(test)]
pub(crate) fn heard(run: impl FnOnce()) {
    use tracing_subscriber::layer::SubscriberExt;

    tracing::subscriber::with_default(tracing_subscriber::registry().with(IntoTail::default()), run);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(message: &str) -> LineBuilder {
        LineBuilder::of(message, ("model", "gpt-4o"))
    }

    #[test]
    fn lines_are_chosen_by_level_and_text() {
        let tail = Tail::new();
        tail.push("error", "pointsman::app", &mut builder("Broken"));
        tail.push("info", "pointsman::http", &mut builder("Answered a chat"));
        tail.push("debug", "pointsman::http", &mut builder("Answered"));
        let chosen = |level, text| tail.recent(level, text, 10).iter().map(|line| line.seq).collect::<Vec<_>>();
        assert_eq!(chosen(None, ""), [0, 1, 2]);
        assert_eq!(chosen(Some("info"), ""), [0, 1]);
        assert_eq!(chosen(None, "ANSWERED"), [1, 2]);
        assert_eq!(chosen(Some("error"), "gpt-4o"), [0]);
    }

    #[test]
    fn the_ring_is_bounded() {
        let tail = Tail::new();
        (0..MAX_LINES + 5).for_each(|_| drop(tail.push("info", "t", &mut builder("x"))));
        let lines = tail.recent(None, "", usize::MAX);
        assert_eq!((lines.len(), lines[0].seq), (MAX_LINES, 5));
    }

    #[test]
    fn events_come_with_their_fields_and_long_ones_are_cut() {
        let long = "ä".repeat(2_000);
        heard(|| tracing::warn!(tail.test = 7, long, price = 0.000_001_25, "A line of the tail's test"));
        let line = tail().recent(None, "a line of the tail's test", 1).remove(0);
        let fields: Vec<_> = line.fields().collect();
        assert_eq!((line.level, fields[0]), ("warn", ("tail.test", "7")));
        assert_eq!(fields[1].1.chars().count(), 1_001, "and a mark that it was cut");
        assert_eq!(fields[2], ("price", "0.00000125"));
    }
}
