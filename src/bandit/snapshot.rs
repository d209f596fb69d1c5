//! A policy's parameters at one moment, for choosing and for learning.
//!
//! Written and read whole (serde, any format). Beliefs are not stored but computed from the sums; a snapshot whose sums
//! do not fit together is refused when it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribution::Corrections;
use super::context::{Candidate, Choice, Context, Grounds, Observation};
use super::drift::Watch;
use super::patience;
use super::policy::best;
use super::posterior::{Belief, Beliefs, Moments, Sums, fit};
use super::predictive::PromptTerms;
use super::settings::{Settings, SettingsError};
use super::shape::{BASE, Shape};
use super::utility::Tradeoff;
use crate::protocol::ModelName;

/// Most features a context may have; further ones are ignored.
pub const MAX_FEATURES: usize = 32;
/// Most kinds of work that are told apart; further ones count as none.
pub const MAX_KINDS: usize = 16;
/// Logits are clipped to plus and minus this.
const MAX_LOGIT: f64 = 4.0;
/// Features are clipped to this many standard deviations.
const MAX_FEATURE: f64 = 4.0;
/// Observations that a changed model keeps at least, for its slopes.
const MIN_KEPT: f64 = 20.0;
/// Weight of predicted quality beyond the ends of the scale.
const BEYOND: f64 = 1e-3;

/// Immutable parameters of a policy, versioned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Snapshot {
    /// The version that the store gave it; 0 = not stored.
    pub version: u64,
    settings: Settings,
    space: String,
    features: usize,
    kinds: Vec<String>,
    learned_from: u64,
    judged: u64,
    clock: f64,
    arms: BTreeMap<ModelName, Arm>,
    beliefs: Beliefs,
    places: BTreeMap<ModelName, usize>,
}

/// What was learned of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Arm {
    moments: Moments,
    /// The clock (sum of weights learned, all models) at which the sums were last faded.
    clock: f64,
    grounds: Grounds,
    watch: Watch,
    observations: u64,
}

/// The stored form.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    version: u64,
    settings: Settings,
    space: String,
    features: usize,
    /// Kinds of work, in the order they were first seen; absent in snapshots of earlier programs.
    #[serde(default)]
    kinds: Vec<String>,
    learned_from: u64,
    /// Those of them that were judgements; absent in snapshots of earlier programs, which did not count them apart.
    #[serde(default)]
    judged: Option<u64>,
    clock: f64,
    arms: BTreeMap<ModelName, Arm>,
}

impl Stored {
    fn shape(&self) -> Shape {
        Shape { features: self.features, kinds: self.kinds.len() }
    }
}

/// Why a stored snapshot is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// Its settings are out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The sums of a model have the wrong size, or are not all numbers.
    #[error("the sums of the model `{0}` do not fit the snapshot")]
    Arm(ModelName),
    /// More features than [`MAX_FEATURES`].
    #[error("it was learned over {0} features; at most {MAX_FEATURES} are possible")]
    Features(usize),
    /// More kinds of work than [`MAX_KINDS`].
    #[error("it tells {0} kinds of work apart; at most {MAX_KINDS} are possible")]
    Kinds(usize),
}

/// A snapshot's belief about one model, for the dashboard and the API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmSummary {
    /// The model.
    pub model: ModelName,
    /// Number of observations.
    pub observations: u64,
    /// Number of observations after fading.
    pub weight: f64,
    /// Mean of reward - prior over those; 0 where there are none.
    pub residual: f64,
    /// Expected reward - prior for an average prompt.
    pub level: f64,
    /// Standard deviation of that belief.
    pub spread: f64,
    /// Number of sudden changes detected.
    pub shifts: u32,
}

impl Arm {
    /// Whether it never changed suddenly, or has enough observations since.
    fn is_settled(&self, settings: &Settings) -> bool {
        self.watch.shifts == 0 || settings.drift.is_none_or(|drift| self.watch.weight >= drift.settled)
    }

    /// Factor that its sums have faded by at `clock`.
    fn fade(&self, settings: &Settings, clock: f64) -> f64 {
        settings.fade(clock - self.clock, self.is_settled(settings))
    }
}

impl Snapshot {
    /// A policy without observations: it expects what the priors say.
    ///
    /// # Errors
    ///
    /// Settings out of range.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let empty = Stored {
            version: 0,
            settings,
            space: String::new(),
            features: 0,
            kinds: Vec::new(),
            learned_from: 0,
            judged: Some(0),
            clock: 0.0,
            arms: BTreeMap::new(),
        };
        Ok(Self::from_sound(empty))
    }

    /// The same knowledge under other settings (another policy, say).
    ///
    /// # Errors
    ///
    /// Settings out of range.
    pub fn with_settings(&self, settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self::from_sound(Stored { settings, ..self.clone().into() }))
    }

    /// The same knowledge for another feature space: levels and kinds stay, slopes in features are dropped.
    pub fn in_space(&self, space: &str, features: usize) -> Self {
        let mut stored = Stored::from(self.clone());
        let from = stored.shape();
        // Dropped even where both spaces have the same number of features.
        let gone = Shape { features: 0, ..from };
        stored.features = features.min(MAX_FEATURES);
        stored.space = space.to_owned();
        let to = stored.shape();
        for arm in stored.arms.values_mut() {
            arm.moments = arm.moments.reshaped(from, gone).reshaped(gone, to);
        }
        Self::from_sound(stored)
    }

    /// Adds a kind of work.
    fn add_kind(&mut self, kind: &str) {
        let from = self.shape();
        self.kinds.push(kind.to_owned());
        let to = self.shape();
        for arm in self.arms.values_mut() {
            arm.moments = arm.moments.reshaped(from, to);
        }
    }

    fn shape(&self) -> Shape {
        Shape { features: self.features, kinds: self.kinds.len() }
    }

    fn from_sound(stored: Stored) -> Self {
        let beliefs = fit(&[], stored.shape(), &stored.settings);
        let Stored { version, settings, space, features, kinds, learned_from, judged, clock, arms } = stored;
        let judged = judged.unwrap_or(learned_from);
        let places = BTreeMap::new();
        let mut snapshot =
            Self { version, settings, space, features, kinds, learned_from, judged, clock, arms, beliefs, places };
        snapshot.refresh();
        snapshot
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The feature space it learned in; empty = it has seen no features.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// Number of observations it has learned from.
    pub fn learned_from(&self) -> u64 {
        self.learned_from
    }

    /// Its beliefs about the models it has observed.
    pub fn arms(&self) -> impl Iterator<Item = ArmSummary> + '_ {
        self.arms.iter().zip(&self.beliefs.arms).map(move |((model, arm), belief)| ArmSummary {
            model: model.clone(),
            observations: arm.observations,
            weight: arm.moments.weight() * arm.fade(&self.settings, self.clock),
            residual: arm.moments.level(),
            level: belief.mean()[0],
            spread: belief.level_spread(),
            shifts: arm.watch.shifts,
        })
    }

    /// Expected quality of a candidate, in [0, 1].
    pub fn quality(&self, context: &Context<'_>, candidate: &Candidate<'_>) -> f64 {
        let terms = PromptTerms::of(&self.x(context), self.shape());
        let prior = sound(candidate.prior);
        (prior + self.belief(candidate).predictive.correction(&terms, logit(prior))).clamp(0.0, 1.0)
    }

    /// The learned corrections of a candidate's prior for this prompt. Added to the prior they give its quality, before
    /// that is cut to [0, 1].
    pub fn corrections(&self, context: &Context<'_>, candidate: &Candidate<'_>) -> Corrections {
        let mut x = self.x(context);
        x[1] = logit(candidate.prior);
        let mut terms = self.belief(candidate).mean().iter().zip(&x).map(|(weight, x)| weight * x);
        let (level, hardness) = (terms.next().unwrap_or(0.0), terms.next().unwrap_or(0.0));
        let leanings = terms.by_ref().take(self.features).collect();
        Corrections { level, hardness, leanings, kind: terms.sum() }
    }

    /// Chooses one of `candidates`. `chance` is a uniform draw from [0, 1); without `explore` it is ignored, and the
    /// best by utility is chosen with probability 1. `None` where there is no candidate.
    pub fn choose(
        &self,
        context: &Context<'_>,
        candidates: &[Candidate<'_>],
        tradeoff: &Tradeoff,
        explore: bool,
        chance: f64,
    ) -> Option<Choice> {
        self.choose_as_curious(context, candidates, tradeoff, f64::from(u8::from(explore)), chance)
    }

    /// Share of its choices that may be try-outs, after `unjudged` choices in a row without a judgement.
    pub fn curiosity(&self, unjudged: u64) -> f64 {
        patience::curiosity(unjudged, self.judged)
    }

    /// [`choose`](Self::choose) where only a share of the choices may be try-outs: with probability `curiosity` it is
    /// drawn, and else it is the best by utility. 0 = no exploration.
    pub fn choose_as_curious(
        &self,
        context: &Context<'_>,
        candidates: &[Candidate<'_>],
        tradeoff: &Tradeoff,
        curiosity: f64,
        chance: f64,
    ) -> Option<Choice> {
        if candidates.is_empty() {
            return None;
        }
        let terms = PromptTerms::of(&self.x(context), self.shape());
        let kind = self.kinds.iter().position(|known| known == context.kind);
        let mut qualities = Vec::with_capacity(candidates.len());
        let mut spreads = Vec::with_capacity(candidates.len());
        let mut utilities = Vec::with_capacity(candidates.len());
        let mut unknown = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let belief = self.belief(candidate);
            let prior = sound(candidate.prior);
            let logit = logit(prior);
            let quality = prior + belief.predictive.correction(&terms, logit);
            let spread = belief.predictive.spread(&terms, logit);
            unknown.push(spread * self.eagerness(candidate, belief, kind));
            let possible = quality.clamp(0.0, 1.0);
            qualities.push(possible);
            spreads.push(spread);
            // Quality beyond the scale pays for no cost, but still orders candidates.
            utilities.push(tradeoff.utility(possible, candidate) + BEYOND * (quality - possible));
        }
        let favourite = best(&utilities);
        let mut propensities = vec![0.0; candidates.len()];
        propensities[favourite] = 1.0;
        let explore = curiosity > 0.0;
        if explore {
            propensities = self.settings.policy.probabilities(&utilities, &unknown, self.learned_from as f64);
            propensities.iter_mut().for_each(|share| *share *= curiosity);
            propensities[favourite] += 1.0 - curiosity;
            // Whatever the curiosity is: a floor may be configured, to be kept.
            let floor = self.settings.floor(candidates.len());
            let rest = 1.0 - floor * candidates.len() as f64;
            propensities.iter_mut().for_each(|share| *share = floor + rest * share.max(0.0));
        }
        let chosen = if explore { draw(&propensities, chance) } else { favourite };
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|a, b| utilities[*b].total_cmp(&utilities[*a]));
        order.retain(|at| *at != chosen);
        order.insert(0, chosen);
        let explored = utilities[chosen] < utilities[favourite];
        Some(Choice { chosen, propensities, qualities, spreads, utilities, order, explored })
    }

    /// Factor on a candidate's spread for exploration.
    fn eagerness(&self, candidate: &Candidate<'_>, belief: &Belief, kind: Option<usize>) -> f64 {
        if !belief.settled {
            // A changed model is explored by its posterior alone, whatever its prior was fitted to.
            return 1.0;
        }
        let of_kind = kind.and_then(|kind| belief.kinds.get(kind)).copied();
        self.settings.eager(candidate.grounds, belief.weight, of_kind, self.beliefs.fields)
    }

    /// Folds in observations, in their order. Those whose weight is not a positive number are skipped.
    pub fn learn<'a>(&mut self, observations: impl IntoIterator<Item = Observation<'a>>) {
        for observation in observations {
            if observation.weight.is_finite() && observation.weight > 0.0 {
                self.take_in(&observation);
            }
        }
        self.refresh();
    }

    fn take_in(&mut self, observation: &Observation<'_>) {
        let Context { features, space, kind } = observation.context;
        if self.space.is_empty() && !space.is_empty() && !features.is_empty() {
            *self = self.in_space(space, features.len());
        }
        if !kind.is_empty() && self.kinds.len() < MAX_KINDS && !self.kinds.iter().any(|known| known == kind) {
            self.add_kind(kind);
        }
        let mut x = self.x(&observation.context);
        x[1] = logit(observation.prior);
        let residual = observation.reward.value() - sound(observation.prior);
        self.clock += observation.weight;
        self.learned_from += 1;
        self.judged += u64::from(observation.judged);
        let (shape, place) = (self.shape(), self.kinds.iter().position(|known| known == kind));
        let clock = self.clock;
        let arm = self.arms.entry(observation.model.clone()).or_insert_with(|| Arm {
            moments: Moments::new(x.len()),
            clock,
            grounds: observation.grounds,
            watch: Watch::default(),
            observations: 0,
        });
        arm.moments.fade(arm.fade(&self.settings, clock));
        arm.clock = clock;
        // The firmest grounds so far: one prompt that was not read does not weaken the model's prior.
        arm.grounds = arm.grounds.max(observation.grounds);
        arm.observations += 1;
        arm.moments.add(&x, residual, observation.weight);
        let changed =
            self.settings.drift.and_then(|drift| arm.watch.observe(place, residual, observation.weight, &drift));
        if let Some(since_change) = changed {
            let usual = arm.watch.usual_of(arm.moments.weight(), arm.moments.kinds(shape));
            arm.moments.shift(usual - arm.moments.level());
            let keep = since_change.max(MIN_KEPT) / arm.moments.weight();
            arm.moments.fade(keep.min(1.0));
        }
    }

    /// Computes the beliefs from the sums.
    fn refresh(&mut self) {
        let sums: Vec<_> = self
            .arms
            .values()
            .map(|arm| {
                let settled = arm.is_settled(&self.settings);
                // A changed model's prior was fitted to another model.
                let grounds = if settled { arm.grounds } else { Grounds::Nothing };
                Sums { moments: &arm.moments, fade: arm.fade(&self.settings, self.clock), grounds, settled }
            })
            .collect();
        self.beliefs = fit(&sums, self.shape(), &self.settings);
        self.places = self.arms.keys().enumerate().map(|(at, model)| (model.clone(), at)).collect();
    }

    /// `[1, 0, z, k]`: the logit differs by candidate and is set later.
    fn x(&self, context: &Context<'_>) -> Vec<f64> {
        let shape = self.shape();
        let mut x = vec![0.0; shape.dim()];
        x[0] = 1.0;
        if let Some(kind) = self.kinds.iter().position(|known| known == context.kind) {
            x[shape.kinds_from() + kind] = 1.0;
        }
        if context.space == self.space && context.features.len() >= self.features {
            for (slot, feature) in x[BASE..shape.kinds_from()].iter_mut().zip(context.features) {
                let feature = f64::from(*feature);
                *slot = if feature.is_finite() { feature.clamp(-MAX_FEATURE, MAX_FEATURE) } else { 0.0 };
            }
        }
        x
    }

    /// The belief about a candidate's model.
    fn belief(&self, candidate: &Candidate<'_>) -> &Belief {
        let place = self.places.get(candidate.model);
        place.map_or_else(|| self.beliefs.newcomer(candidate.grounds), |at| &self.beliefs.arms[*at])
    }
}

fn sound(prior: f64) -> f64 {
    if prior.is_finite() { prior.clamp(0.0, 1.0) } else { 0.5 }
}

fn logit(prior: f64) -> f64 {
    let prior = if prior.is_finite() { prior.clamp(1e-6, 1.0 - 1e-6) } else { 0.5 };
    (prior / (1.0 - prior)).ln().clamp(-MAX_LOGIT, MAX_LOGIT)
}

/// The index at which the running sum of `propensities` passes `chance`.
fn draw(propensities: &[f64], chance: f64) -> usize {
    let mut left = chance;
    for (at, share) in propensities.iter().enumerate() {
        left -= share;
        if left < 0.0 {
            return at;
        }
    }
    // A remainder of rounding belongs to the last candidate with a positive probability.
    propensities.iter().rposition(|share| *share > 0.0).unwrap_or(0)
}

impl From<Snapshot> for Stored {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot { version, settings, space, features, kinds, learned_from, judged, clock, arms, .. } = snapshot;
        Self { version, settings, space, features, kinds, learned_from, judged: Some(judged), clock, arms }
    }
}

impl TryFrom<Stored> for Snapshot {
    type Error = SnapshotError;

    fn try_from(stored: Stored) -> Result<Self, SnapshotError> {
        stored.settings.check()?;
        if stored.features > MAX_FEATURES {
            return Err(SnapshotError::Features(stored.features));
        }
        if stored.kinds.len() > MAX_KINDS {
            return Err(SnapshotError::Kinds(stored.kinds.len()));
        }
        let dim = stored.shape().dim();
        for (model, arm) in &stored.arms {
            if !arm.moments.is_sound() || arm.moments.dim() != dim || !arm.clock.is_finite() {
                return Err(SnapshotError::Arm(model.clone()));
            }
        }
        Ok(Self::from_sound(stored))
    }
}
