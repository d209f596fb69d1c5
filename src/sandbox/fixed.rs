//! An upstream that always gives the same answer, as fast as a socket allows: benchmarks put it behind the gateway.
//!
//! It speaks just enough HTTP/1.1: requests with `content-length` on keep-alive connections. The answer is in OpenAI's
//! format, streamed where the request says `"stream":true`. Each piece is written on its own, as vendors do. An
//! optional wait before each answer keeps many requests in flight at once.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Pieces of a streamed answer.
const PIECES: usize = 16;

/// The longest request head that is read; a longer one closes the connection.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// A running upstream; dropping it stops it.
#[derive(Debug)]
pub struct FixedUpstream {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl FixedUpstream {
    /// Starts at `address` (port 0 takes a free one). The wait before each answer is drawn uniformly from `wait_ms`.
    ///
    /// # Errors
    ///
    /// When the port cannot be bound.
    pub async fn start(address: SocketAddr, wait_ms: RangeInclusive<u64>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        connections.spawn(serve(stream, wait_ms.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for FixedUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers requests until the client closes; any error ends the connection, too.
async fn serve(mut stream: TcpStream, wait_ms: RangeInclusive<u64>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let whole = whole_answer();
    let pieces = streamed_answer();
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if buffer.len() > MAX_HEAD_BYTES || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let request = head + content_length(&buffer[..head]).unwrap_or(0);
        while buffer.len() < request {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let wait = if *wait_ms.end() == 0 { 0 } else { rand::random_range(wait_ms.clone()) };
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let body = &buffer[head..request];
        if body.windows(13).any(|part| part == b"\"stream\":true") {
            for piece in &pieces {
                stream.write_all(piece).await?;
            }
        } else {
            stream.write_all(&whole).await?;
        }
        buffer.drain(..request);
    }
}

/// The length of the body that a message's head announces.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    String::from_utf8_lossy(head).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}

fn whole_answer() -> Vec<u8> {
    let body = serde_json::json!({
        "id": "chatcmpl-fixed", "object": "chat.completion", "created": 1, "model": "fixed",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "[sandbox fixed] The same answer, every time." },
        }],
        "usage": { "prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21 },
    });
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// The pieces of a streamed answer: the first holds the head, each event is an HTTP chunk.
fn streamed_answer() -> Vec<Vec<u8>> {
    let chunk = |text: String| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let event = |value: serde_json::Value| chunk(format!("data: {value}\n\n"));
    let delta = |delta: serde_json::Value, finish: serde_json::Value| {
        event(serde_json::json!({
            "id": "chatcmpl-fixed", "object": "chat.completion.chunk", "created": 1, "model": "fixed",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
        }))
    };
    let mut first =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    first.extend(delta(serde_json::json!({ "role": "assistant", "content": "[sandbox fixed]" }), ().into()));
    let mut pieces = vec![first];
    pieces.extend((1..PIECES).map(|_| delta(serde_json::json!({ "content": " word" }), ().into())));
    pieces.push(delta(serde_json::json!({}), "stop".into()));
    let usage = serde_json::json!({ "prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28 });
    pieces.push(event(serde_json::json!({
        "id": "chatcmpl-fixed", "object": "chat.completion.chunk", "created": 1, "model": "fixed", "choices": [],
        "usage": usage,
    })));
    let mut last = chunk("data: [DONE]\n\n".to_owned());
    last.extend_from_slice(b"0\r\n\r\n");
    pieces.push(last);
    pieces
}
