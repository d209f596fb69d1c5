//! The estimators, all in one form: a mean of one contribution per request.

use serde::{Deserialize, Serialize};

use super::interval::{Bounds, IntervalKind, interval, score};

/// One logged choice, and the evaluated policy's probability of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logged {
    /// Probability with which the chosen model was chosen, above 0.
    pub propensity: f64,
    /// The reward, in [0, 1].
    pub reward: f64,
    /// Probability with which the evaluated policy would have chosen the same model.
    pub target: f64,
    /// The reward model's predictions; needed for DM and DR.
    pub modelled: Option<Modelled>,
}

impl Logged {
    /// The logged choice of `chosen` among candidates. The evaluated policy would have chosen them with the probabilities
    /// `shares`; `expected` is what a reward model expects of each, which must not have seen this choice. `None` where
    /// the propensity is not positive (NaN in an import, say): such a choice says nothing of another policy, and must
    /// not silence what all others say.
    pub fn of(propensity: f64, reward: f64, chosen: usize, shares: &[f64], expected: &[f64]) -> Option<Self> {
        let value = expected.iter().zip(shares).map(|(quality, share)| quality * share).sum();
        let modelled = Some(Modelled { chosen: expected[chosen], value });
        (propensity > 0.0).then_some(Self { propensity, reward, target: shares[chosen], modelled })
    }
}

/// A reward model's predictions for one request, whose reward it must not have seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Modelled {
    /// Expected reward of the model that was chosen.
    pub chosen: f64,
    /// Expected reward under the evaluated policy: over all candidates, probability times expectation.
    pub value: f64,
}

/// The estimators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Inverse propensity scoring.
    Ips,
    /// Self-normalised inverse propensity scoring.
    Snips,
    /// The direct method.
    Direct,
    /// Doubly robust.
    DoublyRobust,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ips, Self::Snips, Self::Direct, Self::DoublyRobust];

    /// The one that decides whether a new policy takes over: right where its model of the rewards or the log is.
    pub const OF_THE_GATE: Self = Self::DoublyRobust;

    /// The method's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ips => "ips",
            Self::Snips => "snips",
            Self::Direct => "direct",
            Self::DoublyRobust => "doubly_robust",
        }
    }
}

/// Clipping of weights, and the interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Weights are clipped to this.
    pub clip: f64,
    /// Confidence level of the interval, 0.95 = it holds 19 times of 20.
    pub confidence: f64,
    /// The kind of interval.
    pub interval: IntervalKind,
}

impl Default for Settings {
    fn default() -> Self {
        Self { clip: 200.0, confidence: 0.95, interval: IntervalKind::Student }
    }
}

/// An estimated value with its interval and diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimator.
    pub method: Method,
    /// Expected reward per request.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Requests in the log.
    pub requests: usize,
    /// Effective sample size `(sum w)^2 / sum w^2` (Kish 1965): about as many requests of the evaluated policy itself
    /// would give the same precision.
    pub effective: f64,
    /// Share of weights that were clipped.
    pub clipped: f64,
    /// Largest weight before clipping.
    pub largest_weight: f64,
    /// Mean weight after clipping. Near 1 where the log covers what the evaluated policy does; less where it rarely
    /// took those actions, and the estimate rests on the reward model. Of two compared policies, the smaller.
    #[serde(default = "whole")]
    pub support: f64,
}

/// The support of stored estimates from before it was recorded.
fn whole() -> f64 {
    1.0
}

impl Estimate {
    /// Value and interval cut to the range of a mean of rewards, 0 to 1, for display. IPS and the doubly robust
    /// estimate can lie outside, since a log's weights do not sum to their expectation. A cut interval still holds the
    /// truth, and a cut value lies nearer to it, but cut values are biased: differences and gates go by the raw ones.
    /// For results of [`compare`] use [`Estimate::possible_difference`].
    pub fn possible(&self) -> Self {
        self.within(0.0, 1.0)
    }

    /// Value and interval of a difference ([`compare`]), cut to -1 to 1.
    pub fn possible_difference(&self) -> Self {
        self.within(-1.0, 1.0)
    }

    fn within(&self, low: f64, high: f64) -> Self {
        let cut = |value: f64| value.clamp(low, high);
        Self { value: cut(self.value), low: cut(self.low), high: cut(self.high), ..*self }
    }
}

/// Least support for SNIPS, which scales what the log covers up to the whole.
const MIN_SUPPORT: f64 = 0.1;

/// Estimates the evaluated policy's value. `None` for an empty log, a missing reward model, a propensity that is not
/// positive, or weights that are all zero (for SNIPS: whose mean is below a tenth). Also for SNIPS with a guaranteed
/// interval, since its contributions are not independent.
pub fn estimate(log: &[Logged], method: Method, settings: &Settings) -> Option<Estimate> {
    let parts = contributions(log, method, settings)?;
    let mut estimate = finish(parts, &[], method, log, settings);
    let few = estimate.effective < FEWEST;
    if few && method == Method::Snips && settings.interval == IntervalKind::Student {
        // The few rewards that count may all be alike; then their spread says nothing, and that of all rewards is used.
        let (low, high) = score(estimate.value, estimate.effective, dispersion(log), settings.confidence);
        (estimate.low, estimate.high) = (low, high);
    }
    Some(estimate)
}

/// Variance of the log's rewards over that of rewards of 0 and 1 with the same mean: 1 for right or wrong, less for
/// grades.
fn dispersion(log: &[Logged]) -> f64 {
    let n = log.len() as f64;
    let mean = log.iter().map(|logged| logged.reward).sum::<f64>() / n;
    let variance = log.iter().map(|logged| (logged.reward - mean).powi(2)).sum::<f64>() / n;
    let most = mean * (1.0 - mean);
    if most > 0.0 && variance > 0.0 { (variance / most).min(1.0) } else { 1.0 }
}

/// Estimates how much more `one` earns than `other`, two policies seen over the same log in the same order.
pub fn compare(one: &[Logged], other: &[Logged], method: Method, settings: &Settings) -> Option<Estimate> {
    compare_beside(one, other, &[], method, settings)
}

/// [`compare`] with a `known` part of the difference per request, which is added without estimating (a lower cost,
/// say); empty = none.
pub fn compare_beside(
    one: &[Logged],
    other: &[Logged],
    known: &[f64],
    method: Method,
    settings: &Settings,
) -> Option<Estimate> {
    if one.len() != other.len() || !(known.is_empty() || known.len() == one.len()) {
        return None;
    }
    let difference = || {
        let (first, second) = (contributions(one, method, settings)?, contributions(other, method, settings)?);
        Some(Contributions {
            values: first.values.iter().zip(&second.values).map(|(a, b)| a - b).collect(),
            bounds: Bounds {
                low: first.bounds.low - second.bounds.high,
                high: first.bounds.high - second.bounds.low,
            },
        })
    };
    // The policy that the log covers less limits the comparison.
    let one = finish(difference()?, known, method, one, settings);
    let other = finish(difference()?, known, method, other, settings);
    let support = one.support.min(other.support);
    Some(Estimate { support, ..if one.effective <= other.effective { one } else { other } })
}

/// One value per request, whose mean is the estimate, and the bounds of such values.
struct Contributions {
    values: Vec<f64>,
    bounds: Bounds,
}

fn weight(logged: &Logged, settings: &Settings) -> f64 {
    (logged.target / logged.propensity).min(settings.clip)
}

/// Variance correction for few effective requests, doubly robust: the variance of weighted residuals is multiplied by
/// 1 + this / effective size. Their spread comes out too small more often than not, and Student's quantile, made for
/// equal weights, does not make up for it. Fitted on recorded outcomes: without it 95 % intervals held in 83 to 96 % of
/// skewed logs with 20 to 100 effective requests.
const FEW: f64 = 15.0;
/// The variance correction of SNIPS, whose weights are normalised by their own sum.
const FEW_NORMALISED: f64 = 30.0;
/// Effective requests below which all their rewards may well be alike.
const FEWEST: f64 = 60.0;

/// The variance correction of a method: [`allow_for_few`] divides it by the effective size.
fn few(method: Method) -> f64 {
    match method {
        Method::Ips | Method::Direct => 0.0,
        Method::Snips => FEW_NORMALISED,
        Method::DoublyRobust => FEW,
    }
}

/// Moves values away from their mean, so that their variance is multiplied by `1 + few / effective`.
fn allow_for_few(values: &mut [f64], effective: f64, few: f64) {
    if effective <= 0.0 {
        return;
    }
    let factor = (1.0 + few / effective).sqrt();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|value| *value = mean + factor * (*value - mean));
}

fn contributions(log: &[Logged], method: Method, settings: &Settings) -> Option<Contributions> {
    let sound = |logged: &Logged| logged.propensity > 0.0 && logged.target >= 0.0 && logged.reward.is_finite();
    if log.is_empty() || !log.iter().all(sound) {
        return None;
    }
    let weights: Vec<f64> = log.iter().map(|logged| weight(logged, settings)).collect();
    let mean_weight = weights.iter().sum::<f64>() / log.len() as f64;
    if mean_weight <= 0.0 && method != Method::Direct {
        return None;
    }
    let modelled = || log.iter().map(|logged| logged.modelled).collect::<Option<Vec<Modelled>>>();
    Some(match method {
        Method::Ips => Contributions {
            values: log.iter().zip(&weights).map(|(logged, weight)| weight * logged.reward).collect(),
            bounds: Bounds { low: 0.0, high: settings.clip },
        },
        Method::Snips => {
            if mean_weight < MIN_SUPPORT || settings.interval != IntervalKind::Student {
                return None;
            }
            let pairs = || log.iter().zip(&weights);
            let value = pairs().map(|(logged, weight)| weight * logged.reward).sum::<f64>()
                / (mean_weight * log.len() as f64);
            // The value plus each request's influence on it: the mean is the value, the spread its error. A request
            // with much of the weight pulls the value towards itself and so looks closer than it is; dividing by the
            // others' share of the weight undoes that (the jackknife, as HC3 in regression).
            let influence = |(logged, weight): (&Logged, &f64)| {
                let others = (1.0 - weight / (mean_weight * log.len() as f64)).max(0.1);
                weight * (logged.reward - value) / (mean_weight * others)
            };
            let pulls: Vec<f64> = pairs().map(influence).collect();
            let off = pulls.iter().sum::<f64>() / pulls.len() as f64;
            let reach = settings.clip / mean_weight;
            Contributions {
                values: pulls.iter().map(|pull| value + pull - off).collect(),
                bounds: Bounds { low: value - reach * value, high: value + reach * (1.0 - value) },
            }
        }
        Method::Direct => Contributions {
            values: modelled()?.iter().map(|modelled| modelled.value).collect(),
            bounds: Bounds { low: 0.0, high: 1.0 },
        },
        Method::DoublyRobust => Contributions {
            values: modelled()?
                .iter()
                .zip(log.iter().zip(&weights))
                .map(|(modelled, (logged, weight))| modelled.value + weight * (logged.reward - modelled.chosen))
                .collect(),
            bounds: Bounds { low: -settings.clip, high: 1.0 + settings.clip },
        },
    })
}

/// The estimate from `parts`, with the weights of `log`, and the `known` part of each request's value.
fn finish(parts: Contributions, known: &[f64], method: Method, log: &[Logged], settings: &Settings) -> Estimate {
    let Contributions { mut values, mut bounds } = parts;
    let weights = || log.iter().map(|logged| weight(logged, settings));
    let raw = || log.iter().map(|logged| logged.target / logged.propensity);
    let (sum, squares) =
        weights().fold((0.0, 0.0), |(sum, squares), weight| (sum + weight, squares + weight * weight));
    let effective = if squares > 0.0 { sum * sum / squares } else { 0.0 };
    if settings.interval == IntervalKind::Student {
        allow_for_few(&mut values, effective, few(method));
    }
    values.iter_mut().zip(known).for_each(|(value, known)| *value += known);
    bounds.low += known.iter().copied().fold(0.0, f64::min);
    bounds.high += known.iter().copied().fold(0.0, f64::max);
    let value = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) = interval(&values, effective, bounds, settings.confidence, settings.interval);
    Estimate {
        method,
        value,
        low,
        high,
        requests: log.len(),
        effective,
        clipped: raw().filter(|weight| *weight > settings.clip).count() as f64 / log.len() as f64,
        largest_weight: raw().fold(0.0, f64::max),
        support: sum / log.len() as f64,
    }
}
