//! Checks of rules.

use super::amounts::check_objective;
use super::model::check_reference;
use crate::config::layers::join;
use crate::config::{Config, LARGEST, Model, Names, Rule, Search};

pub(super) fn check_rule(
    index: usize,
    rule: &Rule,
    config: &Config,
    names: &Names<&Model>,
    bad: &mut impl FnMut(String, String),
) {
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
        check_reference(&path, model, config, names, bad);
    }
    if rule.weights.values().any(|weight| !(0.0..=LARGEST).contains(weight)) {
        bad(format!("{path}.weights"), "a weight must be from 0 to a million".into());
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
    let when = &rule.when;
    if when.min_tokens.zip(when.max_tokens).is_some_and(|(least, most)| least > most) {
        bad(format!("{path}.when.min_tokens"), "is more than max_tokens: no prompt can match".into());
    }
    for header in when.header.keys().filter(|name| name.parse::<http::HeaderName>().is_err()) {
        bad(join(&format!("{path}.when.header"), header), "is no name of an HTTP header".into());
    }
    check_objective(&format!("{path}.objective"), rule.objective, bad);
}
