//! OpenAI's Responses as a backend's dialect: what is asked there, how, and how its answers are read.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::property_tests::request;
use super::tests::{decode_in, encoded, gist, openai, passed, target};
use super::*;
use crate::config::Quirks;
use crate::protocol::{ErrorKind, StreamEvent, ToolCallDelta};

pub(super) const STREAM: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"c1\",\"model\":\"m\",\"status\":\"in_progress\",\"output\":[]}}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"rs\",\"type\":\"reasoning\",\"summary\":[]}}\n\n",
    "event: response.reasoning_summary_text.delta\ndata: {\"type\":\"response.reasoning_summary_text.delta\",\"output_index\":0,\"summary_index\":0,\"delta\":\"hm\"}\n\n",
    "event: response.reasoning_summary_text.done\ndata: {\"type\":\"response.reasoning_summary_text.done\",\"output_index\":0,\"summary_index\":0,\"text\":\"hm\"}\n\n",
    "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"id\":\"rs\",\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"hm\"}]}}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"id\":\"msg\",\"type\":\"message\",\"content\":[],\"role\":\"assistant\"}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":1,\"content_index\":0,\"delta\":\"h\u{e9}llo\",\"logprobs\":[]}\n\n",
    "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"output_index\":1,\"content_index\":0,\"text\":\"h\u{e9}llo\"}\n\n",
    "event: response.new_kind\ndata: {\"type\":\"response.new_kind\",\"delta\":[1],\"item\":7}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":2,\"item\":{\"id\":\"fc\",\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\",\"arguments\":\"\"}}\n\n",
    "event: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":2,\"item_id\":\"fc\",\"delta\":\"{\\\"x\\\"\"}\n\n",
    "event: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":2,\"item_id\":\"fc\",\"delta\":\":1}\"}\n\n",
    "event: response.function_call_arguments.done\ndata: {\"type\":\"response.function_call_arguments.done\",\"output_index\":2,\"item_id\":\"fc\",\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"c1\",\"model\":\"m\",\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"hm\"}]},{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"h\u{e9}llo\"}]},{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}],\"usage\":{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":5,\"output_tokens_details\":{\"reasoning_tokens\":2},\"total_tokens\":15}}}\n\n",
);

// ------------------------------------------------------------------------------------------------------------ requests

fn function() -> Value {
    json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }])
}

fn with(more: Value) -> ChatRequest {
    let mut body = json!({ "model": "x", "messages": [{ "role": "user", "content": "q" }], "tools": function() });
    json::extend(&mut body, more);
    openai(body)
}

fn is_asked_there(client: Dialect, quirks: &Quirks, refuses: &[Refusal], request: &ChatRequest) -> bool {
    let refuses = refuses.iter().copied().collect();
    is_for_responses(client, &Target { refuses: &refuses, ..target(Dialect::OpenAi, quirks) }, request)
}

fn in_responses(target: &Target<'_>, request: &ChatRequest) -> (Value, Vec<String>) {
    let Encoded { body, dropped } = encode_request(target, request).unwrap();
    (serde_json::from_slice(&body).unwrap(), dropped)
}

#[test]
fn who_does_not_think_beside_tools_is_asked_in_responses_where_it_has_some() {
    let there = Quirks { responses: true, ..Quirks::default() };
    let beside_tools = [Refusal::ThinkingWithTools];
    let asked = |request: &ChatRequest| is_asked_there(Dialect::OpenAi, &there, &beside_tools, request);
    for fine in [
        json!({}),
        json!({ "reasoning_effort": "high", "n": 1, "logprobs": false, "store": false, "stop": [] }),
        json!({ "metadata": { "a": "b" }, "service_tier": "flex", "prompt_cache_key": "k", "verbosity": "low" }),
        json!({ "tool_choice": "required", "parallel_tool_calls": false, "max_tokens": 16, "usage": { "include": true } }),
    ] {
        assert!(asked(&with(fine.clone())), "{fine}");
    }
    let name = json!([{ "role": "user", "name": "jo", "content": "q" }]);
    let audio = json!([{ "role": "user", "content": [{ "type": "input_audio", "input_audio": { "data": "", "format": "wav" } }] }]);
    let other_tool = json!([{ "type": "custom", "custom": { "name": "c" } }, function()[0]]);
    for other in [
        json!({ "tools": [] }),
        json!({ "reasoning_effort": "none" }),
        json!({ "reasoning": { "enabled": false } }),
        json!({ "n": 2 }),
        json!({ "logprobs": true }),
        json!({ "web_search_options": {} }),
        json!({ "prediction": { "type": "content", "content": "x" } }),
        json!({ "logit_bias": { "1": 1 } }),
        json!({ "modalities": ["text", "audio"] }),
        json!({ "store": true }),
        json!({ "seed": 7 }),
        json!({ "stop": "x" }),
        json!({ "frequency_penalty": 0.5 }),
        json!({ "max_tokens": 15 }),
        json!({ "messages": name }),
        json!({ "messages": audio }),
        json!({ "tools": other_tool }),
        json!({ "newer": 1 }),
    ] {
        assert!(!asked(&with(other.clone())), "{other}");
    }
    let other =
        |quirks: &Quirks, refuses: &[Refusal]| is_asked_there(Dialect::OpenAi, quirks, refuses, &with(json!({})));
    assert!(!other(&Quirks::default(), &beside_tools), "a server without it");
    assert!(!other(&there, &[]), "a model that thinks in any case");
    let mute = [Refusal::ThinkingWithTools, Refusal::ThinkingEffort];
    assert!(!other(&there, &mute), "a model that is not told how much to think");
}

/// Turns of a person and a model, whose parts have such a field more.
fn turns_with(user: Value, assistant: Value) -> Value {
    let part = |more: Value| {
        let mut part = json!({ "type": "text", "text": "x" });
        json::extend(&mut part, more);
        json!([part])
    };
    json!({ "messages": [
        { "role": "user", "content": part(user) },
        { "role": "assistant", "content": part(assistant) },
        { "role": "user", "content": "y" },
    ] })
}

#[test]
fn what_a_chat_client_would_lose_in_responses_passes_to_chat_completions() {
    let there = Quirks { responses: true, extra_fields: false, ..Quirks::default() };
    let asked =
        |request: &ChatRequest, client| is_asked_there(client, &there, &[Refusal::ThinkingWithTools], request);
    let mark = || json!({ "prompt_cache_breakpoint": { "mode": "explicit" } });
    let mut newer = function();
    newer[0]["defer_loading"] = json!(true);
    for lossy in
        [json!({ "tools": newer }), turns_with(json!({ "x_new": 1 }), json!({})), turns_with(json!({}), mark())]
    {
        assert!(!asked(&with(lossy.clone()), Dialect::OpenAi), "{lossy}");
        // In Chat Completions others lose as much.
        assert!(asked(&with(lossy.clone()), Dialect::Anthropic), "{lossy}");
    }
    for lossless in [
        turns_with(mark(), json!({})),
        turns_with(
            json!({ "cache_control": { "type": "ephemeral" } }),
            json!({ "provider_specific_fields": { "a": 1 } }),
        ),
        json!({ "reasoning": { "exclude": true } }),
    ] {
        assert!(asked(&with(lossless.clone()), Dialect::OpenAi), "{lossless}");
    }
}

#[test]
fn where_the_cache_is_to_end_is_said_in_responses_too() {
    let mark = json!({ "mode": "explicit", "ttl": "1h" });
    let marked = |mut part: Value| {
        part["prompt_cache_breakpoint"] = mark.clone();
        part
    };
    let image = "data:image/png;base64,AAAA";
    let pdf = "data:application/pdf;base64,AAAA";
    let text = || marked(json!({ "type": "text", "text": "t" }));
    let chat = with(json!({ "prompt_cache_options": { "mode": "explicit" }, "messages": [
        { "role": "system", "content": [text()] },
        { "role": "user", "content": [
            text(),
            marked(json!({ "type": "image_url", "image_url": { "url": image } })),
            marked(json!({ "type": "file", "file": { "filename": "a.pdf", "file_data": pdf } })),
            marked(json!({ "type": "file", "file": { "file_id": "f" } })),
        ] },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } },
            { "id": "b", "type": "function", "function": { "name": "f", "arguments": "{}" } },
            { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } },
        ] },
        { "role": "tool", "tool_call_id": "a", "content": "r" },
        { "role": "tool", "tool_call_id": "b", "content": [text(), { "type": "image_url", "image_url": image }] },
        { "role": "tool", "tool_call_id": "c", "content": [{ "type": "text", "text": "r" }, text()] },
    ] }));
    let quirks = Quirks::default();
    let (body, dropped) = in_responses(&target(Dialect::Responses, &quirks), &chat);
    let input_text = marked(json!({ "type": "input_text", "text": "t" }));
    assert_eq!(body["input"][0]["content"], json!([input_text]));
    let asked = json!([
        input_text,
        marked(json!({ "type": "input_image", "image_url": image })),
        marked(json!({ "type": "input_file", "filename": "a.pdf", "file_data": pdf })),
        marked(json!({ "type": "input_file", "file_id": "f" })),
    ]);
    assert_eq!(body["input"][1]["content"], asked);
    assert_eq!(body["input"][5]["output"], "r");
    assert_eq!(body["input"][6]["output"], json!([input_text, { "type": "input_image", "image_url": image }]));
    assert_eq!(body["input"][7]["output"], json!([{ "type": "input_text", "text": "r" }, input_text]));
    assert_eq!((&body["prompt_cache_options"]["mode"], dropped), (&json!("explicit"), Vec::new()));
    // A client of Responses has them, too.
    let asked = json!([asked[0], asked[1], asked[2]]);
    let own = json!({
        "model": "x", "input": [{ "role": "user", "content": asked }], "prompt_cache_options": { "mode": "explicit" },
        "metadata": { "a": "b" }, "truncation": "auto",
    });
    let own = decode_request(Dialect::Responses, own.to_string().as_bytes()).unwrap();
    let (body, dropped) = in_responses(&target(Dialect::Responses, &quirks), &own);
    assert_eq!(body["input"][0]["content"], asked);
    assert_eq!((&body["prompt_cache_options"]["mode"], &body["metadata"]["a"]), (&json!("explicit"), &json!("b")));
    assert_eq!(dropped, ["truncation"]);
    // Whoever has no such thing says that it is lost.
    let chat = with(turns_with(json!({ "prompt_cache_breakpoint": mark }), json!({})));
    assert!(
        encoded(Dialect::Anthropic, &chat).1.contains(&"messages[0].content[0].prompt_cache_breakpoint".to_owned())
    );
}

#[test]
fn as_much_as_can_be_thought_is_asked_for_and_told_to_whoever_wants_it() {
    let quirks = Quirks::default();
    let asked = |more: Value| {
        let (body, dropped) = in_responses(&target(Dialect::Responses, &quirks), &with(more));
        (body["reasoning"].clone(), dropped)
    };
    let silent = (json!({}), Vec::new());
    assert_eq!(asked(json!({ "reasoning_effort": "max" })).0, json!({ "summary": "auto", "effort": "max" }));
    assert_eq!(asked(json!({ "reasoning": { "exclude": true } })), silent);
    assert_eq!(asked(json!({ "include_reasoning": false })), silent);
    assert_eq!(asked(json!({ "include_reasoning": true })), (json!({ "summary": "auto" }), Vec::new()));
    assert_eq!(asked(json!({ "service_tier": "auto" })).1, Vec::<String>::new(), "the default");
    assert_eq!(asked(json!({ "service_tier": "standard_only" })).1, ["service_tier"]);
}

#[test]
fn a_thought_that_led_to_nothing_does_not_go_back_nor_one_that_was_refused() {
    let sealed = |at: u8| json!({ "type": "thinking", "thinking": "hm", "signature": format!("openai:g{at}") });
    let foreign = json!({ "type": "thinking", "thinking": "hm", "signature": "EqQB" });
    let text = json!({ "type": "text", "text": "a" });
    let turn = |parts: Value| {
        let body = json!({ "model": "x", "max_tokens": 50, "messages": [
            { "role": "user", "content": "q" }, { "role": "assistant", "content": parts }, { "role": "user", "content": "q" },
        ] });
        decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap()
    };
    let quirks = Quirks::default();
    let target = target(Dialect::Responses, &quirks);
    let kinds = |target: &Target<'_>, request: &ChatRequest| -> Vec<String> {
        let (body, _) = in_responses(target, request);
        body["input"].as_array().unwrap()[1..].iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect()
    };
    for nothing in [json!([text, sealed(1), sealed(2)]), json!([text, sealed(1), foreign])] {
        assert_eq!(kinds(&target, &turn(nothing)), ["message", "message"]);
    }
    let led_on = turn(json!([sealed(1), sealed(2), text]));
    assert_eq!(kinds(&target, &led_on), ["reasoning", "reasoning", "message", "message"]);
    let (body, dropped) = in_responses(&Target { refused_thoughts: 2, ..target }, &led_on);
    assert_eq!(
        (body["input"][1]["type"].as_str(), dropped),
        (Some("message"), vec!["messages[1].thinking".to_owned(); 2])
    );
    let (body, _) = in_responses(&Target { refused_thoughts: 1, ..target }, &led_on);
    assert_eq!(
        (&body["input"][1]["encrypted_content"], &body["input"][2]["type"]),
        (&json!("g2"), &json!("message"))
    );
    let refused = ApiError::invalid("x");
    let brought = |request: &ChatRequest| thoughts(Dialect::Responses, request);
    assert_eq!((brought(&led_on), brought(&turn(json!([foreign, text])))), (2, 0));
    assert!(may_refuse_thoughts(Dialect::Responses, &refused));
    assert!(!may_refuse_thoughts(Dialect::Responses, &ApiError::new(ErrorKind::NotFound, "x")));
}

#[test]
fn a_tool_loop_is_written_as_items() {
    let request = decode_request(
        Dialect::Anthropic,
        json!({
            "model": "x", "max_tokens": 500, "stream": true, "temperature": 0.5,
            "system": [{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }],
            "messages": [
                { "role": "user", "content": [
                    { "type": "text", "text": "What is it?" },
                    { "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "AAAA" } },
                ] },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "hm", "signature": "openai:gAAAA" },
                    { "type": "text", "text": "I look." },
                    { "type": "tool_use", "id": "a", "name": "f", "input": { "x": 1 } },
                    { "type": "thinking", "thinking": "not his", "signature": "EqQB" },
                    { "type": "thinking", "thinking": "led to nothing", "signature": "openai:gAAAB" },
                ] },
                { "role": "user", "content": [
                    { "type": "text", "text": "So?" },
                    { "type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [
                        { "type": "text", "text": "no" },
                        { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } },
                    ] },
                ] },
            ],
            "tools": [{ "name": "f", "description": "d", "input_schema": { "type": "object" } }],
            "tool_choice": { "type": "tool", "name": "f", "disable_parallel_tool_use": true },
            "thinking": { "type": "adaptive" }, "output_config": { "effort": "high" },
            "metadata": { "user_id": "u" },
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    let quirks = Quirks { responses: true, ..Quirks::default() };
    let refuses = BTreeSet::from([Refusal::Sampling, Refusal::ThinkingWithTools]);
    let gpt = Target { refuses: &refuses, ..target(Dialect::Responses, &quirks) };
    let Encoded { body, dropped } = encode_request(&gpt, &request).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "upstream-id",
            "input": [
                { "type": "message", "role": "system", "content": [{ "type": "input_text", "text": "Be brief." }] },
                { "type": "message", "role": "user", "content": [
                    { "type": "input_text", "text": "What is it?" },
                    { "type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA" },
                ] },
                { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "hm" }], "encrypted_content": "gAAAA" },
                { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I look." }] },
                { "type": "function_call", "call_id": "a", "name": "f", "arguments": "{\"x\":1}" },
                { "type": "function_call_output", "call_id": "a", "output": [
                    { "type": "input_text", "text": "Error:" },
                    { "type": "input_text", "text": "no" },
                    { "type": "input_image", "image_url": "data:image/png;base64,AAAA" },
                ] },
                { "type": "message", "role": "user", "content": "So?" },
            ],
            "tools": [{
                "type": "function", "name": "f", "description": "d", "strict": false,
                "parameters": { "type": "object", "properties": {} },
            }],
            "tool_choice": { "type": "function", "name": "f" },
            "parallel_tool_calls": false,
            "max_output_tokens": 500,
            "reasoning": { "summary": "auto", "effort": "high" },
            "user": "u",
            "store": false,
            "include": ["reasoning.encrypted_content"],
            "stream": true,
        })
    );
    let lost =
        ["messages[0].content[0].cache_control", "messages[2].thinking", "messages[2].thinking", "temperature"];
    assert_eq!(dropped, lost);
}

#[test]
fn what_a_chat_client_asks_for_is_asked_for_in_other_words() {
    let schema = json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema, "strict": true } });
    let request = with(json!({
        "response_format": format, "verbosity": "low", "metadata": { "a": "b" }, "service_tier": "flex",
        "prompt_cache_key": "k", "safety_identifier": "s", "store": false, "reasoning_effort": "minimal",
        "usage": { "include": true },
    }));
    let quirks = Quirks::default();
    let refuses = BTreeSet::from([Refusal::MinimalThinking]);
    let gpt = Target { refuses: &refuses, ..target(Dialect::Responses, &quirks) };
    let Encoded { body, dropped } = encode_request(&gpt, &request).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let format = json!({ "type": "json_schema", "name": "n", "schema": schema, "strict": true });
    assert_eq!(body["text"], json!({ "format": format, "verbosity": "low" }));
    assert_eq!(body["reasoning"], json!({ "summary": "auto", "effort": "low" }));
    let kept = ["metadata", "service_tier", "prompt_cache_key", "safety_identifier", "store"].map(|key| &body[key]);
    assert_eq!(kept, [&json!({ "a": "b" }), &json!("flex"), &json!("k"), &json!("s"), &json!(false)]);
    assert_eq!(dropped, ["usage"]);
    let unverified = Target { tell_thoughts: false, ..target(Dialect::Responses, &quirks) };
    let body = encode_request(&unverified, &request).unwrap().body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["reasoning"], json!({ "effort": "minimal" }));
}

#[test]
fn a_long_id_of_a_call_is_cut_in_the_call_and_in_its_result() {
    let long = "call_".repeat(20);
    let call = json!({ "id": long, "type": "function", "function": { "name": "f", "arguments": "" } });
    let request = with(json!({ "messages": [
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": long, "content": "r" },
    ] }));
    let quirks = Quirks { longest_call_id: Some(40), ..Quirks::default() };
    let body = encode_request(&target(Dialect::Responses, &quirks), &request).unwrap().body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let ids = [1, 2].map(|at| body["input"][at]["call_id"].as_str().unwrap().to_owned());
    assert!(ids[0] == ids[1] && ids[0].len() <= 40, "{ids:?}");
    assert_eq!(body["input"][1]["arguments"], "{}");
}

#[test]
fn what_openai_sealed_is_never_sent_to_claude() {
    let body = json!({ "model": "x", "max_tokens": 50, "messages": [
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "openai:gAAAA" },
            { "type": "text", "text": "a" },
        ] },
        { "role": "user", "content": "q2" },
    ] });
    let quirks = Quirks::default();
    let request = decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
    let passed = passed(&target(Dialect::Anthropic, &quirks), &body);
    for (sent, dropped) in [encoded(Dialect::Anthropic, &request), passed] {
        assert!(!sent.to_string().contains("gAAAA"), "{sent}");
        assert_eq!(dropped, ["messages[1].thinking"]);
    }
    for other in [Dialect::OpenAi, Dialect::Ollama] {
        assert!(!encoded(other, &request).0.to_string().contains("gAAAA"), "{other:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_survives_responses(mut request in request()) {
        request.sampling.stop.clear();
        request.max_tokens = request.max_tokens.map(|most| most.max(16));
        // Said in any case: OpenAI's default is another one than Chat Completions'.
        request.tools.iter_mut().for_each(|tool| tool.strict = Some(false));
        let quirks = Quirks::default();
        let encoded = encode_request(&target(Dialect::Responses, &quirks), &request).unwrap();
        prop_assert_eq!(encoded.dropped, Vec::<String>::new());
        let mut read = decode_request(Dialect::Responses, &encoded.body).unwrap();
        read.model = request.model.clone();
        read.items.clear();
        read.answers_are_whole = false;
        prop_assert_eq!(&read, &request);
    }
}

// ------------------------------------------------------------------------------------------------------- whole answers

pub(super) fn read(answer: Value) -> Result<ChatResponse, ApiError> {
    decode_response(Dialect::Responses, answer.to_string().as_bytes())
}

pub(super) fn completed(output: Value) -> Value {
    json!({ "id": "r", "model": "m", "status": "completed", "error": null, "incomplete_details": null, "output": output })
}

pub(super) fn message(text: &str) -> Value {
    json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text, "annotations": [] }] })
}

fn call(arguments: &str) -> Value {
    json!({ "type": "function_call", "call_id": "a", "name": "f", "arguments": arguments })
}

#[test]
fn a_whole_answer_has_thoughts_texts_and_calls() {
    let thought = json!({ "type": "reasoning", "encrypted_content": "gAAAA", "summary": [
        { "type": "summary_text", "text": "one" }, { "type": "summary_text", "text": "two" },
    ] });
    let bare = json!({ "type": "reasoning", "summary": [] });
    let foreign = json!({ "type": "web_search_call", "content": 7, "status": "completed" });
    let mut answer =
        completed(json!([thought, bare, foreign, message("I look."), message("Done."), call("{\"x\":1}")]));
    answer["usage"] = json!({
        "input_tokens": 10, "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 1 },
        "output_tokens": 5, "output_tokens_details": { "reasoning_tokens": 2 }, "total_tokens": 15,
    });
    let read = read(answer).unwrap();
    let signature = Some("openai:gAAAA".to_owned());
    assert_eq!(
        read.parts,
        [
            Part::Thinking { text: "one\n\ntwo".into(), signature },
            Part::Foreign { kind: "web_search_call".into(), value: Value::Null },
            Part::text("I look."),
            Part::text("\n\nDone."),
            Part::ToolCall { id: "a".into(), name: "f".into(), arguments: "{\"x\":1}".into() },
        ]
    );
    assert_eq!((read.id.as_str(), read.model.as_str(), read.finish_reason), ("r", "m", FinishReason::ToolCalls));
    let usage = read.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens), (5, 4, 1));
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (5, 2));
}

#[test]
fn why_an_answer_ended_is_told() {
    let ended = |answer: Value| read(answer).unwrap().finish_reason;
    let cut = |why: &str| {
        let mut answer = completed(json!([message("a")]));
        answer["status"] = json!("incomplete");
        answer["incomplete_details"] = json!({ "reason": why });
        ended(answer)
    };
    assert_eq!(ended(completed(json!([message("a")]))), FinishReason::Stop);
    assert_eq!(ended(completed(json!([call("{}")]))), FinishReason::ToolCalls);
    let refusal = json!({ "type": "message", "content": [{ "type": "refusal", "refusal": "no" }] });
    assert_eq!(ended(completed(json!([refusal]))), FinishReason::ContentFilter);
    assert_eq!(cut("max_output_tokens"), FinishReason::Length);
    assert_eq!(cut("content_filter"), FinishReason::ContentFilter);
    assert_eq!(cut("something new"), FinishReason::Other);
    assert_eq!(ended(json!({ "output": [message("a")] })), FinishReason::Other, "nothing but the answer");
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let kind = |answer: Value| read(answer).unwrap_err().kind;
    let failed = |code: &str| json!({ "status": "failed", "error": { "code": code, "message": "x" }, "output": [] });
    assert_eq!(kind(failed("server_error")), ErrorKind::Upstream);
    assert_eq!(kind(failed("rate_limit_exceeded")), ErrorKind::RateLimited);
    assert_eq!(kind(failed("vector_store_timeout")), ErrorKind::Upstream);
    assert_eq!(kind(failed("data_residency_mismatch")), ErrorKind::Permission);
    for policy in ["invalid_prompt", "bio_policy", "misalignment_policy_violation", "image_content_policy_violation"]
    {
        assert_eq!(kind(failed(policy)), ErrorKind::ContentFilter, "{policy}");
    }
    for picture in ["invalid_image_url", "image_too_large", "empty_image_file", "failed_to_download_image"] {
        assert_eq!(kind(failed(picture)), ErrorKind::InvalidRequest, "{picture}");
    }
    for early in ["queued", "in_progress"] {
        assert_eq!(kind(json!({ "status": early, "output": [] })), ErrorKind::Upstream, "{early}");
    }
    assert!(reports_error(failed("server_error").to_string().as_bytes()));
    assert_eq!(kind(json!({ "status": "failed", "error": null, "output": [] })), ErrorKind::Upstream);
    assert_eq!(kind(json!({ "error": { "message": "x", "code": "insufficient_quota" } })), ErrorKind::Quota);
    let counted = counted(Dialect::Responses, br#"{"status":"failed","usage":{"input_tokens":3,"output_tokens":4}}"#);
    assert_eq!(counted.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((3, 4)));
}

// ------------------------------------------------------------------------------------------------------------- streams

pub(super) fn stream(events: &[Value]) -> Vec<StreamEvent> {
    let written: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    decode_in(Dialect::Responses, &[written.as_bytes()])
}

fn end(output: Value) -> Value {
    json!({ "type": "response.completed", "response": completed(output) })
}

#[test]
fn nothing_is_said_twice_and_nothing_left_out_whatever_a_server_tells() {
    let events: Vec<&str> = STREAM.split_inclusive("\n\n").collect();
    let all = gist(&decode_in(Dialect::Responses, &[STREAM.as_bytes()]));
    let only = |wanted: &dyn Fn(&str) -> bool| -> String {
        events.iter().filter(|event| wanted(event.lines().next().unwrap_or_default())).copied().collect()
    };
    for told in [
        only(&|name| !name.ends_with(".delta")),
        only(&|name| !name.ends_with(".done")),
        only(&|name| !name.contains("item")),
        only(&|name| name.ends_with(".completed")),
    ] {
        assert_eq!(gist(&decode_in(Dialect::Responses, &[told.as_bytes()])), all, "{told}");
    }
    // A server that breaks off texts of its pieces, and says them whole in the end.
    let delta = json!({ "type": "response.output_text.delta", "output_index": 0, "delta": "h\u{e9}" });
    let text = gist(&stream(&[delta, end(json!([message("h\u{e9}llo")]))])).text;
    assert_eq!(text, "h\u{e9}llo");
}

#[test]
fn a_thought_is_signed_before_what_follows_it() {
    let item = |at: u64, kind: &str, item: Value| json!({ "type": kind, "output_index": at, "item": item });
    let thought = |sealed: &str| json!({ "type": "reasoning", "summary": [], "encrypted_content": sealed });
    let paragraph = |at: u64, delta: &str| json!({ "type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": at, "delta": delta });
    let events = stream(&[
        json!({ "type": "response.created", "response": { "id": "r", "model": "m" } }),
        item(0, "response.output_item.added", thought("not whole")),
        paragraph(0, "one"),
        paragraph(1, "two"),
        item(0, "response.output_item.done", thought("gAAAA")),
        item(1, "response.output_item.added", call("")),
        item(1, "response.output_item.done", call("")),
        end(json!([thought("gAAAA"), call("")])),
    ]);
    let tool_call = |start: Option<(String, String)>, arguments: &str| {
        StreamEvent::ToolCall(ToolCallDelta { index: 0, start, arguments: arguments.into() })
    };
    assert_eq!(
        events,
        [
            StreamEvent::Start { id: "r".into(), model: "m".into() },
            StreamEvent::Thinking("one".into()),
            StreamEvent::Thinking("\n\ntwo".into()),
            StreamEvent::ThinkingSignature("openai:gAAAA".into()),
            tool_call(Some(("a".into(), "f".into())), ""),
            tool_call(None, "{}"),
            StreamEvent::Finish { reason: FinishReason::ToolCalls, stop_sequence: None },
        ]
    );
}

#[test]
fn a_message_behind_another_begins_a_paragraph_as_it_does_in_a_whole_answer() {
    let output = json!([message("I look."), message("Done.")]);
    let whole = read(completed(output.clone())).unwrap();
    let said: String = whole
        .parts
        .iter()
        .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(
        (gist(&stream(&[end(output)])).text, said.as_str()),
        ("I look.\n\nDone.".to_owned(), "I look.\n\nDone.")
    );
}

#[test]
fn a_stream_that_is_no_answer_says_so_once() {
    let begun = || json!({ "type": "response.output_text.delta", "output_index": 0, "delta": "a" });
    let last = |event: Value| {
        let events = stream(&[begun(), event, begun()]);
        let ends = events.iter().filter(|event| matches!(event, StreamEvent::Finish { .. } | StreamEvent::Error(_)));
        assert_eq!(ends.count(), 1, "{events:?}");
        let told = gist(&events);
        assert!(matches!(events.last(), Some(StreamEvent::Finish { .. } | StreamEvent::Error(_))));
        (told.finish, told.error, told.usage.output_tokens)
    };
    let failed = json!({ "status": "failed", "error": { "code": "server_error", "message": "x" }, "usage": { "input_tokens": 1, "output_tokens": 2 } });
    assert_eq!(last(json!({ "type": "response.failed", "response": failed })), (None, Some(ErrorKind::Upstream), 2));
    let cut =
        json!({ "status": "incomplete", "incomplete_details": { "reason": "max_output_tokens" }, "output": [] });
    let incomplete = json!({ "type": "response.incomplete", "response": cut });
    assert_eq!(last(incomplete), (Some(FinishReason::Length), None, 0));
    for error in [
        json!({ "type": "error", "code": "rate_limit_exceeded", "message": "x", "param": null, "sequence_number": 3 }),
        json!({ "type": "error", "error": { "type": "tokens", "code": "rate_limit_exceeded", "message": "x" } }),
        json!({ "error": { "code": "rate_limit_exceeded", "message": "x" } }),
    ] {
        assert_eq!(last(error.clone()), (None, Some(ErrorKind::RateLimited), 0), "{error}");
    }
    assert_eq!(gist(&stream(&[begun()])).error, Some(ErrorKind::Connection), "cut off");
    let done = format!("data: {}\n\ndata: [DONE]\n\n", begun());
    assert_eq!(gist(&decode_in(Dialect::Responses, &[done.as_bytes()])).error, Some(ErrorKind::Connection));
    for junk in [
        "data: {not json\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\n\n",
        "data: 7\n\n",
        "data: {\"choices\":[]}\n\n",
    ] {
        let begun = format!("data: {}\n\n{junk}", begun());
        assert_eq!(
            gist(&decode_in(Dialect::Responses, &[begun.as_bytes()])).error,
            Some(ErrorKind::Upstream),
            "{junk}"
        );
    }
}
