//! A gateway of one's own, in front of a sandbox of one's own.

pub mod mock;
pub mod process;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pointsman::app::App;
use pointsman::config::{self, LoadArgs};
use pointsman::sandbox::{Sandbox, Vendor};
use pointsman::store::{DecisionRecord, NewToken, OutcomeRecord, Scope, Tokens};
use serde_json::{Value, json};

/// A running gateway and the vendors behind it. Dropping it without [`TestGateway::stop`] is fine.
pub struct TestGateway {
    pub app: App,
    pub sandbox: Sandbox,
    pub http: reqwest::Client,
    pub dir: tempfile::TempDir,
    pub args: LoadArgs,
}

/// Deadlines short enough for tests that wait for them, and no pauses.
const QUICK: &str = "
[server]
listen = '127.0.0.1:0'
drain_s = 5
[admin]
listen = '127.0.0.1:0'
[classifier]
enabled = false
[dispatch]
connect_timeout_ms = 1000
first_byte_timeout_ms = 700
thinking_timeout_ms = 700
whole_answer_timeout_ms = 700
idle_timeout_ms = 700
total_timeout_ms = 5000
backoff_ms = 1
backoff_max_ms = 5
";

impl TestGateway {
    /// A gateway with `extra` configuration.
    pub async fn start(extra: &str) -> Self {
        Self::with_tokens(extra, &[]).await.0
    }

    /// A gateway with further stand-ins behind it, given as the providers they play.
    pub async fn before(upstreams: &str, extra: &str) -> Self {
        Self::build(upstreams, extra, &[], &[]).await.0
    }

    /// A gateway that knows tokens of these names and scopes; their texts come back.
    pub async fn with_tokens(extra: &str, tokens: &[(&str, &[Scope])]) -> (Self, Vec<String>) {
        Self::with_environment(extra, tokens, &[]).await
    }

    /// The same, with variables in its environment.
    pub async fn with_environment(
        extra: &str,
        tokens: &[(&str, &[Scope])],
        variables: &[(&str, &str)],
    ) -> (Self, Vec<String>) {
        Self::build("", extra, tokens, variables).await
    }

    async fn build(
        upstreams: &str,
        extra: &str,
        tokens: &[(&str, &[Scope])],
        variables: &[(&str, &str)],
    ) -> (Self, Vec<String>) {
        let sandbox = Sandbox::remembering().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.toml");
        let data = dir.path().join("data");
        let quick = QUICK.replace("[server]", &format!("[server]\ndata_dir = '{}'", data.display()));
        // Tables may be written twice over two layers, and not within one.
        std::fs::create_dir(dir.path().join("config")).unwrap();
        std::fs::write(dir.path().join("config/test.toml"), quick).unwrap();
        std::fs::write(&file, extra).unwrap();
        let mut known = Tokens::default();
        let mut texts = Vec::new();
        for (at, (name, scopes)) in tokens.iter().enumerate() {
            let new = NewToken { name: (*name).into(), scopes: scopes.to_vec(), ..NewToken::default() };
            texts.push(known.add(new, [at as u8 + 1; 20], 0).unwrap().1);
        }
        known.save(&data).unwrap();
        let mut environment = vec![("POINTSMAN_ENV".into(), "test".into()), Sandbox::variable()];
        environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let args = LoadArgs {
            dir: dir.path().to_owned(),
            file: Some(file),
            environment,
            flags: Vec::new(),
            sandbox: Some(format!("{}\n{upstreams}", sandbox.settings())),
        };
        let loaded = config::load(&args).unwrap_or_else(|errors| panic!("{errors}"));
        let app = App::start(args.clone(), loaded).await.unwrap();
        (Self { app, sandbox, http: http(), dir, args }, texts)
    }

    /// An address on the proxy.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.proxy)
    }

    /// An address on the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.admin.unwrap())
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: Value) -> reqwest::Response {
        self.http.post(self.url(path)).body(body.to_string()).send().await.unwrap()
    }

    /// Gets from the admin listener, as text.
    pub async fn admin(&self, path: &str) -> String {
        self.http.get(self.admin_url(path)).send().await.unwrap().text().await.unwrap()
    }

    /// The value of a metric's line that begins so.
    pub async fn metric(&self, line: &str) -> f64 {
        let metrics = self.admin("/metrics").await;
        let found = metrics.lines().find(|known| known.starts_with(line));
        found.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Closes every breaker, and forgets the pauses that vendors asked for.
    pub fn reset_breakers(&self) {
        let live = self.app.gateway.live();
        live.catalog.models().flat_map(|model| &model.deployments).for_each(|deployment| deployment.reset());
    }

    /// Writes a decision of a clock that was ahead by a hundred days to its log; the decision's id and time.
    pub fn decide_ahead(&self) -> (String, u64) {
        let ahead = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(8_640_000);
        let id = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, ahead.as_secs(), 0));
        let at_ms = ahead.as_secs() * 1000;
        let decision = json!({ "id": id, "at_ms": at_ms, "chosen": "gpt-4o", "request": {} });
        let decision: DecisionRecord = serde_json::from_value(decision).unwrap();
        self.app.gateway.store.append(&[decision], &[] as &[OutcomeRecord], &mut []).unwrap();
        (id.to_string(), at_ms)
    }

    /// Stops it, and starts it again on what it left.
    pub async fn restart(self) -> Self {
        self.app.stop().await;
        let loaded = config::load(&self.args).unwrap_or_else(|errors| panic!("{errors}"));
        Self { app: App::start(self.args.clone(), loaded).await.unwrap(), ..self }
    }

    /// Stops it, and leaves its directory and its vendors to be used again.
    pub async fn stop_and_keep(self) -> (tempfile::TempDir, Sandbox) {
        self.app.stop().await;
        (self.dir, self.sandbox)
    }

    /// Stops it, and finds nothing left behind.
    pub async fn stop(self) {
        settle(|| self.sandbox.open() == 0, "upstream calls were left open").await;
        settle(|| self.app.gateway.metrics.in_flight() == 0, "requests were left in flight").await;
        self.app.stop().await;
        self.sandbox.stop().await;
    }
}

/// Waits until something holds; three seconds are long enough for anything in these tests.
pub async fn settle(holds: impl Fn() -> bool, otherwise: &str) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{otherwise}");
}

/// A client.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap()
}

/// An address at which nobody listens.
pub fn nobody() -> SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// A chat of one question in the client's dialect.
pub fn ask(path: &str, model: &str, question: &str) -> Value {
    let mut body = json!({ "model": model });
    body[turns(path)] = json!([{ "role": "user", "content": question }]);
    if path == "/v1/messages" {
        body["max_tokens"] = json!(200);
    }
    body
}

/// The same, to be streamed.
pub fn streamed(path: &str, model: &str, question: &str) -> Value {
    let mut body = ask(path, model, question);
    body["stream"] = json!(true);
    body
}

/// The field that holds the turns of a chat.
pub fn turns(path: &str) -> &'static str {
    if path == "/v1/responses" { "input" } else { "messages" }
}

/// The four chat endpoints.
pub const CLIENTS: [&str; 4] = ["/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages"];

/// One model for each kind of backend.
pub const BACKENDS: [(&str, Vendor); 4] = [
    ("gpt-4o", Vendor::OpenAi),
    ("deepseek-r1", Vendor::DeepSeek),
    ("claude-sonnet-5-5", Vendor::Anthropic),
    ("llama3.2", Vendor::Ollama),
];

/// The text of a whole answer.
pub fn text(path: &str, answer: &Value) -> String {
    let text = match path {
        "/api/chat" => &answer["message"]["content"],
        "/v1/chat/completions" => &answer["choices"][0]["message"]["content"],
        "/v1/responses" => {
            let items = answer["output"].as_array().unwrap_or_else(|| panic!("no output: {answer}"));
            let said = items.iter().filter_map(|item| item["content"].as_array()).flatten();
            return said.filter_map(|part| part["text"].as_str()).collect();
        }
        _ => {
            let blocks = answer["content"].as_array().unwrap_or_else(|| panic!("no content: {answer}"));
            return blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        }
    };
    text.as_str().unwrap_or_default().to_owned()
}

/// The message of an error in the endpoint's dialect; panics if it is not in that form.
pub fn error(path: &str, answer: &Value) -> String {
    if path == "/v1/messages" {
        assert_eq!(answer["type"], "error", "{answer}");
    }
    let key = if path == "/api/chat" { "code" } else { "type" };
    assert!(answer["error"][key].is_string(), "{answer}");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

/// The data of each event of a stream.
pub fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The text that a stream says.
pub fn streamed_text(path: &str, stream: &str) -> String {
    let piece = |event: Value| -> Option<String> {
        let text = match path {
            "/api/chat" => &event["text"],
            "/v1/chat/completions" => &event["choices"][0]["delta"]["content"],
            "/v1/responses" if event["type"] == "response.output_text.delta" => &event["delta"],
            _ => &event["delta"]["text"],
        };
        text.as_str().map(str::to_owned)
    };
    events(stream).into_iter().filter_map(piece).collect()
}

/// Waits until the models that a server lists are there.
pub async fn discovered(gateway: &TestGateway) {
    settle(|| gateway.app.gateway.live().catalog.find("llama3.2").is_some(), "Ollama's models were not found").await;
}
