//! One server on loopback that stands in for every vendor.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::answer::{Answer, Query, answer, tokens};
use super::fault::{Fault, Faults};
use super::frames::{self, Frames};
use super::profile::{Pace, Profile};
use super::vendor::Vendor;
use super::watch::{Traffic, Watch};
use super::{anthropic, ollama, openai, openai_responses};

/// The API key that every vendor here accepts, and any key that begins with it.
pub const KEY: &str = "sandbox-key";

/// The environment variable from which the sandbox's configuration takes the key.
const KEY_VARIABLE: &str = "POINTSMAN_SANDBOX_KEY";

/// The endpoints to which faults apply.
const CHAT_PATHS: [&str; 4] = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"];

/// Requests that are remembered.
const MAX_SEEN: usize = 4096;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// The vendor it was sent to.
    pub vendor: Vendor,
    /// The path below the vendor's base.
    pub path: String,
    /// The vendor's id of the model.
    pub model: String,
    /// The body.
    pub body: Value,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    pace: Pace,
    faults: Faults,
    seen: Mutex<VecDeque<SeenRequest>>,
    remembers: bool,
    /// Hashes of earlier prompts, for the vendors' prompt caches.
    cached: Mutex<HashSet<u64>>,
    traffic: Arc<Traffic>,
    /// See [`Sandbox::set_answer_tokens`].
    answer_tokens: AtomicU64,
}

/// The running stand-ins for all vendors.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sandbox {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn start(pace: Pace) -> std::io::Result<Self> {
        Self::begin(pace, false).await
    }

    /// Starts without pauses and remembers the last requests, for tests: see [`Self::seen`].
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn remembering() -> std::io::Result<Self> {
        Self::begin(Pace::Instant, true).await
    }

    async fn begin(pace: Pace, remembers: bool) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            pace,
            faults: Faults::default(),
            seen: Mutex::default(),
            remembers,
            cached: Mutex::default(),
            traffic: Arc::default(),
            answer_tokens: AtomicU64::new(0),
        });
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), stopping));
        Ok(Self { address, shared, stop, task })
    }

    /// A vendor's base address, as an operator would configure it.
    pub fn url(&self, vendor: Vendor) -> String {
        let version = if matches!(vendor, Vendor::OpenAi | Vendor::DeepSeek) { "/v1" } else { "" };
        format!("http://{}{}{version}", self.address, vendor.prefix())
    }

    /// Configuration, as TOML, that sends every vendor's traffic here.
    pub fn settings(&self) -> String {
        let provider = |name: &str, vendor: Vendor| {
            let key =
                if vendor == Vendor::Ollama { String::new() } else { format!("key_env = \"{KEY_VARIABLE}\"\n") };
            format!("[providers.{name}]\nbase_url = \"{}\"\n{key}", self.url(vendor))
        };
        [
            provider("openai", Vendor::OpenAi),
            provider("deepseek", Vendor::DeepSeek),
            provider("anthropic", Vendor::Anthropic),
            provider("ollama", Vendor::Ollama),
        ]
        .join("\n")
    }

    /// The environment variable from which [`Sandbox::settings`] takes the key, and its value.
    pub fn variable() -> (String, String) {
        (KEY_VARIABLE.to_owned(), KEY.to_owned())
    }

    /// The faults, to be set and cleared at run time.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Makes answers in prose this many tokens long on average. By default they are short.
    pub fn set_answer_tokens(&self, tokens: u64) {
        self.shared.answer_tokens.store(tokens, Ordering::Relaxed);
    }

    /// The last requests, oldest first.
    pub fn seen(&self) -> Vec<SeenRequest> {
        self.shared.seen.lock().iter().cloned().collect()
    }

    /// Number of requests being answered.
    pub fn open(&self) -> usize {
        self.shared.traffic.open.load(Ordering::Relaxed)
    }

    /// Number of answers that were not sent to the end: the client hung up, or a fault cut them.
    pub fn hung_up(&self) -> usize {
        self.shared.traffic.hung_up.load(Ordering::Relaxed)
    }

    /// Stops the server; open answers are cut.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| serve(Arc::clone(&shared), request));
                    // An error here is mostly a client that hung up, as many tests do.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
            _ = stopping.changed() => return,
        }
    }
}

/// Answers a request; an error closes the connection without an answer.
async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, frames::Cut> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let is_chat = CHAT_PATHS.iter().any(|chat| path.ends_with(chat));
    let watch = Watch::new(Arc::clone(&shared.traffic), is_chat);
    let vendor = Vendor::ALL.into_iter().find(|vendor| path.starts_with(vendor.prefix()));
    let Some(vendor) = vendor else {
        let frames =
            Frames::json(404, &json!({ "error": "the sandbox plays /openai, /deepseek, /anthropic, /ollama" }));
        return Ok(frames::send(frames, Pace::Instant, Profile::of(""), None, watch));
    };
    let path = path.strip_prefix(vendor.prefix()).unwrap_or_default().to_owned();
    let bytes = body.collect().await.map_err(|_| frames::Cut)?.to_bytes();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let model = value["model"].as_str().unwrap_or_default().to_owned();
    if shared.remembers {
        remember(&shared, vendor, &path, &model, &value, &head.headers);
    }
    let header = head.headers.get("x-sandbox-fault").and_then(|fault| Fault::parse(fault.to_str().ok()?));
    let fault = header.or_else(|| if is_chat { shared.faults.next(&model) } else { None });
    match &fault {
        Some(Fault::Refuse) => return Err(frames::Cut),
        Some(Fault::HangBeforeHeaders) => {
            // Pending, so that the watch is dropped when the client gives up.
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let mut frames = match &fault {
        Some(Fault::Status { status, retry_after }) => {
            Frames { retry_after: *retry_after, ..vendor.refusal(*status) }
        }
        Some(Fault::ContextOverflow) => vendor.overflow(),
        Some(Fault::Unverified) if value["reasoning"]["summary"].is_string() => vendor.unverified(),
        Some(Fault::OkThenError) => ok_then_error(vendor, value["stream"] == true),
        _ => reply(&shared, vendor, &head.method, &path, &head.headers, &value, fault.as_ref()),
    };
    if let Some(fault) = &fault {
        frames::apply_fault(&mut frames, fault);
    }
    if let Some(Fault::StreamError { after }) = fault
        && frames.is_stream()
    {
        frames.pieces.truncate(after);
        frames.pieces.extend(ok_then_error(vendor, true).pieces);
    }
    Ok(frames::send(frames, shared.pace, Profile::of(&model), fault.as_ref(), watch))
}

fn remember(shared: &Shared, vendor: Vendor, path: &str, model: &str, body: &Value, headers: &http::HeaderMap) {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
    };
    let seen = SeenRequest {
        vendor,
        path: path.to_owned(),
        model: model.to_owned(),
        body: body.clone(),
        headers: headers.iter().map(header).collect(),
    };
    let mut memory = shared.seen.lock();
    if memory.len() >= MAX_SEEN {
        memory.pop_front();
    }
    memory.push_back(seen);
}

/// An error with status 200, as some servers send it.
fn ok_then_error(vendor: Vendor, stream: bool) -> Frames {
    let mut error = vendor.error(200, "overloaded_error", "Overloaded in the middle of it.");
    if stream {
        let text = String::from_utf8_lossy(&error.pieces.concat()).into_owned();
        error = match vendor {
            Vendor::OpenAi | Vendor::DeepSeek => {
                Frames::stream("text/event-stream", vec![format!("data: {text}\n\n")])
            }
            Vendor::Anthropic => Frames::stream("text/event-stream", vec![format!("event: error\ndata: {text}\n\n")]),
            Vendor::Ollama => Frames::stream("application/x-ndjson", vec![format!("{text}\n")]),
        };
    }
    error
}

fn reply(
    shared: &Shared,
    vendor: Vendor,
    method: &Method,
    path: &str,
    headers: &http::HeaderMap,
    body: &Value,
    fault: Option<&Fault>,
) -> Frames {
    if vendor != Vendor::Ollama && !has_key(headers) {
        let kind = if vendor == Vendor::Anthropic { "authentication_error" } else { "invalid_api_key" };
        return vendor.error(401, kind, "Incorrect API key provided.");
    }
    let post = *method == Method::POST;
    if post && body.is_null() {
        return vendor.error(400, "invalid_request_error", "We could not parse the JSON body of your request.");
    }
    let answer_to = |query: &Query| answer_to(shared, query, fault);
    match (vendor, path, post) {
        (Vendor::OpenAi | Vendor::DeepSeek, "/v1/chat/completions", true) => openai::chat(vendor, body, answer_to),
        (Vendor::OpenAi, "/v1/responses", true) => openai_responses::chat(body, answer_to),
        (Vendor::OpenAi, "/v1/responses/input_tokens", true) => openai_responses::count(body),
        (Vendor::OpenAi | Vendor::DeepSeek, "/v1/models", false) => openai::models(),
        (Vendor::OpenAi, "/v1/embeddings", true) | (Vendor::Ollama, "/v1/embeddings", true) => {
            openai::embeddings(body)
        }
        (Vendor::Anthropic, "/v1/messages", true) => anthropic::chat(body, answer_to),
        (Vendor::Anthropic, "/v1/messages/count_tokens", true) => anthropic::count(body),
        (Vendor::Ollama, "/api/chat", true) => ollama::chat(body, answer_to),
        (Vendor::Ollama, "/api/tags", false) => ollama::tags(),
        (Vendor::Ollama, "/api/show", true) => ollama::show(body),
        _ => vendor.error(404, "not_found_error", "There is no such endpoint."),
    }
}

fn has_key(headers: &http::HeaderMap) -> bool {
    let begins = |name: &str, wanted: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with(wanted))
    };
    begins("x-api-key", KEY) || begins("authorization", &format!("Bearer {KEY}"))
}

/// The answer; `None` where the prompt does not fit the model's context window.
fn answer_to(shared: &Shared, query: &Query, fault: Option<&Fault>) -> Option<Answer> {
    let query = &Query { mean_tokens: shared.answer_tokens.load(Ordering::Relaxed), ..query.clone() };
    if tokens(&query.prompt) > Profile::of(&query.model).context {
        return None;
    }
    let key = super::dice::Dice::new(3).about(query.model.as_str()).about(query.prompt.as_str()).bits();
    let mut cache = shared.cached.lock();
    if cache.len() > 100_000 {
        cache.clear();
    }
    // Vendors cache prompts of about a thousand tokens and more.
    let long = tokens(&query.prompt) >= 1024;
    let cached = if long && !cache.insert(key) { tokens(&query.prompt) / 128 * 128 } else { 0 };
    drop(cache);
    let mut answer = answer(query, cached);
    if fault == Some(&Fault::Empty) {
        answer.text.clear();
        answer.call = None;
        answer.thinking = None;
        answer.end = super::answer::End::Complete;
    }
    Some(answer)
}
