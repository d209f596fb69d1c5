//! What is recorded of a request, and what people say of it.

use pointsman::protocol::DecisionId;
use pointsman::store::{DecisionRecord, Entry, Mode, OutcomeRecord, OutcomeStatus, Scope, Signal};
use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::{TestGateway, ask};

/// Everything written so far, joined.
async fn entry(gateway: &TestGateway, id: &str) -> Entry {
    gateway.app.gateway.recorder.flush().await.unwrap();
    let id: DecisionId = id.parse().unwrap();
    gateway.app.gateway.store.entry(id).unwrap().unwrap()
}

async fn chat(gateway: &TestGateway, body: Value) -> String {
    let response = gateway.post("/v1/chat/completions", body).await;
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-pointsman-decision"].to_str().unwrap().to_owned();
    response.text().await.unwrap();
    id
}

#[tokio::test]
async fn decision_outcome_and_feedback_come_together_and_hold_no_prompt() {
    let gateway = TestGateway::start("").await;
    let id = chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "a secret question")).await;
    let answer = gateway.post("/api/feedback", json!({ "decision_id": id, "rating": 4, "id": "f1" })).await;
    assert_eq!(answer.status(), 200);
    let told: Value = answer.json().await.unwrap();
    assert_eq!((&told["stored"], &told["duplicate"]), (&json!(true), &json!(false)));
    let entry = entry(&gateway, &id).await;
    assert_eq!(entry.decision.mode, Mode::Named);
    assert_eq!(entry.decision.chosen.as_str(), "gpt-4o");
    assert_eq!(entry.decision.prompt, None);
    assert!(entry.decision.request.question.is_some() && entry.decision.request.conversation.is_some());
    assert_eq!(entry.verdict(), Some(0.75));
    let outcome = entry.outcome.clone().unwrap();
    assert_eq!(outcome.status, OutcomeStatus::Ok);
    assert!(outcome.usage.unwrap().output_tokens > 0 && outcome.cost_usd.unwrap() > 0.0);
    assert!(!format!("{entry:?}").contains("a secret question"));
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_whose_question_came_again_is_told_as_such() {
    let gateway = TestGateway::start("").await;
    let mut body = ask("/v1/chat/completions", "gpt-4o", "why?");
    body["user"] = json!("u1");
    let first = chat(&gateway, body.clone()).await;
    chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "why?")).await;
    let told = async |id: &str| -> Value {
        gateway.app.gateway.recorder.flush().await.unwrap();
        serde_json::from_str(&gateway.admin(&format!("/api/admin/decisions/{id}")).await).unwrap()
    };
    assert_eq!(told(&first).await["outcome"]["signals"], Value::Null, "somebody else asked the same");
    let second = chat(&gateway, body).await;
    assert_eq!(told(&first).await["outcome"]["signals"], json!(["asked_again"]));
    assert_eq!(told(&second).await["outcome"]["signals"], Value::Null);
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_loop_asks_once() {
    let gateway = TestGateway::start("").await;
    let mut body = ask("/v1/chat/completions", "gpt-4o", "what time is it?");
    body["tools"] =
        json!([{ "type": "function", "function": { "name": "clock", "parameters": { "type": "object" } } }]);
    let asked = chat(&gateway, body.clone()).await;
    let call = json!({ "id": "c1", "type": "function", "function": { "name": "clock", "arguments": "{}" } });
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
    turns.push(json!({ "role": "tool", "tool_call_id": "c1", "content": "five" }));
    let went_on = chat(&gateway, body).await;
    assert!(entry(&gateway, &asked).await.decision.request.question.is_some());
    assert_eq!(entry(&gateway, &went_on).await.decision.request.question, None, "nobody asks again with a result");
    gateway.stop().await;
}

#[tokio::test]
async fn prompts_are_kept_where_the_operator_wants_them() {
    let gateway = TestGateway::start("[store]\nprompts = true").await;
    let id = chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "why is the sky blue?")).await;
    assert_eq!(entry(&gateway, &id).await.decision.prompt.as_deref(), Some("why is the sky blue?"));
    // Without what a client adds to it.
    let mut reminded = ask("/v1/messages", "claude-sonnet", "");
    let parts = ["<system-reminder>\nBe brief.\n</system-reminder>\n", "why is grass green?"];
    reminded["messages"][0]["content"] = parts.map(|text| json!({ "type": "text", "text": text })).to_vec().into();
    let response = gateway.post("/v1/messages", reminded).await;
    let id = response.headers()["x-pointsman-decision"].to_str().unwrap().to_owned();
    response.bytes().await.unwrap();
    assert_eq!(entry(&gateway, &id).await.decision.prompt.as_deref(), Some("why is grass green?"));
    gateway.stop().await;
}

#[tokio::test]
async fn feedback_is_idempotent_and_unknown_decisions_are_told() {
    let gateway = TestGateway::start("").await;
    let id = chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "hi")).await;
    let give = |body: Value| gateway.post("/api/feedback", body);
    give(json!({ "decision_id": id, "thumbs": "up", "id": "one" })).await;
    let again: Value = give(json!({ "decision_id": id, "thumbs": "down", "id": "one" })).await.json().await.unwrap();
    assert_eq!(again["duplicate"], true);
    assert_eq!(entry(&gateway, &id).await.verdict(), Some(1.0));
    // The last word of a source counts, and another source is averaged in.
    give(json!({ "decision_id": id, "score": 0.5 })).await;
    give(json!({ "decision_id": id, "correct": false, "source": "judge" })).await;
    assert_eq!(entry(&gateway, &id).await.verdict(), Some(0.25));
    let unknown = give(json!({ "decision_id": uuid::Uuid::now_v7().to_string(), "score": 1 })).await;
    assert_eq!(unknown.status(), 404);
    for wrong in [json!({ "decision_id": id }), json!({ "decision_id": id, "score": 1.5 }), json!([])] {
        assert_eq!(give(wrong).await.status(), 400);
    }
    let metrics = gateway.admin("/metrics").await;
    assert!(metrics.contains("pointsman_log_written_total{record=\"feedback\"} 3"), "{metrics}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_caller_that_only_asked_may_report_what_happened() {
    let gateway = TestGateway::start("[budget]\nusd_per_day = 100.0\n[aliases]\nours = 'auto'").await;
    let asked: Value = gateway.post("/api/route", ask("/api/chat", "gpt-4o", "hi")).await.json().await.unwrap();
    let id = asked["decision_id"].as_str().unwrap();
    let usage = json!({ "input_tokens": 1_000_000, "output_tokens": 0 });
    let body = json!({ "decision_id": id, "status": "ok", "latency_ms": 120.0, "usage": usage });
    assert_eq!(gateway.post("/api/outcomes", body).await.status(), 202);
    let entry_of = entry(&gateway, id).await;
    assert!(entry_of.decision.request.dry_run);
    let outcome = entry_of.outcome.unwrap();
    assert_eq!((outcome.latency_ms, outcome.cost_usd), (Some(120.0), Some(2.5)), "priced as configured");
    let inner = &gateway.app.gateway;
    assert!(inner.budgets.status(0.0)[0].ahead_usd > 2.0, "{:?}", inner.budgets.status(0.0));
    assert!(inner.speeds.expect(&"gpt-4o".into(), 100.0).is_some_and(|took| took > 0.1), "it was measured");
    for (name, told) in [("openai/gpt-4o", 202), ("openai/gpt-5", 404), ("auto", 404), ("ours", 404)] {
        let other = json!({ "decision_id": id, "status": "ok", "model": name });
        assert_eq!(gateway.post("/api/outcomes", other).await.status(), told, "{name}");
    }
    let model = entry(&gateway, id).await.outcome.unwrap().model;
    assert_eq!(model.unwrap().as_str(), "gpt-4o");
    let timeout = json!({ "decision_id": id, "status": "timeout" });
    assert_eq!(gateway.post("/api/outcomes", timeout).await.status(), 202);
    assert_eq!(entry(&gateway, id).await.outcome.unwrap().signals, [Signal::Timeout], "the later one counts");
    assert_eq!(gateway.post("/api/feedback", json!({ "decision_id": id, "score": 1.0 })).await.status(), 200);
    let own = chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "hi")).await;
    let refused = gateway.post("/api/outcomes", json!({ "decision_id": own, "status": "ok" })).await;
    assert_eq!(refused.status(), 400, "the gateway knows better");
    let unknown = json!({ "decision_id": uuid::Uuid::now_v7().to_string(), "status": "ok" });
    assert_eq!(gateway.post("/api/outcomes", unknown).await.status(), 404);
    gateway.stop().await;
}

#[tokio::test]
async fn a_conversation_whose_calls_the_caller_makes_stays_on_its_model() {
    let gateway = TestGateway::start("").await;
    let turns = ["What is a monad?", "Shorter, please.", "And in Haskell?"];
    for number in 0..5 {
        let mut on: Option<Value> = None;
        for turn in 0..turns.len() {
            let mut messages = Vec::new();
            for said in &turns[..turn] {
                messages.push(json!({ "role": "user", "content": said }));
                messages.push(json!({ "role": "assistant", "content": "Well ..." }));
            }
            messages.push(json!({ "role": "user", "content": turns[turn] }));
            // The best is chosen at once: from a try-out the conversation may move on.
            let routing = json!({ "conversation": format!("talk-{number}"), "explore": false });
            let body = json!({ "model": "auto", "messages": messages, "routing": routing });
            let asked: Value = gateway.post("/api/route", body).await.json().await.unwrap();
            if let Some(on) = &on {
                assert_eq!((&asked["chosen"], &asked["mode"]), (on, &json!("sticky")), "turn {turn}");
            }
            on = Some(asked["chosen"].clone());
            let usage = json!({ "input_tokens": 20_000, "output_tokens": 500 });
            let report = json!({ "decision_id": asked["decision_id"], "status": "ok", "usage": usage });
            assert_eq!(gateway.post("/api/outcomes", report).await.status(), 202);
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_absurd_report_is_refused_and_moves_nobody() {
    let gateway = TestGateway::start("[budget]\nusd_per_day = 10.0").await;
    for _ in 0..3 {
        let asked: Value = gateway.post("/api/route", ask("/api/chat", "gpt-4o", "hi")).await.json().await.unwrap();
        let id = asked["decision_id"].as_str().unwrap();
        let counted = json!({ "input_tokens": u64::MAX, "output_tokens": 1 });
        for (key, value) in [("cost_usd", json!(1e308)), ("usage", counted), ("latency_ms", json!(1e15))] {
            let mut report = json!({ "decision_id": id, "status": "ok" });
            report[key] = value;
            let refused = gateway.post("/api/outcomes", report).await;
            assert_eq!(refused.status(), 400, "{key}");
            let told: Value = refused.json().await.unwrap();
            assert!(told["error"]["param"].as_str().is_some_and(|param| param.starts_with(key)), "{told}");
        }
        assert!(entry(&gateway, id).await.outcome.is_none());
    }
    assert_eq!(gateway.app.gateway.budgets.price(0.0), 0.0);
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_reported_counts_alike_before_and_after_a_restart() {
    let (gateway, tokens) = TestGateway::with_tokens("[limits]\nusd_per_day = 0.5", &[("a", &[Scope::Chat])]).await;
    let http = gateway.http.clone();
    let post = async |proxy: std::net::SocketAddr, path: &str, body: Value| {
        let request = http.post(format!("http://{proxy}{path}")).bearer_auth(&tokens[0]).body(body.to_string());
        request.send().await.unwrap()
    };
    let proxy = gateway.app.proxy;
    let dry_run = || ask("/api/chat", "gpt-4o", "hi");
    let asked: Value = post(proxy, "/api/route", dry_run()).await.json().await.unwrap();
    let report = |cost: f64| json!({ "decision_id": asked["decision_id"], "status": "ok", "cost_usd": cost });
    assert_eq!(post(proxy, "/api/outcomes", report(0.9)).await.status(), 202);
    assert_eq!(post(proxy, "/api/route", dry_run()).await.status(), 429);
    let args = gateway.args.clone();
    let (dir, sandbox) = gateway.stop_and_keep().await;
    let app = pointsman::app::App::start(args.clone(), pointsman::config::load(&args).unwrap()).await.unwrap();
    assert_eq!(post(app.proxy, "/api/route", dry_run()).await.status(), 429);
    // What is put right is right at once.
    assert_eq!(post(app.proxy, "/api/outcomes", report(0.1)).await.status(), 202);
    assert_eq!(post(app.proxy, "/api/route", dry_run()).await.status(), 200);
    app.stop().await;
    sandbox.stop().await;
    drop(dir);
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_spent_is_not_owed_anew_after_a_restart() {
    assert_eq!(asked_after_a_restart(8_640_000, 8_640_000).await, 200);
}

#[tokio::test]
async fn what_the_log_has_beyond_what_was_saved_is_owed_after_a_restart() {
    // As if the gateway had crashed: the answer ended after the last save, which here is that of the stop.
    assert_eq!(asked_after_a_restart(0, 60).await, 429);
}

/// The status of a request after a restart, where an answer in the log has spent more than a day's limit. It was begun
/// and has ended so many seconds after now.
async fn asked_after_a_restart(begun_s: u64, ended_s: u64) -> u16 {
    let gateway = TestGateway::start("[limits]\nusd_per_day = 0.5").await;
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let id = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, now_s + begun_s, 0));
    let (begun_ms, ended_ms) = ((now_s + begun_s) * 1000, (now_s + ended_s) * 1000);
    let decision = json!({ "id": id, "at_ms": begun_ms, "chosen": "gpt-4o", "request": {} });
    let outcome = json!({ "id": id, "at_ms": ended_ms, "status": "ok", "cost_usd": 0.6 });
    let decision: DecisionRecord = serde_json::from_value(decision).unwrap();
    let outcome: OutcomeRecord = serde_json::from_value(outcome).unwrap();
    gateway.app.gateway.store.append(&[decision], &[outcome], &mut []).unwrap();
    let (args, http) = (gateway.args.clone(), gateway.http.clone());
    let (dir, sandbox) = gateway.stop_and_keep().await;
    let app = pointsman::app::App::start(args.clone(), pointsman::config::load(&args).unwrap()).await.unwrap();
    assert_eq!(app.gateway.store.newest_ms().unwrap(), Some(begun_ms as i64));
    let body = ask("/api/chat", "gpt-4o", "hi").to_string();
    let answer = http.post(format!("http://{}/api/chat", app.proxy)).body(body).send().await.unwrap();
    app.stop().await;
    sandbox.stop().await;
    drop(dir);
    answer.status().as_u16()
}

#[tokio::test]
async fn feedback_has_a_scope_of_its_own() {
    let (gateway, tokens) =
        TestGateway::with_tokens("", &[("chat", &[Scope::Chat]), ("rate", &[Scope::Feedback])]).await;
    let body = json!({ "decision_id": uuid::Uuid::now_v7().to_string(), "score": 1 });
    let give = |token: &String| {
        gateway.http.post(gateway.url("/api/feedback")).bearer_auth(token).body(body.to_string()).send()
    };
    assert_eq!(give(&tokens[0]).await.unwrap().status(), 403);
    assert_eq!(give(&tokens[1]).await.unwrap().status(), 404, "let in, and the decision is unknown");
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_disk_answers_go_on_and_feedback_is_not_acknowledged() {
    // A file where the log's directory should be: it cannot be written, whoever runs the test.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sandbox")).unwrap();
    std::fs::write(dir.path().join("sandbox/log"), "x").unwrap();
    let gateway = TestGateway::start(&format!("[server]\ndata_dir = '{}'", dir.path().display())).await;
    let id = chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "hi")).await;
    let answer = gateway.post("/api/feedback", json!({ "decision_id": id, "score": 1 })).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let health: Value = gateway.http.get(gateway.url("/health")).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["store"]["durable"], false);
    gateway.stop().await;
}

#[tokio::test]
async fn a_broken_answer_leaves_its_signal() {
    let gateway = TestGateway::start("").await;
    let mut body = ask("/v1/chat/completions", "gpt-4o", "give me prose");
    body["response_format"] = json!({ "type": "json_object" });
    let id = chat(&gateway, body.clone()).await;
    let whole = entry(&gateway, &id).await.outcome.unwrap().signals;
    body["stream"] = json!(true);
    let id = chat(&gateway, body).await;
    let streamed = entry(&gateway, &id).await.outcome.unwrap().signals;
    assert_eq!(whole, streamed, "a stream is judged as a whole answer is");
    gateway.stop().await;
}

#[tokio::test]
async fn a_blank_answer_leaves_its_signal_streamed_or_whole() {
    let mock = Mock::start(|body| {
        if body.contains("\"stream\":true") {
            return Script::openai([" ", "\n"].map(|text| (0, text.into())));
        }
        let message = json!({ "role": "assistant", "content": " \n" });
        let answer = json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] });
        Script::whole(answer.to_string())
    })
    .await;
    let gateway = TestGateway::before(&mock.openai("gpt"), "[models.blank]\nprovider = 'gpt'\n").await;
    for stream in [false, true] {
        let mut body = ask("/v1/chat/completions", "blank", "hi");
        body["stream"] = json!(stream);
        let id = chat(&gateway, body).await;
        assert_eq!(entry(&gateway, &id).await.outcome.unwrap().signals, [Signal::Empty], "stream: {stream}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart() {
    let gateway = TestGateway::start("").await;
    let id = chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "hi")).await;
    let gateway = gateway.restart().await;
    assert!(entry(&gateway, &id).await.outcome.is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn a_damaged_log_is_set_aside_and_answers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("sandbox/log");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("db"), [0xa5; 4096]).unwrap();
    std::fs::write(log.join("conf"), "no configuration").unwrap();
    let gateway = TestGateway::start(&format!("[server]\ndata_dir = '{}'", dir.path().display())).await;
    let health: Value = gateway.http.get(gateway.url("/health")).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["store"]["durable"], true, "{health}");
    assert!(health["store"]["status"].as_str().unwrap().contains("set aside"), "{health}");
    let kept = std::fs::read_dir(dir.path().join("sandbox"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert!(kept.filter(|name| name.starts_with("log.broken-")).count() == 1, "the damaged one is kept");
    let id = chat(&gateway, ask("/v1/chat/completions", "gpt-4o", "hi")).await;
    assert_eq!(gateway.post("/api/feedback", json!({ "decision_id": id, "score": 1 })).await.status(), 200);
    gateway.stop().await;
}
