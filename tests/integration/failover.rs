//! Hostile upstreams: with one healthy candidate left the client gets a good answer; with none, a prompt error in its
//! dialect with the causes.

use std::time::{Duration, Instant};

use pointsman::protocol::ErrorKind;
use pointsman::sandbox::{Fault, Times};
use pointsman::upstream::CallVerdict;
use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::{CLIENTS, TestGateway, ask, error, events, nobody, settle, streamed_text, text};

/// `gpt-4o` first, then `claude-sonnet-5-5`, whatever the draw.
const IN_ORDER: &str = "
[[rules]]
name = 'in order'
prefer = ['gpt-4o', 'claude-sonnet-5-5']
[routing]
max_candidates = 2
[dispatch.breaker]
consecutive_failures = 1000
window = 1000
";

const FAULTS: [Fault; 16] = [
    Fault::Refuse,
    Fault::HangBeforeHeaders,
    Fault::HangAfterHeaders,
    Fault::Status { status: 429, retry_after: None },
    Fault::Status { status: 429, retry_after: Some(30) },
    Fault::Status { status: 500, retry_after: None },
    Fault::Status { status: 503, retry_after: None },
    Fault::Status { status: 529, retry_after: None },
    Fault::Status { status: 401, retry_after: None },
    Fault::Garbage,
    Fault::Cut { after: 0 },
    Fault::OkThenError,
    Fault::WrongContentType,
    Fault::ContextOverflow,
    Fault::StreamError { after: 0 },
    Fault::Huge { mib: 66 },
];

/// Faults that only a stream can have leave whole answers alone.
fn spoils(fault: &Fault, stream: bool) -> bool {
    stream || !matches!(fault, Fault::StreamError { .. })
}

#[tokio::test]
async fn one_healthy_model_is_enough() {
    // A prompt that is too long for one model goes to a larger one only.
    let gateway = TestGateway::start(IN_ORDER).await;
    for fault in FAULTS {
        for (path, stream) in CLIENTS.into_iter().flat_map(|path| [(path, false), (path, true)]) {
            gateway.reset_breakers();
            gateway.sandbox.faults().set("gpt-4o", fault.clone(), Times::Always);
            let mut body = ask(path, "auto", "Hello");
            body["stream"] = json!(stream);
            let response = gateway.post(path, body).await;
            let status = response.status();
            let model = response.headers().get("x-pointsman-model").cloned();
            let answer = response.text().await.unwrap();
            assert_eq!(status, 200, "{fault:?} {path} {stream}: {answer}");
            let said = if stream {
                streamed_text(path, &answer)
            } else {
                text(path, &serde_json::from_str(&answer).unwrap())
            };
            assert!(said.starts_with("[sandbox"), "{fault:?} {path} {stream}: {answer}");
            let expected = if spoils(&fault, stream) { "claude-sonnet-5-5" } else { "gpt-4o" };
            assert_eq!(model.unwrap(), expected, "{fault:?} {path} {stream}");
            if path == "/api/chat" {
                let end =
                    if stream { events(&answer).pop().unwrap() } else { serde_json::from_str(&answer).unwrap() };
                let routing: &Value = &end["routing"];
                assert_eq!((&routing["chosen"], &routing["model"]), (&json!("gpt-4o"), &json!(expected)));
                assert!(routing["backend"].as_str().unwrap().ends_with(expected), "{routing}");
                let moved = routing["reason"] == "failover from gpt-4o";
                assert_eq!(moved, expected != "gpt-4o", "{routing}");
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn with_no_healthy_model_the_error_is_prompt_and_tells_the_causes() {
    let gateway = TestGateway::start(IN_ORDER).await;
    for fault in FAULTS {
        for (path, stream) in CLIENTS.into_iter().flat_map(|path| [(path, false), (path, true)]) {
            if !spoils(&fault, stream) {
                continue;
            }
            gateway.reset_breakers();
            gateway.sandbox.faults().set("*", fault.clone(), Times::Always);
            let mut body = ask(path, "auto", "Hello");
            body["stream"] = json!(stream);
            let started = Instant::now();
            let response = gateway.post(path, body).await;
            assert!(started.elapsed() < Duration::from_secs(6), "{fault:?}");
            let status = response.status().as_u16();
            assert!(status >= 400, "{fault:?} {path}");
            let message = error(path, &response.json().await.unwrap());
            assert!(message.contains("gpt-4o"), "{fault:?}: {message}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_vendor_says_of_our_key_is_not_passed_on() {
    let gateway = TestGateway::start(IN_ORDER).await;
    for (status, words) in [(401, "it refuses our key"), (403, "it does not permit us this call")] {
        gateway.sandbox.faults().set("*", Fault::Status { status, retry_after: None }, Times::Always);
        for path in CLIENTS {
            let response = gateway.post(path, ask(path, "gpt-4o", "Hello")).await;
            assert_eq!(response.status(), 502, "{path}");
            let told = error(path, &response.json().await.unwrap());
            assert_eq!(told, format!("openai/gpt-4o: {words}"), "{path}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_failure_that_will_last_says_that_asking_again_is_in_vain() {
    let gateway = TestGateway::start(IN_ORDER).await;
    for (model, status, lasts) in
        [("gpt-4o", 401, true), ("gpt-4o", 404, true), ("gpt-4o", 500, false), ("auto", 401, false)]
    {
        gateway.sandbox.faults().set("*", Fault::Status { status, retry_after: None }, Times::Always);
        for path in CLIENTS {
            let response = gateway.post(path, ask(path, model, "Hello")).await;
            assert_eq!(response.status(), 502, "{path} {model} {status}");
            let told = response.headers().get("x-should-retry").map(|told| told.to_str().unwrap());
            // Of more models than are tried for a request another may be drawn the next time.
            assert_eq!(told, lasts.then_some("false"), "{path} {model} {status}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn models_that_are_passed_over_are_no_failovers() {
    // The second has no larger context than the first, and is not asked.
    let gateway = TestGateway::start(
        "[[rules]]\nname = 'r'\nprefer = ['gpt-4o', 'gpt-4o-mini', 'claude-sonnet-5-5']\n[routing]\nmax_candidates = 3",
    )
    .await;
    gateway.sandbox.faults().set("gpt-4o", Fault::ContextOverflow, Times::Always);
    let long = "word ".repeat(80_000);
    let response = gateway.post("/api/chat", ask("/api/chat", "auto", &long)).await;
    assert_eq!(response.headers()["x-pointsman-model"], "claude-sonnet-5-5");
    assert_eq!(gateway.metric("pointsman_failovers_total").await, 1.0);
    // Of a short prompt it is not the declared window that is too small.
    let response = gateway.post("/api/chat", ask("/api/chat", "auto", "Hello")).await;
    assert_eq!(response.headers()["x-pointsman-model"], "gpt-4o-mini");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_an_account_of_what_was_tried() {
    let settings = format!("{IN_ORDER}[dispatch]\nattempts_per_model = 1\nwhole_answer_timeout_ms = 5000\n");
    let gateway = TestGateway::start(&settings).await;
    gateway.sandbox.faults().set("gpt-4o", Fault::Status { status: 500, retry_after: None }, Times::Always);
    gateway.sandbox.faults().set("claude-sonnet-5-5", Fault::HangBeforeHeaders, Times::Always);
    let asked = gateway.http.post(gateway.url("/api/chat")).body(ask("/api/chat", "auto", "Hello").to_string());
    asked.timeout(Duration::from_millis(500)).send().await.unwrap_err();
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "the request did not end").await;
    for (metric, count) in [("retries", 1.0), ("failovers", 1.0), ("upstream_errors", 1.0)] {
        assert_eq!(gateway.metric(&format!("pointsman_{metric}_total")).await, count, "{metric}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_rest_is_waited_for_where_the_models_after_it_are_too_small() {
    let overflow = r#"{"error":{"code":"context_length_exceeded","message":"no"}}"#;
    let small = Mock::start(move |_| Script { head_ms: 300, ..Script::whole(overflow) }).await;
    let gateway = TestGateway::before(
        &small.openai("small"),
        "[models.small]\nprovider = 'small'\ncontext = 128000\n[routing]\nmax_candidates = 3\n\
         [[rules]]\nname = 'r'\nprefer = ['small', 'claude-sonnet-5-5', 'gpt-4o-mini']\n",
    )
    .await;
    let long = "word ".repeat(80_000);
    let asked = gateway.post("/api/chat", ask("/api/chat", "auto", &long));
    let second_rests = async {
        settle(|| small.calls() == 1, "the first was not asked").await;
        let now = Instant::now();
        let rest = CallVerdict::Rest(ErrorKind::RateLimited, Some(Duration::from_millis(1500)));
        let live = gateway.app.gateway.live();
        live.catalog.find("claude-sonnet-5-5").unwrap().deployments[0].admit(now).unwrap().settle(&rest, now, 0);
    };
    let (response, ()) = tokio::join!(asked, second_rests);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-pointsman-model"], "claude-sonnet-5-5");
    gateway.stop().await;
}

#[tokio::test]
async fn a_passing_fault_is_retried() {
    let gateway = TestGateway::start("").await;
    let fault = Fault::Status { status: 503, retry_after: None };
    gateway.sandbox.faults().set("gpt-4o", fault, Times::First(1));
    let response = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(gateway.metric("pointsman_retries_total").await, 1.0);
    gateway.stop().await;
}

#[tokio::test]
async fn the_worst_case_of_upstream_calls_is_kept() {
    let gateway =
        TestGateway::start("[dispatch]\nmax_attempts = 3\nattempts_per_model = 2\n[routing]\nmax_candidates = 4")
            .await;
    gateway.sandbox.faults().set("*", Fault::Status { status: 500, retry_after: None }, Times::Always);
    let before = gateway.sandbox.seen().iter().filter(|seen| seen.path.contains("c")).count();
    gateway.post("/api/chat", ask("/api/chat", "auto", "Hello")).await;
    let chats = gateway.sandbox.seen().len() - before;
    assert!(chats <= 3 + 3, "{chats} calls");
    let posts = gateway.sandbox.seen().iter().filter(|seen| seen.body["messages"].is_array()).count();
    assert_eq!(posts, 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_wrong_request_is_told_at_once() {
    let gateway = TestGateway::start(IN_ORDER).await;
    gateway.sandbox.faults().set("*", Fault::Status { status: 422, retry_after: None }, Times::Always);
    let response = gateway.post("/v1/chat/completions", ask("/v1/chat/completions", "auto", "Hello")).await;
    assert_eq!(response.status(), 422, "in the vendor's own words");
    let posts = gateway.sandbox.seen().iter().filter(|seen| seen.body["messages"].is_array()).count();
    assert_eq!(posts, 1, "another model would refuse it too");
    gateway.stop().await;
}

#[tokio::test]
async fn a_field_that_one_model_does_not_take_is_left_to_the_next_one() {
    let refusal = json!({ "error": {
        "message": "Unsupported parameter: 'stop'", "type": "invalid_request_error", "param": "stop",
        "code": "unsupported_parameter",
    } });
    let body = refusal.to_string();
    let mock = Mock::start(move |_| Script { status: 400, ..Script::whole(body.clone()) }).await;
    let picky = format!("[providers.picky]\nbase_url = 'http://{}/v1'\n", mock.address);
    let models = "[models.picky]\nprovider = 'picky'\n\
        [[rules]]\nname = 'in order'\nprefer = ['picky', 'gpt-4o']\n[routing]\nmax_candidates = 2\n\
        [dispatch.breaker]\nconsecutive_failures = 1\n";
    let gateway = TestGateway::before(&picky, models).await;
    let path = "/v1/chat/completions";
    let with_stop = |model: &str| {
        let mut body = ask(path, model, "Hello");
        body["stop"] = json!(["zzz"]);
        body
    };
    for calls in 1..=2 {
        let response = gateway.post(path, with_stop("auto")).await;
        assert_eq!((response.status().as_u16(), mock.calls()), (200, calls), "the breaker stays closed");
        assert_eq!(response.headers()["x-pointsman-model"], "gpt-4o");
    }
    let response = gateway.post(path, with_stop("picky")).await;
    assert_eq!((response.status().as_u16(), mock.calls()), (400, 3));
    let told: Value = response.json().await.unwrap();
    assert_eq!((&told["error"]["param"], &told["error"]["code"]), (&json!("stop"), &json!("unsupported_parameter")));
    gateway.stop().await;
}

#[tokio::test]
async fn a_breaker_opens_and_a_probe_closes_it() {
    let gateway = TestGateway::start(
        "[dispatch]\nattempts_per_model = 1\n[dispatch.breaker]\nconsecutive_failures = 3\nopen_ms = 200\n[routing]\nmax_candidates = 1",
    )
    .await;
    gateway.sandbox.faults().set("gpt-4o", Fault::Status { status: 500, retry_after: None }, Times::First(3));
    let status = async || gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await.status().as_u16();
    for _ in 0..3 {
        assert_eq!(status().await, 502);
    }
    let seen = gateway.sandbox.seen().len();
    let response = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await;
    assert_eq!(response.status(), 503, "the breaker is open");
    assert_eq!(response.headers()["retry-after"], "1", "and says for how long");
    assert_eq!(gateway.sandbox.seen().len(), seen, "nobody was called");
    assert_eq!(gateway.metric("pointsman_breaker{model=\"gpt-4o\"").await, 2.0);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(status().await, 200, "the probe");
    assert_eq!(gateway.metric("pointsman_breaker{model=\"gpt-4o\"").await, 0.0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_long_retry_after_rests_the_place() {
    let gateway = TestGateway::start("").await;
    gateway.sandbox.faults().set("gpt-4o", Fault::Status { status: 429, retry_after: Some(30) }, Times::First(1));
    let response = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "30");
    let response = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await;
    assert_eq!(response.status(), 429, "as who brought it about was told");
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    let answer: Value = response.json().await.unwrap();
    assert!(error("/api/chat", &answer).contains("asked for a pause"), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn while_a_vendor_that_refused_our_key_rests_no_client_is_told_that_theirs_is_wrong() {
    for refused in [401, 402, 403] {
        let gateway = TestGateway::start("").await;
        let fault = Fault::Status { status: refused, retry_after: Some(30) };
        gateway.sandbox.faults().set("gpt-4o", fault, Times::First(1));
        let first = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await;
        assert_eq!(first.status(), 502, "{refused}");
        for path in CLIENTS {
            let response = gateway.post(path, ask(path, "gpt-4o", "Hello")).await;
            assert_eq!(response.status(), 502, "{refused} {path}: as who brought it about was told");
            assert!(response.headers().contains_key("retry-after"));
            let answer: Value = response.json().await.unwrap();
            assert!(error(path, &answer).contains("asked for a pause"), "{answer}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_short_rest_that_another_request_brought_about_is_waited_for() {
    // The first fails at once, its place rests, and it may not try again.
    let gateway = TestGateway::start("[dispatch]\nmax_attempts = 1").await;
    let fault = Fault::Status { status: 429, retry_after: Some(1) };
    gateway.sandbox.faults().set("gpt-4o", fault, Times::First(1));
    let status = async || gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await.status().as_u16();
    assert_eq!(status().await, 429);
    let started = Instant::now();
    assert_eq!(status().await, 200);
    assert!(started.elapsed() >= Duration::from_millis(800), "{:?}", started.elapsed());
    gateway.stop().await;
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for() {
    let gateway = TestGateway::start("").await;
    for (status, retry_after, least) in
        [(429, Some(1), 1000), (503, Some(1), 1000), (529, Some(1), 1000), (429, None, 400)]
    {
        gateway.sandbox.faults().set("gpt-4o", Fault::Status { status, retry_after }, Times::First(1));
        let started = Instant::now();
        let response = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await;
        assert_eq!(response.status(), 200, "{status} {retry_after:?}");
        assert!(
            started.elapsed() >= Duration::from_millis(least),
            "{status} {retry_after:?}: {:?}",
            started.elapsed()
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_place_that_is_down_for_long_is_not_asked_again() {
    let gateway = TestGateway::start("").await;
    gateway.sandbox.faults().set("gpt-4o", Fault::Status { status: 503, retry_after: Some(30) }, Times::First(1));
    assert_eq!(gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await.status(), 503);
    let posts = gateway.sandbox.seen().iter().filter(|seen| seen.body["messages"].is_array()).count();
    assert_eq!(posts, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn deployments_of_one_model_stand_in_for_each_other() {
    let other = TestGateway::start("").await;
    let url = other.sandbox.url(pointsman::sandbox::Vendor::OpenAi);
    let gateway = TestGateway::before(
        &format!("[providers.second]\nbase_url = '{url}'\nkey_env = 'POINTSMAN_SANDBOX_KEY'\n"),
        "[models.twin]\ndeployments = [{ provider = 'openai', upstream = 'a' }, { provider = 'second', upstream = 'b' }]\n",
    )
    .await;
    let status = |status| Fault::Status { status, retry_after: None };
    let refusals = [401, 402, 403, 404, 409, 413, 425, 429, 500].map(status);
    for fault in refusals.into_iter().chain([Fault::Refuse, Fault::ContextOverflow]) {
        gateway.sandbox.faults().set("a", fault.clone(), Times::Always);
        let asked = || gateway.sandbox.seen().iter().filter(|seen| seen.body["model"] == "a").count();
        let before = asked();
        for _ in 0..12 {
            let response = gateway.post("/api/chat", ask("/api/chat", "twin", "Hello")).await;
            assert_eq!(response.status(), 200, "{fault:?}");
            assert_eq!(response.headers()["x-pointsman-backend"], "second/b", "{fault:?}");
        }
        // Where it is preferred although each call to it is in vain, every request would take two.
        assert!(asked() - before < 12, "{fault:?}");
        gateway.reset_breakers();
    }
    gateway.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_demanded_call_is_asked_for_in_words_only_where_nobody_can_be_made_to_make_it() {
    let gateway = TestGateway::start(
        "[models.mixed]\ncan = ['tools']\ndeployments = [{ provider = 'openai', upstream = 'a' }, { provider = 'ollama', upstream = 'qwen3:4b' }]\n\
         [models.sure]\nprovider = 'openai'\nupstream = 'a'\ncan = ['tools']\n\
         [models.local]\nprovider = 'ollama'\nupstream = 'qwen3:4b'\ncan = ['tools']\n",
    )
    .await;
    let path = "/v1/chat/completions";
    let demand = async |model: &str, models: &str| {
        let mut body = ask(path, model, "Hello");
        body["tool_choice"] = "required".into();
        body["tools"] =
            ["look", "listen"].map(|name| json!({ "type": "function", "function": { "name": name } })).into();
        let request = gateway.http.post(gateway.url(path)).header("x-pointsman-models", models).json(&body);
        let response = request.send().await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
        };
        (response.status().as_u16(), header("x-pointsman-backend"), header("x-pointsman-dropped"))
    };
    let at = |backend: &str, dropped: &str| (200, backend.to_owned(), dropped.to_owned());
    let faults = gateway.sandbox.faults();
    for (model, models) in [("mixed", "mixed"), ("auto", "sure,local")] {
        assert_eq!(demand(model, models).await, at("openai/a", ""), "{model}");
        faults.set("a", Fault::Status { status: 429, retry_after: Some(1) }, Times::First(1));
        assert_eq!(demand(model, models).await, at("openai/a", ""), "{model}: a short rest is waited for");
        faults.set("a", Fault::Status { status: 500, retry_after: None }, Times::Always);
        assert_eq!(demand(model, models).await, at("ollama/qwen3:4b", "tool_choice"), "{model}");
        faults.clear();
        gateway.reset_breakers();
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_model_of_many_places_is_asked_at_each_of_them() {
    let places = ["a", "b", "c", "d"].map(|id| format!("{{ provider = 'openai', upstream = '{id}' }}")).join(", ");
    let gateway = TestGateway::start(&format!("[models.many]\ndeployments = [{places}]\n")).await;
    for id in ["a", "b", "c"] {
        gateway.sandbox.faults().set(id, Fault::Status { status: 500, retry_after: None }, Times::Always);
    }
    let response = gateway.post("/api/chat", ask("/api/chat", "many", "Hello")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-pointsman-backend"], "openai/d");
    gateway.stop().await;
}

#[tokio::test]
async fn a_whole_answer_may_take_longer_than_the_first_piece_of_a_stream() {
    let gateway = TestGateway::start("[dispatch]\nfirst_byte_timeout_ms = 100\nwhole_answer_timeout_ms = 4000").await;
    gateway.sandbox.faults().set("*", Fault::Drip { ms: 400 }, Times::Always);
    for path in CLIENTS {
        let response = gateway.post(path, ask(path, "gpt-4o", "hi")).await;
        assert_eq!(response.status(), 200, "{path}");
        let answer: Value = response.json().await.unwrap();
        assert!(text(path, &answer).contains("[sandbox"), "{path}: {answer}");
    }
    assert_eq!(gateway.metric("pointsman_retries_total").await, 0.0);
    gateway.stop().await;
}

const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"x","choices":[{"index":0,
    "message":{"role":"assistant","content":"from afar"},"finish_reason":"stop"}]}"#;

#[tokio::test]
async fn a_large_answer_that_finds_no_room_is_a_failed_call_and_small_ones_need_none() {
    let large = |ms: u64| {
        let whole = COMPLETION.replace("from afar", &"far ".repeat(400_000));
        let (first, last) = whole.split_at(1_500_000);
        Script { pieces: vec![(0, first.to_owned()), (ms, last.to_owned())], ..Script::whole("") }
    };
    let mock = Mock::start(move |body| {
        let asked: Value = serde_json::from_str(body).unwrap();
        match asked["model"].as_str().unwrap() {
            "hog" => large(60_000),
            "late" => Script { head_ms: 1500, ..large(0) },
            "large" => large(0),
            _ => Script::whole(COMPLETION),
        }
    })
    .await;
    let names = ["hog", "late", "large", "small"];
    let models: String = names.iter().map(|name| format!("[models.{name}]\nprovider = 'far'\n")).collect();
    let gateway = TestGateway::before(
        &mock.openai("far"),
        &format!(
            "{models}[[rules]]\nname = 'r'\nprefer = ['late', 'small']\n[routing]\nmax_candidates = 2\n\
             [dispatch]\nwhole_answer_timeout_ms = 3000\nmax_answer_mb = 4\nlarge_answers_mb = 4\n"
        ),
    )
    .await;
    let path = "/v1/chat/completions";
    let late = gateway.post(path, ask(path, "auto", "Hello"));
    let hog = async {
        settle(|| mock.calls() == 1, "the late one was not asked").await;
        gateway.post(path, ask(path, "hog", "Hello")).await
    };
    let (late, hog) = tokio::join!(late, hog);
    assert_eq!((late.status().as_u16(), hog.status().as_u16()), (200, 504));
    assert_eq!(late.headers()["x-pointsman-model"], "small");
    for _ in 0..2 {
        let large = gateway.post(path, ask(path, "large", "Hello")).await;
        assert_eq!(large.status(), 200, "there is room again");
        assert!(large.bytes().await.unwrap().len() > 1_600_000);
    }
    let hog = async { gateway.post(path, ask(path, "hog", "Hello")).await };
    let late = async {
        let pinned = gateway.post(path, ask(path, "late", "Hello"));
        error(path, &pinned.await.json().await.unwrap())
    };
    let (told, _) = tokio::join!(late, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        hog.await
    });
    assert!(told.contains("far/late: there was no room for its large answer"), "{told}");
    gateway.stop().await;
}

#[tokio::test]
async fn vendors_are_called_through_the_proxy_and_this_machine_without() {
    let proxy = Mock::start(|_| Script::whole(COMPLETION)).await;
    let gateway = TestGateway::before(
        "[providers.far]\nbase_url = 'http://api.vendor.invalid/v1'\n",
        &format!("[models.far]\nprovider = 'far'\n[dispatch]\nproxy = 'http://user:hush@{}'\nno_proxy = ['near.invalid']\n", proxy.address),
    )
    .await;
    let answer: Value = gateway.post("/api/chat", ask("/api/chat", "far", "Hello")).await.json().await.unwrap();
    assert_eq!((text("/api/chat", &answer).as_str(), proxy.calls()), ("from afar", 1));
    assert_eq!(gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "Hello")).await.status(), 200);
    assert_eq!(proxy.calls(), 1, "the sandbox is on this machine");
    let shown = gateway.admin("/api/admin/config").await;
    assert!(shown.contains("dispatch.proxy") && !shown.contains("hush"), "{shown}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_model_that_does_not_make_the_call_it_has_to_is_asked_once_and_shut_to_nobody() {
    let line = |message: Value, done: bool| {
        let why = done.then_some("stop");
        json!({ "model": "x", "message": message, "done": done, "done_reason": why }).to_string()
    };
    let thought = line(json!({ "thinking": "Hm." }), false);
    let prose = line(json!({ "content": "Sure!" }), true);
    let mock = Mock::start(move |body| {
        let body: Value = serde_json::from_str(body).unwrap();
        if body["stream"] != true {
            return Script::whole(prose.clone());
        }
        let words = if body.to_string().contains("Think") { vec![thought.clone()] } else { Vec::new() };
        let pieces = words.into_iter().chain([prose.clone()]).map(|line| (50, format!("{line}\n"))).collect();
        Script { media_type: "application/x-ndjson", ..Script::events(pieces) }
    })
    .await;
    let models = "[models.local]\nprovider = 'home'\ncan = ['tools', 'reasoning']\n\
        [dispatch.breaker]\nconsecutive_failures = 2\nopen_ms = 60000\n";
    let gateway = TestGateway::before(&mock.speaking("ollama", "home"), models).await;
    let path = "/v1/chat/completions";
    for (at, (question, stream)) in [("Go", false), ("Go", true), ("Think", true)].repeat(2).into_iter().enumerate() {
        let mut body = ask(path, "local", question);
        body["stream"] = stream.into();
        body["tool_choice"] = "required".into();
        body["tools"] = json!([{ "type": "function", "function": { "name": "look" } }]);
        let response = gateway.post(path, body).await;
        assert_eq!(response.status(), if question == "Think" { 200 } else { 502 });
        let told = response.text().await.unwrap();
        assert!(told.contains("the tool call that was demanded"), "{told}");
        assert_eq!(mock.calls(), at + 1, "the same would be said again");
    }
    assert_eq!(gateway.post(path, ask(path, "local", "Hello")).await.status(), 200);
    gateway.stop().await;
}

#[tokio::test]
async fn why_there_is_no_answer_is_told() {
    let packed = Mock::start(|_| Script {
        media_type: "application/json\r\ncontent-encoding: gzip",
        ..Script::whole("\u{1f}\u{8b}")
    })
    .await;
    let closed = nobody();
    let gateway = TestGateway::before(
        &format!("{}[providers.closed]\nbase_url = 'http://{closed}/v1'\n", packed.openai("packed")),
        "[models.packed]\nprovider = 'packed'\n[models.closed]\nprovider = 'closed'\n",
    )
    .await;
    for (model, why) in [("packed", "its answer is coded (gzip)"), ("closed", "nothing listens at its address")] {
        let response = gateway.post("/api/chat", ask("/api/chat", model, "Hello")).await;
        assert_eq!(response.status(), 502);
        let told = error("/api/chat", &response.json().await.unwrap());
        assert!(told.contains(why), "{told}");
    }
    gateway.stop().await;
}
