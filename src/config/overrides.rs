//! What operators changed on the dashboard: laid over the configuration, kept by the store, and not part of any file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Model;
use super::layers::join;
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

    /// What is changed, as settings: keys and values as TOML.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        for (name, change) in &self.models {
            let mut said = |key: &str, value: Option<String>| {
                let path = format!("{}.{key}", join("models", name));
                settings.extend(value.map(|value| (path, value)));
            };
            said("enabled", change.enabled.map(|enabled| enabled.to_string()));
            said("weight", change.weight.map(|weight| format!("{weight:?}")));
            let price =
                |of: fn(&Price) -> Option<f64>| change.price.as_ref().and_then(of).map(|usd| format!("{usd:?}"));
            said("price.input", price(|price| Some(price.input)));
            said("price.output", price(|price| Some(price.output)));
            said("price.cache_read", price(|price| price.cache_read));
            said("price.cache_write", price(|price| price.cache_write));
        }
        settings
    }

    /// Changes the override of a model; one that says nothing is forgotten.
    pub fn change(&mut self, model: &str, change: impl FnOnce(&mut ModelOverride)) {
        change(self.models.entry(model.to_owned()).or_default());
        self.models.retain(|_, change| *change != ModelOverride::default());
    }
}
