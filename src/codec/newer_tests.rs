//! What only one dialect knows, or is newer than this gateway: it goes to backends of that dialect, and nowhere else.

use serde_json::{Value, json};

use super::tests::{OPENAI_STREAM, decode_in, encoded, gist, openai};
use super::*;
use crate::protocol::{ErrorKind, Part, StreamEvent, ToolCallDelta};

#[test]
fn what_only_openai_knows_goes_to_openai_and_nowhere_else() {
    let with = |fields: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "x" }] });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        openai(body)
    };
    let call = json!({ "id": "a", "type": "custom", "custom": { "name": "sh", "input": "ls" } });
    for (fields, obstacle_to_others) in [
        (json!({ "tools": [{ "type": "custom", "custom": { "name": "sh" } }] }), "tools"),
        (json!({ "tool_choice": { "type": "allowed_tools", "allowed_tools": { "mode": "auto" } } }), "tool_choice"),
        (json!({ "reasoning_effort": "herculean" }), "reasoning_effort"),
        (json!({ "response_format": { "type": "grammar", "grammar": "x" } }), "response_format"),
        (json!({ "messages": [{ "role": "assistant", "tool_calls": [call] }] }), "messages[0].content[0] (custom)"),
        (json!({ "functions": [{ "name": "f" }] }), "functions"),
    ] {
        let request = with(fields);
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::OpenAi, &request), None);
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Anthropic, &request).as_deref(), Some(obstacle_to_others));
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &request).as_deref(), Some(obstacle_to_others));
        let native = json!({ "messages": [{ "role": "user", "content": "x" }], "tool_choice": { "type": "new" } });
        let refused = decode_request(Dialect::Native, native.to_string().as_bytes()).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("tool_choice"), "nobody else reads our dialect");
    }
    let tools = with(json!({ "tools": [
        { "type": "function", "function": { "name": "f" } }, { "type": "custom", "custom": { "name": "sh" } },
    ] }));
    assert_eq!((tools.tools.len(), tools.needs().tools), (1, true));
}

#[test]
fn what_is_newer_than_this_gateway_goes_to_anthropic_and_nowhere_else() {
    for (field, value) in [
        ("thinking", json!({ "type": "telepathic" })),
        ("tool_choice", json!({ "type": "allowed" })),
        ("output_config", json!({ "effort": "herculean" })),
    ] {
        let mut body = json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }] });
        body[field] = value;
        let request = decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
        assert_eq!(obstacle(Dialect::Anthropic, Dialect::Anthropic, &request), None);
        assert_eq!(obstacle(Dialect::Anthropic, Dialect::OpenAi, &request).as_deref(), Some(field));
    }
}

#[test]
fn what_is_lost_is_told() {
    let quirks = crate::config::Quirks::default();
    let told = |dialect, body: Value| {
        let request = decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
        let target = Target { max_output_tokens: Some(10), ..Target::new(dialect, &quirks, "m") };
        encode_request(&target, &request).unwrap().dropped
    };
    let marker = json!({ "type": "ephemeral" });
    let body = json!({
        "max_tokens": 50, "thinking": { "type": "adaptive" },
        "tools": [{ "name": "f", "input_schema": {}, "cache_control": marker }],
        "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "x", "cache_control": marker }] },
            { "role": "assistant", "content": [
                { "type": "redacted_thinking", "data": "?" }, { "type": "tool_use", "id": "a", "name": "f", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "a", "content": "y", "cache_control": marker },
            ] },
        ],
    });
    let both = [
        "tools[].cache_control",
        "messages[0].content[0].cache_control",
        "messages[1].redacted_thinking",
        "messages[2].content[0].cache_control",
        "reasoning",
    ];
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let told = told(dialect, body.clone());
        assert!(both.iter().all(|field| told.iter().any(|known| known == field)), "{dialect:?}: {told:?}");
        let cut = told.contains(&"max_tokens (at most 10)".to_owned());
        assert_eq!(cut, dialect == Dialect::OpenAi, "{told:?}");
    }
    let named = openai(json!({ "messages": [{ "role": "user", "name": "ann", "content": [
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA", "detail": "low" } },
    ] }] }));
    assert_eq!(encoded(Dialect::Ollama, &named).1, ["messages[0].name", "messages[0].content[0].image_url.detail"]);
}

#[test]
fn what_is_null_is_not_there() {
    let fields =
        json!({ "messages": [{ "role": "user", "content": "x" }], "logprobs": null, "n": null, "odd": null });
    let request = openai(fields.clone());
    for backend in [Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(obstacle(Dialect::OpenAi, backend, &request), None);
    }
    assert!(decode_request(Dialect::Native, fields.to_string().as_bytes()).is_ok());
}

#[test]
fn functions_as_they_were_before_tools_are_calls_and_results() {
    let request = openai(json!({ "messages": [
        { "role": "user", "content": "Weather?" },
        { "role": "assistant", "content": null, "function_call": { "name": "weather", "arguments": "{}" } },
        { "role": "function", "name": "weather", "content": "rain" },
    ] }));
    let (body, _) = encoded(Dialect::Anthropic, &request);
    assert_eq!(body["messages"][1]["content"][0]["name"], "weather");
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], body["messages"][1]["content"][0]["id"]);
}

#[test]
fn calls_without_ids_get_one_that_comes_in_no_other_answer() {
    let call = json!({ "function": { "name": "f", "arguments": {} } });
    let whole = json!({ "message": { "content": "", "tool_calls": [call, call] }, "done": true }).to_string();
    let ids = |at_ms| {
        let mut answer = decode_response(Dialect::Ollama, whole.as_bytes()).unwrap();
        name_calls(&mut answer, at_ms);
        let mut decoder = StreamDecoder::new(Dialect::Ollama).asked_at(at_ms);
        let mut events = Vec::new();
        decoder.push(format!("{whole}\n").as_bytes(), &mut events);
        let streamed: Vec<String> = events
            .into_iter()
            .filter_map(|event| match event {
                StreamEvent::ToolCall(call) => call.start.map(|(id, _)| id),
                _ => None,
            })
            .collect();
        let named = answer.parts.into_iter().filter_map(|part| match part {
            Part::ToolCall { id, .. } => Some(id),
            _ => None,
        });
        assert_eq!(named.collect::<Vec<_>>(), streamed);
        streamed
    };
    assert_eq!([ids(255), ids(256)].concat(), ["call_ff_0", "call_ff_1", "call_100_0", "call_100_1"]);
}

#[test]
fn an_answer_that_calls_a_custom_tool_is_read() {
    let call = json!({ "id": "a", "type": "custom", "custom": { "name": "sh", "input": "ls" } });
    let message = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    let whole =
        json!({ "id": "c", "model": "m", "choices": [{ "message": message, "finish_reason": "tool_calls" }] });
    let read = decode_response(Dialect::OpenAi, whole.to_string().as_bytes()).unwrap();
    let expected = Part::ToolCall { id: "a".into(), name: "sh".into(), arguments: "ls".into() };
    assert_eq!(read.parts, [expected]);
    let delta = json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "id": "a", "custom": { "name": "sh", "input": "ls" } }] } }] });
    let events = decode_in(Dialect::OpenAi, &[format!("data: {delta}\n\n").as_bytes()]);
    let first = ToolCallDelta { index: 0, start: Some(("a".into(), "sh".into())), arguments: "ls".into() };
    assert!(events.contains(&StreamEvent::ToolCall(first)), "{events:?}");
}

#[test]
fn a_piece_that_cannot_be_read_does_not_end_a_stream_that_passes_beside() {
    let strange = "data: {\"choices\":[{\"delta\":{\"tool_calls\":7}}]}\n\n";
    let parts = "data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"in parts\"}]}}]}\n\n";
    let stream = [parts, strange, OPENAI_STREAM].concat();
    let mut decoder = StreamDecoder::new(Dialect::OpenAi).beside();
    let mut events = Vec::new();
    decoder.push(stream.as_bytes(), &mut events);
    assert!(matches!(events.last(), Some(StreamEvent::Finish { .. })), "{events:?}");
    assert_eq!(gist(&events).text, "in partsh\u{e9}llo");
    let read = gist(&decode_in(Dialect::OpenAi, &[stream.as_bytes()]));
    assert_eq!((read.text.as_str(), read.error), ("in parts", Some(ErrorKind::Upstream)), "to be encoded anew");
}

#[test]
fn a_note_to_the_vendors_billing_is_no_part_of_the_prompt() {
    let turns = json!([{ "role": "user", "content": "x" }]);
    let note = |code: &str| json!({ "type": "text", "text": format!("x-anthropic-billing-header: cch={code};") });
    let brief = json!({ "type": "text", "text": "Be brief." });
    let read = |system: Value| {
        let body = json!({ "model": "m", "max_tokens": 5, "system": system, "messages": turns });
        decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap()
    };
    assert_eq!(read(json!([note("a"), brief])).messages, read(json!([brief])).messages);
    assert_eq!(read(json!([note("b")])).messages.len(), 1);
}
