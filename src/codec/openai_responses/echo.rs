//! The fields of a request that its answer repeats: clients' types require most of them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The type of an item that holds tools.
const KIND: &str = "additional_tools";

/// The repeated fields, as the request has them. Absent ones get OpenAI's default, or null where it depends on the
/// model.
pub(crate) fn of(body: &[u8]) -> Map<String, Value> {
    // Raw values: the conversation may be long and is not parsed.
    let given: HashMap<String, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    let mut echo = Map::new();
    let usual = [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("safety_identifier", Value::Null),
        ("temperature", Value::Null),
        ("text", json!({ "format": { "type": "text" } })),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", Value::Null),
        ("user", Value::Null),
    ];
    for (field, usual) in usual {
        let value = given.get(field).and_then(|raw| serde_json::from_str(raw.get()).ok());
        echo.insert(field.into(), value.filter(|value: &Value| !value.is_null()).unwrap_or(usual));
    }
    let offered = given.get("input").map(|input| tools_among(input.get())).unwrap_or_default();
    if let Some(tools) = echo.get_mut("tools").and_then(Value::as_array_mut) {
        // Tools among the items come first, the latest before all: a search by name takes the first match.
        tools.splice(0..0, offered);
    }
    // The gateway never truncates a prompt.
    echo.insert("truncation".into(), json!("disabled"));
    echo
}

/// The parts of a body that may be among the repeated fields: all but the conversation, unless tools stand in it.
pub(crate) fn parts(body: &[u8]) -> Vec<&[u8]> {
    let given: HashMap<String, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    let repeated = given.iter().filter(|(field, raw)| *field != "input" || raw.get().contains(KIND));
    repeated.map(|(_, raw)| raw.get().as_bytes()).collect()
}

/// The tools among the items of a conversation, the latest first.
fn tools_among(input: &str) -> Vec<Value> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(default, rename = "type", borrow)]
        kind: Option<Cow<'a, str>>,
        #[serde(default, borrow)]
        tools: Option<&'a RawValue>,
    }
    if !input.contains(KIND) {
        return Vec::new();
    }
    let items: Vec<Item<'_>> = serde_json::from_str(input).unwrap_or_default();
    let lists = items.into_iter().rev().filter(|item| item.kind.as_deref() == Some(KIND));
    let offered = lists.filter_map(|item| serde_json::from_str::<Vec<&RawValue>>(item.tools?.get()).ok()).flatten();
    let mut known = HashSet::new();
    let new = offered.filter(|tool| known.insert(tool.get()));
    new.filter_map(|tool| serde_json::from_str(tool.get()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_what_was_asked_for_or_says_what_is_usual() {
        let echo = of(br#"{"input":"q","temperature":0.5,"tools":null,"metadata":{"a":"b"},"truncation":"auto"}"#);
        assert_eq!((&echo["temperature"], &echo["metadata"]), (&json!(0.5), &json!({ "a": "b" })));
        assert_eq!((&echo["tools"], &echo["tool_choice"]), (&json!([]), &json!("auto")), "null says nothing");
        assert_eq!((echo.get("input"), &echo["truncation"]), (None, &json!("disabled")));
        assert_eq!(of(b"no JSON")["parallel_tool_calls"], true);
    }

    #[test]
    fn of_a_long_conversation_an_answer_repeats_the_tools_alone() {
        let body = br#"{"input":["long"],"metadata":{"a":"b"}}"#;
        assert_eq!(parts(body), [br#"{"a":"b"}"#]);
        assert_eq!(parts(br#"{"input":[{"type":"additional_tools","tools":[]}]}"#).len(), 1);
        assert!(parts(b"no JSON").is_empty());
    }
}
