//! Servers that are asked for their models, and are slow to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pointsman::config::{self, Capability, Loaded};
use pointsman::upstream::{Discovered, discover};
use serde_json::json;

use crate::support::mock::{Mock, Script};
use crate::support::{CLIENTS, TestGateway, ask, nobody, settle, turns};

/// Lists so many models; what it says of each is scripted.
async fn server(models: usize, facts: impl Fn() -> Script + Send + Sync + 'static) -> Mock {
    let names: Vec<_> = (0..models).map(|at| json!({ "name": format!("home-{at}") })).collect();
    let list = json!({ "models": names }).to_string();
    Mock::start(move |body| if body.is_empty() { Script::whole(list.clone()) } else { facts() }).await
}

async fn gateway_before(mock: &Mock) -> TestGateway {
    let provider = mock.speaking("ollama", "home") + "discover = true\n";
    TestGateway::before(&provider, "").await
}

#[tokio::test]
async fn what_a_model_can_do_stays_while_its_server_does_not_say() {
    let busy = Arc::new(AtomicBool::new(false));
    let facts = json!({ "model_info": { "llama.context_length": 65536 }, "capabilities": ["tools", "vision"] });
    let mock = {
        let busy = Arc::clone(&busy);
        let facts =
            move || Script::whole(if busy.load(Ordering::Relaxed) { "busy".into() } else { facts.to_string() });
        server(1, facts).await
    };
    let gateway = gateway_before(&mock).await;
    let inside = &gateway.app.gateway;
    let found = || inside.live().catalog.find("home-0").map(|model| model.settings.clone());
    settle(|| found().is_some(), "its models were not found").await;
    busy.store(true, Ordering::Relaxed);
    let ask_again = async |known: &[_]| {
        let live = inside.live();
        let home = live.catalog.provider("home").unwrap();
        inside.discovered("home", discover(inside.dispatcher.client(), home, known).await);
        let settings = found().unwrap();
        (settings.context, settings.can.contains(&Capability::Tools))
    };
    assert_eq!(ask_again(inside.listing("home").models()).await, (65536, true));
    assert_eq!(ask_again(&[]).await, (8192, false), "a new one of which nothing is known");
    gateway.stop().await;
}

#[tokio::test]
async fn a_name_that_would_break_a_line_of_the_log_is_left_out() {
    let names = ["evil\r\nx-injected: 1", "a\u{1b}[31mred", "home"];
    for (dialect, list) in [
        ("ollama", json!({ "models": names.map(|name| json!({ "name": name })) })),
        ("openai", json!({ "data": names.map(|name| json!({ "id": name })) })),
    ] {
        let list = list.to_string();
        let mock = Mock::start(move |_| Script::whole(list.clone())).await;
        let provider = mock.speaking(dialect, "home") + "discover = true\n";
        let gateway = TestGateway::before(&provider, "").await;
        let live = || gateway.app.gateway.live();
        settle(|| live().catalog.find("home").is_some(), "its models were not found").await;
        for name in &names[..2] {
            assert!(live().catalog.find(name).is_none(), "{dialect}: {name:?}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_model_that_a_server_lists_comes_before_an_alias_of_the_defaults_and_behind_ones_own() {
    let list = json!({ "data": [{ "id": "claude-opus-4-8" }, { "id": "mine" }] }).to_string();
    let mock = Mock::start(move |_| Script::whole(list.clone())).await;
    let provider = mock.openai("home") + "discover = true\n";
    let gateway = TestGateway::before(&provider, "[aliases]\nmine = 'gpt-4o'\n").await;
    let live = || gateway.app.gateway.live();
    settle(|| live().catalog.canonical("claude-opus-4-8") == "claude-opus-4-8", "it is hidden by an alias").await;
    assert!(!live().catalog.names().aliases().contains_key("claude-opus-4-8"));
    assert_eq!(live().catalog.canonical("mine"), "gpt-4o");
    assert_eq!(live().catalog.canonical("claude-sonnet-5[1m]"), "claude-sonnet-5-5");
    gateway.stop().await;
}

#[tokio::test]
async fn a_claude_that_was_found_on_a_list_is_told_how_to_think_as_its_client_says() {
    let list = json!({ "data": [{ "id": "claude-next" }] }).to_string();
    let answer = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-next",
        "content": [{ "type": "text", "text": "x" }], "stop_reason": "end_turn",
        "usage": { "input_tokens": 1, "output_tokens": 1 } });
    let thinking = json!({ "type": "adaptive" });
    let told = Arc::new(AtomicBool::new(false));
    let mock = {
        let (told, wanted) = (Arc::clone(&told), format!("\"thinking\":{thinking}"));
        Mock::start(move |body| {
            told.fetch_or(body.contains(&wanted), Ordering::Relaxed);
            Script::whole(if body.is_empty() { list.clone() } else { answer.to_string() })
        })
        .await
    };
    let provider = mock.speaking("anthropic", "home") + "discover = true\n";
    let gateway = TestGateway::before(&provider, "").await;
    settle(|| gateway.app.gateway.live().catalog.find("claude-next").is_some(), "it was not found").await;
    let mut asked = ask("/v1/messages", "claude-next", "hi");
    asked["thinking"] = thinking;
    let response = gateway.post("/v1/messages", asked).await;
    assert_eq!((response.status().as_u16(), response.headers().get("x-pointsman-dropped")), (200, None));
    assert!(told.load(Ordering::Relaxed));
    gateway.stop().await;
}

#[tokio::test]
async fn a_corrected_address_is_asked_at_once_and_not_spared_for_what_the_old_one_did() {
    let closed = nobody();
    let mock = server(1, || Script::whole("{}")).await;
    let provider = format!("[providers.home]\nbase_url = 'http://{closed}'\ndialect = 'ollama'\ndiscover = true\n");
    let gateway = TestGateway::before(&provider, "[models.own]\nprovider = 'home'").await;
    let live = || gateway.app.gateway.live();
    let unusable = || live().catalog.provider("home").unwrap().unusable.clone();
    settle(|| unusable().is_some(), "it does answer").await;
    let mut args = gateway.args.clone();
    args.sandbox = args.sandbox.map(|all| all.replace(&closed.to_string(), &mock.address.to_string()));
    let Loaded { config, settings, .. } = config::load(&args).unwrap();
    gateway.app.gateway.configure(config, settings);
    assert_eq!(unusable(), None, "that nobody answers there is known of the old address");
    let begun = Instant::now();
    settle(|| live().catalog.find("home-0").is_some(), "it was not asked").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "only with the next round: {:?}", begun.elapsed());
    assert_eq!(unusable(), None);
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_works_for_us_is_not_gone_while_its_list_is_late() {
    let busy = Arc::new(AtomicBool::new(false));
    let list = json!({ "data": [{ "id": "home" }] }).to_string();
    let said = json!({ "role": "assistant", "content": "x" });
    let answer = json!({ "choices": [{ "index": 0, "message": said, "finish_reason": "stop" }] }).to_string();
    let mock = {
        let busy = Arc::clone(&busy);
        Mock::start(move |body| match body {
            "" if busy.load(Ordering::Relaxed) => Script { head_ms: 60_000, ..Script::whole(list.clone()) },
            "" => Script::whole(list.clone()),
            _ => Script { head_ms: 500, ..Script::whole(answer.clone()) },
        })
        .await
    };
    let provider = mock.openai("one-thing") + "discover = true\n";
    let gateway = TestGateway::before(&provider, "").await;
    let inside = &gateway.app.gateway;
    settle(|| inside.live().catalog.find("home").is_some(), "its models were not found").await;
    let ask_for_list = async || {
        let live = inside.live();
        discover(inside.dispatcher.client(), live.catalog.provider("one-thing").unwrap(), &[]).await
    };
    let listed = ask_for_list().await;
    busy.store(true, Ordering::Relaxed);
    let late = ask_for_list().await;
    assert!(matches!(late, Discovered::Late(_)), "{late:?}");
    let gone_after_two = || {
        (0..2).for_each(|_| inside.discovered("one-thing", late.clone()));
        inside.listing("one-thing").gone().map(str::to_owned)
    };
    assert_eq!(gone_after_two().as_deref(), Some("no answer in time"), "it did nothing else");
    inside.discovered("one-thing", listed);
    let before = mock.calls();
    let asked = gateway.post("/v1/chat/completions", ask("/v1/chat/completions", "home", "hi"));
    let meanwhile = async {
        settle(|| mock.calls() > before, "it was not asked").await;
        gone_after_two()
    };
    let (response, gone) = tokio::join!(asked, meanwhile);
    assert_eq!((response.status().as_u16(), gone), (200, None));
    assert_eq!(gone_after_two(), None, "it has just answered");
    gateway.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_slow_server() {
    let mock = server(40, || Script { head_ms: 60_000, ..Script::whole("{}") }).await;
    let gateway = gateway_before(&mock).await;
    settle(|| mock.calls() >= 2, "it was not asked").await;
    let begun = Instant::now();
    gateway.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_model_that_two_servers_list_is_answered_while_one_of_them_is_away() {
    let server = || {
        let list = json!({ "data": [{ "id": "smol" }] });
        let choice =
            json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "x" } });
        let answer = json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "smol", "choices": [choice],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 } });
        Mock::start(move |body| Script::whole(if body.is_empty() { list.to_string() } else { answer.to_string() }))
    };
    let (one, two) = (server().await, server().await);
    let upstreams = one.openai("one") + "discover = true\n" + &two.openai("two") + "discover = true\n";
    let gateway = TestGateway::before(&upstreams, "").await;
    let live = || gateway.app.gateway.live();
    let is_served_twice = || live().catalog.find("smol").is_some_and(|model| model.deployments.len() == 2);
    settle(is_served_twice, "both servers do not serve it").await;
    drop(two);
    // Who names a server means that one.
    for (name, status) in [("smol", 200), ("two/smol", 502), ("one/smol", 200), ("smol", 200)] {
        let path = "/v1/chat/completions";
        gateway.reset_breakers();
        let response = gateway.post(path, ask(path, name, "hi")).await;
        assert_eq!(response.status().as_u16(), status, "{name}: {}", response.text().await.unwrap());
    }
    for (name, status) in [("one/smol", 200), ("smol", 200), ("two/smol", 502)] {
        let mut asked = ask("/api/chat", "auto", "hi");
        asked["routing"]["models"] = json!([name]);
        gateway.reset_breakers();
        let response = gateway.post("/api/chat", asked).await;
        assert_eq!(response.status().as_u16(), status, "{name} in a list: {}", response.text().await.unwrap());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_list_does_not_tell_of_a_model_its_server_says() {
    let list = json!({ "data": [{ "id": "mystery" }, { "id": "gpt-4o" }] }).to_string();
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "{}" } });
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
    let answer = json!({ "id": "c", "model": "x", "choices": [choice], "usage": usage }).to_string();
    let mock =
        Mock::start(move |body| Script::whole(if body.is_empty() { list.clone() } else { answer.clone() })).await;
    let provider = mock.openai("home") + "discover = true\n";
    let gateway = TestGateway::before(&provider, "[providers.openai]\nenabled = false\n").await;
    settle(|| gateway.app.gateway.live().catalog.find("mystery").is_some(), "its models were not found").await;
    let url = "data:image/png;base64,aGVsbG8=";
    let source = json!({ "type": "base64", "media_type": "image/png", "data": "aGVsbG8=" });
    let schema = json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false });
    let asked = |path: &str, model: &str| {
        let (part, field, format) = match path {
            "/v1/messages" => (
                json!({ "type": "image", "source": source }),
                "output_config",
                json!({ "format": { "type": "json_schema", "schema": schema } }),
            ),
            "/v1/responses" => (
                json!({ "type": "input_image", "image_url": url }),
                "text",
                json!({ "format": { "type": "json_schema", "name": "c", "schema": schema } }),
            ),
            _ => (
                json!({ "type": "image_url", "image_url": { "url": url } }),
                "response_format",
                json!({ "type": "json_schema", "json_schema": { "name": "c", "schema": schema } }),
            ),
        };
        let mut body = ask(path, model, "hi");
        body[turns(path)] = json!([{ "role": "user", "content": [part] }]);
        body[field] = format;
        body
    };
    for path in CLIENTS {
        for name in ["mystery", "home/mystery", "gpt-4o"] {
            mock.heard.lock().clear();
            let response = gateway.post(path, asked(path, name)).await;
            assert_eq!(response.status().as_u16(), 200, "{path} {name}: {}", response.text().await.unwrap());
            let heard = String::from_utf8_lossy(&mock.heard.lock()).into_owned();
            assert!(heard.contains(url) && heard.contains("\"json_schema\""), "{path} {name}: {heard}");
        }
    }
    let path = "/v1/chat/completions";
    let mut thinks = ask(path, "mystery", "hi");
    thinks["reasoning_effort"] = json!("high");
    mock.heard.lock().clear();
    let response = gateway.post(path, thinks).await;
    assert_eq!((response.status().as_u16(), response.headers().get("x-pointsman-dropped")), (200, None));
    assert!(String::from_utf8_lossy(&mock.heard.lock()).contains("\"reasoning_effort\":\"high\""));
    for (among, status) in [("mystery", 400), ("gpt-4o", 200)] {
        let body = asked(path, "auto").to_string();
        let request = gateway.http.post(gateway.url(path)).header("x-pointsman-models", among).body(body);
        assert_eq!(request.send().await.unwrap().status().as_u16(), status, "`auto` among {among}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn health_says_why_a_server_lists_no_models() {
    let mock = Mock::start(|_| Script { status: 404, ..Script::whole("{}") }).await;
    let gateway = TestGateway::before(&(mock.openai("home") + "discover = true\n"), "").await;
    settle(|| gateway.app.gateway.listing("home").silence().is_some(), "it was not asked").await;
    let health = gateway.http.get(gateway.url("/health")).send().await.unwrap().text().await.unwrap();
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    let home = health["backends"].as_array().unwrap().iter().find(|backend| backend["name"] == "home");
    assert_eq!(home.unwrap()["status"], "does not list its models: it answers with status 404");
    gateway.stop().await;
}
