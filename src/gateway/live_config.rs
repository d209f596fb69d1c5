//! The configuration in force and all that is made of it, swapped as a whole.

use std::collections::BTreeMap;

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
        for setting in config.overrides.end_outdated(&config.models, &settings) {
            tracing::warn!(setting, "The configured value has changed: the dashboard's change of it ends");
        }
        let catalog = Catalog::new(&config, discovered, before.map(|before| &before.catalog));
        let rules = Rules::new(&config.rules, &catalog);
        Self { config, settings, catalog, rules }
    }

    /// Refuses a model that `token` may not use.
    ///
    /// # Errors
    ///
    /// `Permission`.
    pub fn allow(&self, token: Option<&Token>, model: &str) -> Result<(), ApiError> {
        let allowed = token.and_then(|token| token.models.as_deref());
        if allowed.is_some_and(|allowed| !self.catalog.is_among(model, allowed)) {
            return Err(PlanError::Forbidden(model.to_owned()).into());
        }
        Ok(())
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
