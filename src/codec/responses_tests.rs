//! OpenAI's Responses: what comes in, and what goes out, whole and streamed.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::property_tests::{conversation, text};
use super::responses_stream_tests::{heard, heard_by, listened, parts};
use super::tests::{answer, encoded, meta};
use super::*;
use crate::protocol::{
    ErrorKind, FinishReason, ImageSource, Message, Part, ResponseFormat, Role, StreamEvent, ToolCallDelta,
    ToolChoice, Usage,
};

fn read(body: Value) -> Result<ChatRequest, ApiError> {
    decode_request(Dialect::Responses, body.to_string().as_bytes())
}

fn with(more: Value) -> Result<ChatRequest, ApiError> {
    let mut body = json!({ "model": "x", "input": "q" });
    json::extend(&mut body, more);
    read(body)
}

/// An answer of these parts, on the wire.
pub(super) fn told(parts: Vec<Part>, finish_reason: FinishReason) -> Value {
    let usage = Usage { input_tokens: 7, cache_read_tokens: 3, output_tokens: 5, ..Usage::default() };
    let response = ChatResponse { usage: Some(usage), ..answer(parts, finish_reason) };
    serde_json::from_slice(&encode_response(Dialect::Responses, &response, &meta())).unwrap()
}

// ----------------------------------------------------------------------------------------------------------- requests

#[test]
fn an_answer_at_the_end_is_no_beginning_of_one() {
    // Codex asks so after a stream that broke behind its first item.
    let said = json!({ "type": "message", "role": "assistant", "status": "completed",
                       "content": [{ "type": "output_text", "text": "I look first." }] });
    let thought = json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": "Hm." }] });
    let asked = json!({ "role": "user", "content": "Mend it." });
    let broken = with(json!({ "input": [asked.clone(), thought.clone()] })).unwrap();
    let told = json!({ "role": "developer", "content": "Be brief." });
    let told_since = with(json!({ "input": [asked.clone(), thought.clone(), told] })).unwrap();
    let request = with(json!({ "input": [asked, said, thought] })).unwrap();
    assert!(!request.is_prefilled());
    assert_eq!(refused_part(Dialect::Responses, Dialect::OpenAi, &Quirks::default(), &request), None);
    for backend in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama] {
        let (body, _) = encoded(backend, &broken);
        assert_eq!(body["messages"], json!([{ "role": "user", "content": "Mend it." }]), "the model thinks anew");
        let (body, _) = encoded(backend, &told_since);
        let thinks = |turn: &Value| turn["role"] == "assistant";
        assert!(!body["messages"].as_array().unwrap().iter().any(thinks), "{body}");
        let (body, _) = encoded(backend, &request);
        let turns = body["messages"].as_array().unwrap();
        let [_, answer, last] = &turns[..] else { panic!("{body}") };
        assert_eq!(
            (&answer["content"], &last["content"]),
            (&json!("I look first."), &json!("Go on.")),
            "{backend:?}"
        );
        assert_eq!(last["role"], "user");
    }
}

#[test]
fn a_signed_thought_survives_a_tool_loop_through_the_clients_hands() {
    let call = Part::ToolCall { id: "t1".into(), name: "look".into(), arguments: "{\"zoom\":2}".into() };
    let thought = Part::Thinking { text: "hm".into(), signature: Some("sig".into()) };
    let hidden = Part::RedactedThinking { data: "x".into() };
    let said = vec![thought, hidden, Part::text("Let me see."), call];
    let answer = told(said.clone(), FinishReason::ToolCalls);
    let kinds: Vec<&str> =
        answer["output"].as_array().unwrap().iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(kinds, ["reasoning", "reasoning", "message", "function_call"]);
    assert_eq!(answer["output"][0]["summary"], json!([{ "type": "summary_text", "text": "hm" }]));

    let mut input = vec![json!({ "role": "user", "content": "What is this?" })];
    input.extend(answer["output"].as_array().unwrap().clone());
    input.push(json!({ "type": "function_call_output", "call_id": "t1", "output": [
        { "type": "input_text", "text": "a cat" },
        { "type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto" },
    ] }));
    let tool = json!({ "type": "function", "name": "look", "parameters": { "type": "object" }, "strict": null });
    let request = read(json!({
        "model": "x", "instructions": "Be brief.", "input": input, "tools": [tool], "store": false,
        "include": ["reasoning.encrypted_content"],
    }))
    .unwrap();
    assert_eq!((request.messages.len(), &request.items), (4, &vec![0, 0, 1, 5]));
    assert_eq!((request.is_in_tool_loop(), request.first_call_of_loop()), (true, Some("t1")));
    assert_eq!(request.messages[2].parts, said, "one turn, whole");

    let (anthropic, dropped) = encoded(Dialect::Anthropic, &request);
    assert_eq!(dropped, Vec::<String>::new());
    assert_eq!(anthropic["system"][0]["text"], "Be brief.");
    assert_eq!(
        anthropic["messages"][1]["content"],
        json!([
            { "type": "thinking", "thinking": "hm", "signature": "sig" },
            { "type": "redacted_thinking", "data": "x" },
            { "type": "text", "text": "Let me see." },
            { "type": "tool_use", "id": "t1", "name": "look", "input": { "zoom": 2 } },
        ])
    );
    assert_eq!(anthropic["messages"][2]["content"][0]["content"][0]["text"], "a cat");
    let (openai, dropped) = encoded(Dialect::OpenAi, &request);
    assert_eq!(openai["messages"][2]["tool_calls"][0]["function"]["arguments"], "{\"zoom\":2}");
    assert_eq!(openai["messages"][3], json!({ "role": "tool", "tool_call_id": "t1", "content": "a cat" }));
    assert!(dropped.iter().all(|field| field.contains("thinking")), "{dropped:?}");
    let (ollama, _) = encoded(Dialect::Ollama, &request);
    assert_eq!(ollama["messages"][2]["thinking"], "hm");
}

#[test]
fn a_thought_that_cannot_be_opened_is_openais_or_left_out_and_named() {
    let item = |sealed: Value| json!({ "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": sealed });
    let input = |sealed: Value| json!({ "input": [{ "role": "user", "content": "q" }, item(sealed)] });
    let openais = with(input(json!("gAAAAABo"))).unwrap();
    let signature = Some("openai:gAAAAABo".into());
    assert_eq!(openais.messages[1].parts, [Part::Thinking { text: "hm".into(), signature }]);
    let mut led_on = input(json!("gAAAAABo"));
    led_on["input"].as_array_mut().unwrap().push(json!({ "role": "assistant", "content": "a" }));
    assert_eq!(encoded(Dialect::Anthropic, &with(led_on).unwrap()).1, ["messages[1].thinking"]);
    let broken = with(input(json!("pointsman:%"))).unwrap();
    assert_eq!(broken.messages.len(), 1);
    assert_eq!(encoded(Dialect::OpenAi, &broken).1, ["input[1].encrypted_content"]);
    let readable = with(input(Value::Null)).unwrap();
    assert_eq!(readable.messages[1].parts, [Part::Thinking { text: "hm".into(), signature: None }]);
    let mut full = input(Value::Null);
    full["input"][1]["content"] = json!([{ "type": "reasoning_text", "text": "well" }]);
    let full = with(full).unwrap();
    assert_eq!(full.messages[1].parts, [Part::Thinking { text: "well".into(), signature: None }]);
    assert!(full.leftovers.contains_key("input[1].summary"), "what is not said is named");
}

#[test]
fn results_stand_right_behind_their_calls_wherever_they_were_sent() {
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{}" });
    let result = |id: &str| json!({ "type": "function_call_output", "call_id": id, "output": id });
    let says = |role: &str, text: &str| json!({ "role": role, "content": text });
    let hooked = [says("user", "q"), call("a"), says("developer", "note"), result("a")];
    let asked = [says("user", "q"), call("a"), call("b"), result("a"), says("user", "wait"), result("b")];
    let late = [says("user", "q"), call("a"), says("user", "wait"), call("b"), result("a"), result("b")];
    for (input, roles, places) in [
        (&hooked[..], &["user", "assistant", "tool", "system"][..], &[0, 1, 3, 2][..]),
        (&asked, &["user", "assistant", "tool", "tool", "user"], &[0, 1, 3, 5, 4]),
        (&late, &["user", "assistant", "tool", "user", "assistant", "tool"], &[0, 1, 4, 2, 3, 5]),
    ] {
        let request = with(json!({ "input": input })).unwrap();
        assert_eq!(request.items, places);
        let (openai, _) = encoded(Dialect::OpenAi, &request);
        let turns = openai["messages"].as_array().unwrap();
        assert_eq!(turns.iter().filter_map(|turn| turn["role"].as_str()).collect::<Vec<_>>(), roles);
    }
    let request = with(json!({ "input": asked })).unwrap();
    let (anthropic, _) = encoded(Dialect::Anthropic, &request);
    let kinds: Vec<_> =
        anthropic["messages"][2]["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
    assert!(with(json!({ "input": hooked })).unwrap().is_in_tool_loop(), "an instruction asks nothing new");
}

#[test]
fn a_picture_among_results_tears_them_apart_nowhere() {
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{}" });
    let result = |id: &str, output: Value| json!({ "type": "function_call_output", "call_id": id, "output": output });
    let picture = json!([{ "type": "input_image", "image_url": "https://x/y.png" }]);
    let note = json!({ "role": "developer", "content": "note" });
    let input = json!([call("a"), call("b"), result("a", picture), note, result("b", "b".into())]);
    let (openai, _) = encoded(Dialect::OpenAi, &with(json!({ "input": input })).unwrap());
    let turns = openai["messages"].as_array().unwrap();
    let roles: Vec<_> = turns.iter().filter_map(|turn| turn["role"].as_str()).collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user", "system"]);
    assert_eq!(turns[3]["content"][0]["image_url"]["url"], "https://x/y.png");
}

#[test]
fn a_picture_that_the_assistant_sent_is_named_where_it_is_lost() {
    let picture = json!({ "type": "input_image", "image_url": "data:image/png;base64,AAAA" });
    let said = json!({ "role": "assistant", "content": [{ "type": "output_text", "text": "here" }, picture] });
    let request = with(json!({ "input": [said, { "role": "user", "content": "q" }] })).unwrap();
    assert_eq!(encoded(Dialect::OpenAi, &request).1, ["messages[0].content[1]"]);
}

#[test]
fn what_builds_on_something_kept_is_refused_with_what_to_do_instead() {
    for (fields, param, cure) in [
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id", "send the whole conversation"),
        (json!({ "conversation": { "id": "conv_1" } }), "conversation", "send the whole one"),
        (json!({ "prompt": { "id": "pmpt_1" } }), "prompt", "send its text"),
        (json!({ "background": true }), "background", "leave `background` out"),
        (json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }), "input[0].id", "send the item itself"),
        (json!({ "input": [{ "id": "msg_1" }] }), "input[0].id", "send the item itself"),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "text" }] }] }),
            "input[0].content[0].type",
            "input_text",
        ),
        (json!({ "input": [{ "type": "function_call_output", "call_id": "c" }] }), "input[0].output", "missing"),
        (json!({ "input": [] }), "input", "empty"),
        (json!({ "tool_choice": { "type": "web_search" } }), "tool_choice", "one of"),
        (json!({ "text": { "format": { "type": "grammar" } } }), "text.format.type", "json_schema"),
        (json!({ "max_output_tokens": -1 }), "max_output_tokens", "not negative"),
    ] {
        let error = with(fields).unwrap_err();
        assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidRequest, Some(param)));
        assert!(error.message.contains(cure), "{}", error.message);
    }
    for (fields, own) in [
        (json!({ "messages": [] }), "input"),
        (json!({ "max_tokens": 9 }), "max_output_tokens"),
        (json!({ "response_format": { "type": "json_object" } }), "text.format"),
    ] {
        let error = with(fields).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(own));
        assert!(error.message.ends_with(&format!("is called `{own}` here")), "{}", error.message);
    }
    let nested = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": {}, "strict": true } });
    let named = json!({ "type": "json_schema", "name": "n" });
    for (format, absent) in [(nested, "text.format.name"), (named, "text.format.schema")] {
        assert_eq!(with(json!({ "text": { "format": format } })).unwrap_err().param.as_deref(), Some(absent));
    }
    for usual in [json!({ "background": false, "previous_response_id": null }), json!({ "store": null, "tools": [] })]
    {
        with(usual).unwrap();
    }
}

#[test]
fn what_is_lost_is_named_and_what_openai_knows_goes_on() {
    let request = with(json!({
        "store": true, "metadata": { "a": "b" }, "truncation": "auto", "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k", "service_tier": "flex", "safety_identifier": "u-1", "max_output_tokens": 9,
        "reasoning": { "effort": "low", "summary": "auto" }, "text": { "verbosity": "low" },
    }))
    .unwrap();
    assert_eq!((request.user.as_deref(), request.max_tokens), (Some("u-1"), Some(9)));
    let (openai, mut dropped) = encoded(Dialect::OpenAi, &request);
    dropped.sort();
    assert_eq!(dropped, ["metadata", "store", "truncation"]);
    assert_eq!(
        (&openai["prompt_cache_key"], &openai["service_tier"], &openai["verbosity"], &openai["reasoning_effort"]),
        (&json!("k"), &json!("flex"), &json!("low"), &json!("low"))
    );
    let (anthropic, dropped) = encoded(Dialect::Anthropic, &request);
    assert_eq!(anthropic["output_config"]["effort"], "low");
    assert_eq!(anthropic["metadata"], json!({ "user_id": "u-1" }));
    for field in ["store", "metadata", "truncation", "prompt_cache_key", "service_tier", "verbosity"] {
        assert!(dropped.iter().any(|known| known == field), "{field}: {dropped:?}");
    }
    let usual =
        json!({ "store": false, "truncation": "disabled", "metadata": {}, "text": { "verbosity": "medium" } });
    for backend in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(encoded(backend, &with(usual.clone()).unwrap()).1, Vec::<String>::new());
    }
    let names = ["messages[0].thinking", "max_tokens (at most 9)", "response_format.json_schema.strict", "verbosity"];
    let own = ["input[0].thinking", "max_output_tokens (at most 9)", "text.format.strict", "text.verbosity"];
    assert_eq!(names.map(|name| own_name(Dialect::Responses, name)), own);
    assert_eq!(own_name(Dialect::OpenAi, "max_tokens"), "max_tokens");
}

#[test]
fn an_obstacle_is_named_by_its_place_in_the_input() {
    let picture = json!({ "type": "input_image", "image_url": "https://x/y.png", "detail": "auto" });
    let request = with(json!({ "instructions": "i", "input": [
        { "role": "user", "content": "q" },
        { "type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "pointsman:%" },
        { "type": "function_call", "call_id": "a", "name": "f", "arguments": "{}" },
        { "type": "function_call", "call_id": "b", "name": "f", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "a", "output": "1" },
        { "type": "function_call_output", "call_id": "b", "output": [{ "type": "input_text", "text": "2" }, picture] },
        { "role": "user", "content": [{ "type": "input_text", "text": "q" }, picture] },
    ] }))
    .unwrap();
    assert_eq!(request.items, [0, 0, 2, 4, 6]);
    let found = |request: &ChatRequest| obstacle(Dialect::Responses, Dialect::Ollama, request).unwrap();
    assert_eq!(found(&request), "input[5].output[1] (an image by URL)");
    let mut last = request.clone();
    last.messages[3].parts.pop();
    assert_eq!(found(&last), "input[6].content[1] (an image by URL)");
    let unknown = with(json!({ "x_new": 1 })).unwrap();
    for backend in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(obstacle(Dialect::Responses, backend, &unknown).as_deref(), Some("x_new"));
    }
    let document = with(json!({ "input": [{ "role": "user", "content": [
        { "type": "input_file", "file_url": "https://x/y.pdf", "filename": "y.pdf" },
    ] }] }))
    .unwrap();
    assert_eq!(
        obstacle(Dialect::Responses, Dialect::OpenAi, &document).as_deref(),
        Some("input[0].content[0] (document)")
    );
    let (anthropic, _) = encoded(Dialect::Anthropic, &document);
    assert_eq!(anthropic["messages"][0]["content"][0]["source"], json!({ "type": "url", "url": "https://x/y.pdf" }));
    let error = ApiError::new(ErrorKind::ContextOverflow, "x").at("messages");
    let told: Value = serde_json::from_slice(&encode_error(Dialect::Responses, &error).body).unwrap();
    assert_eq!((&told["error"]["param"], &told["error"]["type"]), (&json!("input"), &json!("invalid_request_error")));
}

#[test]
fn tools_and_formats_are_described_without_a_nest() {
    let schema = json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false });
    let tool = |name: &str| json!({ "type": "function", "name": name, "description": "d", "parameters": schema, "strict": true });
    let format = json!({ "type": "json_schema", "name": "n", "schema": schema, "strict": true });
    let tools = json!([tool("f"), tool("g")]);
    let choosing =
        |choice: Value| with(json!({ "tools": tools, "tool_choice": choice, "text": { "format": format } })).unwrap();
    let named = choosing(json!({ "type": "function", "name": "f" }));
    assert_eq!(named.tool_choice, Some(ToolChoice::Named("f".into())));
    let format =
        ResponseFormat::JsonSchema { name: "n".into(), schema: schema.clone(), strict: Some(true), implied: false };
    assert_eq!(named.response_format, Some(format));
    let allowed =
        json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "g" }] });
    let among = choosing(allowed);
    assert_eq!((among.tools.len(), among.tools[0].name.as_str()), (1, "g"));
    assert_eq!((among.tool_choice, among.tools[0].strict), (Some(ToolChoice::Required), Some(true)));
    let (sent, _) = encoded(Dialect::OpenAi, &named);
    assert_eq!(sent["tools"][0]["function"]["parameters"], schema);
    assert_eq!(sent["response_format"]["json_schema"]["name"], "n");
}

#[test]
fn a_function_in_a_namespace_is_called_where_it_stands() {
    let inner = json!({ "type": "function", "name": "spawn", "parameters": { "type": "object" } });
    let tools = json!([{ "type": "namespace", "name": "agents_", "description": "d", "tools": [inner] }]);
    let call = json!({ "type": "function_call", "call_id": "c", "namespace": "agents_", "name": "spawn", "arguments": "{}" });
    let body = json!({ "tools": tools, "input": [{ "role": "user", "content": "q" }, call] });
    let request = with(body.clone()).unwrap();
    let called = Part::ToolCall { id: "c".into(), name: "agents__spawn".into(), arguments: "{}".into() };
    assert_eq!((request.tools[0].name.as_str(), &request.messages[1].parts[0]), ("agents__spawn", &called));
    assert_eq!(encoded(Dialect::OpenAi, &request).1, ["tools[0].description"]);
    let function = |fields: Value| {
        let mut choice = json!({ "type": "function", "name": "spawn" });
        json::extend(&mut choice, fields);
        choice
    };
    let chosen = Some(ToolChoice::Named("agents__spawn".into()));
    for choice in [function(json!({})), function(json!({ "namespace": "agents_" }))] {
        let mut body = body.clone();
        body["tool_choice"] = choice.clone();
        assert_eq!(with(body.clone()).unwrap().tool_choice, chosen);
        body["tool_choice"] = json!({ "type": "allowed_tools", "mode": "auto", "tools": [choice] });
        assert_eq!(with(body).unwrap().tools.len(), 1);
    }
    let meta = AnswerMeta { echo: echo(Dialect::Responses, body.to_string().as_bytes()), ..meta() };
    let start = Some(("c".to_owned(), "agents__spawn".to_owned()));
    let delta = ToolCallDelta { index: 0, start, arguments: "{}".into() };
    let finish = StreamEvent::Finish { reason: FinishReason::ToolCalls, stop_sequence: None };
    let streamed = listened(&heard_by(meta.clone(), &[StreamEvent::ToolCall(delta), finish]));
    let whole = answer(vec![called], FinishReason::ToolCalls);
    let whole: Value = serde_json::from_slice(&encode_response(Dialect::Responses, &whole, &meta)).unwrap();
    for answer in [streamed, whole] {
        let item = &answer["output"][0];
        assert_eq!((&item["namespace"], &item["name"]), (&json!("agents_"), &json!("spawn")));
    }
    let same = json!([tools[0], { "type": "function", "name": "spawn" }]);
    let choice = json!({ "type": "function", "name": "spawn" });
    let choice = with(json!({ "tools": same, "tool_choice": choice })).unwrap().tool_choice;
    assert_eq!(choice, Some(ToolChoice::Named("spawn".into())), "outside goes before inside");
    let nested = json!([{ "type": "namespace", "name": "a", "tools": [{ "type": "mcp", "name": "x" }] }]);
    let nested = with(json!({ "tools": nested })).unwrap();
    assert_eq!(obstacle(Dialect::Responses, Dialect::Anthropic, &nested).as_deref(), Some("tools (mcp)"));
}

#[test]
fn a_custom_tool_takes_a_text_wherever_it_is_offered() {
    let format = json!({ "type": "grammar", "syntax": "lark", "definition": "start: /x/" });
    let custom = |name: &str| json!({ "type": "custom", "name": name, "description": "d", "format": format });
    let space = json!({ "type": "namespace", "name": "functions", "tools": [
        custom("exec"), { "type": "function", "name": "wait", "parameters": { "type": "object" } },
    ] });
    let offer = json!({ "type": "additional_tools", "role": "developer", "tools": [space] });
    let call = json!({
        "type": "custom_tool_call", "call_id": "c", "namespace": "functions", "name": "exec", "input": "text(\"1\")",
    });
    let result = json!({ "type": "custom_tool_call_output", "call_id": "c", "output": "1" });
    let question = json!({ "role": "user", "content": "q" });
    let choice = json!({ "type": "custom", "name": "patch" });
    let body = json!({
        "tools": [custom("patch"), custom("patch")], "tool_choice": choice,
        "input": [offer, question, call, result, offer],
    });
    let request = with(body.clone()).unwrap();
    let names: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["patch", "patch", "functions__exec", "functions__wait"], "offered again it is the same");
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("patch".into())));
    let exec = &request.tools[2];
    assert_eq!(exec.description.as_deref(), Some("d\n\nThe text must follow this grammar (lark):\nstart: /x/"));
    assert_eq!((&exec.parameters["required"], request.items), (&json!(["input"]), vec![1, 2, 3]));
    let called = |name: &str, arguments: &str| Part::ToolCall {
        id: "c".into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    let whole = r#"{"input":"text(\"1\")"}"#;
    assert_eq!(request.messages[1].parts, [called("functions__exec", whole)]);
    assert!(matches!(&request.messages[2].parts[0], Part::ToolResult { call_id, .. } if call_id == "c"));

    let meta = AnswerMeta { echo: echo(Dialect::Responses, body.to_string().as_bytes()), ..meta() };
    let cut = r#"{"input":"te"#;
    for (name, arguments, input) in [
        ("functions__exec", whole, "text(\"1\")"),
        ("patch", whole, "text(\"1\")"),
        ("patch", "\"x\"", "x"),
        ("patch", cut, cut),
        ("patch", "{}", ""),
    ] {
        let start = Some(("c".to_owned(), name.to_owned()));
        let (first, second) = arguments.split_at(2);
        let delta = |start, arguments: &str| {
            StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments: arguments.into() })
        };
        let finish = StreamEvent::Finish { reason: FinishReason::ToolCalls, stop_sequence: None };
        let events = heard_by(meta.clone(), &[delta(start, first), delta(None, second), finish]);
        let of = |kind: &str| events.iter().find(|event| event["type"] == format!("response.{kind}")).unwrap();
        if !input.is_empty() {
            assert_eq!(of("custom_tool_call_input.delta")["delta"], input);
        }
        assert_eq!(of("custom_tool_call_input.done")["input"], input);
        let whole = answer(vec![called(name, arguments)], FinishReason::ToolCalls);
        let whole: Value = serde_json::from_slice(&encode_response(Dialect::Responses, &whole, &meta)).unwrap();
        assert_eq!(whole["output"], of("completed")["response"]["output"]);
        let item = &whole["output"][0];
        assert_eq!((&item["type"], &item["input"]), (&json!("custom_tool_call"), &json!(input)));
        let namespace = (name != "patch").then(|| json!("functions"));
        assert_eq!(item.get("namespace"), namespace.as_ref());
        assert_eq!(item["status"], if input == cut { "incomplete" } else { "completed" });
        let kinds: Vec<&str> =
            meta.echo["tools"].as_array().unwrap().iter().filter_map(|tool| tool["type"].as_str()).collect();
        assert_eq!(kinds, ["namespace", "custom", "custom"]);
    }
}

#[test]
fn two_functions_of_one_name_elsewhere_are_refused() {
    let function = |name: &str| json!({ "type": "function", "name": name });
    let space = |name: &str, tool: &str| json!({ "type": "namespace", "name": name, "tools": [function(tool)] });
    for tools in [
        json!([function("n__a"), space("n", "a")]),
        json!([space("m", "a"), space("n", "a"), function("n__a")]),
        json!([space("n_", "a"), space("n", "a")]),
    ] {
        let error = with(json!({ "tools": tools })).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("tools"));
        assert!(error.message.contains("`n__a`"), "{}", error.message);
    }
    assert!(with(json!({ "tools": [function("a"), space("n", "a"), space("m", "a")] })).is_ok());
    assert!(with(json!({ "tools": [function("a"), function("a")] })).is_ok(), "it is for the vendor to say");
}

#[test]
fn a_name_that_grows_too_long_or_strange_in_a_namespace_is_another_one_and_found_again() {
    let space = |name: &str, tool: &str| json!({ "type": "namespace", "name": name, "tools": [{ "type": "function", "name": tool }] });
    let (long, other) = ("n".repeat(40), format!("{}m", "n".repeat(39)));
    let tools = json!([space(&long, &long), space(&long, &other), space("my server", "f.g")]);
    let request = with(json!({ "tools": tools })).unwrap();
    assert_eq!(obstacle(Dialect::Responses, Dialect::OpenAi, &request), None);
    let names: std::collections::HashSet<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    let fits =
        |name: &&str| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    assert!(names.len() == 3 && names.iter().all(fits), "{names:?}");
    let echo = echo(Dialect::Responses, json!({ "tools": tools }).to_string().as_bytes());
    let called = |name: &str| Part::ToolCall { id: "c".into(), name: name.into(), arguments: "{}".into() };
    let response = answer(request.tools.iter().map(|tool| called(&tool.name)).collect(), FinishReason::ToolCalls);
    let answer = encode_response(Dialect::Responses, &response, &AnswerMeta { echo, ..meta() });
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let places: Vec<_> =
        (0..3).map(|at| &answer["output"][at]).map(|item| (&item["namespace"], &item["name"])).collect();
    let (long, other) = (json!(long), json!(other));
    assert_eq!(places, [(&long, &long), (&long, &other), (&json!("my server"), &json!("f.g"))]);
    let huge = with(json!({ "tools": [space(&"n".repeat(257), "f")] })).unwrap_err();
    assert_eq!(huge.param.as_deref(), Some("tools[0].name"), "it would be said again of each function in it");
}

#[test]
fn all_that_is_sent_is_looked_at() {
    let word = "confidential";
    let says = |fields: Value| with(fields).unwrap().texts(None).iter().any(|text| text.contains(word));
    for fields in [
        json!({ "instructions": word }),
        json!({ "input": word }),
        json!({ "input": [{ "role": "developer", "content": [{ "type": "input_text", "text": word }] }] }),
        json!({ "input": [{ "type": "function_call_output", "call_id": "c", "output": word }] }),
        json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f", "arguments": word }] }),
        json!({ "input": [{ "type": "reasoning", "summary": [{ "text": word }] }] }),
        json!({ "tools": [{ "type": "function", "name": "f", "description": word }] }),
        json!({ "text": { "format": { "type": "json_schema", "name": "n", "schema": { "description": word } } } }),
        json!({ "metadata": { "project": word } }),
        json!({ "user": word }),
        json!({ "x_new": [word] }),
    ] {
        assert!(says(fields.clone()), "{fields}");
    }
    assert!(!says(json!({})));
}

// ------------------------------------------------------------------------------------------------------------ answers

#[test]
fn an_answer_says_whether_it_is_whole() {
    let call = Part::ToolCall { id: "c".into(), name: "f".into(), arguments: String::new() };
    let refusal = Part::Refusal { text: "no".into() };
    let details = |reason: &str| json!({ "reason": reason });
    for (parts, reason, status, why) in [
        (vec![Part::text("a")], FinishReason::Stop, "completed", Value::Null),
        (vec![call], FinishReason::ToolCalls, "completed", Value::Null),
        (vec![Part::text("a")], FinishReason::Length, "incomplete", details("max_output_tokens")),
        (vec![Part::text("a")], FinishReason::ContentFilter, "incomplete", details("content_filter")),
        (vec![refusal], FinishReason::ContentFilter, "completed", Value::Null),
        (vec![], FinishReason::Other, "completed", Value::Null),
    ] {
        let answer = told(parts, reason);
        assert_eq!((&answer["status"], &answer["incomplete_details"]), (&json!(status), &why));
        let last = answer["output"].as_array().unwrap().last().cloned();
        assert!(last.is_none_or(|item| item["status"] == status), "{answer}");
        assert_eq!((&answer["object"], &answer["store"]), (&json!("response"), &json!(false)));
    }
    let answer =
        told(vec![Part::text("a"), Part::text("b"), Part::Refusal { text: "no".into() }], FinishReason::Stop);
    assert_eq!(
        answer["output"][0]["content"],
        json!([
            { "type": "output_text", "text": "ab", "annotations": [], "logprobs": [] },
            { "type": "refusal", "refusal": "no" },
        ])
    );
    let usage = &answer["usage"];
    assert_eq!((&usage["input_tokens"], &usage["input_tokens_details"]["cached_tokens"]), (&json!(10), &json!(3)));
    assert_eq!((&usage["output_tokens"], &usage["total_tokens"]), (&json!(5), &json!(15)));
}

#[test]
fn an_answer_repeats_its_request() {
    let echo =
        echo(Dialect::Responses, br#"{"instructions":"i","tools":[{"type":"function","name":"f"}],"top_p":0.5}"#);
    let answer = AnswerMeta { echo, ..meta() };
    let mut out = BytesMut::new();
    let mut encoder = StreamEncoder::new(Dialect::Responses, answer, true);
    encoder.encode(&StreamEvent::Start { id: "v".into(), model: "v".into() }, &mut out);
    for event in super::responses_stream_tests::events(&out) {
        let told = &event["response"];
        assert_eq!((&told["status"], &told["usage"]), (&json!("in_progress"), &Value::Null));
        assert_eq!(
            (&told["instructions"], &told["tools"][0]["name"], &told["top_p"]),
            (&json!("i"), &json!("f"), &json!(0.5))
        );
        assert_eq!((&told["tool_choice"], &told["text"]["format"]["type"]), (&json!("auto"), &json!("text")));
    }
    assert!(super::echo(Dialect::OpenAi, b"{}").is_empty());
}

// --------------------------------------------------------------------------------------------------------- properties

/// A conversation as items.
fn items(messages: &[Message]) -> Vec<Value> {
    let mut items = Vec::new();
    for message in messages {
        let content = |part: &Part| match part {
            Part::Text { text, .. } if message.role == Role::Assistant => {
                json!({ "type": "output_text", "text": text, "annotations": [] })
            }
            Part::Text { text, .. } => json!({ "type": "input_text", "text": text }),
            Part::Image { source: ImageSource::Url(url), .. } => json!({ "type": "input_image", "image_url": url }),
            Part::Image { source: ImageSource::Base64 { media_type, data }, .. } => {
                json!({ "type": "input_image", "image_url": format!("data:{media_type};base64,{data}") })
            }
            other => panic!("no part of a message: {other:?}"),
        };
        let mut said: Vec<Value> = Vec::new();
        let mut others = Vec::new();
        for part in &message.parts {
            match part {
                Part::ToolCall { id, name, arguments } => others.push(json!({
                    "type": "function_call", "id": "fc", "status": "completed", "call_id": id, "name": name, "arguments": arguments,
                })),
                Part::ToolResult { call_id, content: result, .. } => others.push(json!({
                    "type": "function_call_output", "call_id": call_id, "output": result.iter().map(content).collect::<Vec<_>>(),
                })),
                _ => said.push(content(part)),
            }
        }
        if !said.is_empty() {
            items.push(json!({ "type": "message", "role": message.role, "content": said }));
        }
        items.extend(others);
    }
    items
}

fn piece() -> impl Strategy<Value = StreamEvent> {
    prop_oneof![
        text().prop_map(StreamEvent::Text),
        text().prop_map(StreamEvent::Refusal),
        text().prop_map(StreamEvent::Thinking),
        text().prop_map(StreamEvent::ThinkingSignature),
        text().prop_map(StreamEvent::RedactedThinking),
        (text(), text()).prop_map(|(id, arguments)| {
            StreamEvent::ToolCall(ToolCallDelta { index: 0, start: Some((id, "f".into())), arguments })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_conversation_of_items_is_read_as_its_turns(messages in conversation()) {
        let items = items(&messages);
        let request = read(json!({ "input": items })).unwrap();
        prop_assert_eq!(&request.messages, &messages);
        prop_assert!(request.leftovers.is_empty() && request.extensions.is_empty());
        prop_assert!(request.items.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn any_stream_adds_up_to_the_answer_at_its_end(mut said in vec(piece(), 0..12), reason in prop_oneof![Just(FinishReason::Stop), Just(FinishReason::Length)]) {
        let mut calls = 0;
        for event in &mut said {
            if let StreamEvent::ToolCall(call) = event { call.index = calls; calls += 1; }
        }
        let whole = told(parts(&said), reason);
        said.push(StreamEvent::Finish { reason, stop_sequence: None });
        let answer = listened(&heard(&said));
        prop_assert_eq!(&answer["output"], &whole["output"]);
        prop_assert_eq!(&answer["status"], &whole["status"]);
    }
}
