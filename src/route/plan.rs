//! The result of planning: models in order, and the reasons for the choice.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::lengths::Expected;
use super::sticky::Stay;
use crate::bandit::{Attribution, Grounds, Tradeoff};
use crate::classifier::{Missed, Reading};
pub use crate::protocol::Excluded;
use crate::protocol::{DecisionId, Mode, ModelName, Needs, Objective, Shadow};
use crate::upstream::Model;

/// What `dispatch` walks.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Models in the order to try them; the first is the chosen one. Never empty.
    pub candidates: Vec<Arc<Model>>,
    /// The conversation's stay until now, if it is under way: its deployment has the prompt in the vendor's cache, and is
    /// preferred of a candidate's.
    pub stay: Option<Stay>,
    /// Models that would be candidates at another time; named in the error if no model answers.
    pub away: Vec<Excluded>,
    /// The choice, explained.
    pub decision: Arc<Decision>,
}

/// A model that could have been chosen.
#[derive(Debug, Clone, Serialize)]
pub struct Considered {
    /// The model.
    pub model: ModelName,
    /// Its weight in a choice by weight.
    pub weight: f64,
    /// Expected cost, US dollars, for the estimated prompt and `answer_tokens`.
    pub cost_usd: f64,
    /// Expected tokens of the answer.
    #[serde(skip)]
    pub answer_tokens: u64,
    /// Expected milliseconds to the first piece of the answer; absent = never measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Probability of being chosen.
    pub propensity: f64,
    /// The learned policy's prediction; absent where the policy was not asked.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

/// What the learned policy expects of a model for one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Probability of a good answer, in [0, 1].
    pub quality: f64,
    /// `learned`: from this model's own outcomes; `prior`: from what the model is likened to.
    pub source: &'static str,
    /// What the prior rests on: `head`, `like <model>`, `score` or `default`.
    pub basis: String,
    /// How certain the prior is.
    #[serde(skip)]
    pub grounds: Grounds,
    /// Whether feedback from this gateway's own traffic has corrected the prior.
    pub judged: bool,
    /// Probability of a good answer before any feedback.
    pub prior: f64,
    /// Expected tokens of the answer.
    pub output_tokens: f64,
    /// Expected tokens before the correction by [`Lengths`](super::Lengths).
    #[serde(skip)]
    pub expected: Expected,
    /// Expected cost, US dollars; the same as [`Considered::cost_usd`].
    #[serde(skip)]
    pub cost_usd: f64,
    /// Expected seconds until the whole answer is there; absent = never measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_s: Option<f64>,
    /// What the vendor's prompt cache saves of `cost_usd`, US dollars; absent where the conversation is not on this
    /// model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_usd: Option<f64>,
    /// What this model's prompt cache would save of `cost_usd`, US dollars, if the conversation had been on it;
    /// `None` where the conversation is on this model, or not under way.
    #[serde(skip)]
    pub cacheable_usd: Option<f64>,
    /// What filling this model's prompt cache would cost beyond `cost_usd` if the conversation moved here, US
    /// dollars.
    pub switching_usd: f64,
    /// The quantity by which models are compared.
    pub utility: f64,
    /// How `quality` is made up: the model's usual quality and what moved it; the sum is exact within a
    /// ten-thousandth.
    pub account: Attribution,
}

/// The classifier's reading of the prompt.
#[derive(Debug, Clone, Serialize)]
pub struct Features {
    /// `read`, `cached` or `missed`.
    pub status: &'static str,
    /// Why there is no reading: `disabled`, `loading`, `busy`, `too_slow`, `no_head`, `no_words` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<&'static str>,
    /// `missed` as a clause for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Milliseconds the reading took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Tokens read of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Whether the prompt was longer than what was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Whether less than usual was read of it, so that it was read in time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
    /// How much the prompt is like the training data: 1 = like it, 0 = not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<f32>,
    /// The feature vector, for the decision log; empty where there is no reading.
    #[serde(skip)]
    pub vector: Arc<[f32]>,
    /// Which encoder and projection made `vector`; vectors of different spaces cannot be compared.
    #[serde(skip)]
    pub space: Arc<str>,
}

impl Features {
    /// The features of a reading, or the reason why there is none.
    pub fn of(reading: Result<&Reading, &Missed>) -> Self {
        match reading {
            Ok(reading) => Self {
                status: if reading.cached { "cached" } else { "read" },
                missed: None,
                why: None,
                took_ms: Some(reading.took.as_secs_f64() * 1e3),
                tokens: Some(reading.tokens),
                truncated: reading.truncated,
                shortened: reading.shortened,
                familiarity: Some(reading.familiarity),
                vector: Arc::clone(&reading.features),
                space: Arc::clone(&reading.space),
            },
            Err(missed) => Self {
                status: "missed",
                missed: Some(missed.word()),
                why: Some(missed.to_string()),
                took_ms: None,
                tokens: None,
                truncated: false,
                shortened: false,
                familiarity: None,
                vector: Arc::new([]),
                space: "".into(),
            },
        }
    }
}

/// One choice of a model, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// The id that outcome and feedback refer to.
    pub id: DecisionId,
    /// The model as the client wrote it.
    pub requested: String,
    /// How the model came to be chosen.
    pub mode: Mode,
    /// The chosen model.
    pub chosen: ModelName,
    /// Probability of the choice.
    pub propensity: f64,
    /// Version of the policy that chose; 0 = no policy chose.
    pub policy_version: u64,
    /// Judgements the policy had taken in since that version was promoted.
    pub policy_revision: u64,
    /// Whether this was exploration: another model looked better.
    pub explored: bool,
    /// Whether exploration was allowed.
    pub explore: bool,
    /// What the watching policy would have chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// The task the classifier recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Arc<str>>,
    /// The classifier's reading; absent where the classifier was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// What a dollar and a second were worth, in points of quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tradeoff: Option<Tradeoff>,
    /// The reason for the choice: one clause for people.
    pub reason: String,
    /// The objective optimised.
    pub objective: Objective,
    /// Abilities the request needs.
    pub needs: Needs,
    /// Estimated prompt tokens.
    pub prompt_tokens: u32,
    /// Names of the static rules that matched, in order.
    pub rules: Vec<String>,
    /// The question's language, as the rules read it: an ISO 639-3 code, `und` where too little tells it; absent where
    /// no rule asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'static str>,
    /// Models that could have been chosen, in the order of trying.
    pub candidates: Vec<Considered>,
    /// Models excluded, with reasons.
    pub excluded: Vec<Excluded>,
}

impl Decision {
    /// Why `model` answers, whether it is the chosen one or not: one clause for people.
    pub fn reason_for(&self, model: &ModelName) -> Cow<'_, str> {
        if *model == self.chosen {
            return Cow::Borrowed(&self.reason);
        }
        Cow::Owned(format!("failover from {}", self.chosen))
    }
}
