//! How long each model's answers turn out beside what was expected of them.
//!
//! What the classifier says of answers' lengths comes from models that are like this one, or from none, and a cost
//! that is wrong by half moves a choice as much as several points of quality. So the tokens of real answers are added
//! up beside those expected, old ones fading, and what is expected next is multiplied by their ratio. It begins at
//! one.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::protocol::ModelName;

/// Answers that the beginning counts as.
const FIRST: f64 = 5.0;

/// What an answer keeps of its weight at each later one: the last hundred or so count.
const KEPT: f64 = 0.99;

/// A ratio beyond this (or below its inverse) is some mistake.
const MOST: f64 = 10.0;

/// Ratios by model.
#[derive(Debug, Default)]
pub struct Lengths {
    sums: Mutex<HashMap<ModelName, Sums>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    expected: f64,
    came: f64,
}

impl Sums {
    fn ratio(&self) -> f64 {
        if self.expected <= 0.0 {
            return 1.0;
        }
        let first = FIRST * self.expected / self.count;
        ((first + self.came) / (first + self.expected)).clamp(1.0 / MOST, MOST)
    }
}

impl Lengths {
    /// Takes in an answer of which `expected` tokens were expected, by this very ratio.
    pub fn observe(&self, model: &ModelName, expected: f64, came: u64) {
        if !(expected.is_finite() && expected > 0.0) {
            return;
        }
        let mut all = self.sums.lock();
        let sums = all.entry(model.clone()).or_default();
        let plain = expected / sums.ratio();
        sums.count = sums.count * KEPT + 1.0;
        sums.expected = sums.expected * KEPT + plain;
        sums.came = sums.came * KEPT + came as f64;
    }

    /// What to multiply an expectation by.
    pub fn ratio(&self, model: &ModelName) -> f64 {
        self.sums.lock().get(model).map_or(1.0, Sums::ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_corrects_what_is_expected() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        assert_eq!(lengths.ratio(&model), 1.0);
        for _ in 0..60 {
            // Twice as long as the classifier says, which says 100.
            lengths.observe(&model, 100.0 * lengths.ratio(&model), 200);
        }
        assert!((lengths.ratio(&model) - 2.0).abs() < 0.1, "{}", lengths.ratio(&model));
        for _ in 0..400 {
            lengths.observe(&model, 100.0 * lengths.ratio(&model), 50);
        }
        assert!((lengths.ratio(&model) - 0.5).abs() < 0.1, "it follows: {}", lengths.ratio(&model));
    }

    #[test]
    fn the_first_answers_move_it_little_and_nonsense_not_at_all() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        lengths.observe(&model, 100.0, 400);
        assert!((lengths.ratio(&model) - 1.5).abs() < 1e-9);
        lengths.observe(&model, f64::NAN, 400);
        lengths.observe(&model, 0.0, 400);
        assert!((lengths.ratio(&model) - 1.5).abs() < 1e-9);
    }
}
