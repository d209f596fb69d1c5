//! What requests say of another policy than the one they happened under: the version before it.
//!
//! Pure. What failed and what was paid: each request counts for how much more probably the other would have chosen the
//! same model, so its figures are what would have happened. Where what is in force hardly asks a model any more that the
//! other would ask often, they cover little of that model's share; the rest is worth what they are, or, where there is but
//! a handful of them, what things were like before.
//!
//! Judgements: where both would choose alike, nothing would have been otherwise. For what each would have given another
//! model, the other is asked what it expects of both models there (what a policy leaves to a model is no fair sample of
//! it: the hard questions, say), and that is corrected by how far the newest judgements of a model lie from what it
//! expected of just these: doubly robust, by model (Dudík, Langford and Li 2011). The newest, since a model that fell
//! while this was in force was another one before. A model that is hardly asked any more may have fallen with the others
//! (users are stricter now) or not (they alone are worse): of their fall half is taken for everybody's, up to a limit.
//!
//! A conversation that stays where it is was opened there by somebody: each of its requests counts as its opening
//! would.

use std::collections::BTreeMap;

use super::lesson::{self, SampledChoice};
use super::tally::{Part, Tally};
use crate::bandit::{Candidate, Context, Snapshot};
use crate::protocol::ModelName;
use crate::store::{DecisionRecord, Entry, Mode};

/// One request counts for no more than so many.
const MOST_WEIGHT: f64 = 20.0;

/// Requests that must speak of a model before their mean is believed.
const ENOUGH: f64 = 5.0;

/// Judgements of a model that say what it is like now.
const NEWEST: usize = 20;

/// Share of what the models that are asked have lost that is taken for lost by those that are not. Of one model alone it
/// cannot be told whether it fell or the world did.
const EVERYBODYS: f64 = 0.5;

/// And no more than this: users who become stricter take something off every answer, a model that breaks loses all.
const MOST_FALLEN: f64 = 0.1;

/// What another policy would have done with one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counterfactual {
    /// How much more probably it would have chosen as was chosen: what the request counts for in what would have
    /// happened under it. 0 where that cannot be told.
    pub weight: f64,
    /// What it would have given each model; empty where that cannot be told.
    pub shares: Vec<Share>,
}

/// What another policy would have given one model of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The model.
    pub model: ModelName,
    /// How probably it would have chosen it.
    pub probability: f64,
    /// How much more probably than what is in force, or, of a conversation that stays, than where it is.
    pub more: f64,
    /// The judgement that it expects of the answer; `None` where that cannot be told.
    pub expected: Option<f64>,
}

impl Counterfactual {
    /// What `policy` would have done with what `live` got.
    pub fn of(entry: &Entry, policy: &Snapshot, live: &Snapshot) -> Self {
        let decision = &entry.decision;
        let stays = decision.mode == Mode::Sticky;
        // It is from before both.
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
            // Openings explore, unless somebody forbade it, which is not known of them here.
            let candidates = at_the_opening(decision, &drawn);
            let had = choice(live, &candidates, true).map_or(0.0, |choice| choice.propensities[drawn.chosen]);
            (choice(policy, &candidates, true), had)
        } else {
            let candidates: Vec<Candidate<'_>> = drawn.candidates.iter().map(|way| way.candidate()).collect();
            (choice(policy, &candidates, decision.explore), drawn.candidates[drawn.chosen].propensity)
        };
        let Some(wanted) = wanted else { return Self::default() };
        let weight = wanted.propensities[drawn.chosen] / had;
        // Nobody drew what stays: it is never worth more than itself, however hard the other holds to its model.
        let most = if stays { 1.0 } else { MOST_WEIGHT };
        if !weight.is_finite() {
            // Where neither would have opened it there.
            return if stays { as_it_was() } else { Self::default() };
        }
        let wants = wanted.propensities.into_iter().zip(wanted.qualities);
        let shares = drawn.candidates.iter().zip(wants).enumerate().map(|(at, (way, (probability, quality)))| {
            let had = if stays { f64::from(u8::from(at == drawn.chosen)) } else { way.propensity };
            Share { model: way.model.clone(), probability, more: probability - had, expected: Some(quality) }
        });
        Self { weight: weight.clamp(0.0, most), shares: shares.collect() }
    }

    /// The judgement that it would have expected of `model`'s answer.
    fn expected(&self, model: &ModelName) -> Option<f64> {
        self.shares.iter().find(|share| share.model == *model)?.expected
    }
}

/// The candidates of a conversation that stays as its opening had them: none had anything of it in its cache.
fn at_the_opening<'a>(decision: &DecisionRecord, drawn: &'a SampledChoice) -> Vec<Candidate<'a>> {
    let told = decision.candidates.iter().find_map(|candidate| candidate.cached_usd);
    // Earlier programs wrote what whoever stays saves as what the others' switching throws away.
    let thrown_away = || drawn.candidates.iter().map(|way| way.switching_usd).fold(0.0, f64::max);
    let saved = told.unwrap_or_else(thrown_away);
    let anew = drawn.candidates.iter().enumerate().map(|(at, way)| {
        let cost_usd = way.cost_usd + if at == drawn.chosen { saved } else { 0.0 };
        Candidate { cost_usd, switching_usd: 0.0, ..way.candidate() }
    });
    anew.collect()
}

/// Requests as another policy would have had them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hindsight {
    models: BTreeMap<ModelName, OfModel>,
    /// Judged requests of which can be told what the other would have done.
    told: f64,
}

/// What requests say of one model.
#[derive(Debug, Clone, Default, PartialEq)]
struct OfModel {
    /// Those that it got and that the other policy might have given it, too: only its counts are of use.
    asked: Tally,
    /// The same, each with its weight.
    known: Tally,
    /// All, each as far as the other policy would have given it to this model: only its counts are of use.
    share: Tally,
    /// How many more judged requests it would have got than it did...
    more: f64,
    /// ...and the sum of the judgements that the other policy expects of them.
    foreseen: f64,
    /// Those that it got and that were judged, the newest first.
    judged: Vec<Judged>,
}

/// What one judgement says of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Judged {
    weight: f64,
    verdict: f64,
    /// What the other policy would have expected.
    expected: f64,
}

impl Hindsight {
    /// Takes in one request that `model` was chosen for; the newest first.
    pub fn add(&mut self, model: &ModelName, part: Part<'_>, would: &Counterfactual) {
        let own = self.models.entry(model.clone()).or_default();
        if would.weight > 0.0 {
            own.asked.add(part, 1.0);
            own.known.add(part, would.weight);
        }
        if part.verdict().is_some() && !would.shares.is_empty() {
            self.told += 1.0;
        }
        for Share { model, probability, more, expected } in &would.shares {
            let of = self.models.entry(model.clone()).or_default();
            of.share.add(part, *probability);
            if let Some(expected) = expected.filter(|_| part.verdict().is_some()) {
                of.more += more;
                of.foreseen += more * expected;
            }
        }
        self.hear(model, part, would);
    }

    /// Takes in what a judgement says of `model` alone, as of requests that are too old for the rest.
    pub fn hear(&mut self, model: &ModelName, part: Part<'_>, would: &Counterfactual) {
        let Some(verdict) = part.verdict().filter(|_| would.weight > 0.0) else { return };
        let expected = would.expected(model).unwrap_or(verdict);
        let judged = &mut self.models.entry(model.clone()).or_default().judged;
        judged.push(Judged { weight: would.weight, verdict, expected });
    }

    /// Whether too little was heard of `model`.
    pub fn listens_to(&self, model: &ModelName) -> bool {
        self.models.get(model).is_none_or(|of| of.judged.len() < NEWEST)
    }

    /// What `figure` would have been over `all` requests that `count` counts; `was` = what it was before them.
    pub fn figure(&self, all: f64, was: f64, count: fn(&Tally) -> f64, figure: fn(&Tally) -> f64) -> f64 {
        let (mut sum, mut told) = (0.0, 0.0);
        for model in self.models.values() {
            let known = count(&model.known) / all;
            if known > 0.0 {
                (sum, told) = (sum + known * figure(&model.known), told + known);
            }
            let unknown = count(&model.share) / all - known;
            if unknown > 0.0 && count(&model.asked) >= ENOUGH {
                (sum, told) = (sum + unknown * figure(&model.known), told + unknown);
            }
        }
        let rest = (1.0 - told).max(0.0);
        (sum + rest * was) / (told + rest)
    }

    /// What the mean judgement would have been over `all` that there were, where it `is` this; `was` = what it was before
    /// them.
    pub fn rating(&self, all: f64, was: f64, is: f64) -> f64 {
        let fallen = (EVERYBODYS * self.common_fall()).max(-MOST_FALLEN);
        let gained = self.models.values().map(|model| model.foreseen + model.more * model.off().unwrap_or(fallen));
        let untold = (1.0 - self.told / all).max(0.0);
        (is + gained.sum::<f64>() / all + untold * (was - is)).clamp(0.0, 1.0)
    }

    /// How far judgements of the models that are known lie below what the other policy would have expected of them, 0 or less.
    fn common_fall(&self) -> f64 {
        let known = self.models.values().filter_map(|model| Some((model.judged.len() as f64, model.off()?)));
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), (judged, off)| (sum + judged * off, count + judged));
        if count > 0.0 { (sum / count).min(0.0) } else { 0.0 }
    }
}

impl OfModel {
    /// How far its judgements lie from what the other policy would have expected of them: of what it would not have had,
    /// as they are; of what it would have had besides, by their weight, and the newest of them. `None` for a handful.
    fn off(&self) -> Option<f64> {
        if (self.judged.len() as f64) < ENOUGH {
            return None;
        }
        // Of one that is asked all the time there are enough to be sure; one that fell was left soon after.
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
        /// For the guard's tests: one model `m` with these weighted sums, which the other policy would have given `more`
        /// of the judged requests; it expects judgements of them that sum to `foreseen`.
        pub(in crate::tuner) fn knowing(known: Tally, (more, foreseen): (f64, f64)) -> Self {
            let of = OfModel { known, more, foreseen, ..OfModel::default() };
            Self { models: BTreeMap::from([("m".into(), of)]), told: f64::INFINITY }
        }
    }
}
