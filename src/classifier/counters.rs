//! Counters: prompts that were read, found in the cache or missed, and how long reading took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::reading::Missed;
use super::timely::{Timely, Turn};

/// Last batches whose times the percentiles are over.
const RECENT: usize = 512;

/// Counters that only grow, and the last times.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Readings of whole prompts. Each kind has a counter of its own: a difference of two, which are not read at the
    /// same moment, could fall.
    whole: AtomicU64,
    shortened: AtomicU64,
    cached: AtomicU64,
    abandoned: AtomicU64,
    batches: AtomicU64,
    tokens: AtomicU64,
    /// Requests that got no reading, by [`Missed::COUNTED`].
    missed: [AtomicU64; Missed::COUNTED.len()],
    recent: Mutex<Recent>,
    timely: Mutex<Timely>,
}

#[derive(Debug, Default)]
struct Recent {
    micros: Vec<u32>,
    next: usize,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that got a reading made for them.
    pub read: u64,
    /// Those of them whose prompt was read in part, so that it was read in time.
    pub shortened: u64,
    /// Requests whose reading was in the cache.
    pub cached: u64,
    /// Prompts that were skipped or read in vain, because their request no longer waited: it counts as too slow, or its
    /// client has left.
    pub abandoned: u64,
    /// Batches of prompts that were read, in vain or not.
    pub batches: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Requests that got no reading, by the name of the reason ([`Missed::word`]).
    pub missed: [(&'static str, u64); Missed::COUNTED.len()],
    /// Median time of the last batches, microseconds.
    pub p50_us: u32,
    /// 99th percentile of the last batches' times, microseconds.
    pub p99_us: u32,
}

impl Counts {
    /// Requests that got no reading for the reason of this name.
    pub fn missed(&self, word: &str) -> u64 {
        self.missed.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count)
    }
}

impl Counters {
    pub(super) fn read(&self, shortened: bool) {
        add(if shortened { &self.shortened } else { &self.whole }, 1);
    }

    pub(super) fn cached(&self) {
        add(&self.cached, 1);
    }

    pub(super) fn abandoned(&self) {
        add(&self.abandoned, 1);
    }

    pub(super) fn batch(&self, tokens: usize, took: Duration) {
        add(&self.tokens, tokens as u64);
        add(&self.batches, 1);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let mut recent = self.recent.lock();
        let at = recent.next;
        match recent.micros.get_mut(at) {
            Some(slot) => *slot = micros,
            None => recent.micros.push(micros),
        }
        recent.next = (at + 1) % RECENT;
    }

    pub(super) fn missed(&self, missed: &Missed) {
        if let Some(at) = Missed::COUNTED.iter().position(|word| *word == missed.word()) {
            add(&self.missed[at], 1);
        }
    }

    /// Notes whether a readable prompt was read in time, and logs a line when most are no longer, or are again.
    pub(super) fn timely(&self, in_time: bool) {
        match self.timely.lock().note(in_time) {
            Some(Turn::FellBehind { share }) => tracing::warn!(
                share,
                "Most prompts are not read in time and are routed without a reading: the machine is too busy or too slow for \
                 classifier.budget_ms"
            ),
            Some(Turn::CaughtUp { share }) => tracing::info!(share, "Prompts are read in time again"),
            None => {}
        }
    }

    /// Share of the last prompts that were read in time; `None` where there were too few.
    pub(super) fn in_time(&self) -> Option<f64> {
        self.timely.lock().share()
    }

    pub(super) fn now(&self) -> Counts {
        let mut recent = self.recent.lock().micros.clone();
        recent.sort_unstable();
        let quantile = |share: f64| {
            let at = (share * recent.len() as f64) as usize;
            recent.get(at.min(recent.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shortened = get(&self.shortened);
        Counts {
            read: get(&self.whole) + shortened,
            shortened,
            cached: get(&self.cached),
            abandoned: get(&self.abandoned),
            batches: get(&self.batches),
            tokens: get(&self.tokens),
            missed: std::array::from_fn(|at| (Missed::COUNTED[at], get(&self.missed[at]))),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_whole_prompts_are_never_taken_back() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| (0..200_000).for_each(|_| counters.read(true)));
            while !counting.is_finished() {
                let now = counters.now();
                assert_eq!(now.read, now.shortened, "none was of a whole prompt");
            }
        });
        counters.read(false);
        assert_eq!((counters.now().read, counters.now().shortened), (200_001, 200_000));
    }

    #[test]
    fn percentiles_are_of_the_last_ones() {
        let counters = Counters::default();
        assert_eq!(counters.now().p50_us, 0);
        for micros in 1..=1000 {
            counters.batch(10, Duration::from_micros(micros));
        }
        let now = counters.now();
        assert_eq!((now.batches, now.tokens), (1000, 10_000));
        assert!((740..=750).contains(&now.p50_us), "{}", now.p50_us);
        assert!((990..=1000).contains(&now.p99_us), "{}", now.p99_us);
    }
}
