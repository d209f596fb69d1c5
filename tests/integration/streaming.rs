//! After the first byte there is no way back: error events, cancellation, slow streams.

use std::time::Duration;

use futures::StreamExt;
use pointsman::sandbox::{Fault, Times};
use serde_json::json;

use crate::support::mock::{Mock, Script, delta};
use crate::support::{
    BACKENDS, CLIENTS, TestGateway, ask, discovered, events, settle, streamed, streamed_text, text,
};

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_event_in_the_clients_dialect() {
    let gateway = TestGateway::start("").await;
    discovered(&gateway).await;
    for fault in [Fault::Cut { after: 4 }, Fault::StreamError { after: 4 }] {
        for path in CLIENTS {
            for (model, _) in BACKENDS {
                gateway.reset_breakers();
                gateway.sandbox.faults().set("*", fault.clone(), Times::Always);
                let body = streamed(path, model, "Tell me a long story");
                let response = gateway.post(path, body).await;
                if response.status() != 200 {
                    // Too little came through to begin with: an error before the first byte is as good.
                    continue;
                }
                let stream = response.text().await.unwrap();
                let last = events(&stream).pop().unwrap();
                let holder = if path == "/v1/responses" { &last["response"] } else { &last };
                assert!(holder["error"]["message"].is_string(), "{fault:?} {path} {model}: {stream}");
                let ends = ["[DONE]", "message_stop", "response.completed", "event: end"];
                assert!(!ends.iter().any(|end| stream.contains(end)), "{stream}");
                let begins = match path {
                    "/v1/chat/completions" => "data: {\"error\"",
                    "/v1/responses" => "event: response.failed",
                    _ => "event: error",
                };
                assert_eq!(stream.matches(begins).count(), 1, "{stream}");
            }
        }
    }
    let failed = gateway.admin("/metrics").await;
    assert!(failed.contains("status=\"connection\""), "{failed}");
    gateway.sandbox.faults().clear();
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_repeats_the_begun_answer_does_not_say_it_twice_to_its_client() {
    let mock = Mock::start(|body| {
        if body.contains("\"stream\":true") {
            return Script::openai(["The colour is a", " rare one"].map(|word| (0, word.to_owned())));
        }
        let said = json!({ "role": "assistant", "content": "The colour is a rare one" });
        Script::whole(json!({ "choices": [{ "index": 0, "message": said, "finish_reason": "stop" }] }).to_string())
    })
    .await;
    let provider = mock.openai("home") + "quirks = { prefill = true, repeats_prefill = true }\n";
    let gateway = TestGateway::before(&provider, "[models.m]\nprovider = 'home'\n").await;
    for (path, own) in [("/v1/messages", " a rare one"), ("/v1/chat/completions", "The colour is a rare one")] {
        let begun = json!([
            { "role": "user", "content": "Name a colour." }, { "role": "assistant", "content": "The colour is" },
        ]);
        let mut body = ask(path, "m", "");
        body["messages"] = begun;
        let whole = gateway.post(path, body.clone()).await.json().await.unwrap();
        assert_eq!(text(path, &whole), own, "{path}");
        body["stream"] = true.into();
        let stream = gateway.post(path, body).await.text().await.unwrap();
        assert_eq!(streamed_text(path, &stream), own, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn our_account_that_is_used_up_in_the_middle_of_a_stream_is_not_the_clients() {
    let used_up =
        json!({ "error": { "message": "Pay first", "type": "insufficient_quota", "code": "insufficient_quota" } });
    let mock = Mock::start(move |_| {
        Script::events(vec![(0, delta(&json!({ "content": "word" }))), (300, format!("data: {used_up}\n\n"))])
    })
    .await;
    let gateway = TestGateway::before(&mock.openai("gpt"), "[models.m]\nprovider = 'gpt'\n").await;
    for path in ["/v1/messages", "/api/chat"] {
        let body = streamed(path, "m", "hi");
        let stream = gateway.post(path, body).await.text().await.unwrap();
        let last = events(&stream).pop().unwrap();
        let kind = &last["error"][if path == "/api/chat" { "code" } else { "type" }];
        assert_eq!(kind, if path == "/api/chat" { "upstream" } else { "api_error" }, "{path}: {stream}");
        assert!(gateway.admin("/metrics").await.contains(r#"kind="quota""#), "for operators it is");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_deadline_that_passed_is_told_by_its_key() {
    let waits = "[dispatch]\nmax_attempts = 1\nfirst_byte_timeout_ms = 200\nwhole_answer_timeout_ms = 200\n";
    for (more, stream, key) in [
        ("", false, "(dispatch.whole_answer_timeout_ms)"),
        ("", true, "(dispatch.first_byte_timeout_ms)"),
        ("total_timeout_ms = 100", false, "(dispatch.total_timeout_ms)"),
    ] {
        let gateway = TestGateway::start(&format!("{waits}{more}")).await;
        gateway.sandbox.faults().set("*", Fault::HangBeforeHeaders, Times::Always);
        let mut body = ask("/v1/chat/completions", "gpt-4o", "Hello");
        body["stream"] = json!(stream);
        let told = gateway.post("/v1/chat/completions", body).await.text().await.unwrap();
        assert!(told.contains(key), "{key}: {told}");
        gateway.sandbox.faults().clear();
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_silent_stream_is_ended_by_the_idle_deadline() {
    let gateway = TestGateway::start("[dispatch]\nidle_timeout_ms = 150").await;
    gateway.sandbox.faults().set("*", Fault::Drip { ms: 400 }, Times::Always);
    let body = streamed("/v1/chat/completions", "gpt-4o", "Hello");
    let stream = gateway.post("/v1/chat/completions", body).await.text().await.unwrap();
    assert!(stream.contains("no answer in time"), "{stream}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_drip_is_passed_on_piece_by_piece() {
    let gateway = TestGateway::start("").await;
    gateway.sandbox.faults().set("*", Fault::Drip { ms: 30 }, Times::Always);
    for path in CLIENTS {
        let body = streamed(path, "gpt-4o", "Hello");
        let response = gateway.post(path, body).await;
        let pieces: Vec<_> = response.bytes_stream().collect().await;
        assert!(pieces.len() > 3, "{path}: {} pieces", pieces.len());
        let stream: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect();
        assert!(streamed_text(path, &String::from_utf8(stream).unwrap()).contains("[sandbox"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_upstream_call_with_it() {
    let gateway = TestGateway::start("[dispatch]\nidle_timeout_ms = 20000\nfirst_byte_timeout_ms = 20000").await;
    gateway.sandbox.faults().set("*", Fault::Drip { ms: 100 }, Times::Always);
    for path in CLIENTS {
        for (model, _) in &BACKENDS[..3] {
            let body = streamed(path, model, "Tell me a long story");
            let mut stream = gateway.post(path, body).await.bytes_stream();
            stream.next().await.unwrap().unwrap();
            assert_eq!(gateway.sandbox.open(), 1);
            let before = gateway.sandbox.hung_up();
            drop(stream);
            tokio::time::timeout(Duration::from_secs(1), settle(|| gateway.sandbox.open() == 0, "still open"))
                .await
                .expect("the upstream call ends within a second");
            assert_eq!(gateway.sandbox.hung_up(), before + 1);
        }
    }
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    assert!(gateway.admin("/metrics").await.contains("status=\"cancelled\""));
    // The same while the upstream has said nothing at all.
    gateway.sandbox.faults().set("*", Fault::HangBeforeHeaders, Times::Always);
    let url = gateway.url("/api/chat");
    let call = tokio::spawn(gateway.http.post(url).body(ask("/api/chat", "gpt-4o", "Hello").to_string()).send());
    settle(|| gateway.sandbox.open() == 1, "the call never began").await;
    call.abort();
    settle(|| gateway.sandbox.open() == 0, "the call went on").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_without_a_wish_for_usage_has_none_and_is_priced_all_the_same() {
    let gateway = TestGateway::start("").await;
    let mut body = streamed("/v1/chat/completions", "gpt-4o", "Hello");
    let stream = gateway.post("/v1/chat/completions", body.clone()).await.text().await.unwrap();
    assert!(!stream.contains("prompt_tokens"), "{stream}");
    assert!(gateway.metric("pointsman_cost_usd_total{model=\"gpt-4o\"}").await > 0.0);
    body["stream_options"] = json!({ "include_usage": true });
    let stream = gateway.post("/v1/chat/completions", body).await.text().await.unwrap();
    assert!(stream.contains("prompt_tokens"), "{stream}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_client_heard_before_it_went_away_is_paid_for() {
    let gateway = TestGateway::start("[dispatch]\nidle_timeout_ms = 20000\nfirst_byte_timeout_ms = 20000").await;
    gateway.sandbox.faults().set("*", Fault::Drip { ms: 100 }, Times::Always);
    let mut paid = 0.0;
    // The last counts its prompt at the start of the stream, the others not at all until its end.
    for model in ["gpt-4o", "deepseek-r1", "claude-sonnet-5-5"] {
        for path in CLIENTS {
            let body = streamed(path, model, "Tell me a long story");
            let mut stream = gateway.post(path, body).await.bytes_stream();
            stream.next().await.unwrap().unwrap();
            drop(stream);
            settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
            let cost = gateway.metric(&format!("pointsman_cost_usd_total{{model=\"{model}\"}}")).await;
            assert!(cost > paid, "{path} {model}: {cost}");
            paid = cost;
        }
        paid = 0.0;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_has_to_be_kept_is_no_larger_than_a_whole_answer() {
    let mock = Mock::start(|_| Script::openai(vec![(0, "x".repeat(1 << 16)); 20])).await;
    let model = "[models.talker]\nprovider = 'gpt'\n[dispatch]\nmax_answer_mb = 1\n";
    let gateway = TestGateway::before(&mock.openai("gpt"), model).await;
    for path in CLIENTS {
        let body = streamed(path, "talker", "Tell me a long story");
        let stream = gateway.post(path, body).await.text().await.unwrap();
        let said = streamed_text(path, &stream).len();
        if path == "/v1/responses" {
            let last = events(&stream).pop().unwrap();
            assert_eq!(last["type"], "response.failed");
            let why = last["response"]["error"]["message"].as_str().unwrap();
            assert!(why.contains("larger than 1048576 bytes"), "{why}");
            assert!((15 << 16..18 << 16).contains(&said), "what was said until then was told: {said}");
        } else {
            assert_eq!(said, 20 << 16, "{path}: nothing of it has to be kept");
        }
    }
    gateway.stop().await;
}
