//! What vendors refuse is not sent to them: it is said in another way, left out and named, or stands in the way.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::tests::{decode_in, encoded, gist, openai, passed, target};
use super::*;
use crate::protocol::Compaction;

/// A question with further fields.
fn ask(more: Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }] });
    json::extend(&mut body, more);
    body
}

fn anthropic(body: &Value) -> ChatRequest {
    decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap()
}

fn sent(target: &Target<'_>, request: &ChatRequest) -> (Value, Vec<String>) {
    let encoded = encode_request(target, request).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

fn in_the_way(backend: Dialect, request: &ChatRequest) -> Option<String> {
    obstacle(Dialect::Native, backend, request)
}

#[test]
fn an_answer_is_held_to_what_the_model_can_give_where_the_body_passes_too() {
    let quirks = Quirks::default();
    for (dialect, field) in [
        (Dialect::OpenAi, "max_tokens"),
        (Dialect::OpenAi, "max_completion_tokens"),
        (Dialect::Anthropic, "max_tokens"),
    ] {
        let small = Target { max_output_tokens: Some(16_384), ..target(dialect, &quirks) };
        let (body, dropped) = passed(&small, ask(json!({ field: 32_000 })));
        assert_eq!((&body[field], dropped), (&json!(16_384), vec!["max_tokens (at most 16384)".to_owned()]));
        let (body, dropped) = passed(&small, ask(json!({ field: 16_384 })));
        assert_eq!((&body[field], dropped.len()), (&json!(16_384), 0));
        let unknown = Target { max_output_tokens: None, ..target(dialect, &quirks) };
        assert_eq!(passed(&unknown, ask(json!({ field: 32_000 }))).0[field], 32_000);
    }
    let small = Target { max_output_tokens: Some(8_192), ..target(Dialect::Anthropic, &quirks) };
    let thinking = json!({ "type": "enabled", "budget_tokens": 10_000 });
    let (body, _) = passed(&small, ask(json!({ "max_tokens": 32_000, "thinking": thinking })));
    assert_eq!((&body["max_tokens"], &body["thinking"]["budget_tokens"]), (&json!(8_192), &json!(8_191)));
}

#[test]
fn who_does_not_think_beside_tools_is_told_not_to() {
    let quirks = Quirks::default();
    let refuses = BTreeSet::from([Refusal::ThinkingWithTools, Refusal::MinimalThinking]);
    let gpt = Target { refuses: &refuses, ..target(Dialect::OpenAi, &quirks) };
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    for (asked, lost) in [(Value::Null, false), (json!("none"), false), (json!("high"), true)] {
        let (body, dropped) = passed(&gpt, ask(json!({ "tools": tools, "reasoning_effort": asked })));
        assert_eq!((&body["reasoning_effort"], !dropped.is_empty()), (&json!("none"), lost), "{asked}");
    }
    // The older form of tools counts as well.
    let functions = json!([{ "name": "f", "parameters": { "type": "object" } }]);
    for (asked, lost) in [(Value::Null, false), (json!("none"), false), (json!("high"), true)] {
        let (body, dropped) = passed(&gpt, ask(json!({ "functions": functions, "reasoning_effort": asked })));
        assert_eq!((&body["reasoning_effort"], !dropped.is_empty()), (&json!("none"), lost), "{asked}");
        assert_eq!(body["functions"], functions);
    }
    assert_eq!(passed(&gpt, ask(json!({ "functions": [] }))).0.get("reasoning_effort"), None);
    let (body, dropped) = passed(&gpt, ask(json!({ "tools": [], "reasoning_effort": "minimal" })));
    assert_eq!((&body["reasoning_effort"], dropped.len()), (&json!("low"), 0));
    assert_eq!(passed(&gpt, ask(json!({}))).0.get("reasoning_effort"), None);
    let plain = target(Dialect::OpenAi, &quirks);
    assert_eq!(passed(&plain, ask(json!({ "tools": tools }))).0.get("reasoning_effort"), None);
    // The same for who speaks another dialect.
    let tools = json!([{ "name": "f", "input_schema": { "type": "object" } }]);
    for (thinking, lost) in [(json!({ "type": "adaptive" }), true), (json!({ "type": "disabled" }), false)] {
        let request = anthropic(&ask(json!({ "max_tokens": 50, "tools": tools, "thinking": thinking })));
        let (body, dropped) = sent(&gpt, &request);
        assert_eq!((&body["reasoning_effort"], !dropped.is_empty()), (&json!("none"), lost), "{thinking}");
    }
}

#[test]
fn how_much_to_think_is_not_said_to_who_refuses_it() {
    let (quirks, own_word) = (Quirks::default(), Quirks { thinking: true, ..Quirks::default() });
    let no = BTreeSet::from([Refusal::NoThinking]);
    let off = anthropic(&ask(json!({ "max_tokens": 50, "thinking": { "type": "disabled" } })));
    for quirks in [&quirks, &own_word] {
        let gpt = Target { refuses: &no, ..target(Dialect::OpenAi, quirks) };
        for (body, dropped) in [sent(&gpt, &off), passed(&gpt, ask(json!({ "reasoning_effort": "none" })))] {
            assert_eq!((body.get("reasoning_effort"), body.get("thinking")), (None, None));
            assert_eq!(dropped, ["reasoning"]);
        }
        let (body, dropped) = passed(&gpt, ask(json!({ "reasoning_effort": "low" })));
        assert_eq!((&body["reasoning_effort"], dropped.len()), (&json!("low"), 0));
    }
    let local = Target { refuses: &no, ..target(Dialect::Ollama, &quirks) };
    let (body, dropped) = sent(&local, &off);
    assert_eq!((body.get("think"), dropped), (None, vec!["reasoning".to_owned()]));

    let words = BTreeSet::from([Refusal::ThinkingEffort]);
    let gpt = Target { refuses: &words, ..target(Dialect::OpenAi, &quirks) };
    let budget = json!({ "type": "enabled", "budget_tokens": 2000 });
    let request = anthropic(&ask(json!({ "max_tokens": 5000, "thinking": budget })));
    for (body, dropped) in [sent(&gpt, &request), passed(&gpt, ask(json!({ "reasoning_effort": "high" })))] {
        assert_eq!((body.get("reasoning_effort"), dropped), (None, vec!["reasoning".to_owned()]));
    }
}

#[test]
fn nothing_is_lost_where_who_cannot_think_is_told_not_to() {
    let quirks = Quirks::default();
    let off = anthropic(&ask(json!({ "max_tokens": 50, "thinking": { "type": "disabled" } })));
    let none = ask(json!({ "reasoning_effort": "none" }));
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama] {
        let mute = Target { reasoning: false, ..target(dialect, &quirks) };
        let passed = (dialect == Dialect::OpenAi).then(|| passed(&mute, &none));
        for (body, dropped) in [sent(&mute, &off), sent(&mute, &openai(none.clone()))].into_iter().chain(passed) {
            let said = ["reasoning_effort", "thinking", "think"].map(|field| body.get(field));
            assert_eq!((said, dropped), ([None; 3], Vec::new()), "{dialect:?}");
        }
        let (_, dropped) = sent(&mute, &openai(ask(json!({ "reasoning_effort": "low" }))));
        assert_eq!(dropped, ["reasoning"], "{dialect:?}");
    }
}

#[test]
fn who_has_a_word_of_its_own_for_not_thinking_is_told_so() {
    let quirks = Quirks { thinking: true, reasoning_effort: false, ..Quirks::default() };
    let deepseek = target(Dialect::OpenAi, &quirks);
    let off = json!({ "type": "disabled" });
    let request = anthropic(&ask(json!({ "max_tokens": 50, "thinking": off })));
    let quiet = passed(&deepseek, ask(json!({ "reasoning_effort": "none" })));
    for (body, dropped) in [sent(&deepseek, &request), quiet] {
        assert_eq!((&body["thinking"], body.get("reasoning_effort"), dropped.len()), (&off, None, 0));
    }
    let (body, dropped) = passed(&deepseek, ask(json!({ "reasoning_effort": "low" })));
    assert_eq!((body.get("thinking"), dropped), (None, vec!["reasoning".to_owned()]));
    let both = Quirks { thinking: true, ..Quirks::default() };
    let (body, dropped) = passed(&target(Dialect::OpenAi, &both), ask(json!({ "reasoning_effort": "none" })));
    assert_eq!((&body["thinking"], body.get("reasoning_effort"), dropped.len()), (&off, None, 0));
    let mute = Target { reasoning: false, ..deepseek };
    assert_eq!(sent(&mute, &request).0.get("thinking"), None, "it does not think");
}

#[test]
fn claude_gets_schemas_that_it_takes() {
    let inner = json!({ "type": "object", "properties": { "a": { "type": "integer", "minimum": 1 } } });
    let schema = json!({ "type": "object", "properties": { "in": inner } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
    for format in [format, json!({ "type": "json_object", "schema": schema })] {
        let (body, dropped) = encoded(Dialect::Anthropic, &openai(ask(json!({ "response_format": format }))));
        let schema = &body["output_config"]["format"]["schema"];
        assert_eq!(
            (&schema["additionalProperties"], dropped),
            (&json!(false), vec!["response_format.json_schema".into()])
        );
        let inner = &schema["properties"]["in"];
        assert_eq!(inner["additionalProperties"], false);
        assert_eq!(inner["properties"]["a"], json!({ "type": "integer", "description": "(minimum: 1)" }));
    }
    let function = |schema: Value| json!({ "type": "function", "function": { "name": "f", "parameters": schema, "strict": true } });
    let either = json!({ "type": "object", "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] });
    let tools = json!([function(json!({})), function(either)]);
    let (body, dropped) = encoded(Dialect::Anthropic, &openai(ask(json!({ "tools": tools }))));
    for tool in body["tools"].as_array().unwrap() {
        assert_eq!((&tool["input_schema"], tool.get("strict")), (&json!({ "type": "object" }), None));
    }
    assert_eq!(dropped, ["tools[].strict", "tools[].parameters"]);
    let request = anthropic(&ask(json!({
        "max_tokens": 9, "tools": [{ "name": "f", "input_schema": { "type": "object" } }],
    })));
    let (body, _) = encoded(Dialect::OpenAi, &request);
    assert_eq!(body["tools"][0]["function"]["parameters"], json!({ "type": "object", "properties": {} }));
}

#[test]
fn claude_is_not_asked_for_what_no_answer_of_its_can_be() {
    let tree = json!({ "type": "object", "properties": { "in": { "type": "array", "items": { "$ref": "#" } } } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": tree } });
    let request = openai(ask(json!({ "response_format": format })));
    let in_the_way = |client, backend| obstacle(client, backend, &request);
    let why = "response_format.json_schema (recursive)";
    assert_eq!(in_the_way(Dialect::OpenAi, Dialect::Anthropic).as_deref(), Some(why));
    assert_eq!(in_the_way(Dialect::Responses, Dialect::Anthropic).as_deref(), Some("text.format (recursive)"));
    assert_eq!(in_the_way(Dialect::OpenAi, Dialect::Ollama), None);
    assert_eq!(in_the_way(Dialect::Anthropic, Dialect::Anthropic), None, "its own clients know best");
}

#[test]
fn openai_holds_an_answer_to_the_schema_of_who_speaks_to_claude() {
    let format = |required: Value| {
        let schema = json!({
            "type": "object", "properties": { "a": { "type": "string" } }, "required": required,
            "additionalProperties": false,
        });
        let config = json!({ "format": { "type": "json_schema", "schema": schema } });
        let (body, dropped) =
            encoded(Dialect::OpenAi, &anthropic(&ask(json!({ "max_tokens": 9, "output_config": config }))));
        (body["response_format"]["json_schema"].get("strict").cloned(), dropped)
    };
    assert_eq!(format(json!(["a"])), (Some(json!(true)), Vec::new()));
    assert_eq!(format(json!([])), (None, vec!["output_config.format (not enforced)".to_owned()]));
    // Who says so itself knows what it is worth.
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": {}, "strict": true } });
    let (body, dropped) = encoded(Dialect::OpenAi, &openai(ask(json!({ "response_format": format }))));
    assert_eq!((&body["response_format"]["json_schema"]["strict"], dropped.len()), (&json!(true), 0));
}

#[test]
fn openai_holds_arguments_to_the_schema_of_who_speaks_to_claude_where_it_can() {
    let tool = |required: Value| {
        let schema = json!({
            "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } },
            "required": required, "additionalProperties": false,
        });
        let tools = json!([{ "name": "f", "strict": true, "input_schema": schema }]);
        let (body, dropped) = encoded(Dialect::OpenAi, &anthropic(&ask(json!({ "max_tokens": 9, "tools": tools }))));
        (body["tools"][0]["function"].get("strict").cloned(), dropped)
    };
    assert_eq!(tool(json!(["a", "b"])), (Some(json!(true)), Vec::new()));
    assert_eq!(tool(json!(["a"])), (None, vec!["tools[0].strict".to_owned()]));
}

#[test]
fn what_is_said_of_a_schema_goes_with_it() {
    let with = |schema: Value| {
        let format = json!({ "name": "n", "description": "A colour.", "schema": schema });
        let format = json!({ "type": "json_schema", "json_schema": format });
        let (body, dropped) = encoded(Dialect::Ollama, &openai(ask(json!({ "response_format": format }))));
        (body["format"]["description"].clone(), dropped)
    };
    assert_eq!(with(json!({ "type": "object" })), (json!("A colour."), Vec::new()));
    assert_eq!(with(json!({ "description": "In words." })).0, "A colour. In words.");
}

#[test]
fn claude_gets_no_text_of_nothing_but_space() {
    let call = json!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let messages = json!([
        { "role": "user", "content": "Well?" },
        { "role": "assistant", "content": "\n\n", "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "a", "content": " " },
        { "role": "assistant", "content": null, "refusal": "" },
        { "role": "user", "content": " \t" },
    ]);
    let (body, _) = encoded(Dialect::Anthropic, &openai(json!({ "messages": messages })));
    let expected = json!([
        { "role": "user", "content": "Well?" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "f", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": [] }] },
    ]);
    assert_eq!(body["messages"], expected);
    let messages = ["x", "", "y"]
        .map(|text| json!({ "role": if text.is_empty() { "assistant" } else { "user" }, "content": text }));
    let (body, _) = encoded(Dialect::Anthropic, &openai(json!({ "messages": messages })));
    let said = ["x", "y"].map(|text| json!({ "type": "text", "text": text }));
    assert_eq!(body["messages"], json!([{ "role": "user", "content": said }]), "they take turns");
    let nothing = openai(json!({ "messages": [{ "role": "user", "content": " \n" }] }));
    assert!(in_the_way(Dialect::Anthropic, &nothing).is_some());
}

#[test]
fn openai_gets_no_turn_that_says_nothing() {
    let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "s" });
    let call = json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} });
    for (content, expected) in [(json!([thought]), json!("")), (json!([]), json!("")), (json!([call]), Value::Null)] {
        let messages = json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": content }]);
        let (body, _) = encoded(Dialect::OpenAi, &anthropic(&json!({ "max_tokens": 9, "messages": messages })));
        assert_eq!(body["messages"][1]["content"], expected);
    }
    // Some servers take no null, of their own dialect's clients, either.
    let quirks = Quirks { null_content: false, ..Quirks::default() };
    let calls = json!([{ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
    let content = |turn: Value| {
        let body = json!({ "messages": [{ "role": "user", "content": "x" }, turn] });
        passed(&target(Dialect::OpenAi, &quirks), body).0["messages"][1]["content"].clone()
    };
    assert_eq!(content(json!({ "role": "assistant", "content": null, "tool_calls": calls })), "");
    assert_eq!(content(json!({ "role": "assistant", "tool_calls": calls })), "");
    assert_eq!(content(json!({ "role": "assistant", "content": "y", "tool_calls": calls })), "y");
}

#[test]
fn an_answer_that_is_begun_does_not_end_in_a_blank() {
    let messages = json!([{ "role": "user", "content": "x " }, { "role": "assistant", "content": "{ \n" }]);
    let (body, _) = encoded(Dialect::Anthropic, &openai(json!({ "messages": messages })));
    assert_eq!((&body["messages"][0]["content"], &body["messages"][1]["content"]), (&json!("x "), &json!("{")));
}

#[test]
fn an_answer_that_is_begun_is_not_sent_where_it_would_begin_anew() {
    let turns = json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": "{" }]);
    let request = anthropic(&json!({ "max_tokens": 9, "system": "Be brief.", "messages": turns }));
    let (openai, able) = (Quirks::default(), Quirks { prefill: true, ..Quirks::default() });
    let refused = |client, backend, quirks| refused_part(client, backend, quirks, &request);
    let named = Some("messages[1] (the beginning of an answer)".to_owned());
    assert_eq!(refused(Dialect::Anthropic, Dialect::OpenAi, &openai), named);
    assert!(refused(Dialect::Native, Dialect::OpenAi, &openai).is_some());
    assert_eq!(refused(Dialect::OpenAi, Dialect::OpenAi, &openai), None, "its clients know");
    assert_eq!(refused(Dialect::Anthropic, Dialect::OpenAi, &able), None);
    for goes_on in [Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(refused(Dialect::Anthropic, goes_on, &openai), None);
    }
}

#[test]
fn what_stands_in_the_way_is_where_the_client_put_it() {
    let picture = json!({ "type": "image", "source": { "type": "url", "url": "https://x/y.png" } });
    let turns = json!([{ "role": "user", "content": [picture] }]);
    let request = anthropic(&json!({ "max_tokens": 9, "system": "Be brief.", "messages": turns }));
    let way = |client, request: &ChatRequest| obstacle(client, Dialect::Ollama, request).unwrap();
    assert_eq!(way(Dialect::Anthropic, &request), "messages[0].content[0] (an image by URL)");
    // Instructions stand apart, or among the turns, as the client likes.
    let found = json!({ "type": "search_result", "source": "x", "title": "t", "content": [] });
    let turns = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": [found.clone()] }]);
    let among = anthropic(&json!({ "max_tokens": 9, "messages": turns }));
    let apart = anthropic(&json!({ "max_tokens": 9, "system": [found], "messages": turns }));
    for (request, place) in [(&among, "messages[1].content[0]"), (&apart, "system[0]")] {
        assert_eq!(way(Dialect::Anthropic, request), format!("{place} (search_result)"));
    }

    let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let result = |id: &str, content: Value| json!({ "role": "tool", "tool_call_id": id, "content": content });
    let picture = json!({ "type": "image_url", "image_url": { "url": "https://x/y.png" } });
    let begin = [json!({ "role": "assistant", "tool_calls": [call("a"), call("b")] }), result("a", json!("1"))];
    let with = |more: &[Value]| {
        let messages = [&begin[..], more].concat();
        openai(json!({ "messages": messages }))
    };
    let asked = with(&[result("b", json!("2")), json!({ "role": "user", "content": [picture] })]);
    assert_eq!(way(Dialect::OpenAi, &asked), "messages[3].content[0] (an image by URL)");
    let shown = with(&[result("b", json!([picture]))]);
    assert_eq!(way(Dialect::OpenAi, &shown), "messages[2].content[0] (an image by URL)");
}

#[test]
fn without_tools_nothing_is_said_of_calling_them() {
    let body =
        json!({ "model": "x", "input": "q", "tools": [], "tool_choice": "auto", "parallel_tool_calls": false });
    let codex = decode_request(Dialect::Responses, body.to_string().as_bytes()).unwrap();
    let claude = anthropic(&json!({
        "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }], "tools": [],
        "tool_choice": { "type": "auto", "disable_parallel_tool_use": true },
    }));
    for (backend, request) in [(Dialect::OpenAi, &codex), (Dialect::OpenAi, &claude), (Dialect::Anthropic, &codex)] {
        let (body, _) = encoded(backend, request);
        for field in ["tools", "tool_choice", "parallel_tool_calls"] {
            assert_eq!(body.get(field), None, "{backend:?}");
        }
    }
    let demand = json!({ "messages": [{ "role": "user", "content": "x" }], "input": "x", "tool_choice": "required" });
    for (dialect, other) in [(Dialect::Responses, "messages"), (Dialect::Native, "input")] {
        let mut body = demand.clone();
        body.as_object_mut().unwrap().shift_remove(other);
        let error = decode_request(dialect, body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("tool_choice"), "{dialect:?}");
    }
    let demand = openai(json!({ "messages": [{ "role": "user", "content": "x" }], "tool_choice": "required" }));
    assert_eq!(obstacle(Dialect::OpenAi, Dialect::OpenAi, &demand), None, "for the vendor to say");
    for backend in [Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(obstacle(Dialect::OpenAi, backend, &demand).as_deref(), Some("tool_choice"));
    }
}

#[test]
fn of_a_clients_own_word_the_beginning_is_told() {
    let long = "\u{e9}".repeat(1 << 20);
    let part = openai(ask(json!({ "messages": [{ "role": "user", "content": [{ "type": long }] }] })));
    let field = openai(ask(json!({ (long.clone()): 1 })));
    let word = format!("{}...", "\u{e9}".repeat(64));
    for backend in [Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(obstacle(Dialect::OpenAi, backend, &part), Some(format!("messages[0].content[0] ({word})")));
        assert_eq!(obstacle(Dialect::OpenAi, backend, &field).as_ref(), Some(&word));
    }
}

/// The longest conversations that there are are asked about once for every deployment.
#[test]
fn a_long_conversation_is_looked_through_in_no_time() {
    let turn = json!({ "role": "user", "content": "a" });
    let mut turns = vec![turn; 20_000];
    turns.push(json!({ "role": "user", "content": [{ "type": "file", "file": { "file_data": "x" } }] }));
    let request = openai(json!({ "messages": turns }));
    let begun = std::time::Instant::now();
    for _ in 0..40 {
        let there = obstacle(Dialect::OpenAi, Dialect::Ollama, &request);
        assert_eq!(there.as_deref(), Some("messages[20000].content[0] (file)"));
    }
    // By squares it would be half a minute and more.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_pdf_is_a_pdf_and_a_document_of_words_is_words() {
    let file =
        json!({ "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA" } });
    let source = json!({ "type": "base64", "media_type": "application/pdf", "data": "AAAA" });
    let document = json!({ "type": "document", "source": source, "title": "a.pdf" });
    let to_claude = openai(json!({ "messages": [{ "role": "user", "content": [file] }] }));
    assert_eq!(encoded(Dialect::Anthropic, &to_claude).0["messages"][0]["content"][0], document);
    let asks =
        |content: Value| anthropic(&json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": content }] }));
    let result = json!({ "type": "tool_result", "tool_use_id": "a", "content": [document] });
    let (body, _) = encoded(Dialect::OpenAi, &asks(json!([document, result])));
    assert_eq!(
        (&body["messages"][0]["role"], &body["messages"][1]["content"]),
        (&json!("tool"), &json!([file, file]))
    );
    let (quirks, modest) = (Quirks::default(), Quirks { files: false, ..Quirks::default() });
    for request in [&to_claude, &asks(json!([document])), &asks(json!([result]))] {
        assert_eq!(refused_part(Dialect::OpenAi, Dialect::OpenAi, &quirks, request), None);
        assert!(refused_part(Dialect::OpenAi, Dialect::OpenAi, &modest, request).is_some());
        assert_eq!(refused_part(Dialect::OpenAi, Dialect::Anthropic, &modest, request), None);
        assert!(in_the_way(Dialect::Ollama, request).is_some());
    }

    let words = json!({ "type": "text", "media_type": "text/plain", "data": "Once." });
    let words = json!({ "type": "document", "source": words, "title": "Tale" });
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        assert_eq!(encoded(dialect, &asks(json!([words]))).0["messages"][0]["content"], "Tale\n\nOnce.");
        let cited = json!({ "type": "document", "source": words["source"], "citations": { "enabled": true } });
        assert!(in_the_way(dialect, &asks(json!([cited]))).is_some(), "the answer cannot cite");
        let by_id = json!({ "type": "document", "source": { "type": "file", "file_id": "f" } });
        assert!(in_the_way(dialect, &asks(json!([by_id]))).is_some());
    }
    let by_id = openai(
        json!({ "messages": [{ "role": "user", "content": [{ "type": "file", "file": { "file_id": "f" } }] }] }),
    );
    assert!(in_the_way(Dialect::Anthropic, &by_id).is_some());
}

#[test]
fn what_was_cited_before_is_told_without_its_citations() {
    let cited = json!({ "type": "text", "text": "So it is.", "citations": [{ "type": "char_location" }] });
    let request = anthropic(&json!({ "max_tokens": 9, "messages": [
        { "role": "user", "content": "x" }, { "role": "assistant", "content": [cited] }, { "role": "user", "content": "y" },
    ] }));
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let (body, dropped) = encoded(dialect, &request);
        assert_eq!(body["messages"][1]["content"], "So it is.");
        assert_eq!(dropped, ["messages[1].content[0].citations"]);
    }
    let answer = json!({ "id": "a", "model": "m", "content": [cited], "stop_reason": "end_turn" });
    let answer = decode_response(Dialect::Anthropic, answer.to_string().as_bytes()).unwrap();
    assert_eq!(answer.parts, [Part::text("So it is.")]);
}

#[test]
fn stop_strings_are_those_that_a_vendor_takes() {
    let with = |stop: Value| openai(ask(json!({ "stop": stop })));
    assert_eq!(in_the_way(Dialect::Anthropic, &with(json!(["\n", " "]))).as_deref(), Some("stop (blanks alone)"));
    let (body, dropped) = encoded(Dialect::Anthropic, &with(json!(["\n", "END"])));
    assert_eq!((&body["stop_sequences"], dropped), (&json!(["END"]), vec!["stop".to_owned()]));
    assert_eq!(encoded(Dialect::Anthropic, &with(json!(""))).0.get("stop_sequences"), None);
}

#[test]
fn pictures_have_the_names_of_their_kinds_and_an_address_that_is_fetched() {
    let with = |picture: Value| {
        let part = json!({ "type": "image_url", "image_url": picture });
        openai(json!({ "messages": [{ "role": "user", "content": [part] }] }))
    };
    for kind in ["image/jpg", "IMAGE/JPEG", "image/jpeg;charset=utf-8"] {
        let (body, _) = encoded(Dialect::Anthropic, &with(json!({ "url": format!("data:{kind};base64,AAAA") })));
        let source = json!({ "type": "base64", "media_type": "image/jpeg", "data": "AAAA" });
        assert_eq!(body["messages"][0]["content"][0]["source"], source, "{kind}");
    }
    let (body, _) = encoded(Dialect::Anthropic, &with(json!("https://example.com/a.png")));
    assert_eq!(body["messages"][0]["content"][0]["source"]["url"], "https://example.com/a.png");
    let plain = with(json!({ "url": "http://example.com/a.png" }));
    assert!(in_the_way(Dialect::Anthropic, &plain).is_some());
    assert_eq!(in_the_way(Dialect::OpenAi, &plain), None);
}

#[test]
fn somebody_speaks_to_claude_before_it_answers() {
    let messages = json!([{ "role": "assistant", "content": "Hello!" }, { "role": "user", "content": "Hi." }]);
    let (body, _) = encoded(Dialect::Anthropic, &openai(json!({ "messages": messages })));
    let roles: Vec<&str> =
        body["messages"].as_array().unwrap().iter().filter_map(|turn| turn["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
}

#[test]
fn a_users_id_is_one_that_every_vendor_takes() {
    let session = "{\"device\":\"x\"}".repeat(12);
    let from_openai = openai(ask(json!({ "user": "jane@example.com" })));
    let from_claude = anthropic(&ask(json!({ "max_tokens": 9, "metadata": { "user_id": session } })));
    for (request, dialect, place) in
        [(from_openai, Dialect::Anthropic, "/metadata/user_id"), (from_claude, Dialect::OpenAi, "/user")]
    {
        let (body, dropped) = encoded(dialect, &request);
        let id = body.pointer(place).and_then(Value::as_str).unwrap();
        assert!(id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_eq!((encoded(dialect, &request).0.pointer(place), dropped.len()), (Some(&json!(id)), 0));
    }
}

#[test]
fn every_effort_keeps_its_word() {
    for word in ["low", "medium", "high", "xhigh", "max"] {
        let (body, _) = encoded(Dialect::Anthropic, &openai(ask(json!({ "reasoning_effort": word }))));
        assert_eq!(body["output_config"]["effort"], word);
    }
    let most = anthropic(&ask(json!({ "max_tokens": 9, "output_config": { "effort": "max" } })));
    assert_eq!(encoded(Dialect::OpenAi, &most).0["reasoning_effort"], "xhigh");
}

#[test]
fn what_means_nothing_stands_in_nobodys_way() {
    for more in [
        json!({ "modalities": ["text"], "top_logprobs": 0, "functions": [], "function_call": "auto" }),
        json!({ "function_call": "none", "logit_bias": {}, "top_k": -1, "max_tokens": -1 }),
    ] {
        let request = openai(ask(more));
        for backend in [Dialect::Anthropic, Dialect::Ollama] {
            assert_eq!(in_the_way(backend, &request), None);
        }
    }
    let request = anthropic(&ask(json!({
        "max_tokens": 9, "cache_control": { "type": "ephemeral" }, "speed": "standard", "mcp_servers": [],
        "container": "c", "betas": ["b"],
    })));
    for backend in [Dialect::OpenAi, Dialect::Ollama] {
        assert_eq!(in_the_way(backend, &request), None);
    }
    let search = openai(ask(json!({ "web_search_options": {} })));
    assert_eq!(in_the_way(Dialect::Anthropic, &search).as_deref(), Some("web_search_options"));
    let called = openai(ask(json!({ "functions": [{ "name": "f" }], "function_call": "auto" })));
    assert!(in_the_way(Dialect::Anthropic, &called).is_some());
}

#[test]
fn what_only_the_backend_can_judge_passes_to_it() {
    let quirks = Quirks::default();
    let target = target(Dialect::OpenAi, &quirks);
    let call = json!({ "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let picture = json!({ "type": "image_url", "image_url": "https://example.com/a.png" });
    for more in [
        json!({ "top_k": -1 }),
        json!({ "max_tokens": -1 }),
        json!({ "max_tokens": 4096.0 }),
        json!({ "seed": 18_446_744_073_709_551_615_u64 }),
        json!({ "messages": [{ "role": "user", "content": [picture] }] }),
        json!({ "messages": [{ "role": "assistant", "tool_calls": [call] }, { "role": "user", "content": "y" }] }),
    ] {
        let body = ask(more);
        let mut expected = body.clone();
        expected["model"] = json!("upstream-id");
        assert_eq!(passed(&target, &body), (expected, Vec::new()));
    }
    assert_eq!(openai(ask(json!({ "max_tokens": 4096.0 }))).max_tokens, Some(4096));
    assert_eq!(in_the_way(Dialect::Anthropic, &openai(ask(json!({ "top_k": 2.5 })))).as_deref(), Some("top_k"));
    for (field, value) in [("max_tokens", json!(-1)), ("top_k", json!(0.5))] {
        let refused =
            decode_request(Dialect::Native, ask(json!({ field: value })).to_string().as_bytes()).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(field));
    }
    let words =
        decode_request(Dialect::OpenAi, ask(json!({ "max_tokens": "9" })).to_string().as_bytes()).unwrap_err();
    assert_eq!(words.message, "max_tokens must be a whole number, not a string");
}

#[test]
fn more_tools_and_stops_than_a_vendor_takes_are_not_sent_to_it() {
    let config: toml::Table = include_str!("../../config/default.toml").parse().unwrap();
    let openai: Quirks = config["providers"]["openai"]["quirks"].clone().try_into().unwrap();
    let way = |client, body: &Value, quirks: &Quirks| {
        let request = decode_request(client, body.to_string().as_bytes()).unwrap();
        refused_part(client, Dialect::OpenAi, quirks, &request)
    };
    let claudes = |count: usize| {
        let tool = |index| json!({ "name": format!("f{index}"), "input_schema": { "type": "object" } });
        ask(json!({ "max_tokens": 9, "tools": (0..count).map(tool).collect::<Vec<_>>() }))
    };
    let own = |count: usize| {
        let tool = |index| match index {
            0 => json!({ "type": "custom", "custom": { "name": "c" } }),
            _ => json!({ "type": "function", "function": { "name": format!("f{index}") } }),
        };
        ask(json!({ "tools": (0..count).map(tool).collect::<Vec<_>>() }))
    };
    for (client, body) in [(Dialect::Anthropic, claudes as fn(usize) -> Value), (Dialect::OpenAi, own)] {
        assert_eq!(way(client, &body(128), &openai), None);
        assert_eq!(way(client, &body(129), &openai).as_deref(), Some("tools (more than 128)"));
        assert_eq!(way(client, &body(129), &Quirks::default()), None);
    }
    let stops = |count: usize| ask(json!({ "stop": vec!["x"; count] }));
    assert_eq!(way(Dialect::OpenAi, &stops(4), &openai), None);
    assert_eq!(way(Dialect::OpenAi, &stops(5), &openai).as_deref(), Some("stop"));
    assert_eq!(way(Dialect::OpenAi, &stops(5), &Quirks::default()), None);
    // A translated request has as many as the provider is known to take.
    let claudes = |count: usize| ask(json!({ "max_tokens": 9, "stop_sequences": vec!["x"; count] }));
    let deepseek: Quirks = config["providers"]["deepseek"]["quirks"].clone().try_into().unwrap();
    for (quirks, most) in [(&Quirks::default(), 4), (&openai, 4), (&deepseek, 16)] {
        assert_eq!(way(Dialect::Anthropic, &claudes(most), quirks), None);
        assert_eq!(way(Dialect::Anthropic, &claudes(most + 1), quirks).as_deref(), Some("stop_sequences"));
    }
}

#[test]
fn an_old_claude_thinks_only_where_there_is_room_and_a_thought_before() {
    let quirks = Quirks::default();
    let refuses = BTreeSet::from([Refusal::ThinkingEffort]);
    let old = Target { refuses: &refuses, ..target(Dialect::Anthropic, &quirks) };
    let short = openai(ask(json!({ "reasoning_effort": "high", "max_tokens": 1000 })));
    let (body, dropped) = sent(&old, &short);
    assert_eq!((body.get("thinking"), dropped), (None, vec!["reasoning".to_owned()]));
    let call = json!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let messages = json!([
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "a", "content": "y" },
    ]);
    let (body, dropped) = sent(&old, &openai(json!({ "messages": messages, "reasoning_effort": "high" })));
    assert_eq!(body.get("thinking"), None);
    assert_eq!(dropped, ["messages[1].thinking", "reasoning"]);
}

#[test]
fn what_claude_spent_on_thinking_is_told_and_so_is_what_others_did() {
    let usage = json!({ "input_tokens": 5, "output_tokens": 7, "output_tokens_details": { "thinking_tokens": 4 } });
    let answer = json!({ "id": "a", "model": "m", "content": [], "stop_reason": "end_turn", "usage": usage });
    let response = decode_response(Dialect::Anthropic, answer.to_string().as_bytes()).unwrap();
    assert_eq!(response.usage.unwrap().reasoning_tokens, 4);
    let told: Value =
        serde_json::from_slice(&encode_response(Dialect::Anthropic, &response, &super::tests::meta())).unwrap();
    assert_eq!(told["usage"]["output_tokens_details"]["thinking_tokens"], 4);
}

#[test]
fn what_asks_for_no_other_answer_is_left_out_or_said() {
    let marker = json!({ "type": "ephemeral" });
    let asked = openai(json!({
        "messages": [{ "role": "user", "content": "x" }], "prediction": { "type": "content", "content": "x" },
        "prompt_cache_options": { "mode": "implicit" }, "cache_control": marker,
    }));
    let (body, dropped) = encoded(Dialect::Anthropic, &asked);
    assert_eq!((&body["cache_control"], dropped.len()), (&marker, 2), "{dropped:?}");
    assert_eq!(encoded(Dialect::Ollama, &asked).1.len(), 3);
    let asked = anthropic(&json!({
        "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }], "thinking": { "type": "between_tools" },
        "diagnostics": { "previous_message_id": "m" },
    }));
    assert!(asked.reasoning.is_some());
    for backend in [Dialect::OpenAi, Dialect::Ollama] {
        assert!(encoded(backend, &asked).1.contains(&"diagnostics".to_owned()));
    }
}

#[test]
fn what_is_cached_for_an_hour_is_counted_apart() {
    let usage = json!({
        "input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": 110,
        "cache_creation": { "ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 100 },
    });
    let answer = json!({ "id": "a", "model": "m", "content": [], "stop_reason": "end_turn", "usage": usage });
    let usage = decode_response(Dialect::Anthropic, answer.to_string().as_bytes()).unwrap().usage.unwrap();
    assert_eq!((usage.cache_write_tokens, usage.cache_write_long_tokens, usage.prompt_tokens()), (110, 100, 115));
}

#[test]
fn what_claude_summed_up_first_is_counted_beside_the_answer() {
    // The example of Anthropic's documentation, and a second compaction.
    let counts = json!({
        "input_tokens": 23_000, "output_tokens": 1000, "iterations": [
            { "type": "compaction", "input_tokens": 180_000, "output_tokens": 3500 },
            { "type": "message", "input_tokens": 23_000, "output_tokens": 1000 },
            { "type": "compaction", "input_tokens": 0, "output_tokens": 500, "cache_read_input_tokens": 90,
              "cache_creation_input_tokens": 8, "cache_creation": { "ephemeral_1h_input_tokens": 7 } },
            { "type": "advisor_message", "input_tokens": 5, "output_tokens": 5 }, null,
        ],
    });
    let compaction = Compaction {
        input_tokens: 180_000,
        cache_read_tokens: 90,
        cache_write_tokens: 8,
        cache_write_long_tokens: 7,
        output_tokens: 4000,
    };
    let wanted = Usage { input_tokens: 23_000, output_tokens: 1000, compaction, ..Usage::default() };
    assert_eq!(usage_of(&counts), Some(wanted));
    let answer = json!({ "id": "a", "model": "m", "content": [], "stop_reason": "end_turn", "usage": counts });
    assert_eq!(decode_response(Dialect::Anthropic, answer.to_string().as_bytes()).unwrap().usage, Some(wanted));
    let start = json!({ "type": "message_start", "message": { "id": "a", "usage": { "input_tokens": 23_000 } } });
    let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": counts });
    let stream = format!("data: {start}\n\ndata: {end}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
    assert_eq!(gist(&decode_in(Dialect::Anthropic, &[stream.as_bytes()])).usage, wanted);
    for odd in [json!(null), json!("x"), json!({})] {
        let counts = json!({ "input_tokens": 3, "output_tokens": 1, "iterations": odd });
        assert_eq!(usage_of(&counts).unwrap().compaction, Compaction::default(), "{odd}");
    }
}
