//! What changes on the way.

use super::hindsight::best_single;
use super::stream::Stream;

/// Something that changes the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The best model costs five times as much.
    Price,
    /// The best model's answers are worth less than half of what they were.
    Drop,
    /// The best model was not there before, and comes now.
    New,
    /// What dropped recovers.
    Recover,
}

impl Happening {
    /// Their names.
    pub const ALL: [(&'static str, Self); 4] =
        [("price", Self::Price), ("drop", Self::Drop), ("new", Self::New), ("recover", Self::Recover)];

    /// The happening of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, happening)| happening)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// What a dropped model's scores are multiplied by.
const DROPPED: f32 = 0.4;
/// What a raised price is multiplied by.
const RAISED: f64 = 5.0;

/// Happenings at equal distances along a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Happenings {
    at: Vec<(usize, Happening)>,
    /// The model that is best over the whole stream, which is the one things happen to.
    star: usize,
}

impl Happenings {
    /// Spreads `happenings` over `stream` in their order, with a stretch before the first and after each.
    pub fn over(stream: &Stream, happenings: &[Happening]) -> Self {
        let step = stream.items.len() / (happenings.len() + 1);
        let at = happenings.iter().enumerate().map(|(place, happening)| (step * (place + 1), *happening)).collect();
        Self { at, star: star(stream) }
    }

    /// The model things happen to.
    pub fn star(&self) -> usize {
        self.star
    }

    /// When what happens, by item.
    pub fn all(&self) -> &[(usize, Happening)] {
        &self.at
    }

    /// Ends of the stretches between happenings.
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

    /// What `arm`'s answer to item `at` is worth as things then are.
    pub fn score(&self, stream: &Stream, at: usize, arm: usize) -> Option<f32> {
        let score = stream.items[at].scores[arm]?;
        if arm != self.star {
            return Some(score);
        }
        let last = |wanted: Happening| self.at.iter().rev().find(|(when, it)| *it == wanted && *when <= at);
        let waits = self.at.iter().any(|(when, happening)| *happening == Happening::New && *when > at);
        if waits {
            return None;
        }
        let dropped = last(Happening::Drop).map(|(when, _)| *when);
        let recovered = last(Happening::Recover).map(|(when, _)| *when);
        let down = dropped.is_some_and(|dropped| recovered.is_none_or(|recovered| recovered < dropped));
        Some(if down { score * DROPPED } else { score })
    }

    /// What an `arm`'s prices are multiplied by at item `at`.
    pub fn price(&self, at: usize, arm: usize) -> f64 {
        let raised = self.at.iter().any(|(when, happening)| *happening == Happening::Price && *when <= at);
        if arm == self.star && raised { RAISED } else { 1.0 }
    }
}

fn star(stream: &Stream) -> usize {
    best_single(stream.arms.len(), 0..stream.items.len(), |at, arm| stream.items[at].scores[arm])
        .map_or(0, |it| it.arm)
}
