//! Embeddings: from whichever place of the model is well, within the account, where the rules let them go.

use std::time::Duration;

use pointsman::store::Scope;
use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::{TestGateway, ask, nobody, settle};

/// An embedding of so many tokens, after so long.
fn embedding(tokens: u64, after_ms: u64) -> Script {
    let body = json!({
        "object": "list", "model": "x", "data": [{ "object": "embedding", "index": 0, "embedding": [0.5] }],
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    });
    Script { head_ms: after_ms, ..Script::whole(body.to_string()) }
}

/// Providers `a` and `b` at these addresses.
fn providers(a: std::net::SocketAddr, b: std::net::SocketAddr) -> String {
    format!("[providers.a]\nbase_url = 'http://{a}/v1'\n[providers.b]\nbase_url = 'http://{b}/v1'\n")
}

async fn embed(gateway: &TestGateway, input: Value) -> (u16, String) {
    let response = gateway.post("/v1/embeddings", json!({ "model": "embedder", "input": input })).await;
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn the_next_place_answers_where_one_is_down_and_its_breaker_hears_of_it() {
    let closed = nobody();
    let well = Mock::start(|_| embedding(3, 0)).await;
    let models = "[models.embedder]\ndeployments = [{ provider = 'a' }, { provider = 'b' }]\n\
        [dispatch.breaker]\nconsecutive_failures = 2\nopen_ms = 60000\n";
    let gateway = TestGateway::before(&providers(closed, well.address), models).await;
    for _ in 0..20 {
        assert_eq!(embed(&gateway, json!("one")).await.0, 200);
    }
    assert_eq!(well.calls(), 20);
    let failed = gateway.metric(r#"pointsman_upstream_errors_total{model="embedder",kind="connection"}"#).await;
    assert!((failed - 2.0).abs() < 1e-9, "then it is left alone: {failed}");
    gateway.stop().await;
}

#[tokio::test]
async fn base64_comes_where_it_was_asked_for_also_of_a_server_that_does_not_know_it() {
    let mock = Mock::start(|_| embedding(3, 0)).await;
    let models = "[models.embedder]\nprovider = 'a'\n";
    let gateway = TestGateway::before(&providers(mock.address, mock.address), models).await;
    for (format, vector) in [("float", json!([0.5])), ("base64", json!("AAAAPw=="))] {
        let body = json!({ "model": "embedder", "input": "one", "encoding_format": format });
        let response = gateway.post("/v1/embeddings", body).await;
        let told: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(told["data"][0]["embedding"], vector);
        assert_eq!(told["usage"]["prompt_tokens"], 3);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_gives_none_is_shut_to_no_chat() {
    let chat = json!({ "id": "c", "model": "x",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "word" }, "finish_reason": "stop" }] });
    let mock = Mock::start(move |body| {
        if body.contains("input") {
            let refused = r#"{"error":{"message":"This server gives no embeddings"}}"#;
            return Script { status: 501, ..Script::whole(refused) };
        }
        Script::whole(chat.to_string())
    })
    .await;
    let models = "[models.embedder]\nprovider = 'a'\n[dispatch.breaker]\nconsecutive_failures = 2\n";
    let gateway = TestGateway::before(&providers(mock.address, mock.address), models).await;
    for _ in 0..4 {
        assert_eq!(embed(&gateway, json!("one")).await.0, 502);
    }
    let path = "/v1/chat/completions";
    assert_eq!(gateway.post(path, ask(path, "embedder", "Hello")).await.status(), 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_place_of_weight_0_stands_by() {
    let (dear, cheap) = (Mock::start(|_| embedding(3, 0)).await, Mock::start(|_| embedding(3, 0)).await);
    let models = "[models.embedder]\ndeployments = [{ provider = 'a', weight = 0.0 }, { provider = 'b' }]\n";
    let gateway = TestGateway::before(&providers(dear.address, cheap.address), models).await;
    for _ in 0..5 {
        assert_eq!(embed(&gateway, json!("one")).await.0, 200);
    }
    assert_eq!((dear.calls(), cheap.calls()), (0, 5));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_embedding_is_a_failure_whatever_its_status_and_the_next_place_answers() {
    let well = Mock::start(|_| embedding(3, 0)).await;
    let refused = r#"{"error":{"message":"bad Bearer sk-ours-and-secret","type":"server_error"}}"#;
    let stream = "data: {\"error\":{\"message\":\"sk-ours-and-secret\"}}\n\n";
    for (said, is_paid) in [(refused, false), (stream, true), (r#"{"embeddings":[[0.5]]}"#, true), ("", true)] {
        let bad = Mock::start(move |_| Script::whole(said)).await;
        let key = "headers = { authorization = 'Bearer sk-ours-and-secret' }\n[providers.b]";
        let settings = providers(bad.address, well.address).replace("[providers.b]", key);
        let models = "[models.embedder]\nprice = { input = 1000.0, output = 0.0 }\n\
            deployments = [{ provider = 'a' }, { provider = 'b', weight = 0.0 }]\n[models.lonely]\nprovider = 'a'\n";
        let gateway = TestGateway::before(&settings, models).await;
        assert_eq!(embed(&gateway, json!("one")).await.0, 200, "{said}");
        assert_eq!(bad.calls(), 1);
        let cost = gateway.metric(r#"pointsman_cost_usd_total{model="embedder"}"#).await;
        assert_eq!(cost > 0.004, is_paid, "{said}: its vendor was at work, or was not: {cost}");
        let response = gateway.post("/v1/embeddings", json!({ "model": "lonely", "input": "one" })).await;
        assert_eq!(response.status(), 502, "{said}");
        let told = response.text().await.unwrap();
        assert!(!told.contains("sk-ours"), "{told}");
        assert_eq!(told.contains("bad Bearer ***"), said == refused, "{told}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn it_has_the_time_of_an_answer_that_is_not_streamed_and_what_is_lost_is_paid() {
    let mock = Mock::start(|body| embedding(3, if body.contains("long") { 2000 } else { 900 })).await;
    let models = "[models.embedder]\nprovider = 'a'\nprice = { input = 1000.0, output = 0.0 }\n\
        [dispatch]\nfirst_byte_timeout_ms = 200\nwhole_answer_timeout_ms = 1500\n";
    let gateway = TestGateway::before(&providers(mock.address, mock.address), models).await;
    let cost = async || gateway.metric(r#"pointsman_cost_usd_total{model="embedder"}"#).await;
    assert_eq!(embed(&gateway, json!("one")).await.0, 200);
    assert!((cost().await - 0.003).abs() < 1e-9);
    assert_eq!(embed(&gateway, json!("long")).await.0, 504);
    assert!(cost().await > 0.005, "its vendor was at work");
    gateway.stop().await;
}

#[tokio::test]
async fn whose_client_is_gone_holds_up_nobody_for_long() {
    let mock = Mock::start(|_| embedding(3, 60_000)).await;
    let settings = "[models.embedder]\nprovider = 'a'\n[limits]\nmax_in_flight = 2\n\
        [dispatch]\nfirst_byte_timeout_ms = 300\nwhole_answer_timeout_ms = 60000\ntotal_timeout_ms = 60000\n\
        [dispatch.breaker]\nconsecutive_failures = 1\n";
    let gateway = TestGateway::before(&providers(mock.address, mock.address), settings).await;
    let begun = std::time::Instant::now();
    let gone = (0..2).map(|_| tokio::time::timeout(Duration::from_millis(200), embed(&gateway, json!("one"))));
    assert!(futures::future::join_all(gone).await.iter().all(Result::is_err));
    assert_eq!(gateway.app.gateway.metrics.in_flight(), 2, "paid for, and perhaps about to be answered");
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "they are asked for still").await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    let live = gateway.app.gateway.live();
    let place = &live.catalog.find("embedder").unwrap().deployments[0];
    assert_eq!(place.check(std::time::Instant::now()), Ok(()), "that a client has no patience says nothing of it");
    gateway.stop().await;
}

#[tokio::test]
async fn why_and_for_how_long_there_is_none_is_told() {
    let closed = nobody();
    let well = Mock::start(|_| embedding(3, 0)).await;
    let settings = "[models.home]\nprovider = 'a'\n\
        [models.embedder]\ndeployments = [{ provider = 'a' }, { provider = 'b' }]\n\
        [[rules]]\nname = 'stay'\npin = 'home'\n\
        [dispatch.breaker]\nconsecutive_failures = 1\nopen_ms = 60000\n";
    let gateway = TestGateway::before(&providers(closed, well.address), settings).await;
    embed(&gateway, json!("one")).await;
    let response = gateway.post("/v1/embeddings", json!({ "model": "embedder", "input": "one" })).await;
    assert!(response.headers().contains_key("retry-after"));
    let told = response.text().await.unwrap();
    assert!(told.contains("embedder: its breaker is open"), "{told}");
    let never = gateway.post("/v1/embeddings", json!({ "model": "claude-sonnet-5-5", "input": "one" })).await;
    assert_eq!(never.status(), 400, "in vain, however often");
    gateway.stop().await;
}

#[tokio::test]
async fn while_the_vendor_rests_the_answer_is_that_of_the_call_that_brought_it_about() {
    for (status, told) in [(429, 429), (401, 502), (402, 502), (403, 502)] {
        let script = Script::whole("{}");
        let busy = Mock::start(move |_| Script {
            status,
            media_type: "application/json\r\nretry-after: 20",
            ..script.clone()
        })
        .await;
        let models = "[models.embedder]\nprovider = 'a'\n";
        let gateway = TestGateway::before(&providers(busy.address, busy.address), models).await;
        for calls in [1, 1] {
            let response = gateway.post("/v1/embeddings", json!({ "model": "embedder", "input": "one" })).await;
            assert_eq!((response.status().as_u16(), busy.calls()), (told, calls), "{status}");
            assert!(response.headers().contains_key("retry-after"));
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_soonest_of_all_times_to_come_back_is_told() {
    let refused = |status, media_type| Script { status, media_type, ..Script::whole("{}") };
    let busy = Mock::start(move |_| refused(429, "application/json\r\nretry-after: 7")).await;
    let closed = Mock::start(move |_| refused(401, "application/json")).await;
    let models = "[models.embedder]\ndeployments = [{ provider = 'a' }, { provider = 'b', weight = 0.0 }]\n";
    let gateway = TestGateway::before(&providers(busy.address, closed.address), models).await;
    let response = gateway.post("/v1/embeddings", json!({ "model": "embedder", "input": "one" })).await;
    assert_eq!((response.status().as_u16(), busy.calls(), closed.calls()), (502, 1, 1));
    assert_eq!(response.headers()["retry-after"], "7");
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_key_says_that_asking_again_is_in_vain() {
    for (status, retry) in [(401, Some("false")), (500, None)] {
        let mock = Mock::start(move |_| Script { status, ..Script::whole("{}") }).await;
        let models = "[models.embedder]\nprovider = 'a'\n";
        let gateway = TestGateway::before(&providers(mock.address, mock.address), models).await;
        let response = gateway.post("/v1/embeddings", json!({ "model": "embedder", "input": "one" })).await;
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers().get("x-should-retry").map(|told| told.to_str().unwrap()), retry);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_count_that_cannot_be_true_is_estimated() {
    let mock = Mock::start(|_| embedding(u64::MAX, 0)).await;
    let models = "[models.embedder]\nprovider = 'a'\nprice = { input = 1000.0, output = 0.0 }\n";
    let gateway = TestGateway::before(&providers(mock.address, mock.address), models).await;
    assert_eq!(embed(&gateway, json!("one")).await.0, 200);
    let cost = gateway.metric(r#"pointsman_cost_usd_total{model="embedder"}"#).await;
    assert!(cost > 0.005 && cost < 0.05, "{cost}");
    gateway.stop().await;
}

#[tokio::test]
async fn many_at_once_share_what_is_left_of_a_day() {
    let mock = Mock::start(|_| embedding(1000, 300)).await;
    let models = "[models.embedder]\nprovider = 'a'\nprice = { input = 1000.0, output = 0.0 }\n\
        [limits]\nusd_per_day = 1.5\n";
    let gateway = TestGateway::before(&providers(mock.address, mock.address), models).await;
    // About 1,000 tokens, which are a dollar.
    let text = "word ".repeat(800);
    let answers = futures::future::join_all((0..8).map(|_| embed(&gateway, json!(text)))).await;
    let answered = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(answered, 2, "the second overdraws: {answers:?}");
    assert_eq!(mock.calls(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn what_they_cost_is_owed_after_a_restart_too() {
    let mock = Mock::start(|_| embedding(1000, 0)).await;
    let models = "[models.embedder]\nprovider = 'a'\nprice = { input = 1000.0, output = 0.0 }\n\
        [limits]\nusd_per_day = 1.5\n";
    let gateway = TestGateway::before(&providers(mock.address, mock.address), models).await;
    let http = gateway.http.clone();
    let embed = async |proxy: std::net::SocketAddr| {
        let body = json!({ "model": "embedder", "input": "one" }).to_string();
        http.post(format!("http://{proxy}/v1/embeddings")).body(body).send().await.unwrap().status().as_u16()
    };
    let proxy = gateway.app.proxy;
    assert_eq!(embed(proxy).await, 200);
    let args = gateway.args.clone();
    let (dir, sandbox) = gateway.stop_and_keep().await;
    for (status, calls) in [(200, 2), (429, 2)] {
        let app = pointsman::app::App::start(args.clone(), pointsman::config::load(&args).unwrap()).await.unwrap();
        assert_eq!((embed(app.proxy).await, mock.calls()), (status, calls), "the second overdraws");
        app.stop().await;
    }
    sandbox.stop().await;
    drop(dir);
}

#[tokio::test]
async fn token_ids_are_refused_to_those_alone_whom_the_rule_may_mean() {
    let rules = "[models.embedder]\nprovider = 'openai'\n\
        [[rules]]\nname = 'hr stays here'\nwhen = { token = ['hr'], regex = ['salary'] }\npin = 'llama3.2'\n";
    let scopes: &[Scope] = &[Scope::Chat];
    let (gateway, tokens) = TestGateway::with_tokens(rules, &[("hr", scopes), ("search", scopes)]).await;
    for (token, status) in [(&tokens[0], 400), (&tokens[1], 200)] {
        let body = json!({ "model": "embedder", "input": [[1, 2]] }).to_string();
        let request = gateway.http.post(gateway.url("/v1/embeddings")).bearer_auth(token).body(body);
        let response = request.timeout(Duration::from_secs(5)).send().await.unwrap();
        assert_eq!(response.status(), status, "{}", response.text().await.unwrap());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_not_told_back_whole() {
    let gateway = TestGateway::start("").await;
    let body = json!({ "model": "x".repeat(1 << 20), "input": "one" });
    let response = gateway.post("/v1/embeddings", body).await;
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().len() < 1000);
    gateway.stop().await;
}

#[tokio::test]
async fn a_providers_name_before_ours_means_that_model_at_that_provider() {
    let a = Mock::start(|body| embedding(if body.contains("small-2") { 2 } else { 99 }, 0)).await;
    let b = Mock::start(|body| embedding(if body.contains("small-c") { 7 } else { 99 }, 0)).await;
    let models = "[models.embedder]\nprovider = 'a'\nupstream = 'small-2'\n\
        deployments = [{ provider = 'b', upstream = 'small-b' }, { provider = 'b', upstream = 'small-c' }]\n\
        [models.shut]\nprovider = 'a'\n[aliases]\nours = 'auto'\nteam = 'embedder'\n\
        [[rules]]\nname = 'never'\nforbid = ['shut']\n";
    let gateway = TestGateway::before(&providers(a.address, b.address), models).await;
    let send = async |model: &str| {
        let response = gateway.post("/v1/embeddings", json!({ "model": model, "input": "one" })).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for name in ["a/embedder", "a/team", "a/small-2"] {
        for _ in 0..3 {
            let (status, told) = send(name).await;
            assert!(status == 200 && told.contains(r#""total_tokens":2"#), "{name}: {told}");
        }
    }
    assert_eq!((a.calls(), b.calls()), (9, 0));
    for _ in 0..8 {
        let (status, told) = send("b/small-c").await;
        assert!(status == 200 && told.contains(r#""total_tokens":7"#), "that one deployment: {told}");
    }
    assert_eq!(send("b/embedder").await.0, 200);
    assert_eq!((a.calls(), b.calls()), (9, 9));
    for name in ["shut", "a/shut"] {
        let (status, told) = send(name).await;
        assert!(status == 403 && told.contains("the rule `never` does not let this go to shut"), "{name}: {told}");
    }
    for name in ["auto", "ours"] {
        let (status, told) = send(name).await;
        assert!(status == 404 && told.contains(&format!("`{name}` chooses among models for chats")), "{told}");
    }
    gateway.stop().await;
}
