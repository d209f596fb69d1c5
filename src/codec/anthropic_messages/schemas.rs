//! JSON schemas as Anthropic takes them ("Structured outputs", "Tool use", docs.anthropic.com).
//!
//! An answer's schema must close every object and may have no bounds (`minimum`, `maxLength`): these go into the
//! description, as the vendor's own libraries do. A tool's schema must be an object at the top.

use serde_json::{Map, Value, json};

/// Keywords of JSON Schema that an answer's schema may not have.
const UNSUPPORTED: [&str; 25] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
    "not",
    "if",
    "then",
    "else",
];

/// String formats that an answer's schema may have.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema of an answer as Anthropic takes it, and whether something was lost.
pub(super) fn of_answer(schema: &Value) -> (Value, bool) {
    let mut lost = false;
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.shift_remove("$schema");
    }
    close(&mut schema, &mut lost);
    (schema, lost)
}

/// Closes the objects of a schema and of those inside; unsupported keywords move to the description.
fn close(schema: &mut Value, lost: &mut bool) {
    let Some(fields) = schema.as_object_mut() else { return };
    // `oneOf` is not supported; that exactly one may match is hardly ever meant.
    if let Some(either) = fields.shift_remove("oneOf") {
        fields.entry("anyOf").or_insert(either);
    }
    let unknown: Vec<String> =
        fields.iter().filter(|(key, value)| !is_known(key, value)).map(|(key, _)| key.clone()).collect();
    let taken: Vec<String> = unknown
        .into_iter()
        .filter_map(|key| fields.shift_remove(&key).map(|value| format!("{key}: {value}")))
        .collect();
    if is_object(fields) {
        let open = fields.insert("additionalProperties".into(), json!(false));
        *lost |= open.is_some_and(|open| open != false);
    }
    if !taken.is_empty() {
        *lost = true;
        let before =
            fields.get("description").and_then(Value::as_str).map(|text| format!("{text} ")).unwrap_or_default();
        fields.insert("description".into(), json!(format!("{before}({})", taken.join(", "))));
    }
    for (key, value) in fields.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                named.values_mut().for_each(|schema| close(schema, lost));
            }
            ("anyOf" | "allOf" | "items", Value::Array(all)) => all.iter_mut().for_each(|schema| close(schema, lost)),
            ("items", one) => close(one, lost),
            _ => {}
        }
    }
}

fn is_known(key: &str, value: &Value) -> bool {
    match key {
        "minItems" => value.as_u64().is_some_and(|least| least <= 1),
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        "pattern" => value.as_str().is_some_and(is_plain),
        _ => !UNSUPPORTED.contains(&key),
    }
}

/// Whether a pattern has no lookaround, backreference or word boundary.
fn is_plain(pattern: &str) -> bool {
    let mut escaped = false;
    let strange = pattern.chars().any(|letter| {
        let was = escaped;
        escaped = !was && letter == '\\';
        was && (matches!(letter, 'b' | 'B' | 'k') || letter.is_ascii_digit())
    });
    !strange && !["(?=", "(?!", "(?<"].iter().any(|look| pattern.contains(look))
}

fn is_object(fields: &Map<String, Value>) -> bool {
    let is = |kind: &Value| kind == "object";
    let named =
        fields.get("type").is_some_and(|kind| is(kind) || kind.as_array().is_some_and(|all| all.iter().any(is)));
    named || fields.contains_key("properties")
}

/// The schema of a tool's arguments as Anthropic takes it, and whether something was lost: an object without `anyOf`,
/// `oneOf` and `allOf` at the top. The properties of these stay, as optional ones.
pub(super) fn of_arguments(schema: &Value) -> (Value, bool) {
    let mut fields = schema.as_object().cloned().unwrap_or_default();
    let choices: Vec<Value> =
        ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| fields.shift_remove(*key)).collect();
    fields.insert("type".into(), json!("object"));
    let ways = choices.iter().filter_map(Value::as_array).flatten();
    for (name, property) in ways.filter_map(|way| way["properties"].as_object()).flatten() {
        if let Some(known) = fields.entry("properties").or_insert_with(|| json!({})).as_object_mut() {
            known.entry(name).or_insert_with(|| property.clone());
        }
    }
    (Value::Object(fields), !choices.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_closed_and_bounds_are_told_in_words() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "minimum": { "type": "integer", "minimum": 1, "description": "How many." },
                "all": { "type": "array", "minItems": 1, "maxItems": 3, "items": { "$ref": "#/$defs/one" } },
                "when": { "oneOf": [{ "type": "string", "format": "date" }, { "type": "string", "format": "color" }] },
            },
            "$defs": { "one": { "type": ["object", "null"], "properties": {}, "additionalProperties": true } },
        });
        let (closed, lost) = of_answer(&schema);
        assert!(lost);
        let expected = json!({
            "type": "object",
            "properties": {
                "minimum": { "type": "integer", "description": "How many. (minimum: 1)" },
                "all": {
                    "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/one" }, "description": "(maxItems: 3)",
                },
                "when": { "anyOf": [
                    { "type": "string", "format": "date" }, { "type": "string", "description": "(format: \"color\")" },
                ] },
            },
            "$defs": { "one": { "type": ["object", "null"], "properties": {}, "additionalProperties": false } },
            "additionalProperties": false,
        });
        assert_eq!(closed, expected);
        assert_eq!(of_answer(&closed), (expected, false), "once is enough");
        for (pattern, plain) in [(r"^\d+(?:a|b)$", true), (r"\bword", false), (r"\\b", true), ("(?!x)", false)] {
            assert_eq!(is_plain(pattern), plain, "{pattern}");
        }
    }

    #[test]
    fn arguments_are_an_object_and_no_choice() {
        assert_eq!(of_arguments(&json!({})), (json!({ "type": "object" }), false));
        let plain = json!({ "type": "object", "properties": { "anyOf": { "type": "string" } } });
        assert_eq!(of_arguments(&plain), (plain.clone(), false));
        let choice = json!({ "anyOf": [
            { "properties": { "id": { "type": "string" } }, "required": ["id"] },
            { "properties": { "name": { "type": "string" }, "id": { "type": "integer" } } },
        ] });
        let either = json!({ "id": { "type": "string" }, "name": { "type": "string" } });
        assert_eq!(of_arguments(&choice), (json!({ "type": "object", "properties": either }), true));
    }
}
