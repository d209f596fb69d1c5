//! What stood beside a choice of a model: the models that were excluded, and what a watching policy would have chosen.

use serde::{Deserialize, Serialize};

use super::ModelName;

/// A model that was excluded before the choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// The model.
    pub model: ModelName,
    /// Why, as a clause for people.
    pub reason: String,
}

/// What a policy that only watches (mode `shadow`) would have chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// The model.
    pub model: ModelName,
    /// Probability of that choice.
    pub propensity: f64,
    /// The watching policy's version.
    pub policy_version: u64,
}
