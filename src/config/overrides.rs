//! Changes made on the dashboard: applied over the configuration, kept by the store, in no file.
//!
//! The newer value wins: an override ends when the configured value below it changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::layers::{join, leaves, within};
use super::{Model, Setting};
use crate::protocol::Price;

/// All overrides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// By model.
    pub models: BTreeMap<String, ModelOverride>,
}

/// The override of one model; absent fields are as configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelOverride {
    /// Whether it takes part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its share under the strategy `weighted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Its price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Names of deployments that get no further calls.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub drained: BTreeSet<String>,
    /// The configured values at the time of the change.
    #[serde(skip_serializing_if = "Configured::is_empty")]
    pub configured: Configured,
}

/// Configured values of a model when they were overridden; empty in records that noted none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configured {
    /// Whether it took part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its share under the strategy `weighted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Its price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Whether values not noted here were not configured: a server had listed the model.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub discovered: bool,
}

impl Configured {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ModelOverride {
    /// Applies it over what is configured.
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

    /// The overridden values as settings: keys and values as TOML.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        for (name, change) in &self.models {
            let model = join("models", name);
            let mut add = |path: &str, value: &Value| settings.push((path.to_owned(), value.to_string()));
            if let Some(enabled) = change.enabled {
                add(&join(&model, "enabled"), &enabled.into());
            }
            if let Some(weight) = change.weight {
                add(&join(&model, "weight"), &weight.into());
            }
            // All that a price has, whatever that is.
            let price = change.price.and_then(|price| Table::try_from(price).ok());
            leaves(&price.unwrap_or_default(), &join(&model, "price"), &mut add);
        }
        settings
    }

    /// Changes the override of a model that is configured as `configured` (`None` = a server listed it); an empty
    /// override is removed. The configured value is noted for each value that changes, and kept for the others.
    pub fn change(&mut self, model: &str, configured: Option<&Model>, change: impl FnOnce(&mut ModelOverride)) {
        let own = self.models.entry(model.to_owned()).or_default();
        let before = own.clone();
        change(own);
        let noted = &mut own.configured;
        let changed = [
            note(&mut noted.enabled, before.enabled, own.enabled, configured.map(|model| model.enabled)),
            note(&mut noted.weight, before.weight, own.weight, configured.map(|model| model.weight)),
            note(&mut noted.price, before.price, own.price, configured.map(|model| model.price)),
        ];
        noted.discovered |= configured.is_none() && changed.contains(&true);
        self.forget_empty();
    }

    /// Ends overrides whose configured value has changed, or, where there was none, is among `settings` now; returns
    /// their keys.
    pub fn end_outdated(&mut self, models: &BTreeMap<String, Model>, settings: &[Setting]) -> Vec<String> {
        let mut ended = Vec::new();
        for (name, own) in &mut self.models {
            let Some(model) = models.get(name) else { continue };
            let then = own.configured;
            let mut ends = |key: &str, is_other: Option<bool>| {
                let path = format!("{}.{key}", join("models", name));
                let ends = is_other.unwrap_or_else(|| then.discovered && sets(settings, &path));
                if ends {
                    ended.push(path);
                }
                ends
            };
            if own.enabled.is_some() && ends("enabled", then.enabled.map(|then| then != model.enabled)) {
                (own.enabled, own.configured.enabled) = (None, None);
            }
            if own.weight.is_some() && ends("weight", then.weight.map(|then| then != model.weight)) {
                (own.weight, own.configured.weight) = (None, None);
            }
            if own.price.is_some() && ends("price", then.price.map(|then| then != model.price)) {
                (own.price, own.configured.price) = (None, None);
            }
        }
        self.forget_empty();
        ended
    }

    fn forget_empty(&mut self) {
        self.models.retain(|_, own| *own != ModelOverride { configured: own.configured, ..ModelOverride::default() });
    }
}

/// Notes the configured value if the override changes; returns whether it does.
fn note<T: Copy + PartialEq>(
    noted: &mut Option<T>,
    before: Option<T>,
    now: Option<T>,
    configured: Option<T>,
) -> bool {
    let changes = now != before;
    if changes {
        *noted = now.and(configured);
    }
    changes
}

/// Whether one of `settings` is the value at `path`, or a part of it.
fn sets(settings: &[Setting], path: &str) -> bool {
    settings.iter().any(|setting| within(&setting.path, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::LongPrompt;

    #[test]
    fn each_value_that_is_set_is_told_as_a_setting() {
        let long_prompt = LongPrompt { above: 5, input_factor: 3.0, output_factor: 1.5 };
        let (cache_read, cache_write) = (Some(0.5), Some(0.7));
        let price = Price { input: 1.0, output: 2.0, cache_read, cache_write, long_prompt: Some(long_prompt) };
        let mut overrides = Overrides::default();
        let all = |own: &mut ModelOverride| {
            (own.enabled, own.weight, own.price) = (Some(false), Some(0.1), Some(price));
        };
        overrides.change("m.1", None, all);
        let mut told: Vec<String> =
            overrides.settings().into_iter().map(|(path, value)| format!("{path} = {value}")).collect();
        told.sort_unstable();
        let expected = [
            "models.\"m.1\".enabled = false",
            "models.\"m.1\".price.cache_read = 0.5",
            "models.\"m.1\".price.cache_write = 0.7",
            "models.\"m.1\".price.input = 1.0",
            "models.\"m.1\".price.long_prompt.above = 5",
            "models.\"m.1\".price.long_prompt.input_factor = 3.0",
            "models.\"m.1\".price.long_prompt.output_factor = 1.5",
            "models.\"m.1\".price.output = 2.0",
            "models.\"m.1\".weight = 0.1",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_configuration_ends_what_was_set_over_what_it_says_otherwise_now() {
        let price = |input| Price { input, ..Price::default() };
        let mut model = Model { price: price(3.0), ..Model::default() };
        let mut overrides = Overrides::default();
        overrides.change("gpt-4.1", Some(&model), |own| (own.weight, own.price) = (Some(0.5), Some(price(1.0))));
        overrides.change("listed", None, |own| own.enabled = Some(false));
        // One that noted nothing.
        overrides.models.insert("old".into(), ModelOverride { weight: Some(2.0), ..ModelOverride::default() });
        let mut ended = |model: &Model| {
            let all = ["gpt-4.1", "listed", "old"].map(|name| (name.to_owned(), model.clone()));
            (overrides.end_outdated(&all.into(), &[]), overrides.models.len())
        };
        assert_eq!(ended(&model), (vec![], 3));
        model.price = price(7.0);
        assert_eq!(ended(&model), (vec!["models.\"gpt-4.1\".price".to_owned()], 3));
        model.price = price(3.0);
        assert_eq!(ended(&model), (vec![], 3), "ended is ended");
        model.weight = 3.0;
        assert_eq!(ended(&model), (vec!["models.\"gpt-4.1\".weight".to_owned()], 2));
    }

    #[test]
    fn what_comes_to_be_configured_of_a_listed_model_ends_what_was_set_over_it() {
        let mut overrides = Overrides::default();
        let price = Some(Price::default());
        overrides.change("m:8b", None, |own| (own.enabled, own.weight, own.price) = (Some(false), Some(0.1), price));
        let kept = serde_json::to_string(&overrides).unwrap();
        let mut overrides: Overrides = serde_json::from_str(&kept).unwrap();
        let models = BTreeMap::from([("m:8b".to_owned(), Model::default())]);
        let mut ended = |paths: &[&str]| {
            let origin = crate::config::Origin::Default;
            let setting =
                |path: &&str| Setting { path: (*path).into(), value: String::new(), origin: origin.clone() };
            let settings: Vec<Setting> = paths.iter().map(setting).collect();
            (overrides.end_outdated(&models, &settings), overrides.models.len())
        };
        let own = |key: &str| format!("models.\"m:8b\".{key}");
        assert_eq!(ended(&["models.other.enabled", &own("context"), &own("enabled_at")]), (vec![], 1));
        assert_eq!(ended(&[&own("enabled"), &own("price.input")]), (vec![own("enabled"), own("price")], 1));
        assert_eq!(ended(&[&own("enabled"), &own("weight")]), (vec![own("weight")], 0));
    }

    #[test]
    fn each_value_was_set_over_what_was_configured_of_it_then() {
        let set =
            |path: &str| Setting { path: path.into(), value: String::new(), origin: crate::config::Origin::Default };
        let listed = Model::default();
        let models = BTreeMap::from([("m:8b".to_owned(), listed.clone())]);
        let (enabled, weight) = (set("models.\"m:8b\".enabled"), set("models.\"m:8b\".weight"));
        let mut overrides = Overrides::default();
        overrides.change("m:8b", None, |own| own.enabled = Some(!listed.enabled));
        // A file says something of it now, and another value is set over that.
        overrides.change("m:8b", Some(&listed), |own| own.weight = Some(listed.weight + 5.0));
        let unmoved = [weight];
        assert_eq!(overrides.end_outdated(&models, &unmoved), Vec::<String>::new(), "the weight is as it was then");
        assert_eq!(overrides.end_outdated(&models, &[enabled]), ["models.\"m:8b\".enabled"]);
        assert_eq!(
            overrides.of("m:8b").map(|own| (own.enabled, own.weight)),
            Some((None, Some(listed.weight + 5.0)))
        );
        // The other way round: what a file said of the weight is no longer there when the model is switched off.
        let mut overrides = Overrides::default();
        overrides.change("m:8b", Some(&listed), |own| own.weight = Some(listed.weight + 5.0));
        overrides.change("m:8b", None, |own| own.enabled = Some(false));
        assert_eq!(overrides.end_outdated(&models, &unmoved), Vec::<String>::new());
        let heavier = BTreeMap::from([("m:8b".to_owned(), Model { weight: listed.weight + 1.0, ..listed })]);
        assert_eq!(overrides.end_outdated(&heavier, &[]), ["models.\"m:8b\".weight"]);
        assert!(overrides.of("m:8b").is_some_and(|own| own.enabled == Some(false)));
    }
}
