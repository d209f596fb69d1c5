//! Counterfactual figures: how the requests under the live policy would have gone under another one, the version before
//! it.
//!
//! Pure. **Failures and costs**, by importance weighting: each request is weighted by the other policy's probability of
//! its model over the live one's. Where the live policy hardly asks a model that the other would ask often, the
//! weighted requests cover little of that model's share; the rest is taken to go like them, or, where there are only a
//! handful, like the requests before.
//!
//! **Judgements**, doubly robust by model (Dudík, Langford and Li 2011): where both policies choose alike nothing
//! changes. Where the other would have moved probability from one model to another, its own expectations for both
//! models are used (a policy may leave a model only the hard questions, so the answers of that model are no fair
//! sample), corrected by how far the newest judgements of each model lie from what it expected of these very answers.
//! The newest, since a model may have become worse while the live policy was in force. A model that is hardly asked any
//! more may have become worse with the others (users are stricter) or not (only the others are worse): half of the
//! others' fall is assumed for it, up to a limit.
//!
//! A request of a conversation that stays on its model was not sampled; it counts as the conversation's opening would.

use std::collections::BTreeMap;

use super::lesson::{self, SampledChoice};
use super::tally::{Part, Tally};
use crate::bandit::{Candidate, Context, Snapshot};
use crate::protocol::ModelName;
use crate::store::{DecisionRecord, Entry, Mode};

/// Importance weights are clipped to this.
const MAX_WEIGHT: f64 = 20.0;

/// Requests of a model from which their mean is believed.
const MIN_REQUESTS: f64 = 5.0;

/// Newest judgements of a model that count as what it is like now, at least.
const NEWEST: usize = 20;

/// Share of the asked models' fall that is assumed for models that are not asked: it cannot be told whether the models
/// fell or users became stricter.
const COMMON_SHARE: f64 = 0.5;

/// Largest fall that is assumed for models that are not asked: stricter users take something off every answer, while a
/// model that breaks loses all.
const MAX_COMMON_FALL: f64 = 0.1;

/// What another policy would have done with one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counterfactual {
    /// Importance weight: the other policy's probability of the chosen model over the live one's, clipped. 0 where
    /// unknown.
    pub weight: f64,
    /// The other policy's probabilities, by model; empty where unknown.
    pub shares: Vec<Share>,
}

/// The probability that another policy gives one model for one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The model.
    pub model: ModelName,
    /// The other policy's probability of choosing the model.
    pub probability: f64,
    /// That probability less what the model had: the live policy's probability, or 1 and 0 for a conversation that
    /// stays.
    pub more: f64,
    /// The judgement that the other policy expects of the model's answer; `None` where unknown.
    pub expected: Option<f64>,
}

impl Counterfactual {
    /// What `policy` would have done with a request that happened under `live`.
    pub fn of(entry: &Entry, policy: &Snapshot, live: &Snapshot) -> Self {
        let decision = &entry.decision;
        let stays = decision.mode == Mode::Sticky;
        // For a conversation that is older than both policies.
        let as_it_was = || {
            let share = Share { model: decision.chosen.clone(), probability: 1.0, more: 0.0, expected: None };
            Self { weight: 1.0, shares: vec![share] }
        };
        let Some(drawn) = lesson::choice(entry) else { return if stays { as_it_was() } else { Self::default() } };
        let kind = decision.task.as_deref().unwrap_or_default();
        let context = Context { features: &decision.features, space: &decision.feature_space, kind };
        let choice = |policy: &Snapshot, candidates: &[Candidate<'_>], explore| {
            policy.choose(&context, candidates, &drawn.tradeoff, explore, 0.0)
        };
        let (wanted, had) = if stays {
            // Openings explore unless that was switched off, which the entry of a later turn does not say.
            let candidates = at_the_opening(decision, &drawn);
            let had = choice(live, &candidates, true).map_or(0.0, |choice| choice.propensities[drawn.chosen]);
            (choice(policy, &candidates, true), had)
        } else {
            let candidates: Vec<Candidate<'_>> = drawn.candidates.iter().map(|logged| logged.candidate()).collect();
            (choice(policy, &candidates, decision.explore), drawn.candidates[drawn.chosen].propensity)
        };
        let Some(wanted) = wanted else { return Self::default() };
        let weight = wanted.propensities[drawn.chosen] / had;
        // A request that stays was not sampled, so it counts once at most, however firmly the other policy holds to its
        // model.
        let most = if stays { 1.0 } else { MAX_WEIGHT };
        if !weight.is_finite() {
            // Neither policy would have opened the conversation on this model.
            return if stays { as_it_was() } else { Self::default() };
        }
        let wants = wanted.propensities.into_iter().zip(wanted.qualities);
        let shares = drawn.candidates.iter().zip(wants).enumerate().map(|(at, (logged, (probability, quality)))| {
            let had = if stays { f64::from(u8::from(at == drawn.chosen)) } else { logged.propensity };
            Share { model: logged.model.clone(), probability, more: probability - had, expected: Some(quality) }
        });
        Self { weight: weight.clamp(0.0, most), shares: shares.collect() }
    }

    /// The judgement that the other policy expects of `model`'s answer.
    fn expected(&self, model: &ModelName) -> Option<f64> {
        self.shares.iter().find(|share| share.model == *model)?.expected
    }
}

/// The candidates of a conversation that stays, as they were at its opening: with no part of it in any prompt cache.
fn at_the_opening<'a>(decision: &DecisionRecord, drawn: &'a SampledChoice) -> Vec<Candidate<'a>> {
    let recorded = decision.candidates.iter().find_map(|candidate| candidate.cached_usd);
    // Records of earlier programs have the cache's saving as the other candidates' switching cost.
    let switching = || drawn.candidates.iter().map(|other| other.switching_usd).fold(0.0, f64::max);
    let saved = recorded.unwrap_or_else(switching);
    let anew = drawn.candidates.iter().enumerate().map(|(at, logged)| {
        let cost_usd = logged.cost_usd + if at == drawn.chosen { saved } else { 0.0 };
        Candidate { cost_usd, switching_usd: 0.0, ..logged.candidate() }
    });
    anew.collect()
}

/// Requests under the live policy, weighted by what another policy would have done with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hindsight {
    models: BTreeMap<ModelName, OfModel>,
    /// Judged requests for which the other policy's probabilities are known.
    known: f64,
}

/// Evidence on one model.
#[derive(Debug, Clone, Default, PartialEq)]
struct OfModel {
    /// Requests that the model got and that the other policy might have given it too, unweighted. Only the counts are
    /// used.
    asked: Tally,
    /// The same requests, importance-weighted.
    weighted: Tally,
    /// All requests, each weighted by the other policy's probability of this model. Only the counts are used.
    share: Tally,
    /// Judged requests that the other policy would have given the model beyond those it got.
    more: f64,
    /// Sum of the judgements that the other policy expects of those.
    expected: f64,
    /// Judgements of the model's answers, the newest first.
    judged: Vec<Judged>,
}

/// One judgement of a model's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Judged {
    weight: f64,
    verdict: f64,
    /// The judgement that the other policy expected.
    expected: f64,
}

impl Hindsight {
    /// Adds one request for which `model` was chosen. Requests come newest first.
    pub fn add(&mut self, model: &ModelName, part: Part<'_>, would: &Counterfactual) {
        let own = self.models.entry(model.clone()).or_default();
        if would.weight > 0.0 {
            own.asked.add(part, 1.0);
            own.weighted.add(part, would.weight);
        }
        if part.verdict().is_some() && !would.shares.is_empty() {
            self.known += 1.0;
        }
        for Share { model, probability, more, expected } in &would.shares {
            let of = self.models.entry(model.clone()).or_default();
            of.share.add(part, *probability);
            if let Some(expected) = expected.filter(|_| part.verdict().is_some()) {
                of.more += more;
                of.expected += more * expected;
            }
        }
        self.add_judgement(model, part, would);
    }

    /// Adds only the judgement of `model`'s answer: for requests that are too old to be counted themselves.
    pub fn add_judgement(&mut self, model: &ModelName, part: Part<'_>, would: &Counterfactual) {
        let Some(verdict) = part.verdict().filter(|_| would.weight > 0.0) else { return };
        let expected = would.expected(model).unwrap_or(verdict);
        let judged = &mut self.models.entry(model.clone()).or_default().judged;
        judged.push(Judged { weight: would.weight, verdict, expected });
    }

    /// Whether more judgements of `model` are of use.
    pub fn needs_judgements_of(&self, model: &ModelName) -> bool {
        self.models.get(model).is_none_or(|of| of.judged.len() < NEWEST)
    }

    /// Estimate of `figure` under the other policy over the `all` requests that `count` counts; `was` = the figure
    /// before them, assumed where nothing is known.
    pub fn figure(&self, all: f64, was: f64, count: fn(&Tally) -> f64, figure: fn(&Tally) -> f64) -> f64 {
        let (mut sum, mut covered) = (0.0, 0.0);
        for model in self.models.values() {
            let known = count(&model.weighted) / all;
            if known > 0.0 {
                (sum, covered) = (sum + known * figure(&model.weighted), covered + known);
            }
            let unknown = count(&model.share) / all - known;
            if unknown > 0.0 && count(&model.asked) >= MIN_REQUESTS {
                (sum, covered) = (sum + unknown * figure(&model.weighted), covered + unknown);
            }
        }
        let rest = (1.0 - covered).max(0.0);
        (sum + rest * was) / (covered + rest)
    }

    /// Estimate of the mean judgement under the other policy over `all` judged requests, whose own mean `is` this;
    /// `was` = the mean before them.
    pub fn rating(&self, all: f64, was: f64, is: f64) -> f64 {
        let fall = (COMMON_SHARE * self.common_fall()).max(-MAX_COMMON_FALL);
        let gained = self.models.values().map(|model| model.expected + model.more * model.bias().unwrap_or(fall));
        let unknown = (1.0 - self.known / all).max(0.0);
        (is + gained.sum::<f64>() / all + unknown * (was - is)).clamp(0.0, 1.0)
    }

    /// Mean difference between judgements and what the other policy expected, over the models with enough of them; 0 or
    /// less.
    fn common_fall(&self) -> f64 {
        let known = self.models.values().filter_map(|model| Some((model.judged.len() as f64, model.bias()?)));
        let (sum, count) =
            known.fold((0.0, 0.0), |(sum, count), (judged, bias)| (sum + judged * bias, count + judged));
        if count > 0.0 { (sum / count).min(0.0) } else { 0.0 }
    }
}

impl OfModel {
    /// Mean difference between the model's judgements and what the other policy expected of them; `None` for a handful.
    /// Where the model would have got fewer requests, all judgements count alike; where more, the newest by importance
    /// weight.
    fn bias(&self) -> Option<f64> {
        if (self.judged.len() as f64) < MIN_REQUESTS {
            return None;
        }
        // A model that is asked all the time has enough for a longer mean; one that fell was left by the policy soon
        // after.
        let newest = NEWEST.max(self.judged.len() / 3);
        let counted = if self.more < 0.0 { self.judged.len() } else { newest };
        let (mut sum, mut weights) = (0.0, 0.0);
        for judged in self.judged.iter().take(counted) {
            let weight = if self.more < 0.0 { 1.0 } else { judged.weight };
            sum += weight * (judged.verdict - judged.expected);
            weights += weight;
        }
        Some(sum / weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Hindsight {
        /// For the guard's tests: one model `m` with these weighted sums, which the other policy would have given
        /// `more` judged requests; the judgements that it expects of them sum to `expected`.
        pub(in crate::tuner) fn knowing(weighted: Tally, (more, expected): (f64, f64)) -> Self {
            let of = OfModel { weighted, more, expected, ..OfModel::default() };
            Self { models: BTreeMap::from([("m".into(), of)]), known: f64::INFINITY }
        }
    }
}
