//! Spans leave by OTLP where a collector is configured: the real binary, a real request, a stand-in collector.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::process::Process;
use crate::support::{ask, http, settle};

/// The trace that the client is in.
const TRACE: [u8; 16] = *b"trace-of-clients";

/// Tags of what a value may hold, as the protocol has them (`AnyValue`).
const STRING: u8 = 0x0a;
const INT: u8 = 0x18;
const ARRAY: u8 = 0x2a;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes whatever is posted, and keeps it.
async fn collector() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream, Arc::clone(&keep)));
        }
    });
    (port, kept)
}

async fn take(mut stream: TcpStream, keep: Arc<Mutex<Vec<u8>>>) {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if request.len() < head + 4 + length.unwrap_or(0) {
            continue;
        }
        keep.lock().append(&mut request);
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn spans_of_chats_reach_the_collector() {
    let (port, kept) = collector().await;
    let dir = tempfile::tempdir().unwrap();
    let endpoint = format!("telemetry.otlp_endpoint=\"http://127.0.0.1:{port}\"");
    let name = "telemetry.service_name=\"the-test\"";
    let process = Process::sandbox(dir.path(), &["--set", &endpoint, "--set", name]);
    let http = http();
    let path = "/v1/chat/completions";
    let secret = "a-prompt-that-is-nobodys-business";
    for model in ["gpt-4o", "claude-sonnet-5-5"] {
        let url = format!("{}{path}", process.proxy);
        let request = http.post(url).header("traceparent", format!("00-{}-b7ad6b7169203331-01", hex(&TRACE)));
        let response = request.body(ask(path, model, secret).to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.bytes().await.unwrap();
    }
    let has = |text: &str| kept.lock().windows(text.len()).any(|part| part == text.as_bytes());
    // The second leaves with the last batch, when the process ends.
    let (said, good) = tokio::task::spawn_blocking(move || process.stop()).await.unwrap();
    assert!(good, "{said}");
    settle(|| has("chat gpt-4o") && has("chat claude-sonnet-5-5"), "the spans did not arrive").await;
    assert!(has("POST /v1/traces HTTP/1.1"));
    for text in ["the-test", "gen_ai.request.model", "gen_ai.provider.name", "gen_ai.response.id", "anthropic"] {
        assert!(has(text), "{text}");
    }
    assert!(!has("busy_ns") && !has("thread.id") && !has("code.file.path"));
    for (key, kind) in [
        ("gen_ai.request.model", STRING),
        ("gen_ai.usage.input_tokens", INT),
        ("gen_ai.usage.cache_read.input_tokens", INT),
        ("gen_ai.usage.output_tokens", INT),
        ("gen_ai.response.finish_reasons", ARRAY),
        ("server.address", STRING),
        ("server.port", INT),
        ("pointsman.calls", INT),
    ] {
        let kept = kept.lock();
        let at =
            kept.windows(key.len()).position(|part| part == key.as_bytes()).unwrap_or_else(|| panic!("no {key}"));
        // The key's value is field 2 of the pair: its tag, its length, and then the tag of what it holds.
        let [pair, _, holds] = kept[at + key.len()..][..3] else { unreachable!() };
        assert_eq!((pair, holds), (0x12, kind), "{key}");
    }
    assert!(kept.lock().windows(TRACE.len()).any(|part| part == TRACE), "the spans stand alone");
    assert!(!has(secret), "a prompt is in a span");
}
