//! Counts requests that no model could answer, by the model they asked for. They are refused before there is a
//! decision, so the decision log has nothing of them, and without these counts an outage would look like a lull.
//!
//! The counts are in memory, as far back as the overview looks (the last day by the minute, the days before by the
//! hour), and begin anew after a restart.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::protocol::{ApiError, ErrorKind};
use crate::store::{AHEAD_MS, Window, let_go};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Most names that are counted apart in a minute or an hour: clients can make up any number of them.
const MAX_NAMES: usize = 32;

/// The name that all further ones are counted under.
const OTHERS: &str = "others";

/// The counts.
#[derive(Debug)]
pub struct Refusals {
    /// By the minute for a day, and by the hour for the longest window.
    levels: Mutex<[Level; 2]>,
}

/// Counts by the beginning of a step and by name.
#[derive(Debug)]
struct Level {
    step_ms: i64,
    /// Steps that are kept: those of the window, the partial ones at its ends, and those of a clock that is ahead.
    max_steps: usize,
    counts: BTreeMap<i64, BTreeMap<String, u64>>,
}

impl Level {
    fn new(step_ms: i64, window: Window) -> Self {
        Self { step_ms, max_steps: (window.lengths().0 / step_ms + 4) as usize, counts: BTreeMap::new() }
    }

    fn note(&mut self, requested: &str, at_ms: i64) {
        let names = self.counts.entry(self.start(at_ms)).or_default();
        let name = if names.len() < MAX_NAMES || names.contains_key(requested) { requested } else { OTHERS };
        *names.entry(name.to_owned()).or_default() += 1;
        let_go(&mut self.counts, self.max_steps, |from_ms, _| *from_ms > at_ms + AHEAD_MS);
    }

    fn start(&self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.step_ms) * self.step_ms
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self { levels: Mutex::new([Level::new(MINUTE_MS, Window::Day), Level::new(HOUR_MS, Window::Month)]) }
    }
}

impl Refusals {
    /// Counts a request for the model `requested` that was refused at `at_ms`, if the reason was that no model could
    /// answer.
    pub fn note(&self, requested: &str, error: &ApiError, at_ms: i64) {
        // `RateLimited`: vendors have told all deployments to wait.
        if !matches!(error.kind, ErrorKind::Unavailable | ErrorKind::RateLimited) {
            return;
        }
        self.levels.lock().iter_mut().for_each(|level| level.note(requested, at_ms));
    }

    /// The counts in the `window` that ends at `until_ms`, by the model asked for.
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
        refusals.note("a", &error(ErrorKind::Unavailable), NOW - 20 * 24 * HOUR_MS);
        refusals.note("a", &error(ErrorKind::Unavailable), NOW - 20 * MINUTE_MS);
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
        assert_eq!(refusals.within(Window::Hour, NOW + 1)[OTHERS], 100 - MAX_NAMES as u64);
        (0..1000).for_each(|hour| refusals.note("later", &error, NOW + hour * HOUR_MS));
        (0..2000).for_each(|minute| refusals.note("later", &error, NOW + 1000 * HOUR_MS + minute * MINUTE_MS));
        assert_eq!(refusals.levels.lock().each_ref().map(|level| level.counts.len()), [24 * 60 + 4, 30 * 24 + 4]);
    }

    #[test]
    fn a_clock_that_was_ahead_costs_nothing_that_is_shown_once_it_is_right() {
        let refusals = Refusals::default();
        let error = ApiError::new(ErrorKind::Unavailable, "");
        (0..30).for_each(|day| refusals.note("a", &error, NOW - day * 24 * HOUR_MS));
        (0..1430).for_each(|minute| refusals.note("a", &error, NOW + 365 * 24 * HOUR_MS + minute * MINUTE_MS));
        let later = NOW + 1430 * MINUTE_MS;
        refusals.note("a", &error, later);
        let count = |window| refusals.within(window, later + 1)["a"];
        assert_eq!((count(Window::Hour), count(Window::Day), count(Window::Month)), (1, 2, 31));
    }
}
