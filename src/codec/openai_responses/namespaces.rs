//! Functions in namespaces, which no other dialect has: elsewhere a function's name says where it stands.

use std::collections::HashMap;

use serde_json::Value;

use super::super::user::short;

/// Most bytes of a namespace's name. It is a part of the names of all that stands in it.
pub(super) const LONGEST: usize = 256;

/// Letters that a function's name may have everywhere.
const MOST_LETTERS: usize = 64;

/// Letters of it that tell long names apart.
const TELLING: usize = 8;

/// The name that a function of a namespace has elsewhere: both, as long as everybody takes such a name, else the beginning
/// of them and what they alone have.
pub(super) fn joined(namespace: &str, name: &str) -> String {
    let whole = format!("{}__{name}", namespace.trim_end_matches('_'));
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if whole.len() <= MOST_LETTERS && whole.chars().all(fits) {
        return whole;
    }
    let letters = whole.chars().map(|letter| if fits(letter) { letter } else { '_' });
    let beginning: String = letters.take(MOST_LETTERS - TELLING - 1).collect();
    format!("{beginning}_{}", &short(&whole)[..TELLING])
}

/// Where the functions stand that a client offers in namespaces.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Namespace and name of each, by the name that it has elsewhere.
    functions: HashMap<String, (String, String)>,
}

impl Namespaces {
    /// Those among the `tools` that a client offers.
    pub(super) fn of(tools: Option<&Value>) -> Self {
        let mut functions = HashMap::new();
        let all = tools.and_then(Value::as_array).into_iter().flatten();
        for space in all.filter(|tool| tool["type"] == "namespace") {
            let namespace = space["name"].as_str().unwrap_or_default();
            let inside = space["tools"].as_array().into_iter().flatten();
            for name in inside.filter_map(|tool| tool["name"].as_str()) {
                let place = || (namespace.to_owned(), name.to_owned());
                functions.entry(joined(namespace, name)).or_insert_with(place);
            }
        }
        Self { functions }
    }

    /// The namespace and the name of a function that is called so elsewhere; `None` = it stands in none.
    pub(super) fn parted(&self, called: &str) -> Option<(String, String)> {
        self.functions.get(called).cloned()
    }
}
