//! From traffic to a head: users ask and rate, the log is exported, `pointsman train --log` fits a head to it, and a
//! gateway that serves with that head calls their models learned.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::TestGateway;

/// Two that the builtin head has never measured.
const MODELS: [&str; 2] = ["gpt-6-sol", "claude-haiku-5-5"];

const PROMPTS: [&str; 4] =
    ["What is {} plus 17?", "Write a poem about {} swans.", "Compute {} * 3.", "Sing of {} ships."];

const CONFIG: &str = "
[routing.sticky]
enabled = false
[learning]
interval_s = 3600
";

/// Asks, is answered, and rates: sums are good, poems are not.
async fn traffic(gateway: &TestGateway, visits: usize) {
    for at in 0..visits {
        let prompt = PROMPTS[at % 4].replace("{}", &at.to_string());
        let body = json!({
            "model": MODELS[at / 2 % 2], "max_tokens": 20, "messages": [{ "role": "user", "content": prompt }],
        });
        let response = gateway.post("/api/chat", body).await;
        assert_eq!(response.status(), 200);
        let decision = response.headers()["x-pointsman-decision"].to_str().unwrap().to_owned();
        response.bytes().await.unwrap();
        let thumbs = if at % 2 == 0 { "up" } else { "down" };
        let rated = gateway.post("/api/feedback", json!({ "decision_id": decision, "thumbs": thumbs })).await;
        assert_eq!(rated.status(), 200);
    }
}

/// Small and quick: what is tested is the road. Its source is one of `--data`, which a log alone does not ask for.
const RECIPE: &str = "
sources = ['elsewhere']
[pooling]
layers = [2]
mean = true
last = false
[fit]
projected = 16
key_states = 16
[fit.trunk]
members = 1
hidden = 8
latent = 4
batch = 16
rate = 1e-2
";

fn train(dir: &Path) -> Output {
    std::fs::write(dir.join("recipe.toml"), RECIPE).unwrap();
    Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["train", "--log", "log.jsonl", "--recipe", "recipe.toml", "--out", "own"])
        .current_dir(dir)
        .output()
        .unwrap()
}

/// What a dry run says of a model on a prompt: where its quality is from, and how good it is.
async fn said(gateway: &TestGateway, prompt: &str, model: &str) -> (String, f64) {
    let ask = json!({ "messages": [{ "role": "user", "content": prompt }], "routing": { "models": MODELS } });
    let told: Value = gateway.post("/api/route", ask).await.json().await.unwrap();
    let candidates = told["candidates"].as_array().unwrap();
    let one = candidates.iter().find(|it| it["model"] == model).unwrap_or_else(|| panic!("no {model}: {told}"));
    let source = one["source"].as_str().unwrap_or_else(|| panic!("nothing was predicted: {told}"));
    (source.to_owned(), one["prior"].as_f64().unwrap())
}

async fn serving(head: &str) -> TestGateway {
    let classifier = format!("{CONFIG}[classifier]\nenabled = true\nbudget_ms = 10000\nhead = '{head}'\n");
    let gateway = TestGateway::start(&classifier).await;
    for _ in 0..6000 {
        if !gateway.app.gateway.classifier.is_loading() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    gateway
}

#[tokio::test]
async fn traffic_with_feedback_makes_a_head_whose_models_are_learned() {
    let gateway = TestGateway::start(&format!("{CONFIG}[store]\nprompts = true\n")).await;
    traffic(&gateway, 120).await;
    let log = gateway.admin("/api/admin/export").await;
    assert_eq!(log.lines().count(), 120);
    gateway.stop().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log.jsonl"), &log).unwrap();
    let trained = train(dir.path());
    let (out, err) = (String::from_utf8_lossy(&trained.stdout), String::from_utf8_lossy(&trained.stderr));
    assert!(trained.status.success(), "{out}{err}");
    assert!(out.contains("120 judged answers, 120 of them with their prompt; 120 are learned from"), "{out}");
    let last = out.lines().last().unwrap_or_default();
    assert!(last.starts_with("Not compared with the head in force (builtin): it was not fitted to"), "{out}");

    let gateway = serving("builtin").await;
    let (source, _) = said(&gateway, "What is 40 plus 2?", MODELS[0]).await;
    assert_eq!(source, "prior", "the builtin head has not measured it");
    gateway.stop().await;
    let gateway = serving(&dir.path().join("own/head.safetensors").display().to_string()).await;
    for model in MODELS {
        let (source, sums) = said(&gateway, "What is 40 plus 2?", model).await;
        let (_, poems) = said(&gateway, "Write a poem about rain.", model).await;
        assert_eq!(source, "learned");
        assert!(sums > poems + 0.2, "{model}: {sums:.2} for sums, {poems:.2} for poems");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_log_without_prompts_says_which_key_to_set() {
    let gateway = TestGateway::start(CONFIG).await;
    traffic(&gateway, 4).await;
    let log = gateway.admin("/api/admin/export").await;
    gateway.stop().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log.jsonl"), &log).unwrap();
    let trained = train(dir.path());
    let err = String::from_utf8_lossy(&trained.stderr);
    assert!(!trained.status.success() && err.contains("`prompts = true` under [store]"), "{err}");
}
