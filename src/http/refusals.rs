//! Requests that no model could answer, counted by what they asked for: refused before there was a decision, they are
//! in no log, and an outage would show as a lull.
//!
//! In memory, as far back as the overview looks (a day by the minute, before it by the hour): after a restart the count
//! begins anew.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::protocol::{ApiError, ErrorKind};
use crate::store::Window;

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
    kept_ms: i64,
    counts: BTreeMap<i64, BTreeMap<String, u64>>,
}

impl Level {
    fn new(step_ms: i64, window: Window) -> Self {
        Self { step_ms, kept_ms: window.lengths().0 + step_ms, counts: BTreeMap::new() }
    }

    fn note(&mut self, requested: &str, at_ms: i64) {
        while self.counts.first_key_value().is_some_and(|(from_ms, _)| *from_ms < at_ms - self.kept_ms) {
            self.counts.pop_first();
        }
        let names = self.counts.entry(self.start(at_ms)).or_default();
        let name = if names.len() < NAMES || names.contains_key(requested) { requested } else { OTHERS };
        *names.entry(name.to_owned()).or_default() += 1;
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
        for (name, count) in level.counts.range(level.start(window.from_ms(until_ms))..).flat_map(|(_, names)| names)
        {
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
        refusals.note("later", &error, NOW + 31 * 24 * HOUR);
        assert_eq!(refusals.levels.lock().each_ref().map(|level| level.counts.len()), [1, 1]);
    }
}
