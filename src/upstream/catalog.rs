//! Models by name: what they cost, what they can, where they are served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Deployment, Listing, Provider, Refused};
use crate::codec::Forcing;
use crate::config::{self, Capability, Config, Described, Names, Refusal};
use crate::protocol::{ChatRequest, Dialect, ModelName};

/// A model as this gateway lists it.
#[derive(Debug)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// Its configuration, with the dashboard's changes applied.
    pub settings: config::Model,
    /// Where it is served.
    pub deployments: Vec<Arc<Deployment>>,
    /// Whether it comes from a server's list alone, not from the configuration.
    pub discovered: bool,
}

impl Described for Arc<Model> {
    fn settings(&self) -> &config::Model {
        &self.settings
    }
}

impl Model {
    /// Why the model cannot be called now, as a clause for people; `None` = it can.
    pub fn unavailable(&self, now: Instant) -> Option<String> {
        if !self.settings.enabled {
            return Some("it is disabled".into());
        }
        let mut refused: Option<Refused> = None;
        let mut unusable: Option<&str> = None;
        for deployment in &self.deployments {
            match (&deployment.provider.unusable, deployment.check(now)) {
                (Some(reason), _) => unusable = unusable.or(Some(reason)),
                (None, Ok(())) => return None,
                (None, Err(why)) => refused = refused.or(Some(why)),
            }
        }
        let why = refused.map(Refused::as_str).or(unusable).unwrap_or("no provider serves it");
        Some(why.to_owned())
    }

    /// Shortest time until one of its deployments can be called, and what holds that one back; `None` where waiting
    /// would not help.
    pub fn available_in(&self, now: Instant) -> Option<(Duration, Refused)> {
        let usable = self.deployments.iter().filter(|deployment| deployment.provider.unusable.is_none());
        usable.filter_map(|deployment| deployment.available_in(now)).min_by_key(|(wait, _)| *wait)
    }

    /// Deployments that could be called now; none if the model is disabled.
    pub fn ready(&self, now: Instant) -> impl Iterator<Item = &Arc<Deployment>> {
        let usable = move |deployment: &&Arc<Deployment>| {
            deployment.provider.unusable.is_none() && deployment.check(now).is_ok()
        };
        self.deployments.iter().filter(|_| self.settings.enabled).filter(usable)
    }

    /// How a call that the request demands can be had of the model, in the surest of the ways of those deployments that
    /// `carry` the request. Telling the model in words is for where no other way can be gone within `patience`, be it at
    /// a standby.
    pub fn forcing(
        &self,
        client: Dialect,
        request: &ChatRequest,
        now: Instant,
        patience: Duration,
        carry: &dyn Fn(&Deployment) -> bool,
    ) -> Forcing {
        if !request.must_call() || self.deployments.is_empty() {
            return Forcing::Said;
        }
        let is_usable = |deployment: &Deployment| deployment.provider.unusable.is_none();
        let is_ready = |deployment: &Deployment| is_usable(deployment) && deployment.check(now).is_ok();
        let rests_briefly = |deployment: &Deployment| {
            let pause = deployment.available_in(now).filter(|_| is_usable(deployment));
            pause.is_some_and(|(wait, why)| wait <= patience && matches!(why, Refused::Resting(_)))
        };
        let surest = |asked: &dyn Fn(&Deployment) -> bool| {
            let asked = self.deployments.iter().filter(|deployment| asked(deployment) && carry(deployment));
            asked.map(|deployment| self.forcing_at(deployment, client, request)).min()
        };
        let sure = surest(&|deployment| is_ready(deployment) || rests_briefly(deployment));
        let possible = |asked| surest(asked).filter(|forcing| *forcing != Forcing::Impossible);
        let in_turn: [&dyn Fn(&Deployment) -> bool; 3] = [&is_ready, &is_usable, &|_| true];
        let found = sure.filter(|forcing| forcing.is_sure()).or_else(|| in_turn.into_iter().find_map(possible));
        found.unwrap_or(Forcing::Impossible)
    }

    /// The same at one of its deployments.
    pub fn forcing_at(&self, deployment: &Deployment, client: Dialect, request: &ChatRequest) -> Forcing {
        let refuses = self.settings.refuses.contains(&Refusal::ForcedTools);
        let by_schema = !refuses || self.settings.can.contains(&Capability::StructuredOutput);
        match Forcing::of(client, deployment.provider.dialect, refuses, request) {
            Forcing::AsAnswer if !by_schema => Forcing::Impossible,
            forcing => forcing,
        }
    }

    /// Expected time to the first piece of an answer from the fastest deployment; `None` = never measured.
    pub fn latency(&self) -> Option<Duration> {
        self.deployments.iter().filter_map(|deployment| deployment.latency()).min()
    }
}

/// All models, with the aliases that lead to them. Immutable: a new configuration makes a new catalog.
#[derive(Debug, Default)]
pub struct Catalog {
    names: Names<Arc<Model>>,
    providers: BTreeMap<String, Arc<Provider>>,
    /// Listed models that several servers serve, as each server alone does, by model and server.
    apart: BTreeMap<(ModelName, String), Arc<Model>>,
    /// Aliases of names of the form `provider/model`, with these.
    placed: BTreeMap<String, String>,
}

impl Catalog {
    /// Builds the catalog from the configuration and from the lists of servers that are still asked for theirs;
    /// deployments that were in the catalog `before` keep their health.
    pub fn new(config: &Config, discovered: &BTreeMap<String, Listing>, before: Option<&Catalog>) -> Self {
        let asked = |name: &str| config.providers.get(name).is_some_and(config::Provider::discovers);
        let listing = |name: &str| discovered.get(name).filter(|_| asked(name));
        let providers: BTreeMap<String, Arc<Provider>> = config
            .providers
            .iter()
            .map(|(name, settings)| {
                let mut provider = Provider::new(name, settings);
                let gone = || listing(name)?.gone().map(|reason| format!("{name} does not answer: {reason}"));
                provider.unusable = provider.unusable.take().or_else(gone);
                (name.clone(), Arc::new(provider))
            })
            .collect();
        let mut models = BTreeMap::new();
        let mut add = |name: &str, mut settings: config::Model, discovered: bool| {
            let change = config.overrides.of(name);
            if let Some(change) = change {
                change.apply(&mut settings);
            }
            let name = ModelName::from(name);
            let known = before.and_then(|before| before.names.models().get(&name));
            let deployment = |deployment: config::Deployment| {
                let provider = providers.get(&deployment.provider)?;
                let upstream = deployment.upstream.unwrap_or_default();
                let label = format!("{}/{upstream}", provider.name);
                let known = known.and_then(|known| known.deployments.iter().find(|old| *old.name == *label));
                let breaker = config.dispatch.breaker;
                let known = known.map(AsRef::as_ref);
                let deployment = Deployment::new(Arc::clone(provider), upstream, deployment.weight, breaker, known);
                // Failures at another address, or with another key, say nothing about this one.
                if known.is_some_and(|known| !known.provider.reaches_same_server_as(&deployment.provider)) {
                    deployment.reset();
                }
                deployment.drain(change.is_some_and(|change| change.drained.contains(&label)));
                Some(Arc::new(deployment))
            };
            let deployments = settings.all_deployments(name.as_str()).into_iter().filter_map(deployment).collect();
            models.insert(name.clone(), Arc::new(Model { name, settings, deployments, discovered }));
        };
        let lists = providers.iter().filter_map(|(name, provider)| Some((provider, listing(name)?)));
        let listed = listed(config, &providers, lists.collect());
        let is_taken = |name: &str| listed.contains_key(name) || listed.contains_key(&format!("{name}:latest"));
        for (name, settings) in &config.models {
            if !(config.yields(name) && is_taken(name)) {
                add(name, settings.clone(), false);
            }
        }
        for (name, settings) in listed {
            add(&name, settings, true);
        }
        let apart = models.values().filter(|model| model.discovered).flat_map(at_each_server).collect();
        let names = Names::new(models, config);
        let placed = config.aliases.keys().filter_map(|alias| Some((alias.clone(), placed(alias, config, &names)?)));
        Self { placed: placed.collect(), names, providers, apart }
    }

    /// The model that is asked for by this name ([`Names`]). Of a listed model that several servers serve,
    /// `provider/model` is the one at that server, and goes nowhere else: the name may be chosen for where the server
    /// stands.
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        let model = self.names.find(name)?;
        let apart = || {
            let provider = self.names.provider_in(self.placed.get(name).map_or(name, String::as_str))?;
            self.apart.get(&(model.name.clone(), provider.to_owned()))
        };
        Some(if model.discovered { apart().unwrap_or(model) } else { model })
    }

    /// How the models are named.
    pub fn names(&self) -> &Names<Arc<Model>> {
        &self.names
    }

    /// The name under which the model that is asked for so is listed; `name` itself where there is none.
    pub fn canonical<'a>(&'a self, name: &'a str) -> &'a str {
        self.find(name).map_or(name, |model| model.name.as_str())
    }

    /// All models, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.names.models().values()
    }

    /// A provider by its key in the configuration.
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// Whether a provider has a call of ours in hand, or ended one well within the last `time`.
    pub fn is_at_work(&self, provider: &str, time: Duration, now: Instant) -> bool {
        let mut deployments = self.models().flat_map(|model| &model.deployments);
        deployments.any(|it| it.provider.name == provider && it.is_at_work(time, now))
    }

    /// All providers.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }
}

/// A model as each of its servers serves it, by model and server; other doors of a server are that server. None if they
/// are one server's all.
fn at_each_server(model: &Arc<Model>) -> Vec<((ModelName, String), Arc<Model>)> {
    let apart = |server: &Arc<Provider>| {
        let is_there =
            |it: &&Arc<Deployment>| it.provider.name == server.name || it.provider.is_another_door_of(server);
        let deployments: Vec<_> = model.deployments.iter().filter(is_there).cloned().collect();
        let (name, settings) = (model.name.clone(), model.settings.clone());
        (deployments.len() < model.deployments.len()).then(|| {
            let model = Model { name: name.clone(), settings, deployments, discovered: true };
            ((name, server.name.clone()), Arc::new(model))
        })
    };
    model.deployments.iter().filter_map(|it| apart(&it.provider)).collect()
}

/// The name of the form `provider/model` that an alias leads to.
fn placed(alias: &str, config: &Config, names: &Names<Arc<Model>>) -> Option<String> {
    let mut name = alias;
    // A loop is refused at the start.
    for _ in 0..=config.aliases.len() {
        let Some(next) = config.aliases.get(name) else { break };
        name = next;
    }
    names.provider_in(name).map(|_| name.to_owned())
}

/// The models that servers list and whose names are free, as if configured. Servers that list the same name serve one
/// model: what holds of all of them holds of it.
fn listed(
    config: &Config,
    providers: &BTreeMap<String, Arc<Provider>>,
    mut lists: Vec<(&Arc<Provider>, &Listing)>,
) -> BTreeMap<String, config::Model> {
    let is_free =
        |name: &str| (!config.models.contains_key(name) || config.yields(name)) && !config.has_own_alias(name);
    // Ollama first: in its own dialect it tells what its models can do, and takes the context that it is asked for.
    lists.sort_by_key(|(provider, _)| provider.dialect != Dialect::Ollama);
    let mut models: BTreeMap<String, config::Model> = BTreeMap::new();
    for (provider, listing) in lists {
        let is_door_of = |server: &str| providers.get(server).is_some_and(|known| provider.is_another_door_of(known));
        for model in listing.models().iter().filter(|model| is_free(&model.name)) {
            let settings = model.settings(&provider.name, config.models.get(&model.name));
            let Some(known) = models.get_mut(&model.name) else {
                models.insert(model.name.clone(), settings);
                continue;
            };
            let servers: Vec<&str> = known.places(&model.name).map(|(server, _)| server).collect();
            // A list may name a model twice.
            if !servers.contains(&provider.name.as_str()) {
                let is_door = servers.into_iter().any(is_door_of);
                serve_also(known, settings, is_door);
            }
        }
    }
    models
}

/// Adds a further server to a listed model. Another door of a server that is known (`is_door`) says nothing new of the
/// model, and is there for when the first one fails.
fn serve_also(known: &mut config::Model, further: config::Model, is_door: bool) {
    if !is_door {
        known.context = known.context.min(further.context);
        known.max_output = known.max_output.into_iter().chain(further.max_output).min();
        known.can.retain(|ability| further.can.contains(ability));
        known.can_is_guessed |= further.can_is_guessed;
    }
    let weight = if is_door { 0.0 } else { 1.0 };
    let place = further.provider.map(|provider| config::Deployment { provider, upstream: further.upstream, weight });
    known.deployments.extend(place);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::protocol::{ErrorKind, Tool, ToolChoice};
    use crate::upstream::discovery::ListedModel;
    use crate::upstream::{CallVerdict, Discovered};

    #[test]
    fn a_call_is_forced_as_those_that_are_asked_can() {
        let ask = |tools: &[&str]| ChatRequest {
            tools: tools.iter().map(|name| Tool::new(*name, serde_json::json!({}))).collect(),
            tool_choice: Some(ToolChoice::Required),
            ..ChatRequest::default()
        };
        let (one, two) = (ask(&["a"]), ask(&["a", "b"]));
        let forcing = |weight: f64, key: &str, request: &ChatRequest, rest_s: Option<u64>| {
            let config: Config = format!(
                "[providers.far]\nbase_url = 'http://127.0.0.1:1/v1'\n{key}\n[providers.near]\ndialect = 'ollama'\n\
                 base_url = 'http://127.0.0.1:1'\n[models.m]\ncan = ['tools', 'structured_output']\ndeployments = \
                 [{{ provider = 'far', weight = {weight:?} }}, {{ provider = 'near' }}]"
            )
            .parse()
            .unwrap();
            let model = Arc::clone(Catalog::new(&config, &BTreeMap::new(), None).find("m").unwrap());
            let now = Instant::now();
            if let Some(rest_s) = rest_s {
                let rest = CallVerdict::Rest(ErrorKind::RateLimited, Some(Duration::from_secs(rest_s)));
                model.deployments[0].admit(now).unwrap().settle(&rest, now, 0);
            }
            model.forcing(Dialect::OpenAi, request, now, Duration::from_secs(2), &|_| true)
        };
        let said = [Forcing::Said; 2];
        assert_eq!([&one, &two].map(|request| forcing(1.0, "", request, None)), said);
        assert_eq!([&one, &two].map(|request| forcing(0.0, "", request, None)), said, "a standby");
        assert_eq!([&one, &two].map(|request| forcing(1.0, "", request, Some(1))), said, "a short pause");
        let without = [Forcing::AsAnswer, Forcing::InWords];
        let keyless = "key_env = 'POINTSMAN_TEST_NO_SUCH_KEY'";
        assert_eq!([&one, &two].map(|request| forcing(1.0, keyless, request, None)), without, "no key");
        assert_eq!([&one, &two].map(|request| forcing(1.0, "", request, Some(60))), without, "a long pause");
    }

    #[test]
    fn an_alias_may_lead_to_another() {
        let config: Config =
            "[aliases]\nteam = 'crew'\ncrew = 'claude-opus-4-8'\nlater = 'unlisted'".parse().unwrap();
        let catalog = Catalog::new(&config, &BTreeMap::new(), None);
        assert_eq!(catalog.find("team").unwrap().name.as_str(), "claude-opus-5-5");
        assert!(catalog.find("later").is_none());
    }

    #[test]
    fn a_listed_model_comes_before_an_alias_of_the_defaults_in_every_spelling() {
        let mut listing = Listing::default();
        listing.update(Discovered::Models(["claude-haiku-4-5:latest", "home:latest"].map(ListedModel::named).into()));
        let discovered = [("ollama".to_owned(), listing)].into();
        let config: Config =
            "[aliases]\nteam = 'claude-haiku-4-5'\nat-home = 'home'\nhome = 'gpt-4o'\nmany = 'at-home'"
                .parse()
                .unwrap();
        let catalog = Catalog::new(&config, &discovered, None);
        for (name, wanted) in [
            ("claude-haiku-4-5", "claude-haiku-4-5:latest"),
            ("claude-haiku-4-5[1m]", "claude-haiku-4-5:latest"),
            ("claude-haiku-4-5-latest", "claude-haiku-4-5:latest"),
            ("team", "claude-haiku-4-5:latest"),
            ("claude-haiku-4-5-20251001", "claude-haiku-5-5"),
            ("home", "gpt-4o"),
            ("home:latest", "home:latest"),
            ("many", "gpt-4o"),
        ] {
            assert_eq!(catalog.canonical(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_vendors_id_of_a_model_of_ones_own_comes_before_an_alias_of_the_defaults() {
        let config: Config = "[models.mine]\nprovider = 'openai'\nupstream = 'claude-opus-4-8'\n\
            [[models.many.deployments]]\nprovider = 'openai'\nupstream = 'a'\n\
            [[models.many.deployments]]\nprovider = 'openai'\nupstream = 'claude-sonnet-5'\n\
            [models.local]\nprovider = 'ollama'\nupstream = 'claude-haiku-4-5:latest'\n\
            [aliases]\nteam = 'claude-opus-4-8'"
            .parse()
            .unwrap();
        let catalog = Catalog::new(&config, &BTreeMap::new(), None);
        for (name, wanted) in [
            ("claude-opus-4-8", "mine"),
            ("claude-opus-4-8[1m]", "mine"),
            ("team", "mine"),
            ("claude-sonnet-5", "many"),
            ("claude-haiku-4-5", "local"),
        ] {
            assert_eq!(catalog.canonical(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_model_is_asked_for_by_its_providers_name_and_its_own() {
        let config = "[aliases]\nteam = 'openai/gpt-4o'\nlater = 'anthropic/claude-opus-4-8'\n[providers.router]\nbase_url = 'http://127.0.0.1:1'\n[models.far]\nprovider = 'router'\n\
            upstream = 'anthropic/claude-far'\n[models.two]\n[[models.two.deployments]]\nprovider = 'openai'\n\
            upstream = 'two-1'\n[[models.two.deployments]]\nprovider = 'router'\nupstream = 'x/two'\n";
        let catalog = Catalog::new(&config.parse().unwrap(), &BTreeMap::new(), None);
        for (name, model) in [
            ("openai/gpt-4o", Some("gpt-4o")),
            ("later", Some("claude-opus-5-5")),
            ("team", Some("gpt-4o")),
            ("anthropic/claude-opus-4-8", Some("claude-opus-5-5")),
            ("anthropic/claude-far", Some("far")),
            ("router/anthropic/claude-far", Some("far")),
            ("openai/two-1", Some("two")),
            ("router/two", Some("two")),
            ("router/x/two", Some("two")),
            ("anthropic/gpt-4o", None),
            ("nobody/gpt-4o", None),
            ("openai/", None),
        ] {
            assert_eq!(catalog.find(name).map(|model| model.name.as_str()), model, "{name}");
        }
    }

    #[test]
    fn a_corrected_way_or_key_is_not_spared_for_what_the_old_one_did() {
        let catalog = |way: &str, key: &str, before: Option<&Catalog>| {
            let mut config: Config = format!(
                "[providers.p]\nbase_url = 'http://127.0.0.1:{way}\n[models.m]\nprovider = 'p'\nupstream = 'm'\n\
                 [dispatch.breaker]\nopen_ms = 60000\n"
            )
            .parse()
            .unwrap();
            config.providers.get_mut("p").unwrap().key = Some(key.to_owned().into());
            Catalog::new(&config, &BTreeMap::new(), before)
        };
        let now = Instant::now();
        let as_it_was = "1/here'";
        for (way, key) in [
            ("2/here'", "a"),
            (as_it_was, "b"),
            ("1/here'\nroots = 'system'", "a"),
            ("1/here'\ndialect = 'anthropic'", "a"),
        ] {
            let old = catalog(as_it_was, "a", None);
            while let Some(mut permit) = old.find("m").unwrap().deployments[0].admit(now) {
                permit.settle(&CallVerdict::Bad(ErrorKind::Connection), now, 0);
            }
            let admits = |catalog: &Catalog| catalog.find("m").unwrap().deployments[0].check(now).is_ok();
            assert!(!admits(&catalog(as_it_was, "a", Some(&old))), "as it was");
            assert!(admits(&catalog(way, key, Some(&old))), "{way} {key}");
        }
    }

    #[test]
    fn vendors_own_ids_lead_to_the_models_served_under_them() {
        let settings = "[aliases]\nfast = 'b'\n[models.a]\nprovider = 'openai'\nupstream = 'a-2026-01-01'\n\
            [models.b]\nprovider = 'openai'\nupstream = 'a'\n";
        let catalog = Catalog::new(&settings.parse().unwrap(), &BTreeMap::new(), None);
        for (name, listed) in [
            ("a", "a"),
            ("a-2026-01-01", "a"),
            ("a-latest", "a"),
            ("a[1m]", "a"),
            ("fast", "b"),
            ("fast-latest", "b"),
            ("a-2025-01-01", "a-2025-01-01"),
        ] {
            assert_eq!(catalog.canonical(name), listed);
        }
        assert!(catalog.find("a-2025-01-01").is_none(), "another version is another model");
    }

    /// What a server lists: models by these names, of which `/api/show` told these facts.
    fn listing(models: &[(&str, serde_json::Value)]) -> Listing {
        let models = models.iter().map(|(name, facts)| ListedModel::shown((*name).to_owned(), facts)).collect();
        let mut listing = Listing::default();
        listing.update(Discovered::Models(models));
        listing
    }

    fn facts(context: u32, abilities: &[&str]) -> serde_json::Value {
        serde_json::json!({ "model_info": { "x.context_length": context }, "capabilities": abilities })
    }

    #[test]
    fn servers_that_list_the_same_model_serve_it_together() {
        let config: Config = "[providers.a]\nbase_url = 'http://127.0.0.1:1'\ndialect = 'ollama'\ndiscover = true\n\
            [providers.b]\nbase_url = 'http://127.0.0.1:2'\ndialect = 'ollama'\ndiscover = true\n\
            [dispatch.breaker]\nopen_ms = 60000\n[aliases]\nx = 'y'\ny = 'b/m'\n"
            .parse()
            .unwrap();
        let of_a = listing(&[("m", facts(4096, &["tools"])), ("m", facts(4096, &["tools"]))]);
        let of_b = listing(&[("m", facts(32_768, &["vision", "tools"]))]);
        let alone = BTreeMap::from([("b".to_owned(), of_b.clone())]);
        let before = Catalog::new(&config, &alone, None);
        let now = Instant::now();
        while let Some(mut permit) = before.find("m").unwrap().deployments[0].admit(now) {
            permit.settle(&CallVerdict::Bad(ErrorKind::Connection), now, 0);
        }
        assert!(before.find("m").unwrap().unavailable(now).is_some());
        let together = BTreeMap::from([("a".to_owned(), of_a), ("b".to_owned(), of_b)]);
        let catalog = Catalog::new(&config, &together, Some(&before));
        let model = catalog.find("m").unwrap();
        let deployments: Vec<(&str, f64, bool)> =
            model.deployments.iter().map(|it| (it.name.as_ref(), it.weight, it.check(now).is_ok())).collect();
        assert_eq!(deployments, [("a/m", 1.0, true), ("b/m", 1.0, false)], "b's health is kept");
        assert_eq!(model.unavailable(now), None);
        assert_eq!((model.settings.context, model.settings.max_output), (4096, Some(4096)));
        let able: Vec<Capability> = model.settings.can.iter().copied().collect();
        assert_eq!(able, [Capability::Tools, Capability::StructuredOutput], "what both can");
        // Behind a server's name it is the one there.
        for (name, servers) in
            [("m", &["a", "b"][..]), ("a/m", &["a"]), ("b/m", &["b"]), ("x", &["b"]), ("y", &["b"])]
        {
            let model = catalog.find(name).unwrap();
            let found: Vec<&str> = model.deployments.iter().map(|it| it.provider.name.as_str()).collect();
            assert_eq!((model.name.as_str(), &found[..]), ("m", servers), "{name}");
        }
    }

    #[test]
    fn the_other_door_of_a_server_is_for_when_the_first_one_fails() {
        let config: Config = "[providers.door]\nbase_url = 'http://localhost:11434/v1'\ndiscover = true\n\
            [providers.twice]\nbase_url = 'http://localhost:11434'\ndialect = 'ollama'\ndiscover = true\n"
            .parse()
            .unwrap();
        let by_name = listing(&[("m", serde_json::Value::Null)]);
        let shown = listing(&[("m", facts(32_768, &["vision"]))]);
        let lists = [("door", by_name), ("ollama", shown.clone()), ("twice", shown)];
        let discovered = lists.map(|(name, list)| (name.to_owned(), list)).into();
        let catalog = Catalog::new(&config, &discovered, None);
        let model = catalog.find("door/m").unwrap();
        let deployments: Vec<(&str, f64)> =
            model.deployments.iter().map(|it| (it.name.as_ref(), it.weight)).collect();
        assert_eq!(deployments, [("ollama/m", 1.0), ("twice/m", 0.0), ("door/m", 0.0)]);
        assert_eq!(model.settings.context, 32_768);
        assert!(model.settings.can.contains(&Capability::Vision), "as it tells in its own dialect");
    }

    #[test]
    fn a_listed_model_takes_the_name_of_a_default_that_nobody_can_call() {
        let server = "[providers.x]\nbase_url = 'http://127.0.0.1:1'\ndiscover = true\n";
        let null = serde_json::Value::Null;
        let of_x = listing(&[("gpt-4o", null.clone()), ("deepseek-r1:latest", null)]);
        let discovered = BTreeMap::from([("x".to_owned(), of_x)]);
        let whose = |settings: &str, key: bool, name: &str| {
            let mut config: Config = format!("{server}{settings}").parse().unwrap();
            config.providers.get_mut("openai").unwrap().key = key.then(|| "sk".to_owned().into());
            let catalog = Catalog::new(&config, &discovered, None);
            let model = catalog.find(name).unwrap();
            (model.discovered, model.deployments[0].name.to_string())
        };
        let (its, vendors) = ((true, "x/gpt-4o".to_owned()), (false, "openai/gpt-4o".to_owned()));
        assert_eq!(whose("", false, "gpt-4o"), its);
        assert_eq!(whose("", true, "gpt-4o"), vendors, "it has its key");
        assert_eq!(whose("[providers.openai]\nenabled = false\n", true, "gpt-4o"), its);
        assert_eq!(whose("[models.gpt-4o]\nweight = 3.0\n", false, "gpt-4o"), vendors, "it is the user's own");
        assert_eq!(whose("[aliases]\ngpt-4o-x = 'gpt-4o'\n", false, "gpt-4o-x"), its);
        assert_eq!(whose("", false, "gpt-4o-mini"), (false, "openai/gpt-4o-mini".to_owned()), "nobody else has it");
        assert_eq!(whose("", true, "deepseek-r1"), (true, "x/deepseek-r1:latest".to_owned()));
    }

    #[test]
    fn what_a_listed_model_can_is_a_guess_unless_all_its_servers_or_the_defaults_tell_it() {
        let server = |name: &str, port: u16| {
            format!("[providers.{name}]\nbase_url = 'http://127.0.0.1:{port}'\ndiscover = true\n")
        };
        let config: Config = (server("a", 1) + &server("b", 2)).parse().unwrap();
        let (untold, told) = (serde_json::Value::Null, facts(4096, &["tools", "vision"]));
        let of_a = listing(&[("m", told.clone()), ("n", told.clone()), ("gpt-4o", untold.clone())]);
        let of_b = listing(&[("m", untold), ("n", told)]);
        let lists = [("a", of_a), ("b", of_b)].map(|(name, list)| (name.to_owned(), list));
        let catalog = Catalog::new(&config, &lists.into(), None);
        let known = |name: &str| {
            let settings = &catalog.find(name).unwrap().settings;
            (settings.can_is_guessed, settings.can.contains(&Capability::Vision))
        };
        assert_eq!([known("m"), known("n"), known("gpt-4o")], [(true, false), (false, true), (false, true)]);
    }
}
