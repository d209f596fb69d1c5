//! Spans leave by OTLP where a collector is configured: the real binary, a real request, a stand-in collector.

use crate::support::mock::{Mock, Script};
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

#[tokio::test]
async fn spans_of_chats_reach_the_collector() {
    let nothing = Script { media_type: "application/x-protobuf", ..Script::events(Vec::new()) };
    let collector = Mock::start(move |_| nothing.clone()).await;
    let kept = &collector.heard;
    let dir = tempfile::tempdir().unwrap();
    let endpoint = format!("telemetry.otlp_endpoint=\"http://{}\"", collector.address);
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
