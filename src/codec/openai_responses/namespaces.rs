//! Tools in namespaces. No other dialect has these: there the namespace becomes part of the tool's name.

use std::collections::HashMap;

use serde_json::Value;

use super::super::tool_names::{MAX_CHARS, fitting};

/// Bytes of a namespace's name, which is repeated in the name of each of its tools.
pub(super) const MAX_NAMESPACE_BYTES: usize = 256;

/// The name in other dialects of a function in a namespace: both names, joined, as every dialect takes them.
pub(super) fn joined(namespace: &str, name: &str) -> String {
    let whole = format!("{}__{name}", namespace.trim_end_matches('_'));
    fitting(&whole, MAX_CHARS).into_owned()
}

/// A tool as the client names it.
#[derive(Debug, Clone, Default)]
pub(super) struct ToolName {
    /// The tool's namespace.
    pub(super) namespace: Option<String>,
    /// The tool's name in its namespace.
    pub(super) name: String,
    /// Whether the tool is a custom one, which takes plain text.
    pub(super) is_custom: bool,
}

/// A client's tools, in namespaces or not.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// By the name in other dialects.
    tools: HashMap<String, ToolName>,
}

impl Namespaces {
    /// Finds them among a client's `tools`; of several with the same name in other dialects the first counts.
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
        self.tools.entry(called).or_insert_with(|| ToolName {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            is_custom: tool["type"] == "custom",
        });
    }

    /// The client's name for a tool whose name in other dialects is `called`.
    pub(super) fn name_of(&self, called: &str) -> ToolName {
        let plain = || ToolName { name: called.to_owned(), ..ToolName::default() };
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
        let is_custom = |tools: Value| Namespaces::of(Some(&tools)).name_of("x").is_custom;
        assert!(!is_custom(json!([function, custom])) && is_custom(json!([custom, function])));
        let space = json!({ "type": "namespace", "name": "f", "tools": [function] });
        let plain = json!({ "type": "function", "name": "f__x" });
        let namespace = |tools: Value| Namespaces::of(Some(&tools)).name_of("f__x").namespace;
        assert_eq!(namespace(json!([plain, space])), None);
        assert_eq!(namespace(json!([space, plain])).as_deref(), Some("f"));
    }
}
