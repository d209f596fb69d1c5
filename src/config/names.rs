//! How models are named: the one way to read a name, for what clients ask for, rules, API tokens, aliases and `like`, and
//! for the checks of a configuration as for the catalog that is made of it.
//!
//! A name is, in this order: a model's own or an alias; Ollama's `llama3.2:latest` without its tag; the id by which its
//! vendor knows a model (`claude-3-7-sonnet-20250219`); one of those two with `-latest` or Claude Code's long-context
//! mark (`[1m]`) appended; and, as OpenRouter's and LiteLLM's clients write it, any of these behind the name of a provider
//! that serves the model (`openai/gpt-4o`).

use std::collections::BTreeMap;

use super::{Config, Model};
use crate::protocol::ModelName;

/// What has a model's settings.
pub trait Described {
    /// The settings.
    fn settings(&self) -> &Model;
}

impl Described for &Model {
    fn settings(&self) -> &Model {
        self
    }
}

/// All models, with the aliases that lead to them.
#[derive(Debug)]
pub struct Names<M> {
    models: BTreeMap<ModelName, M>,
    /// Each alias with its end: a model, `auto`, or a name that no model has yet.
    aliases: BTreeMap<String, ModelName>,
}

impl<M> Default for Names<M> {
    fn default() -> Self {
        Self { models: BTreeMap::new(), aliases: BTreeMap::new() }
    }
}

impl Config {
    /// The names of the configured models. A server that is asked for its list may add others later.
    pub fn names(&self) -> Names<&Model> {
        Names::new(self.models.iter().map(|(name, model)| (ModelName::from(name.as_str()), model)).collect(), self)
    }
}

impl<M: Described> Names<M> {
    /// The names of these models, and the aliases of `config`.
    pub fn new(models: BTreeMap<ModelName, M>, config: &Config) -> Self {
        // A listed model, under Ollama's `name:latest` too, comes before a default alias, not before the operator's
        // own.
        let listed = |name: &str| {
            let names = [ModelName::from(name), ModelName::from(format!("{name}:latest"))];
            names.into_iter().find(|name| models.contains_key(name)).filter(|_| !config.has_own_alias(name))
        };
        // An alias may lead to another alias; a loop, which loading refuses, ends here, too.
        let end = |alias: &String| {
            let mut name = alias;
            for _ in 0..=config.aliases.len() {
                if let Some(found) = listed(name) {
                    return found;
                }
                let Some(next) = config.aliases.get(name) else { break };
                name = next;
            }
            ModelName::from(name.as_str())
        };
        let aliases = config.aliases.keys().filter(|alias| !models.contains_key(alias.as_str()));
        let aliases = aliases.map(|alias| (alias.clone(), end(alias))).collect();
        let mut names = Self { models, aliases };
        names.settle_aliases();
        names
    }

    /// Leads aliases of names that are no model's own to the model that is meant. One may stand behind another alias:
    /// each round settles one more at least, or is the last.
    fn settle_aliases(&mut self) {
        loop {
            let open = self.aliases.iter().filter(|(_, end)| !self.models.contains_key(*end));
            let open = open.filter(|(_, end)| !ModelName::is_auto(end.as_str()));
            let found =
                |(alias, end): (&String, &ModelName)| Some((alias.clone(), self.entry(end.as_str())?.0.clone()));
            let settled: Vec<(String, ModelName)> = open.filter_map(found).collect();
            if settled.is_empty() {
                return;
            }
            self.aliases.extend(settled);
        }
    }

    /// The model of this name.
    pub fn find(&self, name: &str) -> Option<&M> {
        self.entry(name).map(|(_, model)| model)
    }

    fn entry(&self, name: &str) -> Option<(&ModelName, &M)> {
        self.unplaced(name).or_else(|| self.placed(name))
    }

    /// The model of a name without a provider.
    fn unplaced(&self, name: &str) -> Option<(&ModelName, &M)> {
        let listed = |name: &str| {
            let direct = self.models.get_key_value(name);
            direct.or_else(|| self.models.get_key_value(self.aliases.get(name)?.as_str()))
        };
        let latest = || self.models.get_key_value(format!("{name}:latest").as_str());
        let served = || self.models.iter().find(|(_, model)| model.settings().upstream.as_deref() == Some(name));
        listed(name).or_else(latest).or_else(served).or_else(|| listed(unmarked(name)?))
    }

    /// The model of a name of the form `provider/model`, where that provider serves it.
    fn placed(&self, name: &str) -> Option<(&ModelName, &M)> {
        let (provider, id) = name.split_once('/')?;
        let serves = |(name, model): &(&ModelName, &M)| {
            model.settings().places(name.as_str()).any(|(place, _)| place == provider)
        };
        let served = || {
            let mut all = self.models.iter();
            all.find(|(name, model)| model.settings().places(name.as_str()).any(|place| place == (provider, id)))
        };
        self.unplaced(id).filter(serves).or_else(served)
    }

    /// The provider in a name of the form `provider/model`; `None` where the name as a whole is a model's.
    pub fn provider_in<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (provider, _) = name.split_once('/').filter(|_| self.unplaced(name).is_none())?;
        Some(provider)
    }

    /// Whether there is a model of this name, or an alias, which is told of at its own place if it leads nowhere.
    pub fn knows(&self, name: &str) -> bool {
        self.aliases.contains_key(name) || self.find(name).is_some()
    }

    /// What a client asks for by this name, where an alias of it leaves the choice to the gateway: `auto`, or `auto:`
    /// with an objective.
    pub fn unaliased<'a>(&'a self, name: &'a str) -> &'a str {
        let end = self.aliases.get(name).map(ModelName::as_str);
        end.filter(|end| ModelName::is_auto(end)).unwrap_or(name)
    }

    /// Whether a name leaves the choice of the model to the gateway, itself or as an alias.
    pub fn leaves_choice(&self, name: &str) -> bool {
        ModelName::is_auto(self.unaliased(name))
    }

    /// All models, by their own names.
    pub fn models(&self) -> &BTreeMap<ModelName, M> {
        &self.models
    }

    /// Aliases and the models they lead to.
    pub fn aliases(&self) -> &BTreeMap<String, ModelName> {
        &self.aliases
    }
}

fn unmarked(name: &str) -> Option<&str> {
    name.strip_suffix("-latest").or_else(|| name.strip_suffix("[1m]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_leads_wherever_a_client_could_ask_for_and_never_in_a_circle() {
        let config: Config = "[aliases]\na = 'openai/b'\nb = 'openai/c'\nc = 'openai/gpt-4o-mini-2024-07-18[1m]'\n\
            d = 'openai/e'\ne = 'openai/gpt-4o-mini-latest'\nf = 'anthropic/e'\ng = 'g-latest'\n\
            [models.gpt-4o-mini]\nupstream = 'gpt-4o-mini-2024-07-18'"
            .parse()
            .unwrap();
        let names = config.names();
        let of = |name: &str| names.entry(name).map(|(name, _)| name.as_str());
        for (name, model) in [
            ("d", Some("gpt-4o-mini")),
            ("openai/d", Some("gpt-4o-mini")),
            ("c", None),
            ("a", None),
            ("f", None),
            ("g", None),
        ] {
            assert_eq!(of(name), model, "{name}");
        }
    }
}
