//! What the values of a configuration must be before anything starts: within range, of the right form, and references
//! to what exists.

mod addresses;
mod amounts;
mod model;
mod provider;
mod rule;

use addresses::check_addresses;
use amounts::check_amounts;
use model::{check_aliases, check_model};
use provider::check_provider;
pub(super) use provider::unlikely_end;
use rule::check_rule;

use super::Config;
use super::redact::variable_name_fault;

/// Something wrong with a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    /// The key's path.
    pub(super) path: String,
    /// What is wrong with it, and what would be right.
    pub(super) what: String,
}

/// Everything wrong with the values of `config`.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let names = config.names();
    let mut problems = Vec::new();
    let mut bad = |path: String, what: String| problems.push(Problem { path, what });
    for (name, provider) in &config.providers {
        check_provider(name, provider, &mut bad);
    }
    for (name, model) in &config.models {
        check_model(name, model, config, &names, &mut bad);
    }
    check_aliases(config, &names, &mut bad);
    for (index, rule) in config.rules.iter().enumerate() {
        check_rule(index, rule, config, &names, &mut bad);
    }
    check_amounts(config, &mut bad);
    if config.server.data_dir.as_os_str().is_empty() {
        bad("server.data_dir".into(), "must not be empty; write . for the current folder".into());
    }
    check_addresses(config, &mut bad);
    let named = [
        ("admin.password_env", &config.admin.password_env),
        ("classifier.hub.token_env", &config.classifier.hub.token_env),
    ];
    // Empty = from no variable.
    for (path, variable) in named.into_iter().filter(|(_, variable)| !variable.is_empty()) {
        if let Some(fault) = variable_name_fault(variable) {
            bad(path.into(), fault.into());
        }
    }
    problems
}
