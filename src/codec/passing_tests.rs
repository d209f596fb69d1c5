//! Where client and backend speak the same dialect: the body passes through, but for what the backend would refuse.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::tests::{encoded, openai, passed, target};
use super::*;
use crate::config::{MaxTokensField, Quirks, Refusal};

#[test]
fn passing_through_changes_the_model_and_nothing_else() {
    let quirks = Quirks::default();
    let target = target(Dialect::OpenAi, &quirks);
    let body = br#"{ "x_unknown" : [1.50, 1e3, "\u00e9"] ,"model":"auto",  "messages":[{"model":"inner"}] }"#;
    let passed = passthrough_request(&target, body, false).unwrap();
    let expected =
        br#"{ "x_unknown" : [1.50, 1e3, "\u00e9"] ,"model":"upstream-id",  "messages":[{"model":"inner"}] }"#;
    assert_eq!(std::str::from_utf8(&passed).unwrap(), std::str::from_utf8(expected).unwrap());
    let streamed = passthrough_request(&target, b"{\"model\":\"m\"}", true).unwrap();
    assert_eq!(&streamed[..], br#"{"stream_options":{"include_usage":true},"model":"upstream-id"}"#);
    let merged = passthrough_request(&target, br#"{"model":"m","stream_options":{"x":1}}"#, true).unwrap();
    assert_eq!(&merged[..], br#"{"model":"upstream-id","stream_options":{"x":1,"include_usage":true}}"#);
    let twice = br#"{"stream_options":{},"model":"m","stream_options":{"include_usage":false}}"#;
    let asked =
        br#"{"stream_options":{"include_usage":true},"model":"upstream-id","stream_options":{"include_usage":true}}"#;
    assert_eq!(&passthrough_request(&target, twice, true).unwrap()[..], asked, "of two, vendors take the last");
    let added = passthrough_request(&target, b"{}", false).unwrap();
    assert_eq!(&added[..], br#"{"model":"upstream-id"}"#);
    assert!(passthrough_request(&target, b"[1]", false).is_err());
}

#[test]
fn what_is_said_of_tools_where_there_are_none_goes_to_no_vendor() {
    let quirks = Quirks::default();
    let target = target(Dialect::OpenAi, &quirks);
    let left = |body: &str| {
        let passed = passthrough_request(&target, body.as_bytes(), false).unwrap();
        String::from_utf8(passed.to_vec()).unwrap()
    };
    for (body, rest) in [
        (r#"{"model":"m", "tool_choice" : "auto", "x":1.50}"#, r#"{"model":"upstream-id", "x":1.50}"#),
        (r#"{"tool_choice":"none", "tools": [ ] ,"x":1, "model":"m"}"#, r#"{"x":1, "model":"upstream-id"}"#),
        (r#"{"tools":[],"model":"m","parallel_tool_calls":true }"#, r#"{"model":"upstream-id" }"#),
        (r#"{"model":"m","tools":null,"tool_choice":"auto"}"#, r#"{"model":"upstream-id","tools":null}"#),
        (r#"{"x":1,"parallel_tool_calls":false,"tools":[]}"#, r#"{"model":"upstream-id","x":1}"#),
        (r#"{"tool_choice":"auto","tools":[]}"#, r#"{"model":"upstream-id"}"#),
        (r#"{"tool_choice":"auto"}"#, r#"{"model":"upstream-id"}"#),
    ] {
        assert_eq!(left(body), rest, "{body}");
    }
    // What demands a call, or goes with tools, is the vendor's to judge.
    for body in [
        r#"{"model":"upstream-id","tool_choice":"required"}"#,
        r#"{"model":"upstream-id","tool_choice":{"type":"function","function":{"name":"f"}}}"#,
        r#"{"model":"upstream-id","tool_choice":"auto","parallel_tool_calls":true,"tools":[{"type":"custom"}]}"#,
        r#"{"model":"upstream-id","parallel_tool_calls":true,"functions":[{"name":"f"}]}"#,
    ] {
        assert_eq!(left(body), body);
    }
    let left_to_anthropic = |body: &str| {
        let target = Target { dialect: Dialect::Anthropic, ..target };
        let passed = passthrough_request(&target, body.as_bytes(), false).unwrap();
        String::from_utf8(passed.to_vec()).unwrap()
    };
    for (body, rest) in [
        (r#"{"model":"m", "tool_choice" : {"type":"auto"}, "x":1.50}"#, r#"{"model":"upstream-id", "x":1.50}"#),
        (r#"{"tool_choice":{"type":"none"},"tools":[],"model":"m"}"#, r#"{"tools":[],"model":"upstream-id"}"#),
        (
            r#"{"model":"m","tool_choice":{"disable_parallel_tool_use":true,"type":"auto"}}"#,
            r#"{"model":"upstream-id"}"#,
        ),
    ] {
        assert_eq!(left_to_anthropic(body), rest, "{body}");
    }
    for body in [
        r#"{"model":"upstream-id","tool_choice":{"type":"any"}}"#,
        r#"{"model":"upstream-id","tool_choice":{"type":"auto"},"tools":[{"name":"f"}]}"#,
        r#"{"model":"upstream-id","tool_choice":{"type":"none"},"mcp_servers":[{"name":"f"}]}"#,
        r#"{"model":"upstream-id","tool_choice":"auto"}"#,
    ] {
        assert_eq!(left_to_anthropic(body), body);
    }
    let (body, dropped) = passed(
        &Target { quirks: &MODEST, ..target },
        json!({ "model": "auto", "tools": [], "tool_choice": "auto", "reasoning_effort": "low", "x_future": 1,
            "messages": [{ "role": "user", "content": "x" }] }),
    );
    assert_eq!((body.get("tools"), body.get("tool_choice"), &body["x_future"]), (None, None, &json!(1)));
    assert_eq!(dropped, ["reasoning"], "nothing was asked for that is not done");
}

/// A look-alike that knows little.
static MODEST: LazyLock<Quirks> = LazyLock::new(|| Quirks {
    max_tokens_field: Some(MaxTokensField::MaxTokens),
    developer_role: Some(false),
    stream_usage: false,
    json_schema: false,
    parallel_tool_calls: false,
    reasoning_effort: false,
    files: false,
    cache_markers: false,
    ..Quirks::default()
});

#[test]
fn what_a_look_alike_does_not_know_is_changed_and_the_rest_is_kept() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let (body, mut dropped) = passed(
        &target(Dialect::OpenAi, &MODEST),
        json!({
            "model": "auto",
            "x_future": [1],
            "messages": [
                { "role": "developer", "content": "Be brief.", "x_inner": true },
                { "role": "assistant", "content": "2", "reasoning_content": "hm" },
                { "role": "user", "content": "And now?" },
            ],
            "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": schema } },
            "parallel_tool_calls": false,
            "reasoning_effort": "low",
            "max_completion_tokens": 7,
        }),
    );
    assert_eq!(
        (&body["model"], &body["x_future"], &body["max_tokens"]),
        (&json!("upstream-id"), &json!([1]), &json!(7))
    );
    assert_eq!(body["messages"][0], json!({ "role": "system", "content": "Be brief.", "x_inner": true }));
    assert_eq!(body["messages"][1], json!({ "role": "assistant", "content": "2" }));
    let asked = body["messages"][2]["content"].as_str().unwrap();
    assert!(asked.starts_with("And now?") && asked.contains(&schema.to_string()), "{asked}");
    assert_eq!(body["response_format"], json!({ "type": "json_object" }));
    for gone in ["parallel_tool_calls", "reasoning_effort", "max_completion_tokens"] {
        assert_eq!(body.get(gone), None, "{gone}");
    }
    dropped.sort_unstable();
    let lost = ["messages[1].thinking", "parallel_tool_calls", "reasoning", "response_format.json_schema"];
    assert_eq!(dropped, lost);
}

#[test]
fn who_thinks_by_itself_is_told_not_to_where_it_must_call() {
    let quirks = Quirks { thinking: true, reasoning_effort: false, ..Quirks::default() };
    let deepseek = Target { reasoning: true, ..target(Dialect::OpenAi, &quirks) };
    let off = json!({ "type": "disabled" });
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    let asked = |more: Value| {
        let mut body = json!({ "model": "m", "tools": tools, "messages": [{ "role": "user", "content": "x" }] });
        json::extend(&mut body, more);
        passed(&deepseek, body)
    };
    for choice in [json!("required"), json!({ "type": "function", "function": { "name": "f" } })] {
        let (body, dropped) = asked(json!({ "tool_choice": choice }));
        assert_eq!((&body["thinking"], &body["tool_choice"], dropped.len()), (&off, &choice, 0));
        for wish in [json!({ "reasoning_effort": "high" }), json!({ "thinking": { "type": "enabled" } })] {
            let mut wish = wish;
            wish["tool_choice"] = choice.clone();
            let (body, dropped) = asked(wish);
            assert_eq!((&body["thinking"], body.get("reasoning_effort")), (&off, None));
            assert_eq!(dropped, ["reasoning"]);
        }
    }
    assert_eq!(asked(json!({ "tool_choice": "auto" })).0.get("thinking"), None);
    let claudes = json!({
        "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }], "thinking": { "type": "adaptive" },
        "tools": [{ "name": "f", "input_schema": { "type": "object" } }], "tool_choice": { "type": "any" },
    });
    let request = decode_request(Dialect::Anthropic, claudes.to_string().as_bytes()).unwrap();
    let sent = encode_request(&deepseek, &request).unwrap();
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!((&body["thinking"], sent.dropped), (&off, vec!["reasoning".to_owned()]));
}

#[test]
fn the_limit_goes_by_the_name_that_the_backend_knows() {
    let renamed = |quirks: &Quirks, body: &str| {
        String::from_utf8(
            passthrough_request(&target(Dialect::OpenAi, quirks), body.as_bytes(), false).unwrap().to_vec(),
        )
        .unwrap()
    };
    let openai = Quirks { max_tokens_field: Some(MaxTokensField::MaxCompletionTokens), ..Quirks::default() };
    let unsaid = r#"{"max_tokens":5,"model":"upstream-id"}"#;
    assert_eq!(renamed(&Quirks::default(), unsaid), unsaid, "nobody said which of them it knows");
    assert_eq!(
        renamed(&openai, r#"{"model":"m", "max_tokens" : 5, "stop":"max_tokens"}"#),
        r#"{"model":"upstream-id", "max_completion_tokens" : 5, "stop":"max_tokens"}"#
    );
    assert_eq!(
        renamed(&MODEST, r#"{"max_completion_tokens":5,"model":"m"}"#),
        r#"{"max_tokens":5,"model":"upstream-id"}"#
    );
    let both = r#"{"max_tokens":5,"max_completion_tokens":6,"model":"upstream-id"}"#;
    assert_eq!(renamed(&openai, both), both);
    for (quirks, nulled, told) in [
        (
            &openai,
            r#"{"max_tokens":5,"max_completion_tokens":null}"#,
            r#"{"max_tokens":null,"max_completion_tokens":5}"#,
        ),
        (
            &MODEST,
            r#"{"max_tokens":null,"max_completion_tokens":5}"#,
            r#"{"max_tokens":5,"max_completion_tokens":null}"#,
        ),
    ] {
        let body = |limits: &str| limits.replacen('{', r#"{"model":"upstream-id","#, 1);
        assert_eq!(renamed(quirks, &body(nulled)), body(told), "null is no limit");
    }
    let escaped = r#"{"max\u005ftokens":5,"model":"upstream-id"}"#;
    assert_eq!(renamed(&openai, escaped), escaped);
}

/// A conversation in OpenAI's form in which a tool was called; the call's id is `id`.
fn tool_loop(id: &str) -> Value {
    let call = json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    json!({ "model": "m", "user": "ann", "seed": 1, "messages": [
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": id, "content": "y" },
        { "role": "assistant", "content": "z" },
    ] })
}

#[test]
fn a_call_without_a_thought_gets_a_blank_one_where_thoughts_are_wanted_back() {
    let deepseek = Quirks { reasoning_content: true, ..Quirks::default() };
    let mut empty = tool_loop("a");
    empty["messages"][1]["reasoning_content"] = json!("");
    for conversation in [tool_loop("a"), empty] {
        let (body, dropped) = passed(&target(Dialect::OpenAi, &deepseek), conversation.clone());
        assert_eq!((&body["messages"][1]["reasoning_content"], dropped.len()), (&json!(" "), 0));
        assert_eq!(body["messages"][3].get("reasoning_content"), None);
        let sent = encode_request(&target(Dialect::OpenAi, &deepseek), &openai(conversation)).unwrap();
        let sent: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(sent["messages"][1]["reasoning_content"], " ");
    }
    let plain = Target { reasoning: false, ..target(Dialect::OpenAi, &deepseek) };
    assert_eq!(passed(&plain, tool_loop("a")).0["messages"][1].get("reasoning_content"), None);
    assert_eq!(
        passed(&target(Dialect::OpenAi, &Quirks::default()), tool_loop("a")).0["messages"][1]
            .get("reasoning_content"),
        None
    );
}

#[test]
fn a_call_without_a_signature_gets_one_that_is_not_verified_where_signatures_are_wanted_back() {
    let gemini = Quirks { thought_signatures: true, ..Quirks::default() };
    let target_of = |quirks| target(Dialect::OpenAi, quirks);
    let signature = |body: &Value, at: usize| {
        let call = &body["messages"][1]["tool_calls"][at];
        call["extra_content"]["google"]["thought_signature"].as_str().map(str::to_owned)
    };
    let unknown = Some("skip_thought_signature_validator".to_owned());
    let mut both = tool_loop("a");
    let second = json!({ "id": "b", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    both["messages"][1]["tool_calls"].as_array_mut().unwrap().push(second);
    let (body, dropped) = passed(&target_of(&gemini), both.clone());
    assert_eq!(
        (signature(&body, 0), signature(&body, 1), dropped.len()),
        (unknown.clone(), None, 0),
        "the first one's"
    );
    let sent = encode_request(&target_of(&gemini), &openai(both.clone())).unwrap();
    assert_eq!(signature(&serde_json::from_slice(&sent.body).unwrap(), 0), unknown, "of another dialect's client");
    both["messages"][1]["tool_calls"][0]["extra_content"] = json!({ "google": { "thought_signature": "its own" } });
    let strict = Quirks { extra_fields: false, ..gemini.clone() };
    for quirks in [&gemini, &strict] {
        assert_eq!(signature(&passed(&target_of(quirks), both.clone()).0, 0).as_deref(), Some("its own"));
    }
    assert_eq!(signature(&passed(&target_of(&Quirks::default()), tool_loop("a")).0, 0), None);
}

#[test]
fn an_id_that_is_too_long_for_a_vendor_is_another_one_and_its_result_goes_with_it() {
    let short = Quirks { longest_call_id: Some(40), ..Quirks::default() };
    let long = format!("chatcmpl-tool-{}", "0".repeat(32));
    let (body, _) = passed(&target(Dialect::OpenAi, &short), tool_loop(&long));
    let id = body["messages"][1]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() <= 40 && body["messages"][2]["tool_call_id"] == id, "{body}");
    for (quirks, id) in [(&short, "a"), (&Quirks::default(), long.as_str())] {
        assert_eq!(passed(&target(Dialect::OpenAi, quirks), tool_loop(id)).0["messages"][2]["tool_call_id"], id);
    }
}

#[test]
fn fields_that_a_look_alike_refuses_are_left_out_and_told() {
    let strict = Quirks { leave_out: ["user".to_owned(), "seed".into(), "store".into()].into(), ..Quirks::default() };
    let (body, mut dropped) = passed(&target(Dialect::OpenAi, &strict), tool_loop("a"));
    assert_eq!(
        (body.get("user"), body.get("seed"), body["messages"].as_array().map(Vec::len)),
        (None, None, Some(4))
    );
    dropped.sort_unstable();
    assert_eq!(dropped, ["seed", "user"]);
    let sent = encode_request(&target(Dialect::OpenAi, &strict), &openai(tool_loop("a"))).unwrap();
    assert_eq!(sent.dropped, ["seed", "user"]);
}

#[test]
fn what_is_meant_for_another_router_stops_no_request() {
    let ask = |more: Value| {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }] });
        json::extend(&mut body, more);
        body
    };
    let steering = ask(json!({ "usage": { "include": true }, "num_retries": 2, "x_future": 1 }));
    let refused = ["usage", "num_retries", "reasoning", "thinking"].map(str::to_owned);
    let strict = Quirks { leave_out: refused.into(), ..Quirks::default() };
    let usual = Quirks::default();
    let (easy, gpt) = (target(Dialect::OpenAi, &usual), target(Dialect::OpenAi, &strict));
    assert_eq!(passed(&easy, &steering).0["usage"]["include"], true, "OpenRouter knows it");
    let (body, dropped) = passed(&gpt, &steering);
    assert_eq!((body.get("usage"), &body["x_future"]), (None, &json!(1)));
    assert_eq!(dropped, ["num_retries", "usage"]);
    let usage = openai(ask(json!({ "usage": { "include": true }, "drop_params": true })));
    for backend in [Dialect::Anthropic, Dialect::Ollama] {
        assert_eq!(obstacle(Dialect::OpenAi, backend, &usage), None);
        assert_eq!(encoded(backend, &usage).1, ["usage", "drop_params"]);
    }
    let messages = json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }] });
    for (client, mut body) in [(Dialect::Anthropic, messages), (Dialect::Responses, json!({ "input": "x" }))] {
        let steering = json!({ "tags": ["a"], "timeout": 60, "reasoning": { "exclude": true } });
        json::extend(&mut body, steering);
        let request = decode_request(client, body.to_string().as_bytes()).unwrap();
        for backend in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama].into_iter().filter(|to| *to != client) {
            assert_eq!(obstacle(client, backend, &request), None, "{client:?} {backend:?}");
            let (sent, mut dropped) = encoded(backend, &request);
            assert!(["tags", "timeout", "reasoning"].iter().all(|field| sent.get(field).is_none()), "{sent}");
            dropped.sort_unstable();
            assert_eq!(dropped, ["reasoning.exclude", "tags", "timeout"], "{client:?} {backend:?}");
        }
    }
    // Thoughts that nobody wants to read: with a wish how much to think, and alone.
    for (wish, lost) in [
        (json!({ "exclude": true }), &["reasoning.exclude"][..]),
        (json!({ "exclude": true, "effort": "low" }), &["reasoning.exclude"]),
        (json!({ "exclude": false }), &[]),
    ] {
        let body = ask(json!({ "reasoning": wish }));
        let request = openai(body.clone());
        for backend in [Dialect::Anthropic, Dialect::Ollama] {
            assert_eq!(obstacle(Dialect::OpenAi, backend, &request), None, "{wish}");
            let dropped = encoded(backend, &request).1;
            let dropped: Vec<&String> = dropped.iter().filter(|field| *field != "reasoning.effort").collect();
            assert_eq!(dropped, lost, "{wish}");
        }
        let (sent, dropped) = passed(&gpt, &body);
        assert_eq!(sent.get("reasoning"), None, "which it refuses");
        let told = if wish.get("effort").is_some() { "reasoning.exclude" } else { "reasoning" };
        assert_eq!(dropped, [told], "{wish}");
    }
    let untouched = r#"{"model":"upstream-id", "messages":[{"role":"user","content":"x"}],"reasoning_effort":"low"}"#;
    let own = decode_request(Dialect::OpenAi, untouched.as_bytes()).unwrap();
    assert_eq!(pass_request(&gpt, &own, untouched.as_bytes()).unwrap().body, untouched, "not written anew");

    for (wish, effort, thinking) in [
        (json!({ "reasoning": { "effort": "low" } }), "low", json!({ "type": "adaptive", "display": "summarized" })),
        (
            json!({ "reasoning": { "max_tokens": 4000 } }),
            "medium",
            json!({ "type": "enabled", "budget_tokens": 4000 }),
        ),
        (json!({ "reasoning": { "enabled": false } }), "none", json!({ "type": "disabled" })),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
            "low",
            json!({ "type": "enabled", "budget_tokens": 1024 }),
        ),
        (
            json!({ "reasoning": { "max_tokens": 4000 }, "reasoning_effort": "high" }),
            "high",
            json!({ "type": "enabled", "budget_tokens": 4000 }),
        ),
    ] {
        let (body, dropped) = passed(&gpt, ask(wish.clone()));
        assert_eq!((&body["reasoning_effort"], dropped.len()), (&json!(effort), 0), "{wish}");
        assert_eq!((body.get("reasoning"), body.get("thinking")), (None, None), "{wish}");
        let (kept, _) = passed(&easy, ask(wish.clone()));
        assert_eq!((kept.get("reasoning"), kept.get("thinking")), (wish.get("reasoning"), wish.get("thinking")));
        let request = openai(ask(wish.clone()));
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Anthropic, &request), None);
        assert_eq!(encoded(Dialect::Anthropic, &request).0["thinking"], thinking, "{wish}");
    }
    // What asks for something else, or for another model, is nobody's to lose.
    for wish in [json!({ "reasoning": { "x": 1 } }), json!({ "fallbacks": ["x"] }), json!({ "models": ["x"] })] {
        let request = openai(ask(wish.clone()));
        assert!(obstacle(Dialect::OpenAi, Dialect::Anthropic, &request).is_some(), "{wish}");
    }
}

#[test]
fn what_is_written_for_other_vendors_does_not_go_to_one_that_refuses_it() {
    let config: toml::Table = include_str!("../../config/default.toml").parse().unwrap();
    let openai: Quirks = config["providers"]["openai"]["quirks"].clone().try_into().unwrap();
    let mark = json!({ "type": "ephemeral" });
    let schema = json!({ "type": "object", "properties": { "cache_control": { "type": "string" } } });
    let call = |extra: Value| {
        let mut call = json!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } });
        json::extend(&mut call, extra);
        call
    };
    let body = |extended: bool| {
        let with = |mut object: Value, extra: Value| {
            if extended {
                json::extend(&mut object, extra);
            }
            object
        };
        let marked = |object: Value| with(object, json!({ "cache_control": mark }));
        let function = json!({ "name": "f", "parameters": schema });
        marked(json!({
            "model": "upstream-id",
            "tools": [marked(json!({ "type": "function", "function": function }))],
            "messages": [
                marked(json!({ "role": "system", "content": "Be brief." })),
                { "role": "user", "content": [marked(json!({ "type": "text", "text": "x" }))] },
                with(
                    json!({ "role": "assistant", "content": null, "tool_calls": [
                        with(call(json!({})), json!({ "extra_content": { "google": {} }, "provider_specific_fields": 1 }))
                    ] }),
                    json!({ "thinking_blocks": [{ "type": "thinking" }], "reasoning_details": [{ "type": "x" }],
                        "provider_specific_fields": null }),
                ),
                { "role": "tool", "tool_call_id": "a", "content": [marked(json!({ "type": "text", "text": "y" }))] },
            ],
        }))
    };
    let (sent, mut dropped) = passed(&target(Dialect::OpenAi, &openai), body(true));
    assert_eq!(sent, body(false));
    dropped.sort_unstable();
    let lost = [
        "cache_control",
        "messages[0].cache_control",
        "messages[1].content[0].cache_control",
        "messages[2].reasoning_details",
        "messages[2].thinking_blocks",
        "messages[2].tool_calls[0].extra_content",
        "messages[2].tool_calls[0].provider_specific_fields",
        "messages[3].content[0].cache_control",
        "tools[].cache_control",
    ];
    assert_eq!(dropped, lost);
    // Each is noticed alone.
    let one = |place: &str, field: &str| {
        let mut one = body(false);
        one.pointer_mut(place).unwrap().as_object_mut().unwrap().insert(field.into(), mark.clone());
        passed(&target(Dialect::OpenAi, &openai), one).0
    };
    for (place, field) in [
        ("", "cache_control"),
        ("/tools/0", "cache_control"),
        ("/tools/0/function", "cache_control"),
        ("/messages/0", "cache_control"),
        ("/messages/1/content/0", "cache_control"),
        ("/messages/2", "cache_control"),
        ("/messages/2", "thinking_blocks"),
        ("/messages/2", "reasoning_details"),
        ("/messages/2/tool_calls/0", "extra_content"),
        ("/messages/3/content/0", "cache_control"),
        ("/messages/3", "cache_control"),
    ] {
        assert_eq!(one(place, field), body(false), "{place} {field}");
    }
    assert_eq!(passed(&target(Dialect::OpenAi, &Quirks::default()), body(true)).0, body(true));
}

#[test]
fn a_model_that_cannot_think_is_not_told_how_much_to() {
    let quirks = Quirks::default();
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }], "reasoning_effort": "low" });
    let (kept, dropped) = passed(&target(Dialect::OpenAi, &quirks), body.clone());
    assert_eq!((&kept["reasoning_effort"], dropped.len()), (&json!("low"), 0));
    let plain = Target { reasoning: false, ..target(Dialect::OpenAi, &quirks) };
    let (left, dropped) = passed(&plain, body);
    assert_eq!((left.get("reasoning_effort"), dropped), (None, vec!["reasoning".to_owned()]));
}

#[test]
fn another_vendors_thoughts_do_not_go_to_anthropic() {
    let quirks = Quirks::default();
    let target = target(Dialect::Anthropic, &quirks);
    let own = json!({ "type": "thinking", "thinking": "hm", "signature": "c2ln" });
    let foreign = json!({ "type": "thinking", "thinking": "hm", "signature": "" });
    let text = json!({ "type": "text", "text": "2", "x_inner": true });
    let body = |first: Value| {
        json!({ "model": "m", "max_tokens": 9, "x_future": 1, "messages": [
            { "role": "user", "content": "1+1?" },
            { "role": "assistant", "content": [first, text] },
            { "role": "assistant", "content": [first] },
            { "role": "user", "content": "And now?" },
        ] })
    };
    let (kept, dropped) = passed(&target, body(own.clone()));
    assert_eq!((&kept["messages"][1]["content"], dropped.len()), (&json!([own, text]), 0));
    let (left, dropped) = passed(&target, body(foreign));
    assert_eq!(left["x_future"], 1);
    assert_eq!(
        left["messages"],
        json!([
            { "role": "user", "content": "1+1?" },
            { "role": "assistant", "content": [text] },
            { "role": "user", "content": "And now?" },
        ])
    );
    assert_eq!(dropped, ["messages[1].thinking", "messages[2].thinking"]);
}

#[test]
fn what_a_model_refuses_is_left_out_or_said_in_another_way() {
    let quirks = Quirks::default();
    let refuses = |what: &[Refusal]| BTreeSet::from_iter(what.iter().copied());
    let claude = refuses(&[Refusal::Sampling, Refusal::NoThinking, Refusal::ThinkingBudget]);
    let claude = Target { refuses: &claude, ..target(Dialect::Anthropic, &quirks) };
    let ask = |more: Value| {
        let mut body = json!({ "model": "m", "max_tokens": 9000, "messages": [{ "role": "user", "content": "x" }] });
        json::extend(&mut body, more);
        body
    };
    let (body, dropped) = passed(&claude, ask(json!({ "temperature": 0, "thinking": { "type": "disabled" } })));
    assert_eq!((body.get("temperature"), body.get("thinking")), (None, None));
    assert_eq!(dropped, ["temperature", "reasoning"]);
    let (body, dropped) = passed(&claude, ask(json!({ "thinking": { "type": "enabled", "budget_tokens": 8000 } })));
    assert_eq!(
        (&body["thinking"], &body["output_config"]),
        (&json!({ "type": "adaptive", "display": "summarized" }), &json!({ "effort": "medium" }))
    );
    assert_eq!(dropped, Vec::<String>::new());
    let usual = ask(json!({ "temperature": 1, "thinking": { "type": "adaptive" } }));
    assert_eq!(
        passed(&claude, usual.clone()).0["temperature"],
        usual["temperature"],
        "what is usual passes as it is"
    );
    // The same for who speaks another dialect.
    let sent =
        encode_request(&claude, &openai(ask(json!({ "temperature": 0, "reasoning_effort": "none" })))).unwrap();
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!((body.get("temperature"), body.get("thinking")), (None, None));

    let old = refuses(&[Refusal::ThinkingEffort]);
    let old = Target { refuses: &old, ..target(Dialect::Anthropic, &quirks) };
    let sent = encode_request(&old, &openai(ask(json!({ "reasoning_effort": "high" })))).unwrap();
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(body["thinking"], json!({ "type": "enabled", "budget_tokens": 8999 }));
    assert_eq!(body.get("output_config"), None);

    let gpt = refuses(&[Refusal::Sampling]);
    let gpt = Target { refuses: &gpt, ..target(Dialect::OpenAi, &quirks) };
    let (body, dropped) = passed(&gpt, ask(json!({ "temperature": 0.2, "presence_penalty": 1, "x_future": 1 })));
    assert_eq!((body.get("temperature"), body.get("presence_penalty"), &body["x_future"]), (None, None, &json!(1)));
    assert_eq!(dropped, ["temperature", "presence_penalty"]);
}

/// What a client of Anthropic's sends in a tool loop; `answers` are its turns of the model, each with a call.
fn loop_at_claude(thinking: Value, answers: &[Option<Value>]) -> Value {
    let mut turns = vec![json!({ "role": "user", "content": "x" })];
    for (index, thought) in answers.iter().enumerate() {
        let id = format!("toolu_{index}");
        let call = json!({ "type": "tool_use", "id": id, "name": "f", "input": {} });
        let blocks: Vec<Value> = thought.iter().cloned().chain([call]).collect();
        turns.push(json!({ "role": "assistant", "content": blocks }));
        let result = json!({ "type": "tool_result", "tool_use_id": id, "content": "y" });
        turns.push(json!({ "role": "user", "content": [result] }));
    }
    let edits = json!([{ "type": "clear_thinking_20251015", "keep": "all" }]);
    json!({ "model": "m", "max_tokens": 9000, "messages": turns, "thinking": thinking,
        "context_management": { "edits": edits } })
}

#[test]
fn claude_is_told_to_think_only_in_a_loop_that_began_with_a_thought() {
    let quirks = Quirks::default();
    let claude = target(Dialect::Anthropic, &quirks);
    let budget = json!({ "type": "enabled", "budget_tokens": 2000 });
    let thought = Some(json!({ "type": "thinking", "thinking": "hm", "signature": "c2ln" }));
    let redacted = Some(json!({ "type": "redacted_thinking", "data": "eA==" }));
    let foreign = Some(json!({ "type": "thinking", "thinking": "hm", "signature": "" }));
    for answers in [vec![None], vec![None, None], vec![None, thought.clone()], vec![foreign]] {
        let (body, dropped) = passed(&claude, loop_at_claude(budget.clone(), &answers));
        assert_eq!((body.get("thinking"), body.get("context_management")), (None, None), "{answers:?}");
        assert_eq!(dropped.last().map(String::as_str), Some("reasoning"));
    }
    // Without interleaved thinking Claude thinks once, before its first call.
    for answers in [vec![], vec![thought.clone()], vec![redacted], vec![thought, None]] {
        let body = loop_at_claude(budget.clone(), &answers);
        let (kept, dropped) = passed(&claude, body.clone());
        assert_eq!((&kept["thinking"], &kept["context_management"]), (&budget, &body["context_management"]));
        assert_eq!(dropped.len(), 0);
    }
    let (kept, _) = passed(&claude, loop_at_claude(json!({ "type": "adaptive" }), &[None]));
    assert_eq!(kept["thinking"], json!({ "type": "adaptive" }), "which asks for no thought");
    // What the user says next begins another answer.
    let mut next = loop_at_claude(budget.clone(), &[None]);
    next["messages"]
        .as_array_mut()
        .unwrap()
        .extend([json!({ "role": "assistant", "content": "z" }), json!({ "role": "user", "content": "And now?" })]);
    assert_eq!(passed(&claude, next).0["thinking"], budget);
}

#[test]
fn an_old_claude_is_told_to_think_in_no_word_that_it_refuses() {
    let quirks = Quirks::default();
    let effort = BTreeSet::from([Refusal::ThinkingEffort]);
    let thinker = Target { refuses: &effort, ..target(Dialect::Anthropic, &quirks) };
    let plain = Target { reasoning: false, ..target(Dialect::Anthropic, &quirks) };
    let ask = |more: &Value| {
        let mut body = json!({ "model": "m", "max_tokens": 9000, "messages": [{ "role": "user", "content": "x" }] });
        json::extend(&mut body, more.clone());
        body
    };
    let budget = json!({ "type": "enabled", "budget_tokens": 2000 });
    let format = json!({ "type": "json_schema", "schema": { "type": "object" } });
    let none = || Vec::<&str>::new();
    for (target, more, thinking, config, lost) in [
        (&plain, json!({ "thinking": { "type": "adaptive" } }), None, None, vec!["reasoning"]),
        (&plain, json!({ "thinking": budget }), None, None, vec!["reasoning"]),
        (&plain, json!({ "output_config": { "effort": "high" } }), None, None, vec!["reasoning"]),
        (&plain, json!({ "thinking": { "type": "disabled" } }), None, None, none()),
        (
            &plain,
            json!({ "output_config": { "effort": "low", "format": format } }),
            None,
            Some(json!({ "format": format })),
            vec!["reasoning"],
        ),
        (&thinker, json!({ "output_config": { "effort": "high" } }), None, None, vec!["reasoning"]),
        (
            &thinker,
            json!({ "thinking": budget, "output_config": { "effort": "high" } }),
            Some(budget.clone()),
            None,
            vec!["reasoning"],
        ),
        (&thinker, json!({ "thinking": budget }), Some(budget.clone()), None, none()),
        (
            &thinker,
            json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "low" } }),
            Some(json!({ "type": "enabled", "budget_tokens": 2048 })),
            None,
            none(),
        ),
    ] {
        let (body, dropped) = passed(target, ask(&more));
        assert_eq!((body.get("thinking"), body.get("output_config")), (thinking.as_ref(), config.as_ref()), "{more}");
        assert_eq!(dropped, lost, "{more}");
    }
}

#[test]
fn a_body_for_the_responses_api_is_known_where_it_does_not_belong() {
    let read = |body: &[u8]| decode_request(Dialect::OpenAi, body).map(drop).map_err(|error| error.message);
    let told = read(br#"{"model":"m","input":"hello"}"#).unwrap_err();
    assert!(told.contains("messages is missing") && told.contains("/v1/responses"), "{told}");
    assert_eq!(read(br#"{"model":"m"}"#), Err("messages is missing".to_owned()));
    assert_eq!(read(br#"{"messages":[{"role":"user","content":"x"}],"input":"y"}"#), Ok(()));
}
