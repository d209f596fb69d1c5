//! How long each model's answers are, compared with what was expected of them.
//!
//! The classifier knows answer lengths of similar models only, or of none, and a cost that is wrong by half moves a
//! choice as much as several points of quality. So for each model the tokens of real answers and the expected ones
//! are summed up, with old ones fading, and the next expectation is multiplied by their ratio. A model's ratio begins
//! at that of the other models: if all answers are short here, a new model's will be, too.
//!
//! Answers whose length is bounded below what is expected (by the request or the model) have sums of their own,
//! compared with the bound: a limit of five tokens says nothing about stories, and stories nothing about such
//! answers.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::protocol::ModelName;

/// How many answers the initial ratio counts for.
const PRIOR_ANSWERS: f64 = 5.0;

/// What an answer keeps of its weight at each later one: the last hundred or so count.
const DECAY: f64 = 0.99;

/// Ratios beyond this (or below its inverse) are mistakes.
const MAX_RATIO: f64 = 10.0;

/// The expected length of an answer, before the ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Expected tokens: the prediction, or the bound if that is lower.
    pub tokens: f64,
    /// Whether `tokens` is the bound.
    pub bounded: bool,
}

/// Ratios of real to expected lengths, by model.
#[derive(Debug, Default)]
pub struct Lengths {
    /// Unbounded answers, and bounded ones.
    all: Mutex<[ByModel; 2]>,
}

#[derive(Debug, Default)]
struct ByModel {
    models: HashMap<ModelName, Sums>,
    /// Sum over all models.
    log_ratios: LogRatios,
}

/// Logarithms of the models' ratios, weighted by how many answers each rests on, and the sum of these weights: from
/// them follows the initial ratio of a model. The prior counts as one model with ratio 1.
#[derive(Debug, Clone, Copy, Default)]
struct LogRatios {
    sum: f64,
    weight: f64,
}

/// What is kept over a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeptLengths([HashMap<ModelName, Sums>; 2]);

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    count: f64,
    expected: f64,
    came: f64,
}

fn bounded_ratio(ratio: f64) -> f64 {
    ratio.clamp(1.0 / MAX_RATIO, MAX_RATIO)
}

impl Sums {
    /// The model's ratio, where the other models' is `usual`.
    fn ratio(&self, usual: f64) -> f64 {
        if self.expected <= 0.0 {
            return usual;
        }
        let first = PRIOR_ANSWERS * self.expected / self.count;
        bounded_ratio((usual * first + self.came) / (first + self.expected))
    }

    fn log_ratios(&self) -> LogRatios {
        if self.expected <= 0.0 {
            return LogRatios::default();
        }
        let weight = self.count / (self.count + PRIOR_ANSWERS);
        LogRatios { sum: weight * bounded_ratio(self.came / self.expected).ln(), weight }
    }
}

impl ByModel {
    fn of(mut models: HashMap<ModelName, Sums>) -> Self {
        models.retain(|_, Sums { count, expected, came }| {
            [*count, *expected, *came].iter().all(|sum| sum.is_finite() && *sum >= 0.0)
        });
        let all_log_ratios = models.values().map(Sums::log_ratios);
        let log_ratios = all_log_ratios.fold(LogRatios::default(), |all, one| LogRatios {
            sum: all.sum + one.sum,
            weight: all.weight + one.weight,
        });
        Self { models, log_ratios }
    }

    fn ratio(&self, model: &ModelName) -> f64 {
        let own = self.models.get(model).copied().unwrap_or_default();
        let of_own = own.log_ratios();
        let others =
            LogRatios { sum: self.log_ratios.sum - of_own.sum, weight: self.log_ratios.weight - of_own.weight };
        own.ratio(bounded_ratio((others.sum / (others.weight.max(0.0) + 1.0)).exp()))
    }
}

impl Lengths {
    /// Restores what was kept.
    pub fn of(KeptLengths(kept): KeptLengths) -> Self {
        Self { all: Mutex::new(kept.map(ByModel::of)) }
    }

    /// What is to be kept over a restart.
    pub fn kept(&self) -> KeptLengths {
        KeptLengths(self.all.lock().each_ref().map(|all| all.models.clone()))
    }

    /// Takes in an answer of `came` tokens, for which `expected` was predicted before the ratio (not after: the ratio
    /// has changed since). One that was `cut` off would have been longer: it counts as long as expected by now, if
    /// that is more than what came.
    pub fn observe(&self, model: &ModelName, expected: Expected, came: u64, cut: bool) {
        let plain = expected.tokens;
        if !(plain.is_finite() && plain > 0.0) {
            return;
        }
        let all = &mut self.all.lock()[usize::from(expected.bounded)];
        let least = if cut { plain * all.ratio(model) } else { 0.0 };
        let sums = all.models.entry(model.clone()).or_default();
        let before = sums.log_ratios();
        sums.count = sums.count * DECAY + 1.0;
        sums.expected = sums.expected * DECAY + plain;
        sums.came = sums.came * DECAY + (came as f64).max(least);
        let after = sums.log_ratios();
        all.log_ratios.sum += after.sum - before.sum;
        all.log_ratios.weight += after.weight - before.weight;
    }

    /// The expected tokens, corrected by the model's ratio.
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
