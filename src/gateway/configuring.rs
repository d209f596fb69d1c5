//! Changes of the configuration in force: another file, operators' changes, and the models that servers list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::operator_acts::save_if_ended;
use super::{Gateway, LiveConfig, now_s};
use crate::config::{Config, Overrides, Setting};
use crate::upstream::{DISCOVER_EVERY, Discovered, Listing, Provider};

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
        if let Discovered::Unlisted(reason) = &found {
            tracing::debug!(provider, reason, "A server does not list its models");
        }
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
        if before.models().is_empty() && !known.models().is_empty() {
            let names: Vec<&str> = known.models().iter().take(NAMES_TOLD).map(|model| model.name.as_str()).collect();
            let (models, names) = (known.models().len(), names.join(", "));
            tracing::info!(
                provider,
                models,
                names,
                "A server lists its models: they are called by name, and by `auto` once they have a weight"
            );
        }
        let before = self.live.load();
        let live = LiveConfig::new(before.config.clone(), before.settings.clone(), &discovered, Some(&before));
        self.take_over(&before, live);
    }
}
