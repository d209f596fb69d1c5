//! Checks of models, aliases, and references to models.

use crate::config::layers::join;
use crate::config::nearest::did_you_mean;
use crate::config::{Config, Model, Names, fault_of_weight, faults_of_price};
use crate::protocol::{ModelName, RequestedModel};

pub(super) fn check_model(
    name: &str,
    model: &Model,
    config: &Config,
    names: &Names<&Model>,
    bad: &mut impl FnMut(String, String),
) {
    let path = join("models", name);
    if ModelName::is_auto(name) {
        bad(path.clone(), "`auto` means that Pointsman chooses; give the model another name".into());
    }
    let deployments = model.all_deployments(name);
    if deployments.is_empty() {
        bad(format!("{path}.provider"), "is missing: who serves this model?".into());
    }
    let own = usize::from(model.provider.is_some());
    for (at, deployment) in deployments.iter().enumerate() {
        let path = at.checked_sub(own).map_or_else(|| path.clone(), |at| format!("{path}.deployments[{at}]"));
        if deployments[..at]
            .iter()
            .any(|other| (&other.provider, &other.upstream) == (&deployment.provider, &deployment.upstream))
        {
            let name = format!("{}/{}", deployment.provider, deployment.upstream.as_deref().unwrap_or_default());
            bad(path.clone(), format!("`{name}` is listed twice: give one deployment the weight of both"));
        }
        if !config.providers.contains_key(&deployment.provider) {
            let hint = did_you_mean(&deployment.provider, config.providers.keys().map(String::as_str));
            bad(format!("{path}.provider"), format!("there is no provider `{}`{hint}", deployment.provider));
        }
        if let Some(fault) = fault_of_weight(deployment.weight) {
            bad(format!("{path}.weight"), fault.into());
        }
    }
    if let Some(fault) = fault_of_weight(model.weight) {
        bad(format!("{path}.weight"), fault.into());
    }
    for (key, fault) in faults_of_price(&model.price) {
        bad(format!("{path}.price.{key}"), fault.into());
    }
    for (key, tokens) in [("context", Some(model.context)), ("max_output", model.max_output)] {
        if tokens == Some(0) {
            bad(join(&path, key), "must be more than 0".into());
        }
    }
    if model.score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
        bad(format!("{path}.score"), "must be between 0 and 1".into());
    }
    if model.upstream.as_deref() == Some("") {
        bad(format!("{path}.upstream"), "must not be empty; leave it out for the model's name".into());
    }
    if let Some(like) = &model.like {
        check_reference(&format!("{path}.like"), like, config, names, bad);
    }
}

pub(super) fn check_aliases(config: &Config, names: &Names<&Model>, bad: &mut impl FnMut(String, String)) {
    for (alias, model) in &config.aliases {
        let path = join("aliases", alias);
        if config.models.contains_key(alias) {
            bad(path.clone(), "there is a model of this name".into());
        }
        if ModelName::is_auto(alias) {
            bad(path.clone(), "`auto` means that Pointsman chooses; take another name".into());
        }
        match alias_loop(alias, config) {
            Some(steps) => bad(path, format!("leads back to itself: {}", steps.join(" -> "))),
            None if RequestedModel::parse(model).is_err() => {
                bad(
                    path,
                    format!("there is no `{model}`; use auto, auto:quality, auto:balanced, auto:cost or auto:speed"),
                );
            }
            None if names.leaves_choice(model) => {}
            None => check_reference(&path, model, config, names, bad),
        }
    }
}

/// The names from an alias back to itself, where it leads there.
fn alias_loop<'a>(alias: &'a str, config: &'a Config) -> Option<Vec<&'a str>> {
    let mut names = vec![alias];
    while let Some(next) = config.aliases.get(names[names.len() - 1]) {
        if names.contains(&next.as_str()) {
            let closed = next == alias;
            names.push(next);
            // A loop further on is named at its own aliases.
            return closed.then_some(names);
        }
        names.push(next);
    }
    None
}

/// Refuses a name that leaves the choice open; and one that no model has, but only where no server is asked for its
/// list: it may list the model later.
pub(super) fn check_reference(
    path: &str,
    model: &str,
    config: &Config,
    names: &Names<&Model>,
    bad: &mut impl FnMut(String, String),
) {
    if names.leaves_choice(model) {
        bad(path.to_owned(), format!("`{model}` is no model: it leaves the choice to Pointsman; name a model"));
        return;
    }
    if names.knows(model) || config.discovers() {
        return;
    }
    let hint = did_you_mean(model, config.models.keys().map(String::as_str));
    bad(path.to_owned(), format!("there is no model `{model}`{hint}"));
}
