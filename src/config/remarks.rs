//! Remarks on a configuration: what is possible and yet likely a mistake.

use super::Config;
use super::check::unlikely_end;
use super::layers::join;
use super::nearest::did_you_mean;
use super::redact::without_credentials;
use crate::protocol::Price;

/// Names of models that nobody configured, which a server may list later, pins to default aliases, vendors' models
/// without a price, base URLs that end too late, and networks that shut this machine out.
pub(super) fn remarks(config: &Config) -> Vec<String> {
    let names = config.names();
    let aliases = config.aliases.iter().filter(|(alias, _)| !names.leaves_choice(alias));
    let aliases = aliases.map(|(alias, name)| (join("aliases", alias), name));
    let rules = config.rules.iter().enumerate().flat_map(|(index, rule)| {
        let named = rule.pin.iter().chain(&rule.prefer).chain(&rule.forbid).chain(rule.weights.keys());
        named.map(move |name| (format!("rules[{index}]"), name))
    });
    let unknown = aliases.chain(rules).filter(|(_, name)| !names.knows(name));
    let remark = |(path, name): (String, &String)| {
        let hint = did_you_mean(name, config.models.keys().map(String::as_str));
        format!("{path}: no model `{name}` is configured: it means one only once a server lists it{hint}")
    };
    let further =
        pinned_aliases(config).chain(unpriced(config)).chain(unlikely_bases(config)).chain(shut_out(config));
    unknown.map(remark).chain(further).collect()
}

/// Base URLs of providers that most likely end too late.
fn unlikely_bases(config: &Config) -> impl Iterator<Item = String> {
    config.providers.iter().filter_map(|(name, provider)| {
        let (end, base) = unlikely_end(provider)?;
        let (path, base) = (join("providers", name), without_credentials(base));
        Some(format!(
            "{path}.base_url: paths are added at its end; unless a proxy wants it to end with {end}, write {base}"
        ))
    })
}

/// Networks that are let in without this machine, which alone can reach the admin listener.
fn shut_out(config: &Config) -> Option<String> {
    let (allow, admin) = (&config.access.allow, &config.admin);
    let here = admin.listen.ip();
    let is_shut_out = !allow.is_empty() && !allow.iter().any(|network| network.contains(&here));
    (admin.enabled && here.is_loopback() && is_shut_out).then(|| {
        format!(
            "access.allow: it counts at both listeners, and without {here} this machine may use neither: /metrics and \
             the dashboard are closed to it"
        )
    })
}

/// Pins to default aliases: a rule that is to keep prompts at an own server would send them to a vendor while that
/// server lists no model of this name.
fn pinned_aliases(config: &Config) -> impl Iterator<Item = String> {
    let pins = config.rules.iter().enumerate().filter_map(|(index, rule)| Some((index, rule.pin.as_deref()?)));
    let aliases = pins.filter(|(_, pin)| config.default_aliases.contains(*pin) && config.discovers());
    aliases.map(|(index, pin)| {
        let model = &config.aliases[pin];
        format!("rules[{index}].pin: `{pin}` is a default alias, which means `{model}` while no server lists `{pin}`")
    })
}

/// Models whose `like` is unknown both to the configuration and to the classifier's head (`knows`): they begin as if
/// nobody had described them.
pub fn unknown_likes(config: &Config, knows: impl Fn(&str) -> bool) -> Vec<String> {
    let likes = config.models.iter().filter_map(|(name, model)| Some((name, model.like.as_deref()?)));
    let names = config.names();
    let unknown = likes.filter(|(_, like)| !knows(like) && names.find(like).is_none());
    let remark = |(name, like): (&String, &str)| {
        let hint = did_you_mean(like, config.models.keys().map(String::as_str));
        format!("{}.like: nothing is known of a model `{like}`{hint}", join("models", name))
    };
    unknown.map(remark).collect()
}

/// Models without a price at a vendor. Own servers cost nothing per call, and mostly have no `https` address.
fn unpriced(config: &Config) -> impl Iterator<Item = String> {
    let vendor = |name: &str| config.providers.get(name).is_some_and(|it| it.base_url.starts_with("https://"));
    let models = config.models.iter().filter(|(_, model)| model.price == Price::default());
    let bought = models.filter(move |(name, model)| {
        model.all_deployments(name).iter().any(|deployment| vendor(&deployment.provider))
    });
    bought.map(|(name, _)| {
        let path = join("models", name);
        format!("{path}.price: there is none, so the model counts as free: for budgets, limits and the choice")
    })
}
