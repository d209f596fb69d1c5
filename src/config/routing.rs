//! How `auto` chooses.

use serde::{Deserialize, Serialize};

use crate::protocol::{NamedObjective, Objective};

/// What chooses among the candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The models' configured weights.
    #[default]
    Weighted,
}

/// How `auto` chooses. Live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// What chooses among the candidates.
    pub strategy: Strategy,
    /// What is optimised where a request says nothing.
    pub objective: Objective,
    /// Most models tried for one request.
    pub max_candidates: usize,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            objective: Objective::Named(NamedObjective::Balanced),
            max_candidates: 4,
        }
    }
}
