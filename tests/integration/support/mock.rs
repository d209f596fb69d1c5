//! An upstream that says what a test wants, when it wants it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is said to a request: after so many milliseconds each.
#[derive(Clone)]
pub struct Script {
    /// Before the head.
    pub head_ms: u64,
    pub status: u16,
    pub media_type: &'static str,
    /// The body's pieces.
    pub pieces: Vec<(u64, String)>,
    /// Before the body's end.
    pub end_ms: u64,
    /// Whether the connection breaks in place of the body's end.
    pub breaks: bool,
}

impl Script {
    /// Server-sent events.
    pub fn events(pieces: Vec<(u64, String)>) -> Self {
        Self { head_ms: 0, status: 200, media_type: "text/event-stream", pieces, end_ms: 0, breaks: false }
    }

    /// OpenAI's stream of these words, each after so many milliseconds, without usage.
    pub fn openai(words: impl IntoIterator<Item = (u64, String)>) -> Self {
        let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        let pieces = words.into_iter().map(|(ms, word)| (ms, delta(&json!({ "content": word }))));
        Self::events(pieces.chain([(0, end.to_owned())]).collect())
    }

    /// A whole answer.
    pub fn whole(body: impl Into<String>) -> Self {
        let pieces = vec![(0, body.into())];
        Self { head_ms: 0, status: 200, media_type: "application/json", pieces, end_ms: 0, breaks: false }
    }
}

/// A piece of OpenAI's stream.
pub fn delta(delta: &Value) -> String {
    format!("data: {}\n\n", json!({ "id": "c", "model": "x", "choices": [{ "index": 0, "delta": delta }] }))
}

/// A running upstream.
pub struct Mock {
    pub address: SocketAddr,
    /// All it was sent, heads and bodies.
    pub heard: Arc<Mutex<Vec<u8>>>,
    calls: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Mock {
    /// Answers each request by what `script` makes of its body.
    pub async fn start(script: impl Fn(&str) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counts, opened) = (Arc::clone(&calls), Arc::clone(&connections));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::Relaxed);
                let (script, counts, hears) = (Arc::clone(&script), Arc::clone(&counts), Arc::clone(&hears));
                // Whoever hangs up has heard enough.
                tokio::spawn(async move {
                    let _ = serve(stream, &*script, &counts, &hears).await;
                });
            }
        });
        Self { address, heard, calls, connections, task }
    }

    /// The provider of this name that it plays, in OpenAI's dialect.
    pub fn openai(&self, name: &str) -> String {
        format!("[providers.{name}]\nbase_url = 'http://{}/v1'\n", self.address)
    }

    /// The same in another dialect.
    pub fn speaking(&self, dialect: &str, name: &str) -> String {
        format!("[providers.{name}]\nbase_url = 'http://{}'\ndialect = '{dialect}'\n", self.address)
    }

    /// Requests so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: &(dyn Fn(&str) -> Script + Send + Sync),
    calls: &AtomicUsize,
    heard: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let body = loop {
            if let Some((whole, body)) = request(&mut buffer) {
                heard.lock().extend(whole);
                break body;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        calls.fetch_add(1, Ordering::Relaxed);
        let Script { head_ms, status, media_type, pieces, end_ms, breaks } = script(&body);
        pause(head_ms).await;
        let head =
            format!("HTTP/1.1 {status} Said\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        for (ms, piece) in pieces {
            pause(ms).await;
            stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await?;
        }
        pause(end_ms).await;
        if breaks {
            return Ok(());
        }
        stream.write_all(b"0\r\n\r\n").await?;
    }
}

/// The first whole request, taken out, and its body as text.
fn request(buffer: &mut Vec<u8>) -> Option<(Vec<u8>, String)> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    if buffer.len() < head + length {
        return None;
    }
    let whole: Vec<u8> = buffer.drain(..head + length).collect();
    let body = String::from_utf8_lossy(&whole[head..]).into_owned();
    Some((whole, body))
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
