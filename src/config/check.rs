//! What a configuration must be before anything starts: keys that exist, values in range, references that lead
//! somewhere.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::check_values::check_values;
use super::hush::fault_of_variable;
use super::layers::join;
use super::models::Place;
use super::range::ranged;
use super::{Config, Dispatch, Model, Provider, Rule, Search, When};
use crate::protocol::{Dialect, Price};

/// One thing wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    /// The key at fault.
    pub(super) path: String,
    /// What is wrong with it, and what would be right.
    pub(super) what: String,
}

impl Problem {
    fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into() }
    }
}

/// Stands in the shape for a key that people choose.
const ANY: &str = "*";

/// Every key there is, as a sample configuration written out: one entry in each map and list.
fn shape() -> Json {
    let full = Price { cache_read: Some(0.0), cache_write: Some(0.0), ..Price::default() };
    let place = Place { provider: String::new(), upstream: None, weight: 1.0 };
    let model = Model { price: full, deployments: vec![place], ..Model::default() };
    let provider = Provider { headers: [(ANY.into(), String::new())].into(), ..Provider::default() };
    let any = [(ANY.to_owned(), String::new())];
    let when = When { header: any.clone().into(), tag: any.clone().into(), ..When::default() };
    let rule = Rule { when, weights: [(ANY.into(), 1.0)].into(), ..Rule::default() };
    let config = Config {
        providers: [(ANY.into(), provider)].into(),
        models: [(ANY.into(), model)].into(),
        aliases: any.into(),
        rules: vec![rule],
        ..Config::default()
    };
    serde_json::to_value(config).unwrap_or_default()
}

/// Keys in `table` that do not exist, each with the nearest one that does.
pub(super) fn unknown_keys(table: &Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(table, &shape(), "", &mut problems);
    problems
}

fn walk(table: &Table, shape: &Json, path: &str, problems: &mut Vec<Problem>) {
    let Some(keys) = shape.as_object() else { return };
    for (key, value) in table {
        let here = join(path, key);
        match keys.get(key).or_else(|| keys.get(ANY)) {
            Some(below) => descend(value, below, &here, problems),
            None => problems.push(Problem::new(here, unknown(key, keys.keys()))),
        }
    }
}

fn descend(value: &Value, shape: &Json, path: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Table(table) => walk(table, shape, path, problems),
        Value::Array(items) => {
            let Some(element) = shape.as_array().and_then(|elements| elements.first()) else { return };
            for (index, item) in items.iter().enumerate() {
                descend(item, element, &format!("{path}[{index}]"), problems);
            }
        }
        _ => {}
    }
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    match nearest(key, known.map(String::as_str)) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => "unknown key".into(),
    }
}

/// The entry most like `word`, if one is like it at all.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// The environment's spelling of a key (`GPT_4O`) as the key it means, found among those that exist.
pub(super) fn spell(table: &Table, segments: &[String]) -> Vec<String> {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
    };
    let shape = shape();
    let (mut shape, mut table) = (Some(&shape), Some(table));
    let mut path = Vec::new();
    for segment in segments {
        let wanted = plain(segment);
        let in_table = table.and_then(|table| table.keys().find(|key| plain(key) == wanted).cloned());
        let in_shape = || {
            let keys = shape.and_then(Json::as_object)?;
            keys.keys().find(|key| plain(key) == wanted).cloned()
        };
        let key = in_table.or_else(in_shape).unwrap_or_else(|| segment.to_ascii_lowercase());
        table = table.and_then(|table| table.get(&key)).and_then(Value::as_table);
        shape = shape.and_then(|shape| shape.get(&key).or_else(|| shape.get(ANY)));
        path.push(key);
    }
    path
}

/// What a variable or a flag says, as the kind of thing that stands at `path`: `123` may be a name, and `a,b` a list.
pub(super) fn fit(path: &[String], text: &str, guessed: Value) -> Value {
    let shape = shape();
    let mut at = Some(&shape);
    for key in path {
        at = at.and_then(|shape| shape.get(key).or_else(|| shape.get(ANY)));
    }
    match (at, guessed) {
        (Some(Json::String(_)), Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => {
            Value::String(text.to_owned())
        }
        // Nothing is no list: an unset variable must not open what a file closes.
        (Some(Json::Array(_)), Value::String(list)) if list.split(',').any(|part| !part.trim().is_empty()) => {
            let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        (_, guessed) => guessed,
    }
}

/// Values out of range and references to nothing.
pub(super) fn semantics(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut bad = |path: String, what: String| problems.push(Problem { path, what });
    for (name, provider) in &config.providers {
        check_provider(name, provider, &mut bad);
    }
    for (name, model) in &config.models {
        check_model(name, model, config, &mut bad);
    }
    check_aliases(config, &mut bad);
    for (index, rule) in config.rules.iter().enumerate() {
        check_rule(index, rule, config, &mut bad);
    }
    check_numbers(config, &mut bad);
    if config.server.data_dir.as_os_str().is_empty() {
        bad("server.data_dir".into(), "must not be empty; write . for the current folder".into());
    }
    check_values(config, &mut bad);
    let named = [
        ("admin.password_env", &config.admin.password_env),
        ("classifier.hub.token_env", &config.classifier.hub.token_env),
    ];
    // Empty = from no variable.
    for (path, variable) in named.into_iter().filter(|(_, variable)| !variable.is_empty()) {
        if let Some(fault) = fault_of_variable(variable) {
            bad(path.into(), fault.into());
        }
    }
    problems
}

fn check_provider(name: &str, provider: &Provider, bad: &mut impl FnMut(String, String)) {
    let path = join("providers", name);
    match provider.base_url.parse::<http::Uri>() {
        Ok(url) if !matches!(url.scheme_str(), Some("http" | "https")) => {
            bad(format!("{path}.base_url"), "must begin with http:// or https://".into());
        }
        Ok(url) if url.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            bad(format!("{path}.base_url"), "must not hold a credential; use key_env or key_file".into());
        }
        Ok(_) => {}
        Err(error) => bad(format!("{path}.base_url"), format!("is no URL: {error}")),
    }
    // Empty = from no variable.
    let variable = provider.key_env.as_deref().filter(|name| !name.is_empty());
    if let Some(fault) = variable.and_then(fault_of_variable) {
        bad(format!("{path}.key_env"), fault.into());
    }
    for (header, value) in &provider.headers {
        let valid = header.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok();
        if !valid {
            bad(join(&format!("{path}.headers"), header), "is no valid HTTP header".into());
        }
    }
    if matches!(provider.dialect, Dialect::Native | Dialect::Responses) {
        let told = format!("`{}` is for clients; use openai, anthropic or ollama", provider.dialect.as_str());
        bad(format!("{path}.dialect"), told);
    }
}

fn check_model(name: &str, model: &Model, config: &Config, bad: &mut impl FnMut(String, String)) {
    let path = join("models", name);
    if name == "auto" || name.starts_with("auto:") {
        bad(path.clone(), "`auto` means that Pointsman chooses; give the model another name".into());
    }
    let places = model.places(name);
    if places.is_empty() {
        bad(format!("{path}.provider"), "is missing: who serves this model?".into());
    }
    for (at, place) in places.iter().enumerate() {
        if places[..at].iter().any(|other| (&other.provider, &other.upstream) == (&place.provider, &place.upstream)) {
            let name = format!("{}/{}", place.provider, place.upstream.as_deref().unwrap_or_default());
            bad(
                format!("{path}.deployments"),
                format!("`{name}` stands there twice: give one place the weight of both"),
            );
        }
        if !config.providers.contains_key(&place.provider) {
            let near = nearest(&place.provider, config.providers.keys().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            bad(format!("{path}.provider"), format!("there is no provider `{}`{hint}", place.provider));
        }
        if !(place.weight.is_finite() && place.weight >= 0.0) {
            bad(format!("{path}.deployments"), "a weight must be 0 or more".into());
        }
    }
    if !(model.weight.is_finite() && model.weight >= 0.0) {
        bad(format!("{path}.weight"), "must be 0 or more".into());
    }
    let price = &model.price;
    let prices = [
        ("input", Some(price.input)),
        ("output", Some(price.output)),
        ("cache_read", price.cache_read),
        ("cache_write", price.cache_write),
    ];
    for (key, price) in prices {
        if price.is_some_and(|price| !(price.is_finite() && price >= 0.0)) {
            bad(format!("{path}.price.{key}"), "must be 0 or more US dollars per million tokens".into());
        }
    }
    for (key, tokens) in [("context", Some(model.context)), ("max_output", model.max_output)] {
        if tokens == Some(0) {
            bad(join(&path, key), "must be more than 0".into());
        }
    }
    if model.score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
        bad(format!("{path}.score"), "must be between 0 and 1".into());
    }
}

fn check_aliases(config: &Config, bad: &mut impl FnMut(String, String)) {
    for (alias, model) in &config.aliases {
        let path = join("aliases", alias);
        if config.models.contains_key(alias) {
            bad(path.clone(), "there is a model of this name".into());
        }
        if alias == "auto" || alias.starts_with("auto:") {
            bad(path.clone(), "`auto` means that Pointsman chooses; take another name".into());
        }
        check_reference(&path, model, config, bad);
    }
}

/// What is possible and yet likely a slip: names of models that nobody configured, which a server may list later, pins
/// that name a default alias, and models without a price at a vendor.
pub(super) fn remarks(config: &Config) -> Vec<String> {
    let aliases = config.aliases.iter().map(|(alias, name)| (join("aliases", alias), name));
    let rules = config.rules.iter().enumerate().flat_map(|(index, rule)| {
        let named = rule.pin.iter().chain(&rule.prefer).chain(&rule.forbid).chain(rule.weights.keys());
        named.map(move |name| (format!("rules[{index}]"), name))
    });
    let unknown = aliases.chain(rules).filter(|(_, name)| !config.knows_model(name));
    let remark = |(path, name): (String, &String)| {
        let near = nearest(name, config.models.keys().map(String::as_str));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("{path}: no model `{name}` is configured: it means one only once a server lists it{hint}")
    };
    unknown.map(remark).chain(pinned_aliases(config)).chain(unpriced(config)).collect()
}

/// Pins that name one of the defaults' aliases: a rule that is to keep prompts at a server of one's own would lead them
/// to a vendor while that server lists no model of this name.
fn pinned_aliases(config: &Config) -> impl Iterator<Item = String> {
    let pins = config.rules.iter().enumerate().filter_map(|(index, rule)| Some((index, rule.pin.as_deref()?)));
    let aliases = pins.filter(|(_, pin)| config.default_aliases.contains(*pin) && config.discovers());
    aliases.map(|(index, pin)| {
        let model = &config.aliases[pin];
        format!("rules[{index}].pin: `{pin}` is a default alias, which means `{model}` while no server lists `{pin}`")
    })
}

/// Likely slips in `like`: models that begin as if nobody had described them, because neither the configuration nor
/// `knows` (the classifier's head) has what they are said to be like. An alias is a name for clients, and no model.
pub fn unknown_likes(config: &Config, knows: impl Fn(&str) -> bool) -> Vec<String> {
    let likes = config.models.iter().filter_map(|(name, model)| Some((name, model.like.as_deref()?)));
    let unknown = likes.filter(|(_, like)| !config.models.contains_key(*like) && !knows(like));
    let remark = |(name, like): (&String, &str)| {
        let near = config.aliases.get(like).map(String::as_str);
        let near = near.or_else(|| nearest(like, config.models.keys().map(String::as_str)));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("{}.like: nothing is known of a model `{like}`{hint}", join("models", name))
    };
    unknown.map(remark).collect()
}

/// Servers at home are mostly spoken to without encryption, and cost nothing a call.
fn unpriced(config: &Config) -> impl Iterator<Item = String> {
    let vendor = |name: &str| config.providers.get(name).is_some_and(|it| it.base_url.starts_with("https://"));
    let models = config.models.iter().filter(|(_, model)| model.price == Price::default());
    let bought = models.filter(move |(name, model)| model.places(name).iter().any(|place| vendor(&place.provider)));
    bought.map(|(name, _)| {
        let path = join("models", name);
        format!("{path}.price: there is none, so the model counts as free: for budgets, limits and the choice")
    })
}

/// A model that a server will list later is not known yet: a name is refused only where nobody is asked for a list.
fn check_reference(path: &str, model: &str, config: &Config, bad: &mut impl FnMut(String, String)) {
    if config.knows_model(model) || config.discovers() {
        return;
    }
    let near = nearest(model, config.models.keys().map(String::as_str));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    bad(path.to_owned(), format!("there is no model `{model}`{hint}"));
}

fn check_rule(index: usize, rule: &Rule, config: &Config, bad: &mut impl FnMut(String, String)) {
    let path = format!("rules[{index}]");
    if rule.name.is_empty() {
        bad(format!("{path}.name"), "is missing: explanations name the rule".into());
    }
    let idle = rule.pin.is_none()
        && rule.prefer.is_empty()
        && rule.forbid.is_empty()
        && rule.weights.is_empty()
        && rule.objective.is_none()
        && rule.explore.is_none();
    if idle {
        bad(path.clone(), "does nothing: give it pin, prefer, forbid, weights, objective or explore".into());
    }
    let named = rule.pin.iter().chain(&rule.prefer).chain(&rule.forbid).chain(rule.weights.keys());
    for model in named {
        check_reference(&path, model, config, bad);
    }
    if rule.weights.values().any(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        bad(format!("{path}.weights"), "a weight must be 0 or more".into());
    }
    for (key, what) in Search::new(&rule.when).err().unwrap_or_default() {
        bad(format!("{path}.when.{key}"), what);
    }
    for code in &rule.when.language {
        if whatlang::Lang::from_code(code).is_none() {
            bad(
                format!("{path}.when.language"),
                format!("`{code}` is no ISO 639-3 code we can tell (eng, deu, cmn...)"),
            );
        }
    }
    for script in &rule.when.script {
        let known = whatlang::Script::all().iter().map(|script| script.name());
        if !known.clone().any(|name| name == script) {
            let names: Vec<&str> = known.collect();
            bad(format!("{path}.when.script"), format!("`{script}` is none of {}", names.join(", ")));
        }
    }
}

fn check_numbers(config: &Config, bad: &mut impl FnMut(String, String)) {
    let dispatch = &config.dispatch;
    for number in ranged(config) {
        if let Some(fault) = number.fault() {
            bad(number.path.into(), fault);
        }
    }
    if !(8..=8192).contains(&config.classifier.max_tokens) {
        bad("classifier.max_tokens".into(), "must be between 8 and 8192".into());
    }
    if dispatch.backoff_ms > dispatch.backoff_max_ms {
        // A default is not at fault.
        if dispatch.backoff_ms == Dispatch::default().backoff_ms {
            bad("dispatch.backoff_max_ms".into(), "must not be less than dispatch.backoff_ms".into());
        } else {
            bad("dispatch.backoff_ms".into(), "must not be more than dispatch.backoff_max_ms".into());
        }
    }
    if !(dispatch.breaker.failure_share > 0.0 && dispatch.breaker.failure_share <= 1.0) {
        bad("dispatch.breaker.failure_share".into(), "must be more than 0 and at most 1".into());
    }
    check_learning(config, bad);
}

fn check_learning(config: &Config, bad: &mut impl FnMut(String, String)) {
    let (routing, learning) = (&config.routing, &config.learning);
    let objectives = &routing.objectives;
    let named = [
        ("quality", objectives.quality),
        ("balanced", objectives.balanced),
        ("cost", objectives.cost),
        ("speed", objectives.speed),
    ];
    let amount = |value: f64| value.is_finite() && value >= 0.0;
    for (name, weights) in named {
        for (key, weight) in [("cost_per_usd", weights.cost_per_usd), ("latency_per_s", weights.latency_per_s)] {
            if !amount(weight) {
                bad(format!("routing.objectives.{name}.{key}"), "must be 0 or more".into());
            }
        }
    }
    let shares = [
        ("learning.rollout", learning.rollout),
        ("learning.gate.confidence", learning.gate.confidence),
        ("learning.guard.error_rise", learning.guard.error_rise),
        ("learning.guard.rating_drop", learning.guard.rating_drop),
        ("learning.reward.empty", learning.reward.empty.unwrap_or(0.0)),
        ("learning.reward.format_violated", learning.reward.format_violated.unwrap_or(0.0)),
        ("learning.reward.asked_again", learning.reward.asked_again.unwrap_or(0.0)),
        ("learning.reward.truncated", learning.reward.truncated.unwrap_or(0.0)),
        ("learning.reward.cancelled", learning.reward.cancelled.unwrap_or(0.0)),
    ];
    for (path, share) in shares {
        if !(0.0..=1.0).contains(&share) {
            bad(path.into(), "must be between 0 and 1".into());
        }
    }
    let retries = config.dispatch.retry_budget;
    let amounts = [
        ("dispatch.retry_budget.ratio", retries.ratio),
        ("dispatch.retry_budget.min_per_s", retries.min_per_s),
        ("routing.sticky.margin", routing.sticky.margin),
        ("learning.gate.tolerance", learning.gate.tolerance),
        ("learning.guard.cost_factor", learning.guard.cost_factor),
        ("learning.reward.feedback_weight", learning.reward.feedback_weight),
        ("learning.reward.signal_weight", learning.reward.signal_weight),
        ("limits.usd_per_day", config.limits.usd_per_day),
        ("budget.usd_per_hour", config.budget.usd_per_hour),
        ("budget.usd_per_day", config.budget.usd_per_day),
    ];
    for (path, value) in amounts {
        if !amount(value) {
            bad(path.into(), "must be 0 or more".into());
        }
    }
    let positive = [
        ("learning.min_feedback", learning.min_feedback as f64),
        ("learning.window", learning.window as f64),
        ("learning.gate.clip", learning.gate.clip),
        ("learning.guard.window", learning.guard.window as f64),
    ];
    for (path, value) in positive {
        if value.is_nan() || value <= 0.0 {
            bad(path.into(), "must be more than 0".into());
        }
    }
}
