//! The result of planning: models in order, and the story of the choice.

use std::sync::Arc;

use serde::Serialize;

use crate::protocol::{DecisionId, ModelName, Needs, Objective};
use crate::upstream::Model;

/// What `dispatch` walks.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Models in the order to try them; the first is the chosen one. Never empty.
    pub candidates: Vec<Arc<Model>>,
    /// Why.
    pub decision: Arc<Decision>,
}

/// How a model came to be chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The client or a rule named it.
    Named,
    /// Drawn by configured weights.
    #[default]
    Weighted,
}

impl Mode {
    /// The mode in headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Weighted => "weighted",
        }
    }
}

/// A model that could have been chosen.
#[derive(Debug, Clone, Serialize)]
pub struct Considered {
    /// The model.
    pub model: ModelName,
    /// Its weight, where the choice is by weight.
    pub weight: f64,
    /// Expected cost, US dollars: the estimated prompt, and an answer of the length clients ask for or usual ones have.
    pub cost_usd: f64,
    /// Expected milliseconds to the first piece; absent = never measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Probability with which it was to be chosen.
    pub propensity: f64,
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
    /// The policy that chose; 0 = no learned policy.
    pub policy_version: u64,
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
