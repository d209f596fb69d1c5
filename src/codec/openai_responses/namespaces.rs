//! Functions in namespaces, which no other dialect has: elsewhere a function's name says where it stands.

use serde_json::Value;

/// The name that a function of a namespace has elsewhere.
pub(super) fn joined(namespace: &str, name: &str) -> String {
    format!("{}__{name}", namespace.trim_end_matches('_'))
}

/// The namespace and the name of a function that is called so elsewhere, by the `tools` that its client offers; `None` =
/// it stands in no namespace.
pub(super) fn parted(tools: &Value, called: &str) -> Option<(String, String)> {
    let spaces = tools.as_array()?.iter().filter(|tool| tool["type"] == "namespace");
    let functions = spaces.flat_map(|space| {
        let names = space["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str());
        names.map(|name| (space["name"].as_str().unwrap_or_default(), name))
    });
    let mut functions = functions.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    functions.find(|(namespace, name)| joined(namespace, name) == called)
}
