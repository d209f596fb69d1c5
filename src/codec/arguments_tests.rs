//! Calls: arguments that stay as they were written, and ids and texts that any vendor takes back.

use serde_json::{Value, json};

use super::tests::{decode_in, meta, target};
use super::*;
use crate::config::Quirks;
use crate::protocol::StreamEvent;

/// An object that changes where it is parsed.
const EXACT: &str = r#"{"id":123456789012345678901234567890,"x":[0.12345678901234567890]}"#;

fn body(dialect: Dialect, request: &ChatRequest) -> String {
    let quirks = Quirks::default();
    let encoded = encode_request(&target(dialect, &quirks), request).unwrap();
    String::from_utf8(encoded.body.to_vec()).unwrap()
}

/// A conversation with one call, in OpenAI's dialect.
fn called(arguments: &str) -> ChatRequest {
    let call = json!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": arguments } });
    let messages = json!([
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "a", "content": "r" },
    ]);
    decode_request(Dialect::OpenAi, json!({ "model": "m", "messages": messages }).to_string().as_bytes()).unwrap()
}

#[test]
fn numbers_among_arguments_stay_as_they_are_whoever_asks_whom() {
    let request = called(EXACT);
    for dialect in [Dialect::Anthropic, Dialect::Ollama] {
        assert!(body(dialect, &request).contains(EXACT), "{dialect:?}");
    }
    // And a client of Messages, with instructions apart.
    let messages = r#"[{"role":"user","content":"q"},
        {"role":"assistant","content":[{"type":"text","text":"So."},{"type":"tool_use","id":"a","name":"f","input":INPUT}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"r"}]}]"#;
    let sent =
        format!(r#"{{"model":"m","max_tokens":9,"system":"s","messages":{messages}}}"#).replace("INPUT", EXACT);
    let request = decode_request(Dialect::Anthropic, sent.as_bytes()).unwrap();
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let sent = body(dialect, &request);
        assert!(sent.contains(EXACT) || sent.contains(&Value::from(EXACT).to_string()), "{sent}");
    }
}

#[test]
fn numbers_among_arguments_stay_as_they_are_whoever_answers_whom() {
    // The last one is no number to any parser, and the answer is good and paid for.
    for arguments in [EXACT, r#"{"n":1e400}"#] {
        let text = Value::from(arguments).to_string();
        let whole = [
            (
                Dialect::OpenAi,
                r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":TEXT}}]}}]}"#,
            ),
            (
                Dialect::OpenAi,
                r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":INPUT}}]}}]}"#,
            ),
            (
                Dialect::Anthropic,
                r#"{"content":[{"type":"text","text":"So."},{"type":"tool_use","id":"a","name":"f","input":INPUT}]}"#,
            ),
            (
                Dialect::Ollama,
                r#"{"message":{"tool_calls":[{"function":{"name":"f","arguments":INPUT}}]},"done":true}"#,
            ),
        ];
        for (dialect, answer) in whole {
            let answer = answer.replace("TEXT", &text).replace("INPUT", arguments);
            let answer = decode_response(dialect, answer.as_bytes()).unwrap();
            let Some(Part::ToolCall { arguments: said, .. }) = answer.parts.last() else { panic!("{answer:?}") };
            assert_eq!(said, arguments, "{dialect:?}");
            let told = encode_response(Dialect::Anthropic, &answer, &meta());
            let told = std::str::from_utf8(&told).unwrap();
            // What not every reader takes stays a text.
            assert!(told.contains(arguments) == (arguments == EXACT), "{told}");
            assert!(serde_json::from_str::<Value>(told).unwrap()["content"][0].is_object(), "{told}");
        }
        let line = format!(
            r#"{{"message":{{"tool_calls":[{{"function":{{"name":"f","arguments":{arguments}}}}}]}},"done":true}}"#
        );
        let events = decode_in(Dialect::Ollama, &[line.as_bytes(), b"\n"]);
        let is_call =
            |event: &StreamEvent| matches!(event, StreamEvent::ToolCall(call) if call.arguments == arguments);
        assert!(events.iter().any(is_call), "{events:?}");
    }
}

#[test]
fn arguments_that_are_no_object_become_one() {
    for (arguments, input) in [
        (" {\"x\": 1}\n", json!({ "x": 1 })),
        ("", json!({})),
        (" null ", json!({})),
        ("[1]", json!({ "value": [1] })),
        ("\"x\"", json!({ "value": "x" })),
        ("{\"x\": ", json!({ "arguments": "{\"x\": " })),
        ("{\"x\": \"\\ud83d\"}", json!({ "arguments": "{\"x\": \"\\ud83d\"}" })),
        ("{}, \"model\": \"other\"", json!({ "arguments": "{}, \"model\": \"other\"" })),
    ] {
        let sent: Value = serde_json::from_str(&body(Dialect::Anthropic, &called(arguments))).unwrap();
        assert_eq!(sent["messages"][1]["content"][0]["input"], input, "{arguments}");
        let sent: Value = serde_json::from_str(&body(Dialect::Ollama, &called(arguments))).unwrap();
        assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["arguments"], input, "{arguments}");
    }
}
