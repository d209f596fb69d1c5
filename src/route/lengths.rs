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
//!
//! So do answers to prompts that a head expected something of, and answers expected to be of the usual length: their
//! ratios have nothing in common. Those of another head than the present one are dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Expected tokens: the prediction, or the bound if that is lower.
    pub tokens: f64,
    /// Whether `tokens` is the bound.
    pub bounded: bool,
    /// The bound: most tokens that the request and the model allow.
    pub most: f64,
    /// The space of the head that predicted it; empty = the usual length, whatever the prompt.
    pub space: Arc<str>,
}

/// Ratios of real to expected lengths, by model.
#[derive(Debug, Default)]
pub struct Lengths {
    /// Unbounded answers and bounded ones, by [`Expected::space`]: the empty one, and that of one head.
    all: Mutex<BTreeMap<Arc<str>, [ByModel; 2]>>,
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
pub struct KeptLengths(BTreeMap<String, [HashMap<ModelName, Sums>; 2]>);

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
        let by_space = kept.into_iter().map(|(space, kept)| (space.into(), kept.map(ByModel::of)));
        Self { all: Mutex::new(by_space.collect()) }
    }

    /// What is to be kept over a restart.
    pub fn kept(&self) -> KeptLengths {
        let all = self.all.lock();
        let models = |all: &[ByModel; 2]| all.each_ref().map(|all| all.models.clone());
        KeptLengths(all.iter().map(|(space, all)| (space.to_string(), models(all))).collect())
    }

    /// Takes in an answer of `came` tokens, for which `expected` was predicted before the ratio (not after: the ratio
    /// has changed since). One that was `cut` off at the bound would have been longer: it counts as long as expected
    /// by now, if that is more than what came. One that was cut earlier, by the server's own limit, is as long as that.
    pub fn observe(&self, model: &ModelName, expected: &Expected, came: u64, cut: bool) {
        let plain = expected.tokens;
        if !(plain.is_finite() && plain > 0.0) {
            return;
        }
        let mut all = self.all.lock();
        if !all.contains_key(&expected.space) {
            // Another head: its predecessor's ratios are of no use any more.
            all.retain(|space, _| space.is_empty() || expected.space.is_empty());
        }
        let all = &mut all.entry(Arc::clone(&expected.space)).or_default()[usize::from(expected.bounded)];
        // Some vendors stop a token before the bound.
        let least = if cut && came as f64 + 1.0 >= expected.most { plain * all.ratio(model) } else { 0.0 };
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
    pub fn expect(&self, model: &ModelName, expected: &Expected) -> f64 {
        let all = self.all.lock();
        let all = all.get(&expected.space).map(|all| &all[usize::from(expected.bounded)]);
        expected.tokens * all.map_or(1.0, |all| all.ratio(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(tokens: f64) -> Expected {
        Expected { tokens, bounded: false, most: f64::INFINITY, space: "".into() }
    }

    fn ratio(lengths: &Lengths, model: &ModelName) -> f64 {
        lengths.expect(model, &free(1.0))
    }

    #[test]
    fn what_comes_corrects_what_is_expected() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        assert_eq!(ratio(&lengths, &model), 1.0);
        for _ in 0..60 {
            // Twice as long as the classifier says, which says 100.
            lengths.observe(&model, &free(100.0), 200, false);
        }
        assert!((ratio(&lengths, &model) - 2.0).abs() < 0.1, "{}", ratio(&lengths, &model));
        for _ in 0..400 {
            lengths.observe(&model, &free(100.0), 50, false);
        }
        assert!((ratio(&lengths, &model) - 0.5).abs() < 0.1, "it follows: {}", ratio(&lengths, &model));
    }

    #[test]
    fn the_first_answers_move_it_little_and_nonsense_not_at_all() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        lengths.observe(&model, &free(100.0), 400, false);
        assert!((ratio(&lengths, &model) - 1.5).abs() < 1e-9);
        lengths.observe(&model, &free(f64::NAN), 400, false);
        lengths.observe(&model, &free(0.0), 400, false);
        assert!((ratio(&lengths, &model) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn what_was_kept_says_the_same_of_all() {
        let lengths = Lengths::default();
        for (model, came) in [("a", 200), ("b", 50)] {
            (0..30).for_each(|_| lengths.observe(&model.into(), &free(400.0), came, false));
        }
        let again = Lengths::of(lengths.kept());
        for model in ["a", "b", "untried"].map(ModelName::from) {
            let (told, before) = (ratio(&again, &model), ratio(&lengths, &model));
            assert!((told - before).abs() < 1e-9 && told < 0.7, "{model:?}: {told} {before}");
        }
        let mut kept = lengths.kept();
        kept.0.get_mut("").unwrap()[0].values_mut().for_each(|sums| sums.came = f64::NAN);
        assert_eq!(ratio(&Lengths::of(kept), &"a".into()), 1.0);
    }

    #[test]
    fn a_model_without_answers_is_taken_for_one_like_the_others() {
        let (lengths, untried) = (Lengths::default(), ModelName::from("untried"));
        for model in ["a", "b", "c", "d"].map(ModelName::from) {
            for _ in 0..100 {
                lengths.observe(&model, &free(400.0), 200, false);
            }
        }
        let told = ratio(&lengths, &untried);
        assert!((0.5..0.62).contains(&told), "{told}");
        // Its own answers are the stronger word.
        for _ in 0..100 {
            lengths.observe(&untried, &free(400.0), 800, false);
        }
        let told = ratio(&lengths, &untried);
        assert!((1.8..2.0).contains(&told), "{told}");
    }

    #[test]
    fn of_what_was_cut_off_only_that_it_was_longer_is_known() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        for _ in 0..100 {
            lengths.observe(&model, &free(100.0), 150, false);
        }
        let before = ratio(&lengths, &model);
        let at_most = |most: f64| Expected { most, ..free(100.0) };
        for _ in 0..100 {
            lengths.observe(&model, &at_most(120.0), 120, true);
        }
        assert!((ratio(&lengths, &model) - before).abs() < 0.05, "that is no news: {}", ratio(&lengths, &model));
        for _ in 0..400 {
            lengths.observe(&model, &at_most(300.0), 300, true);
        }
        assert!((ratio(&lengths, &model) - 3.0).abs() < 0.15, "that is: {}", ratio(&lengths, &model));
    }

    #[test]
    fn answers_that_may_not_be_longer_are_learned_apart() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        let bounded = Expected { bounded: true, most: 256.0, ..free(256.0) };
        for _ in 0..200 {
            lengths.observe(&model, &bounded, 30, false);
        }
        let told = lengths.expect(&model, &bounded);
        assert!((28.0..50.0).contains(&told), "{told}");
        assert_eq!(ratio(&lengths, &model), 1.0, "of those that may be longer nothing is known");
        let again = Lengths::of(lengths.kept());
        assert!((again.expect(&model, &bounded) - told).abs() < 1e-9);
    }

    #[test]
    fn a_servers_own_limit_is_how_long_its_answers_are() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        // The other models' answers are five times as long as expected; this server ends each of its own at 512.
        for other in ["b", "c", "d", "e"].map(ModelName::from) {
            (0..100).for_each(|_| lengths.observe(&other, &free(178.0), 890, false));
        }
        for most in [f64::INFINITY, 4_096.0] {
            let expected = Expected { most, ..free(178.0) };
            assert!(lengths.expect(&model, &expected) > 510.0);
            (0..500).for_each(|_| lengths.observe(&model, &expected, 512, true));
            let told = lengths.expect(&model, &expected);
            assert!((510.0..525.0).contains(&told), "{told}");
            // Longer answers before, as with a limit that was set since.
            (0..200).for_each(|_| lengths.observe(&model, &expected, 690, false));
        }
    }

    #[test]
    fn ratios_to_what_another_head_expected_say_nothing() {
        let (lengths, model) = (Lengths::default(), ModelName::from("a"));
        let by = |space: &str, tokens: f64| Expected { space: space.into(), ..free(tokens) };
        // Each answer has 190 tokens. Nobody reads the prompts; then a head does that is right, though not in time for
        // all.
        (0..200).for_each(|_| lengths.observe(&model, &free(400.0), 190, false));
        let lengths = Lengths::of(lengths.kept());
        assert_eq!(lengths.expect(&model, &by("one", 190.0)), 190.0);
        for _ in 0..200 {
            lengths.observe(&model, &by("one", 190.0), 190, false);
            lengths.observe(&model, &free(400.0), 190, false);
        }
        let lengths = Lengths::of(lengths.kept());
        for expected in [by("one", 190.0), free(400.0)] {
            let told = lengths.expect(&model, &expected);
            assert!((185.0..205.0).contains(&told), "{told} by {expected:?}");
        }
        // Another head says half of it, and the first is forgotten.
        (0..200).for_each(|_| lengths.observe(&model, &by("other", 95.0), 190, false));
        let told = ["other", "one", ""].map(|space| lengths.expect(&model, &by(space, 100.0)).round());
        assert!((195.0..=200.0).contains(&told[0]) && told[1] == 100.0 && told[2] < 55.0, "{told:?}");
        assert_eq!(lengths.kept().0.len(), 2);
    }
}
