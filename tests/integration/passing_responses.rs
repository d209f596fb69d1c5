//! What a client of OpenAI's Responses sends passes through to OpenAI's own, as with any dialect on both sides.

use std::time::Duration;

use pointsman::protocol::ErrorKind;
use pointsman::sandbox::{Fault, SeenRequest, Times, Vendor};
use pointsman::upstream::CallVerdict;
use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::{TestGateway, events};

const PATH: &str = "/v1/responses";

/// As Codex asks: in items, with tools of all sorts, nothing stored.
fn as_codex_asks() -> Value {
    let patch =
        json!({ "type": "custom", "name": "apply_patch", "description": "Patches.", "format": { "type": "text" } });
    let shell = json!({ "type": "function", "name": "shell", "strict": false, "parameters": { "type": "object" } });
    let files = json!({ "type": "namespace", "name": "files", "description": "Files.", "tools": [
        { "type": "function", "name": "read", "parameters": { "type": "object" } },
    ] });
    json!({
        "model": "gpt-6-sol",
        "instructions": "Be brief.",
        "input": [
            { "type": "message", "role": "developer", "content": [{ "type": "input_text", "text": "Rules." }] },
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "What is in a.txt?" }] },
            { "type": "message", "role": "assistant", "phase": "commentary",
              "content": [{ "type": "output_text", "text": "I look." }] },
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Well?" }] },
        ],
        "tools": [patch, shell, files],
        "tool_choice": "none",
        "reasoning": { "effort": "low", "summary": "detailed", "context": "new" },
        "text": { "verbosity": "low" },
        "store": false,
        "include": ["reasoning.encrypted_content"],
        "stream": true,
        "client_metadata": { "field": "of tomorrow" },
    })
}

/// The last request that a chat vendor was sent.
fn last(gateway: &TestGateway) -> SeenRequest {
    let mut seen = gateway.sandbox.seen().into_iter().filter(|request| request.vendor != Vendor::Ollama);
    seen.next_back().unwrap()
}

#[tokio::test]
async fn the_body_passes_but_for_its_model() {
    let gateway = TestGateway::start(
        "[models.mine]\nprovider = 'openai'\nupstream = 'gpt-6-sol'\ncan = ['tools', 'reasoning']",
    )
    .await;
    let mut body = as_codex_asks();
    body["model"] = json!("mine");
    let response = gateway.post(PATH, body.clone()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("x-pointsman-dropped"), None);
    let told = events(&response.text().await.unwrap());
    let sent = last(&gateway);
    body["model"] = json!("gpt-6-sol");
    assert_eq!((sent.path.as_str(), &sent.body), (PATH, &body));
    // The vendor's own events come back, in their order, and nothing else.
    let kinds: Vec<&str> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"response.created"));
    assert!(kinds.contains(&"response.content_part.added"), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"response.completed"));
    assert!(told.iter().enumerate().all(|(at, event)| event["sequence_number"] == at), "{told:?}");
    let whole = &told.last().unwrap()["response"];
    assert_eq!(whole["model"], "gpt-6-sol");
    // Whole it is the same.
    body["stream"] = json!(false);
    let response = gateway.post(PATH, body).await;
    let decision = response.headers()["x-pointsman-decision"].to_str().unwrap().to_owned();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(&answer, whole);
    // It is measured as any other.
    gateway.app.gateway.recorder.flush().await.unwrap();
    let entry = gateway.app.gateway.store.entry_with_sequel(decision.parse().unwrap()).unwrap().unwrap();
    let usage = entry.outcome.unwrap().usage.unwrap();
    assert_eq!(usage.output_tokens, answer["usage"]["output_tokens"].as_u64().unwrap());
    gateway.stop().await;
}

#[tokio::test]
async fn nothing_is_stored_and_thoughts_come_sealed_whatever_the_client_says() {
    let gateway = TestGateway::start("").await;
    let sealed = json!(["reasoning.encrypted_content"]);
    let more = json!(["message.output_text.logprobs", "reasoning.encrypted_content"]);
    for (store, include, include_sent, dropped) in [
        (json!(null), json!(null), &sealed, true),
        (json!(true), json!([]), &sealed, true),
        (json!(false), json!(["message.output_text.logprobs"]), &more, false),
    ] {
        let body = json!({ "model": "gpt-6-sol", "input": "Hello", "store": store, "include": include });
        let response = gateway.post(PATH, body).await;
        assert_eq!(response.status(), 200);
        let told = response.headers().get("x-pointsman-dropped").map(|dropped| dropped.to_str().unwrap().to_owned());
        assert_eq!(told.as_deref(), (dropped && store == true).then_some("store"), "{store}");
        let sent = last(&gateway);
        assert_eq!((sent.path.as_str(), &sent.body["store"]), (PATH, &json!(false)));
        assert_eq!(&sent.body["include"], include_sent);
    }
    let body = json!({ "model": "gpt-6-sol", "input": "Hello" });
    assert_eq!(gateway.post(PATH, body).await.status(), 200);
    let sent = last(&gateway).body;
    assert_eq!((&sent["store"], &sent["include"]), (&json!(false), &sealed));
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_model_would_refuse_is_left_out_and_what_responses_cannot_say_is_translated() {
    let gateway = TestGateway::start("").await;
    let bare = json!([
        { "role": "user", "content": "Hello" },
        { "type": "reasoning", "id": "rs_1", "summary": [] },
        { "role": "assistant", "content": "Hi." },
        { "role": "user", "content": "Go on." },
    ]);
    let word = json!({ "role": "user", "content": "pointsman: Hello" });
    for (model, more, path, dropped) in [
        ("gpt-6-sol", json!({}), PATH, None),
        ("gpt-6-sol", json!({ "temperature": 0.2 }), PATH, Some("temperature")),
        ("gpt-6-sol", json!({ "reasoning": { "effort": "minimal" } }), PATH, Some("reasoning.effort")),
        ("gpt-6-sol", json!({ "max_output_tokens": 3 }), "/v1/chat/completions", None),
        ("gpt-6-sol", json!({ "seed": 3 }), "/v1/chat/completions", None),
        ("gpt-6-sol", json!({ "input": bare }), PATH, Some("input[] (reasoning)")),
        ("gpt-6-sol", json!({ "input": [word] }), PATH, None),
        ("gpt-6-sol", json!({ "num_retries": 2 }), PATH, Some("num_retries")),
        ("gpt-4o", json!({ "temperature": 0.2 }), PATH, None),
        ("gpt-4o", json!({ "reasoning": { "effort": "low" } }), PATH, Some("reasoning")),
        ("gpt-4o", json!({ "include": ["reasoning.encrypted_content"] }), PATH, None),
    ] {
        let mut body = json!({ "model": model, "input": "Hello" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let response = gateway.post(PATH, body).await;
        let told = response.headers().get("x-pointsman-dropped").map(|told| told.to_str().unwrap().to_owned());
        assert_eq!(response.status(), 200, "{model} {more}: {}", response.text().await.unwrap());
        assert_eq!((last(&gateway).path.as_str(), told.as_deref()), (path, dropped), "{model} {more}");
    }
    gateway.stop().await;
}

/// A conversation that goes on after `answer`.
fn going_on(model: &str, answers: &[&Value]) -> Value {
    let mut input = vec![json!({ "role": "user", "content": "Think of a number." })];
    for answer in answers {
        input.extend(answer["output"].as_array().unwrap().clone());
        input.push(json!({ "role": "user", "content": "And another." }));
    }
    json!({ "model": model, "input": input, "reasoning": { "effort": "high", "summary": "auto" } })
}

#[tokio::test]
async fn a_conversation_moves_between_vendors_with_its_own_thoughts_alone() {
    let gateway = TestGateway::start("").await;
    let ask = async |body: Value| -> Value {
        let response = gateway.post(PATH, body.clone()).await;
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body} {answer}");
        answer
    };
    let thought = |answer: &Value| answer["output"][0]["encrypted_content"].as_str().unwrap().to_owned();
    let by_openai = ask(going_on("gpt-6-sol", &[])).await;
    // At OpenAI it goes on as it is ...
    ask(going_on("gpt-6-sol", &[&by_openai])).await;
    let sent = last(&gateway);
    assert_eq!((sent.path.as_str(), &sent.body["input"][1]), (PATH, &by_openai["output"][0]));
    // ... and at Claude without what OpenAI sealed.
    ask(going_on("claude-sonnet-5-5", &[&by_openai])).await;
    let sent = last(&gateway);
    assert_eq!(sent.vendor, Vendor::Anthropic);
    assert!(!sent.body.to_string().contains(&thought(&by_openai)));
    let by_claude = ask(going_on("claude-sonnet-5-5", &[])).await;
    assert!(thought(&by_claude).starts_with("pointsman:"));
    ask(going_on("gpt-6-sol", &[&by_claude])).await;
    assert!(!last(&gateway).body.to_string().contains(&thought(&by_claude)));
    // What another organisation sealed costs no more than itself.
    let others = serde_json::from_str(&by_openai.to_string().replace("gAAAAsandbox", "gAAAAothers")).unwrap();
    ask(going_on("gpt-6-sol", &[&others])).await;
    assert!(!last(&gateway).body.to_string().contains("gAAAAothers"));
    gateway.stop().await;
}

#[tokio::test]
async fn calls_of_custom_tools_and_of_namespaces_pass() {
    let gateway = TestGateway::start("").await;
    for (name, kind) in [("apply_patch", "custom_tool_call"), ("read", "function_call")] {
        for stream in [false, true] {
            let mut body = as_codex_asks();
            body["stream"] = json!(stream);
            let sort = if kind == "custom_tool_call" { "custom" } else { "function" };
            body["tool_choice"] = json!({ "type": sort, "name": name });
            let response = gateway.post(PATH, body).await;
            assert_eq!(response.status(), 200);
            let decision = response.headers()["x-pointsman-decision"].to_str().unwrap().to_owned();
            let answer: Value = match stream {
                true => events(&response.text().await.unwrap()).last().unwrap()["response"].clone(),
                false => response.json().await.unwrap(),
            };
            let call = answer["output"].as_array().unwrap().last().unwrap();
            assert_eq!((call["type"].as_str().unwrap(), call["name"].as_str().unwrap()), (kind, name));
            assert_eq!(call["namespace"].as_str(), (name == "read").then_some("files"));
            gateway.app.gateway.recorder.flush().await.unwrap();
            let entry = gateway.app.gateway.store.entry_with_sequel(decision.parse().unwrap()).unwrap().unwrap();
            assert!(entry.outcome.unwrap().signals.is_empty(), "{name}: a call is no empty answer");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn where_there_are_no_responses_chat_completions_answer() {
    let gateway = TestGateway::start("").await;
    for stream in [false, true] {
        gateway.reset_breakers();
        gateway.sandbox.faults().set("gpt-6-sol", Fault::Status { status: 404, retry_after: None }, Times::First(1));
        for _ in 0..2 {
            let body = json!({ "model": "gpt-6-sol", "input": "Hello", "stream": stream });
            let response = gateway.post(PATH, body).await;
            assert_eq!(response.status(), 200);
            assert!(response.text().await.unwrap().contains("output_text"));
            assert_eq!(last(&gateway).path, "/v1/chat/completions");
        }
    }
    // What is wrong with a request its client is told, in the vendor's words.
    gateway.reset_breakers();
    gateway.sandbox.faults().set("gpt-6-sol", Fault::Status { status: 400, retry_after: None }, Times::First(1));
    let response = gateway.post(PATH, json!({ "model": "gpt-6-sol", "input": "Hello" })).await;
    assert_eq!(response.status(), 400);
    gateway.stop().await;
}

#[tokio::test]
async fn tools_that_openai_runs_itself_go_to_its_models_alone() {
    let gateway = TestGateway::start("").await;
    let search = json!([{ "type": "web_search", "filters": { "allowed_domains": ["example.org"] } }]);
    let ask =
        |model: &str| json!({ "model": model, "input": "Hello", "tools": search, "x_new": { "of": "tomorrow" } });
    for _ in 0..8 {
        let response = gateway.post(PATH, ask("auto")).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        let sent = last(&gateway);
        assert_eq!((sent.vendor, sent.path.as_str()), (Vendor::OpenAi, PATH));
        assert_eq!((&sent.body["tools"], &sent.body["x_new"]), (&search, &json!({ "of": "tomorrow" })));
    }
    for model in ["claude-sonnet-5-5", "deepseek-v3.1"] {
        let response = gateway.post(PATH, json!({ "model": model, "input": "Hello", "tools": search })).await;
        assert_eq!(response.status(), 400);
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["error"]["param"], "tools (web_search)", "{told}");
    }
    // What one model refuses of it is changed; where there are no Responses, there is nothing else to ask.
    let mut body = ask("gpt-4o");
    body["reasoning"] = json!({ "effort": "low" });
    let response = gateway.post(PATH, body).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-pointsman-dropped"]),
        (200, &"reasoning".parse().unwrap())
    );
    assert_eq!((last(&gateway).path.as_str(), last(&gateway).body.get("reasoning")), (PATH, None));
    gateway.sandbox.faults().set("gpt-4o", Fault::Status { status: 404, retry_after: None }, Times::First(1));
    assert_eq!(gateway.post(PATH, ask("gpt-4o")).await.status(), 502);
    let response = gateway.post(PATH, ask("gpt-4o")).await;
    assert_eq!(response.status(), 400, "it is known that it has none: {}", response.text().await.unwrap());
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_only_openai_knows_is_no_empty_answer_and_its_result_goes_back_there() {
    let gateway = TestGateway::start("").await;
    let input = json!([
        { "role": "user", "content": "Delete a.txt." },
        { "type": "apply_patch_call", "id": "apc_1", "call_id": "call_1", "status": "completed",
          "operation": { "type": "delete_file", "path": "a.txt" } },
        { "type": "apply_patch_call_output", "call_id": "call_1", "status": "completed" },
    ]);
    let tools = json!([{ "type": "apply_patch" }]);
    let response = gateway.post(PATH, json!({ "model": "auto", "input": input, "tools": tools })).await;
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    let sent = last(&gateway);
    assert_eq!((sent.vendor, &sent.body["input"], &sent.body["tools"]), (Vendor::OpenAi, &input, &tools));
    gateway.stop().await;
}

#[tokio::test]
async fn rules_search_all_that_passes() {
    let rule = "[[rules]]\nname = 'stays here'\npin = 'deepseek-v3.1'\nwhen = { keywords = ['confidential'] }";
    let gateway = TestGateway::start(rule).await;
    let tool = |name: &str, description: &str| json!({ "type": "function", "name": name, "description": description, "parameters": {} });
    let allowed = json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "a" }] });
    for more in [
        // A tool that nobody else would be told of.
        json!({ "tools": [tool("a", ""), tool("b", "A confidential plan")], "tool_choice": allowed }),
        json!({ "reasoning": { "effort": "low", "summary": "confidential" } }),
        json!({ "input": [{ "role": "user", "content": "q" }, { "role": "assistant", "content": "a", "id": "confidential" },
            { "role": "user", "content": "q" }] }),
    ] {
        let mut body = json!({ "model": "gpt-6-sol", "input": "Hello" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let response = gateway.post(PATH, body).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["x-pointsman-model"], "deepseek-v3.1", "{more}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_thought_that_claude_takes_for_anothers_is_left_out() {
    let refusal = json!({ "type": "error", "error": { "type": "invalid_request_error", "message":
        "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation." } });
    let said = |signature: &str| json!([{ "type": "thinking", "thinking": "Hm.", "signature": signature }, { "type": "text", "text": "Seven." }]);
    let answer = move |signature: &str| {
        json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": said(signature),
            "stop_reason": "end_turn", "usage": { "input_tokens": 9, "output_tokens": 7 } })
    };
    let mock = Mock::start(move |body| match (body.contains("b2xk"), body.contains("changed")) {
        (true, true) => Script { status: 400, ..Script::whole(refusal.to_string()) },
        (_, changed) => Script::whole(answer(if changed { "bmV3" } else { "b2xk" }).to_string()),
    })
    .await;
    let model = "[models.claude]\nprovider = 'home'\ncan = ['reasoning']\n";
    let gateway = TestGateway::before(&mock.speaking("anthropic", "home"), model).await;
    let ask = async |instructions: &str, answers: &[&Value]| {
        let mut body = going_on("claude", answers);
        body["instructions"] = json!(instructions);
        let response = gateway.post(PATH, body).await;
        let dropped = response.headers().get("x-pointsman-dropped").cloned();
        let lost = dropped.is_some_and(|dropped| dropped.to_str().unwrap().contains("thinking"));
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        (response.json::<Value>().await.unwrap(), lost)
    };
    let (begun, _) = ask("Be brief.", &[]).await;
    assert_eq!(begun["output"][0]["type"], "reasoning");
    assert!(!ask("Be brief.", &[&begun]).await.1);
    assert_eq!(mock.calls(), 2, "as it was said it is taken");
    let (second, lost) = ask("All is changed.", &[&begun]).await;
    assert_eq!((lost, mock.calls()), (true, 4), "refused, and asked once more");
    assert!(ask("All is changed.", &[&begun, &second]).await.1);
    assert_eq!(mock.calls(), 5, "what was refused stays away");
    let heard = String::from_utf8_lossy(&mock.heard.lock()).into_owned();
    assert!(heard.contains("bmV3"), "what it has thought since goes back");
    gateway.stop().await;
}

/// Two accounts at OpenAI behind one model, `both`. Each refuses, with this status and error, what is the other's: what
/// holds its name.
async fn two_accounts(status: u16, refusal: Value) -> (TestGateway, [Mock; 2]) {
    let account = |others: &'static str| {
        let refusal = refusal.clone();
        Mock::start(move |body| match body.contains(others) || body.contains("of_nobody") {
            true => Script { status, ..Script::whole(json!({ "error": refusal }).to_string()) },
            false => {
                let item = json!({ "type": "message", "content": [{ "type": "output_text", "text": "well" }] });
                let answer = json!({ "id": "r", "object": "response", "status": "completed", "output": [item] });
                Script::whole(answer.to_string())
            }
        })
    };
    let mocks = [account("of_two").await, account("of_one").await];
    let quirks = |name: &str| format!("[providers.{name}.quirks]\nresponses = true\n");
    let providers: String =
        mocks.iter().zip(["one", "two"]).map(|(mock, name)| mock.openai(name) + &quirks(name)).collect();
    let model = "[dispatch]\nbackoff_ms = 1\n[models.both]\ncan = ['tools', 'reasoning']\n\
        deployments = [{ provider = 'one', upstream = 'm' }, { provider = 'two', upstream = 'm' }]";
    (TestGateway::before(&providers, model).await, mocks)
}

#[tokio::test]
async fn what_one_account_does_not_find_another_may_and_neither_is_taken_to_have_no_responses() {
    let refusal =
        json!({ "message": "Vector store not found.", "type": "invalid_request_error", "param": null, "code": null });
    let (gateway, mocks) = two_accounts(404, refusal).await;
    let ask = async |store: &str| {
        let tools = json!([{ "type": "file_search", "vector_store_ids": [store] }]);
        let response = gateway.post(PATH, json!({ "model": "both", "input": "Hello", "tools": tools })).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for _ in 0..6 {
        for store in ["vs_of_one", "vs_of_two"] {
            let (status, said) = ask(store).await;
            assert_eq!(status, 200, "{store}: {said}");
        }
        let calls = mocks.each_ref().map(Mock::calls);
        let (status, said) = ask("vs_of_nobody").await;
        assert_eq!((status, said.contains("Vector store not found.")), (404, true), "{said}");
        assert_eq!(mocks.each_ref().map(Mock::calls), calls.map(|calls| calls + 1), "each is asked once");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn thoughts_that_another_account_sealed_are_refused_once() {
    let code = "invalid_encrypted_content";
    let refusal = json!({ "message": "It could not be verified.", "type": "invalid_request_error", "param": null, "code": code });
    let (gateway, mocks) = two_accounts(400, refusal).await;
    let calls = || mocks.each_ref().map(Mock::calls);
    let ask = async |answers: &[&Value]| {
        let response = gateway.post(PATH, going_on("both", answers)).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    };
    let said =
        json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "Seven." }] });
    let thinking = |sealed: &str| {
        let thought = json!({ "type": "reasoning", "summary": [], "encrypted_content": sealed });
        json!({ "output": [thought, said] })
    };
    ask(&[]).await;
    let (here, own, others) = if calls()[0] > 0 { (0, "of_one", "of_two") } else { (1, "of_two", "of_one") };
    ask(&[&thinking(others)]).await;
    assert_eq!(calls()[here], 3, "refused, and asked once more");
    ask(&[&thinking(others), &thinking(own)]).await;
    assert_eq!((calls()[here], calls()[1 - here]), (4, 0), "what was refused stays away");
    let heard = String::from_utf8_lossy(&mocks[here].heard.lock()).into_owned();
    assert!(heard.contains(own), "what it has thought since goes back");
    gateway.stop().await;
}

#[tokio::test]
async fn a_compacted_conversation_goes_on_where_its_summary_can_be_opened() {
    let code = "invalid_encrypted_content";
    let refusal = json!({ "message": "It could not be verified.", "type": "invalid_request_error", "param": null, "code": code });
    let (gateway, mocks) = two_accounts(400, refusal).await;
    let ask = async |sealed: &str| {
        let summary = json!({ "type": "compaction", "id": "cmp_1", "encrypted_content": sealed });
        let input = json!([summary, { "role": "user", "content": "Go on." }]);
        let response = gateway.post(PATH, json!({ "model": "both", "input": input })).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for _ in 0..6 {
        for sealed in ["of_one", "of_two"] {
            let (status, said) = ask(sealed).await;
            assert_eq!(status, 200, "{sealed}: {said}");
        }
        let calls = mocks.each_ref().map(Mock::calls);
        assert_eq!(ask("of_nobody").await.0, 400);
        assert_eq!(mocks.each_ref().map(Mock::calls), calls.map(|calls| calls + 1), "each is asked once");
    }
    // While its account takes no call, the client is to ask again.
    let two = gateway.app.gateway.live().catalog.find("both").unwrap().deployments[1].clone();
    let (now, rests) =
        (std::time::Instant::now(), CallVerdict::Rest(ErrorKind::RateLimited, Some(Duration::from_secs(60))));
    two.admit(now).unwrap().settle(&rests, now, 0);
    let (status, said) = ask("of_two").await;
    assert_eq!((status, said.contains("asked for a pause")), (502, true), "{said}");
    assert_eq!(ask("of_one").await.0, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn pictures_pass_in_events_as_large_as_an_answer() {
    let mock = Mock::start(|_| {
        let picture = json!({ "type": "image_generation_call", "id": "ig_1", "result": "A".repeat(9 << 20) });
        let usage = json!({ "input_tokens": 3, "output_tokens": 4, "input_tokens_details": { "cached_tokens": 0 } });
        let answer =
            json!({ "id": "r", "object": "response", "status": "completed", "output": [picture], "usage": usage });
        let begun = json!({ "type": "response.output_item.added", "output_index": 0, "item":
            { "type": "image_generation_call", "id": "ig_1" } });
        let end = json!({ "type": "response.completed", "response": answer });
        Script::events([begun, end].map(|event| (0, format!("data: {event}\n\n"))).to_vec())
    })
    .await;
    let home = mock.openai("home") + "[providers.home.quirks]\nresponses = true\n";
    let gateway = TestGateway::before(&home, "[models.painter]\nprovider = 'home'\ncan = ['tools']").await;
    let tools = json!([{ "type": "image_generation" }]);
    let body = json!({ "model": "painter", "input": "Draw.", "tools": tools, "stream": true });
    let response = gateway.post(PATH, body).await;
    assert_eq!(response.status(), 200);
    let decision = response.headers()["x-pointsman-decision"].to_str().unwrap().to_owned();
    let told = events(&response.text().await.unwrap());
    let kinds: Vec<&str> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["response.output_item.added", "response.completed"]);
    gateway.app.gateway.recorder.flush().await.unwrap();
    let entry = gateway.app.gateway.store.entry_with_sequel(decision.parse().unwrap()).unwrap().unwrap();
    assert_eq!(entry.outcome.unwrap().usage.unwrap().output_tokens, 4);
    gateway.stop().await;
}
