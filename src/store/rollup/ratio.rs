//! Ratios of real to predicted costs, by model. Each follows the model's own answers as far as there are some, and else
//! the other models' ratios: a random-effects meta-analysis, in which each model is a study (DerSimonian and Laird,
//! "Meta-analysis in clinical trials", Controlled Clinical Trials 7, 1986). One ratio for all would take a model that
//! writes at length for as brief as those that answer most.

use std::collections::BTreeMap;

/// Least standard deviation between models' ratios, as a share of their mean. Predictions learn from answers, so the
/// ratios of models that answer are near 1, which says little about a model that hardly did.
const MIN_SPREAD: f64 = 0.3;

/// Weight, in answers, of all models' common variance beside a model's own, which is mere chance for few answers.
const SHARED: f64 = 10.0;

/// Standard deviation of the ratio where there are no answers at all.
const UNKNOWN_SPREAD: f64 = 0.5;

/// Least standard error of a ratio, as a share of the ratio of all models together.
const MIN_ERROR: f64 = 1e-3;

/// Sums over the predicted and real costs of answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ratio {
    count: f64,
    predicted: f64,
    spent: f64,
    predicted_squared: f64,
    spent_squared: f64,
    product: f64,
}

impl Ratio {
    /// Adds an answer, or takes it out (`sign` -1).
    pub(super) fn note(&mut self, predicted: f64, spent: f64, sign: f64) {
        self.merge(&Self {
            count: sign,
            predicted: sign * predicted,
            spent: sign * spent,
            predicted_squared: sign * predicted * predicted,
            spent_squared: sign * spent * spent,
            product: sign * predicted * spent,
        });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.predicted += other.predicted;
        self.spent += other.spent;
        self.predicted_squared += other.predicted_squared;
        self.spent_squared += other.spent_squared;
        self.product += other.product;
    }

    /// Real over predicted costs (Cochran, "Sampling Techniques", 3rd ed. 1977, chapter 6); `None` below two answers.
    fn value(&self) -> Option<f64> {
        (self.count >= 2.0 && self.predicted > 0.0).then(|| self.spent / self.predicted)
    }

    /// Mean squared difference between an answer's real cost and `ratio` times its prediction.
    fn residual(&self, ratio: f64) -> f64 {
        let squares = self.spent_squared - 2.0 * ratio * self.product + ratio * ratio * self.predicted_squared;
        squares.max(0.0) / (self.count - 1.0)
    }
}

/// An estimated ratio and its variance.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    ratio: f64,
    variance: f64,
}

/// The ratios of all models.
#[derive(Debug)]
pub(super) struct Ratios {
    own: BTreeMap<u32, Estimate>,
    /// The ratio of a model without answers.
    other: Estimate,
    /// Mean squared difference between real cost and corrected prediction, over the mean squared prediction.
    noise: f64,
}

impl Ratios {
    /// The ratios, from the sums of each model.
    pub(super) fn new<'a>(models: impl Iterator<Item = (u32, &'a Ratio)>) -> Self {
        let known: Vec<(u32, f64, &Ratio)> =
            models.filter_map(|(model, sums)| Some((model, sums.value()?, sums))).collect();
        if known.is_empty() {
            let other = Estimate { ratio: 1.0, variance: UNKNOWN_SPREAD.powi(2) };
            return Self { own: BTreeMap::new(), other, noise: 0.0 };
        }
        let total =
            |of: &dyn Fn(f64, &Ratio) -> f64| known.iter().map(|(_, ratio, sums)| of(*ratio, sums)).sum::<f64>();
        let noise =
            total(&|ratio, sums| sums.count * sums.residual(ratio)) / total(&|_, sums| sums.predicted_squared);
        let all = total(&|_, sums| sums.spent) / total(&|_, sums| sums.predicted);
        let least = (MIN_ERROR * all.max(MIN_ERROR)).powi(2);
        let alone = |(model, ratio, sums): &(u32, f64, &Ratio)| {
            let answers = sums.count - 1.0;
            let shared = noise * sums.predicted_squared;
            let squares = (answers * sums.residual(*ratio) * sums.count + SHARED * shared) / (answers + SHARED);
            let variance = (squares / sums.predicted.powi(2)).max(least);
            (*model, Estimate { ratio: *ratio, variance })
        };
        let alone: Vec<(u32, Estimate)> = known.iter().map(alone).collect();
        let between = between(alone.iter().map(|(_, own)| own));
        let mean = pooled(alone.iter().map(|(_, own)| Estimate { variance: own.variance + between, ..*own }));
        let other = Estimate { ratio: mean.ratio, variance: mean.variance + between };
        let own = alone.into_iter().map(|(model, own)| (model, pooled([own, other].into_iter()))).collect();
        Self { own, other, noise }
    }

    /// Estimated cost of a model, given the sums of its predictions and of their squares; and half of the 95 %
    /// interval.
    pub(super) fn cost(&self, model: u32, predicted: f64, predicted_squared: f64) -> (f64, f64) {
        let Estimate { ratio, variance } = self.own.get(&model).unwrap_or(&self.other);
        let variance = predicted.powi(2) * variance + predicted_squared * self.noise;
        (predicted * ratio, 1.96 * variance.sqrt())
    }
}

/// The mean of some estimates, weighted by inverse variance.
fn pooled(estimates: impl Iterator<Item = Estimate>) -> Estimate {
    let (weight, sum) = estimates.fold((0.0, 0.0), |(weight, sum), Estimate { ratio, variance }| {
        (weight + 1.0 / variance, sum + ratio / variance)
    });
    Estimate { ratio: sum / weight, variance: 1.0 / weight }
}

/// The variance between models' true ratios.
fn between<'a>(models: impl Iterator<Item = &'a Estimate> + Clone) -> f64 {
    let mean = pooled(models.clone().copied()).ratio;
    let (mut count, mut weight, mut squared, mut spread) = (0.0, 0.0, 0.0, 0.0);
    for Estimate { ratio, variance } in models {
        count += 1.0;
        weight += 1.0 / variance;
        squared += 1.0 / variance.powi(2);
        spread += (ratio - mean).powi(2) / variance;
    }
    let free = weight - squared / weight;
    let found = if free > 0.0 { (spread - (count - 1.0)) / free } else { 0.0 };
    found.max((MIN_SPREAD * mean).powi(2))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::*;

    fn normal(rng: &mut SmallRng) -> f64 {
        (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    /// Worlds of six models whose answers are longer or shorter than predicted, each in its way (`apart`), of which one
    /// gives most of `requests` answers. How often the interval holds the truth, and how far off the estimate is.
    fn coverage(requests: usize, apart: f64) -> (f64, f64) {
        const SHARES: [f64; 6] = [0.6, 0.8, 0.9, 0.96, 0.99, 1.0];
        let mut rng = SmallRng::seed_from_u64(7);
        let (mut held, mut off, mut count) = (0.0, 0.0, 0.0);
        for _ in 0..100 {
            let wordy: Vec<f64> = SHARES.iter().map(|_| (apart * normal(&mut rng)).exp() * 1.3).collect();
            let mut answers = [Ratio::default(); 6];
            let mut sums = [(0.0, 0.0, 0.0); 6];
            for _ in 0..requests {
                let length = (0.8 * normal(&mut rng)).exp();
                let draw = rng.random::<f64>();
                let chosen = SHARES.iter().position(|until| draw < *until).unwrap();
                for (model, factor) in wordy.iter().enumerate() {
                    let predicted = length * (model + 1) as f64;
                    let spent = predicted * factor * (0.5 * normal(&mut rng) - 0.125).exp();
                    let sum = &mut sums[model];
                    *sum = (sum.0 + predicted, sum.1 + predicted * predicted, sum.2 + spent);
                    if model == chosen {
                        answers[model].note(predicted, spent, 1.0);
                    }
                }
            }
            let ratios = Ratios::new(answers.iter().enumerate().map(|(model, sums)| (model as u32, sums)));
            for (model, (predicted, squared, truth)) in sums.into_iter().enumerate() {
                let (cost, error) = ratios.cost(model as u32, predicted, squared);
                held += f64::from(u8::from((cost - truth).abs() <= error));
                off += (cost - truth).abs() / truth;
                count += 1.0;
            }
        }
        (held / count, off / count)
    }

    #[test]
    fn intervals_hold_the_truth_whether_models_are_alike_or_not() {
        for (requests, apart, nearly) in [(60, 0.0, 0.2), (300, 0.0, 0.12), (300, 0.5, 0.2), (2_000, 0.5, 0.08)] {
            let (held, off) = coverage(requests, apart);
            assert!(held > 0.88, "{requests} requests, {apart} apart: {held:.2} held");
            assert!(off < nearly, "{requests} requests, {apart} apart: off by {off:.2}");
        }
    }

    #[test]
    fn nothing_to_compare_leaves_the_prediction_and_much_doubt() {
        let one = |predicted, spent| {
            let mut ratio = Ratio::default();
            ratio.note(predicted, spent, 1.0);
            ratio
        };
        let mut free = one(0.0, 0.0);
        free.note(0.0, 0.0, 1.0);
        for ratio in [Ratio::default(), one(1.0, 3.0), free] {
            assert_eq!(Ratios::new([(0, &ratio)].into_iter()).cost(0, 2.0, 1.0), (2.0, 1.96));
        }
        let mut nothing_spent = one(1.0, 0.0);
        nothing_spent.note(1.0, 0.0, 1.0);
        assert_eq!(Ratios::new([(0, &nothing_spent)].into_iter()).cost(0, 2.0, 1.0).0, 0.0);
        let mut usual = one(1.0, 1.5);
        usual.note(1.0, 1.3, 1.0);
        let (cost, error) = Ratios::new([(0, &nothing_spent), (1, &usual)].into_iter()).cost(1, 2.0, 1.0);
        assert!((2.0..3.0).contains(&cost) && error.is_finite(), "{cost} {error}");
    }
}
