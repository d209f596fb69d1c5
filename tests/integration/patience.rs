//! Upstreams that take their time: what thinks is waited for, what hangs is not, and what was begun is paid for.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::mock::{Mock, Script, delta};
use crate::support::{self, CLIENTS, TestGateway, ask, error, settle, streamed_text, text};

/// A gateway before the mock in two dialects, and models there that cost a dollar per thousand tokens.
async fn start(mock: &Mock, dispatch: &str) -> TestGateway {
    let models = format!(
        "[models.thinker]\nprovider = 'claude'\ncan = ['reasoning']\nprice = {{ input = 1000.0, output = 1000.0 }}\n\
         [models.silent]\nprovider = 'gpt'\ncan = ['reasoning']\nprice = {{ input = 1000.0, output = 1000.0 }}\n\
         [models.quick]\nprovider = 'gpt'\nprice = {{ input = 1000.0, output = 1000.0 }}\n\
         [models.twin]\ndeployments = [{{ provider = 'gpt', upstream = 'slow' }}, {{ provider = 'gpt', upstream = 'fast' }}]\n\
         [dispatch]\n{dispatch}\n"
    );
    TestGateway::before(&(mock.speaking("anthropic", "claude") + &mock.openai("gpt")), &models).await
}

fn said(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

/// Claude's stream: thinks unseen for so many pings, then says a word.
fn claude(pings: usize, every_ms: u64) -> Script {
    let start =
        json!({ "type": "message_start", "message": { "id": "m", "model": "x", "usage": { "input_tokens": 5000 } } });
    let mut pieces = vec![(0, said(&start))];
    pieces.extend((0..pings).map(|_| (every_ms, said(&json!({ "type": "ping" })))));
    for event in [
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "word" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 9 } }),
        json!({ "type": "message_stop" }),
    ] {
        pieces.push((every_ms / 10, said(&event)));
    }
    Script::events(pieces)
}

/// OpenAI's stream of words, the first after so long, without usage.
fn gpt(first_ms: u64, words: usize, every_ms: u64) -> Script {
    Script::openai((0..words).map(|at| (if at == 0 { first_ms } else { every_ms }, "word".into())))
}

fn streamed(path: &str, model: &str) -> Value {
    support::streamed(path, model, "Think about it")
}

async fn cost(gateway: &TestGateway) -> f64 {
    let metrics = gateway.admin("/metrics").await;
    let lines = metrics.lines().filter(|line| line.starts_with("pointsman_cost_usd_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn a_stream_that_shows_life_is_given_the_time_to_think() {
    let mock = Mock::start(|_| claude(12, 100)).await;
    let settings =
        "first_byte_timeout_ms = 300\nthinking_timeout_ms = 300\nidle_timeout_ms = 300\ntotal_timeout_ms = 900";
    let gateway = start(&mock, settings).await;
    for (at, path) in CLIENTS.into_iter().enumerate() {
        let response = gateway.post(path, streamed(path, "thinker")).await;
        assert_eq!(response.status(), 200, "{path}");
        let stream = response.text().await.unwrap();
        assert_eq!(streamed_text(path, &stream), "word", "{path}: {stream}");
        assert_eq!(mock.calls(), at + 1, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn who_leaves_with_all_of_the_answer_pays_for_what_the_vendor_counts_after_it() {
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 5000 } });
    let finish = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let mock = Mock::start(move |body| {
        let mut script = gpt(0, 1, 0);
        script.pieces.pop();
        script.pieces.push((50, format!("data: {finish}\n\n")));
        match body.contains("\"silent\"") {
            true => script.pieces.push((150, format!("data: {usage}\n\ndata: [DONE]\n\n"))),
            false => script.end_ms = 60_000,
        }
        script
    })
    .await;
    let gateway = start(&mock, "idle_timeout_ms = 20000").await;
    let path = "/v1/chat/completions";
    // The vendor of the second never says what it counts.
    for (model, least, most) in [("silent", 5005.0, 5005.0), ("quick", 2.0, 100.0)] {
        let mut stream = gateway.post(path, streamed(path, model)).await.bytes_stream();
        let mut told = String::new();
        while !told.contains("\"stop\"") {
            told += &String::from_utf8_lossy(&stream.next().await.unwrap().unwrap());
        }
        drop(stream);
        settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
        let ok = format!("pointsman_requests_total{{dialect=\"openai\",model=\"{model}\",status=\"ok\"");
        assert_eq!(gateway.metric(&ok).await, 1.0, "{model}");
        let cost = gateway.metric(&format!("pointsman_cost_usd_total{{model=\"{model}\"}}")).await * 1e3;
        assert!((least..=most).contains(&cost.round()), "{model}: {cost}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_has_said_all_is_complete_however_its_connection_ends() {
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 9 } });
    let finish = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    for breaks in [true, false] {
        let end = format!("data: {finish}\n\ndata: {usage}\n\ndata: [DO");
        let mock = Mock::start(move |body| {
            let mut script = if body.contains("\"thinker\"") { claude(0, 0) } else { gpt(0, 1, 0) };
            script.pieces.pop();
            if body.contains("\"quick\"") {
                script.pieces.push((0, end.clone()));
            }
            Script { breaks, end_ms: if breaks { 0 } else { 60_000 }, ..script }
        })
        .await;
        let gateway = start(&mock, "idle_timeout_ms = 30000").await;
        for (path, model) in CLIENTS.into_iter().flat_map(|path| [(path, "thinker"), (path, "quick")]) {
            let begun = Instant::now();
            let stream = gateway.post(path, streamed(path, model)).await.text().await.unwrap();
            assert_eq!(streamed_text(path, &stream), "word", "{path} {model}: {stream}");
            assert!(!stream.contains("error\":{"), "{path} {model}: {stream}");
            let is_whole = |data: &str| data == "[DONE]" || serde_json::from_str::<Value>(data).is_ok();
            assert!(stream.lines().filter_map(|line| line.strip_prefix("data: ")).all(is_whole), "{path}: {stream}");
            let end = if path == "/v1/messages" { "{\"type\":\"message_stop\"}\n\n" } else { "data: [DONE]\n\n" };
            let has_end = path != "/v1/responses" && path != "/api/chat";
            assert!(!has_end || stream.ends_with(end), "clients wait for it: {path}: {stream}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{path} {model}");
        }
        settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
        let metrics = gateway.admin("/metrics").await;
        assert!(["connection", "timeout"].iter().all(|status| !metrics.contains(status)), "{metrics}");
        assert!((cost(&gateway).await - 4.0 * (5009.0 + 14.0) / 1e3).abs() < 1e-6, "{metrics}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_stream_of_several_choices_is_not_complete_with_the_first() {
    let of = |index: u64, text: &str, reason: Value| {
        let choice = json!({ "index": index, "delta": { "content": text }, "finish_reason": reason });
        let usage = json!({ "prompt_tokens": 5, "completion_tokens": 9 });
        format!("data: {}\n\n", json!({ "id": "c", "model": "x", "choices": [choice], "usage": usage }))
    };
    for breaks in [true, false] {
        let begun = [of(0, "A", Value::Null), of(1, "B", Value::Null), of(0, "", json!("stop"))].concat();
        let rest = format!("{}data: [DONE]\n\n", of(1, "rest", json!("stop")));
        let mock = Mock::start(move |_| {
            let mut pieces = vec![(0, begun.clone())];
            pieces.extend((!breaks).then(|| (1500, rest.clone())));
            Script { breaks, ..Script::events(pieces) }
        })
        .await;
        let gateway = start(&mock, "idle_timeout_ms = 20000").await;
        let path = "/v1/chat/completions";
        let mut body = streamed(path, "quick");
        body["n"] = json!(2);
        let stream = gateway.post(path, body).await.text().await.unwrap();
        assert_eq!((stream.contains("rest"), stream.contains("error\":{")), (!breaks, breaks), "{stream}");
        assert_eq!(stream.contains("[DONE]"), !breaks, "{stream}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_hears_of_a_model_that_thinks_unheard() {
    let mock = Mock::start(|_| gpt(1500, 2, 0)).await;
    let settings = "thinking_timeout_ms = 5000\nsign_of_life_ms = 200";
    let gateway = start(&mock, settings).await;
    for path in CLIENTS {
        let begun = Instant::now();
        let response = gateway.post(path, streamed(path, "silent")).await;
        assert!(begun.elapsed() < Duration::from_millis(1200), "{path}: its head came after {:?}", begun.elapsed());
        let stream = response.text().await.unwrap();
        assert_eq!(streamed_text(path, &stream), "wordword", "{path}: {stream}");
        let sign = if path == "/v1/messages" { "event: ping" } else { ": keep-alive" };
        assert!(stream.matches(sign).count() >= 3, "{path}: {stream}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_has_begun_to_speak_is_waited_for_as_any_other() {
    let mock = Mock::start(|_| gpt(500, 2, 4000)).await;
    let settings = "thinking_timeout_ms = 10000\nsign_of_life_ms = 200\nidle_timeout_ms = 700";
    let gateway = start(&mock, settings).await;
    let path = "/v1/chat/completions";
    let stream = gateway.post(path, streamed(path, "silent")).await.text().await.unwrap();
    assert_eq!(streamed_text(path, &stream), "word", "{stream}");
    assert!(stream.contains("no answer in time"), "{stream}");
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_not_counted_to_its_end_is_estimated() {
    // No count in the end, and one that cannot be true.
    for usage in [json!(null), json!({ "output_tokens": u64::MAX })] {
        is_charged(1, usage, 1001).await;
    }
    // A count that is told twice is one.
    is_charged(1000, json!({ "output_tokens": 1000 }), 1000).await;
}

/// A stream of about 1000 tokens, which its vendor counts as `first` in the beginning and as `last` says in the end, is
/// charged as so many.
async fn is_charged(first: u64, last: Value, tokens: u64) {
    let events = [
        json!({ "type": "message_start", "message": { "id": "m", "model": "x",
            "usage": { "input_tokens": 10, "output_tokens": first } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "text_delta", "text": "word ".repeat(800) } }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": last }),
        json!({ "type": "message_stop" }),
    ];
    let pieces: Vec<_> = events.iter().map(|event| (0, said(event))).collect();
    let mock = Mock::start(move |_| Script::events(pieces.clone())).await;
    let gateway = start(&mock, "").await;
    for (at, path) in CLIENTS.into_iter().enumerate() {
        let mut body = streamed(path, "thinker");
        if path == "/v1/chat/completions" {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let told = gateway.post(path, body).await.text().await.unwrap();
        let key = if path == "/v1/chat/completions" { "completion_tokens" } else { "output_tokens" };
        // Where bytes pass through they hold what the vendor counted.
        let is_told = told.contains(&format!("\"{key}\":{tokens}"));
        assert!(is_told || path == "/v1/messages", "{path}: {told}");
        let (cost, due) = (cost(&gateway).await, (10 + tokens) as f64 * (at + 1) as f64 / 1e3);
        assert!((cost - due).abs() < 1e-6, "{path}: {cost}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_flows_is_not_cut_by_the_walks_deadline() {
    let mock = Mock::start(|_| gpt(0, 12, 100)).await;
    let gateway = start(&mock, "total_timeout_ms = 500").await;
    let path = "/v1/chat/completions";
    let stream = gateway.post(path, streamed(path, "quick")).await.text().await.unwrap();
    assert_eq!(streamed_text(path, &stream).matches("word").count(), 12, "{stream}");
    gateway.stop().await;
    // It has one of its own.
    let gateway = start(&mock, "stream_timeout_ms = 500").await;
    let stream = gateway.post(path, streamed(path, "quick")).await.text().await.unwrap();
    assert!(stream.contains("no answer in time"), "{stream}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_place_that_is_too_slow_is_not_asked_again_but_another_is() {
    let mock = Mock::start(|body| {
        let late = if body.contains("\"fast\"") { 0 } else { 3000 };
        let whole = json!({ "choices": [{ "message": { "content": "word" }, "finish_reason": "stop" }] }).to_string();
        let script = if body.contains("\"stream\":true") { gpt(0, 2, 0) } else { Script::whole(whole) };
        Script { head_ms: late, ..script }
    })
    .await;
    let settings = "thinking_timeout_ms = 300\nfirst_byte_timeout_ms = 300\nwhole_answer_timeout_ms = 300";
    let gateway = start(&mock, settings).await;
    let path = "/v1/chat/completions";
    for (calls, body) in [(1, ask(path, "quick", "Hello")), (2, streamed(path, "silent"))] {
        let response = gateway.post(path, body).await;
        assert_eq!(response.status(), 504);
        assert_eq!(mock.calls(), calls);
    }
    assert!(cost(&gateway).await > 0.0, "what was begun is paid for");
    for _ in 0..8 {
        let response = gateway.post(path, ask(path, "twin", "Hello")).await;
        assert_eq!(response.headers()["x-pointsman-backend"], "gpt/fast");
        assert_eq!(text(path, &response.json().await.unwrap()), "word");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_broke_off_is_a_failed_call_of_its_model() {
    let mock = Mock::start(|_| {
        let error = "data: {\"error\":{\"message\":\"no more\",\"type\":\"server_error\"}}\n\n";
        Script::events(vec![(0, delta(&json!({ "content": "word" }))), (100, error.into())])
    })
    .await;
    let gateway = start(&mock, "").await;
    for (at, path) in CLIENTS.into_iter().enumerate() {
        let response = gateway.post(path, streamed(path, "quick")).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap();
        settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
        let failed = gateway.metric("pointsman_upstream_errors_total{model=\"quick\"").await;
        assert_eq!(failed, (at + 1) as f64, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_whose_vendor_broke_it_off_is_charged_as_counted_and_told_as_an_error() {
    // A finish reason or an error in the choice says so; the count comes behind it, or never.
    let broken = |reason: &str, error: Value| {
        let choice = json!({ "index": 0, "delta": {}, "finish_reason": reason, "error": error });
        format!("data: {}\n\n", json!({ "id": "c", "model": "x", "choices": [choice] }))
    };
    let failed = || broken("error", json!({ "code": 502, "message": "boom" }));
    let busy = || broken("insufficient_system_resource", Value::Null);
    let word = || delta(&json!({ "content": "word" }));
    let count = json!({ "choices": [], "usage": { "prompt_tokens": 5000, "completion_tokens": 700 } });
    let (count, done) = (format!("data: {count}\n\n"), "data: [DONE]\n\n".to_owned());
    let ends = |end_ms: u64, breaks: bool| move |script: Script| Script { end_ms, breaks, ..script };
    for (pieces, end, is_counted, begins) in [
        (vec![word(), failed(), count.clone(), done.clone()], ends(0, false), true, true),
        (vec![word(), busy() + &count + &done], ends(0, false), true, true),
        (vec![word(), failed()], ends(0, true), false, true),
        (vec![word(), busy()], ends(60_000, false), false, true),
        (vec![failed(), count.clone(), done], ends(0, false), true, false),
        (vec![word() + &busy(), count], ends(0, false), true, false),
        (vec![failed()], ends(60_000, false), false, false),
    ] {
        let script = end(Script::events(pieces.iter().map(|piece| (50, piece.clone())).collect()));
        let mock = Mock::start(move |_| script.clone()).await;
        let gateway = start(&mock, "attempts_per_model = 1\nidle_timeout_ms = 30000").await;
        for (path, calls) in CLIENTS.into_iter().zip(1..) {
            let begun = Instant::now();
            let response = gateway.post(path, streamed(path, "quick")).await;
            assert_eq!(response.status() == 200, begins, "{path}: {pieces:?}");
            let stream = response.text().await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(20), "{path}: {pieces:?}");
            // In OpenAI's dialect only an event of its own tells an error, and nothing behind [DONE] is read.
            let last = stream.trim_end().rsplit("data: ").next().unwrap_or_default();
            assert!(last.contains("\"message\":"), "{path}: {stream}");
            assert!(!stream.contains("[DONE]"), "{path}: {stream}");
            settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
            let failed = gateway.metric("pointsman_upstream_errors_total{model=\"quick\"").await;
            assert_eq!(failed, f64::from(calls), "{path}: {pieces:?}");
            let each = cost(&gateway).await / f64::from(calls);
            let is_due = if is_counted { (each - 5.7).abs() < 1e-6 } else { 0.0 < each && each < 1.0 };
            assert!(is_due, "{path}: {each}: {pieces:?}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn who_was_never_called_has_no_failed_call() {
    let mock = Mock::start(|body| {
        let head_ms = if body.contains("silent") { 500 } else { 0 };
        Script { head_ms, status: 500, ..Script::whole("{}") }
    })
    .await;
    let settings = "attempts_per_model = 1\n[dispatch.breaker]\nconsecutive_failures = 1\nopen_ms = 60000\n\
        [routing]\nmax_candidates = 2\n[[rules]]\nname = 'r'\nprefer = ['silent', 'quick']";
    let gateway = start(&mock, settings).await;
    let path = "/v1/chat/completions";
    // While the first model is about to fail, another request opens the second one's breaker.
    let waiting = gateway.post(path, ask(path, "auto", "Hello"));
    let other = async {
        settle(|| mock.calls() == 1, "the first model is not called").await;
        gateway.post(path, ask(path, "quick", "Hello")).await.status()
    };
    let (waited, other) = tokio::join!(waiting, other);
    assert_eq!((waited.status().as_u16(), other.as_u16()), (502, 502));
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    let metrics = gateway.admin("/metrics").await;
    let failed: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("pointsman_upstream_errors_total{")).collect();
    assert!(failed.iter().all(|line| line.contains("kind=\"upstream\"")), "{failed:?}");
    assert_eq!(failed.len(), mock.calls(), "{failed:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_lost_is_booked_on_the_model_that_lost_it() {
    // The first begins to think and never speaks; the second answers, or fails without having begun.
    let silent = json!({ "type": "message_start", "message": { "id": "m", "model": "x",
        "usage": { "input_tokens": 5000, "output_tokens": 1 } } });
    for answers in [true, false] {
        let silent = silent.clone();
        let mock = Mock::start(move |body| match (body.contains("thinker"), answers) {
            (true, _) => Script { end_ms: 60_000, ..Script::events(vec![(0, said(&silent))]) },
            (false, true) => gpt(0, 4, 0),
            (false, false) => Script { status: 500, ..Script::whole("{}") },
        })
        .await;
        let settings = "attempts_per_model = 1\nsign_of_life_ms = 60000\n[routing]\nmax_candidates = 2\n\
            [[rules]]\nname = 'r'\nprefer = ['thinker', 'quick']";
        let gateway = start(&mock, settings).await;
        let path = "/v1/chat/completions";
        let response = gateway.post(path, streamed(path, "auto")).await;
        assert_eq!(response.status() == 200, answers);
        response.text().await.unwrap();
        settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
        let of = async |metric: &str| gateway.metric(&format!("pointsman_{metric}")).await;
        assert!((of("cost_usd_total{model=\"thinker\"}").await - 5.001).abs() < 1e-9);
        assert_eq!(of("tokens_total{model=\"thinker\",kind=\"input\"}").await, 5000.0);
        let cost = of("cost_usd_total{model=\"quick\"}").await;
        assert_eq!((cost > 0.0, cost < 1.0), (answers, true), "{cost}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn answers_that_nobody_counts_have_a_price() {
    let mock = Mock::start(|body| {
        let whole = json!({ "choices": [{ "message": { "content": "a word or two" }, "finish_reason": "stop" }] });
        if body.contains("\"stream\":true") { gpt(0, 20, 0) } else { Script::whole(whole.to_string()) }
    })
    .await;
    let gateway = start(&mock, "").await;
    let mut paid = 0.0;
    for path in CLIENTS {
        for body in [ask(path, "quick", "Hello"), streamed(path, "quick")] {
            let told = gateway.post(path, body).await.text().await.unwrap();
            // Where bytes pass through they hold no count.
            let count = if told.contains("a word or two") { 4 } else { 20 };
            let is_told = told.contains(&format!("\"output_tokens\":{count},"));
            let is_told_last = told.contains(&format!("\"output_tokens\":{count}}}"));
            assert_eq!(is_told || is_told_last, path != "/v1/chat/completions", "{path}: {told}");
            settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
            let cost = cost(&gateway).await;
            // The answer's tokens alone, at a tenth of a cent each.
            assert!(cost > paid + 0.003, "{path}: {cost} after {paid}");
            paid = cost;
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_a_model_thinks_pays_for_its_prompt() {
    let mock = Mock::start(|_| claude(50, 100)).await;
    let gateway = start(&mock, "first_byte_timeout_ms = 20000").await;
    let body = streamed("/v1/messages", "thinker").to_string();
    let call = tokio::spawn(gateway.http.post(gateway.url("/v1/messages")).body(body).send());
    settle(|| mock.calls() == 1, "the call never began").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.abort();
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    assert!(cost(&gateway).await >= 5.0, "5,000 tokens at a tenth of a cent: {}", cost(&gateway).await);
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_whose_answer_ends_a_moment_late_is_used_again() {
    let mock = Mock::start(|_| Script { end_ms: 50, ..gpt(0, 2, 0) }).await;
    let gateway = start(&mock, "").await;
    // One client connection, so one lane.
    for path in ["/v1/chat/completions", "/v1/messages"] {
        for _ in 0..5 {
            let stream = gateway.post(path, streamed(path, "quick")).await.text().await.unwrap();
            assert_eq!(streamed_text(path, &stream), "wordword");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(mock.connections() <= 2, "{} connections", mock.connections());
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_passes_to_a_client_who_may_know_better() {
    let odd =
        json!({ "choices": [{ "message": "word" }], "usage": { "prompt_tokens": null, "completion_tokens": 12.0 } });
    let body = odd.to_string();
    let mock = Mock::start(move |_| Script::whole(body.clone())).await;
    let gateway = start(&mock, "").await;
    let path = "/v1/chat/completions";
    let answer: Value = gateway.post(path, ask(path, "quick", "Hello")).await.json().await.unwrap();
    assert_eq!(answer, odd);
    assert_eq!(mock.calls(), 1);
    let response = gateway.post("/v1/messages", ask("/v1/messages", "quick", "Hello")).await;
    assert_eq!(response.status(), 502, "there is nothing to translate");
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_vendor_says_of_our_key_is_not_passed_on_with_embeddings_either() {
    let gateway = TestGateway::start("[providers.openai]\nheaders = { x-sandbox-fault = 'status:401' }").await;
    let body = json!({ "model": "openai/text-embedding-3-small", "input": "one" });
    let response = gateway.post("/v1/embeddings", body).await;
    assert_eq!(response.status(), 502);
    assert_eq!(error("/v1/embeddings", &response.json().await.unwrap()), "openai: it refuses our key");
    let metrics = gateway.admin("/metrics").await;
    assert!(
        metrics.contains(r#"pointsman_upstream_errors_total{model="openai",kind="authentication"} 1"#),
        "{metrics}"
    );
    assert!(!metrics.contains("pointsman_rejected_total{"), "a model was asked: {metrics}");
    gateway.stop().await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_patience_with_a_first_request() {
    let gateway = TestGateway::start("[server]\nheader_timeout_s = 1\nkeep_alive_s = 4").await;
    let mut client = tokio::net::TcpStream::connect(gateway.app.proxy).await.unwrap();
    let mut buffer = [0; 4096];
    for _ in 0..2 {
        client.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let read = client.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..read]));
        tokio::time::sleep(Duration::from_millis(2000)).await;
    }
    let mut slow = tokio::net::TcpStream::connect(gateway.app.proxy).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), slow.read(&mut buffer)).await.unwrap();
    assert!(!ended.is_ok_and(|read| read > 0), "a first head that never ends");
    gateway.stop().await;
}

#[tokio::test]
async fn a_hand_over_lets_go_of_the_call_when_the_client_does() {
    let mock = Mock::start(|_| claude(100, 100)).await;
    let gateway = start(&mock, "sign_of_life_ms = 150").await;
    let mut stream = gateway.post("/v1/messages", streamed("/v1/messages", "thinker")).await.bytes_stream();
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: message_start"));
    drop(stream);
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    assert!(cost(&gateway).await >= 5.0);
    gateway.stop().await;
}
