//! The dashboard: who gets in, who is kept out, and that what others wrote stays text.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use futures::FutureExt;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use pointsman::config::{self, LoadArgs};
use pointsman::http::admin::{self, parameters::Named};
use pointsman::http::middleware::caller::{Caller, Operator};
use pointsman::store::Scope;
use serde_json::{Value, json};

use crate::support::{TestGateway, ask, settle};

mod told;

const PASSWORD: &str = "correct horse battery staple";

/// A gateway whose dashboard has a password.
async fn locked(extra: &str) -> TestGateway {
    TestGateway::with_environment(extra, &[], &[("POINTSMAN_ADMIN_PASSWORD", PASSWORD)]).await.0
}

/// A browser's part of the dashboard: keeps no redirects to itself.
struct Browser {
    http: reqwest::Client,
    base: String,
    cookie: String,
    csrf: String,
}

impl Browser {
    fn new(gateway: &TestGateway) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self { http, base: gateway.admin_url(""), cookie: String::new(), csrf: String::new() }
    }

    async fn sign_in(gateway: &TestGateway) -> Self {
        let mut browser = Self::new(gateway);
        let answer = browser.try_password("admin", PASSWORD).await;
        assert_eq!(answer.status(), 303);
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        for flag in ["HttpOnly", "SameSite=Strict", "Max-Age=", "Path=/"] {
            assert!(cookie.contains(flag), "{cookie}");
        }
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        let page = browser.get("/dashboard/tokens").await.text().await.unwrap();
        browser.csrf = page.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        browser
    }

    async fn try_password(&self, user: &str, password: &str) -> reqwest::Response {
        let body = format!("user={user}&password={}&next=", password.replace(' ', "+"));
        self.http.post(format!("{}/dashboard/login", self.base)).body(body).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).header(COOKIE, &self.cookie).send().await.unwrap()
    }

    fn change(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base));
        request.header(COOKIE, &self.cookie)
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> reqwest::Response {
        self.change(method, path).header("x-pointsman-csrf", &self.csrf).body(body.to_string()).send().await.unwrap()
    }
}

#[tokio::test]
async fn the_dashboard_opens_by_password_and_closes_on_signing_out() {
    let gateway = locked("").await;
    let stranger = Browser::new(&gateway);
    let sent_away = stranger.get("/dashboard/models").await;
    assert_eq!(sent_away.status(), 303);
    assert_eq!(sent_away.headers()[LOCATION], "/dashboard/login?next=/dashboard/models");
    assert_eq!(stranger.get("/api/admin/models").await.status(), 401);
    let wrong = stranger.try_password("admin", "wrong").await;
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().get(SET_COOKIE).is_none());
    assert!(wrong.text().await.unwrap().contains("Wrong name or password"));

    let browser = Browser::sign_in(&gateway).await;
    for page in [
        "",
        "/monitor",
        "/logs",
        "/decisions",
        "/models",
        "/playground",
        "/tokens",
        "/configuration",
        "/audit",
        "/api",
    ] {
        let answer = browser.get(&format!("/dashboard{page}")).await;
        assert_eq!(answer.status(), 200, "{page}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = answer.text().await.unwrap();
        assert!(text.len() < 200_000, "{page} has {} bytes", text.len());
        assert!(!text.contains(" style=") && !text.contains("<script>"), "{page} has something inline");
        // Addresses may stand there as values of the configuration; nothing may be fetched from one.
        for fetched in ["src=\"http", "href=\"http", "action=\"http", "url(http", "@import"] {
            assert!(!text.contains(fetched), "{page} fetches something from elsewhere: {fetched}");
        }
    }
    // A page elsewhere signs nobody out.
    let forged = browser.change("POST", "/dashboard/logout").header("origin", "http://evil.example");
    let forged = forged.body(format!("csrf={}", browser.csrf)).send().await.unwrap();
    assert_eq!((forged.status().as_u16(), forged.headers().get(SET_COOKIE)), (403, None));
    let forged = browser.change("POST", "/dashboard/logout").send().await.unwrap();
    assert_eq!((forged.status().as_u16(), forged.headers().get(SET_COOKIE)), (403, None));
    let out =
        browser.change("POST", "/dashboard/logout").body(format!("csrf={}", browser.csrf)).send().await.unwrap();
    assert_eq!(out.status(), 303);
    let ended = browser.get("/dashboard/models").await;
    assert_eq!(ended.headers()[LOCATION], "/dashboard/login?next=/dashboard/models&ended=1");
    assert_eq!(browser.call("POST", "/api/admin/tokens", json!({})).await.status(), 401);
    gateway.stop().await;
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let gateway = locked("").await;
    let browser = Browser::new(&gateway);
    for _ in 0..5 {
        assert_eq!(browser.try_password("admin", "guess").await.status(), 401);
    }
    let refused = browser.try_password("admin", PASSWORD).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_forged_change_is_refused_and_a_real_one_is_audited_and_kept() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let path = "/api/admin/models/gpt-4o";
    let body = json!({ "weight": 7.5 });
    let without_token = browser.change("PATCH", path).body(body.to_string()).send().await.unwrap();
    assert_eq!(without_token.status(), 403);
    let elsewhere = browser.change("PATCH", path).header("x-pointsman-csrf", &browser.csrf);
    let elsewhere = elsewhere.header("origin", "https://evil.example").body(body.to_string()).send().await.unwrap();
    assert_eq!(elsewhere.status(), 403);
    let weight = |gateway: &TestGateway| gateway.app.gateway.live().catalog.find("gpt-4o").unwrap().settings.weight;
    assert_eq!(weight(&gateway), 1.0);

    let changed: Value = browser.call("PATCH", path, body).await.json().await.unwrap();
    assert_eq!((changed["weight"].as_f64(), weight(&gateway)), (Some(7.5), 7.5));
    let acts: Value = browser.get("/api/admin/audit").await.json().await.unwrap();
    let act = &acts["acts"][0];
    assert_eq!((act["who"].as_str(), act["action"].as_str()), (Some("dashboard admin"), Some("model.change")));
    assert_eq!(
        (act["detail"]["before"]["weight"].as_f64(), act["detail"]["after"]["weight"].as_f64()),
        (Some(1.0), Some(7.5))
    );

    // A price without a word on caches leaves theirs alone.
    let price = |gateway: &TestGateway| gateway.app.gateway.live().catalog.find("gpt-4o").unwrap().settings.price;
    let cached = price(&gateway).cache_read;
    assert!(cached.is_some());
    browser.call("PATCH", path, json!({ "price": { "input": 1.0, "output": 2.0 } })).await;
    assert_eq!((price(&gateway).input, price(&gateway).cache_read), (1.0, cached));
    // Nor does it change from when on prompts are dearer.
    let long = |factor: f64| json!({ "above": 9, "input_factor": factor, "output_factor": 1.5 });
    let with = |factor| json!({ "price": { "input": 1.0, "output": 2.0, "long_prompt": long(factor) } });
    assert_eq!(browser.call("PATCH", path, with(0.0)).await.status(), 400);
    browser.call("PATCH", path, with(2.0)).await;
    browser.call("PATCH", path, json!({ "price": { "input": 3.0, "output": 2.0 } })).await;
    assert_eq!((price(&gateway).input, price(&gateway).long_prompt.map(|long| long.input_factor)), (3.0, Some(2.0)));
    browser.call("PATCH", path, json!({ "price": null })).await;

    // A reload of the files keeps it, and so does the store.
    gateway.app.reload().unwrap();
    assert_eq!(weight(&gateway), 7.5);
    let args: LoadArgs = gateway.args.clone();
    let dir = gateway.stop_and_keep().await;
    let app = pointsman::app::App::start(args.clone(), config::load(&args).unwrap()).await.unwrap();
    let weight = || app.gateway.live().catalog.find("gpt-4o").unwrap().settings.weight;
    assert_eq!(weight(), 7.5);
    // Until the file says otherwise: that is the newer word, and stays so.
    let file = args.file.clone().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[models.gpt-4o]\nweight = 3.0\n")).unwrap();
    app.reload().unwrap();
    assert_eq!(weight(), 3.0);
    std::fs::write(&file, format!("{text}# as before\n")).unwrap();
    app.reload().unwrap();
    assert_eq!(weight(), 1.0);
    app.stop().await;
    let app = pointsman::app::App::start(args.clone(), config::load(&args).unwrap()).await.unwrap();
    assert_eq!(app.gateway.live().catalog.find("gpt-4o").unwrap().settings.weight, 1.0);
    app.stop().await;
    drop(dir);
}

#[tokio::test]
async fn a_drained_or_disabled_model_gets_no_traffic() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let ask_it = async || gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await.status().as_u16();
    assert_eq!(ask_it().await, 200);
    browser.call("POST", "/api/admin/models/gpt-4o/drain", json!({ "deployment": "openai/gpt-4o" })).await;
    assert_eq!(ask_it().await, 503);
    browser.call("POST", "/api/admin/models/gpt-4o/drain", json!({ "drained": false })).await;
    assert_eq!(ask_it().await, 200);
    browser.call("PATCH", "/api/admin/models/gpt-4o", json!({ "enabled": false })).await;
    assert_ne!(ask_it().await, 200);
    for model in ["gpt-4o", "openai/gpt-4o"] {
        let refused = gateway.post("/v1/embeddings", json!({ "model": model, "input": "hi" })).await;
        assert_eq!(refused.status(), 503, "{model}");
        assert!(refused.text().await.unwrap().contains("it is disabled"));
    }
    let tested: Value =
        browser.call("POST", "/api/admin/models/gpt-4o-mini/test", json!({})).await.json().await.unwrap();
    assert_eq!(tested["ok"], true, "{tested}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_link_that_no_line_may_hold_is_left_in_a_file() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["serve", "--sandbox", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--set", "telemetry.log_format='json'"])
        .current_dir(dir.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("Pointsman listens")).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let file = dir.path().join(told["dashboard.link_file"].as_str().unwrap());
    let link = std::fs::read_to_string(&file).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let entered = http.get(link.trim()).send().await.unwrap();
    // A file that could not be written once is written by the next visit.
    let _ = std::fs::remove_file(&file);
    std::fs::create_dir(&file).unwrap();
    let page = link.split('?').next().unwrap();
    let hindered = http.get(page).send().await.unwrap().status();
    std::fs::remove_dir(&file).unwrap();
    http.get(page).send().await.unwrap();
    let another = std::fs::read_to_string(&file);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!line.contains("link="), "{line}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(link.starts_with(told["dashboard"].as_str().unwrap()));
    assert_eq!(entered.status(), 303);
    assert_eq!(hindered, 200);
    assert!(another.is_ok_and(|another| another != link));
}

#[tokio::test]
async fn without_a_password_a_link_opens_the_dashboard_once() {
    let gateway = TestGateway::start("").await;
    let mut browser = Browser::new(&gateway);
    let link = gateway.app.gateway.sign_in.new_link().unwrap();
    assert_eq!(browser.get("/dashboard/login?link=wrong").await.status(), 200);
    let entered = browser.get(&format!("/dashboard/login?link={link}")).await;
    assert_eq!(entered.status(), 303);
    browser.cookie = entered.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(browser.get("/dashboard").await.status(), 200);
    assert_eq!(Browser::new(&gateway).get(&format!("/dashboard/login?link={link}")).await.status(), 200, "used up");
    // A foreign name that leads here opens nothing, neither the dashboard nor the API.
    for path in ["/dashboard/login", "/api/admin/models"] {
        let foreign = browser.http.get(format!("{}{path}", browser.base)).header("host", "attacker.example");
        assert_eq!(foreign.send().await.unwrap().status(), 403, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_admin_api_takes_an_admin_token_and_no_other() {
    let tokens: [(&str, &[Scope]); 2] = [("boss", &[Scope::Admin]), ("client", &[Scope::Chat])];
    let environment = [("POINTSMAN_ADMIN_PASSWORD", PASSWORD)];
    let (gateway, texts) = TestGateway::with_environment("", &tokens, &environment).await;
    let list = |token: &str| gateway.http.get(gateway.admin_url("/api/admin/tokens")).bearer_auth(token).send();
    let shown = list(&texts[0]).await.unwrap().text().await.unwrap();
    assert!(shown.contains("\"name\":\"client\"") && !shown.contains("hash") && !shown.contains(&texts[1]));
    assert_eq!(list(&texts[1]).await.unwrap().status(), 403);
    assert_eq!(list("pm_nonsense").await.unwrap().status(), 401);
    gateway.stop().await;
}

#[tokio::test]
async fn a_password_closes_the_admin_api_to_whoever_shows_anything_else() {
    for access in ["", "[access]\nauth = 'off'", "[access]\nauth = 'required'"] {
        let gateway = locked(access).await;
        let evil = json!({ "name": "evil", "scopes": ["admin"] }).to_string();
        for (header, value) in [("authorization", "Bearer nonsense"), ("x-api-key", "x"), ("accept", "*/*")] {
            for path in ["/api/admin/config", "/api/admin/tokens"] {
                let read = gateway.http.get(gateway.admin_url(path)).header(header, value).send().await.unwrap();
                assert_eq!(read.status(), 401, "{access} {path} {header}");
            }
            let made = gateway.http.post(gateway.admin_url("/api/admin/tokens")).header(header, value);
            assert_eq!(made.body(evil.clone()).send().await.unwrap().status(), 401, "{access} {header}");
        }
        assert!(gateway.app.gateway.tokens().is_empty());
        let browser = Browser::sign_in(&gateway).await;
        assert_eq!(browser.get("/api/admin/config").await.status(), 200, "{access}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_chat_without_tokens_opens_no_dashboard_to_the_network() {
    let off = "[access]\nauth = 'off'\ntrusted_proxies = ['127.0.0.1/32']";
    let (gateway, tokens) = TestGateway::with_tokens(off, &[("op", &[Scope::Admin])]).await;
    let from = async |url: String, address: &str, token: Option<&str>| {
        let request = gateway.http.get(url).header("x-forwarded-for", address);
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request.send().await.unwrap().status().as_u16()
    };
    let admin = gateway.admin_url("/api/admin/config");
    assert_eq!(from(gateway.url("/v1/models"), "203.0.113.7", None).await, 200, "that is what `off` is for");
    assert_eq!(from(admin.clone(), "203.0.113.7", None).await, 401);
    assert_eq!(from(admin.clone(), "203.0.113.7", Some("pm_nonsense")).await, 401);
    assert_eq!(from(admin.clone(), "203.0.113.7", Some(&tokens[0])).await, 200);
    assert_eq!(from(admin, "127.0.0.1", None).await, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn who_may_look_no_longer_sees_nothing_more() {
    let tokens: [(&str, &[Scope]); 2] = [("op", &[Scope::Admin]), ("client", &[Scope::Chat])];
    let environment = [("POINTSMAN_ADMIN_PASSWORD", PASSWORD)];
    let (gateway, texts) = TestGateway::with_environment("", &tokens, &environment).await;
    let browser = Browser::sign_in(&gateway).await;
    let mut by_session = browser.get("/api/admin/requests/stream").await;
    let url = gateway.admin_url("/api/admin/requests/stream");
    let mut by_token = gateway.http.get(url).bearer_auth(&texts[0]).send().await.unwrap();
    for stream in [&mut by_session, &mut by_token] {
        let hello = stream.chunk().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&hello).contains("ready"));
    }
    gateway.app.gateway.change_tokens(|tokens| tokens.revoke("op")).unwrap();
    let out = browser.change("POST", "/dashboard/logout").body(format!("csrf={}", browser.csrf));
    assert_eq!(out.send().await.unwrap().status(), 303);
    let chat = gateway.http.post(gateway.url("/api/chat")).bearer_auth(&texts[1]);
    let chat = chat.body(ask("/api/chat", "gpt-4o", "hi").to_string()).send().await.unwrap();
    assert_eq!(chat.status(), 200);
    for stream in [by_session, by_token] {
        let rest = tokio::time::timeout(Duration::from_secs(5), stream.text()).await;
        let rest = rest.expect("the stream ends").unwrap();
        assert!(!rest.contains("phase"), "{rest}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn why_a_changed_file_is_not_in_force_is_told_to_operators_until_one_is() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let file = gateway.args.file.clone().unwrap();
    let told = async || {
        let config: Value = browser.get("/api/admin/config").await.json().await.unwrap();
        let page = browser.get("/dashboard/configuration").await.text().await.unwrap();
        (config["errors"].clone(), page, gateway.admin("/metrics").await)
    };
    let is_quiet = |(errors, page, metrics): (Value, String, String)| {
        let good = metrics.contains("\npointsman_config_good 1\n");
        errors == json!([]) && !page.contains("configuration is wrong") && good
    };
    assert!(is_quiet(told().await));
    std::fs::write(&file, "[models.gpt-4o]\nweight = -1\n[server]\nlisten_on = '<b>'").unwrap();
    settle(|| !gateway.app.gateway.config_errors().is_empty(), "the change was not noticed").await;
    let (errors, page, metrics) = told().await;
    let all = errors.as_array().unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
    for error in all {
        let error = error.as_str().unwrap();
        assert!(error.starts_with("models.gpt-4o.weight: ") || error.starts_with("server.listen_on: "), "{error}");
    }
    assert!(page.contains("models.gpt-4o.weight: ") && page.contains("configuration is wrong"), "{page}");
    assert!(metrics.contains("\npointsman_config_good 0\n"), "{metrics}");
    std::fs::write(&file, "[models.gpt-4o]\nweight = 1.0").unwrap();
    settle(|| gateway.app.gateway.config_errors().is_empty(), "the mended one was not noticed").await;
    assert!(is_quiet(told().await));
    gateway.stop().await;
}

#[tokio::test]
async fn tokens_are_made_shown_once_and_revoked() {
    let gateway = locked("[aliases]\nours = 'auto'\n").await;
    let browser = Browser::sign_in(&gateway).await;
    let wanted = json!({ "name": "ci <b>", "scopes": ["chat"], "requests_per_minute": 5 });
    let mut useless = wanted.clone();
    useless["models"] = json!([]);
    let refused = browser.call("POST", "/api/admin/tokens", useless.clone()).await;
    assert_eq!(refused.status(), 400, "a list of no model is not a list of all");
    for name in ["auto", "ours"] {
        useless["models"] = json!([name]);
        let refused = browser.call("POST", "/api/admin/tokens", useless.clone()).await.text().await.unwrap();
        let why = format!("`{name}` is no model: it chooses among those that a token opens");
        assert!(refused.contains(&why), "{refused}");
    }
    let made = browser.call("POST", "/api/admin/tokens", wanted.clone()).await;
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let text = made["text"].as_str().unwrap();
    assert_eq!(browser.call("POST", "/api/admin/tokens", wanted).await.status(), 400, "the name is taken");
    let page = browser.get("/dashboard/tokens").await.text().await.unwrap();
    assert!(page.contains("ci &lt;b&gt;") && !page.contains("ci <b>") && !page.contains(text));
    let chat = |token: String| {
        gateway
            .http
            .post(gateway.url("/api/chat"))
            .bearer_auth(token)
            .body(ask("/api/chat", "gpt-4o", "hi").to_string())
            .send()
    };
    assert_eq!(chat(text.to_owned()).await.unwrap().status(), 200);
    let gone = browser
        .call("DELETE", &format!("/api/admin/tokens/{}", made["token"]["id"].as_str().unwrap()), json!({}))
        .await;
    assert_eq!(gone.status(), 200);
    assert_eq!(chat(String::new()).await.unwrap().status(), 200, "no token is left, so none is asked for");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_is_watched_and_its_decision_explained_and_rated() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let mut live = browser.get("/api/admin/requests/stream").await;
    let hostile = "<script>alert('x')</script>";
    let mut question = ask("/api/chat", "auto", hostile);
    question["routing"] = json!({ "tags": { "team": hostile }, "conversation": "c1" });
    let answer: Value = gateway.post("/api/chat", question.clone()).await.json().await.unwrap();
    let id = answer["routing"]["decision_id"].as_str().unwrap().to_owned();
    let mut seen = String::new();
    while !seen.contains("\"phase\":\"ended\"") {
        seen.push_str(&String::from_utf8_lossy(&live.chunk().await.unwrap().unwrap()));
    }
    for phase in ["routing", "routed", "calling", "answering"] {
        assert!(seen.contains(&format!("\"phase\":\"{phase}\"")), "{phase} is not in {seen}");
    }
    assert!(seen.contains(&id) && !seen.contains("alert"), "the id and not the prompt");
    drop(live);

    let nothing = browser.get("/dashboard/decisions/%FF").await;
    assert_eq!(nothing.status(), 404);
    assert!(nothing.text().await.unwrap().contains("There is no such decision"), "as a page");
    let page = format!("/dashboard/decisions/{id}");
    let mut text = String::new();
    for _ in 0..200 {
        text = browser.get(&page).await.text().await.unwrap();
        if text.contains("Answered by") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(text.contains("Who could answer") && text.contains("chosen"), "{text}");
    assert!(text.contains("&lt;script&gt;alert") && !text.contains("<script>alert"), "the tag is text");
    let rating = json!({ "decision_id": id, "thumbs": "down", "comment": hostile, "source": "dashboard" });
    assert_eq!(browser.call("POST", "/api/admin/feedback", rating).await.status(), 200);
    let text = browser.get(&page).await.text().await.unwrap();
    assert!(text.contains("thumb down") && !text.contains("<script>alert"));
    let list: Value = browser.get("/api/admin/decisions?rated=true&limit=5").await.json().await.unwrap();
    assert_eq!(list["entries"][0]["decision"]["id"], id.as_str());
    let overview: Value = browser.get("/api/admin/overview?window=1h").await.json().await.unwrap();
    assert_eq!((overview["total"]["requests"].as_u64(), overview["total"]["rated"].as_u64()), (Some(1), Some(1)));
    assert!(!text.contains("asked_again"));
    assert_eq!(gateway.post("/api/chat", question).await.status(), 200);
    gateway.app.gateway.recorder.flush().await.unwrap();
    assert!(browser.get(&page).await.text().await.unwrap().contains("asked_again"), "it came again");
    settle(|| gateway.app.gateway.metrics.in_flight() == 0, "a request is left").await;
    gateway.stop().await;
}

/// The overview as the API has it, once `holds`.
async fn overview(browser: &Browser, holds: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    for _ in 0..200 {
        found = browser.get("/api/admin/overview?window=1h").await.json().await.unwrap();
        if holds(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{found}");
}

#[tokio::test]
async fn what_callers_tell_of_their_own_calls_is_part_of_the_whole() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    // One more that nobody acts on.
    gateway.post("/api/route", ask("/api/chat", "gpt-4o", "hi")).await;
    for _ in 0..3 {
        let asked: Value = gateway.post("/api/route", ask("/api/chat", "gpt-4o", "hi")).await.json().await.unwrap();
        let body = json!({ "decision_id": asked["decision_id"], "status": "error" });
        assert_eq!(gateway.post("/api/outcomes", body).await.status(), 202);
    }
    overview(&browser, |found| found["total"]["errors"] == 3).await;
    let page = browser.get("/dashboard?window=1h").await.text().await.unwrap();
    assert!(!page.contains("No request in this stretch") && page.contains("100 %"), "{page}");
    gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await;
    let found = overview(&browser, |found| found["total"]["requests"] == 1).await;
    assert_eq!([&found["total"]["dry_runs"], &found["total"]["reported"]], [4, 3]);
    let over_time = found["models_over_time"].as_object().unwrap().values();
    assert_eq!(over_time.map(|models| models["gpt-4o"].as_u64().unwrap()).sum::<u64>(), 4);
    let page = browser.get("/dashboard?window=1h").await.text().await.unwrap();
    assert!(page.contains("3 reported by /api/outcomes") && page.contains("75 %"), "{page}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_no_model_could_answer_is_no_lull() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    assert_eq!(gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await.status(), 200);
    browser.call("POST", "/api/admin/models/gpt-4o/drain", json!({})).await;
    for _ in 0..3 {
        assert_eq!(gateway.post("/api/chat", ask("/api/chat", "gpt-4o", "hi")).await.status(), 503);
    }
    // Not for want of a model.
    assert_eq!(gateway.post("/api/chat", ask("/api/chat", "nothing", "hi")).await.status(), 404);
    let found = overview(&browser, |found| found["total"]["requests"] == 1).await;
    assert_eq!(found["refused"], json!({ "gpt-4o": 3 }));
    let page = browser.get("/dashboard?window=1h").await.text().await.unwrap();
    assert!(
        page.contains("3 more were refused, as no model could answer: gpt-4o 3") && page.contains("75 %"),
        "{page}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_wrote_is_a_link_away() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let (id, at_ms) = gateway.decide_ahead();
    let link = format!("/dashboard/decisions?until_ms={}", at_ms + 1);
    let page = browser.get("/dashboard/decisions").await.text().await.unwrap();
    assert!(page.contains(&link) && !page.contains(&id), "{page}");
    let page = browser.get(&link).await.text().await.unwrap();
    assert!(page.contains(&id), "{page}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_words_for_people() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    for (path, said) in [
        ("/dashboard?window=90d", "unknown variant"),
        ("/dashboard/decisions?limit=abc", "limit: must be a whole number, 0 or more."),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status(), 400, "{path}");
        let page = answer.text().await.unwrap();
        assert!(page.contains("<h1>There is no such page</h1>") && page.contains(said), "{path}: {page}");
    }
    let answer = browser.get("/api/admin/decisions?from_ms=2026-11-29").await;
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["error"]["param"], "from_ms");
    assert_eq!(told["error"]["message"], "must be Unix milliseconds, a whole number");
    let refused = browser.call("POST", "/api/admin/tokens", json!({ "name": "a" })).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("choose at least one"));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_kept_of_a_question_is_said() {
    for (extra, said) in
        [("", "No prompt is shown or kept."), ("[store]\nprompts = true", "each decision keeps its question")]
    {
        let gateway = locked(extra).await;
        let page = Browser::sign_in(&gateway).await.get("/dashboard/monitor").await.text().await.unwrap();
        assert!(page.contains(said), "{extra}: {said}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_drain() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let mut live = browser.get("/api/admin/logs/stream").await;
    assert!(String::from_utf8_lossy(&live.chunk().await.unwrap().unwrap()).contains("ready"));
    let stopped = tokio::time::timeout(Duration::from_secs(4), gateway.stop()).await;
    assert!(stopped.is_ok(), "the drain waited for its deadline");
}

#[tokio::test]
async fn an_act_is_done_and_noted_whoever_hangs_up() {
    let gateway = TestGateway::start("").await;
    let inner = &gateway.app.gateway;
    let operator = || {
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        let request_id = pointsman::protocol::RequestId("r".into());
        Operator(Caller { token: None, session: None, address, request_id })
    };
    let state = || State(Arc::clone(inner));
    // Each handler is looked at once and dropped, as when the connection closes.
    let sent = Body::from(json!({ "weight": 7.5 }).to_string());
    let changing = admin::models::change(state(), operator(), Named("gpt-4o".into()), sent);
    assert!(changing.now_or_never().is_none());
    let sent = Body::from(json!({ "name": "left", "scopes": ["admin"] }).to_string());
    assert!(admin::tokens::make(state(), operator(), sent).now_or_never().is_none());
    let noted = async || {
        let acts = inner.with_store(|store| store.audits(10)).await.unwrap();
        let mut actions: Vec<String> = acts.into_iter().map(|act| act.action).collect();
        actions.sort();
        actions
    };
    for _ in 0..500 {
        if noted().await.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(noted().await, ["model.change", "token.make"]);
    assert_eq!(inner.live().catalog.find("gpt-4o").unwrap().settings.weight, 7.5);
    assert_eq!(inner.tokens().all().len(), 1);
    gateway.stop().await;
}
