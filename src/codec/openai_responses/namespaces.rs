//! Tools in namespaces, which no other dialect has: elsewhere a tool's name says where it stands.

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

/// What a client calls a tool.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Where it stands.
    pub(super) namespace: Option<String>,
    /// Its name there.
    pub(super) name: String,
    /// Whether it takes a text as it is.
    pub(super) is_custom: bool,
}

/// The tools that a client offers, in namespaces or not.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// By the name that each has elsewhere.
    tools: HashMap<String, Place>,
}

impl Namespaces {
    /// The tools in a client's list; of several with the same name elsewhere the first counts.
    pub(super) fn of(tools: Option<&Value>) -> Self {
        let mut found = Self::default();
        for tool in tools.and_then(Value::as_array).into_iter().flatten() {
            if tool["type"] == "namespace" {
                let inside = tool["tools"].as_array().into_iter().flatten();
                inside.for_each(|inner| found.add(tool["name"].as_str().or(Some("")), inner));
            } else {
                found.add(None, tool);
            }
        }
        found
    }

    fn add(&mut self, namespace: Option<&str>, tool: &Value) {
        let Some(name) = tool["name"].as_str() else { return };
        let called = namespace.map_or(name.to_owned(), |namespace| joined(namespace, name));
        self.tools.entry(called).or_insert_with(|| Place {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            is_custom: tool["type"] == "custom",
        });
    }

    /// What the client calls a tool that is called so elsewhere.
    pub(super) fn place(&self, called: &str) -> Place {
        let plain = || Place { name: called.to_owned(), ..Place::default() };
        self.tools.get(called).cloned().unwrap_or_else(plain)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_called_as_the_kind_that_comes_first() {
        let (custom, function) =
            (json!({ "type": "custom", "name": "x" }), json!({ "type": "function", "name": "x" }));
        let is_custom = |tools: Value| Namespaces::of(Some(&tools)).place("x").is_custom;
        assert!(!is_custom(json!([function, custom])) && is_custom(json!([custom, function])));
        let space = json!({ "type": "namespace", "name": "f", "tools": [function] });
        let plain = json!({ "type": "function", "name": "f__x" });
        let namespace = |tools: Value| Namespaces::of(Some(&tools)).place("f__x").namespace;
        assert_eq!(namespace(json!([plain, space])), None);
        assert_eq!(namespace(json!([space, plain])).as_deref(), Some("f"));
    }
}
