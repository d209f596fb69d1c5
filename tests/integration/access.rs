//! Tokens, scopes, addresses, limits.

use std::time::Duration;

use pointsman::app::{App, StartError};
use pointsman::config;
use pointsman::sandbox::{Fault, Times};
use pointsman::store::Scope;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{CLIENTS, TestGateway, ask, error, settle};

#[tokio::test]
async fn once_there_is_a_token_everybody_needs_one() {
    let (gateway, tokens) = TestGateway::with_tokens(
        "",
        &[("chat", &[Scope::Chat]), ("rater", &[Scope::Feedback]), ("op", &[Scope::Admin])],
    )
    .await;
    for path in CLIENTS {
        let body = ask(path, "gpt-4o", "hi");
        let response = gateway.post(path, body.clone()).await;
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["x-should-retry"], "false", "Claude Code asks ten times more without it");
        error(path, &response.json().await.unwrap());
        let with = async |header: &str, value: String| {
            let request = gateway.http.post(gateway.url(path)).header(header, value).body(body.to_string());
            request.send().await.unwrap().status().as_u16()
        };
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(with("authorization", format!("{scheme} {}", tokens[0])).await, 200);
        }
        assert_eq!(with("x-api-key", tokens[0].clone()).await, 200);
        assert_eq!(with("authorization", "Bearer pm_0000".into()).await, 401);
        assert_eq!(with("authorization", format!("Bearer {}", tokens[1])).await, 403);
    }
    let admin = async |token: &str| {
        let url = gateway.admin_url("/api/admin/models");
        gateway.http.get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!((admin(&tokens[0]).await, admin(&tokens[2]).await), (403, 200));
    let health = gateway.http.get(gateway.url("/health")).send().await.unwrap();
    assert_eq!(health.status(), 200, "health is open to all");
    gateway.stop().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_beside_the_server_stops_working() {
    let (gateway, tokens) = TestGateway::with_tokens("", &[("a", &[Scope::Chat]), ("b", &[Scope::Chat])]).await;
    let data = gateway.dir.path().join("data");
    let mut known = pointsman::store::Tokens::load(&data).unwrap();
    known.revoke("a").unwrap();
    known.save(&data).unwrap();
    settle(|| gateway.app.gateway.tokens().all().len() == 1, "the change was not noticed").await;
    let request = gateway.http.get(gateway.url("/models")).bearer_auth(&tokens[0]);
    assert_eq!(request.send().await.unwrap().status(), 401);
    gateway.stop().await;
}

/// A gateway that believes this machine to be a proxy, so that a test can come from anywhere.
const BEHIND_A_PROXY: &str = "[access]\ntrusted_proxies = ['127.0.0.1/32']";

#[tokio::test]
async fn the_last_token_that_goes_does_not_leave_the_door_open() {
    let (gateway, tokens) = TestGateway::with_tokens(BEHIND_A_PROXY, &[("op", &[Scope::Admin, Scope::Chat])]).await;
    let status = async |url: String, from: &str| {
        let request = gateway.http.get(url).header("x-forwarded-for", from).bearer_auth(&tokens[0]);
        request.send().await.unwrap().status().as_u16()
    };
    let (proxy, admin) = (gateway.url("/models"), gateway.admin_url("/api/admin/models"));
    assert_eq!(status(proxy.clone(), "203.0.113.7").await, 200);
    let data = gateway.dir.path().join("data");
    std::fs::remove_file(pointsman::store::Tokens::path(&data)).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    let nobody = gateway.http.get(&proxy).header("x-forwarded-for", "127.0.0.1").send().await.unwrap();
    assert_eq!(nobody.status(), 401, "a file that is gone revokes nothing");
    pointsman::store::Tokens::default().save(&data).unwrap();
    settle(|| gateway.app.gateway.tokens().is_empty(), "the change was not noticed").await;
    for url in [&proxy, &admin] {
        assert_eq!(status(url.clone(), "203.0.113.7").await, 401, "{url}");
        assert_eq!(status(url.clone(), "127.0.0.1").await, 200, "{url}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_proxy_of_this_machine_passed_on_is_not_its_own() {
    let gateway = TestGateway::start("").await;
    let (proxy, admin) = (gateway.url("/v1/models"), gateway.admin_url("/api/admin/models"));
    let dashboard = gateway.admin_url("/dashboard/login");
    let get = async |url: &str, headers: &[(&str, &str)]| {
        let request =
            headers.iter().fold(gateway.http.get(url), |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    };
    for plain in [&[][..], &[("user-agent", "OpenAI/Python 2.1"), ("authorization", "Bearer sk-anything")]] {
        for url in [&proxy, &admin, &dashboard] {
            assert_eq!(get(url, plain).await.status(), 200, "{url} {plain:?}");
        }
    }
    for name in ["x-forwarded-for", "x-real-ip", "forwarded", "via", "cf-connecting-ip", "x-forwarded-proto"] {
        // As nginx sends it where nobody wrote a Host: this machine's own.
        let passed_on = [(name, "6.6.6.6"), ("host", "127.0.0.1")];
        for url in [&proxy, &admin] {
            let answer = get(url, &passed_on).await;
            assert_eq!(answer.status(), 401, "{url} {name}");
            let told = answer.text().await.unwrap();
            assert!(told.contains("access.trusted_proxies") && told.contains("pointsman token new"), "{told}");
        }
        assert_eq!(get(&dashboard, &passed_on).await.status(), 403, "{name}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn whoever_a_trusted_proxy_names_is_not_the_proxy() {
    let gateway = TestGateway::start(&format!("{BEHIND_A_PROXY}\ndeny = ['192.0.2.0/24']")).await;
    let status = async |name: &str, value: &[u8]| {
        let request = gateway.http.get(gateway.url("/v1/models")).header(name, value);
        request.send().await.unwrap().status().as_u16()
    };
    for (said, expected) in [
        ("6.6.6.6", 401),
        ("6.6.6.6:1234", 401),
        ("[2001:db8::1]:99", 401),
        ("127.0.0.1", 200),
        ("192.0.2.7:80", 403),
        ("unknown", 403),
        ("6.6.6.6, unknown", 403),
    ] {
        assert_eq!(status("x-forwarded-for", said.as_bytes()).await, expected, "{said}");
    }
    let told = gateway.http.get(gateway.url("/v1/models")).header("x-forwarded-for", "6.6.6.6").send().await.unwrap();
    let told = told.text().await.unwrap();
    assert!(told.contains("pointsman token new") && !told.contains("trusted_proxies"), "it is named: {told}");
    assert_eq!(status("x-forwarded-for", b"\xff, 6.6.6.6").await, 401);
    assert_eq!(status("forwarded", b"for=6.6.6.6").await, 401, "a proxy that names nobody");
    assert_eq!(status("accept", b"*/*").await, 200, "the proxy's own");
    gateway.stop().await;
}

#[tokio::test]
async fn no_page_of_anybodys_spends_the_operators_keys() {
    let gateway = TestGateway::start("[server]\ncors_origins = ['https://app.example']").await;
    let host = gateway.app.proxy.to_string();
    let sent = async |headers: &[(&str, &str)]| {
        let request = gateway.http.post(gateway.url("/api/chat")).body(ask("/api/chat", "gpt-4o", "hi").to_string());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(sent(&[]).await, 200);
    assert_eq!(sent(&[("origin", format!("http://{host}").as_str())]).await, 200);
    assert_eq!(sent(&[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")]).await, 200);
    assert_eq!(sent(&[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(sent(&[("origin", "null")]).await, 403);
    let page = gateway.http.post(gateway.url("/api/chat")).header("origin", "http://localhost:5173");
    let told = page.body("{}").send().await.unwrap().text().await.unwrap();
    assert!(told.contains("server.cors_origins"), "{told}");
    // A name of the page's own that was made to lead here; a program may call this machine what it likes.
    let rebound = [("host", "evil.example:3100"), ("origin", "http://evil.example:3100")];
    assert_eq!(sent(&rebound).await, 403);
    assert_eq!(sent(&rebound[..1]).await, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn where_no_token_is_asked_for_pages_of_elsewhere_spend_nothing_either() {
    let gateway =
        TestGateway::start("[access]\nauth = 'off'\n[server]\ncors_origins = ['https://app.example']").await;
    let sent = async |origin: &str, site: &str| {
        let request = gateway.http.post(gateway.url("/api/chat")).body(ask("/api/chat", "gpt-4o", "hi").to_string());
        let request = request.header("origin", origin).header("sec-fetch-site", site);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(sent("https://evil.example", "cross-site").await, 403);
    assert_eq!(sent("https://app.example", "cross-site").await, 200);
    assert_eq!(sent("https://gateway.example", "same-origin").await, 200, "a proxy in front may call us otherwise");
    let untold = gateway.http.post(gateway.url("/api/chat")).header("origin", "http://evil.example").body("{}");
    assert_eq!(untold.send().await.unwrap().status(), 403);
    // A name of the page's own that was made to lead here; a program may ask by any.
    let named = async |headers: &[(&str, &str)]| {
        let request = gateway.http.post(gateway.url("/api/chat")).body(ask("/api/chat", "gpt-4o", "hi").to_string());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    let (host, origin) = (("host", "evil.example:3100"), ("origin", "http://evil.example:3100"));
    let browser = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0");
    assert_eq!(named(&[host, origin]).await, 403);
    assert_eq!(named(&[host, browser]).await, 403);
    assert_eq!(named(&[host, origin, ("x-forwarded-for", "10.0.0.1")]).await, 403, "pages may write that, too");
    assert_eq!(named(&[host, origin, ("sec-fetch-site", "same-origin")]).await, 200, "by TLS, so by its own name");
    assert_eq!(named(&[host, ("x-forwarded-for", "10.0.0.1")]).await, 200);
    assert_eq!(named(&[host]).await, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn denied_addresses_stay_outside() {
    let gateway = TestGateway::start("[access]\ndeny = ['127.0.0.0/8']").await;
    let response = gateway.post("/v1/messages", ask("/v1/messages", "gpt-4o", "hi")).await;
    assert_eq!(response.status(), 403);
    error("/v1/messages", &response.json().await.unwrap());
    gateway.stop().await;
    // As whoever looks at v6 addresses alone writes it.
    let gateway = TestGateway::start("[access]\ndeny = ['::ffff:127.0.0.0/104']").await;
    for path in ["/v1/models", "/models"] {
        assert_eq!(gateway.http.get(gateway.url(path)).send().await.unwrap().status(), 403, "{path}");
    }
    for path in ["/metrics", "/openapi.json", "/api/admin/config", "/dashboard", "/dashboard/login"] {
        assert_eq!(gateway.http.get(gateway.admin_url(path)).send().await.unwrap().status(), 403, "{path}");
    }
    for path in ["/health", "/ready"] {
        for url in [gateway.url(path), gateway.admin_url(path)] {
            assert_eq!(gateway.http.get(&url).send().await.unwrap().status(), 200, "{url} is for all");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn over_the_limit_is_429_with_a_time() {
    let gateway = TestGateway::start("[limits]\nrequests_per_minute = 2").await;
    for _ in 0..2 {
        assert_eq!(gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await.status(), 200);
    }
    let response = gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await;
    assert_eq!(response.status(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_stands_beside_chat_is_limited_too() {
    let ask_each = async |gateway: &TestGateway| {
        let chat = ask("/v1/messages", "gpt-4o", "hi");
        let embed = serde_json::json!({ "model": "text-embedding", "input": "hello" });
        let mut statuses = Vec::new();
        for (path, body) in [
            ("/api/route", ask("/api/route", "auto", "hi")),
            ("/v1/messages/count_tokens", chat),
            ("/v1/embeddings", embed),
        ] {
            statuses.push(gateway.post(path, body).await.status().as_u16());
        }
        statuses
    };
    let priced = "[models.text-embedding]\nprovider = 'openai'\nprice = { input = 1e6, output = 0.0 }\n";
    let limited = async |limits: &str| TestGateway::start(&format!("{priced}[limits]\n{limits}")).await;
    let gateway = limited("requests_per_minute = 3").await;
    assert_eq!(ask_each(&gateway).await, [200, 200, 200]);
    assert_eq!(ask_each(&gateway).await, [429, 429, 429]);
    gateway.stop().await;
    // Embeddings are paid for.
    let gateway = limited("usd_per_day = 1.0").await;
    assert_eq!(ask_each(&gateway).await, [200, 200, 200]);
    assert_eq!(ask_each(&gateway).await, [429, 429, 429]);
    gateway.stop().await;
    let gateway = limited("max_in_flight = 1").await;
    let only = gateway.app.gateway.admission.request().unwrap();
    assert_eq!(ask_each(&gateway).await, [429, 429, 429]);
    drop(only);
    gateway.stop().await;
}

#[tokio::test]
async fn who_is_over_their_limit_holds_no_place_of_others() {
    let limits = "[limits]\nmax_in_flight = 2\nrequests_per_minute = 1";
    let (gateway, tokens) = TestGateway::with_tokens(limits, &[("a", &[Scope::Chat]), ("b", &[Scope::Chat])]).await;
    // A head, and the first byte of a body that never comes.
    let begin = async |path: &str| {
        let mut slow = tokio::net::TcpStream::connect(gateway.app.proxy).await.unwrap();
        let token = &tokens[0];
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n");
        slow.write_all(format!("{head}content-length: 99\r\n\r\n{{").as_bytes()).await.unwrap();
        slow
    };
    // The first one is in its right, and holds a place.
    let first = begin("/api/chat").await;
    let inner = &gateway.app.gateway;
    settle(|| inner.admission.request().and_then(|_one| inner.admission.request()).is_err(), "no place is held")
        .await;
    for path in ["/api/chat", "/v1/embeddings", "/api/route"] {
        let mut answer = [0; 12];
        let mut second = begin(path).await;
        tokio::time::timeout(Duration::from_secs(5), second.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 429", "the body of {path} is not waited for");
    }
    let body = ask("/api/chat", "gpt-4o", "hi").to_string();
    let other = gateway.http.post(gateway.url("/api/chat")).bearer_auth(&tokens[1]).body(body);
    assert_eq!(other.send().await.unwrap().status(), 200);
    drop(first);
    gateway.stop().await;
}

#[tokio::test]
async fn tokens_per_minute_count_what_the_vendor_counted() {
    let gateway = TestGateway::start("[limits]\ntokens_per_minute = 60").await;
    assert_eq!(gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await.status(), 200);
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    let statuses = [
        gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await.status().as_u16(),
        gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await.status().as_u16(),
    ];
    assert!(statuses.contains(&429), "{statuses:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let gateway = TestGateway::start("[limits]\nmax_body_mb = 1").await;
    let body = ask("/v1/chat/completions", "gpt-4o", &"x".repeat(2 << 20));
    let response = gateway.post("/v1/chat/completions", body).await;
    assert_eq!(response.status(), 413);
    assert!(error("/v1/chat/completions", &response.json().await.unwrap()).contains("limits.max_body_mb"));
    // Who waits to be told to go on need not send it.
    for (length, told) in [(2 << 20, "HTTP/1.1 413"), (99, "HTTP/1.1 100")] {
        let mut waiting = tokio::net::TcpStream::connect(gateway.app.proxy).await.unwrap();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue";
        waiting.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(Duration::from_secs(5), waiting.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(str::from_utf8(&answer), Ok(told));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_of_very_many_values_is_413_before_it_is_parsed() {
    let gateway =
        TestGateway::start("[models.text-embedding]\nprovider = 'openai'\nprice = { input = 1.0, output = 0.0 }")
            .await;
    let embeddings = "/v1/embeddings";
    let counts = ["/v1/messages/count_tokens", "/v1/responses/input_tokens"];
    let chats = ["/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages"];
    for path in chats.into_iter().chain(counts).chain(["/api/route", embeddings]) {
        // Three megabytes, which would take some hundred in memory.
        let body = format!(r#"{{"model": "gpt-4o", "x": [{}1]}}"#, "[],".repeat(1_000_000));
        let response = gateway.http.post(gateway.url(path)).body(body).send().await.unwrap();
        assert_eq!(response.status(), 413, "{path}");
        let told: Value = response.json().await.unwrap();
        assert!(told["error"]["message"].as_str().unwrap().contains("too many JSON values"), "{path}: {told}");
    }
    // The most token ids that OpenAI takes.
    let ids: Vec<u32> = (0..300_000).collect();
    let inputs: Vec<&[u32]> = ids.chunks(2_000).collect();
    let body = json!({ "model": "text-embedding", "input": inputs });
    assert_eq!(gateway.post(embeddings, body).await.status(), 200);
    // A million tokens, in twenty thousand turns.
    let turn = |number: usize| json!({ "role": "user", "content": format!("{number} {}", "word, ".repeat(50)) });
    let body = json!({ "model": "gpt-4o", "messages": (0..20_000).map(turn).collect::<Vec<_>>() });
    assert_ne!(gateway.post("/v1/chat/completions", body).await.status(), 413);
    gateway.stop().await;
}

#[tokio::test]
async fn large_requests_share_a_room() {
    let gateway = TestGateway::start("[limits]\nlarge_requests_mb = 8").await;
    let chat = "/v1/chat/completions";
    let ask_for = async |words: &str| gateway.post(chat, ask(chat, "gpt-4o", words)).await;
    let large = "x".repeat(3 << 20);
    assert_ne!(ask_for(&large).await.status(), 429);
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    let mut other = gateway.app.gateway.admission.request().unwrap();
    other.grow(8 << 20).unwrap();
    let refused = ask_for(&large).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(error(chat, &refused.json().await.unwrap()).contains("limits.large_requests_mb"));
    assert_eq!(ask_for("hi").await.status(), 200);
    drop(other);
    assert_ne!(ask_for(&large).await.status(), 429);
    gateway.stop().await;
}

#[tokio::test]
async fn a_large_request_keeps_its_room_until_its_answer_begins() {
    let waits = "[dispatch]\nidle_timeout_ms = 20000\nfirst_byte_timeout_ms = 20000";
    // Where Responses pass through the gateway repeats nothing itself.
    let translated = "[providers.openai.quirks]\nresponses = false";
    let gateway = TestGateway::start(&format!("[limits]\nlarge_requests_mb = 8\n{waits}\n{translated}")).await;
    gateway.sandbox.faults().set("*", Fault::Drip { ms: 800 }, Times::Always);
    let picture = format!("data:image/png;base64,{}", "A".repeat(3 << 20));
    let of = |kind: &str, url: serde_json::Value| json!([{ "type": kind, "image_url": url }]);
    let chat = json!({ "messages": [{ "role": "user", "content": of("image_url", json!({ "url": picture })) }] });
    let responses = json!({ "input": [{ "role": "user", "content": of("input_image", json!(picture)) }] });
    let mut repeats = responses.clone();
    repeats["metadata"] = json!({ "long": "x".repeat(9 << 20) });
    let mut open = Vec::new();
    for (path, mut body, status) in [
        ("/v1/chat/completions", chat.clone(), 200),
        ("/v1/chat/completions", chat.clone(), 200),
        ("/v1/responses", responses, 200),
        // Its answer repeats it.
        ("/v1/responses", repeats, 200),
        ("/v1/chat/completions", chat, 429),
    ] {
        (body["model"], body["stream"]) = (json!("gpt-4o"), json!(true));
        let response = gateway.post(path, body).await;
        assert_eq!(response.status(), status, "{path}");
        open.push(response);
    }
    assert_eq!(gateway.app.gateway.metrics.in_flight(), 4, "all are still being answered");
    drop(open);
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_token_it_refuses_to_stand_open() {
    let gateway = TestGateway::start("").await;
    let mut args = gateway.args.clone();
    args.flags.push(("--listen".into(), "server.listen".into(), "0.0.0.0:0".into()));
    let loaded = config::load(&args).unwrap();
    let refused = App::start(args.clone(), loaded).await.unwrap_err();
    assert!(matches!(refused, StartError::Open { key: "server.listen", .. }));
    assert!(refused.to_string().contains("pointsman token new"), "{refused}");
    args.flags.push(("--set".into(), "access.auth".into(), "off".into()));
    // The first one holds the store of its data directory.
    let other = gateway.dir.path().join("other");
    args.flags.push(("--set".into(), "server.data_dir".into(), other.display().to_string()));
    let app = App::start(args.clone(), config::load(&args).unwrap()).await.unwrap();
    app.stop().await;
    gateway.stop().await;
}

#[tokio::test]
async fn browsers_are_let_in_only_where_configured() {
    let preflight = async |gateway: &TestGateway| {
        let request = gateway.http.request(reqwest::Method::OPTIONS, gateway.url("/api/chat"));
        let request = request.header("origin", "https://app.example").header("access-control-request-method", "POST");
        request.send().await.unwrap().headers().get("access-control-allow-origin").cloned()
    };
    let closed = TestGateway::start("").await;
    assert_eq!(preflight(&closed).await, None);
    closed.stop().await;
    let open = TestGateway::start("[server]\ncors_origins = ['https://app.example']").await;
    assert_eq!(preflight(&open).await.unwrap(), "https://app.example");
    // `*` would not cover the header that clients send their token in.
    let request = open.http.request(reqwest::Method::OPTIONS, open.url("/v1/chat/completions"));
    let request = request.header("origin", "https://app.example").header("access-control-request-method", "POST");
    let answer = request.header("access-control-request-headers", "authorization,content-type").send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-headers"], "authorization,content-type");
    open.stop().await;
}

#[tokio::test]
async fn request_ids_go_out_as_they_came_in() {
    let gateway = TestGateway::start("").await;
    let id = async |sent: &str| {
        let request = gateway.http.get(gateway.url("/health")).header("x-request-id", sent);
        request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("trace-7.a").await, "trace-7.a");
    assert_ne!(id("evil id {}").await, "evil id {}");
    let unknown: Value = gateway.http.get(gateway.url("/nowhere")).send().await.unwrap().json().await.unwrap();
    error("/api/chat", &unknown);
    gateway.stop().await;
}

#[tokio::test]
async fn a_name_that_was_made_to_lead_here_reads_nothing_either() {
    let gateway = TestGateway::start("").await;
    let get = async |url: String, headers: &[(&str, &str)]| {
        let request =
            headers.iter().fold(gateway.http.get(url), |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    let (foreign, fetched) = (("host", "evil.example:3100"), ("sec-fetch-site", "same-origin"));
    let browser = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0");
    for url in [gateway.url("/models"), gateway.url("/v1/models"), gateway.admin_url("/metrics")] {
        assert_eq!(get(url.clone(), &[foreign, fetched]).await, 403, "{url}");
        assert_eq!(get(url.clone(), &[foreign, browser]).await, 403, "{url}");
        assert_eq!(get(url.clone(), &[fetched, browser]).await, 200, "{url}");
        assert_eq!(get(url.clone(), &[foreign]).await, 200, "a program: {url}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_nobody_answered_uses_nothing_up() {
    let limits = "[limits]\ntokens_per_minute = 1000\nusd_per_day = 1.0\n[dispatch]\nmax_attempts = 1";
    let broken = "[providers.openai]\nheaders = { x-sandbox-fault = 'status:500' }";
    let gateway = TestGateway::start(&format!("{limits}\n{broken}")).await;
    let long = "word ".repeat(600);
    let post = async |path: &str, body: Value| gateway.post(path, body).await.status().as_u16();
    let named = |model: &str| ask("/v1/chat/completions", model, &long);
    for _ in 0..3 {
        let embed = serde_json::json!({ "model": "openai/text-embedding-3-small", "input": long });
        let refused = [
            post("/v1/chat/completions", named("gpt-4o")).await,
            post("/v1/chat/completions", named("nobody")).await,
            post("/v1/embeddings", embed).await,
        ];
        assert!(refused.iter().all(|status| *status >= 400 && *status != 429), "{refused:?}");
    }
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
    assert_eq!(post("/v1/messages", ask("/v1/messages", "claude-sonnet-5-5", &long)).await, 200);
    assert_eq!(post("/v1/messages", ask("/v1/messages", "claude-sonnet-5-5", &long)).await, 429);
    gateway.stop().await;
}
