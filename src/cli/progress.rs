//! Progress of long work: on a terminal a bar with the time left, or a count where the total is not known; elsewhere a
//! line now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::say;
use crate::train::fit::{Progress, Stage, Stopped};

/// The pause between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// Shows a job's progress on standard error.
pub(super) struct Bar {
    shown: Mutex<Option<Shown>>,
}

struct Shown {
    bar: ProgressBar,
    stage: Stage,
    total: u64,
    began: Instant,
    told: Instant,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self { shown: Mutex::new(None) }
    }
}

impl Progress for Bar {
    fn begin(&self, stage: Stage, total: u64) {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} %, {eta} left, {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(stage.as_str());
        let now = Instant::now();
        if bar.is_hidden() {
            say(format_args!("{}", stage.as_str()));
        }
        *self.shown.lock() = Some(Shown { bar, stage, total, began: now, told: now });
    }

    fn at(&self, done: u64, note: &str) -> Result<(), Stopped> {
        if let Some(shown) = &mut *self.shown.lock() {
            shown.bar.set_position(done);
            shown.bar.set_message(note.to_owned());
            if shown.bar.is_hidden() && shown.told.elapsed() > LINE_EVERY {
                shown.told = Instant::now();
                let share = done as f64 / shown.total.max(1) as f64;
                let left = shown.began.elapsed().as_secs_f64() * (1.0 / share.max(1e-6) - 1.0);
                let (stage, percent) = (shown.stage.as_str(), 100.0 * share);
                say(format_args!("{stage}: {percent:.0} %, about {left:.0} s left, {note}"));
            }
        }
        Ok(())
    }

    fn end(&self) {
        if let Some(shown) = self.shown.lock().take() {
            shown.bar.finish_and_clear();
            if shown.bar.is_hidden() {
                let (stage, took) = (shown.stage.as_str(), shown.began.elapsed().as_secs_f64());
                say(format_args!("{stage}: done in {took:.0} s"));
            }
        }
    }
}

/// Shows a count on standard error, for work whose total is not known.
pub(super) struct Count {
    bar: ProgressBar,
    what: &'static str,
    told: Instant,
}

impl Count {
    /// A count of `what`: "entries read".
    pub(super) fn of(what: &'static str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        Self { bar: bar.with_message(what), what, told: Instant::now() }
    }

    /// Counts one more.
    pub(super) fn another(&mut self) {
        self.bar.inc(1);
        if self.bar.is_hidden() && self.told.elapsed() > LINE_EVERY {
            self.told = Instant::now();
            say(format_args!("{} {}", self.bar.position(), self.what));
        }
    }

    /// Removes the count.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}
