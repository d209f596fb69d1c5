//! What only OpenAI can do for a client of its Responses: tools that it runs itself, and whatever is unknown here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::tests::{answer, meta};
use super::*;
use crate::config::{Quirks, Refusal};
use crate::protocol::{Role, StreamEvent};

fn body(more: Value) -> Value {
    let mut body = json!({ "model": "m", "input": "Hello" });
    json::extend(&mut body, more);
    body
}

fn decoded(body: &Value) -> ChatRequest {
    decode_request(Dialect::Responses, body.to_string().as_bytes()).unwrap()
}

/// What is in the way to Chat Completions, and whether the body passes in its place.
fn found(more: Value) -> (Option<String>, bool) {
    let request = decoded(&body(more));
    (obstacle(Dialect::Responses, Dialect::OpenAi, &request), is_only_for_responses(Dialect::Responses, &request))
}

fn openais() -> Quirks {
    Quirks { responses: true, reasoning_effort: true, longest_call_id: Some(8), ..Quirks::default() }
}

#[test]
fn what_no_other_dialect_can_say_is_for_openai_alone() {
    let search = json!([{ "type": "web_search", "filters": { "allowed_domains": ["x.org"] } }]);
    let of_user = |part: Value| json!({ "input": [{ "role": "user", "content": [part] }] });
    let item = |item: Value| json!({ "input": [{ "role": "user", "content": "q" }, item] });
    for (more, obstacle) in [
        (json!({ "tools": search }), "tools (web_search)"),
        (json!({ "tools": search, "tool_choice": { "type": "web_search" } }), "tools (web_search)"),
        (json!({ "tools": search, "tool_choice": "required" }), "tools (web_search)"),
        (json!({ "x_new": { "of": "tomorrow" } }), "x_new"),
        (item(json!({ "type": "web_search_call", "id": "ws_1", "status": "completed" })), "input (web_search)"),
        (
            item(
                json!({ "type": "computer_call_output", "call_id": "c", "output": { "type": "computer_screenshot" } }),
            ),
            "input[1].output[0] (computer)",
        ),
        (of_user(json!({ "type": "input_video", "url": "x" })), "input[0].content[0] (unknown)"),
        (of_user(json!({ "type": "input_image", "file_id": "f" })), "input[0].content[0] (input_image)"),
        (of_user(json!({ "type": "input_file", "file_url": "https://x/y.pdf" })), "input[0].content[0] (document)"),
        // A tool of its own in a namespace.
        (json!({ "tools": [{ "type": "namespace", "name": "n", "tools": [{ "type": "shell" }] }] }), "tools (shell)"),
    ] {
        assert_eq!(found(more.clone()), (Some(obstacle.to_owned()), true), "{more}");
    }
    // What others can say, too, and what not even OpenAI can.
    let known = json!([{ "type": "function", "name": "f", "parameters": {} }]);
    for more in [
        json!({ "tools": known, "tool_choice": { "type": "allowed_tools", "mode": "auto", "tools": [known[0]] } }),
        of_user(json!({ "type": "input_file", "file_id": "f" })),
        json!({ "metadata": { "a": "b" }, "store": true }),
    ] {
        assert_eq!(found(more.clone()), (None, false), "{more}");
    }
    let (obstacle, is_only) = found(json!({ "tools": search, "seed": 7 }));
    assert!(obstacle.is_some() && !is_only);
}

#[test]
fn a_result_of_a_tool_that_the_client_runs_for_openai_is_one() {
    let request = decoded(&body(json!({ "input": [
        { "role": "user", "content": "q" },
        { "type": "apply_patch_call", "call_id": "a", "operation": { "type": "delete_file", "path": "x" } },
        { "role": "developer", "content": "A note." },
        { "type": "apply_patch_call_output", "call_id": "a", "status": "completed" },
    ] })));
    assert!(request.is_in_tool_loop() && request.needs().tools);
    // It stands behind its call, as all results do.
    let roles: Vec<Role> = request.messages.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::User, Role::Developer]);
    let approved = decoded(&body(json!({ "input": [
        { "role": "user", "content": "q" },
        { "type": "mcp_approval_request", "id": "mcpr_1", "name": "f", "arguments": "{}", "server_label": "s" },
        { "type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": true },
    ] })));
    assert!(approved.is_in_tool_loop());
}

#[test]
fn of_what_must_pass_only_what_the_model_refuses_is_changed() {
    let quirks = openais();
    let sealed = |thought: &str| json!({ "type": "reasoning", "summary": [], "encrypted_content": thought });
    let asked = body(json!({
        "tools": [{ "type": "web_search", "of": "tomorrow" }],
        "input": [
            { "role": "user", "content": "q" },
            sealed("gAAAA"),
            { "type": "reasoning", "id": "rs_1", "summary": [] },
            { "role": "assistant", "id": "msg_1", "content": "a" },
            sealed("pointsman:e30="),
            sealed(""),
            { "type": "function_call", "call_id": "call_longer", "name": "f", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "call_longer", "output": "1" },
        ],
        "temperature": 0.5,
        "drop_params": true,
        "max_output_tokens": 900,
        "reasoning": { "effort": "max", "summary": "auto" },
        "x_new": 1.50,
    }));
    let request = decoded(&asked);
    let refuses = BTreeSet::from([Refusal::Sampling]);
    let target = Target {
        reasoning: true,
        max_output_tokens: Some(100),
        refuses: &refuses,
        tell_thoughts: false,
        ..Target::new(Dialect::Responses, &quirks, "gpt")
    };
    let passed = |target: &Target<'_>| {
        let Encoded { body, dropped } = pass_request(target, &request, asked.to_string().as_bytes()).unwrap();
        (serde_json::from_slice::<Value>(&body).unwrap(), dropped)
    };
    let (sent, dropped) = passed(&target);
    let short = sent["input"][3]["call_id"].clone();
    assert_eq!(short.as_str().unwrap().len(), 8);
    let expected = json!({
        "model": "gpt",
        "tools": [{ "type": "web_search", "of": "tomorrow" }],
        "input": [
            { "role": "user", "content": "q" },
            sealed("gAAAA"),
            { "role": "assistant", "content": "a" },
            { "type": "function_call", "call_id": short, "name": "f", "arguments": "{}" },
            { "type": "function_call_output", "call_id": short, "output": "1" },
        ],
        "max_output_tokens": 100,
        "reasoning": { "effort": "high" },
        "x_new": 1.50,
        "store": false,
        "include": ["reasoning.encrypted_content"],
    });
    assert_eq!(sent, expected);
    let lost = [
        "max_tokens (at most 100)",
        "temperature",
        "drop_params",
        "reasoning.effort",
        "input[2] (reasoning)",
        "input[4] (reasoning)",
        "input[5] (reasoning)",
    ];
    assert_eq!(dropped, lost);
    // Thoughts that OpenAI has refused stay away, and a model that does not think is told nothing about it.
    let (sent, _) = passed(&Target { refused_thoughts: 2, ..target });
    assert!(sent["input"].as_array().unwrap().iter().all(|item| item["type"] != "reasoning"));
    let (sent, dropped) = passed(&Target { reasoning: false, ..target });
    assert_eq!((sent.get("reasoning"), sent.get("include")), (None, None));
    assert!(dropped.contains(&"reasoning".to_owned()));
}

#[test]
fn what_openai_ran_upon_a_thought_that_is_left_out_goes_with_it() {
    let quirks = openais();
    let user = json!({ "role": "user", "content": "q" });
    let thought = |id: &str| json!({ "type": "reasoning", "id": id, "summary": [], "encrypted_content": "gAAAA" });
    let item = |kind: &str, id: &str| json!({ "type": kind, "id": id });
    let said = json!({ "type": "message", "id": "msg_1", "role": "assistant", "content": "a" });
    let called = json!({ "type": "shell_call", "id": "sh_1", "call_id": "c" });
    let result = json!({ "type": "shell_call_output", "call_id": "c", "output": [] });
    let bare = json!({ "type": "reasoning", "id": "rs_0", "summary": [] });
    let approval = |id: &str| json!({ "type": "mcp_approval_response", "approval_request_id": id, "approve": true });
    let input = vec![
        user.clone(),
        item("web_search_call", "ws_0"),
        thought("rs_1"),
        item("web_search_call", "ws_1"),
        bare,
        item("web_search_call", "ws_2"),
        said,
        item("mcp_list_tools", "mcpl_1"),
        item("mcp_approval_request", "mcpr_1"),
        item("mcp_approval_request", "mcpr_2"),
        called.clone(),
        approval("mcpr_2"),
        item("mcp_call", "mcp_1"),
        result.clone(),
        thought("rs_2"),
        item("code_interpreter_call", "ci_1"),
        user.clone(),
        item("image_generation_call", "ig_1"),
    ];
    let asked = body(json!({ "tools": [{ "type": "web_search" }], "input": input }));
    let sent = |refused_thoughts: usize| {
        let target = Target { reasoning: true, refused_thoughts, ..Target::new(Dialect::Responses, &quirks, "gpt") };
        let Encoded { body, dropped } =
            pass_request(&target, &decoded(&asked), asked.to_string().as_bytes()).unwrap();
        let sent: Value = serde_json::from_slice(&body).unwrap();
        let name = |item: &Value| item["id"].as_str().or(item["type"].as_str()).unwrap_or("message").to_owned();
        (sent["input"].as_array().unwrap().iter().map(name).collect::<Vec<_>>(), dropped)
    };
    let behind = ["message", "mcpr_2", "sh_1", "mcp_approval_response", "mcp_1", "shell_call_output"];
    let (kept, dropped) = sent(0);
    let before = ["message", "ws_0", "rs_1", "ws_1"];
    assert_eq!(kept, [&before[..], &behind, &["rs_2", "ci_1", "message", "ig_1"]].concat());
    let lost = ["input[4] (reasoning)", "input[5] (web_search)", "input[7] (mcp)", "input[8] (mcp)"];
    assert_eq!(dropped, lost);
    let (kept, _) = sent(1);
    assert_eq!(kept, [&["message", "ws_0"][..], &behind, &["rs_2", "ci_1", "message", "ig_1"]].concat());
    let (kept, dropped) = sent(2);
    assert_eq!(kept, [&["message", "ws_0"][..], &behind, &["message", "ig_1"]].concat());
    let lost = [
        "input[2] (reasoning)",
        "input[3] (web_search)",
        "input[4] (reasoning)",
        "input[5] (web_search)",
        "input[7] (mcp)",
        "input[8] (mcp)",
        "input[14] (reasoning)",
        "input[15] (code_interpreter)",
    ];
    assert_eq!(dropped, lost);
}

#[test]
fn a_model_that_does_not_think_is_brought_no_thoughts_and_a_provider_nothing_that_it_refuses() {
    let quirks = Quirks { leave_out: ["reasoning", "service_tier"].map(String::from).into(), ..openais() };
    let input = json!([
        { "role": "user", "content": "q" },
        { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA" },
        { "type": "message", "id": "msg_1", "role": "assistant", "content": "a" },
        { "role": "user", "content": "q" },
    ]);
    let asked = body(json!({ "input": input, "service_tier": "flex", "reasoning": { "effort": "low" } }));
    let sent = |reasoning: bool| {
        let target = Target { reasoning, ..Target::new(Dialect::Responses, &quirks, "gpt") };
        let Encoded { body, mut dropped } =
            pass_request(&target, &decoded(&asked), asked.to_string().as_bytes()).unwrap();
        let sent: Value = serde_json::from_slice(&body).unwrap();
        dropped.sort();
        (sent["input"].as_array().unwrap().len(), sent["reasoning"]["effort"].clone(), dropped)
    };
    assert_eq!(sent(true), (4, json!("low"), vec!["service_tier".to_owned()]));
    let lost = ["input[1] (reasoning)", "reasoning", "service_tier"].map(String::from).to_vec();
    assert_eq!(sent(false), (3, Value::Null, lost));
}

#[test]
fn what_an_older_model_refuses_or_only_a_router_knows_is_left_out() {
    let quirks = openais();
    let newest = BTreeSet::from([Refusal::ThinkingWithTools]);
    let passed = |newer: bool, more: Value| {
        let mut target = Target { reasoning: newer, ..Target::new(Dialect::Responses, &quirks, "m") };
        if newer {
            target.refuses = &newest;
        }
        let body = body(more);
        let Encoded { body, dropped } = pass_request(&target, &decoded(&body), body.to_string().as_bytes()).unwrap();
        let mut sent: Value = serde_json::from_slice(&body).unwrap();
        for added in ["store", "include"] {
            sent.as_object_mut().unwrap().shift_remove(added);
        }
        (sent, dropped)
    };
    let mark = json!({ "mode": "explicit" });
    let marked = |marks: bool| {
        let mut part = json!({ "type": "input_text", "text": "q" });
        if marks {
            part["prompt_cache_breakpoint"] = mark.clone();
        }
        part
    };
    let asked = |marks: bool| json!({ "input": [{ "role": "user", "content": [marked(marks)] }] });
    let called = |marks: bool| {
        json!({ "input": [
            { "role": "user", "content": "q" },
            { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c", "output": [marked(marks)] },
        ] })
    };
    for (more, left) in [
        (json!({ "text": { "verbosity": "low" } }), json!({ "text": {} })),
        (json!({ "prompt_cache_options": mark }), json!({})),
        (asked(true), asked(false)),
        (called(true), called(false)),
    ] {
        assert_eq!(passed(true, more.clone()).0, body(more.clone()), "{more}");
        assert_eq!(passed(false, more.clone()).0, body(left), "{more}");
    }
    for field in ["num_retries", "timeout", "tags", "include_reasoning", "cache_control", "betas", "container"] {
        assert_eq!(passed(true, json!({ field: 1 })), (body(json!({})), vec![field.to_owned()]));
    }
    for more in [
        json!({ "n": 1 }),
        json!({ "n": 1.0, "functions": {} }),
        json!({ "logprobs": false, "stop": [] }),
        json!({ "modalities": ["text"], "frequency_penalty": 0 }),
        json!({ "presence_penalty": 0.0 }),
    ] {
        assert_eq!(passed(true, more), (body(json!({})), Vec::new()));
    }
    assert_eq!(passed(true, json!({ "verbosity": "low" })).0, body(json!({ "text": { "verbosity": "low" } })));
    for more in [
        json!({ "service_tier": "auto" }),
        json!({ "top_logprobs": 2 }),
        json!({ "prompt_cache_key": "k", "metadata": { "a": "b" } }),
        json!({ "context_management": [{ "type": "compaction", "compact_threshold": 9000 }] }),
    ] {
        assert_eq!(passed(false, more.clone()), (body(more), Vec::new()));
    }
}

#[test]
fn only_an_unverified_organisation_is_taken_for_one() {
    let error = |message: &str| ApiError::invalid(message).at("reasoning.summary");
    let unverified = error("Your organization must be verified to generate reasoning summaries.");
    let unknown = error("Unsupported value: 'concise' is not supported with the 'gpt-5' model.");
    assert!(hides_thoughts(&unverified) && is_for_the_verified(&unverified));
    assert!(hides_thoughts(&unknown) && !is_for_the_verified(&unknown));
    // What the model alone refuses may be taken once it is translated.
    let request = decoded(&body(json!({})));
    let refused = ApiError::invalid("Unsupported parameter.").at("text.verbosity");
    assert!(!may_be_translated(&refused, &request));
    assert!(may_be_translated(&ApiError { by_model: true, ..refused }, &request));
}

#[test]
fn a_thought_of_openais_that_was_translated_before_is_unwrapped() {
    let thought = Part::Thinking { text: "t".into(), signature: Some("openai:gAAAA".into()) };
    let answer = answer(vec![thought, Part::text("a")], FinishReason::Stop);
    let told: Value = serde_json::from_slice(&encode_response(Dialect::Responses, &answer, &meta())).unwrap();
    let mut input = vec![json!({ "role": "user", "content": "q" })];
    input.extend(told["output"].as_array().unwrap().clone());
    input.push(json!({ "role": "user", "content": "Go on." }));
    assert!(input[1]["encrypted_content"].as_str().unwrap().starts_with("pointsman:"));
    let asked = body(json!({ "input": input, "tools": [{ "type": "web_search" }] }));
    let quirks = openais();
    let target = Target { reasoning: true, ..Target::new(Dialect::Responses, &quirks, "gpt") };
    let Encoded { body, dropped } = pass_request(&target, &decoded(&asked), asked.to_string().as_bytes()).unwrap();
    let sent: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&sent["input"][1]["encrypted_content"], dropped), (&json!("gAAAA"), Vec::new()));
}

#[test]
fn a_call_of_such_a_tool_is_an_answer() {
    let call = json!({ "type": "computer_call", "call_id": "c", "action": { "type": "screenshot" } });
    let answer = json!({ "id": "r", "object": "response", "status": "completed", "model": "m", "output": [call] });
    let read = decode_response(Dialect::Responses, answer.to_string().as_bytes()).unwrap();
    assert!(read.parts.iter().any(Part::says_something));
    let mut decoder = StreamDecoder::new(Dialect::Responses);
    let mut events = Vec::new();
    for event in [
        json!({ "type": "response.created", "response": { "id": "r", "status": "in_progress", "output": [] } }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": call }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": call }),
        json!({ "type": "response.completed", "response": answer }),
    ] {
        decoder.push(format!("data: {event}\n\n").as_bytes(), &mut events);
    }
    decoder.finish(&mut events);
    let said = events.iter().filter(|event| event.is_content() && event.says_something()).count();
    assert_eq!(said, 1, "{events:?}");
    // Where it is translated after all, it is left out: no dialect takes it for a part of its own.
    for client in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Responses, Dialect::Native] {
        let told = encode_response(client, &read, &meta());
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert!(!told.to_string().contains("computer_call") && told["content"][0].is_null(), "{told}");
    }
}

#[test]
fn what_is_sealed_for_one_account_another_may_not_open() {
    let refused = |code: &str| {
        let error = json!({ "message": "It could not be verified.", "type": "invalid_request_error", "param": null, "code": code });
        decode_error(Dialect::Responses, 400, json!({ "error": error }).to_string().as_bytes(), None)
    };
    let sealed = refused("invalid_encrypted_content");
    assert_eq!((sealed.kind, sealed.by_model), (ErrorKind::InvalidRequest, true));
    let other = refused("invalid_value");
    assert_eq!([&sealed, &other].map(may_be_for_another_account), [true, false]);
    let holds = |item: Value| decoded(&body(json!({ "input": [item, { "role": "user", "content": "q" }] })));
    let thought = holds(json!({ "type": "reasoning", "summary": [], "encrypted_content": "gAAAA" }));
    let summary = holds(json!({ "type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA" }));
    let bare = holds(json!({ "type": "compaction", "id": "cmp_1" }));
    assert_eq!([&thought, &summary, &bare].map(returns_what_is_sealed), [true, true, false]);
    // Of a request without thoughts none can be left out.
    assert_eq!([&thought, &summary].map(|request| thoughts(Dialect::Responses, request)), [1, 0]);
}

#[test]
fn what_is_written_for_a_tool_of_openais_is_counted() {
    let written = |kind: &str, delta: Value| {
        let mut decoder = StreamDecoder::new(Dialect::Responses);
        let mut events = Vec::new();
        for event in [
            json!({ "type": "response.output_item.added", "output_index": 0, "item": { "type": "mcp_call", "id": "m" } }),
            json!({ "type": kind, "item_id": "m", "output_index": 0, "delta": delta }),
            json!({ "type": kind, "item_id": "m", "output_index": 0, "delta": delta }),
        ] {
            decoder.push(format!("data: {event}\n\n").as_bytes(), &mut events);
        }
        assert_eq!(events.iter().filter(|event| matches!(event, StreamEvent::Start { .. })).count(), 1, "{kind}");
        events.iter().map(StreamEvent::answer_bytes).sum::<usize>()
    };
    for kind in ["code_interpreter_call_code", "apply_patch_call_operation_diff", "mcp_call_arguments", "of_tomorrow"]
    {
        assert_eq!(written(&format!("response.{kind}.delta"), json!("print(\"h\u{e9}\")")), 24, "{kind}");
    }
    for (kind, delta) in [
        ("response.of_tomorrow.delta", json!({ "text": "x" })),
        ("response.of_tomorrow.delta", Value::Null),
        ("response.of_tomorrow.done", json!("x")),
        ("response.audio.delta", json!("UklGRg==")),
    ] {
        assert_eq!(written(kind, delta), 0, "{kind}");
    }
}
