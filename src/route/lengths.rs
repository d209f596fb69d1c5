//! How long each model's answers turn out beside what was expected of them.
//!
//! What the classifier says of answers' lengths comes from models that are like this one, or from none, and a cost
//! that is wrong by half moves a choice as much as several points of quality. So the tokens of real answers are added
//! up beside those expected, old ones fading, and what is expected next is multiplied by their ratio. It begins where
//! the other models are: that all answers are short here is known of a model, too, that was never asked.
//!
//! Answers of which a request, or a model, allows less than is expected are added up apart, beside what was allowed:
//! five tokens allowed for one word say nothing of stories, nor stories of those.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::protocol::ModelName;

/// Answers that the beginning counts as.
const FIRST: f64 = 5.0;

/// What an answer keeps of its weight at each later one: the last hundred or so count.
const KEPT: f64 = 0.99;

/// A ratio beyond this (or below its inverse) is some mistake.
const MOST: f64 = 10.0;

/// What is expected of an answer, before any ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Tokens: what was read of the prompt, or what is allowed.
    pub tokens: f64,
    /// Whether no more is allowed than that.
    pub bounded: bool,
}

/// Ratios by model.
#[derive(Debug, Default)]
pub struct Lengths {
    /// Of answers that could be as long as expected, and of the others.
    all: Mutex<[All; 2]>,
}

#[derive(Debug, Default)]
struct All {
    models: HashMap<ModelName, Sums>,
    /// Of all models together.
    leaning: Leaning,
}

/// What models say of each other: logarithms of their own ratios, weighed by how many answers they rest on, and the sum
/// of these weights. Nothing at all counts as one model that turns out as expected.
#[derive(Debug, Clone, Copy, Default)]
struct Leaning {
    sum: f64,
    weight: f64,
}

/// What is kept of them over a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeptLengths([HashMap<ModelName, Sums>; 2]);

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    count: f64,
    expected: f64,
    came: f64,
}

fn sane(ratio: f64) -> f64 {
    ratio.clamp(1.0 / MOST, MOST)
}

impl Sums {
    /// Its ratio, where the other models' is `usual`.
    fn ratio(&self, usual: f64) -> f64 {
        if self.expected <= 0.0 {
            return usual;
        }
        let first = FIRST * self.expected / self.count;
        sane((usual * first + self.came) / (first + self.expected))
    }

    fn leaning(&self) -> Leaning {
        if self.expected <= 0.0 {
            return Leaning::default();
        }
        let weight = self.count / (self.count + FIRST);
        Leaning { sum: weight * sane(self.came / self.expected).ln(), weight }
    }
}

impl All {
    fn of(mut models: HashMap<ModelName, Sums>) -> Self {
        models.retain(|_, Sums { count, expected, came }| {
            [*count, *expected, *came].iter().all(|sum| sum.is_finite() && *sum >= 0.0)
        });
        let leanings = models.values().map(Sums::leaning);
        let leaning = leanings
            .fold(Leaning::default(), |all, one| Leaning { sum: all.sum + one.sum, weight: all.weight + one.weight });
        Self { models, leaning }
    }

    fn ratio(&self, model: &ModelName) -> f64 {
        let own = self.models.get(model).copied().unwrap_or_default();
        let of_own = own.leaning();
        let others = Leaning { sum: self.leaning.sum - of_own.sum, weight: self.leaning.weight - of_own.weight };
        own.ratio(sane((others.sum / (others.weight.max(0.0) + 1.0)).exp()))
    }
}

impl Lengths {
    /// Those that were kept.
    pub fn of(KeptLengths(kept): KeptLengths) -> Self {
        Self { all: Mutex::new(kept.map(All::of)) }
    }

    /// What is to be kept.
    pub fn kept(&self) -> KeptLengths {
        KeptLengths(self.all.lock().each_ref().map(|all| all.models.clone()))
    }

    /// Takes in an answer of which so much was expected before any ratio: by then the ratio is another than the one that
    /// it was multiplied by. One that was `cut` off would have been longer: as long as it is expected to be by now, if that
    /// is more than what came.
    pub fn observe(&self, model: &ModelName, expected: Expected, came: u64, cut: bool) {
        let plain = expected.tokens;
        if !(plain.is_finite() && plain > 0.0) {
            return;
        }
        let all = &mut self.all.lock()[usize::from(expected.bounded)];
        let least = if cut { plain * all.ratio(model) } else { 0.0 };
        let sums = all.models.entry(model.clone()).or_default();
        let before = sums.leaning();
        sums.count = sums.count * KEPT + 1.0;
        sums.expected = sums.expected * KEPT + plain;
        sums.came = sums.came * KEPT + (came as f64).max(least);
        let after = sums.leaning();
        all.leaning.sum += after.sum - before.sum;
        all.leaning.weight += after.weight - before.weight;
    }

    /// How many tokens to expect after all.
    pub fn expect(&self, model: &ModelName, expected: Expected) -> f64 {
        expected.tokens * self.all.lock()[usize::from(expected.bounded)].ratio(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(tokens: f64) -> Expected {
        Expected { tokens, bounded: false }
    }

    fn ratio(lengths: &Lengths, model: &ModelName) -> f64 {
        lengths.expect(model, free(1.0))
    }

    #[test]
    fn what_comes_corrects_what_is_expected() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        assert_eq!(ratio(&lengths, &model), 1.0);
        for _ in 0..60 {
            // Twice as long as the classifier says, which says 100.
            lengths.observe(&model, free(100.0), 200, false);
        }
        assert!((ratio(&lengths, &model) - 2.0).abs() < 0.1, "{}", ratio(&lengths, &model));
        for _ in 0..400 {
            lengths.observe(&model, free(100.0), 50, false);
        }
        assert!((ratio(&lengths, &model) - 0.5).abs() < 0.1, "it follows: {}", ratio(&lengths, &model));
    }

    #[test]
    fn the_first_answers_move_it_little_and_nonsense_not_at_all() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        lengths.observe(&model, free(100.0), 400, false);
        assert!((ratio(&lengths, &model) - 1.5).abs() < 1e-9);
        lengths.observe(&model, free(f64::NAN), 400, false);
        lengths.observe(&model, free(0.0), 400, false);
        assert!((ratio(&lengths, &model) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn what_was_kept_says_the_same_of_all() {
        let lengths = Lengths::default();
        for (model, came) in [("a", 200), ("b", 50)] {
            (0..30).for_each(|_| lengths.observe(&model.into(), free(400.0), came, false));
        }
        let again = Lengths::of(lengths.kept());
        for model in ["a", "b", "untried"].map(ModelName::from) {
            let (told, before) = (ratio(&again, &model), ratio(&lengths, &model));
            assert!((told - before).abs() < 1e-9 && told < 0.7, "{model:?}: {told} {before}");
        }
        let mut kept = lengths.kept();
        kept.0[0].values_mut().for_each(|sums| sums.came = f64::NAN);
        assert_eq!(ratio(&Lengths::of(kept), &"a".into()), 1.0);
    }

    #[test]
    fn a_model_without_answers_is_taken_for_one_like_the_others() {
        let (lengths, untried) = (Lengths::default(), ModelName::from("untried"));
        for model in ["a", "b", "c", "d"].map(ModelName::from) {
            for _ in 0..100 {
                lengths.observe(&model, free(400.0), 200, false);
            }
        }
        let told = ratio(&lengths, &untried);
        assert!((0.5..0.62).contains(&told), "{told}");
        // Its own answers are the stronger word.
        for _ in 0..100 {
            lengths.observe(&untried, free(400.0), 800, false);
        }
        let told = ratio(&lengths, &untried);
        assert!((1.8..2.0).contains(&told), "{told}");
    }

    #[test]
    fn of_what_was_cut_off_only_that_it_was_longer_is_known() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        for _ in 0..100 {
            lengths.observe(&model, free(100.0), 150, false);
        }
        let before = ratio(&lengths, &model);
        for _ in 0..100 {
            lengths.observe(&model, free(100.0), 120, true);
        }
        assert!((ratio(&lengths, &model) - before).abs() < 0.05, "that is no news: {}", ratio(&lengths, &model));
        for _ in 0..400 {
            lengths.observe(&model, free(100.0), 300, true);
        }
        assert!((ratio(&lengths, &model) - 3.0).abs() < 0.15, "that is: {}", ratio(&lengths, &model));
    }

    #[test]
    fn answers_that_may_not_be_longer_are_learned_apart() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        let bounded = Expected { tokens: 256.0, bounded: true };
        for _ in 0..200 {
            lengths.observe(&model, bounded, 30, false);
        }
        let told = lengths.expect(&model, bounded);
        assert!((28.0..50.0).contains(&told), "{told}");
        assert_eq!(ratio(&lengths, &model), 1.0, "of those that may be longer nothing is known");
        let again = Lengths::of(lengths.kept());
        assert!((again.expect(&model, bounded) - told).abs() < 1e-9);
    }
}
