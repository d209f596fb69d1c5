//! The result of planning: models in order, and the story of the choice.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::lengths::Expected;
use crate::bandit::{Attribution, Grounds, Tradeoff};
use crate::classifier::{Missed, Reading};
use crate::protocol::{DecisionId, Mode, ModelName, Needs, Objective};
use crate::upstream::Model;

/// What `dispatch` walks.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Models in the order to try them; the first is the chosen one. Never empty.
    pub candidates: Vec<Arc<Model>>,
    /// Models that would be candidates at another time: whoever is told that nobody answered is told of them, too.
    pub away: Vec<Excluded>,
    /// Why.
    pub decision: Arc<Decision>,
}

/// A model that could have been chosen.
#[derive(Debug, Clone, Serialize)]
pub struct Considered {
    /// The model.
    pub model: ModelName,
    /// Its weight, where the choice is by weight.
    pub weight: f64,
    /// Expected cost, US dollars: the estimated prompt, and an answer of the length clients ask for or usual ones
    /// have.
    pub cost_usd: f64,
    /// Tokens of that answer.
    #[serde(skip)]
    pub answer_tokens: u64,
    /// Expected milliseconds to the first piece; absent = never measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Probability with which it was to be chosen.
    pub propensity: f64,
    /// What the learned policy expected of it; absent where it was not asked.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

/// What is expected of a model for one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Probability of a good answer, in [0, 1].
    pub quality: f64,
    /// `learned`: from outcomes of this very model; `prior`: from what it is likened to.
    pub source: &'static str,
    /// What the prior rests on: `head`, `like <model>`, `score` or `default`.
    pub basis: String,
    /// How firm the prior is.
    #[serde(skip)]
    pub grounds: Grounds,
    /// Whether feedback from this gateway's own traffic has corrected the prior.
    pub judged: bool,
    /// Probability of a good answer before any feedback.
    pub prior: f64,
    /// Expected tokens of the answer.
    pub output_tokens: f64,
    /// What was expected before it was corrected by how long this model's answers have been.
    #[serde(skip)]
    pub expected: Expected,
    /// Expected cost, US dollars: the same as the candidate's.
    #[serde(skip)]
    pub cost_usd: f64,
    /// Expected seconds until the whole answer is there; absent = never measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_s: Option<f64>,
    /// What the vendor's prompt cache saves of `cost_usd`, US dollars; absent where the conversation is not on this
    /// model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_usd: Option<f64>,
    /// What its prompt cache would save of `cost_usd` if the conversation, which is on another model, had been on this one, US
    /// dollars.
    #[serde(skip)]
    pub cacheable_usd: Option<f64>,
    /// What filling this model's prompt cache would cost beyond `cost_usd`, were the conversation to move here, US
    /// dollars.
    pub switching_usd: f64,
    /// What was compared.
    pub utility: f64,
    /// What `quality` is made of: the model's usual quality and what moved it; adds up to it within a ten-thousandth.
    pub account: Attribution,
}

/// What the classifier made of the prompt.
#[derive(Debug, Clone, Serialize)]
pub struct Features {
    /// `read`, `cached` or `missed`.
    pub status: &'static str,
    /// Why there are none: `disabled`, `loading`, `busy`, `too_slow`, `no_head`, `no_words` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<&'static str>,
    /// The same as a clause for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Milliseconds it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Tokens read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Whether the prompt was longer than what was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// 1 = like the training data, 0 = nothing like it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<f32>,
    /// The context, for the log; empty where there is none.
    #[serde(skip)]
    pub vector: Arc<[f32]>,
    /// What made it.
    #[serde(skip)]
    pub space: Arc<str>,
}

impl Features {
    /// Of a reading, or of the lack of one.
    pub fn of(reading: Result<&Reading, &Missed>) -> Self {
        match reading {
            Ok(reading) => Self {
                status: if reading.cached { "cached" } else { "read" },
                missed: None,
                why: None,
                took_ms: Some(reading.took.as_secs_f64() * 1e3),
                tokens: Some(reading.tokens),
                truncated: reading.truncated,
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
                familiarity: None,
                vector: Arc::new([]),
                space: "".into(),
            },
        }
    }
}

/// What a policy that only watches would have chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shadow {
    /// The model.
    pub model: ModelName,
    /// Probability with which.
    pub propensity: f64,
    /// The version of the policy that watches.
    pub policy_version: u64,
}

/// A model that fell out before the choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// The model.
    pub model: ModelName,
    /// Why, as a clause for people.
    pub reason: String,
}

/// One choice of a model, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// Its id: outcome and feedback refer to it.
    pub id: DecisionId,
    /// The model as the client wrote it.
    pub requested: String,
    /// How the model came to be chosen.
    pub mode: Mode,
    /// The chosen model.
    pub chosen: ModelName,
    /// Probability with which it was chosen.
    pub propensity: f64,
    /// The policy that chose; 0 = none: it was not asked, or only watched.
    pub policy_version: u64,
    /// Judgements it had taken in since that version was promoted.
    pub policy_revision: u64,
    /// Whether another model looked better, and this one was chosen to find out.
    pub explored: bool,
    /// Whether it might have been a try-out.
    pub explore: bool,
    /// What the policy that only watched would have chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// The task the classifier saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Arc<str>>,
    /// What the classifier made of the prompt; absent where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// What a dollar and a second were worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tradeoff: Option<Tradeoff>,
    /// One sentence for people.
    pub reason: String,
    /// What was optimised.
    pub objective: Objective,
    /// What a model had to be able to do.
    pub needs: Needs,
    /// Estimated prompt tokens.
    pub prompt_tokens: u32,
    /// Names of the static rules that matched, in order.
    pub rules: Vec<String>,
    /// Models that could have been chosen, in the order they would be tried.
    pub candidates: Vec<Considered>,
    /// Models that fell out, with reasons.
    pub excluded: Vec<Excluded>,
}

impl Decision {
    /// Why `model` answers, who need not be the chosen one: one sentence for people.
    pub fn reason_for(&self, model: &ModelName) -> Cow<'_, str> {
        if *model == self.chosen {
            return Cow::Borrowed(&self.reason);
        }
        Cow::Owned(format!("failover from {}", self.chosen))
    }
}
