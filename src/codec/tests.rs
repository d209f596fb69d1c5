//! All dialects together: what goes in comes out, whoever speaks to whom.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::*;
use crate::config::Quirks;
use crate::protocol::{ErrorKind, FinishReason, Message, Part, Role, StreamEvent, ToolCallDelta, Usage};

pub(super) fn target(dialect: Dialect, quirks: &Quirks) -> Target<'_> {
    Target { max_output_tokens: Some(100_000), reasoning: true, ..Target::new(dialect, quirks, "upstream-id") }
}

pub(super) fn meta() -> AnswerMeta {
    AnswerMeta { id: "id-1".into(), model: "listed".into(), created: 7, native: None, echo: Default::default() }
}

/// An answer that its vendor has not counted.
pub(super) fn answer(parts: Vec<Part>, finish_reason: FinishReason) -> ChatResponse {
    ChatResponse { id: "v".into(), model: "v".into(), parts, finish_reason, stop_sequence: None, usage: None }
}

pub(super) fn encoded(dialect: Dialect, request: &ChatRequest) -> (Value, Vec<String>) {
    let quirks = Quirks::default();
    let encoded = encode_request(&target(dialect, &quirks), request).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

pub(super) fn passed(target: &Target<'_>, body: impl std::fmt::Display) -> (Value, Vec<String>) {
    let bytes = body.to_string();
    let request = decode_request(target.dialect, bytes.as_bytes()).unwrap();
    let passed = pass_request(target, &request, bytes.as_bytes()).unwrap();
    (serde_json::from_slice(&passed.body).unwrap(), passed.dropped)
}

pub(super) fn openai(body: Value) -> ChatRequest {
    decode_request(Dialect::OpenAi, body.to_string().as_bytes()).unwrap()
}

// ------------------------------------------------------------------------------------------------ requests, by example

#[test]
fn a_block_of_anthropics_in_openais_dialect_goes_on_if_it_is_a_whole_one() {
    let with = |part: Value| openai(json!({ "model": "x", "messages": [{ "role": "user", "content": [part] }] }));
    let source = json!({ "type": "base64", "media_type": "image/png", "data": "AAAA" });
    let whole = with(json!({ "type": "image", "source": source }));
    assert_eq!(obstacle(Dialect::OpenAi, Dialect::Anthropic, &whole), None);
    assert_eq!(encoded(Dialect::Anthropic, &whole).0["messages"][0]["content"][0]["source"], source);
    let broken = with(json!({ "type": "image", "sourcd": source }));
    assert_eq!(
        obstacle(Dialect::OpenAi, Dialect::Anthropic, &broken).as_deref(),
        Some("messages[0].content[0] (image)")
    );
}

#[test]
fn what_ollama_cannot_carry_is_told_before_and_refused_after() {
    let quirks = Quirks::default();
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    let with = |more: Value| {
        let mut body = json!({ "model": "x", "messages": [{ "role": "user", "content": "q" }], "tools": [tool] });
        json::extend(&mut body, more);
        openai(body)
    };
    let picture = json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "https://x/y.png" } }] }] });
    for (request, field) in [
        (with(json!({ "tool_choice": { "type": "function", "function": { "name": "stranger" } } })), "tool_choice"),
        (with(json!({ "n": 2 })), "n"),
        (with(picture), "messages[0].content[0] (an image by URL)"),
    ] {
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &request).as_deref(), Some(field));
        let refused = encode_request(&target(Dialect::Ollama, &quirks), &request).unwrap_err();
        assert_eq!((refused.kind, refused.param.as_deref()), (ErrorKind::InvalidRequest, Some(field)));
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::OpenAi, &request), None);
    }
    for fine in [json!({ "tool_choice": "auto" }), json!({ "tool_choice": "none" }), json!({ "n": 1 })] {
        let request = with(fine);
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Ollama, &request), None);
        encode_request(&target(Dialect::Ollama, &quirks), &request).unwrap();
    }
}

#[test]
fn anthropic_is_never_sent_a_conversation_of_nothing() {
    let quirks = Quirks::default();
    let of = |messages: Value| openai(json!({ "model": "x", "messages": messages }));
    for nothing in [
        json!([{ "role": "user", "content": "" }]),
        json!([{ "role": "system", "content": "" }, { "role": "user", "content": [] }]),
    ] {
        let request = of(nothing);
        assert!(obstacle(Dialect::OpenAi, Dialect::Anthropic, &request).is_some());
        let refused = encode_request(&target(Dialect::Anthropic, &quirks), &request).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidRequest);
        assert!(refused.message.contains("empty"), "{}", refused.message);
        assert_eq!(obstacle(Dialect::Native, Dialect::OpenAi, &request), None);
    }
    // Instructions alone are something: the dialect wants a user's turn, so they are said as one.
    for instructions in [
        json!([{ "role": "system", "content": "Tell a joke." }]),
        json!([{ "role": "system", "content": "Tell a joke." }, { "role": "user", "content": "" }]),
    ] {
        let request = of(instructions);
        assert_eq!(obstacle(Dialect::OpenAi, Dialect::Anthropic, &request), None);
        let sent = encode_request(&target(Dialect::Anthropic, &quirks), &request).unwrap();
        let sent: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(sent["messages"], json!([{ "role": "user", "content": "Tell a joke." }]));
        assert_eq!(sent.get("system"), None);
    }
}

#[test]
fn a_tool_loop_goes_from_openai_to_anthropic() {
    let request = openai(json!({
        "model": "x",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Weather in Oslo and Rome?" },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "weather", "arguments": "{\"city\":\"Oslo\"}" } },
                { "id": "b", "type": "function", "function": { "name": "weather", "arguments": "{\"city\":\"Rome\"}" } },
            ] },
            { "role": "tool", "tool_call_id": "a", "content": "-3" },
            { "role": "tool", "tool_call_id": "b", "content": "18" },
            { "role": "user", "content": "In Fahrenheit." },
        ],
        "tools": [{ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } }],
        "tool_choice": "required",
        "parallel_tool_calls": false,
    }));
    let (body, dropped) = encoded(Dialect::Anthropic, &request);
    assert_eq!(dropped, Vec::<String>::new());
    assert_eq!(body["model"], "upstream-id");
    assert_eq!(body["max_tokens"], 100_000, "who sets no limit gets what the model can give");
    assert_eq!(body["system"], json!([{ "type": "text", "text": "Be brief." }]));
    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": "Weather in Oslo and Rome?" },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "a", "name": "weather", "input": { "city": "Oslo" } },
                { "type": "tool_use", "id": "b", "name": "weather", "input": { "city": "Rome" } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "a", "content": [{ "type": "text", "text": "-3" }] },
                { "type": "tool_result", "tool_use_id": "b", "content": [{ "type": "text", "text": "18" }] },
                { "type": "text", "text": "In Fahrenheit." },
            ] },
        ])
    );
    assert_eq!(body["tool_choice"], json!({ "type": "any", "disable_parallel_tool_use": true }));
}

#[test]
fn a_tool_loop_goes_from_anthropic_to_openai_and_ollama() {
    let body = json!({
        "model": "x", "max_tokens": 50,
        "system": [
            { "type": "text", "text": "Be" }, { "type": "text", "text": "brief.", "cache_control": { "type": "ephemeral" } },
        ],
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "What is this?" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } },
            ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "sig" },
                { "type": "tool_use", "id": "t1", "name": "look", "input": { "zoom": 2 } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": "a cat", "is_error": true },
                { "type": "text", "text": "Well?" },
            ] },
        ],
        "tools": [{ "name": "look", "description": "Looks.", "input_schema": { "type": "object" } }],
        "tool_choice": { "type": "tool", "name": "look" },
        "stop_sequences": ["END"],
    });
    let request = decode_request(Dialect::Anthropic, body.to_string().as_bytes()).unwrap();
    let (openai, dropped) = encoded(Dialect::OpenAi, &request);
    assert_eq!(openai["messages"][0], json!({ "role": "system", "content": "Be\nbrief." }));
    assert_eq!(openai["messages"][1]["content"][1]["image_url"]["url"], "data:image/png;base64,AAAA");
    assert_eq!(openai["messages"][2]["tool_calls"][0]["function"]["arguments"], "{\"zoom\":2}");
    assert_eq!(openai["messages"][3], json!({ "role": "tool", "tool_call_id": "t1", "content": "Error: a cat" }));
    assert_eq!(openai["messages"][4], json!({ "role": "user", "content": "Well?" }));
    assert_eq!(openai["tool_choice"]["function"]["name"], "look");
    assert_eq!((&openai["max_tokens"], &openai["stop"]), (&json!(50), &json!(["END"])));
    assert!(dropped.iter().any(|field| field.contains("cache_control")), "{dropped:?}");
    assert!(dropped.iter().any(|field| field.contains("thinking")), "{dropped:?}");

    let mut request = request;
    request.tool_choice = None;
    let (ollama, _) = encoded(Dialect::Ollama, &request);
    assert_eq!(ollama["messages"][1]["images"], json!(["AAAA"]));
    assert_eq!(ollama["messages"][2]["tool_calls"][0]["function"]["arguments"], json!({ "zoom": 2 }));
    assert_eq!(
        ollama["messages"][3],
        json!({ "role": "tool", "content": "Error: a cat", "tool_name": "look", "tool_call_id": "t1" })
    );
    assert_eq!(ollama["options"], json!({ "stop": ["END"], "num_predict": 50 }));
}

#[test]
fn a_schema_is_carried_everywhere() {
    let schema = json!({
        "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"],
        "additionalProperties": false,
    });
    let request = openai(json!({
        "messages": [{ "role": "user", "content": "x" }],
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": schema } },
    }));
    assert_eq!(encoded(Dialect::Anthropic, &request).0["output_config"]["format"]["schema"], schema);
    assert_eq!(encoded(Dialect::Ollama, &request).0["format"], schema);
    assert_eq!(encoded(Dialect::OpenAi, &request).0["response_format"]["json_schema"]["schema"], schema);
    let quirks = Quirks { json_schema: false, ..Quirks::default() };
    let deepseek = encode_request(&target(Dialect::OpenAi, &quirks), &request).unwrap();
    assert_eq!(deepseek.dropped, ["response_format.json_schema"]);
    let deepseek: Value = serde_json::from_slice(&deepseek.body).unwrap();
    assert_eq!(deepseek["response_format"], json!({ "type": "json_object" }));
    let said = deepseek["messages"][0]["content"].as_str().unwrap();
    assert!(said.starts_with("x\n\n") && said.contains("JSON") && said.contains(&schema.to_string()), "{said}");
}

#[test]
fn a_schema_in_words_stands_behind_the_question_and_leaves_what_is_cached_alone() {
    let quirks = Quirks { json_schema: false, ..Quirks::default() };
    let deepseek = target(Dialect::OpenAi, &quirks);
    let call = json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let asked = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "text", "text": "x" }] },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c", "content": "y" },
        { "role": "assistant", "content": "{" },
    ]);
    let sent = |turns: usize| {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": { "title": "S" } } });
        let body = json!({ "messages": asked.as_array().unwrap()[..turns], "response_format": format });
        passed(&deepseek, body).0["messages"].as_array().unwrap().clone()
    };
    let has_schema = |turn: &Value| turn["role"] == "user" && turn.to_string().contains("title");
    let behind_question = sent(2);
    assert_eq!(behind_question[0], asked[0]);
    assert_eq!((behind_question.len(), has_schema(&behind_question[1])), (2, true), "{behind_question:?}");
    let behind_result = sent(4);
    assert_eq!((&behind_result[..4], has_schema(&behind_result[4])), (&asked.as_array().unwrap()[..4], true));
    // Between the calls of a loop it must not sound as if these were over.
    let said = |tools: bool| {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": { "title": "S" } } });
        let mut body = json!({ "messages": [asked[0], asked[1]], "response_format": format });
        if tools {
            body["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]);
        }
        passed(&deepseek, body).0["messages"][1]["content"][1]["text"].as_str().unwrap().to_owned()
    };
    assert!(said(false).starts_with("Answer with") && said(true).starts_with("When you answer instead of calling"));
    let before_beginning = sent(5);
    assert_eq!((has_schema(&before_beginning[4]), &before_beginning[5]), (true, &asked[4]));
}

#[test]
fn anthropic_is_not_asked_for_what_does_not_go_together() {
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    let sent = |fields: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "x" }], "tools": [tool] });
        json::extend(&mut body, fields);
        encoded(Dialect::Anthropic, &openai(body))
    };
    let (body, dropped) = sent(json!({ "temperature": 0.2, "top_p": 0.9 }));
    assert_eq!((&body["temperature"], body.get("top_p")), (&json!(0.2), None));
    assert_eq!(dropped, ["top_p"]);

    let (body, dropped) = sent(json!({ "reasoning_effort": "high", "temperature": 0.2, "top_p": 0.9 }));
    assert_eq!(
        (&body["thinking"]["type"], body.get("temperature"), body.get("top_p")),
        (&json!("adaptive"), None, None)
    );
    assert_eq!(dropped, ["temperature", "top_p"]);

    let (body, dropped) = sent(json!({ "reasoning_effort": "high", "tool_choice": "required", "temperature": 0.2 }));
    assert_eq!((body.get("thinking"), &body["tool_choice"]["type"]), (None, &json!("any")));
    assert_eq!(body["temperature"], 0.2);
    assert_eq!(dropped, ["reasoning"]);

    let (body, dropped) = sent(json!({ "reasoning_effort": "none", "tool_choice": "required", "temperature": 2 }));
    assert_eq!((&body["thinking"]["type"], &body["temperature"]), (&json!("disabled"), &json!(1.0)));
    assert_eq!(dropped, ["temperature"]);
}

#[test]
fn deepseek_gets_its_reasoning_back_inside_a_tool_loop_only() {
    let call = Part::ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into() };
    let thought = Part::Thinking { text: "hm".into(), signature: None };
    let turn = |parts| Message { role: Role::Assistant, parts, name: None };
    let request = ChatRequest {
        messages: vec![turn(vec![thought.clone(), call]), turn(vec![thought, Part::text("done")])],
        ..ChatRequest::default()
    };
    let quirks = Quirks { reasoning_content: true, ..Quirks::default() };
    let body = encode_request(&target(Dialect::OpenAi, &quirks), &request).unwrap().body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["messages"][0]["reasoning_content"], "hm");
    assert_eq!(body["messages"][1].get("reasoning_content"), None);
    assert_eq!(body["messages"][1]["content"], "done");
}

#[test]
fn ollama_is_told_to_keep_a_long_prompt_in_mind() {
    let request = |max_tokens: Value| {
        openai(json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": max_tokens }))
    };
    let quirks = Quirks::default();
    let window = |prompt_tokens, max_tokens: Value| {
        let request = request(max_tokens);
        let window = Some(needed_window(prompt_tokens, request.max_tokens));
        let target = Target { window, ..target(Dialect::Ollama, &quirks) };
        let sent = encode_request(&target, &request).unwrap();
        let sent: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(sent["truncate"], false);
        sent["options"]["num_ctx"].as_u64()
    };
    assert_eq!(window(100, Value::Null), None, "what fits the usual window leaves the server as it is");
    assert_eq!(window(2_400, Value::Null), None);
    assert_eq!(window(4_000, Value::Null), Some(8_192));
    assert_eq!(window(4_000, json!(6_000)), Some(16_384), "the answer needs room too");
    assert_eq!(window(10, json!(64_000)), Some(8_192), "but not what nobody fills");
    assert_eq!(window(90_000, Value::Null), Some(131_072));
}

#[test]
fn what_changes_the_meaning_is_refused_by_name() {
    let refused = |fields: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "x" }] });
        json::extend(&mut body, fields);
        let quirks = Quirks::default();
        encode_request(&target(Dialect::Anthropic, &quirks), &openai(body)).unwrap_err().param
    };
    assert_eq!(refused(json!({ "n": 2 })).as_deref(), Some("n"));
    assert_eq!(refused(json!({ "logprobs": true })).as_deref(), Some("logprobs"));
    let audio = openai(
        json!({ "messages": [{ "role": "user", "content": [{ "type": "input_audio", "input_audio": {} }] }] }),
    );
    let quirks = Quirks::default();
    let error = encode_request(&target(Dialect::Anthropic, &quirks), &audio).unwrap_err();
    assert!(error.message.contains("messages[0].content[0] (input_audio)"), "{}", error.message);
}

#[test]
fn errors_name_the_field_and_never_quote_the_prompt() {
    let error = |dialect, body: Value| decode_request(dialect, body.to_string().as_bytes()).unwrap_err();
    let cases = [
        (Dialect::OpenAi, json!({ "model": "x" }), "messages"),
        (Dialect::OpenAi, json!({ "messages": [{ "role": "user", "content": 7 }] }), "messages[0].content"),
        (Dialect::OpenAi, json!({ "messages": [{ "role": "wizard", "content": "secret" }] }), "messages[0].role"),
        (Dialect::OpenAi, json!({ "messages": [{ "role": "user", "content": "x" }], "stream": "secret" }), "stream"),
        (Dialect::Anthropic, json!({ "messages": [{ "role": "user", "content": "x" }] }), "max_tokens"),
        (Dialect::Native, json!({ "messages": [{ "role": "user", "content": "x" }], "secret": 1 }), "secret"),
    ];
    for (dialect, body, param) in cases {
        let error = error(dialect, body);
        assert_eq!(error.param.as_deref(), Some(param));
        assert!(param == "secret" || !error.message.contains("secret"), "{}", error.message);
    }
}

// ----------------------------------------------------------------------------------------------------------- streams

pub(super) const OPENAI_STREAM: &str = concat!(
    ": comment\r\n\r\n",
    "data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"h\u{e9}llo\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n",
    "data: [DONE]\n\n",
);

const ANTHROPIC_STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"c1\",\"model\":\"m\",\"usage\":{\"input_tokens\":6,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"h\u{e9}llo\"}}\n\n",
    "event: new_kind\ndata: {\"type\":\"new_kind\",\"anything\":1}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\":1}\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":5}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const OLLAMA_STREAM: &str = concat!(
    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\n",
    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"h\u{e9}llo\"},\"done\":false}\n",
    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]},\"done\":false}\n",
    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":10,\"eval_count\":5}\n",
);

pub(super) const STREAMS: [(Dialect, &str); 4] = [
    (Dialect::OpenAi, OPENAI_STREAM),
    (Dialect::Responses, super::asked_in_responses_tests::STREAM),
    (Dialect::Anthropic, ANTHROPIC_STREAM),
    (Dialect::Ollama, OLLAMA_STREAM),
];

pub(super) fn decode_in(dialect: Dialect, pieces: &[&[u8]]) -> Vec<StreamEvent> {
    let mut decoder = StreamDecoder::new(dialect);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut events);
    }
    decoder.finish(&mut events);
    events
}

/// What a stream says in the end: text, thinking, calls, usage, finish.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Gist {
    pub(super) text: String,
    thinking: String,
    pub(super) calls: Vec<(String, Value)>,
    pub(super) usage: Usage,
    pub(super) finish: Option<FinishReason>,
    pub(super) error: Option<ErrorKind>,
}

pub(super) fn gist(events: &[StreamEvent]) -> Gist {
    let mut gist = Gist::default();
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in events {
        match event {
            StreamEvent::Text(text) => gist.text.push_str(text),
            StreamEvent::Thinking(text) => gist.thinking.push_str(text),
            StreamEvent::ToolCall(ToolCallDelta { index, start, arguments }) => {
                if let Some((_, name)) = start {
                    calls.push((name.clone(), String::new()));
                }
                calls[*index].1.push_str(arguments);
            }
            StreamEvent::Usage(usage) => gist.usage.absorb(usage),
            StreamEvent::Finish { reason, .. } => gist.finish = Some(*reason),
            StreamEvent::Error(error) => gist.error = Some(error.kind),
            _ => {}
        }
    }
    gist.calls =
        calls.into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap_or_default())).collect();
    gist
}

#[test]
fn each_dialects_stream_says_the_same() {
    for (dialect, stream) in STREAMS {
        let events = decode_in(dialect, &[stream.as_bytes()]);
        assert!(matches!(events.last(), Some(StreamEvent::Finish { .. })), "{dialect:?}: finish is last");
        let gist = gist(&events);
        assert_eq!((gist.text.as_str(), gist.thinking.as_str()), ("h\u{e9}llo", "hm"), "{dialect:?}");
        assert_eq!(gist.calls, [("f".to_owned(), json!({ "x": 1 }))], "{dialect:?}");
        assert_eq!(gist.finish, Some(FinishReason::ToolCalls), "{dialect:?}");
        assert_eq!((gist.usage.prompt_tokens(), gist.usage.output_tokens), (10, 5), "{dialect:?}");
    }
}

#[test]
fn a_stream_that_is_cut_says_so() {
    for (dialect, stream) in STREAMS {
        // Cut behind the text, so that the end has not been said.
        let cut = stream.find("llo").unwrap();
        let events = decode_in(dialect, &[&stream.as_bytes()[..cut]]);
        assert!(matches!(events.last(), Some(StreamEvent::Error(_))), "{dialect:?}: {events:?}");
    }
    assert_eq!(gist(&decode_in(Dialect::OpenAi, &[b""])).error, Some(ErrorKind::Connection));
}

#[test]
fn an_error_event_ends_a_stream() {
    let cases = [
        (
            Dialect::OpenAi,
            "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"late\"}}]}\n\n",
        ),
        (
            Dialect::Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n",
        ),
        (Dialect::Ollama, "{\"error\":\"x\"}\n"),
    ];
    for (dialect, stream) in cases {
        let mut decoder = StreamDecoder::new(dialect);
        let mut events = Vec::new();
        decoder.push(stream.as_bytes(), &mut events);
        decoder.finish(&mut events);
        assert_eq!(events.len(), 1, "{dialect:?}: {events:?}");
        assert!(decoder.saw_error());
    }
}

pub(super) fn reencode(dialect: Dialect, events: &[StreamEvent]) -> Vec<u8> {
    let mut encoder = StreamEncoder::new(dialect, meta(), true);
    let mut out = BytesMut::new();
    events.iter().for_each(|event| encoder.encode(event, &mut out));
    out.to_vec()
}

#[test]
fn an_anthropic_stream_has_one_start_and_blocks_that_never_overlap() {
    for (dialect, stream) in STREAMS {
        let events = decode_in(dialect, &[stream.as_bytes()]);
        let text = String::from_utf8(reencode(Dialect::Anthropic, &events)).unwrap();
        assert_eq!(text.matches("event: message_start").count(), 1);
        assert_eq!(text.matches("event: message_stop").count(), 1);
        let mut open = false;
        for line in text.lines().filter_map(|line| line.strip_prefix("event: ")) {
            match line {
                "content_block_start" => assert!(!std::mem::replace(&mut open, true)),
                "content_block_delta" => assert!(open),
                "content_block_stop" => assert!(std::mem::replace(&mut open, false)),
                "message_stop" => assert!(!open),
                _ => {}
            }
        }
    }
}

#[test]
fn words_between_the_pieces_of_calls_cut_none_off() {
    let call = |index: usize, start: bool, arguments: &str| {
        let start = start.then(|| (index.to_string(), "f".to_owned()));
        StreamEvent::ToolCall(ToolCallDelta { index, start, arguments: arguments.into() })
    };
    let said = [
        call(0, true, "{\"x\":"),
        StreamEvent::Text("so".into()),
        call(1, true, "{}"),
        StreamEvent::Thinking("hm".into()),
        call(0, false, "1}"),
        StreamEvent::Finish { reason: FinishReason::ToolCalls, stop_sequence: None },
    ];
    let heard = gist(&decode_in(Dialect::Anthropic, &[&reencode(Dialect::Anthropic, &said)]));
    assert_eq!(heard.calls, [("f".to_owned(), json!({ "x": 1 })), ("f".to_owned(), json!({}))]);
    assert_eq!((heard.text.as_str(), heard.thinking.as_str()), ("so", "hm"));
    let whole = [call(0, true, "{}"), StreamEvent::Text("done".into())];
    let at_once = String::from_utf8(reencode(Dialect::Anthropic, &whole)).unwrap();
    assert!(at_once.contains("done"), "what comes behind whole calls is not held back");
}
