//! What is wrong with a request is said in the client's dialect, so that its author can mend it.

use serde_json::{Value, json};

use super::support::{CLIENTS, TestGateway, ask, error, turns};

async fn sent(gateway: &TestGateway, path: &str, coding: &str, body: &[u8]) -> (u16, Value) {
    let request = gateway.http.post(gateway.url(path)).header("content-encoding", coding).body(body.to_vec());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told_why() {
    let gateway = TestGateway::start("").await;
    for path in CLIENTS {
        for (coding, body, why) in [
            ("gzip", &b"\x1f\x8b\x08\x00\x00"[..], "the body is compressed (content-encoding): send it plain"),
            ("identity", b"", "the body is no valid JSON: it is empty"),
            ("identity", b"{\"model\": \"\xff\"}", "the body is no valid JSON: byte 12 is not UTF-8"),
        ] {
            let (status, answer) = sent(&gateway, path, coding, body).await;
            assert_eq!((status, error(path, &answer).as_str()), (400, why), "{path}");
        }
        let whole = ask(path, "gpt-4o", "hi").to_string();
        assert_eq!(sent(&gateway, path, "identity", whole.as_bytes()).await.0, 200);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn half_a_character_in_a_text_is_no_reason_to_refuse_it() {
    let gateway = TestGateway::start("").await;
    // As JavaScript writes a text that was cut within an emoji.
    let cut = |body: Value| body.to_string().replace("HALF", "\\ud83d");
    let chats = CLIENTS.map(|path| (path, cut(ask(path, "auto", "HALF"))));
    let others = [
        ("/v1/messages/count_tokens", cut(ask("/v1/messages", "claude-haiku", "HALF"))),
        ("/api/route", cut(ask("/api/chat", "auto", "HALF"))),
        ("/v1/embeddings", cut(json!({ "model": "openai/text-embedding-3-small", "input": "HALF" }))),
    ];
    for (path, body) in chats.into_iter().chain(others) {
        let (status, answer) = sent(&gateway, path, "identity", body.as_bytes()).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_prompt_that_fits_no_context_is_told_by_the_dialects_own_code() {
    let gateway = TestGateway::start("").await;
    let long = "word ".repeat(2_000_000);
    for path in CLIENTS {
        let response = gateway.post(path, ask(path, "gpt-4o", &long)).await;
        assert_eq!(response.status(), 400);
        let answer: Value = response.json().await.unwrap();
        let said = error(path, &answer);
        assert!(said.contains("too long") && said.contains("128000"), "{said}");
        if ["/v1/chat/completions", "/v1/responses"].contains(&path) {
            let told = (&answer["error"]["code"], &answer["error"]["param"]);
            assert_eq!(told, (&json!("context_length_exceeded"), &json!(turns(path))));
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn who_wants_a_web_socket_hears_at_once_that_there_is_none() {
    let gateway = TestGateway::start("").await;
    for (path, upgrade, status) in
        [("/v1/responses", true, 426), ("/v1/responses", false, 405), ("/v1/messages", true, 405)]
    {
        let mut request = gateway.http.get(gateway.url(path));
        if upgrade {
            request = request.header("connection", "upgrade").header("upgrade", "websocket");
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let told = (status == 426).then(|| ("HTTP/1.1".to_owned(), "upgrade".to_owned()));
        assert_eq!(header("upgrade").zip(header("connection")), told, "{path}");
        let answer: Value = response.json().await.unwrap();
        let said = answer["error"]["message"].as_str().unwrap();
        assert_eq!(said.contains("WebSocket"), status == 426, "{said}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn clients_of_ollama_are_told_that_this_is_none() {
    let gateway = TestGateway::start("").await;
    let chat = async |agent: &str, stream: bool| {
        let mut body = ask("/api/chat", "gpt-4o", "hi");
        body["stream"] = json!(stream);
        let request = gateway.http.post(gateway.url("/api/chat")).header("user-agent", agent).body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, said) = chat("ollama-python/0.6.3 (x86_64 linux) Python/3.12", true).await;
    assert!(status == 400 && said.contains("no Ollama server"), "{status} {said}");
    assert_eq!(chat("ollama-python/0.6.3 (x86_64 linux) Python/3.12", false).await.0, 200);
    assert_eq!(chat("curl/8", true).await.0, 200);
    let response = gateway.http.get(gateway.url("/api/tags")).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("no Ollama server"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_method_or_a_model_that_is_not_there_is_named() {
    let gateway =
        TestGateway::start("[aliases]\nours = 'gpt-4o'\ncheap = 'auto:cost'\n'openrouter/auto' = 'cheap'").await;
    let response = gateway.http.get(gateway.url("/v1/messages")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["allow"].to_str().unwrap()), (405, "POST"));
    let answer: Value = response.json().await.unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("does not take GET"), "{answer}");

    let get = async |path: &str, version: &str| {
        let mut request = gateway.http.get(gateway.url(path));
        if !version.is_empty() {
            request = request.header("anthropic-version", version);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let entry = json!({ "id": "gpt-4o", "object": "model", "created": 0, "owned_by": "openai" });
    assert_eq!(get("/v1/models/gpt-4o", "").await, (200, entry.clone()));
    for name in ["ours", "openai/gpt-4o", "openai%2Fgpt-4o", "openai/ours", "gpt-4o-latest"] {
        assert_eq!(get(&format!("/v1/models/{name}"), "").await, (200, entry.clone()), "{name}");
    }
    for name in ["auto", "auto:cost", "cheap", "openrouter/auto"] {
        let (status, answer) = get(&format!("/v1/models/{name}"), "").await;
        assert_eq!(
            (status, &answer["id"], &answer["owned_by"]),
            (200, &json!("auto"), &json!("pointsman")),
            "{name}"
        );
    }
    let (status, answer) = get("/v1/models/gpt-4o", "2023-06-01").await;
    assert_eq!((status, &answer["type"], &answer["id"]), (200, &json!("model"), &json!("gpt-4o")));
    assert_eq!(answer["lifecycle"], "active", "Anthropic's own SDK requires it");
    for name in ["gpt-5000", "%ff", "%00", "auto:dear", "anthropic/gpt-4o", "openai/"] {
        let (status, answer) = get(&format!("/v1/models/{name}"), "").await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")));
        let (status, answer) = get(&format!("/v1/models/{name}"), "2023-06-01").await;
        assert_eq!((status, &answer["error"]["type"]), (404, &json!("not_found_error")));
    }
    let (status, answer) = get("/v1/files", "2023-06-01").await;
    assert_eq!(
        (status, &answer["type"], &answer["error"]["type"]),
        (404, &json!("error"), &json!("not_found_error"))
    );
    assert_eq!(get("/v1/files", "").await.1["error"]["code"], "not_found");
    gateway.stop().await;
}

#[tokio::test]
async fn a_thread_that_cannot_stay_is_refused_in_the_words_by_which_clients_send_everything() {
    let gateway = TestGateway::start("").await;
    // The last goes to its vendor, whose own words come back.
    for model in ["auto", "gpt-4o", "claude-sonnet-5-5"] {
        let mut body = ask("/v1/messages", model, "hi");
        body["thread"] = json!({ "type": "create" });
        let request = gateway.http.post(gateway.url("/v1/messages")).header("anthropic-version", "2023-06-01");
        let response = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["request-id"], response.headers()["x-request-id"]);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"]["details"]["error_code"], "thread_unsupported_request", "{answer}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_begun_goes_to_those_who_go_on_with_it() {
    let local = "[models.local]\nprovider = 'ollama'\nupstream = 'llama3.2:latest'";
    let (bare, local) = (TestGateway::start("").await, TestGateway::start(local).await);
    for path in CLIENTS {
        let mut body = ask(path, "auto", "A JSON object, please.");
        body[turns(path)].as_array_mut().unwrap().push(json!({ "role": "assistant", "content": "{ " }));
        // To an OpenAI client it is what OpenAI makes of it; in Responses an answer is whole.
        let minds = !["/v1/chat/completions", "/v1/responses"].contains(&path);
        let is_whole = path == "/v1/responses";
        for _ in 0..4 {
            let response = local.post(path, body.clone()).await;
            assert_eq!(response.status(), 200, "{path}");
            let model = response.headers()["x-pointsman-model"].to_str().unwrap();
            assert!(is_whole || !model.starts_with("claude") && (model == "local" || !minds), "{path}: {model}");
        }
        for model in ["auto", "gpt-4o"] {
            body["model"] = json!(model);
            let response = bare.post(path, body.clone()).await;
            assert_eq!(response.status() == 400, minds, "{path}: {}", response.status());
            if minds {
                let said = error(path, &response.json().await.unwrap());
                assert!(said.contains("the beginning of an answer"), "{said}");
            }
        }
        body["model"] = json!("claude-sonnet-5-5");
        assert_eq!(bare.post(path, body).await.status(), if is_whole { 200 } else { 400 }, "{path}");
    }
    bare.stop().await;
    local.stop().await;
}
