//! Draining: open answers end, new ones are not taken.

use std::sync::Arc;
use std::time::Duration;

use pointsman::http::Drain;
use pointsman::sandbox::{Fault, Times};
use pointsman::store::{Filter, OutcomeStatus, chances};

use crate::support::process::Process;
use crate::support::{TestGateway, ask, http, settle, streamed, streamed_text};

#[tokio::test]
async fn open_streams_are_completed() {
    let gateway = TestGateway::start("").await;
    gateway.sandbox.faults().set("*", Fault::Drip { ms: 50 }, Times::Always);
    let body = streamed("/v1/chat/completions", "gpt-4o", "Tell me a story");
    let response = gateway.post("/v1/chat/completions", body).await;
    let TestGateway { app, .. } = gateway;
    let proxy = app.proxy;
    let reader = tokio::spawn(response.text());
    assert_eq!(app.stop().await, Drain::Complete);
    let stream = reader.await.unwrap().unwrap();
    assert!(stream.ends_with("[DONE]\n\n") && streamed_text("/v1/chat/completions", &stream).contains("[sandbox"));
    assert!(tokio::net::TcpStream::connect(proxy).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_deadline_cuts_what_does_not_end() {
    let gateway = TestGateway::start(
        "[server]\ndrain_s = 1\n[dispatch]\nwhole_answer_timeout_ms = 30000\ntotal_timeout_ms = 30000",
    )
    .await;
    gateway.sandbox.faults().set("*", Fault::HangBeforeHeaders, Times::Always);
    let url = gateway.url("/api/chat");
    let call = tokio::spawn(gateway.http.post(url).body(ask("/api/chat", "gpt-4o", "hi").to_string()).send());
    settle(|| gateway.sandbox.open() == 1, "the call never began").await;
    let inner = Arc::clone(&gateway.app.gateway);
    let drained = tokio::time::timeout(Duration::from_secs(4), gateway.app.stop()).await.unwrap();
    assert_eq!(drained, Drain::Cut(1));
    let told = call.await.unwrap().expect("an answer all the same");
    assert_eq!((told.status().as_u16(), &told.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert!(told.text().await.unwrap().contains("the gateway shuts down"));
    let page = inner.store.decisions(&Filter::default(), None, 1).unwrap();
    assert_eq!(chances(&page.entries[0], None), [], "nobody learns from it");
    let outcome = page.entries[0].outcome.clone().unwrap();
    assert_eq!((outcome.status, outcome.signals), (OutcomeStatus::Cancelled, vec![]), "no client went away");
}

#[tokio::test]
async fn streams_that_are_cut_say_so_in_their_dialect() {
    let cut = async |path: &str, model: &str| {
        let gateway = TestGateway::start(
            "[server]\ndrain_s = 1\n[dispatch]\nsign_of_life_ms = 300\nthinking_timeout_ms = 30000\ntotal_timeout_ms = 30000",
        )
        .await;
        gateway.sandbox.faults().set("*", Fault::HangAfterHeaders, Times::Always);
        let body = streamed(path, model, "Tell me a long story");
        let response = gateway.post(path, body).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-accel-buffering"]),
            (200, &"no".parse().unwrap())
        );
        let TestGateway { app, .. } = gateway;
        let reader = tokio::spawn(response.text());
        assert_eq!(app.stop().await, Drain::Cut(1), "{path} {model}");
        let stream = reader.await.unwrap().expect("a body with an end");
        assert!(stream.contains("error") && stream.contains("the gateway shuts down"), "{stream}");
    };
    tokio::join!(
        cut("/v1/chat/completions", "deepseek-r1"),
        cut("/v1/responses", "deepseek-r1"),
        cut("/v1/messages", "deepseek-r1"),
        cut("/v1/messages", "claude-opus-5-5"),
        cut("/api/chat", "deepseek-r1"),
    );
}

#[tokio::test]
async fn a_process_whose_drain_was_cut_ended_well() {
    let dir = tempfile::tempdir().unwrap();
    let hangs = "providers.openai.headers={ x-sandbox-fault = 'hang' }";
    let process = Process::sandbox(dir.path(), &["--set", "server.drain_s=1", "--set", hangs]);
    let url = format!("{}/api/chat", process.proxy);
    let call = http().post(url).body(ask("/api/chat", "gpt-4o", "hi").to_string()).send();
    let call = tokio::spawn(call);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (said, good) = tokio::task::spawn_blocking(move || process.stop()).await.unwrap();
    assert!(good && said.contains("The drain's deadline passed"), "{said}");
    assert_eq!(call.await.unwrap().unwrap().status(), 503);
}

#[cfg(unix)]
#[test]
fn a_start_that_hangs_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("var")).unwrap();
    // Whoever opens it to read waits until somebody writes.
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("var/tokens.json")).status().unwrap();
    assert!(made.success());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .current_dir(dir.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(child.try_wait().unwrap(), None, "it does not hang: nothing is tried");
    let _ = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let ended = (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        child.try_wait().unwrap()
    });
    let _ = child.kill();
    assert_eq!(ended.expect("it goes on").code(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_configuration_that_hangs_leaves_the_signals_heard() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.toml");
    std::fs::write(&file, "").unwrap();
    let process = Process::sandbox(dir.path(), &["--config", "own.toml"]);
    std::fs::remove_file(&file).unwrap();
    // Whoever opens it to read waits until somebody writes.
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    for _ in 0..3 {
        process.signal("-HUP");
        std::thread::sleep(Duration::from_millis(300));
    }
    let (said, good) = process.stop();
    assert!(good && said.contains("Draining"), "{said}");
}
