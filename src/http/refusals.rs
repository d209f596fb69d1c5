//! Requests that no model could answer, counted by what they asked for: refused before there was a decision, they are
//! in no log, and an outage would show as a lull.
//!
//! In memory, as far back as the overview looks (a day by the minute, before it by the hour): after a restart the count
//! begins anew.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::protocol::{ApiError, ErrorKind};
use crate::store::{AHEAD_MS, Window, let_go};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Names that are told apart in a minute or an hour. What is asked for is a client's own words (`auto:cost`, a model in other
/// letters).
const NAMES: usize = 32;

/// What the others are called.
const OTHERS: &str = "others";

/// The counts.
#[derive(Debug)]
pub struct Refusals {
    /// By the minute for a day, and by the hour for as long as anybody looks back.
    levels: Mutex<[Level; 2]>,
}

/// Counts by the beginning of a stretch and by name.
#[derive(Debug)]
struct Level {
    step_ms: i64,
    /// Stretches that are kept: a window is partly in its first and its last, and so is the time that a clock was ahead.
    most: usize,
    counts: BTreeMap<i64, BTreeMap<String, u64>>,
}

impl Level {
    fn new(step_ms: i64, window: Window) -> Self {
        Self { step_ms, most: (window.lengths().0 / step_ms + 4) as usize, counts: BTreeMap::new() }
    }

    fn note(&mut self, requested: &str, at_ms: i64) {
        let names = self.counts.entry(self.start(at_ms)).or_default();
        let name = if names.len() < NAMES || names.contains_key(requested) { requested } else { OTHERS };
        *names.entry(name.to_owned()).or_default() += 1;
        let_go(&mut self.counts, self.most, |from_ms, _| *from_ms > at_ms + AHEAD_MS);
    }

    fn start(&self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.step_ms) * self.step_ms
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self { levels: Mutex::new([Level::new(MINUTE, Window::Day), Level::new(HOUR, Window::Month)]) }
    }
}

impl Refusals {
    /// Counts a request for `requested` that was refused at `at_ms`, if that was for want of a model.
    pub fn note(&self, requested: &str, error: &ApiError, at_ms: i64) {
        // Limited: all of them rest, by a word of their vendors.
        if !matches!(error.kind, ErrorKind::Unavailable | ErrorKind::RateLimited) {
            return;
        }
        self.levels.lock().iter_mut().for_each(|level| level.note(requested, at_ms));
    }

    /// How many there were in the `window` that ends at `until_ms`, by what was asked for.
    pub fn within(&self, window: Window, until_ms: i64) -> BTreeMap<String, u64> {
        let [minutes, hours] = &*self.levels.lock();
        let level = if window.lengths().0 <= Window::Day.lengths().0 { minutes } else { hours };
        let mut all = BTreeMap::new();
        let from_ms = level.start(window.from_ms(until_ms));
        for (name, count) in level.counts.range(from_ms..until_ms).flat_map(|(_, names)| names) {
            *all.entry(name.clone()).or_default() += count;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_764_000_123_456;

    #[test]
    fn what_was_refused_for_want_of_a_model_is_counted_by_name_and_time() {
        let refusals = Refusals::default();
        let error = |kind| ApiError::new(kind, "");
        refusals.note("a", &error(ErrorKind::Unavailable), NOW - 20 * 24 * HOUR);
        refusals.note("a", &error(ErrorKind::Unavailable), NOW - 20 * MINUTE);
        refusals.note("a", &error(ErrorKind::Unavailable), NOW);
        refusals.note("b", &error(ErrorKind::RateLimited), NOW);
        refusals.note("c", &error(ErrorKind::NotFound), NOW);
        let of = |window| refusals.within(window, NOW + 1).into_iter().collect::<Vec<_>>();
        assert_eq!(of(Window::TenMinutes), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        for window in [Window::Hour, Window::Day, Window::Week] {
            assert_eq!(of(window), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        }
        assert_eq!(of(Window::Month), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
    }

    #[test]
    fn neither_time_nor_names_make_it_large() {
        let refusals = Refusals::default();
        let error = ApiError::new(ErrorKind::Unavailable, "");
        for number in 0..100 {
            refusals.note(&number.to_string(), &error, NOW);
        }
        assert_eq!(refusals.within(Window::Hour, NOW + 1)[OTHERS], 100 - NAMES as u64);
        (0..1000).for_each(|hour| refusals.note("later", &error, NOW + hour * HOUR));
        (0..2000).for_each(|minute| refusals.note("later", &error, NOW + 1000 * HOUR + minute * MINUTE));
        assert_eq!(refusals.levels.lock().each_ref().map(|level| level.counts.len()), [24 * 60 + 4, 30 * 24 + 4]);
    }

    #[test]
    fn a_clock_that_was_ahead_costs_nothing_that_is_shown_once_it_is_right() {
        let refusals = Refusals::default();
        let error = ApiError::new(ErrorKind::Unavailable, "");
        (0..30).for_each(|day| refusals.note("a", &error, NOW - day * 24 * HOUR));
        (0..1430).for_each(|minute| refusals.note("a", &error, NOW + 365 * 24 * HOUR + minute * MINUTE));
        let later = NOW + 1430 * MINUTE;
        refusals.note("a", &error, later);
        let count = |window| refusals.within(window, later + 1)["a"];
        assert_eq!((count(Window::Hour), count(Window::Day), count(Window::Month)), (1, 2, 31));
    }
}
