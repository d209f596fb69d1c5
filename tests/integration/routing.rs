//! Static rules and weights, and the dry run that explains them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::{CLIENTS, TestGateway, ask, discovered, error};

#[tokio::test]
async fn a_dry_run_explains_and_calls_nobody() {
    let gateway = TestGateway::start(
        "[[rules]]\nname = 'code to sonnet'\nwhen = { has = ['code'] }\nprefer = ['claude-sonnet-5-5']\nforbid = ['gpt-4o']\n",
    )
    .await;
    let body = json!({ "messages": [{ "role": "user", "content": "Fix:\n```rust\nfn main() {}\n```" }] });
    let answer: Value = gateway.post("/api/route", body).await.json().await.unwrap();
    assert_eq!(answer["chosen"], "claude-sonnet-5-5", "{answer}");
    assert_eq!(answer["rules"], json!(["code to sonnet"]));
    assert!(answer["decision_id"].is_string());
    let excluded = answer["excluded"].as_array().unwrap();
    let gpt = excluded.iter().find(|entry| entry["model"] == "gpt-4o").unwrap();
    assert_eq!(gpt["reason"], "the rule `code to sonnet` forbids it");
    let sum: f64 = answer["candidates"].as_array().unwrap().iter().map(|c| c["propensity"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert!(gateway.sandbox.seen().iter().all(|seen| !seen.body["messages"].is_array()));
    gateway.stop().await;
}

#[tokio::test]
async fn traffic_follows_the_weights_and_their_changes() {
    let only_two = "[routing]\nstrategy = 'weighted'\n[[rules]]\nname = 'two'\nweights = { gpt-4o = 3.0, claude-sonnet-5-5 = 1.0 }\n\
        forbid = ['claude-fable-5-1', 'claude-opus-5-5', 'claude-haiku-5-5', 'gpt-6-sol', 'gpt-6-luna', 'gpt-5.6-terra', 'gpt-4o-mini', 'deepseek-flash', 'deepseek-v4-pro']\n";
    let gateway = TestGateway::start(only_two).await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..200 {
        let response = gateway.post("/api/chat", ask("/api/chat", "auto", "hi")).await;
        *counts.entry(response.headers()["x-pointsman-model"].to_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!((120..=180).contains(&counts["gpt-4o"]), "{counts:?}");
    let file = gateway.args.file.clone().unwrap();
    std::fs::write(file, only_two.replace("gpt-4o = 3.0", "gpt-4o = 0.0")).unwrap();
    gateway.app.reload().unwrap();
    for _ in 0..20 {
        let response = gateway.post("/api/chat", ask("/api/chat", "auto", "hi")).await;
        assert_eq!(response.headers()["x-pointsman-model"], "claude-sonnet-5-5");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_look_alike_is_a_few_lines() {
    let sandboxed = TestGateway::start("").await;
    let url = sandboxed.sandbox.url(pointsman::sandbox::Vendor::OpenAi);
    let gateway = TestGateway::before(
        &format!("[providers.together]\nbase_url = '{url}'\nkey_env = 'POINTSMAN_SANDBOX_KEY'\n"),
        "[models.mixtral]\nprovider = 'together'\nupstream = 'mistralai/Mixtral-8x7B'\n",
    )
    .await;
    let response = gateway.post("/v1/messages", ask("/v1/messages", "mixtral", "hi")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-pointsman-backend"], "together/mistralai/Mixtral-8x7B");
    gateway.stop().await;
    sandboxed.stop().await;
}

#[tokio::test]
async fn wishes_come_in_headers_too() {
    let gateway = TestGateway::start("").await;
    let request = gateway.http.post(gateway.url("/v1/chat/completions"));
    let request = request.header("x-pointsman-models", "gpt-4o-mini,gpt-4o").header("x-pointsman-exclude", "gpt-4o");
    let response = request.body(ask("/v1/chat/completions", "auto", "hi").to_string()).send().await.unwrap();
    assert_eq!(response.headers()["x-pointsman-model"], "gpt-4o-mini");
    for path in CLIENTS {
        for (name, value) in
            [("x-pointsman-model", "gpt-4o"), ("x-pointsman-exclude", "gpt-4"), ("x-pointsman-foo", "")]
        {
            let request = gateway.http.post(gateway.url(path)).header(name, value);
            let refused = request.body(ask(path, "auto", "hi").to_string()).send().await.unwrap();
            assert_eq!(refused.status(), 400, "{path} {name}");
            let told = error(path, &refused.json().await.unwrap());
            let named = if name.ends_with("exclude") { "`gpt-4`" } else { name };
            assert!(told.contains(named), "{told}");
        }
    }
    let body = json!({ "model": "auto:cost", "messages": [{ "role": "user", "content": "x" }] });
    let answer: Value = gateway.post("/api/route", body).await.json().await.unwrap();
    assert_eq!(answer["objective"], "cost");
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_loop_stays_on_its_model_from_its_first_step_on() {
    for (extra, clock) in [("[learning]\nmode = 'shadow'\n", false), ("", false), ("", true)] {
        let gateway = TestGateway::start(extra).await;
        let tool = json!({ "type": "function", "function": { "name": "time", "parameters": { "type": "object" } } });
        for number in 0..12 {
            // The same words each time, and nobody is named.
            let mut messages = vec![json!({ "role": "user", "content": "What time is it?" })];
            let mut models = Vec::new();
            for step in 0..4 {
                let mut sent = messages.clone();
                if clock {
                    sent.insert(0, json!({ "role": "system", "content": format!("It is {number}:{step}.") }));
                }
                let body = json!({ "model": "auto", "messages": sent, "tools": [tool] });
                let response = gateway.post("/v1/chat/completions", body).await;
                assert_eq!(response.status(), 200);
                models.push(response.headers()["x-pointsman-model"].to_str().unwrap().to_owned());
                response.bytes().await.unwrap();
                // A moment for what comes after the answer; tools take longer.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let id = format!("call_{number}_{step}");
                let call = json!({ "id": id, "type": "function", "function": { "name": "time", "arguments": "{}" } });
                messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
                messages.push(json!({ "role": "tool", "tool_call_id": id, "content": "noon" }));
            }
            assert!(models.iter().all(|model| *model == models[0]), "{extra} {clock}: {models:?}");
        }
        gateway.stop().await;
    }
}

/// Two equally good models of one server, and what `dear` and `cheap` cost.
async fn two_of(server: &Mock, dear: &str, cheap: &str) -> TestGateway {
    let models = format!(
        "[routing]\nobjective = 'cost'\n\
         [models.dear]\nprovider = 'own'\nscore = 0.8\nprice = {{ output = 0.0, {dear} }}\n\
         [models.cheap]\nprovider = 'own'\nscore = 0.8\nprice = {{ output = 0.0, {cheap} }}\n"
    );
    TestGateway::before(&server.openai("own"), &models).await
}

#[tokio::test]
async fn what_a_conversation_has_in_a_cache_is_what_its_vendor_shows() {
    const DEAR: &str = "input = 3.0, cache_read = 0.3";
    for (cached, cheap, after_one, after_two) in [
        (0, DEAR, ("dear", true), ("dear", false)),
        (18_000, DEAR, ("dear", true), ("dear", true)),
        // It costs less than what is read from the cache, too.
        (18_000, "input = 0.1", ("cheap", true), ("cheap", true)),
    ] {
        let usage = json!({ "prompt_tokens": 20_000, "completion_tokens": 300, "total_tokens": 20_300,
            "prompt_tokens_details": { "cached_tokens": cached } });
        let choice =
            json!({ "index": 0, "message": { "role": "assistant", "content": "Well." }, "finish_reason": "stop" });
        let answer = json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "x",
            "choices": [choice], "usage": usage });
        let server = Mock::start(move |_| Script::whole(answer.to_string())).await;
        let gateway = two_of(&server, DEAR, cheap).await;
        let mut messages = vec![json!({ "role": "user", "content": "word ".repeat(16_000) })];
        for (chosen, is_cached) in [after_one, after_two] {
            let talk = json!({ "messages": messages, "routing": { "conversation": "talk", "models": ["dear"] } });
            let answered = gateway.post("/api/chat", talk).await;
            assert_eq!(answered.status(), 200);
            answered.bytes().await.unwrap();
            // A moment for what comes after the answer.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            messages.push(json!({ "role": "assistant", "content": "Well." }));
            messages.push(json!({ "role": "user", "content": "More." }));
            let routing = json!({ "conversation": "talk", "models": ["dear", "cheap"] });
            let talk = json!({ "messages": messages, "routing": routing });
            let next: Value = gateway.post("/api/route", talk).await.json().await.unwrap();
            assert_eq!(next["chosen"], chosen, "{next}");
            let candidates = next["candidates"].as_array().unwrap();
            let of = |name: &str| candidates.iter().find(|it| it["model"] == name).unwrap();
            let (dear, cheap) = (of("dear"), of("cheap"));
            assert_eq!(cheap["switching_usd"], 0.0, "{next}");
            assert!(cheap.get("cached_usd").is_none(), "{next}");
            let (cost, saved) = (dear["cost_usd"].as_f64().unwrap(), dear["cached_usd"].as_f64().unwrap());
            assert_eq!(saved > 0.0, is_cached, "{next}");
            let full = next["prompt_tokens"].as_f64().unwrap() * 3e-6;
            assert!((cost + saved - full).abs() < 1e-9, "{next}");
            let says_so = next["reason"].as_str().unwrap().contains("its prompt is cached there");
            assert_eq!(says_so, chosen == "dear" && is_cached, "{next}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn weights_that_cannot_be_reckoned_with_are_refused() {
    let gateway = TestGateway::start("").await;
    for weights in [json!([-1.0, 0.0]), json!([1.7e308, 0.0]), json!([0.0, -1e-9])] {
        let objective = json!({ "cost_per_usd": weights[0], "latency_per_s": weights[1] });
        let body = json!({ "messages": [{ "role": "user", "content": "x" }], "routing": { "objective": objective } });
        let response = gateway.post("/api/route", body).await;
        assert_eq!(response.status(), 400, "{weights}");
        assert!(response.text().await.unwrap().contains("routing.objective"));
    }
    gateway.stop().await;
}

/// What the rules must keep at home, and a model that gives embeddings beside the one that is pinned.
const AT_HOME: &str = "
[models.embedder]
provider = 'openai'
upstream = 'text-embedding-3-small'
[[rules]]
name = 'not for sonnet'
when = { keywords = ['forbidden'] }
forbid = ['claude-sonnet-5-5', 'embedder']
[[rules]]
name = 'secrets stay here'
when = { regex = ['(?i)confidential'] }
pin = 'llama3.2'
[[rules]]
name = 'the lab stays here'
when = { tag = { team = 'lab' } }
pin = 'llama3.2'
";

#[tokio::test]
async fn what_a_rule_keeps_at_home_is_not_counted_elsewhere() {
    let gateway = TestGateway::start(AT_HOME).await;
    discovered(&gateway).await;
    let counted = async |text: &str, team: &str| {
        let body = json!({ "model": "claude-sonnet-5-5", "messages": [{ "role": "user", "content": text }] });
        let request =
            gateway.http.post(gateway.url("/v1/messages/count_tokens")).header("x-pointsman-tag-team", team);
        let response = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{text}");
        response.headers()["x-pointsman-counted"].to_str().unwrap().to_owned()
    };
    for (text, team, by) in [
        ("confidential: x", "sales", "estimate"),
        ("forbidden: x", "sales", "estimate"),
        ("from x", "lab", "estimate"),
        ("anything else", "sales", "vendor"),
    ] {
        assert_eq!(counted(text, team).await, by, "{text}");
    }
    let counts = gateway.sandbox.seen().into_iter().filter(|seen| seen.path.ends_with("/count_tokens"));
    assert_eq!(counts.count(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_rule_keeps_at_home_is_not_embedded_elsewhere() {
    let gateway = TestGateway::start(AT_HOME).await;
    discovered(&gateway).await;
    let embed = async |model: &str, input: Value| {
        let response = gateway.post("/v1/embeddings", json!({ "model": model, "input": input })).await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for (model, input, status, told) in [
        ("embedder", json!("anything else"), 200, ""),
        ("embedder", json!(["a", "Confidential: b"]), 403, "secrets stay here"),
        ("openai/text-embedding-3-large", json!("confidential"), 403, "secrets stay here"),
        ("embedder", json!("forbidden"), 403, "not for sonnet"),
        // The place of a model is that model.
        ("openai/text-embedding-3-small", json!("forbidden"), 403, "not for sonnet"),
        ("openai/text-embedding-3-large", json!("forbidden"), 200, ""),
        // Where the pinned model is served the text may go.
        ("ollama/nomic-embed-text", json!("confidential"), 200, ""),
        // Nobody here can read these.
        ("embedder", json!([[1, 2], [3]]), 400, "send no token ids"),
    ] {
        let (code, answer) = embed(model, input.clone()).await;
        assert_eq!(code, status, "{model} {input}: {answer}");
        assert!(answer.contains(told), "{answer}");
    }
    let sent = gateway.sandbox.seen().into_iter().filter(|seen| seen.path.ends_with("/embeddings"));
    assert_eq!(sent.count(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_goes_on_as_it_came_is_read_as_it_came() {
    let rule =
        "[[rules]]\nname = 'r'\nwhen = { keywords = ['confidential'] }\nforbid = ['gpt-4o', 'claude-opus-5-5']\n";
    let gateway = TestGateway::start(rule).await;
    let send = async |path: &str, body: &str| {
        let request = gateway.http.post(gateway.url(path)).body(body.to_owned());
        request.send().await.unwrap().status().as_u16()
    };
    let (openai, anthropic) = ("/v1/chat/completions", "/v1/messages");
    for (path, body) in [
        (
            openai,
            r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "confidential", "content": "hi"}]}"#,
        ),
        (
            openai,
            r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "metadata": {"confidential": ""}}"#,
        ),
        (
            openai,
            r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/confidential.png"}}]}]}"#,
        ),
        (
            anthropic,
            r#"{"model": "claude-opus-5-5", "max_tokens": 9, "system": [{"type": "text", "text": "x-anthropic-billing-header: confidential"}], "messages": [{"role": "user", "content": "hi"}]}"#,
        ),
    ] {
        assert_eq!(send(path, body).await, 400, "{body}");
    }
    assert_eq!(send(openai, r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}"#).await, 200);
    let sent = gateway.sandbox.seen().into_iter().filter(|seen| seen.body["messages"].is_array());
    assert_eq!(sent.count(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_wish_that_nobody_needs_is_refused_and_not_kept() {
    let gateway = TestGateway::start("").await;
    let mut body = ask("/api/route", "auto", "hi");
    for (wish, value) in [
        ("tags", json!({ "t": "x".repeat(5 << 20) })),
        ("models", json!(vec!["nobody"; 100_000])),
        ("conversation", json!("x".repeat(1 << 20))),
    ] {
        body["routing"] = json!({ wish: value });
        let refused = gateway.post("/api/route", body.clone()).await;
        assert_eq!(refused.status(), 400, "{wish}");
        let told: Value = refused.json().await.unwrap();
        assert_eq!(told["error"]["param"], format!("routing.{wish}"));
    }
    body["routing"] = json!({ "models": ["nope"] });
    let refused = gateway.post("/api/route", body).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("there is no model `nope`"));
    let refused = gateway.post("/api/route", ask("/api/route", &"m".repeat(1 << 20), "hi")).await;
    assert_eq!(refused.status(), 400);
    gateway.stop().await;
}
