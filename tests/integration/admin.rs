//! The admin listener: metrics and the description of the API.

use serde_json::Value;

use crate::support::{TestGateway, ask};

#[tokio::test]
async fn metrics_count_what_happened() {
    let gateway = TestGateway::start("").await;
    gateway.post("/v1/messages", ask("/v1/messages", "gpt-4o", "hi")).await;
    gateway.post("/v1/messages", ask("/v1/messages", "nothing", "hi")).await;
    let metrics = gateway.admin("/metrics").await;
    for line in [
        "pointsman_requests_total{dialect=\"anthropic\",model=\"gpt-4o\",status=\"ok\",mode=\"named\"} 1",
        "pointsman_rejected_total{endpoint=\"/v1/messages\",kind=\"not_found\"} 1",
        "pointsman_latency_seconds_count{model=\"gpt-4o\"} 1",
        "pointsman_tokens_total{model=\"gpt-4o\",kind=\"output\"}",
        "pointsman_in_flight 0",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_operators_are_answered_stays_in_no_cache() {
    let gateway = TestGateway::start("").await;
    let paths = ["config", "decisions", "export", "tokens", "logs/stream", "decisions/nothing"];
    for path in paths.map(|path| format!("/api/admin/{path}")).iter().map(String::as_str).chain(["/metrics"]) {
        let response = gateway.http.get(gateway.admin_url(path)).send().await.unwrap();
        let header = |name: &str| response.headers().get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(header("x-content-type-options"), ["nosniff"], "{path}");
        let kept = header("cache-control");
        assert!(kept == ["no-store"] || path.ends_with("stream") && kept == ["no-cache"], "{path}: {kept:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_description_and_the_routes_agree() {
    let gateway = TestGateway::start("").await;
    let spec: Value = serde_json::from_str(&gateway.admin("/openapi.json").await).unwrap();
    let described: Vec<&str> = spec["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for endpoint in pointsman::http::routes::ENDPOINTS.iter() {
        assert!(described.contains(endpoint), "{endpoint} is not described");
    }
    for path in &described {
        assert!(pointsman::http::routes::ENDPOINTS.contains(path), "{path} is described and not there");
    }
    for (path, methods) in spec["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let on_admin = operation["servers"].is_array();
            let url = if on_admin { gateway.admin_url(path) } else { gateway.url(path) };
            let method: reqwest::Method = method.to_uppercase().parse().unwrap();
            let response = gateway.http.request(method.clone(), url).body("{}").send().await.unwrap();
            let status = response.status().as_u16();
            // Something that a path names may be missing; the endpoint itself may not.
            let missing = status == 404 && response.text().await.unwrap().contains("no such endpoint");
            assert!(status != 405 && !missing, "{method} {path}: {status}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_path_that_is_no_text_names_nothing() {
    let gateway = TestGateway::start("").await;
    for path in ["/api/admin/decisions/%FF", "/api/admin/models/%FF/test", "/api/admin/tokens/%FF"] {
        let method = if path.ends_with("test") { "POST" } else { "GET" };
        let method = if path.contains("tokens") { "DELETE" } else { method };
        let request = gateway.http.request(method.parse().unwrap(), gateway.admin_url(path));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["error"]["code"], "not_found", "{path}: {told}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn configuration_is_shown_with_its_origins_and_without_secrets() {
    let gateway = TestGateway::start("[limits]\nmax_in_flight = 7").await;
    let shown = gateway.admin("/api/admin/config").await;
    let settings: Value = serde_json::from_str(&shown).unwrap();
    let settings = settings["settings"].as_array().unwrap();
    let limit = settings.iter().find(|setting| setting["path"] == "limits.max_in_flight").unwrap();
    assert_eq!(limit["value"], "7");
    assert!(limit["origin"].as_str().unwrap().ends_with("test.toml"));
    assert!(!shown.contains(pointsman::sandbox::KEY));
    gateway.stop().await;
}

#[tokio::test]
async fn a_wrong_parameter_is_told_in_json() {
    let gateway = TestGateway::start("").await;
    for path in ["audit?limit=x", "overview?window=x", "decisions?explored=x", "logs?limit=x", "export?nothing=x"] {
        let url = gateway.admin_url(&format!("/api/admin/{path}"));
        let response = gateway.http.get(url).send().await.unwrap();
        assert_eq!(response.status(), 400, "{path}");
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["error"]["code"], "invalid_request", "{path}: {told}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_wrote_is_exported_and_shown_where_it_is_asked_for() {
    let gateway = TestGateway::start("").await;
    let (id, at_ms) = gateway.decide_ahead();
    let log = gateway.admin("/api/admin/export").await;
    assert!(log.contains(&id), "{log}");
    // Among the newest decisions it would stand first for as long.
    let list = gateway.admin("/api/admin/decisions").await;
    assert!(!list.contains(&id), "{list}");
    let list = gateway.admin(&format!("/api/admin/decisions?until_ms={}", at_ms + 1)).await;
    assert!(list.contains(&id), "{list}");
    gateway.stop().await;
}
