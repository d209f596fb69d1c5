//! What only one dialect knows, or is newer than this gateway: it goes to backends of that dialect, and nowhere else.

use serde_json::{Value, json};

use super::tests::{OPENAI_STREAM, answer, decode_in, encoded, gist, meta, openai, reencode};
use super::*;
use crate::protocol::{ErrorKind, FinishReason, Part, StreamEvent, ToolCallDelta};

#[test]
fn what_only_openai_knows_goes_to_openai_and_nowhere_else() {
    let with = |fields: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "x" }] });
        json::extend(&mut body, fields);
        openai(body)
    };
    let call = json!({ "id": "a", "type": "custom", "custom": { "name": "sh", "input": "ls" } });
    for (fields, obstacle_to_others) in [
        (json!({ "tools": [{ "type": "custom", "custom": { "name": "sh" } }] }), "tools (custom)"),
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
    }
    let native = json!({ "messages": [{ "role": "user", "content": "x" }], "tool_choice": { "type": "new" } });
    let refused = decode_request(Dialect::Native, native.to_string().as_bytes()).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("tool_choice"), "nobody else reads our dialect");
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
fn tools_that_a_search_found_are_told_in_words_where_nobody_searches() {
    let tool = |name: &str| json!({ "name": name, "input_schema": { "type": "object" } });
    let mut deferred = tool("mcp__b");
    deferred["defer_loading"] = json!(true);
    let found = json!([{ "type": "tool_reference", "tool_name": "mcp__a" }, { "type": "tool_reference", "tool_name": "mcp__b" }]);
    let body = json!({ "max_tokens": 9, "tools": [tool("ToolSearch"), tool("mcp__a"), deferred], "messages": [
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "ToolSearch", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": found }] },
    ] });
    let request = decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
    for backend in [Dialect::OpenAi, Dialect::Ollama] {
        assert_eq!(obstacle(Dialect::Anthropic, backend, &request), None);
        let (body, dropped) = encoded(backend, &request);
        let last = body["messages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["content"], "mcp__a can be called now.\nmcp__b can be called now.", "{body}");
        assert_eq!(body["tools"][2]["function"]["name"], "mcp__b");
        assert_eq!(dropped, ["tools[2].defer_loading"]);
    }
}

#[test]
fn fields_that_nobody_knows_are_named_wherever_they_stand() {
    let body = json!({
        "max_tokens": 50, "thinking": { "type": "adaptive", "display": "omitted" },
        "tools": [{ "type": "custom", "name": "f", "input_schema": {}, "input_examples": [{}], "odd": [] }],
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "x", "shade": 1 }], "odd": true }],
    });
    let request = decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
    for backend in [Dialect::OpenAi, Dialect::Ollama] {
        let told = encoded(backend, &request).1;
        let mut lost =
            ["tools[0].input_examples", "messages[0].content[0].shade", "messages[0].odd", "thinking.display"];
        lost.sort_unstable();
        let mut named: Vec<&str> = told.iter().map(String::as_str).collect();
        named.sort_unstable();
        assert_eq!(named, lost, "{backend:?}");
    }
    let call = json!({ "id": "a", "type": "function", "index": 0, "function": { "name": "f", "arguments": "{}" } });
    let request = openai(json!({
        "tools": [{ "type": "function", "function": { "name": "f" }, "shade": 1 }],
        "messages": [
            { "role": "assistant", "tool_calls": [call], "annotations": [], "reasoning_details": [{}] },
            { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "https://x/y", "odd": 1 } }] },
        ],
    }));
    let lost = ["tools[0].shade", "messages[0].reasoning_details", "messages[1].content[0].image_url.odd"];
    assert_eq!(encoded(Dialect::Anthropic, &request).1, lost);
    let older = json!({ "name": "f", "arguments": "{}", "odd": 1 });
    let thought = |more: Value| json!({ "role": "assistant", "reasoning_content": "hm", "reasoning": more, "function_call": older });
    for (more, lost) in [
        (json!({ "text": "hm" }), &["messages[0].function_call.odd", "messages[0].reasoning"][..]),
        (json!("hm"), &["messages[0].function_call.odd"]),
    ] {
        let request = openai(json!({ "messages": [thought(more), { "role": "user", "content": "x" }] }));
        assert_eq!(encoded(Dialect::Ollama, &request).1, lost);
    }
}

#[test]
fn our_own_dialect_is_strict_inside_too() {
    let turns = json!([{ "role": "user", "content": "x" }]);
    let format = json!({ "type": "json_schema", "json_schema": { "schema": {}, "odd": 1 } });
    for (body, field) in [
        (json!({ "messages": [{ "role": "user", "content": "x", "odd": 1 }] }), "messages[0].odd"),
        (json!({ "messages": turns, "tools": [{ "function": { "name": "f", "odd": 1 } }] }), "tools[0].function.odd"),
        (json!({ "messages": turns, "response_format": format }), "response_format.json_schema.odd"),
    ] {
        let refused = decode_request(Dialect::Native, body.to_string().as_bytes()).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(field));
    }
    let answer = answer(
        vec![
            Part::Thinking { text: "hm".into(), signature: None },
            Part::ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into() },
        ],
        FinishReason::ToolCalls,
    );
    let said: Value = serde_json::from_slice(&encode_response(Dialect::Native, &answer, &meta())).unwrap();
    let body = json!({ "messages": [said["message"]] });
    assert!(decode_request(Dialect::Native, body.to_string().as_bytes()).is_ok(), "what it says itself goes back");
    let result = json!({ "role": "tool", "tool_call_id": "a", "name": "f", "content": "1" });
    let body = json!({ "messages": [said["message"], result] });
    assert!(decode_request(Dialect::Native, body.to_string().as_bytes()).is_ok(), "a tool may say its name");
}

#[test]
fn a_cache_marker_of_a_turn_or_a_tool_goes_to_claude() {
    let marker = json!({ "type": "ephemeral" });
    let texts = json!([{ "type": "text", "text": "x" }, { "type": "text", "text": "y" }]);
    let call = json!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let request = openai(json!({
        "tools": [
            { "type": "function", "function": { "name": "f" }, "cache_control": marker },
            { "type": "function", "function": { "name": "g", "cache_control": marker } },
        ],
        "messages": [
            { "role": "system", "content": "Be brief.", "cache_control": marker },
            { "role": "user", "content": texts, "cache_control": marker },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "a", "content": "z", "cache_control": marker },
        ],
    }));
    let (body, dropped) = encoded(Dialect::Anthropic, &request);
    assert_eq!(dropped, Vec::<String>::new());
    for place in ["/tools/0", "/tools/1", "/system/0", "/messages/0/content/1", "/messages/2/content/0"] {
        assert_eq!(body.pointer(&format!("{place}/cache_control")), Some(&marker), "{place}: {body}");
    }
    assert_eq!(body.pointer("/messages/0/content/0/cache_control"), None);
}

#[test]
fn what_was_said_aloud_is_known_to_its_vendor_only() {
    let turn = json!({ "role": "assistant", "audio": { "id": "audio_1" } });
    let request = openai(json!({ "messages": [{ "role": "user", "content": "x" }, turn] }));
    assert_eq!(obstacle(Dialect::OpenAi, Dialect::OpenAi, &request), None);
    for backend in [Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(obstacle(Dialect::OpenAi, backend, &request).as_deref(), Some("messages[1].content[0] (audio)"));
    }
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
    let mut decoder = StreamDecoder::new(Dialect::OpenAi).lenient();
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

#[test]
fn the_least_probability_of_a_token_goes_to_ollama_which_knows_it() {
    let with = |least: Value| openai(json!({ "messages": [{ "role": "user", "content": "x" }], "min_p": least }));
    let request = with(json!(0.05));
    assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &request), None);
    let (body, dropped) = encoded(Dialect::Ollama, &request);
    assert_eq!((&body["options"]["min_p"], dropped.len()), (&json!(0.05), 0));
    for (backend, least) in [(Dialect::Anthropic, json!(0.05)), (Dialect::Ollama, json!("little"))] {
        assert_eq!(obstacle(Dialect::OpenAi, backend, &with(least)).as_deref(), Some("min_p"));
    }
}

#[test]
fn claude_hears_of_which_type_a_picture_is_whatever_its_client_said() {
    for (data, media_type) in [
        ("iVBORw0KGgoAAAA", "image/png"),
        ("/9j/4AAQ", "image/jpeg"),
        ("R0lGODlh", "image/gif"),
        ("UklGRiQA", "image/webp"),
        ("AAAA", "image/bmp"),
    ] {
        let picture = json!({ "type": "image_url", "image_url": { "url": format!("data:image/bmp;base64,{data}") } });
        let request = openai(json!({ "messages": [{ "role": "user", "content": [picture] }] }));
        let (body, _) = encoded(Dialect::Anthropic, &request);
        let source = &body["messages"][0]["content"][0]["source"];
        assert_eq!((&source["media_type"], &source["data"]), (&json!(media_type), &json!(data)));
    }
}

#[test]
fn an_instruction_behind_an_answer_is_what_claude_is_asked() {
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let said = [turn("system", "Be brief."), turn("user", "x"), turn("assistant", "y"), turn("system", "Sum up.")];
    let request = openai(json!({ "messages": said }));
    assert!(!request.is_prefilled());
    let (body, dropped) = encoded(Dialect::Anthropic, &request);
    assert_eq!(body["system"], json!([{ "type": "text", "text": "Be brief." }]));
    assert_eq!(body["messages"], json!([turn("user", "x"), turn("assistant", "y"), turn("user", "Sum up.")]));
    assert_eq!(dropped, Vec::<String>::new());
    // Behind a question they stay apart from it.
    let (body, _) = encoded(Dialect::Anthropic, &openai(json!({ "messages": [said[1], said[3]] })));
    assert_eq!((&body["messages"], &body["system"][0]["text"]), (&json!([said[1]]), &json!("Sum up.")));
    // Of an answer that is whole, too.
    let input = json!({ "model": "m", "input": [said[1], said[2], turn("developer", "Sum up.")] });
    let whole = decode_request(Dialect::Responses, input.to_string().as_bytes()).unwrap();
    let (body, _) = encoded(Dialect::Anthropic, &whole);
    assert_eq!(body["messages"], json!([said[1], said[2], turn("user", "Sum up.")]));
}

#[test]
fn claude_hears_of_the_tools_that_were_called_where_the_last_request_has_none() {
    let call = |id: &str, name: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": "{}" } });
    let result = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "cold" });
    let mut said = vec![
        json!({ "role": "user", "content": "x" }),
        json!({ "role": "assistant", "tool_calls": [call("1", "look"), call("2", "hear"), call("3", "look")] }),
        result("1"),
        result("2"),
        result("3"),
    ];
    let (body, dropped) = encoded(Dialect::Anthropic, &openai(json!({ "messages": said })));
    let tools = body["tools"].as_array().unwrap().iter();
    let named: Vec<(&Value, &Value)> = tools.map(|tool| (&tool["name"], &tool["input_schema"]["type"])).collect();
    let object = json!("object");
    assert_eq!(named, [(&json!("hear"), &object), (&json!("look"), &object)]);
    assert_eq!(body["tool_choice"], json!({ "type": "none" }));
    assert_eq!(dropped, Vec::<String>::new());
    said.truncate(1);
    let (body, _) = encoded(Dialect::Anthropic, &openai(json!({ "messages": said })));
    assert_eq!((body.get("tools"), body.get("tool_choice")), (None, None));
}

/// What comes before it stays as it was: the vendor's cache, and the thoughts that are bound to what was said before.
#[test]
fn an_instruction_in_the_midst_of_a_conversation_leaves_its_beginning_as_it_was() {
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let call = json!({ "id": "c", "type": "function", "function": { "name": "look", "arguments": "{}" } });
    let said = [
        turn("system", "Be brief."),
        turn("user", "x"),
        turn("developer", "Always."),
        json!({ "role": "assistant", "tool_calls": [call] }),
        turn("system", "Plan."),
        json!({ "role": "tool", "tool_call_id": "c", "content": "cold" }),
        turn("assistant", "y"),
        turn("developer", "Act."),
        turn("user", "z"),
    ];
    let sent = |turns: usize| {
        let (body, dropped) = encoded(Dialect::Anthropic, &openai(json!({ "messages": said[..turns] })));
        assert_eq!(dropped, Vec::<String>::new());
        let told: Vec<&Value> = body["system"].as_array().unwrap().iter().map(|block| &block["text"]).collect();
        assert_eq!(told, ["Be brief.", "Always."], "{turns}");
        // Where the cache is to end is said of the last turns, and in blocks.
        let without_marks = body["messages"].to_string().replace(r#","cache_control":{"type":"ephemeral"}"#, "");
        let mut turns: Vec<Value> = serde_json::from_str(&without_marks).unwrap();
        for turn in &mut turns {
            if turn["content"].is_string() {
                turn["content"] = json!([{ "type": "text", "text": turn["content"] }]);
            }
        }
        turns
    };
    let whole = sent(9);
    for (turns, kept) in [(3, 1), (6, 3), (9, 5)] {
        assert_eq!(sent(turns), whole[..kept], "{turns}");
    }
    let blocks = |at: usize| -> Vec<&Value> {
        let blocks = whole[at]["content"].as_array().unwrap().iter();
        blocks.map(|block| if block["type"] == "text" { &block["text"] } else { &block["type"] }).collect()
    };
    assert_eq!(
        (blocks(2), blocks(4)),
        (vec![&json!("tool_result"), &json!("Plan.")], vec![&json!("Act."), &json!("z")])
    );
}

#[test]
fn a_blank_instruction_behind_an_answer_asks_for_nothing() {
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let said = [turn("user", "x"), turn("assistant", "y"), turn("system", " \n"), turn("developer", "")];
    assert!(openai(json!({ "messages": said })).is_prefilled());
    assert!(!openai(json!({ "messages": [said[0], said[1], turn("system", "Sum up."), said[3]] })).is_prefilled());
    let input = json!({ "model": "m", "input": [said[0], said[1], said[3]] });
    let whole = decode_request(Dialect::Responses, input.to_string().as_bytes()).unwrap();
    let (body, _) = encoded(Dialect::Anthropic, &whole);
    assert_eq!(body["messages"], json!([said[0], said[1], turn("user", "Go on.")]));
}

#[test]
fn one_choice_is_what_everybody_gives_however_it_is_written() {
    let cannot = [String::from("n")].into();
    for (n, wanted) in [(json!(1), None), (json!(1.0), None), (json!(2), Some("n")), (json!(1.5), Some("n"))] {
        let request = openai(json!({ "model": "m", "messages": [{ "role": "user", "content": "q" }], "n": n }));
        assert_eq!(obstacles::refused_extension(&request, &cannot).as_deref(), wanted, "{n}");
    }
}

#[test]
fn an_empty_error_beside_embeddings_is_none() {
    for empty in ["null", "{}", "\"\"", "0", "false", r#"{"message":null,"code":null}"#, r#"{"message":"","code":0}"#]
    {
        let body = format!(r#"{{"data":[{{"embedding":[1]}}],"error":{empty}}}"#);
        assert!(check_embeddings(body.as_bytes()).is_ok(), "{empty}");
    }
    for error in [r#""no""#, r#"{"message":"","code":401}"#, r#"{"message":"no","code":null}"#] {
        let body = format!(r#"{{"data":[],"error":{error}}}"#);
        assert!(check_embeddings(body.as_bytes()).is_err(), "{error}");
    }
}

/// What a client of Messages is told of a thought of another vendor's, and then one of Claude's: the blocks.
fn thoughts_told(dialect: Dialect, streamed: bool) -> Vec<Value> {
    let texts = ["hm", "ha"].map(str::to_owned);
    let signed = Part::Thinking { text: texts[1].clone(), signature: Some("c2ln".into()) };
    let unsigned = Part::Thinking { text: texts[0].clone(), signature: None };
    if !streamed {
        let response = answer(vec![unsigned, Part::text("a"), signed], FinishReason::Stop);
        let body = encode_response(dialect, &response, &meta());
        return serde_json::from_slice::<Value>(&body).unwrap()["content"].as_array().unwrap().clone();
    }
    let [first, second] = texts.map(StreamEvent::Thinking);
    let finish = StreamEvent::Finish { reason: FinishReason::Stop, stop_sequence: None };
    let sign = StreamEvent::ThinkingSignature("c2ln".into());
    let out = reencode(dialect, &[first, StreamEvent::Text("a".into()), second, sign, finish]);
    let mut blocks: Vec<Value> = Vec::new();
    for data in std::str::from_utf8(&out).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        if event["type"] == "content_block_start" {
            blocks.push(event["content_block"].clone());
        }
        for field in ["thinking", "text", "signature"] {
            if let (Some(more), Some(block)) = (event["delta"][field].as_str(), blocks.last_mut()) {
                block[field] = json!(block[field].as_str().unwrap().to_owned() + more);
            }
        }
    }
    blocks
}

#[test]
fn a_thought_that_no_vendor_signed_is_told_with_a_mark_that_signs_nothing_when_it_comes_back() {
    let quirks = crate::config::Quirks::default();
    for streamed in [false, true] {
        let mut told = thoughts_told(Dialect::Anthropic, streamed);
        let signatures: Vec<&str> = told.iter().filter_map(|block| block["signature"].as_str()).collect();
        assert_eq!(signatures, ["pointsman-unsigned", "c2ln"], "streamed: {streamed}");
        told.push(json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} }));
        let body = json!({ "model": "m", "max_tokens": 9, "messages": [
            { "role": "user", "content": "1+1?" }, { "role": "assistant", "content": told },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": "2" }] },
        ] });
        let bytes = body.to_string();
        let request = decode_request(Dialect::Anthropic, bytes.as_bytes()).unwrap();
        let unsigned = Part::Thinking { text: "hm".into(), signature: None };
        assert_eq!(request.messages[1].parts[0], unsigned);
        let claude = Target::new(Dialect::Anthropic, &quirks, "m");
        let sent = pass_request(&claude, &request, bytes.as_bytes()).unwrap();
        for sent in [sent, encode_request(&claude, &request).unwrap()] {
            let body: Value = serde_json::from_slice(&sent.body).unwrap();
            assert_eq!(body["messages"][1]["content"].as_array().unwrap()[..], told[1..]);
            assert_eq!(sent.dropped, ["messages[1].thinking"]);
        }
        let thinks = crate::config::Quirks { reasoning_content: true, ..crate::config::Quirks::default() };
        let sent = encode_request(&Target::new(Dialect::OpenAi, &thinks, "m"), &request).unwrap();
        let sent: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(sent["messages"][1]["reasoning_content"], "hmha");
    }
    // Where a vendor is a Pointsman itself.
    let stream =
        b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":\
        {\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"pointsman-unsigned\"}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":\
        {\"type\":\"signature_delta\",\"signature\":\"pointsman-unsigned\"}}\n\n";
    let heard = decode_in(Dialect::Anthropic, &[stream]);
    assert_eq!(heard[0], StreamEvent::Thinking("hm".into()));
    assert!(!heard.iter().any(|event| matches!(event, StreamEvent::ThinkingSignature(_))), "{heard:?}");
}
