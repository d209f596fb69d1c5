//! Every client dialect with every kind of backend: whole, streamed, tools, schemas, errors.

use pointsman::sandbox::{Fault, Times};
use serde_json::{Value, json};

use crate::support::{BACKENDS, CLIENTS, TestGateway, ask, discovered, error, events, streamed_text, text, turns};

#[tokio::test]
async fn everybody_can_talk_to_everybody() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    for path in CLIENTS {
        for (model, _) in BACKENDS {
            let response = gateway.post(path, ask(path, model, "Why is the sky blue?")).await;
            assert_eq!(response.status(), 200, "{path} {model}");
            assert!(response.headers()["x-pointsman-model"].to_str().unwrap().starts_with(model));
            let answer: Value = response.json().await.unwrap();
            assert!(text(path, &answer).contains("[sandbox"), "{path} {model}: {answer}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn streams_say_the_same_as_whole_answers() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    for path in CLIENTS {
        for (model, _) in BACKENDS {
            let mut body = ask(path, model, "Tell me a story");
            let whole: Value = gateway.post(path, body.clone()).await.json().await.unwrap();
            body["stream"] = json!(true);
            let response = gateway.post(path, body).await;
            assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8", "{path} {model}");
            let stream = response.text().await.unwrap();
            assert_eq!(streamed_text(path, &stream), text(path, &whole), "{path} {model}");
            let ending = match path {
                "/api/chat" => stream.contains("event: end"),
                "/v1/chat/completions" => stream.ends_with("data: [DONE]\n\n"),
                "/v1/responses" => events(&stream).pop().is_some_and(|last| last["type"] == "response.completed"),
                _ => stream.contains("event: message_stop"),
            };
            assert!(ending, "{path} {model}: {stream}");
        }
    }
    gateway.stop().await;
}

fn tool(path: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    match path {
        "/v1/messages" => json!([{ "name": "weather", "description": "Weather now", "input_schema": schema }]),
        "/v1/responses" => json!([{ "type": "function", "name": "weather", "parameters": schema }]),
        _ => json!([{ "type": "function", "function": { "name": "weather", "parameters": schema } }]),
    }
}

/// Id and arguments of the call in an answer.
fn call(path: &str, answer: &Value) -> (String, Value) {
    if path == "/v1/messages" {
        let block = answer["content"].as_array().unwrap().iter().find(|block| block["type"] == "tool_use").unwrap();
        return (block["id"].as_str().unwrap().to_owned(), block["input"].clone());
    }
    if path == "/v1/responses" {
        let items = answer["output"].as_array().unwrap();
        let item = items.iter().find(|item| item["type"] == "function_call").unwrap();
        let arguments = serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
        return (item["call_id"].as_str().unwrap().to_owned(), arguments);
    }
    let message = if path == "/api/chat" { &answer["message"] } else { &answer["choices"][0]["message"] };
    let call = &message["tool_calls"][0];
    let arguments = call["function"]["arguments"].as_str().unwrap();
    (call["id"].as_str().unwrap().to_owned(), serde_json::from_str(arguments).unwrap())
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_heard() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    for path in CLIENTS {
        for model in BACKENDS.map(|(model, _)| model).into_iter().chain(["gpt-6-sol"]) {
            let mut body = ask(path, model, "What is the weather in Oslo?");
            body["tools"] = tool(path);
            let answer: Value = gateway.post(path, body.clone()).await.json().await.unwrap();
            let (id, arguments) = call(path, &answer);
            assert!(arguments["city"].is_string(), "{path} {model}: {answer}");
            let more = if path == "/v1/messages" {
                json!([
                    { "role": "assistant", "content": answer["content"] },
                    { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": "minus three" }] },
                ])
            } else if path == "/v1/responses" {
                let mut more = answer["output"].clone();
                let result = json!({ "type": "function_call_output", "call_id": id, "output": "minus three" });
                more.as_array_mut().unwrap().push(result);
                more
            } else {
                let message = if path == "/api/chat" { &answer["message"] } else { &answer["choices"][0]["message"] };
                json!([message, { "role": "tool", "tool_call_id": id, "content": "minus three" }])
            };
            body[turns(path)].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
            let response = gateway.post(path, body).await;
            let status = response.status();
            let answer: Value = response.json().await.unwrap();
            assert_eq!(status, 200, "{path} {model}: {answer}");
            assert!(text(path, &answer).contains("minus three"), "{path} {model}: {answer}");
        }
    }
    gateway.stop().await;
}

/// Claude's newest refuse to be made to call a tool, and nearly every library forces one to get data.
#[tokio::test]
async fn who_refuses_to_be_forced_answers_in_the_call_s_stead() {
    let gateway = TestGateway::start("").await;
    let sent = || gateway.sandbox.seen().into_iter().rfind(|seen| seen.body["messages"].is_array()).unwrap().body;
    for path in CLIENTS {
        let mut body = ask(path, "claude-sonnet-5-5", "Extract it.");
        body["tools"] = tool(path);
        body["tool_choice"] = json!("required");
        match path {
            "/v1/chat/completions" => body["reasoning_effort"] = json!("low"),
            "/v1/responses" => body["reasoning"] = json!({ "effort": "low", "summary": "auto" }),
            _ => {}
        }
        if path == "/v1/messages" {
            body["tool_choice"] = json!({ "type": "tool", "name": "weather" });
            let response = gateway.post(path, body).await;
            assert_eq!(response.status(), 400, "its own dialect");
            let told = error(path, &response.json().await.unwrap());
            assert!(told.contains("it cannot be made to call a tool (`tool_choice` \"auto\" works)"), "{told}");
            continue;
        }
        let response = gateway.post(path, body.clone()).await;
        let lost = response.headers().get("x-pointsman-dropped").cloned();
        let answer: Value = response.json().await.unwrap();
        let (id, arguments) = call(path, &answer);
        assert!(arguments["city"].is_string() && lost.is_none(), "{path}: {answer} {lost:?}");
        assert_eq!(text(path, &answer), "", "{path}");
        let asked = sent();
        assert_eq!(asked["tool_choice"], json!({ "type": "none" }), "{path}");
        assert_eq!(asked["output_config"]["format"]["type"], "json_schema", "{path}");
        // Behind the result the same, and what was thought is not sent back.
        let more = if path == "/v1/responses" {
            let mut more = answer["output"].as_array().unwrap().clone();
            assert!(more.iter().any(|item| item["type"] == "reasoning"), "{answer}");
            more.push(json!({ "type": "function_call_output", "call_id": id, "output": "minus three" }));
            more
        } else {
            let message = if path == "/api/chat" { &answer["message"] } else { &answer["choices"][0]["message"] };
            vec![message.clone(), json!({ "role": "tool", "tool_call_id": id, "content": "minus three" })]
        };
        body[turns(path)].as_array_mut().unwrap().extend(more);
        let answer: Value = gateway.post(path, body.clone()).await.json().await.unwrap();
        assert_eq!(call(path, &answer).1, arguments, "{path}");
        let asked = sent()["messages"].clone();
        assert_eq!(asked[1]["content"][0]["type"], "tool_use", "{path}: {asked}");
        assert_eq!(asked[2]["content"][1]["type"], "text", "{path}: {asked}");
        // And streamed.
        body["stream"] = json!(true);
        let stream = gateway.post(path, body).await.text().await.unwrap();
        let said = events(&stream);
        let pieces = said.iter().filter_map(|event| match path {
            "/api/chat" => event["tool_call"]["arguments"].as_str(),
            "/v1/responses" if event["type"] == "response.function_call_arguments.delta" => event["delta"].as_str(),
            "/v1/responses" => None,
            _ => event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str(),
        });
        let streamed: String = pieces.collect();
        assert_eq!(serde_json::from_str::<Value>(&streamed).ok(), Some(arguments), "{path}: {stream}");
        assert_eq!(streamed_text(path, &stream), "", "{path}");
    }
    gateway.stop().await;
}

/// As pydantic-ai's agents ask that have tools and an answer of a type: with a call at each turn.
#[tokio::test]
async fn who_cannot_be_made_to_call_one_of_several_is_told_to() {
    let gateway = TestGateway::start("").await;
    let reports = |answer: &Value| {
        let called = [r#""name":"report","arguments""#, r#""name":"report","input""#];
        called.iter().any(|call| answer.to_string().contains(call))
    };
    discovered(&gateway).await;
    for (path, model) in CLIENTS.into_iter().flat_map(|path| [(path, "claude-sonnet-5-5"), (path, "llama3.2")]) {
        let is_its_own = path == "/v1/messages" && model != "llama3.2";
        if is_its_own {
            continue;
        }
        let mut body = ask(path, model, "Extract it.");
        let mut other = tool(path);
        let named = other[0].pointer("/function/name").is_some();
        *other[0].pointer_mut(if named { "/function/name" } else { "/name" }).unwrap() = json!("report");
        body["tools"] = tool(path);
        body["tools"].as_array_mut().unwrap().push(other[0].clone());
        body["tool_choice"] = if path == "/v1/messages" { json!({ "type": "any" }) } else { json!("required") };
        let response = gateway.post(path, body.clone()).await;
        let dropped = response.headers().get("x-pointsman-dropped").cloned();
        let answer: Value = response.json().await.unwrap();
        let (id, arguments) = call(path, &answer);
        assert!(arguments["city"].is_string() && !reports(&answer), "{path} {model}: {answer}");
        assert_eq!(dropped.unwrap(), "tool_choice", "{path} {model}");
        // Behind the result it calls the other.
        let more = match path {
            "/v1/responses" => {
                let mut more = answer["output"].as_array().unwrap().clone();
                more.push(json!({ "type": "function_call_output", "call_id": id, "output": "cold" }));
                more
            }
            "/v1/messages" => {
                let result = json!({ "type": "tool_result", "tool_use_id": id, "content": "cold" });
                let said = json!({ "role": "assistant", "content": answer["content"] });
                vec![said, json!({ "role": "user", "content": [result] })]
            }
            _ => {
                let said = if path == "/api/chat" { &answer["message"] } else { &answer["choices"][0]["message"] };
                vec![said.clone(), json!({ "role": "tool", "tool_call_id": id, "content": "cold" })]
            }
        };
        body[turns(path)].as_array_mut().unwrap().extend(more);
        let answer: Value = gateway.post(path, body.clone()).await.json().await.unwrap();
        call(path, &answer);
        assert!(reports(&answer), "{path} {model}: {answer}");
        body["model"] = json!("auto");
        let response = gateway.post(path, body).await;
        assert_eq!(response.headers().get("x-pointsman-dropped"), None, "{path}: others can be made to");
        call(path, &response.json().await.unwrap());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_said_of_tools_where_there_are_none_is_in_nobody_s_way() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    for path in CLIENTS {
        let choice = if path == "/v1/messages" { json!({ "type": "auto" }) } else { json!("auto") };
        for model in BACKENDS.map(|(model, _)| model).into_iter().chain(["gpt-6-sol", "auto"]) {
            for tools in [Value::Null, json!([])] {
                let mut body = ask(path, model, "Why is the sky blue?");
                body["tool_choice"] = choice.clone();
                if tools.is_array() {
                    body["tools"] = tools;
                }
                if ["/v1/chat/completions", "/v1/responses"].contains(&path) {
                    body["parallel_tool_calls"] = json!(true);
                }
                let response = gateway.post(path, body).await;
                assert_eq!(response.status(), 200, "{path} {model}: {}", response.text().await.unwrap());
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_schema_is_held() {
    let gateway = TestGateway::start("").await;
    let shade = json!({ "type": "integer", "minimum": 1 });
    let schema = json!({ "type": "object", "properties": { "colour": { "enum": ["red", "blue"] }, "shade": shade } });
    for model in ["gpt-4o", "claude-sonnet-5-5", "deepseek-v3.1"] {
        let mut body = ask("/v1/chat/completions", model, "Which colour?");
        body["response_format"] = json!({ "type": "json_schema", "json_schema": { "name": "c", "schema": schema } });
        let answer: Value = gateway.post("/v1/chat/completions", body).await.json().await.unwrap();
        let said: Value = serde_json::from_str(&text("/v1/chat/completions", &answer)).unwrap();
        assert!(said["colour"].is_string(), "{model}: {answer}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_look_alike_or_a_model_does_not_know_is_not_sent_to_it() {
    let gateway = TestGateway::start("").await;
    let path = "/v1/chat/completions";
    for model in ["deepseek-v3.1", "gpt-4o", "gpt-6-sol"] {
        let mut body = ask(path, model, "Which colour?");
        body["messages"].as_array_mut().unwrap().insert(0, json!({ "role": "developer", "content": "Be brief." }));
        body["reasoning_effort"] = json!("low");
        body["max_tokens"] = json!(100);
        let response = gateway.post(path, body).await;
        let dropped = response.headers().get("x-pointsman-dropped").cloned();
        let status = response.status();
        assert_eq!(status, 200, "{model}: {}", response.text().await.unwrap());
        assert_eq!(dropped.is_none(), model == "gpt-6-sol", "{model}: {dropped:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_conversation_goes_on_at_another_vendor() {
    let gateway = TestGateway::start("").await;
    for path in CLIENTS {
        for next in ["claude-sonnet-5-5", "gpt-4o", "deepseek-v3.1"] {
            let mut body = ask(path, "deepseek-r1", "Think hard");
            let answer: Value = gateway.post(path, body.clone()).await.json().await.unwrap();
            let mut more = match path {
                "/api/chat" => vec![answer["message"].clone()],
                "/v1/chat/completions" => vec![answer["choices"][0]["message"].clone()],
                "/v1/responses" => answer["output"].as_array().unwrap().clone(),
                _ => vec![json!({ "role": "assistant", "content": answer["content"] })],
            };
            assert!(more[0].to_string().contains("need not think"), "{more:?}");
            body["model"] = json!(next);
            more.push(json!({ "role": "user", "content": "And now?" }));
            body[turns(path)].as_array_mut().unwrap().extend(more);
            let response = gateway.post(path, body).await;
            assert_eq!(response.status(), 200, "{path} {next}: {}", response.text().await.unwrap());
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_long_prompt_is_kept_in_mind_by_ollama() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    let window = async |words: usize| {
        let response = gateway.post("/api/chat", ask("/api/chat", "llama3.2", &"word ".repeat(words))).await;
        assert_eq!(response.status(), 200);
        let seen = gateway.sandbox.seen();
        let call = seen.iter().rfind(|seen| seen.body["messages"].is_array()).unwrap();
        call.body["options"]["num_ctx"].clone()
    };
    assert_eq!(window(4).await, Value::Null);
    assert_eq!(window(4000).await, 8192);
    assert_eq!(window(4).await, 8192, "another window would make it load the model anew");
    gateway.stop().await;
}

#[tokio::test]
async fn reasoning_never_leaks_into_text() {
    let gateway = TestGateway::start("").await;
    for path in CLIENTS {
        let mut body = ask(path, "deepseek-r1", "Think hard");
        let answer: Value = gateway.post(path, body.clone()).await.json().await.unwrap();
        assert!(!text(path, &answer).contains("need not think"), "{answer}");
        assert!(answer.to_string().contains("need not think"), "{answer}");
        body["stream"] = json!(true);
        let stream = gateway.post(path, body).await.text().await.unwrap();
        assert!(!streamed_text(path, &stream).contains("need not think"), "{stream}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn usage_counts_cached_tokens_as_each_dialect_does() {
    let gateway = TestGateway::start("").await;
    let long = "word ".repeat(2000);
    for (model, path) in [("gpt-4o", "/v1/messages"), ("claude-sonnet-5-5", "/v1/chat/completions")] {
        gateway.post(path, ask(path, model, &long)).await;
        let answer: Value = gateway.post(path, ask(path, model, &long)).await.json().await.unwrap();
        let usage = &answer["usage"];
        if path == "/v1/messages" {
            let cached = usage["cache_read_input_tokens"].as_u64().unwrap();
            assert!(cached > 2000 && usage["input_tokens"].as_u64().unwrap() < cached, "{usage}");
        } else {
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
            assert!(cached > 2000 && usage["prompt_tokens"].as_u64().unwrap() > cached, "{usage}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_same_dialect_passes_through_with_fields_nobody_knows() {
    let gateway = TestGateway::start("").await;
    let mut body = ask("/v1/chat/completions", "gpt-4o", "hi");
    body["x_future"] = json!({ "deep": [1, 2.50] });
    let answer: Value = gateway.post("/v1/chat/completions", body).await.json().await.unwrap();
    assert_eq!(answer["system_fingerprint"], "fp_sandbox", "the vendor's own fields come back");
    let seen = gateway.sandbox.seen();
    let last = seen.iter().rfind(|seen| seen.model == "gpt-4o").unwrap();
    assert_eq!(last.body["x_future"], json!({ "deep": [1, 2.50] }));
    // Whose account it is is not the client's business: the key is ours.
    let sent = gateway.http.post(gateway.url("/v1/chat/completions")).header("openai-organization", "org-theirs");
    let sent =
        sent.header("openai-project", "proj_theirs").body(ask("/v1/chat/completions", "gpt-4o", "hi").to_string());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let names = gateway.sandbox.seen().into_iter().flat_map(|seen| seen.headers).map(|(name, _)| name);
    assert_eq!(names.filter(|name| name.starts_with("openai-")).count(), 0);
    let beta = gateway
        .http
        .post(gateway.url("/v1/messages"))
        .header("anthropic-beta", "context-1m")
        .body(ask("/v1/messages", "claude-sonnet-5-5", "hi").to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(beta.status(), 200);
    let seen = gateway.sandbox.seen();
    // Not the last call: servers are asked for their models meanwhile.
    let beta = ("anthropic-beta".to_owned(), "context-1m".to_owned());
    assert!(seen.iter().any(|seen| seen.headers.contains(&beta)), "{:?}", seen.last());
    gateway.stop().await;
}

#[tokio::test]
async fn errors_come_in_the_clients_dialect() {
    let gateway = TestGateway::start("").await;
    for path in CLIENTS {
        let response = gateway.post(path, ask(path, "no-such-model", "hi")).await;
        assert_eq!(response.status(), 404, "{path}");
        let message = error(path, &response.json().await.unwrap());
        assert!(message.contains("no-such-model"), "{message}");
        let response = gateway.http.post(gateway.url(path)).body("{broken").send().await.unwrap();
        assert_eq!(response.status(), 400);
        error(path, &response.json().await.unwrap());
        let response = gateway.http.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 405);
        error(path, &response.json().await.unwrap());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_could_not_be_carried_over_is_told() {
    let gateway = TestGateway::start("").await;
    let mut body = ask("/v1/chat/completions", "claude-sonnet-5-5", "hi");
    body["seed"] = json!(7);
    let response = gateway.post("/v1/chat/completions", body.clone()).await;
    assert_eq!(response.headers()["x-pointsman-dropped"], "seed");
    body["n"] = json!(2);
    let response = gateway.post("/v1/chat/completions", body).await;
    assert_eq!(response.status(), 400);
    assert!(error("/v1/chat/completions", &response.json().await.unwrap()).contains("`n`"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_field_that_one_dialect_alone_knows_keeps_auto_within_it() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    let served = |response: &reqwest::Response| {
        let name = response.headers()["x-pointsman-model"].to_str().unwrap().to_owned();
        (response.status(), name)
    };
    for round in 0..12 {
        let mut body = ask("/v1/chat/completions", "auto", &format!("question {round}"));
        body["n"] = json!(2);
        let (status, model) = served(&gateway.post("/v1/chat/completions", body).await);
        assert_eq!(status, 200, "{model}");
        assert!(!model.starts_with("claude"), "`n` went to {model}");

        let mut body = ask("/v1/messages", "auto", &format!("question {round}"));
        let source = json!({ "type": "text", "media_type": "text/plain", "data": "x" });
        let page = json!({ "type": "document", "source": source, "citations": { "enabled": true } });
        body["messages"][0]["content"] = json!([{ "type": "text", "text": "Sum it up." }, page]);
        let (status, model) = served(&gateway.post("/v1/messages", body).await);
        assert_eq!(status, 200, "{model}");
        assert!(model.starts_with("claude"), "a document that is to be cited went to {model}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_loop_of_openais_clients_is_kept_in_claudes_cache() {
    let gateway = TestGateway::start("").await;
    let tool = json!({ "name": "look", "parameters": { "type": "object", "properties": {} } });
    let mut messages = vec![
        json!({ "role": "system", "content": "Be brief." }),
        json!({ "role": "user", "content": "Use the tool." }),
    ];
    for turns in [1, 3] {
        let tools = json!([{ "type": "function", "function": tool }]);
        let body = json!({ "model": "claude-sonnet-5-5", "messages": messages, "tools": tools });
        let answer: Value = gateway.post("/v1/chat/completions", body).await.json().await.unwrap();
        let said = &answer["choices"][0]["message"];
        let mut chats = gateway.sandbox.seen().into_iter().filter(|seen| seen.body["messages"].is_array());
        let sent = chats.next_back().unwrap().body;
        let marked = |place: String| sent.pointer(&place).and_then(|block| block.get("cache_control")).is_some();
        assert_eq!(sent["messages"].as_array().unwrap().len(), turns, "{sent}");
        for place in
            ["/system/0".into(), "/messages/0/content/0".into(), format!("/messages/{}/content/0", turns - 1)]
        {
            assert!(marked(place.clone()), "{place}: {sent}");
        }
        let calls = said["tool_calls"].as_array().into_iter().flatten();
        let results = calls.map(|call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "red" }));
        let results: Vec<Value> = results.collect();
        messages.push(said.clone());
        messages.extend(results);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn claude_code_hears_of_every_vendor_that_it_must_compact() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    gateway.sandbox.faults().set("*", Fault::ContextOverflow, Times::Always);
    for (model, _) in BACKENDS {
        for stream in [false, true] {
            let mut body = ask("/v1/messages", model, "Hello");
            body["stream"] = json!(stream);
            let response = gateway.post("/v1/messages", body).await;
            assert_eq!(response.status(), 400, "{model}");
            let told = error("/v1/messages", &response.json().await.unwrap());
            assert!(told.contains("prompt is too long"), "{model}: {told}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn our_own_reply_says_what_it_cost_and_why() {
    let gateway = TestGateway::start("").await;
    let mut body = ask("/api/chat", "auto", "hi");
    let answer: Value = gateway.post("/api/chat", body.clone()).await.json().await.unwrap();
    assert!(answer["cost_usd"].as_f64().unwrap() > 0.0, "{answer}");
    assert!(answer["routing"]["decision_id"].is_string() && answer["routing"]["reason"].is_string());
    body["stream"] = json!(true);
    let stream = gateway.post("/api/chat", body).await.text().await.unwrap();
    let end = events(&stream).pop().unwrap();
    assert!(end["cost_usd"].as_f64().unwrap() > 0.0 && end["routing"]["chosen"].is_string(), "{end}");
    gateway.stop().await;
}

#[tokio::test]
async fn beside_chat() {
    let gateway = TestGateway::start("").await;
    let body = json!({ "model": "claude-sonnet-5-5", "messages": [{ "role": "user", "content": "count me" }] });
    let response = gateway.post("/v1/messages/count_tokens", body).await;
    assert_eq!(response.headers()["x-pointsman-counted"], "vendor");
    assert!(response.json::<Value>().await.unwrap()["input_tokens"].as_u64().unwrap() > 0);
    // A conversation that goes on at Claude is fitted to it, as in a chat.
    let messages = json!([
        { "role": "user", "content": "count me" },
        { "role": "assistant", "content": [
            { "type": "text", "text": "\n\n" },
            { "type": "tool_use", "id": "functions.f:0", "name": "f", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "functions.f:0", "content": "1" },
        ] },
    ]);
    let thinking = json!({ "type": "enabled", "budget_tokens": 2048 });
    let body = json!({ "model": "claude-sonnet-5-5", "thinking": thinking, "messages": messages });
    let response = gateway.post("/v1/messages/count_tokens", body).await;
    assert_eq!(response.headers()["x-pointsman-counted"], "vendor");
    // Lists of models are asked for meanwhile, too.
    let mut chats = gateway.sandbox.seen().into_iter().filter(|seen| seen.body["messages"].is_array());
    let asked = chats.next_back().unwrap().body;
    let (said, answered) = (&asked["messages"][1]["content"], &asked["messages"][2]["content"][0]);
    assert_eq!(said, &json!([{ "type": "tool_use", "id": "functions_f_0", "name": "f", "input": {} }]));
    assert_eq!(answered["tool_use_id"], "functions_f_0");
    assert_eq!((&asked["thinking"]["type"], asked.get("max_tokens")), (&json!("adaptive"), None));
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "count me" }] });
    let response = gateway.post("/v1/messages/count_tokens", body).await;
    assert_eq!(response.headers()["x-pointsman-counted"], "estimate");
    // OpenAI counts what is about the prompt, and refuses the rest.
    let mut body = json!({ "model": "gpt-4o", "input": "count me", "max_output_tokens": 9, "store": false });
    let response = gateway.post("/v1/responses/input_tokens", body.clone()).await;
    assert_eq!(response.headers()["x-pointsman-counted"], "vendor");
    let counted: Value = response.json().await.unwrap();
    assert_eq!(
        (&counted["object"], counted["input_tokens"].as_u64() > Some(8)),
        (&json!("response.input_tokens"), true)
    );
    body["model"] = json!("claude-sonnet-5-5");
    let response = gateway.post("/v1/responses/input_tokens", body).await;
    assert_eq!(response.headers()["x-pointsman-counted"], "estimate");
    let estimated: Value = response.json().await.unwrap();
    assert_eq!((&estimated["object"], estimated["input_tokens"].as_u64() > Some(0)), (&counted["object"], true));
    let body = json!({ "model": "openai/text-embedding-3-small", "input": ["a", "b"] });
    let answer: Value = gateway.post("/v1/embeddings", body).await.json().await.unwrap();
    assert_eq!((answer["data"].as_array().unwrap().len(), &answer["model"]), (2, &json!("text-embedding-3-small")));
    let counted = r#"pointsman_requests_total{dialect="embeddings",model="openai",status="ok",mode="named"} 1"#;
    assert!(gateway.admin("/metrics").await.contains(counted));
    for path in ["/v1/models", "/models", "/health", "/ready"] {
        let response = gateway.http.get(gateway.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.json::<Value>().await.unwrap().is_object());
    }
    assert_eq!(gateway.http.head(gateway.url("/")).send().await.unwrap().status(), 200);
    let hello = gateway.http.get(gateway.url("/")).send().await.unwrap().text().await.unwrap();
    let paths: Vec<&str> = hello.split([' ', ',', '.', '\n']).filter(|word| word.starts_with('/')).collect();
    assert!(paths.contains(&"/v1/messages"), "{hello}");
    for path in paths {
        assert_ne!(gateway.http.get(gateway.url(path)).send().await.unwrap().status(), 404, "{path}");
    }
    gateway.stop().await;
}
