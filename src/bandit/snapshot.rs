//! A policy's parameters at one moment: what it chooses with and what it learns into.
//!
//! Written and read whole (serde, any format). Beliefs are not stored, they follow from the sums; a snapshot whose sums
//! do not fit together is refused when it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribution::Corrections;
use super::context::{Candidate, Choice, Context, Grounds, Observation};
use super::drift::Watch;
use super::policy::best;
use super::posterior::{Belief, Beliefs, Moments, Sums, fit};
use super::predictive::PromptTerms;
use super::settings::{Settings, SettingsError};
use super::shape::{BASE, Shape};
use super::utility::Tradeoff;
use crate::protocol::ModelName;

/// Most features a context may have; further ones are not looked at.
pub const MAX_FEATURES: usize = 32;
/// Most kinds of work that are told apart; further ones are like none.
pub const MAX_KINDS: usize = 16;
/// Logits are clipped to this.
const LOGIT_REACH: f64 = 4.0;
/// Features are clipped to this many standard deviations.
const FEATURE_REACH: f64 = 4.0;
/// A changed model keeps at least this much of its memory, for its slope and leanings.
const KEPT: f64 = 20.0;
/// What quality beyond the ends of the scale counts for.
const BEYOND: f64 = 1e-3;

/// Immutable parameters of a policy, versioned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Snapshot {
    /// Given by whoever keeps it; 0 = not kept.
    pub version: u64,
    settings: Settings,
    space: String,
    features: usize,
    kinds: Vec<String>,
    learned_from: u64,
    clock: f64,
    arms: BTreeMap<ModelName, Arm>,
    beliefs: Beliefs,
    places: BTreeMap<ModelName, usize>,
}

/// What is remembered of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Arm {
    moments: Moments,
    /// The clock at which the sums were right; since then they have faded.
    clock: f64,
    grounds: Grounds,
    watch: Watch,
    observations: u64,
}

/// The form that is written.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    version: u64,
    settings: Settings,
    space: String,
    features: usize,
    /// Kinds of work, in the order they were first seen; none in what an earlier program wrote.
    #[serde(default)]
    kinds: Vec<String>,
    learned_from: u64,
    clock: f64,
    arms: BTreeMap<ModelName, Arm>,
}

impl Stored {
    fn shape(&self) -> Shape {
        Shape { features: self.features, kinds: self.kinds.len() }
    }
}

/// A snapshot that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// Its settings are out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The sums of a model have the wrong size, or hold something that is not a number.
    #[error("what is remembered of the model `{0}` does not fit the snapshot")]
    Arm(ModelName),
    /// More features than may be.
    #[error("it was learned over {0} features; at most {MAX_FEATURES} are possible")]
    Features(usize),
    /// More kinds of work than may be.
    #[error("it tells {0} kinds of work apart; at most {MAX_KINDS} are possible")]
    Kinds(usize),
}

/// What a snapshot believes of one model, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmSummary {
    /// The model.
    pub model: ModelName,
    /// Observations in all.
    pub observations: u64,
    /// How many of them still count.
    pub weight: f64,
    /// Mean of reward - prior over what still counts; 0 where nothing does.
    pub residual: f64,
    /// Expected reward - prior for an average prompt.
    pub level: f64,
    /// Standard deviation of that belief.
    pub spread: f64,
    /// How often a sudden change was noticed.
    pub shifts: u32,
}

impl Arm {
    /// Whether it is what it was, or has been what it is now for long enough.
    fn is_settled(&self, settings: &Settings) -> bool {
        self.watch.shifts == 0 || settings.drift.is_none_or(|drift| self.watch.weight >= drift.settled)
    }

    /// What its sums still count at `clock`.
    fn fade(&self, settings: &Settings, clock: f64) -> f64 {
        settings.fade(clock - self.clock, self.is_settled(settings))
    }
}

impl Snapshot {
    /// A policy that knows the priors and nothing else.
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

    /// The same knowledge for features of another make: levels and kinds stay, leanings on features are dropped.
    pub fn in_space(&self, space: &str, features: usize) -> Self {
        let mut stored = Stored::from(self.clone());
        let from = stored.shape();
        // Features of another make are other features, were there as many of them.
        let gone = Shape { features: 0, ..from };
        stored.features = features.min(MAX_FEATURES);
        stored.space = space.to_owned();
        let to = stored.shape();
        for arm in stored.arms.values_mut() {
            arm.moments = arm.moments.reshaped(from, gone).reshaped(gone, to);
        }
        Self::from_sound(stored)
    }

    /// Makes room for one more kind of work.
    fn meet(&mut self, kind: &str) {
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
        let Stored { version, settings, space, features, kinds, learned_from, clock, arms } = stored;
        let places = BTreeMap::new();
        let mut snapshot =
            Self { version, settings, space, features, kinds, learned_from, clock, arms, beliefs, places };
        snapshot.refresh();
        snapshot
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What made the features it learned over; empty = it has seen none.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// Observations it has learned from.
    pub fn learned_from(&self) -> u64 {
        self.learned_from
    }

    /// Standard deviation of a reward around its expectation, as seen so far.
    pub fn noise(&self) -> f64 {
        self.beliefs.noise
    }

    /// The models it has seen.
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
        (prior + self.belief(candidate).predictive.bend(&terms, logit(prior))).clamp(0.0, 1.0)
    }

    /// What feedback has taught of a candidate, for this prompt: its prior and these add up to its quality, but for the
    /// ends of the scale.
    pub fn corrections(&self, context: &Context<'_>, candidate: &Candidate<'_>) -> Corrections {
        let mut x = self.x(context);
        x[1] = logit(candidate.prior);
        let mut terms = self.belief(candidate).mean().iter().zip(&x).map(|(weight, x)| weight * x);
        let (level, hardness) = (terms.next().unwrap_or(0.0), terms.next().unwrap_or(0.0));
        let leanings = terms.by_ref().take(self.features).collect();
        Corrections { level, hardness, leanings, kind: terms.sum() }
    }

    /// Chooses one of `candidates`. `chance` is a uniform draw from [0, 1); without `explore` it is not looked at, and the
    /// best by utility is chosen with probability 1. `None` where there is no candidate.
    pub fn choose(
        &self,
        context: &Context<'_>,
        candidates: &[Candidate<'_>],
        tradeoff: &Tradeoff,
        explore: bool,
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
            let quality = prior + belief.predictive.bend(&terms, logit);
            let spread = belief.predictive.spread(&terms, logit);
            unknown.push(spread * self.eagerness(candidate, belief, kind));
            let possible = quality.clamp(0.0, 1.0);
            qualities.push(possible);
            spreads.push(spread);
            // Nobody is better than perfect, and a cost is not paid for it; but two beyond can still be told apart.
            utilities.push(tradeoff.utility(possible, candidate) + BEYOND * (quality - possible));
        }
        let favourite = best(&utilities);
        let mut propensities = vec![0.0; candidates.len()];
        propensities[favourite] = 1.0;
        if explore {
            propensities = self.settings.policy.probabilities(&utilities, &unknown, self.learned_from as f64);
            let floor = self.settings.floor(candidates.len());
            let rest = 1.0 - floor * candidates.len() as f64;
            propensities.iter_mut().for_each(|share| *share = floor + rest * share.max(0.0));
        }
        let chosen = if explore { draw(&propensities, chance) } else { favourite };
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|a, b| utilities[*b].total_cmp(&utilities[*a]));
        order.retain(|at| *at != chosen);
        order.insert(0, chosen);
        let explored = chosen != favourite;
        Some(Choice { chosen, propensities, qualities, spreads, utilities, order, explored })
    }

    /// By how much a candidate counts as less known, or better known, than its posterior says.
    fn eagerness(&self, candidate: &Candidate<'_>, belief: &Belief, kind: Option<usize>) -> f64 {
        if !belief.settled {
            // One that has changed is looked at anew, whatever its prior was fitted to.
            return 1.0;
        }
        let of_kind = kind.and_then(|kind| belief.kinds.get(kind)).copied();
        self.settings.eager(candidate.grounds, belief.weight, of_kind, self.beliefs.fields)
    }

    /// Folds observations in, in their order. Weights that are not positive numbers are passed over.
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
            self.meet(kind);
        }
        let mut x = self.x(&observation.context);
        x[1] = logit(observation.prior);
        let residual = observation.reward.value() - sound(observation.prior);
        self.clock += observation.weight;
        self.learned_from += 1;
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
        // The firmest its prior ever had: a reading that was missed takes nothing from what is known of the model.
        arm.grounds = arm.grounds.max(observation.grounds);
        arm.observations += 1;
        arm.moments.add(&x, residual, observation.weight);
        let watched =
            self.settings.drift.and_then(|drift| arm.watch.see(place, residual, observation.weight, &drift));
        if let Some(rests_on) = watched {
            let usual = arm.watch.usual_of(arm.moments.weight(), arm.moments.kinds(shape));
            arm.moments.shift(usual - arm.moments.level());
            let keep = rests_on.max(KEPT) / arm.moments.weight();
            arm.moments.fade(keep.min(1.0));
        }
    }

    /// Works the beliefs out anew from the sums.
    fn refresh(&mut self) {
        let sums: Vec<_> = self
            .arms
            .values()
            .map(|arm| {
                let settled = arm.is_settled(&self.settings);
                // Of a model that is not what it was, a prior says nothing.
                let grounds = if settled { arm.grounds } else { Grounds::Nothing };
                Sums { moments: &arm.moments, fade: arm.fade(&self.settings, self.clock), grounds, settled }
            })
            .collect();
        self.beliefs = fit(&sums, self.shape(), &self.settings);
        self.places = self.arms.keys().enumerate().map(|(at, model)| (model.clone(), at)).collect();
    }

    /// `[1, 0, z, k]`: the logit is each candidate's own and comes in later.
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
                *slot = if feature.is_finite() { feature.clamp(-FEATURE_REACH, FEATURE_REACH) } else { 0.0 };
            }
        }
        x
    }

    /// What is believed of a candidate's model.
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
    (prior / (1.0 - prior)).ln().clamp(-LOGIT_REACH, LOGIT_REACH)
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
    // Rounding may leave a crumb; it belongs to the last that can be chosen at all.
    propensities.iter().rposition(|share| *share > 0.0).unwrap_or(0)
}

impl From<Snapshot> for Stored {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot { version, settings, space, features, kinds, learned_from, clock, arms, .. } = snapshot;
        Self { version, settings, space, features, kinds, learned_from, clock, arms }
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
