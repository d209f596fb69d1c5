//! Events of a replay: prices and models change while it runs.

use super::hindsight::best_single;
use super::stream::Stream;

/// An event that changes the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The best model costs five times as much.
    Price,
    /// The best model's answers are worth less than half of what they were.
    Drop,
    /// The best model becomes available.
    New,
    /// A model that dropped recovers.
    Recover,
}

impl Event {
    /// Their names.
    pub const ALL: [(&'static str, Self); 4] =
        [("price", Self::Price), ("drop", Self::Drop), ("new", Self::New), ("recover", Self::Recover)];

    /// The event of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, event)| event)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// Factor of a dropped model's scores.
const DROPPED: f32 = 0.4;
/// Factor of a raised price.
const RAISED: f64 = 5.0;

/// Events at equal distances along a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Events {
    at: Vec<(usize, Event)>,
    /// The model that events happen to: the best over the whole stream.
    star: usize,
}

impl Events {
    /// Spreads events over `stream` in their order, with a stretch before the first and after each.
    pub fn over(stream: &Stream, events: &[Event]) -> Self {
        let step = stream.items.len() / (events.len() + 1);
        let at = events.iter().enumerate().map(|(place, event)| (step * (place + 1), *event)).collect();
        Self { at, star: star(stream) }
    }

    /// The model that events happen to.
    pub fn star(&self) -> usize {
        self.star
    }

    /// Each event with the index of the item at which it happens.
    pub fn all(&self) -> &[(usize, Event)] {
        &self.at
    }

    /// Ends of the stretches between events.
    pub fn stretches(&self, length: usize) -> Vec<(usize, usize)> {
        let mut from = 0;
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        for until in self.at.iter().map(|(at, _)| *at).chain([length]) {
            if until > from {
                stretches.push((from, until));
            }
            from = until;
        }
        stretches
    }

    /// Reward of `arm`'s answer to item `at`, events up to then included.
    pub fn score(&self, stream: &Stream, at: usize, arm: usize) -> Option<f32> {
        let score = stream.items[at].scores[arm]?;
        if arm != self.star {
            return Some(score);
        }
        let last = |wanted: Event| self.at.iter().rev().find(|(when, it)| *it == wanted && *when <= at);
        let waits = self.at.iter().any(|(when, event)| *event == Event::New && *when > at);
        if waits {
            return None;
        }
        let dropped = last(Event::Drop).map(|(when, _)| *when);
        let recovered = last(Event::Recover).map(|(when, _)| *when);
        let down = dropped.is_some_and(|dropped| recovered.is_none_or(|recovered| recovered < dropped));
        Some(if down { score * DROPPED } else { score })
    }

    /// Factor of `arm`'s prices at item `at`.
    pub fn price(&self, at: usize, arm: usize) -> f64 {
        let raised = self.at.iter().any(|(when, event)| *event == Event::Price && *when <= at);
        if arm == self.star && raised { RAISED } else { 1.0 }
    }
}

fn star(stream: &Stream) -> usize {
    best_single(stream.arms.len(), 0..stream.items.len(), |at, arm| stream.items[at].scores[arm])
        .map_or(0, |it| it.arm)
}
