//! The configuration in force and all that is made of it, swapped as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;

use crate::config::{self, Config, Setting};
use crate::protocol::{ApiError, ChatRequest};
use crate::route::{self, Facts, PlanError, RuleEffect, Rules};
use crate::store::Token;
use crate::upstream::{Catalog, Listing, Model};

/// The configuration in force, and what is made of it: read once per request, swapped as a whole.
#[derive(Debug)]
pub struct LiveConfig {
    /// The configuration.
    pub config: Config,
    /// Every value and who set it.
    pub settings: Vec<Setting>,
    /// The models.
    pub catalog: Catalog,
    /// The static rules.
    pub rules: Rules,
}

impl LiveConfig {
    /// Builds the catalog and the rules of `config` and the models that servers list; deployments that stay keep their
    /// health in `before`.
    pub fn new(
        mut config: Config,
        settings: Vec<Setting>,
        discovered: &BTreeMap<String, Listing>,
        before: Option<&LiveConfig>,
    ) -> Self {
        // In the place of one that yields a server may list another, which an operator's change is of.
        let firm = config.models.iter().filter(|(name, _)| !config.yields(name));
        let firm = firm.map(|(name, settings)| (name.clone(), settings.clone())).collect();
        for setting in config.overrides.end_outdated(&firm, &settings) {
            tracing::warn!(setting, "The configured value has changed: the dashboard's change of it ends");
        }
        let catalog = Catalog::new(&config, discovered, before.map(|before| &before.catalog));
        let rules = Rules::new(&config.rules, &catalog);
        Self { config, settings, catalog, rules }
    }

    /// The model of this name, as far as `token` may use it; `None` where there is no such model.
    ///
    /// # Errors
    ///
    /// `Permission` where the token is for others.
    pub fn allowed(&self, token: Option<&Token>, name: &str) -> Result<Option<Arc<Model>>, ApiError> {
        let model = self.catalog.find(name);
        let Some(allowed) = token.and_then(|token| token.models.as_deref()) else { return Ok(model.cloned()) };
        let forbidden = |name: &str| Err(PlanError::Forbidden(name.to_owned()).into());
        match model {
            Some(model) => {
                let part = self.catalog.selection(allowed).part_of(model);
                part.map_or_else(|| forbidden(model.name.as_str()), |part| Ok(Some(part)))
            }
            // Of an unlisted model (`provider/id`) the token has the name itself.
            None if allowed.iter().any(|own| own == name) => Ok(None),
            None => forbidden(name),
        }
    }

    /// What the rules say of a request, sent as `body`, that only counts tokens and gets no plan.
    pub fn verdict(
        &self,
        request: &ChatRequest,
        body: &[u8],
        token: Option<&Token>,
        headers: &HeaderMap,
    ) -> RuleEffect {
        let token = token.map(|token| token.name.as_str());
        let facts = Facts::new(request, request.needs(), route::estimate_tokens(request), token, headers);
        self.rules.apply(&facts.with_body(Some(body)))
    }

    /// All models, configured or discovered, by name, each with the model that its `like` means.
    pub fn models(&self) -> BTreeMap<String, config::Model> {
        let called = |name: &String| Some(self.catalog.find(name)?.name.to_string());
        let settings = |model: &Model| {
            let likeness = model.settings.like.as_ref().and_then(called);
            (model.name.to_string(), config::Model { likeness, ..model.settings.clone() })
        };
        self.catalog.models().map(|model| settings(model)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_of_a_listed_model_ends_where_the_default_of_its_name_comes_back() {
        let mut config: Config = "".parse().unwrap();
        config.overrides.change("gpt-4o", None, |own| own.weight = Some(0.5));
        let weight =
            Setting { path: "models.gpt-4o.weight".into(), value: "1.0".into(), origin: config::Origin::Default };
        let weighs = |config: &Config| {
            let live = LiveConfig::new(config.clone(), vec![weight.clone()], &BTreeMap::new(), None);
            live.config.overrides.of("gpt-4o").and_then(|own| own.weight)
        };
        assert_eq!(weighs(&config), Some(0.5), "also while the server that lists it is not asked yet");
        config.providers.get_mut("openai").unwrap().key = Some("sk".to_owned().into());
        assert_eq!(weighs(&config), None);
    }
}
