//! The schemas that OpenAI can enforce ("Structured outputs", platform.openai.com): a subset of JSON Schema. A request
//! that says `strict` with any other schema is refused as a whole.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords that a strict schema may have, apart from those that hold schemas. `default` is refused.
const SUPPORTED: [&str; 16] = [
    "$schema",
    "type",
    "required",
    "additionalProperties",
    "enum",
    "const",
    "title",
    "description",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
];

/// The types of JSON Schema.
const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];

/// How deep schemas may be nested.
const MAX_DEPTH: usize = 10;

/// String formats that a strict schema may have.
const FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Whether OpenAI can enforce a schema: an object at the top, and every object closed with all its properties required.
pub(crate) fn can_be_strict(schema: &Value) -> bool {
    schema["type"] == "object" && schema.get("anyOf").is_none() && is_strict(schema, schema, MAX_DEPTH)
}

/// Whether a schema inside `root` can be enforced; `deep` more levels may follow.
fn is_strict(root: &Value, schema: &Value, deep: usize) -> bool {
    let Some(fields) = schema.as_object() else { return false };
    if let Some(there) = fields.get("$ref") {
        let leads = |place: &str| place == "#" || place.strip_prefix('#').and_then(|at| root.pointer(at)).is_some();
        return fields.len() == 1 && there.as_str().is_some_and(leads);
    }
    let within = |inner: &Value| deep > 0 && is_strict(root, inner, deep - 1);
    let says = |(key, value): (&String, &Value)| match (key.as_str(), value) {
        ("properties" | "$defs" | "definitions", Value::Object(named)) => named.values().all(within),
        ("anyOf", Value::Array(ways)) => !ways.is_empty() && ways.iter().all(|way| is_strict(root, way, deep)),
        ("items", one) => within(one),
        ("format", Value::String(format)) => FORMATS.contains(&format.as_str()),
        (key, _) => SUPPORTED.contains(&key),
    };
    let types = match fields.get("type") {
        None => Vec::new(),
        Some(Value::Array(several)) => several.iter().collect(),
        Some(one) => vec![one],
    };
    let is_type = |kind: &&Value| kind.as_str().is_some_and(|kind| TYPES.contains(&kind));
    let is = |wanted: &str| types.iter().any(|kind| *kind == wanted);
    (!types.is_empty() || fields.contains_key("anyOf"))
        && types.iter().all(is_type)
        && (!is("object") || is_closed(fields))
        && (!is("array") || fields.contains_key("items"))
        && fields.iter().all(says)
}

/// Whether an object schema allows no other properties and requires all it has.
fn is_closed(fields: &Map<String, Value>) -> bool {
    let names: BTreeSet<Option<&str>> =
        fields.get("required").and_then(Value::as_array).into_iter().flatten().map(Value::as_str).collect();
    let properties = fields.get("properties").and_then(Value::as_object);
    fields.get("additionalProperties") == Some(&Value::Bool(false))
        && properties
            .is_some_and(|named| named.keys().map(|name| Some(name.as_str())).collect::<BTreeSet<_>>() == names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_held_to_what_is_closed_and_all_required() {
        let with = |property: Value, required: Value| {
            json!({
                "type": "object", "properties": { "a": property }, "required": required,
                "additionalProperties": false,
                "$defs": { "one": { "type": "string", "format": "date" } },
                "$schema": "http://json-schema.org/draft-07/schema#",
                "definitions": { "all": { "$ref": "#" } },
            })
        };
        let strict = |property: Value| can_be_strict(&with(property, json!(["a"])));
        assert!(strict(json!({ "type": ["string", "null"], "description": "A word." })));
        assert!(strict(json!({ "type": "array", "items": { "$ref": "#/$defs/one" }, "minItems": 1 })));
        assert!(strict(json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "null" }] })));
        assert!(strict(with(json!({ "type": "string" }), json!(["a"]))));
        let text = || json!({ "type": "string" });
        assert!(!can_be_strict(&with(text(), json!([]))), "it may be absent");
        assert!(!can_be_strict(&with(text(), json!(["a", "b"]))), "there is no b");
        let nested = |levels: usize| (0..levels).fold(text(), |inner, _| json!({ "type": "array", "items": inner }));
        assert!(strict(nested(MAX_DEPTH - 1)) && !strict(nested(MAX_DEPTH)));
        let mut either = with(text(), json!(["a"]));
        either["anyOf"] = json!([{ "type": "null" }]);
        assert!(!can_be_strict(&either));
        for loose in [
            json!({ "type": "object", "properties": {} }),
            json!({ "type": "string", "default": "x" }),
            json!({ "type": "string", "format": "uri" }),
            json!({ "$ref": "#/$defs/one", "description": "A day." }),
            json!({ "oneOf": [{ "type": "null" }] }),
            json!({ "enum": ["x"] }),
            json!({ "type": "array" }),
            json!({ "type": "str" }),
            json!({ "anyOf": [] }),
            json!({ "$ref": "#/$defs/two" }),
            json!({ "$ref": "https://x/y.json" }),
            json!({}),
            json!(true),
        ] {
            assert!(!strict(loose.clone()), "{loose}");
        }
        assert!(!can_be_strict(&json!({ "anyOf": [] })));
    }
}
