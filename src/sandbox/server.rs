//! One server on loopback that plays every vendor.

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

use super::answer::{Asked, Said, answer, tokens};
use super::fault::{Fault, Faults};
use super::frames::{self, Frames};
use super::profile::{Pace, Profile};
use super::vendor::Vendor;
use super::watch::{Traffic, Watch};
use super::{anthropic, ollama, openai};

/// The key that every vendor here wants, or one that begins so.
pub const KEY: &str = "sandbox-key";

/// The variable that the sandbox's own configuration takes the key from.
const KEY_VARIABLE: &str = "POINTSMAN_SANDBOX_KEY";

/// Endpoints that faults are about.
const CHATS: [&str; 3] = ["/v1/chat/completions", "/v1/messages", "/api/chat"];

/// How many requests are remembered.
const MEMORY: usize = 4096;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whose format.
    pub vendor: Vendor,
    /// The path below the vendor's base.
    pub path: String,
    /// The vendor's id of the model.
    pub model: String,
    /// The body.
    pub body: Value,
    /// Headers, lower case.
    pub headers: Vec<(String, String)>,
}

#[derive(Debug)]
struct World {
    pace: Pace,
    faults: Faults,
    seen: Mutex<VecDeque<Seen>>,
    remembers: bool,
    /// Prompts asked before, for the vendors' prompt caches.
    cached: Mutex<HashSet<u64>>,
    traffic: Arc<Traffic>,
    /// About how many tokens an answer has at least.
    talk: AtomicU64,
}

/// Stand-ins for every vendor.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    world: Arc<World>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sandbox {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start(pace: Pace) -> std::io::Result<Self> {
        Self::begin(pace, false).await
    }

    /// Starts at full speed and remembers the last requests.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn remembering() -> std::io::Result<Self> {
        Self::begin(Pace::Instant, true).await
    }

    async fn begin(pace: Pace, remembers: bool) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World {
            pace,
            faults: Faults::default(),
            seen: Mutex::default(),
            remembers,
            cached: Mutex::default(),
            traffic: Arc::default(),
            talk: AtomicU64::new(0),
        });
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(accept(listener, Arc::clone(&world), stopping));
        Ok(Self { address, world, stop, task })
    }

    /// A vendor's base address, as an operator would configure it.
    pub fn url(&self, vendor: Vendor) -> String {
        let version = if matches!(vendor, Vendor::OpenAi | Vendor::DeepSeek) { "/v1" } else { "" };
        format!("http://{}{}{version}", self.address, vendor.prefix())
    }

    /// Configuration that sends every vendor's traffic here.
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

    /// The variable that [`Sandbox::settings`] takes its key from, and the key.
    pub fn variable() -> (String, String) {
        (KEY_VARIABLE.to_owned(), KEY.to_owned())
    }

    /// Faults, to be set and cleared while it runs.
    pub fn faults(&self) -> &Faults {
        &self.world.faults
    }

    /// Makes answers in prose about so many tokens long, as real ones are; else they are short.
    pub fn talk(&self, tokens: u64) {
        self.world.talk.store(tokens, Ordering::Relaxed);
    }

    /// The last requests, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.world.seen.lock().iter().cloned().collect()
    }

    /// Requests being answered.
    pub fn open(&self) -> usize {
        self.world.traffic.open.load(Ordering::Relaxed)
    }

    /// Answers that the other side hung up on, or that were cut.
    pub fn hung_up(&self) -> usize {
        self.world.traffic.hung_up.load(Ordering::Relaxed)
    }

    /// Ends it; open answers are cut.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, world: Arc<World>, mut stopping: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let world = Arc::clone(&world);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| serve(Arc::clone(&world), request));
                    // A client that hangs up is what half of the tests are about.
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

/// An error here closes the connection without an answer.
async fn serve(world: Arc<World>, request: Request<Incoming>) -> Result<Response<Body>, frames::Cut> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let is_chat = CHATS.iter().any(|chat| path.ends_with(chat));
    let watch = Watch::new(Arc::clone(&world.traffic), is_chat);
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
    if world.remembers {
        remember(&world, vendor, &path, &model, &value, &head.headers);
    }
    let header = head.headers.get("x-sandbox-fault").and_then(|fault| Fault::parse(fault.to_str().ok()?));
    let fault = header.or_else(|| if is_chat { world.faults.next(&model) } else { None });
    match &fault {
        Some(Fault::Refuse) => return Err(frames::Cut),
        Some(Fault::HangBeforeHeaders) => {
            // The watch must go with the request when the client gives up.
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let mut frames = match &fault {
        Some(Fault::Status { status, retry_after }) => {
            Frames { retry_after: *retry_after, ..vendor.refusal(*status) }
        }
        Some(Fault::ContextOverflow) => vendor.overflow(),
        Some(Fault::OkThenError) => ok_then_error(vendor, value["stream"] == true),
        _ => reply(&world, vendor, &head.method, &path, &head.headers, &value, fault.as_ref()),
    };
    if let Some(fault) = &fault {
        frames::spoil(&mut frames, fault);
    }
    if let Some(Fault::StreamError { after }) = fault
        && frames.is_stream()
    {
        frames.pieces.truncate(after);
        frames.pieces.extend(ok_then_error(vendor, true).pieces);
    }
    Ok(frames::send(frames, world.pace, Profile::of(&model), fault.as_ref(), watch))
}

fn remember(world: &World, vendor: Vendor, path: &str, model: &str, body: &Value, headers: &http::HeaderMap) {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
    };
    let seen = Seen {
        vendor,
        path: path.to_owned(),
        model: model.to_owned(),
        body: body.clone(),
        headers: headers.iter().map(header).collect(),
    };
    let mut memory = world.seen.lock();
    if memory.len() >= MEMORY {
        memory.pop_front();
    }
    memory.push_back(seen);
}

/// An error with status 200, as some servers give it.
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
    world: &World,
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
    let say = |asked: &Asked| say(world, asked, fault);
    match (vendor, path, post) {
        (Vendor::OpenAi | Vendor::DeepSeek, "/v1/chat/completions", true) => openai::chat(vendor, body, say),
        (Vendor::OpenAi | Vendor::DeepSeek, "/v1/models", false) => openai::models(),
        (Vendor::OpenAi, "/v1/embeddings", true) | (Vendor::Ollama, "/v1/embeddings", true) => {
            openai::embeddings(body)
        }
        (Vendor::Anthropic, "/v1/messages", true) => anthropic::chat(body, say),
        (Vendor::Anthropic, "/v1/messages/count_tokens", true) => anthropic::count(body),
        (Vendor::Ollama, "/api/chat", true) => ollama::chat(body, say),
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

/// The answer, unless the prompt is longer than the model reads.
fn say(world: &World, asked: &Asked, fault: Option<&Fault>) -> Option<Said> {
    let asked = &Asked { talk: world.talk.load(Ordering::Relaxed), ..asked.clone() };
    if tokens(&asked.prompt) > Profile::of(&asked.model).context {
        return None;
    }
    let key = super::dice::Dice::new(3).about(asked.model.as_str()).about(asked.prompt.as_str()).bits();
    let mut cache = world.cached.lock();
    if cache.len() > 100_000 {
        cache.clear();
    }
    // Vendors cache from about a thousand tokens on.
    let long = tokens(&asked.prompt) >= 1024;
    let cached = if long && !cache.insert(key) { tokens(&asked.prompt) / 128 * 128 } else { 0 };
    drop(cache);
    let mut said = answer(asked, cached);
    if fault == Some(&Fault::Empty) {
        said.text.clear();
        said.call = None;
        said.thinking = None;
        said.end = super::answer::End::Complete;
    }
    Some(said)
}
