//! What operators changed on the dashboard: laid over the configuration, kept by the store, and not part of any file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Model;
use crate::protocol::Price;

/// What was changed of the models, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// By model.
    pub models: BTreeMap<String, ModelOverride>,
}

/// What was changed of one model; what is absent is as configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelOverride {
    /// Whether it takes part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its share under the strategy `weighted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// What it costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Deployments that get no further calls.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub drained: BTreeSet<String>,
}

impl ModelOverride {
    /// Lays it over what is configured.
    pub fn apply(&self, model: &mut Model) {
        model.enabled = self.enabled.unwrap_or(model.enabled);
        model.weight = self.weight.unwrap_or(model.weight);
        model.price = self.price.unwrap_or(model.price);
    }
}

impl Overrides {
    /// The override of a model, if it has one.
    pub fn of(&self, model: &str) -> Option<&ModelOverride> {
        self.models.get(model)
    }

    /// Changes the override of a model; one that says nothing is forgotten.
    pub fn change(&mut self, model: &str, change: impl FnOnce(&mut ModelOverride)) {
        change(self.models.entry(model.to_owned()).or_default());
        self.models.retain(|_, change| *change != ModelOverride::default());
    }
}
