//! Schemas that OpenAI holds an answer to ("Structured outputs", platform.openai.com): a part of the schema language.
//! Where `strict` is said of another, the whole request is refused.

use serde_json::{Map, Value};

/// What a strict schema may say, besides schemas inside it.
const KNOWN: [&str; 15] = [
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

/// Formats of texts that it knows.
const FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Whether an answer can be held to a schema: an object, every object in it closed, all of their properties required.
pub(super) fn can_be_strict(schema: &Value) -> bool {
    schema["type"] == "object" && is_strict(schema)
}

fn is_strict(schema: &Value) -> bool {
    let Some(fields) = schema.as_object() else { return false };
    if fields.contains_key("$ref") {
        return fields.len() == 1;
    }
    let says = |(key, value): (&String, &Value)| match (key.as_str(), value) {
        ("properties" | "$defs", Value::Object(named)) => named.values().all(is_strict),
        ("anyOf", Value::Array(ways)) => ways.iter().all(is_strict),
        ("items", one) => is_strict(one),
        ("format", Value::String(format)) => FORMATS.contains(&format.as_str()),
        (key, _) => KNOWN.contains(&key),
    };
    let typed = fields.contains_key("type") || fields.contains_key("anyOf");
    typed && (!is_object(fields) || is_closed(fields)) && fields.iter().all(says)
}

fn is_object(fields: &Map<String, Value>) -> bool {
    let is = |kind: &Value| kind == "object";
    fields.get("type").is_some_and(|kind| is(kind) || kind.as_array().is_some_and(|all| all.iter().any(is)))
}

fn is_closed(fields: &Map<String, Value>) -> bool {
    let required = fields.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|all| all.iter().any(|one| one == name.as_str()));
    fields.get("additionalProperties") == Some(&Value::Bool(false))
        && fields.get("properties").and_then(Value::as_object).is_some_and(|named| named.keys().all(is_required))
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
            })
        };
        let strict = |property: Value| can_be_strict(&with(property, json!(["a"])));
        assert!(strict(json!({ "type": ["string", "null"], "description": "A word." })));
        assert!(strict(json!({ "type": "array", "items": { "$ref": "#/$defs/one" }, "minItems": 1 })));
        assert!(strict(json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "null" }] })));
        assert!(strict(with(json!({ "type": "string" }), json!(["a"]))));
        assert!(!can_be_strict(&with(json!({ "type": "string" }), json!([]))), "it may be absent");
        for loose in [
            json!({ "type": "object", "properties": {} }),
            json!({ "type": "string", "default": "x" }),
            json!({ "type": "string", "format": "uri" }),
            json!({ "$ref": "#/$defs/one", "description": "A day." }),
            json!({ "oneOf": [{ "type": "null" }] }),
            json!({ "enum": ["x"] }),
            json!({}),
            json!(true),
        ] {
            assert!(!strict(loose.clone()), "{loose}");
        }
        assert!(!can_be_strict(&json!({ "anyOf": [] })));
    }
}
