//! Configuration that changes while it runs.

use pointsman::sandbox::{Fault, Times};

use crate::support::{TestGateway, ask, settle};

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_bad_one_is_not() {
    let gateway = TestGateway::start("[aliases]\nbest = 'gpt-4o'").await;
    let file = gateway.args.file.clone().unwrap();
    let target = || gateway.app.gateway.live().catalog.find("best").map(|model| model.name.to_string());
    assert_eq!(target().as_deref(), Some("gpt-4o"));
    std::fs::write(&file, "[aliases]\nbest = 'claude-opus-5-5' # changed").unwrap();
    settle(|| target().as_deref() == Some("claude-opus-5-5"), "the change was not noticed").await;
    std::fs::write(&file, "[aliases]\nbest = 'gpt-4o'\n[server]\nlisten_on = 1").unwrap();
    let errors = gateway.app.reload().unwrap_err();
    assert!(errors.to_string().contains("server.listen_on: unknown key; did you mean `listen`?"), "{errors}");
    assert_eq!(target().as_deref(), Some("claude-opus-5-5"), "the old one stays in force");
    assert_eq!(gateway.post("/api/chat", ask("/api/chat", "best", "hi")).await.status(), 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_file_that_was_emptied_is_taken_over_by_who_says_so_twice_alone() {
    let gateway = TestGateway::start("[aliases]\nbest = 'gpt-4o'").await;
    let file = gateway.args.file.clone().unwrap();
    let is_there = || gateway.app.gateway.live().catalog.find("best").is_some();
    for _ in 0..2 {
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "").unwrap();
        // Longer than until a change is taken over.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert!(is_there(), "whatever happened to the empty file");
    }
    gateway.app.reload().unwrap();
    assert!(!is_there(), "it was refused before, and somebody wants it nevertheless");
    std::fs::write(&file, "[aliases]\nbest = 'gpt-4o'").unwrap();
    gateway.app.reload().unwrap();
    std::fs::write(&file, "").unwrap();
    assert!(gateway.app.reload().unwrap_err().to_string().contains("has become empty"));
    assert!(is_there());
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_signal_took_over_is_not_taken_over_again() {
    let alone = "[providers.ollama]\ndiscover = false\n";
    let gateway = TestGateway::start(alone).await;
    let file = gateway.args.file.clone().unwrap();
    std::fs::write(&file, format!("{alone}[aliases]\nbest = 'gpt-4o'")).unwrap();
    gateway.app.reload().unwrap();
    let live = gateway.app.gateway.live();
    // Longer than until the files are looked at.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert!(std::sync::Arc::ptr_eq(&live, &gateway.app.gateway.live()));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_read_at_start_keeps_its_value_and_is_shown_with_it() {
    let gateway = TestGateway::start("").await;
    let file = gateway.args.file.clone().unwrap();
    std::fs::write(&file, "[dispatch]\nconnect_timeout_ms = 77\nidle_timeout_ms = 78").unwrap();
    gateway.app.reload().unwrap();
    let dispatch = gateway.app.gateway.live().config.dispatch.clone();
    assert_eq!((dispatch.connect_timeout_ms, dispatch.idle_timeout_ms), (1000, 78));
    gateway.stop().await;
}

#[tokio::test]
async fn health_survives_a_reload() {
    let gateway = TestGateway::start("").await;
    gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await;
    let calls = || {
        let live = gateway.app.gateway.live();
        live.catalog.find("gpt-4o").unwrap().deployments[0].status(std::time::Instant::now()).calls
    };
    assert_eq!(calls(), 1);
    gateway.app.reload().unwrap();
    assert_eq!(calls(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn another_head_is_taken_over_while_it_runs() {
    let with = |head: &str| format!("[classifier]\nenabled = true\nhead = '{head}'");
    let gateway = TestGateway::start(&with("none")).await;
    let classifier = gateway.app.gateway.classifier.clone();
    for _ in 0..600 {
        if !classifier.is_loading() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(classifier.status().head, None);
    let file = gateway.args.file.clone().unwrap();
    std::fs::write(&file, with(&format!("{}/Cargo.toml", env!("CARGO_MANIFEST_DIR")))).unwrap();
    settle(|| gateway.app.gateway.live().config.classifier.head.ends_with("toml"), "the change was not noticed")
        .await;
    std::fs::write(&file, with(&format!("{}/models/builtin/head.safetensors", env!("CARGO_MANIFEST_DIR")))).unwrap();
    settle(|| classifier.status().head.is_some(), "what was no head stands in the way of one").await;
    gateway.stop().await;
}

#[tokio::test]
async fn fewer_requests_at_once_takes_hold_as_running_ones_end() {
    const PATIENT: &str = "[dispatch]\nwhole_answer_timeout_ms = 20000\ntotal_timeout_ms = 20000";
    let gateway = TestGateway::start(&format!("[limits]\nmax_in_flight = 3\n{PATIENT}")).await;
    gateway.sandbox.faults().set("*", Fault::HangBeforeHeaders, Times::Always);
    let call = || {
        let body = ask("/api/chat", "gpt-4o", "Hello").to_string();
        tokio::spawn(gateway.http.post(gateway.url("/api/chat")).body(body).send())
    };
    let calls = [call(), call(), call()];
    settle(|| gateway.sandbox.open() == 3, "the calls never began").await;
    std::fs::write(gateway.args.file.as_ref().unwrap(), format!("[limits]\nmax_in_flight = 1\n{PATIENT}")).unwrap();
    gateway.app.reload().unwrap();
    calls.iter().for_each(|call| call.abort());
    settle(|| gateway.sandbox.open() == 0, "the calls went on").await;
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    // The last of the three may still be on its way back.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let one = call();
    settle(|| gateway.sandbox.open() == 1, "none is let in any more").await;
    let second = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await;
    assert_eq!(second.status(), 429);
    one.abort();
    gateway.stop().await;
}
