//! JSON schemas as Anthropic takes them ("Structured outputs", "Tool use", docs.anthropic.com).
//!
//! An answer's schema must close every object and may have few keywords, and no bounds (`minimum`, `maxLength`): the
//! others go into the description, as the vendor's own libraries do. A tool's schema must be an object at the top.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Schemas nested deeper than this, with the references between them followed, have no end: nobody writes so by hand.
const MAX_DEPTH: usize = 200;

/// Keywords that an answer's schema may have, beside `minItems`, `format` and `pattern` with some values.
const SUPPORTED: [&str; 15] = [
    "type",
    "title",
    "description",
    "default",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
];

/// Keywords that say nothing of an answer that the rest of the schema does not say, too: OpenAPI's `discriminator`, as
/// pydantic writes it, names a property whose `const` tells the parts of a choice apart.
const IDLE: [&str; 4] = ["$schema", "$id", "$comment", "discriminator"];

/// String formats that an answer's schema may have.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// What Anthropic cannot hold an answer to in a schema, although the answer would be another without it; `None` =
/// nothing. It refuses schemas that contain themselves, references to elsewhere or within `allOf`, and objects as
/// values to choose from. A map (an object of any properties) it would hold to have none. And since every schema that
/// says properties is closed, none may be said elsewhere: no answer would fit both.
pub(super) fn unheld(schema: &Value) -> Option<&'static str> {
    unheld_in(schema, schema, 0, &mut HashMap::new()).err()
}

/// Looks through one schema of `root` and those that it refers to, each once, by however many ways it is reached.
/// True = it says which properties an object may have. `seen` = what was found of those met before; `None` = nothing
/// yet: one that is met within itself.
fn unheld_in(
    root: &Value,
    schema: &Value,
    depth: usize,
    seen: &mut HashMap<*const Value, Option<bool>>,
) -> Result<bool, &'static str> {
    let Some(fields) = schema.as_object() else { return Ok(false) };
    match seen.get(&std::ptr::from_ref(schema)) {
        Some(found) => return found.ok_or("recursive"),
        None if depth > MAX_DEPTH => return Err("recursive"),
        None => seen.insert(schema, None),
    };
    let is_compound = |value: &Value| value.is_object() || value.is_array();
    let values = fields.get("enum").and_then(Value::as_array).into_iter().flatten().chain(fields.get("const"));
    if values.into_iter().any(is_compound) {
        return Err("objects to choose from");
    }
    if only_part(fields).is_none() && all_in(fields, "allOf").any(|part| part.get("$ref").is_some()) {
        return Err("allOf");
    }
    // How many say properties of the same object.
    let mut sayers = 0;
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
        let meant = reference.strip_prefix('#').and_then(|path| root.pointer(path)).ok_or("$ref")?;
        sayers += usize::from(unheld_in(root, meant, depth + 1, seen)?);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        let mut say = 0;
        for part in all_in(fields, key) {
            say += usize::from(unheld_in(root, part, depth + 1, seen)?);
        }
        // Of several ways an answer goes one.
        sayers += if key == "allOf" { say } else { say.min(1) };
    }
    if sayers == 0 && is_map(fields) {
        return Err("an object of any properties");
    }
    sayers += usize::from(fields.contains_key("properties"));
    if sayers > 1 {
        return Err("properties in several places");
    }
    if requires_unnamed(fields) {
        return Err("a required property without a schema");
    }
    let items = fields.get("items").into_iter().chain(all_in(fields, "items"));
    let named = fields.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    for inner in items.chain(named) {
        unheld_in(root, inner, depth + 1, seen)?;
    }
    let says = sayers > 0 || is_object(fields);
    seen.insert(schema, Some(says));
    Ok(says)
}

/// The schemas of a list.
fn all_in<'f>(fields: &'f Map<String, Value>, key: &str) -> impl Iterator<Item = &'f Value> {
    fields.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Whether an object that names its properties must have others, too.
fn requires_unnamed(fields: &Map<String, Value>) -> bool {
    let Some(named) = fields.get("properties").and_then(Value::as_object) else { return false };
    let parts = ["allOf", "anyOf", "oneOf"].iter().flat_map(|key| all_in(fields, key));
    let of_parts = parts.filter_map(Value::as_object).flat_map(|part| all_in(part, "required"));
    let mut required = all_in(fields, "required").chain(of_parts).filter_map(Value::as_str);
    required.any(|name| !named.contains_key(name))
}

/// Whether an object may have properties and names none of them, as far as it says itself.
fn is_map(fields: &Map<String, Value>) -> bool {
    let names_some =
        |key: &str| fields.get(key).is_some_and(|value| value.as_object().is_none_or(|all| !all.is_empty()));
    let is_value = fields.contains_key("enum") || fields.contains_key("const");
    // As pydantic writes a model without fields. A map says of which values it is.
    let is_empty = fields.contains_key("properties") && !fields.contains_key("additionalProperties");
    let is_closed = is_empty || fields.get("additionalProperties").is_some_and(|open| open == false);
    is_object(fields) && !names_some("properties") && !is_value && (!is_closed || names_some("patternProperties"))
}

/// The only part of an `allOf` that says nothing twice: it may stand in its place.
fn only_part(fields: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let [part] = fields.get("allOf")?.as_array()?.as_slice() else { return None };
    part.as_object().filter(|part| part.keys().all(|key| !fields.contains_key(key)))
}

/// The schema of an answer as Anthropic takes it, and whether something was lost.
pub(super) fn of_answer(schema: &Value) -> (Value, bool) {
    let mut lost = false;
    let mut schema = schema.clone();
    close(&mut schema, &mut lost);
    (schema, lost)
}

/// Closes the objects of a schema and of those inside; unsupported keywords move to the description.
fn close(schema: &mut Value, lost: &mut bool) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.retain(|key, _| !IDLE.contains(&key.as_str()));
    // As pydantic writes a reference with a description. Another `allOf` may hold no reference.
    if only_part(fields).is_some()
        && let Some(Value::Array(mut parts)) = fields.shift_remove("allOf")
        && let Some(Value::Object(part)) = parts.pop()
    {
        fields.extend(part);
    }
    // `oneOf` is not supported; that exactly one may match is hardly ever meant.
    if let Some(either) = fields.shift_remove("oneOf") {
        fields.entry("anyOf").or_insert(either);
    }
    // Without `prefixItems`, `items` would be said of the first ones, too.
    let is_tuple = fields.contains_key("prefixItems");
    let is_told = |key: &str, value: &Value| !is_known(key, value) || is_tuple && key == "items";
    let unknown: Vec<String> =
        fields.iter().filter(|(key, value)| is_told(key, value)).map(|(key, _)| key.clone()).collect();
    let taken: Vec<String> = unknown
        .into_iter()
        .filter_map(|key| fields.shift_remove(&key).map(|value| format!("{key}: {value}")))
        .collect();
    if !fields.contains_key("properties") && ["$ref", "anyOf", "allOf"].iter().any(|key| fields.contains_key(*key)) {
        // These say which properties there are: closed, it would have none.
        if is_object(fields) {
            fields.shift_remove("type");
        }
        fields.shift_remove("additionalProperties");
    } else if is_object(fields) {
        fields.entry("type").or_insert_with(|| json!("object"));
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
        _ => SUPPORTED.contains(&key),
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

/// The schema of an answer that stands for the arguments of a call: an object at the top. Without a schema they are
/// none (OpenAI, "Function calling"). `None` = Anthropic [cannot hold](unheld) an answer to it.
pub(super) fn of_call(parameters: &Value) -> Option<Value> {
    let mut fields = parameters.as_object().cloned().unwrap_or_default();
    if fields.is_empty() {
        fields.insert("properties".into(), json!({}));
    }
    fields.insert("type".into(), json!("object"));
    Some(Value::Object(fields)).filter(|schema| unheld(schema).is_none())
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
    fn what_no_answer_can_be_held_to_is_told() {
        let object = |properties: Value| json!({ "type": "object", "properties": properties });
        let tree = object(json!({ "children": { "type": "array", "items": { "$ref": "#" } } }));
        let mut mutual = object(json!({ "a": { "anyOf": [{ "$ref": "#/$defs/a" }, { "type": "null" }] } }));
        mutual["$defs"] = json!({ "a": object(json!({ "b": { "$ref": "#/$defs/b" } })) });
        mutual["$defs"]["b"] = object(json!({ "a": { "$ref": "#/$defs/a" } }));
        let elsewhere = object(json!({ "a": { "$ref": "https://x/y.json" } }));
        let nowhere = object(json!({ "a": { "$ref": "#/$defs/a" } }));
        let map = object(json!({ "m": { "type": "object", "additionalProperties": { "type": "number" } } }));
        let any = object(json!({ "m": { "type": ["object", "null"] } }));
        let patterns = json!({ "x-": { "type": "string" } });
        let named = json!({ "type": "object", "patternProperties": patterns, "additionalProperties": false });
        let values = object(json!({ "m": { "enum": [1, { "a": 1 }] } }));
        let mut both = object(json!({ "a": { "allOf": [{ "$ref": "#/$defs/a" }, { "type": "object" }] } }));
        both["$defs"] = json!({ "a": object(json!({ "b": { "type": "string" } })) });
        for (schema, why) in [
            (tree, "recursive"),
            (mutual, "recursive"),
            (elsewhere, "$ref"),
            (nowhere, "$ref"),
            (map, "an object of any properties"),
            (any, "an object of any properties"),
            (named, "an object of any properties"),
            (json!({ "type": "object" }), "an object of any properties"),
            (values, "objects to choose from"),
            (both, "allOf"),
        ] {
            assert_eq!(unheld(&schema), Some(why), "{schema}");
        }
        // Each level refers to the next one thrice, in two spellings: looked through once.
        let mut wide = object(json!({ "l": { "$ref": "#/$defs/~x0" } }));
        for level in 0..90 {
            let next = json!({ "$ref": format!("#/$defs/~x{}", level + 1) });
            let respelled = json!({ "$ref": format!("#/$defs/~0x{}", level + 1) });
            wide["$defs"][format!("~x{level}")] = object(json!({ "l": next, "r": next, "s": respelled }));
        }
        wide["$defs"]["~x90"] = json!({ "type": "object", "additionalProperties": false });
        let empty = object(json!({ "m": { "type": "object", "properties": {} } }));
        let open =
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": true });
        for schema in
            [wide, open, empty, json!({}), json!(true), json!({ "type": "array", "items": { "enum": ["a", null] } })]
        {
            assert_eq!(unheld(&schema), None, "{schema}");
        }
    }

    #[test]
    fn properties_are_said_in_one_place() {
        let object = |name: &str| json!({ "type": "object", "properties": { name: { "type": "string" } }, "required": [name] });
        let with = |key: &str, value: Value| {
            let mut schema = object("k");
            schema[key] = value;
            schema["$defs"] = json!({ "d": object("d") });
            json!({ "type": "array", "items": schema, "$defs": schema["$defs"] })
        };
        let ways = json!([object("a"), object("b")]);
        let places = "properties in several places";
        let unnamed = "a required property without a schema";
        for (schema, why) in [
            (with("allOf", json!([object("a")])), places),
            (with("anyOf", ways.clone()), places),
            (with("oneOf", json!([{ "type": "null" }, { "anyOf": ways }])), places),
            (with("$ref", json!("#/$defs/d")), places),
            (json!({ "allOf": ways }), places),
            (json!({ "anyOf": ways, "oneOf": ways }), places),
            (json!({ "allOf": [{ "anyOf": ways }, object("k")] }), places),
            (with("required", json!(["k", "z"])), unnamed),
            (with("anyOf", json!([{ "required": ["k"] }, { "required": ["z"] }])), unnamed),
            (json!({ "type": "object", "anyOf": [{ "required": ["k"] }] }), "an object of any properties"),
        ] {
            assert_eq!(unheld(&schema), Some(why), "{schema}");
        }
        let nullable = json!({ "anyOf": [{ "$ref": "#/$defs/d" }, { "type": "null" }] });
        for schema in [
            with("anyOf", json!([{ "required": ["k"] }, { "minProperties": 1 }])),
            with("allOf", json!([{ "required": ["k"] }, { "description": "One." }])),
            with("properties", json!({ "k": nullable, "l": nullable })),
            json!({ "type": "object", "allOf": [object("a")] }),
        ] {
            assert_eq!(unheld(&schema), None, "{schema}");
        }
        // What is said elsewhere is closed there.
        let closed = |name: &str| {
            let properties = json!({ name: { "type": "string" } });
            json!({
                "type": "object", "properties": properties, "required": [name], "additionalProperties": false,
            })
        };
        let untyped = json!({ "properties": { "b": { "type": "string" } }, "required": ["b"] });
        let ways = json!([object("a"), untyped]);
        for key in ["anyOf", "oneOf"] {
            let either = json!({ "type": ["object", "null"], "additionalProperties": true, key: ways });
            assert_eq!(unheld(&either), None);
            assert_eq!(of_answer(&either), (json!({ "anyOf": [closed("a"), closed("b")] }), false));
        }
        let one = json!({ "type": "object", "$ref": "#/$defs/a", "$defs": { "a": object("a") } });
        assert_eq!(unheld(&one), None);
        assert_eq!(of_answer(&one).0, json!({ "$ref": "#/$defs/a", "$defs": { "a": closed("a") } }));
    }

    #[test]
    fn what_no_schema_of_claudes_has_is_told_in_words_or_says_nothing() {
        let pet = |kind: &str| {
            let properties = json!({ "kind": { "const": kind, "type": "string" } });
            json!({
                "type": "object", "properties": properties, "required": ["kind"], "additionalProperties": false,
            })
        };
        let parts = json!([{ "$ref": "#/$defs/Cat" }, { "$ref": "#/$defs/Dog" }]);
        let mapping = json!({ "cat": "#/$defs/Cat", "dog": "#/$defs/Dog" });
        let with = |field: Value| {
            json!({
                "type": "object", "properties": { "pet": field }, "additionalProperties": false,
                "$defs": { "Cat": pet("cat"), "Dog": pet("dog") },
            })
        };
        let choice = with(json!({
            "oneOf": parts, "title": "Pet", "discriminator": { "propertyName": "kind", "mapping": mapping },
        }));
        assert_eq!(of_answer(&choice), (with(json!({ "title": "Pet", "anyOf": parts })), false));
        let shown = with(json!({ "type": "string", "default": "a", "examples": ["b"], "x-order": 1 }));
        let told = json!({ "type": "string", "default": "a", "description": "(examples: [\"b\"], x-order: 1)" });
        assert_eq!(of_answer(&shown), (with(told), true));
    }

    #[test]
    fn a_tuple_is_told_in_words() {
        let pair = json!([{ "type": "number" }, { "type": "string" }]);
        for (items, told) in [(json!(false), "false"), (json!({ "type": "null" }), r#"{"type":"null"}"#)] {
            let schema = json!({ "type": "array", "prefixItems": pair, "items": items, "minItems": 1 });
            let description = format!("(prefixItems: {pair}, items: {told})");
            let expected = json!({ "type": "array", "minItems": 1, "description": description });
            assert_eq!(unheld(&schema), None);
            assert_eq!(of_answer(&schema), (expected, true));
        }
    }

    #[test]
    fn a_reference_with_a_description_is_no_choice() {
        let inner = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let with = |field: Value| {
            json!({
                "type": "object", "properties": { "a": field }, "$defs": { "in": inner },
                "additionalProperties": false,
            })
        };
        let described = with(json!({ "allOf": [{ "$ref": "#/$defs/in" }], "description": "One." }));
        assert_eq!(unheld(&described), None);
        let plain = with(json!({ "description": "One.", "$ref": "#/$defs/in" }));
        assert_eq!(of_answer(&described), (plain, false));
        let twice = with(json!({ "allOf": [{ "description": "Other." }], "description": "One." }));
        assert_eq!(of_answer(&twice), (twice.clone(), false));
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
