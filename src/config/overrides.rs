//! What operators changed on the dashboard: laid over the configuration, kept by the store, and not part of any file.
//!
//! The newer word holds: where the configuration's own value has changed since, it ends what was set over it.

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
    /// What is configured instead, as it was then.
    #[serde(skip_serializing_if = "Configured::is_empty")]
    pub configured: Configured,
}

/// What was configured of a model when it was changed; absent where it was not, or where nobody noted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configured {
    /// Whether it took part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its share under the strategy `weighted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl Configured {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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

    /// Changes the override of a model that is configured as `configured`, if it is; one that says nothing is
    /// forgotten.
    pub fn change(&mut self, model: &str, configured: Option<&Model>, change: impl FnOnce(&mut ModelOverride)) {
        let own = self.models.entry(model.to_owned()).or_default();
        change(own);
        own.configured = Configured {
            enabled: own.enabled.and(configured.map(|model| model.enabled)),
            weight: own.weight.and(configured.map(|model| model.weight)),
            price: own.price.and(configured.map(|model| model.price)),
        };
        self.forget_empty();
    }

    /// Ends what was set over values that are configured otherwise now; tells the values.
    pub fn end_outdated(&mut self, models: &BTreeMap<String, Model>) -> Vec<String> {
        let mut ended = Vec::new();
        for (name, own) in &mut self.models {
            let Some(model) = models.get(name) else { continue };
            let mut end = |key| ended.push(format!("{}.{key}", join("models", name)));
            if own.configured.enabled.take_if(|then| *then != model.enabled).is_some() {
                own.enabled = None;
                end("enabled");
            }
            if own.configured.weight.take_if(|then| *then != model.weight).is_some() {
                own.weight = None;
                end("weight");
            }
            if own.configured.price.take_if(|then| *then != model.price).is_some() {
                own.price = None;
                end("price");
            }
        }
        self.forget_empty();
        ended
    }

    fn forget_empty(&mut self) {
        self.models.retain(|_, change| *change != ModelOverride::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_ends_what_was_set_over_what_it_says_otherwise_now() {
        let price = |input| Price { input, ..Price::default() };
        let mut model = Model { price: price(3.0), ..Model::default() };
        let mut overrides = Overrides::default();
        overrides.change("gpt-4.1", Some(&model), |own| (own.weight, own.price) = (Some(0.5), Some(price(1.0))));
        overrides.change("listed", None, |own| own.enabled = Some(false));
        // Of builds that noted nothing.
        overrides.models.insert("old".into(), ModelOverride { weight: Some(2.0), ..ModelOverride::default() });
        let mut ended = |model: &Model| {
            let all = ["gpt-4.1", "listed", "old"].map(|name| (name.to_owned(), model.clone()));
            (overrides.end_outdated(&all.into()), overrides.models.len())
        };
        assert_eq!(ended(&model), (vec![], 3));
        model.price = price(7.0);
        assert_eq!(ended(&model), (vec!["models.\"gpt-4.1\".price".to_owned()], 3));
        model.price = price(3.0);
        assert_eq!(ended(&model), (vec![], 3), "ended is ended");
        model.weight = 3.0;
        assert_eq!(ended(&model), (vec!["models.\"gpt-4.1\".weight".to_owned()], 2));
    }
}
