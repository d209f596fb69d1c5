//! How `auto` chooses.

use serde::{Deserialize, Serialize};

use crate::protocol::{NamedObjective, Objective};

/// What chooses among the candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The learned policy.
    #[default]
    Learned,
    /// The models' configured weights.
    Weighted,
}

/// How `auto` chooses. Live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// What chooses among the candidates.
    pub strategy: Strategy,
    /// The objective where neither request nor rule names one.
    pub objective: Objective,
    /// What the named objectives mean in numbers.
    pub objectives: Objectives,
    /// Most models tried for one request.
    pub max_candidates: usize,
    /// Whether the learned policy may explore; a rule or a request may switch it off for itself.
    pub explore: bool,
    /// When a conversation stays on its model, and at the model's deployment that answered last.
    pub sticky: Sticky,
    /// Seed of the random draws, to repeat a run; absent = unpredictable. Fixed at start.
    pub seed: Option<u64>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            objective: Objective::Named(NamedObjective::Balanced),
            objectives: Objectives::default(),
            max_candidates: 4,
            explore: true,
            sticky: Sticky::default(),
            seed: None,
        }
    }
}

/// What a dollar and a second are worth in points of quality; 1 is the difference between a useless and a perfect
/// answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Quality given up to save one US dollar on one request.
    pub cost_per_usd: f64,
    /// Quality given up to have the answer one second sooner.
    pub latency_per_s: f64,
}

/// The named objectives in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Objectives {
    pub quality: Weights,
    pub balanced: Weights,
    pub cost: Weights,
    pub speed: Weights,
}

impl Default for Objectives {
    fn default() -> Self {
        let weights = |cost_per_usd, latency_per_s| Weights { cost_per_usd, latency_per_s };
        Self {
            quality: weights(0.5, 0.0),
            balanced: weights(8.0, 0.002),
            cost: weights(40.0, 0.001),
            speed: weights(4.0, 0.05),
        }
    }
}

impl Objectives {
    /// The weights of an objective; NaN counts as 0, others are clamped to 0..=[`Objective::MAX_WEIGHT`].
    pub fn weights(&self, objective: Objective) -> Weights {
        match objective {
            Objective::Named(NamedObjective::Quality) => self.quality,
            Objective::Named(NamedObjective::Balanced) => self.balanced,
            Objective::Named(NamedObjective::Cost) => self.cost,
            Objective::Named(NamedObjective::Speed) => self.speed,
            Objective::Weights { cost_per_usd, latency_per_s } => {
                let sound =
                    |weight: f64| if weight.is_nan() { 0.0 } else { weight.clamp(0.0, Objective::MAX_WEIGHT) };
                Weights { cost_per_usd: sound(cost_per_usd), latency_per_s: sound(latency_per_s) }
            }
        }
    }
}

/// When a conversation stays on its model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sticky {
    /// Whether conversations stay at all.
    pub enabled: bool,
    /// Minutes of silence after which the vendor's prompt cache is taken to be gone, and the conversation is free
    /// again.
    pub minutes: u64,
    /// Utility that another model must gain beyond staying, prompt cache included.
    pub margin: f64,
    /// Conversations remembered; the longest silent are forgotten first.
    pub conversations: usize,
}

impl Default for Sticky {
    fn default() -> Self {
        Self { enabled: true, minutes: 60, margin: 0.05, conversations: 100_000 }
    }
}
