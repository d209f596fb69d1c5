//! Requests that no model could answer, counted by what they asked for: refused before there was a decision, they are
//! in no log, and an outage would show as a lull.
//!
//! In memory, by the minute, as far back as the overview looks: after a restart the count begins anew.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::protocol::{ApiError, ErrorKind};
use crate::store::Window;

const MINUTE: i64 = 60_000;

/// Names that are told apart in a minute. What is asked for is a client's own words (`auto:cost`, a model in other
/// letters).
const NAMES: usize = 32;

/// What the others are called.
const OTHERS: &str = "others";

/// The counts.
#[derive(Debug, Default)]
pub struct Refusals {
    minutes: Mutex<BTreeMap<i64, BTreeMap<String, u64>>>,
}

impl Refusals {
    /// Counts a request for `requested` that was refused at `at_ms`, if that was for want of a model.
    pub fn note(&self, requested: &str, error: &ApiError, at_ms: i64) {
        // Limited: all of them rest, by a word of their vendors.
        if !matches!(error.kind, ErrorKind::Unavailable | ErrorKind::RateLimited) {
            return;
        }
        let mut minutes = self.minutes.lock();
        let (longest, _) = Window::Week.lengths();
        while minutes.first_key_value().is_some_and(|(from_ms, _)| *from_ms < at_ms - longest - MINUTE) {
            minutes.pop_first();
        }
        let names = minutes.entry(at_ms.div_euclid(MINUTE) * MINUTE).or_default();
        let name = if names.len() < NAMES || names.contains_key(requested) { requested } else { OTHERS };
        *names.entry(name.to_owned()).or_default() += 1;
    }

    /// How many there were from a moment on, by what was asked for.
    pub fn since(&self, from_ms: i64) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (name, count) in
            self.minutes.lock().range(from_ms.div_euclid(MINUTE) * MINUTE..).flat_map(|(_, names)| names)
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
        refusals.note("a", &error(ErrorKind::Unavailable), NOW - 60 * MINUTE);
        refusals.note("a", &error(ErrorKind::Unavailable), NOW);
        refusals.note("b", &error(ErrorKind::RateLimited), NOW);
        refusals.note("c", &error(ErrorKind::NotFound), NOW);
        let of = |from_ms| refusals.since(from_ms).into_iter().collect::<Vec<_>>();
        assert_eq!(of(NOW - 10 * MINUTE), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(of(NOW - 90 * MINUTE), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    }

    #[test]
    fn neither_time_nor_names_make_it_large() {
        let refusals = Refusals::default();
        let error = ApiError::new(ErrorKind::Unavailable, "");
        for number in 0..100 {
            refusals.note(&number.to_string(), &error, NOW);
        }
        assert_eq!(refusals.since(NOW)[OTHERS], 100 - NAMES as u64);
        refusals.note("later", &error, NOW + 8 * 24 * 60 * MINUTE);
        assert_eq!(refusals.minutes.lock().len(), 1);
    }
}
