//! Changes of the configuration in force: another file, operators' changes, and the models that servers list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::operator_acts::save_if_ended;
use super::{Gateway, LiveConfig, now_s};
use crate::config::{Config, Origin, Overrides, Setting, without_credentials};
use crate::upstream::{DISCOVER_EVERY, Discovered, Endpoint, Listing, Provider};

/// Most models of a server's first list that its log line names.
const NAMES_TOLD: usize = 20;

impl Gateway {
    /// Puts another configuration in force. Within a tokio runtime.
    pub fn configure(&self, mut config: Config, settings: Vec<Setting>) {
        self.dispatcher.configure(&config.dispatch);
        self.admission.resize(config.limits.max_in_flight);
        self.learner.configure(&config.learning);
        self.budgets.configure(&config.budget, now_s());
        self.keep_listings(&config);
        let mut overrides = Overrides::default();
        self.change_live(|before, discovered| {
            // Operators' changes are in no file.
            overrides.clone_from(&before.config.overrides);
            config.overrides = overrides.clone();
            LiveConfig::new(config, settings, discovered, Some(before))
        });
        self.servers_changed.notify_one();
        save_if_ended(&self.store, &overrides, &self.live().config.overrides);
    }

    /// Keeps what is wrong with the configuration that was read last, for operators; none where it was taken over.
    pub fn set_config_errors(&self, errors: Vec<String>) {
        *self.config_errors.lock() = errors;
    }

    /// What is wrong with the configuration that was read last: an older one is in force, and a restart would fail.
    /// None where it was taken over.
    pub fn config_errors(&self) -> Vec<String> {
        self.config_errors.lock().clone()
    }

    /// Drops the lists of models that no longer hold under another configuration.
    fn keep_listings(&self, config: &Config) {
        let before = self.live.load();
        self.discovered.lock().retain(|name, listing| {
            // A server that is not asked any more lists nothing, also when it is asked again later.
            let Some(settings) = config.providers.get(name).filter(|settings| settings.discovers()) else {
                return false;
            };
            let old = before.catalog.provider(name);
            if old.is_some_and(|old| !Provider::new(name, settings).reaches_same_server_as(old)) {
                // Failures at the old address say nothing about the new one.
                listing.reset_misses();
            }
            true
        });
    }

    /// Waits until the servers that are asked for models, or their settings, may have changed.
    pub(crate) async fn servers_changed(&self) {
        self.servers_changed.notified().await;
    }

    /// Puts in force what `make` builds of the configuration in force and the lists of models.
    pub(super) fn change_live(&self, make: impl FnOnce(&LiveConfig, &BTreeMap<String, Listing>) -> LiveConfig) {
        // Under this lock, so that no two changes build on the same predecessor.
        let discovered = self.discovered.lock();
        let before = self.live.load();
        self.take_over(&before, make(&before, &discovered));
    }

    /// Puts another configuration or catalog in force.
    fn take_over(&self, before: &LiveConfig, live: LiveConfig) {
        // Cached readings hold estimates for the old models.
        let models = live.models();
        if models != before.models() {
            self.classifier.configure(&models);
        }
        self.live.store(Arc::new(live));
    }

    /// The models that a provider lists, as far as known.
    pub fn listing(&self, provider: &str) -> Listing {
        self.discovered.lock().get(provider).cloned().unwrap_or_default()
    }

    /// Puts in force the models that a provider listed.
    pub fn discovered(&self, provider: &str, found: Discovered) {
        let is_at_work = || self.live.load().catalog.is_at_work(provider, DISCOVER_EVERY, Instant::now());
        let found = match found {
            Discovered::Late(_) if is_at_work() => Discovered::Busy,
            found => found,
        };
        let mut discovered = self.discovered.lock();
        let known = discovered.entry(provider.to_owned()).or_default();
        let before = known.clone();
        known.update(found);
        if *known == before {
            return;
        }
        let now = known.clone();
        let in_force = self.live.load();
        let live = LiveConfig::new(in_force.config.clone(), in_force.settings.clone(), &discovered, Some(&in_force));
        tell(provider, &live, &before, &now);
        self.take_over(&in_force, live);
    }
}

/// Tells operators what has changed of what a server lists: nothing while all is as it was.
fn tell(provider: &str, live: &LiveConfig, before: &Listing, now: &Listing) {
    let Some(server) = live.catalog.provider(provider) else { return };
    match now.silence() {
        Some(reason) if before.silence() != Some(reason) => {
            let asked = format!("GET {}", without_credentials(&server.url(Endpoint::Models).unwrap_or_default()));
            // Ollama is asked on every machine, installed or not.
            if now.gone().is_some() && now.models().is_empty() && is_default(&live.settings, provider) {
                tracing::debug!(provider, asked, reason, "A server that may be there does not answer");
            } else {
                tracing::warn!(
                    provider,
                    asked,
                    reason,
                    "A server that is asked for its models does not list them: see its base_url, dialect and key"
                );
            }
        }
        None if before.models().is_empty() && !now.models().is_empty() => tell_names(provider, live, now),
        None if before.silence().is_some() => tracing::info!(provider, "A server lists its models again"),
        _ => {}
    }
}

/// Tells how the models of a server's first list are called.
fn tell_names(provider: &str, live: &LiveConfig, now: &Listing) {
    let is_called = |name: &&str| {
        let model = live.catalog.names().models().get(*name);
        model.is_some_and(|model| model.deployments.iter().any(|it| it.provider.name == provider))
    };
    let (called, taken): (Vec<&str>, Vec<&str>) =
        now.models().iter().map(|model| model.name.as_str()).partition(is_called);
    let some = |names: &[&str]| names[..names.len().min(NAMES_TOLD)].join(", ");
    if !called.is_empty() {
        let (models, names) = (called.len(), some(&called));
        tracing::info!(
            provider,
            models,
            names,
            "A server lists its models: they are called by name, and by `auto` once they have a weight"
        );
    }
    if !taken.is_empty() {
        let (models, names) = (taken.len(), some(&taken));
        tracing::info!(
            provider,
            models,
            names,
            "A server lists models whose names mean others here: they are called once [models] has them under names of their own"
        );
    }
}

/// Whether a provider is there by the defaults alone.
fn is_default(settings: &[Setting], provider: &str) -> bool {
    let path = format!("providers.{provider}.");
    let mut its = settings.iter().filter(|setting| setting.path.starts_with(&path)).peekable();
    its.peek().is_some() && its.all(|setting| setting.origin == Origin::Default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{heard, tail};
    use crate::upstream::ListedModel;

    /// What is told while a server answers so, as level and fields.
    fn told(
        server: &str,
        origin: &Origin,
        answers: impl IntoIterator<Item = Discovered>,
    ) -> Vec<(&'static str, String)> {
        let config: Config =
            format!("[providers.{server}]\nbase_url = 'http://127.0.0.1:1/v1'\ndiscover = true\n").parse().unwrap();
        let path = format!("providers.{server}.base_url");
        let settings = vec![Setting { path, value: String::new(), origin: origin.clone() }];
        let mut listing = Listing::default();
        heard(|| {
            for found in answers {
                let before = listing.clone();
                listing.update(found);
                let discovered = [(server.to_owned(), listing.clone())].into();
                let live = LiveConfig::new(config.clone(), settings.clone(), &discovered, None);
                tell(server, &live, &before, &listing);
            }
        });
        let lines = tail().recent(None, server, 100);
        let fields = |line: &crate::telemetry::Line| {
            let fields = line.fields().filter(|(name, _)| *name != "provider");
            fields.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        lines.iter().map(|line| (line.level, fields(line))).collect()
    }

    #[test]
    fn that_a_server_does_not_list_its_models_is_told_once_for_each_reason() {
        let refusal = |status: u16| Discovered::Unlisted(format!("it answers with status {status}"));
        let miss = || Discovered::Failed("no connection".into());
        let list = || Discovered::Models(vec![ListedModel::named("told-m"), ListedModel::named("claude-opus-5-5")]);
        let file = Origin::File("a.toml".into());
        let asked = "asked=GET http://127.0.0.1:1/v1/models reason=";
        let answers =
            [refusal(404), refusal(404), refusal(401), list(), miss(), list(), miss(), miss(), miss(), list()];
        let expected = [
            ("warn", format!("{asked}it answers with status 404")),
            ("warn", format!("{asked}it answers with status 401")),
            ("info", "models=2 names=told-m, claude-opus-5-5".to_owned()),
            ("warn", format!("{asked}no connection")),
            ("info", String::new()),
        ];
        assert_eq!(told("teller-a", &file, answers), expected);
        assert_eq!(told("teller-b", &file, [miss(), miss()]), [("warn", format!("{asked}no connection"))]);
        let by_default = told("teller-c", &Origin::Default, [miss(), miss(), refusal(404)]);
        assert_eq!(by_default[1..], [("warn", format!("{asked}it answers with status 404"))]);
        assert_eq!(by_default[0].0, "debug", "it need not be there");
    }

    #[test]
    fn of_listed_names_those_that_mean_another_model_are_told_apart() {
        let list = Discovered::Models(vec![ListedModel::named("told-n"), ListedModel::named("claude-opus-4-8")]);
        let mut config: Config = "[providers.teller-d]\nbase_url = 'http://127.0.0.1:1'\ndiscover = true\n\
            [aliases]\nclaude-opus-4-8 = 'gpt-4o'\n"
            .parse()
            .unwrap();
        config.providers.get_mut("openai").unwrap().key = Some("sk".to_owned().into());
        let mut listing = Listing::default();
        listing.update(list);
        let discovered = [("teller-d".to_owned(), listing.clone())].into();
        let live = LiveConfig::new(config, Vec::new(), &discovered, None);
        heard(|| tell("teller-d", &live, &Listing::default(), &listing));
        let names = |line: &crate::telemetry::Line| {
            line.fields().find(|(name, _)| *name == "names").map(|(_, names)| names.to_owned())
        };
        let told: Vec<Option<String>> = tail().recent(None, "teller-d", 9).iter().map(|line| names(line)).collect();
        assert_eq!(told, [Some("told-n".to_owned()), Some("claude-opus-4-8".to_owned())]);
    }
}
