//! Keys, tokens and prompts are in nothing that the process emits: a real server is run with everything switched on,
//! made to fail in many ways, and then all it wrote, logged, counted and answered is searched.

use std::process::Command;

use pointsman::sandbox::{Fault, Sandbox, Times, Vendor};
use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::process::{BINARY, Process};
use crate::support::{CLIENTS, TestGateway, ask, http, streamed, turns};

/// A vendor's key, a prompt, and a header's value that must show up nowhere.
const KEY: &str = "sandbox-key-7f3a9c";
const PROMPT: &str = "my-darkest-secret-prompt-51b7";
const HEADER: &str = "header-secret-99d2";

#[tokio::test]
async fn nothing_secret_is_ever_emitted() {
    let sandbox = Sandbox::remembering().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = format!(
        "[server]\ndata_dir = '{}'\n\
         [telemetry]\nlog = 'trace'\n[dispatch]\nfirst_byte_timeout_ms = 300\nthinking_timeout_ms = 300\nwhole_answer_timeout_ms = 300\nbackoff_ms = 1\n\
         [providers.mine]\nbase_url = '{}'\nkey_env = 'MINE'\nheaders = {{ x-secret = '{HEADER}' }}\n\
         [models.mine]\nprovider = 'mine'\nupstream = 'gpt-4o'\n[providers.ollama]\nenabled = false\n",
        data.display(),
        sandbox.url(Vendor::OpenAi),
    );
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    let token = Command::new(BINARY)
        .args(["token", "new", "t", "--scopes", "chat,admin", "--config", "c.toml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    let mut command = Command::new(BINARY);
    let stdout = std::fs::File::create(dir.path().join("stdout")).unwrap();
    command.env("MINE", KEY).env("RUST_BACKTRACE", "1").stdout(stdout);
    let process = Process::start(command, dir.path(), &["--config", "c.toml"]).unwrap();
    let (proxy, admin) = (process.proxy.clone(), process.admin.clone());

    let http = http();
    let mut emitted = String::new();
    let faults = [
        None,
        Some(Fault::Status { status: 500, retry_after: None }),
        Some(Fault::Garbage),
        Some(Fault::Refuse),
        Some(Fault::HangBeforeHeaders),
        Some(Fault::Cut { after: 3 }),
        Some(Fault::ContextOverflow),
    ];
    for fault in faults {
        sandbox.faults().clear();
        if let Some(fault) = fault {
            sandbox.faults().set("*", fault, Times::Always);
        }
        for (path, stream) in
            [("/api/chat", false), ("/v1/chat/completions", true), ("/v1/responses", true), ("/v1/messages", false)]
        {
            // What the sandbox itself echoes of the prompt is an answer, not a leak: only failures and heads are kept.
            let mut body = json!({ "model": "mine", "stream": stream });
            body[turns(path)] = json!([{ "role": "user", "content": PROMPT }]);
            if path == "/v1/messages" {
                body["max_tokens"] = json!(5);
            }
            let response =
                http.post(format!("{proxy}{path}")).bearer_auth(&token).body(body.to_string()).send().await.unwrap();
            emitted.push_str(&format!("{:?}", response.headers()));
            let good = response.status().is_success();
            let text = response.text().await.unwrap_or_default();
            if !good {
                emitted.push_str(&text);
            }
        }
        let (chat, responses) = ("/v1/chat/completions", "/v1/responses");
        for (path, body) in [
            (chat, format!("{{\"messages\": \"{PROMPT}\"}}")),
            (chat, format!("{{{PROMPT}")),
            (chat, json!({ "model": "mine", "messages": [{ "role": PROMPT }] }).to_string()),
            (responses, json!({ "model": "mine", "input": [{ "type": PROMPT }] }).to_string()),
            (responses, json!({ "model": "mine", "input": "x", "tools": [{ "type": PROMPT }] }).to_string()),
        ] {
            let response = http.post(format!("{proxy}{path}")).bearer_auth(&token).body(body).send().await.unwrap();
            emitted.push_str(&response.text().await.unwrap());
        }
    }
    let wrong = http.get(format!("{proxy}/models")).bearer_auth(format!("{token}x")).send().await.unwrap();
    emitted.push_str(&wrong.text().await.unwrap());
    for path in ["/metrics", "/api/admin/config", "/api/admin/models", "/health", "/openapi.json"] {
        emitted.push_str(
            &http.get(format!("{admin}{path}")).bearer_auth(&token).send().await.unwrap().text().await.unwrap(),
        );
    }
    let printed = Command::new(BINARY)
        .args(["config", "print", "--json", "--config", "c.toml"])
        .current_dir(dir.path())
        .env("MINE", KEY)
        .output()
        .unwrap();
    emitted.push_str(&String::from_utf8(printed.stdout).unwrap());

    let (said, good) = tokio::task::spawn_blocking(move || process.stop()).await.unwrap();
    emitted.push_str(&said);
    emitted.push_str(&std::fs::read_to_string(dir.path().join("stdout")).unwrap());
    for file in std::fs::read_dir(&data).unwrap().flatten().filter(|file| file.path().is_file()) {
        emitted.push_str(&String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()));
    }
    assert!(good, "{said}");
    assert!(emitted.contains("Answered a chat"), "the log is in there");
    for secret in [KEY, PROMPT, HEADER, token.as_str(), token.trim_start_matches("pm_")] {
        let at = emitted.find(secret);
        let around = at.map(|at| emitted[at.saturating_sub(300)..(at + 60).min(emitted.len())].to_owned());
        assert_eq!(around, None, "{secret} leaked");
    }
    let seen: Vec<Value> = sandbox.seen().into_iter().map(|seen| seen.body).collect();
    assert!(seen.iter().any(|body| body.to_string().contains(PROMPT)), "the vendor did get the prompt");
    sandbox.stop().await;
}

/// Refuses, fails, breaks off or answers, as its model is called, and says each time what it was sent.
fn echo(body: &str) -> Script {
    let asked: Value = serde_json::from_str(body).unwrap();
    let error = |status| {
        let words =
            json!({ "message": format!("you sent {HEADER}"), "code": HEADER, "headers": { "x-secret": HEADER } });
        Script { status, ..Script::whole(json!({ "error": words }).to_string()) }
    };
    match asked["model"].as_str().unwrap() {
        "refuses" => error(400),
        "fails" => error(500),
        "errs" => error(200),
        "chooses" => Script::whole(json!({ "choices": [{ "error": { "message": HEADER } }] }).to_string()),
        "breaks" => {
            let content = json!({ "choices": [{ "index": 0, "delta": { "content": "So " } }] });
            let error = json!({ "error": { "message": format!("you sent {HEADER}") } });
            let pieces = [content.to_string(), error.to_string()];
            Script::events(pieces.into_iter().map(|data| (20, format!("data: {data}\n\n"))).collect())
        }
        _ => Script::whole(
            json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": HEADER }, "finish_reason": "stop" }] })
                .to_string(),
        ),
    }
}

#[tokio::test]
async fn a_vendor_that_quotes_what_it_was_sent_does_not_give_it_to_the_client() {
    let mock = Mock::start(echo).await;
    let names = ["refuses", "fails", "errs", "breaks", "chooses", "answers"];
    let models: String =
        names.iter().map(|name| format!("[models.{name}]\nprovider = 'echo'\nupstream = '{name}'\n")).collect();
    let provider =
        format!("[providers.echo]\nbase_url = 'http://{}'\nheaders = {{ x-secret = '{HEADER}' }}\n", mock.address);
    let gateway = TestGateway::before(&provider, &format!("{models}[dispatch]\nmax_attempts = 1\n")).await;
    for path in CLIENTS {
        for model in names {
            gateway.reset_breakers();
            let mut body = ask(path, model, "Hello");
            body["stream"] = json!(model == "breaks");
            let told = gateway.post(path, body).await.text().await.unwrap();
            if model == "answers" {
                assert!(told.contains(HEADER), "an answer is the model's word: {told}");
            } else {
                assert!(told.contains("***") && !told.contains(HEADER), "{path} {model}: {told}");
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn all_but_the_models_words_in_a_passing_stream_is_searched() {
    let ends = [
        format!("data: bad key {HEADER}\n\n"),
        format!("event: error\ndata: {{\"type\":\"error\",\"message\":\"{HEADER}\"}}\n\n"),
        format!("data: {{\"object\":\"error\",\"message\":\"{HEADER}\",\"code\":401}}\n\n"),
        format!("data: {{\"choices\":[],\"detail\":\"{HEADER}\"}}\n\n"),
        format!("<html>{HEADER}</html>\n\n"),
        format!(": debug {HEADER}\n\n"),
        format!(": debug {HEADER}\nevent: ping\ndata: {{\"type\": \"ping\"}}\n\n"),
        format!("id: {HEADER}\ndata: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"!\"}}}}]}}\n\n"),
        format!(
            "data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"!\"}}}}\n: {HEADER}\n\n"
        ),
    ];
    let count = ends.len();
    let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": format!("So {HEADER}") } }] });
    let delta = json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": format!("So {HEADER}") } });
    let message = json!({ "type": "message_start", "message": { "id": "m", "model": "m", "usage": { "input_tokens": 1, "output_tokens": 1 } } });
    let openai = format!("data: {chunk}\n\n");
    let anthropic = format!("data: {message}\n\ndata: {delta}\n\n");
    let mock = Mock::start(move |body| {
        let asked: Value = serde_json::from_str(body).unwrap();
        let (dialect, end) = asked["model"].as_str().unwrap().split_once('-').unwrap();
        let begun = if dialect == "openai" { &openai } else { &anthropic };
        Script::events(vec![(0, begun.clone()), (20, ends[end.parse::<usize>().unwrap()].clone())])
    })
    .await;
    let header = format!("headers = {{ x-secret = '{HEADER}' }}");
    let mut upstreams = String::new();
    let mut models = String::new();
    for (dialect, base) in [("openai", "/v1"), ("anthropic", "")] {
        upstreams += &format!(
            "[providers.my-{dialect}]\ndialect = '{dialect}'\nbase_url = 'http://{}{base}'\n{header}\n",
            mock.address
        );
        for end in 0..count {
            models += &format!("[models.{dialect}-{end}]\nprovider = 'my-{dialect}'\n");
        }
    }
    let gateway = TestGateway::before(&upstreams, &models).await;
    for (path, dialect) in [("/v1/chat/completions", "openai"), ("/v1/messages", "anthropic")] {
        for end in 0..count {
            let body = streamed(path, &format!("{dialect}-{end}"), "Hello");
            let told = gateway.post(path, body).await.text().await.unwrap();
            assert!(told.contains("***"), "{dialect} {end}: {told}");
            assert_eq!(told.matches(HEADER).count(), 1, "what the model says stays: {dialect} {end}: {told}");
        }
    }
    gateway.stop().await;
}
