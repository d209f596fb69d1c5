//! What goes into a choice and what comes out of it.

use serde::{Deserialize, Serialize};

use super::reward::Reward;
use crate::protocol::ModelName;

/// One request, as a choice sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Context<'a> {
    /// Features of the prompt, centred on 0 with a spread of about 1. Empty where the classifier did not answer in
    /// time: then the choice goes by what is known of the models alone.
    pub features: &'a [f32],
    /// The feature space: which classifier's head made the features. A policy of another space ignores them.
    pub space: &'a str,
    /// The kind of work that is asked for, in a word (`code`, `translation`...); empty where unknown.
    pub kind: &'a str,
}

/// The grounds of a model's prior: what it rests on. The weaker they are, the sooner feedback overrules the prior.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grounds {
    /// Nothing: a default.
    Nothing,
    /// A similar model that the configuration names, or a benchmark score.
    Likened,
    /// Outcomes of this model on prompts of all kinds.
    #[default]
    Fitted,
}

impl Grounds {
    /// All of them, the weakest first.
    pub(super) const ALL: [Self; 3] = [Self::Nothing, Self::Likened, Self::Fitted];
}

/// A model that could be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// Probability of a good answer to this prompt before any learning from traffic, in [0, 1].
    pub prior: f64,
    /// What the prior rests on.
    pub grounds: Grounds,
    /// Expected cost of the answer, US dollars.
    pub cost_usd: f64,
    /// Expected seconds until the answer is complete; absent = never measured, and then not counted.
    pub latency_s: Option<f64>,
    /// Additional cost of moving the conversation to this model (filling its vendor's prompt cache), US dollars.
    pub switching_usd: f64,
}

/// A choice, with everything needed to explain it and to learn from it. All vectors are in the order of the candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Index of the chosen candidate.
    pub chosen: usize,
    /// Probability of choosing each; they sum to 1.
    pub propensities: Vec<f64>,
    /// Expected quality, in [0, 1].
    pub qualities: Vec<f64>,
    /// Standard deviation of the belief about the expected quality: how much there is to learn.
    pub spreads: Vec<f64>,
    /// The utilities that were compared, see [`Tradeoff::utility`](super::Tradeoff::utility).
    pub utilities: Vec<f64>,
    /// Candidates in the order to try them: the chosen one, then by falling utility.
    pub order: Vec<usize>,
    /// Whether another candidate had a higher utility: then this one was drawn to learn about it.
    pub explored: bool,
}

/// The result of one choice, to learn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation<'a> {
    /// The model that answered.
    pub model: &'a ModelName,
    /// The context of the choice, as it was then.
    pub context: Context<'a>,
    /// The prior of that model in that context, as it was then.
    pub prior: f64,
    /// What the prior rested on.
    pub grounds: Grounds,
    /// How good the answer was.
    pub reward: Reward,
    /// How much the reward counts; 1 = one judgement. Not an inverse propensity: the posterior needs none.
    pub weight: f64,
    /// Whether somebody judged the answer, and will again: a signal promises no judgements.
    pub judged: bool,
}
