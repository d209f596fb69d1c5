//! The estimators, all in one form: a mean of one contribution per request.

use serde::{Deserialize, Serialize};

use super::interval::{Bounds, IntervalKind, interval, score};

/// One logged choice, seen by one policy that is to be judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logged {
    /// Probability with which the chosen model was chosen, above 0.
    pub propensity: f64,
    /// What came of it, in [0, 1].
    pub reward: f64,
    /// Probability with which the judged policy would have chosen the same model.
    pub target: f64,
    /// What a model of the rewards says; needed for DM and DR.
    pub modelled: Option<Modelled>,
}

/// What a model of the rewards says of one request. It must not have seen that request's reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Modelled {
    /// Expected reward of the model that was chosen.
    pub chosen: f64,
    /// Expected reward under the judged policy: over all candidates, probability times expectation.
    pub value: f64,
}

/// How to estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Inverse propensity scoring.
    Ips,
    /// The same, self-normalised.
    Snips,
    /// The direct method.
    Direct,
    /// Doubly robust.
    DoublyRobust,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ips, Self::Snips, Self::Direct, Self::DoublyRobust];

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

/// How careful to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Largest weight; above it is clipped.
    pub clip: f64,
    /// How often the interval is to hold, 0.95 = 19 times of 20.
    pub confidence: f64,
    /// Which interval.
    pub interval: IntervalKind,
}

impl Default for Settings {
    fn default() -> Self {
        Self { clip: 200.0, confidence: 0.95, interval: IntervalKind::Student }
    }
}

/// An estimated value with what there is to say about its trustworthiness.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// How it was estimated.
    pub method: Method,
    /// Expected reward per request.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Requests in the log.
    pub requests: usize,
    /// Effective sample size `(sum w)^2 / sum w^2` (Kish 1965): as many requests from the judged policy itself would say
    /// about as much.
    pub effective: f64,
    /// Share of weights that were clipped.
    pub clipped: f64,
    /// Largest weight before clipping.
    pub largest_weight: f64,
    /// Mean weight, after clipping. Near 1 where the log shows what the judged policy does; less where it hardly ever does
    /// what that policy would, and nearly everything is left to the model of the rewards. Of two policies the smaller.
    #[serde(default = "whole")]
    pub support: f64,
}

/// The support of estimates from before it was told.
fn whole() -> f64 {
    1.0
}

impl Estimate {
    /// Value and interval cut to what a mean of rewards can be, 0 to 1: for showing. IPS and the doubly robust estimate can lie
    /// outside, as the weights of a log do not sum to what they are expected to. An interval that holds the truth still does
    /// when cut, and a value comes nearer to it; but cut values are biased, so differences and gates go by the raw ones. Not
    /// for what [`compare`] gives, see [`Estimate::possible_difference`].
    pub fn possible(&self) -> Self {
        self.within(0.0, 1.0)
    }

    /// The same for a difference ([`compare`]): -1 to 1.
    pub fn possible_difference(&self) -> Self {
        self.within(-1.0, 1.0)
    }

    fn within(&self, low: f64, high: f64) -> Self {
        let cut = |value: f64| value.clamp(low, high);
        Self { value: cut(self.value), low: cut(self.low), high: cut(self.high), ..*self }
    }
}

/// Least support under which what little there is may be blown up to the whole.
const LEAST_SUPPORT: f64 = 0.1;

/// Estimates the judged policy's value. `None` for an empty log, a method that needs a model where there is none, a
/// propensity that is not positive, or where the log says nothing of that policy: all weights are zero (under SNIPS, their
/// mean is below a tenth). Nor is there a guaranteed interval of SNIPS, whose parts are not independent.
pub fn estimate(log: &[Logged], method: Method, settings: &Settings) -> Option<Estimate> {
    let parts = contributions(log, method, settings)?;
    let mut estimate = finish(parts, &[], method, log, settings);
    let few = estimate.effective < FEWEST;
    if few && method == Method::Snips && settings.interval == IntervalKind::Student {
        // Where the few that count all went alike, their spread says nothing, and how far rewards spread at all must do.
        let (low, high) = score(estimate.value, estimate.effective, dispersion(log), settings.confidence);
        (estimate.low, estimate.high) = (low, high);
    }
    Some(estimate)
}

/// Variance of the log's rewards over that of rewards of 0 and 1 with the same mean: 1 for right and wrong, less for marks.
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

/// The same, where `one` is also better by what is `known` of each request without estimating (as a lower cost is); empty =
/// nothing is.
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
    // The one of which the log says less limits what it says of the difference.
    let one = finish(difference()?, known, method, one, settings);
    let other = finish(difference()?, known, method, other, settings);
    let support = one.support.min(other.support);
    Some(Estimate { support, ..if one.effective <= other.effective { one } else { other } })
}

/// One value per request whose mean is the estimate, and between which bounds such values can lie, whatever is drawn.
struct Contributions {
    values: Vec<f64>,
    bounds: Bounds,
}

fn weight(logged: &Logged, settings: &Settings) -> f64 {
    (logged.target / logged.propensity).min(settings.clip)
}

/// A spread that rests on few effective requests comes out too small more often than not, and Student's quantile, made
/// for equal weights, does not make up for it. Variances of weighted residuals are taken larger by this over the effective
/// size. Fitted on recorded outcomes: without it 95 % intervals held in 83 to 96 % of skewed logs with 20 to 100
/// effective requests.
const FEW: f64 = 15.0;
/// The same where the weights are normalised by their own sum.
const FEW_NORMALISED: f64 = 30.0;
/// Effective requests below which it can well happen that all of them went alike.
const FEWEST: f64 = 60.0;

/// By what over the effective size the variance of a method's values is taken larger.
fn few(method: Method) -> f64 {
    match method {
        Method::Ips | Method::Direct => 0.0,
        Method::Snips => FEW_NORMALISED,
        Method::DoublyRobust => FEW,
    }
}

/// Moves values away from their mean, so that their variance grows by `1 + few / effective`.
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
            if mean_weight < LEAST_SUPPORT || settings.interval != IntervalKind::Student {
                return None;
            }
            let pairs = || log.iter().zip(&weights);
            let value = pairs().map(|(logged, weight)| weight * logged.reward).sum::<f64>()
                / (mean_weight * log.len() as f64);
            // The value plus each request's influence on it: the mean is the value, the spread its error. A request that
            // carries much of the weight pulls the value towards itself and so looks closer than it is; dividing by what the
            // others carry undoes that (the jackknife, as HC3 in regression).
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

/// The estimate that `parts` come to, seen over `log`, with what is `known` of each request besides.
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
