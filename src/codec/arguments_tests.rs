//! Calls: arguments that stay as they were written, and ids and texts that any vendor takes back.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::tests::{answer, decode_in, meta, reencode, target};
use super::*;
use crate::config::Quirks;
use crate::protocol::{StreamEvent, ToolCallDelta};

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
        ("{\"x\": \"\\ud83d\"}", json!({ "x": "\u{fffd}" })),
        ("{\"x\": \"\\ud83d\"", json!({ "arguments": "{\"x\": \"\\ud83d\"" })),
        ("{}, \"model\": \"other\"", json!({ "arguments": "{}, \"model\": \"other\"" })),
    ] {
        let sent: Value = serde_json::from_str(&body(Dialect::Anthropic, &called(arguments))).unwrap();
        assert_eq!(sent["messages"][1]["content"][0]["input"], input, "{arguments}");
        let sent: Value = serde_json::from_str(&body(Dialect::Ollama, &called(arguments))).unwrap();
        assert_eq!(sent["messages"][1]["tool_calls"][0]["function"]["arguments"], input, "{arguments}");
    }
}

#[test]
fn a_client_of_messages_gets_the_same_arguments_in_a_stream_as_whole() {
    for (arguments, told) in [
        (
            r#" {"a": "\ud83d\ude00 \ud83d", "b": ["\\ud83d", "\u00e9"]}"#,
            r#" {"a": "\ud83d\ude00 \ufffd", "b": ["\\ud83d", "\u00e9"]}"#,
        ),
        (EXACT, EXACT),
        ("{ }", "{ }"),
        (" null ", "{}"),
        ("5", r#"{"value":5}"#),
        (r#"["\ud83d"]"#, r#"{"value":["\ufffd"]}"#),
        ("{'a': 1}", r#"{"arguments":"{'a': 1}"}"#),
        ("none", r#"{"arguments":"none"}"#),
    ] {
        let call = Part::ToolCall { id: "a".into(), name: "f".into(), arguments: arguments.into() };
        let whole = answer(vec![call], FinishReason::ToolCalls);
        let whole: Value = serde_json::from_slice(&encode_response(Dialect::Anthropic, &whole, &meta())).unwrap();
        // In pieces of every length.
        for length in 1..=arguments.len() {
            let piece = |index: usize, start: bool, arguments: &str| {
                let start = start.then(|| (index.to_string(), "f".to_owned()));
                StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: arguments.into() })
            };
            let mut events = vec![piece(0, true, "")];
            let pieces = arguments.as_bytes().chunks(length).map(|bytes| std::str::from_utf8(bytes).unwrap());
            events.extend(pieces.map(|arguments| piece(0, false, arguments)));
            events.push(piece(1, true, r#"{"b": 2}"#));
            events.push(StreamEvent::Finish { reason: FinishReason::ToolCalls, stop_sequence: None });
            let out = reencode(Dialect::Anthropic, &events);
            let mut streamed = [String::new(), String::new()];
            for data in std::str::from_utf8(&out).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
                let event: Value = serde_json::from_str(data).unwrap();
                if let Some(piece) = event["delta"]["partial_json"].as_str() {
                    streamed[event["index"].as_u64().unwrap() as usize].push_str(piece);
                }
            }
            assert_eq!(streamed, [told, r#"{"b": 2}"#], "{length}");
        }
        assert_eq!(serde_json::from_str::<Value>(told).unwrap(), whole["content"][0]["input"], "{arguments}");
    }
}

#[test]
fn arguments_in_a_stream_are_told_as_they_come_and_counted_where_they_wait() {
    let (mut encoder, mut out) = (StreamEncoder::new(Dialect::Anthropic, meta(), true), BytesMut::new());
    let mut told = |begins: bool, arguments: &str| {
        out.clear();
        let start = begins.then(|| ("a".to_owned(), "f".to_owned()));
        encoder
            .encode(&StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments: arguments.into() }), &mut out);
        (String::from_utf8_lossy(&out).contains("partial_json"), encoder.kept())
    };
    // The sequencer has all of them, up to the call's end.
    assert_eq!(told(true, " {"), (false, 2 + 2));
    assert_eq!(told(false, r#""a": "b\ud8"#), (true, 13 + 4));
    assert_eq!(told(false, "3d c"), (false, 17 + 8), "its other half may come");
    assert_eq!(told(false, "ut, and more"), (true, 29));
}

/// What a client of Messages gets of an OpenAI-dialect answer, whole and streamed: for each block its type and its
/// text or id.
fn told(message: &Value) -> [Vec<(String, String)>; 2] {
    let whole = json!({ "choices": [{ "message": message, "finish_reason": "stop" }] });
    let whole = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
    let whole: Value = serde_json::from_slice(&encode_response(Dialect::Anthropic, &whole, &meta())).unwrap();
    let word = |block: &Value| ["text", "id"].iter().find_map(|key| block[*key].as_str()).unwrap_or("").to_owned();
    let kind = |block: &Value| block["type"].as_str().unwrap().to_owned();
    let whole = whole["content"].as_array().unwrap().iter().map(|block| (kind(block), word(block))).collect();

    let mut pieces = vec![json!({ "reasoning_content": message["reasoning_content"] })];
    // Letter by letter.
    let letters = message["content"].as_str().unwrap_or_default().chars();
    pieces.extend(letters.map(|letter| json!({ "content": letter.to_string() })));
    pieces.push(json!({ "tool_calls": message["tool_calls"] }));
    let mut stream: String =
        pieces.iter().map(|delta| format!("data: {}\n\n", json!({ "choices": [{ "delta": delta }] }))).collect();
    stream.push_str("data: [DONE]\n\n");
    let out = reencode(Dialect::Anthropic, &decode_in(Dialect::OpenAi, &[stream.as_bytes()]));
    let mut streamed: Vec<(String, String)> = Vec::new();
    for data in std::str::from_utf8(&out).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        if event["type"] == "content_block_start" {
            streamed.push((kind(&event["content_block"]), word(&event["content_block"])));
        } else if let Some(text) = event["delta"]["text"].as_str() {
            streamed.last_mut().unwrap().1.push_str(text);
        }
    }
    [whole, streamed]
}

#[test]
fn a_client_of_messages_gets_nothing_that_claude_would_refuse_to_get_back() {
    let call = |id: &str| json!({ "id": id, "function": { "name": "f", "arguments": "{}" } });
    let calls = |ids: &[&str]| {
        let index = |(index, id): (usize, &&str)| {
            let mut call = call(id);
            call["index"] = json!(index);
            call
        };
        ids.iter().enumerate().map(index).collect::<Vec<Value>>()
    };
    let block = |kind: &str, word: &str| (kind.to_owned(), word.to_owned());
    for (message, blocks) in [
        (
            json!({ "content": "\n\n", "tool_calls": calls(&["functions.look_up:0", "call_9vDAbC"]) }),
            vec![block("tool_use", "functions.look_up:0"), block("tool_use", "call_9vDAbC")],
        ),
        (
            json!({ "reasoning_content": "hm", "content": "\n\nSo.\n", "tool_calls": calls(&["call_0", "call_1"]) }),
            vec![
                block("thinking", ""),
                block("text", "\n\nSo.\n"),
                block("tool_use", "call_0"),
                block("tool_use", "call_1"),
            ],
        ),
        (json!({ "reasoning_content": "hm", "content": " \n" }), vec![block("thinking", "")]),
        (json!({ "content": "\n" }), vec![block("text", "\n")]),
        // An empty refusal is none.
        (json!({ "content": "Hi", "refusal": "" }), vec![block("text", "Hi")]),
    ] {
        assert_eq!(told(&message), [blocks.clone(), blocks], "{message}");
    }
}

#[test]
fn an_empty_refusal_is_none_to_any_client() {
    let whole = json!({ "choices": [{ "message": { "content": "Hi", "refusal": "" }, "finish_reason": "stop" }] });
    let answer = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
    assert_eq!((answer.parts.as_slice(), answer.finish_reason), (&[Part::text("Hi")][..], FinishReason::Stop));
    let native: Value = serde_json::from_slice(&encode_response(Dialect::Native, &answer, &meta())).unwrap();
    assert_eq!(native["message"]["refusal"], Value::Null);
}

#[test]
fn a_conversation_that_began_elsewhere_goes_on_with_claude() {
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "f", "input": {} });
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "r" });
    let text = |text: &str| json!({ "type": "text", "text": text });
    let turn = |role: &str, content: Value| json!({ "role": role, "content": content });
    let messages = json!([
        turn("user", json!("q")),
        turn("assistant", json!([text("\n\n"), call("functions.f:0")])),
        turn("user", json!([result("functions.f:0")])),
        turn("assistant", json!([text("So."), text(""), call("call_0")])),
        turn("user", json!([result("call_0"), text("")])),
        turn("assistant", json!([call("call_0")])),
        turn("user", json!([result("call_0")])),
        turn("assistant", json!("\n")),
        turn("user", json!("q")),
    ]);
    let quirks = Quirks::default();
    let pass = |messages: &Value| {
        let body = json!({ "model": "m", "max_tokens": 9, "messages": messages }).to_string();
        let request = decode_request(Dialect::Anthropic, body.as_bytes()).unwrap();
        let passed = pass_request(&target(Dialect::Anthropic, &quirks), &request, body.as_bytes()).unwrap();
        assert_eq!(passed.dropped, Vec::<String>::new());
        serde_json::from_slice::<Value>(&passed.body).unwrap()["messages"].clone()
    };
    let sent = json!([
        turn("user", json!("q")),
        turn("assistant", json!([call("functions_f_0")])),
        turn("user", json!([result("functions_f_0")])),
        turn("assistant", json!([text("So."), call("call_0")])),
        turn("user", json!([result("call_0"), text("")])),
        turn("assistant", json!([call("call_0_2")])),
        turn("user", json!([result("call_0_2")])),
        turn("user", json!("q")),
    ]);
    assert_eq!(pass(&messages), sent);
    // Claude's own conversations pass as they are, and so does the beginning of an answer.
    let request = |messages: &Value| {
        let body = json!({ "model": "m", "max_tokens": 9, "messages": messages }).to_string();
        decode_request(Dialect::Anthropic, body.as_bytes()).unwrap()
    };
    let takes =
        |messages: Value| anthropic_messages::adapt::takes(&target(Dialect::Anthropic, &quirks), &request(&messages));
    let own = [
        turn("assistant", json!([text("\n\n"), text("So."), call("toolu_1")])),
        turn("user", json!([result("toolu_1")])),
    ];
    assert!(takes(json!([turn("user", json!("q")), own[0], own[1], turn("assistant", json!(" "))])));
    assert!(!takes(messages));
}

#[test]
fn a_call_without_arguments_has_an_object_in_every_stream() {
    let events = |reason: &str| {
        let call = json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "" } });
        let other = json!({ "index": 1, "id": "b", "function": { "name": "f", "arguments": "{\"x\": 1}" } });
        let pieces = [
            json!({ "choices": [{ "delta": { "tool_calls": [call, other] } }] }),
            json!({ "choices": [{ "delta": {}, "finish_reason": reason }] }),
        ];
        let stream: String = pieces.iter().map(|piece| format!("data: {piece}\n\n")).collect();
        decode_in(Dialect::OpenAi, &[stream.as_bytes(), b"data: [DONE]\n\n"])
    };
    let arguments = |events: &[StreamEvent], of: usize| -> String {
        let calls = events.iter().filter_map(|event| match event {
            StreamEvent::ToolCall(call) if call.index == of => Some(call.arguments.as_str()),
            _ => None,
        });
        calls.collect()
    };
    let ended = events("tool_calls");
    assert_eq!((arguments(&ended, 0).as_str(), arguments(&ended, 1).as_str()), ("{}", "{\"x\": 1}"));
    let out = reencode(Dialect::Native, &ended);
    assert!(std::str::from_utf8(&out).unwrap().contains(r#""arguments":"{}""#), "{out:?}");
    // Of a call that was cut off nobody knows what was to come.
    assert_eq!(arguments(&events("length"), 0), "");
    let call = |name: &str| json!({ "id": name, "function": { "name": name, "arguments": "" } });
    for (reason, last) in [("length", ""), ("tool_calls", "{}")] {
        let message = json!({ "tool_calls": [call("f"), call("g")] });
        let whole = json!({ "choices": [{ "message": message, "finish_reason": reason }] });
        let whole = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
        let told: Value = serde_json::from_slice(&encode_response(Dialect::Native, &whole, &meta())).unwrap();
        let calls = &told["message"]["tool_calls"];
        let arguments = [&calls[0], &calls[1]].map(|call| &call["function"]["arguments"]);
        assert_eq!(arguments, [&json!("{}"), &json!(last)], "{reason}");
    }
}
