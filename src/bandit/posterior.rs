//! The posterior of each model's correction: hierarchical Bayesian linear regression of reward less prior.
//!
//! **The model.** With `x = [1, logit P, z, k]`, reward = `P + x . (s + v_m) + noise`: `P` is the classifier's
//! probability, `s` the effects that all models have in common, `v_m` the model's own; both have mean 0 and the
//! variances of [`Settings`]. So before any feedback the expectation *is* the classifier's. Feedback adds a
//! **correction** `x . (s + v_m)`: up or down, by the logit of `P`, by the prompt's features `z`, and by its kind of
//! work `k` (one-hot; [`Shape`]). Kinds may vary more than features: what a model is good at can be said in a word, and
//! a few ratings should say it.
//!
//! **The sums.** Per model `A = sum w x x'`, `b = sum w x r` with `r` = reward - P, and `c = sum w r r` ([`Moments`]).
//! The rest follows from them ([`fit`]): with `D` the prior precision, `C = (D + A/n)^-1` (`n` the noise variance) and
//! everything about `s` integrated out exactly (Lindley and Smith 1972, "Bayes Estimates for the Linear Model"):
//!
//! - information on `s`: `S = D_s + sum (D - D C D)`, `h = sum D C b/n`, mean `S^-1 h`
//! - model: mean `C b/n + C D s`, covariance `C + C D S^-1 D C`.
//!
//! A reward in [0, 1] is not Gaussian; the linear form is used because its sums fade, merge and recompute exactly, and
//! because the correction is small where the classifier is any good.

use serde::{Deserialize, Serialize};

use super::context::Grounds;
use super::matrix::{Square, Symmetric, dot};
use super::predictive::Predictive;
use super::settings::Settings;
use super::shape::{BASE, Shape};

/// Weighted sums over a model's observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Moments {
    gram: Symmetric,
    pull: Vec<f64>,
    square: f64,
}

impl Moments {
    pub(super) fn new(dim: usize) -> Self {
        Self { gram: Symmetric::zero(dim), pull: vec![0.0; dim], square: 0.0 }
    }

    pub(super) fn dim(&self) -> usize {
        self.pull.len()
    }

    pub(super) fn is_sound(&self) -> bool {
        let numbers = self.pull.iter().all(|entry| entry.is_finite()) && self.square.is_finite();
        self.gram.is_sound() && self.gram.dim() == self.pull.len() && numbers
    }

    /// Number of observations, after fading.
    pub(super) fn weight(&self) -> f64 {
        self.gram.at(0, 0)
    }

    /// Number of observations of each kind of work, after fading.
    pub(super) fn kinds(&self, shape: Shape) -> impl Iterator<Item = f64> {
        (shape.kinds_from()..shape.dim()).map(|at| self.gram.at(at, at))
    }

    /// Mean of reward - prior.
    pub(super) fn level(&self) -> f64 {
        if self.weight() > 0.0 { self.pull[0] / self.weight() } else { 0.0 }
    }

    pub(super) fn add(&mut self, x: &[f64], residual: f64, weight: f64) {
        self.gram.add_outer(x, weight);
        for (pull, x) in self.pull.iter_mut().zip(x) {
            *pull += weight * residual * x;
        }
        self.square += weight * residual * residual;
    }

    pub(super) fn fade(&mut self, factor: f64) {
        self.gram.scale(factor);
        self.pull.iter_mut().for_each(|pull| *pull *= factor);
        self.square *= factor;
    }

    /// Adds `by` to every reward so far.
    pub(super) fn shift(&mut self, by: f64) {
        self.square += 2.0 * by * self.pull[0] + by * by * self.weight();
        for at in 0..self.dim() {
            self.pull[at] += by * self.gram.at(at, 0);
        }
    }

    /// The sums in another shape. With another number of features, level, slope and kinds stay and the features' sums
    /// are dropped. With more kinds everything stays, and the new ones' sums are 0.
    pub(super) fn reshaped(&self, from: Shape, to: Shape) -> Self {
        let keep = if from.features == to.features { from.kinds_from() } else { BASE };
        let kinds = (0..from.kinds.min(to.kinds)).map(|kind| (from.kinds_from() + kind, to.kinds_from() + kind));
        let places: Vec<(usize, usize)> = (0..keep).map(|at| (at, at)).chain(kinds).collect();
        let mut pull = vec![0.0; to.dim()];
        places.iter().for_each(|(old, new)| pull[*new] = self.pull[*old]);
        Self { gram: self.gram.placed(&places, to.dim()), pull, square: self.square }
    }

    /// Sum of squared residuals around their own mean.
    fn scatter(&self) -> f64 {
        (self.square - self.pull[0] * self.level()).max(0.0)
    }
}

/// The posterior of one model's correction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Belief {
    mean: Vec<f64>,
    /// Variance of the level, common effects included.
    level_variance: f64,
    /// The mean, and the covariance given the common effects, laid out for choosing.
    pub(super) predictive: Predictive,
    /// Number of observations, after fading.
    pub(super) weight: f64,
    /// Number of observations of each kind of work; empty for a model that was never seen.
    pub(super) kinds: Vec<f64>,
    /// Whether the model has not changed lately.
    pub(super) settled: bool,
}

impl Belief {
    /// Mean weights of `x`.
    pub(super) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Standard deviation of the correction on an average prompt.
    pub(super) fn level_spread(&self) -> f64 {
        self.level_variance.max(0.0).sqrt()
    }
}

/// Beliefs about all models, and about models that were never seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beliefs {
    /// In the order the moments came in.
    pub(super) arms: Vec<Belief>,
    /// Beliefs about a model that was never seen (the common effects, with its own prior variance), one for each of
    /// [`Grounds::ALL`] in that order.
    newcomers: [Belief; 3],
    /// Standard deviation of a reward around its expectation.
    pub(super) noise: f64,
    /// How much models of weak priors differ by kind of work: 0 = as little as [`SPREADS`] allows, 1 = much.
    pub(super) fields: f64,
}

impl Beliefs {
    /// The belief about a model that was never seen.
    pub(super) fn newcomer(&self, grounds: Grounds) -> &Belief {
        &self.newcomers[grounds as usize]
    }
}

/// Weight of the configured noise against the observed one, in observations.
const NOISE_WEIGHT: f64 = 50.0;

/// A model's sums, and how much they count now.
pub(super) struct Sums<'a> {
    pub(super) moments: &'a Moments,
    /// Factor that the sums have faded by.
    pub(super) fade: f64,
    /// What its prior rests on.
    pub(super) grounds: Grounds,
    /// Whether the model has not changed lately.
    pub(super) settled: bool,
}

/// Shares of [`Settings::weak_kind`] that are averaged by their evidence.
const SPREADS: [f64; 3] = [0.4, 0.7, 1.0];

/// Multiples of [`Settings::likened_lean`] that are averaged by their evidence, and what each counts before any. Most
/// users' models differ little by what no label says of their prompts, and slopes in many features are slow to learn.
const SLOPES: [(f64, f64); 3] = [(1.0, 0.9), (2.0, 0.08), (4.0, 0.02)];

/// The posterior of `arms`. A function of the sums alone.
///
/// How far models differ by the kind of work is not known beforehand: for one user they are nearly alike, for another
/// each is a specialist. So where priors are weak, that variance is the mean over [`SPREADS`], weighted by the marginal
/// likelihood of the rewards (empirical Bayes; Morris 1983, "Parametric Empirical Bayes Inference"). After it, in the same
/// way, the variance of likened models' slopes in features ([`SLOPES`]): a user's kinds of work may be others than those
/// that have a label.
pub(super) fn fit(arms: &[Sums<'_>], shape: Shape, settings: &Settings) -> Beliefs {
    let mut chosen = *settings;
    let mut fields = 0.0;
    if shape.kinds > 0 && !arms.iter().all(|arm| arm.grounds == Grounds::Fitted) {
        let of = |weak_kind: f64| Settings { weak_kind, ..chosen };
        let tried = SPREADS.map(|share| (share * settings.weak_kind, 1.0));
        let spread = weighed(tried, |spread| Posterior::of(arms, shape, &of(spread)).evidence);
        let [least, usual, _] = SPREADS.map(|share| share * settings.weak_kind);
        fields = if usual > least { ((spread - least) / (usual - least)).clamp(0.0, 1.0) } else { 0.0 };
        chosen = of(spread);
    }
    if shape.features > 0 && arms.iter().any(|arm| arm.grounds == Grounds::Likened) {
        let of = |likened_lean: f64| Settings { likened_lean, ..chosen };
        let tried = SLOPES.map(|(factor, weight)| (factor * settings.likened_lean, weight));
        chosen = of(weighed(tried, |slope| Posterior::of(arms, shape, &of(slope)).evidence));
    }
    // A model that was never tried keeps the whole spread: the others' observations say little about it.
    Posterior::of(arms, shape, &chosen).beliefs(shape, settings, fields)
}

/// The root of the mean square of what is tried, each weighted by what it counts beforehand and by its evidence.
fn weighed(tried: [(f64, f64); 3], evidence: impl Fn(f64) -> f64) -> f64 {
    let known = tried.map(|(spread, weight)| (spread, weight, evidence(spread)));
    let most = known.iter().map(|(.., evidence)| *evidence).fold(f64::NEG_INFINITY, f64::max);
    let (mut variance, mut weights) = (0.0, 0.0);
    for (spread, weight, evidence) in known {
        let weight = weight * (evidence - most).exp();
        variance += weight * spread.powi(2);
        weights += weight;
    }
    (variance / weights).sqrt()
}

/// The posterior under given settings: of each model, and of the common effects.
struct Posterior {
    own: Vec<Own>,
    /// `S^-1`.
    common: Square,
    /// `S^-1 h`.
    common_mean: Vec<f64>,
    noise: f64,
    /// Log marginal likelihood of the rewards, less terms that do not depend on the prior variances: with
    /// `u = b/n`, `sum (log|D| - log|D + A/n| + u' C u) / 2 + (log|D_s| - log|S| + h' S^-1 h) / 2`.
    evidence: f64,
}

/// One model, given the common effects.
struct Own {
    /// `C`.
    covariance: Square,
    /// `C b/n`.
    pulled: Vec<f64>,
    /// `D`.
    precision: Vec<f64>,
    weight: f64,
    kinds: Vec<f64>,
    settled: bool,
}

fn inverses(variances: &[f64]) -> Vec<f64> {
    variances.iter().map(|variance| 1.0 / variance).collect()
}

impl Posterior {
    fn of(arms: &[Sums<'_>], shape: Shape, settings: &Settings) -> Self {
        let dim = shape.dim();
        let mut noise = (NOISE_WEIGHT * settings.noise.powi(2), NOISE_WEIGHT);
        for Sums { moments, fade, .. } in arms {
            noise.0 += fade * moments.scatter();
            noise.1 += fade * moments.weight();
        }
        let noise = (noise.0 / noise.1).max(1e-4);
        let mut evidence = 0.0;
        let fitted = arms.iter().any(|arm| arm.grounds == Grounds::Fitted);
        let best = if fitted { Grounds::Fitted } else { Grounds::Nothing };
        let logs = |precision: &[f64]| precision.iter().map(|entry| entry.ln()).sum::<f64>();
        let common_precision = inverses(&settings.common_variances(shape, best));
        let mut information = Symmetric::diagonal(&common_precision);
        let mut pull = vec![0.0; dim];
        let own = arms
            .iter()
            .map(|Sums { moments, fade, grounds, settled }| {
                let precision = inverses(&settings.own_variances(shape, *grounds));
                let mut total = Symmetric::diagonal(&precision);
                total.add(&moments.gram, fade / noise);
                // The prior precision makes it positive definite; should rounding ever break that, the belief is the
                // prior.
                let inverse = total.inverse().or_else(|| Symmetric::diagonal(&precision).inverse());
                let (covariance, log_determinant) = inverse.unwrap_or_else(|| (Square::zero(dim), 0.0));
                let scaled: Vec<f64> = moments.pull.iter().map(|pull| pull * fade / noise).collect();
                let pulled = covariance.times(&scaled);
                evidence += (logs(&precision) - log_determinant + dot(&scaled, &pulled)) / 2.0;
                for row in 0..dim {
                    pull[row] += precision[row] * pulled[row];
                    for column in 0..=row {
                        let known = precision[row] * covariance.at(row, column) * precision[column];
                        let whole = if row == column { precision[row] } else { 0.0 };
                        information.add_at(row, column, whole - known);
                    }
                }
                let kinds = moments.kinds(shape).map(|count| fade * count).collect();
                Own { covariance, pulled, precision, weight: fade * moments.weight(), kinds, settled: *settled }
            })
            .collect();
        let (common, log_determinant) = information.inverse().unwrap_or_else(|| (Square::zero(dim), 0.0));
        let common_mean = common.times(&pull);
        evidence += (logs(&common_precision) - log_determinant + dot(&pull, &common_mean)) / 2.0;
        Self { own, common, common_mean, noise, evidence }
    }

    fn beliefs(self, shape: Shape, settings: &Settings, fields: f64) -> Beliefs {
        let times = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<_>>();
        let arms = self.own.iter().map(|own| {
            let passed_on = own.covariance.times(&times(&own.precision, &self.common_mean));
            let mean: Vec<f64> = own.pulled.iter().zip(passed_on).map(|(mean, more)| mean + more).collect();
            // The only entry of the whole covariance that is ever used.
            let level = self.common.quadratic(&times(&own.precision, own.covariance.row(0)));
            Belief {
                predictive: Predictive::new(&mean, &own.covariance, shape),
                mean,
                level_variance: own.covariance.at(0, 0) + level,
                weight: own.weight,
                kinds: own.kinds.clone(),
                settled: own.settled,
            }
        });
        let newcomers = Grounds::ALL.map(|grounds| {
            let own = Square::diagonal(&settings.own_variances(shape, grounds));
            Belief {
                predictive: Predictive::new(&self.common_mean, &own, shape),
                mean: self.common_mean.clone(),
                level_variance: self.common.at(0, 0) + own.at(0, 0),
                weight: 0.0,
                kinds: Vec::new(),
                settled: true,
            }
        });
        Beliefs { arms: arms.collect(), newcomers, noise: self.noise.sqrt(), fields }
    }
}
