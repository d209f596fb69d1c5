//! The loop, closed over HTTP: simulated users with tastes of their own ask, get an answer, and some of them rate it.
//!
//! Their world and all draws have fixed seeds. What is asserted is far from what chance could do in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pointsman::sandbox::{Change, Drift, Rating, Visit, World};
use serde_json::{Value, json};

use crate::support::{TestGateway, settle};

/// A strong one, a thinker, and two that are weaker at nearly everything.
const MODELS: [&str; 4] = ["gpt-6-sol", "deepseek-r1", "gpt-4o-mini", "claude-3-haiku"];

/// Quality alone, so that the users' liking is the whole truth; a policy that learns from every rating at once;
/// patience enough for a busy machine, since who is late is taken for worse.
const CONFIG: &str = "
[dispatch]
first_byte_timeout_ms = 20000
thinking_timeout_ms = 20000
whole_answer_timeout_ms = 20000
total_timeout_ms = 60000
[routing]
seed = 7
objective = 'quality'
[routing.sticky]
enabled = false
[learning]
interval_s = 3600
min_feedback = 200
";

/// What happened on one visit.
struct Visited {
    model: String,
    /// How much less likely a good answer was than from the best model.
    regret: f64,
}

struct Town {
    gateway: TestGateway,
    world: World,
    /// Whether users rate.
    rating: bool,
    /// Ratings given.
    rated: AtomicU64,
}

impl Town {
    async fn start(extra: &str, world: World) -> Self {
        Self {
            gateway: TestGateway::start(&format!("{CONFIG}{extra}")).await,
            world,
            rating: true,
            rated: AtomicU64::new(0),
        }
    }

    async fn visit(&self, number: u64) -> Visited {
        let visit = self.world.visit(number);
        let body = json!({
            "messages": [{ "role": "user", "content": visit.prompt.prompt }],
            "max_tokens": 20,
            "routing": { "models": MODELS },
        });
        let response = self.gateway.post("/api/chat", body).await;
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let (model, decision) = (header("x-pointsman-model"), header("x-pointsman-decision"));
        response.bytes().await.unwrap();
        if let Some((rating, _)) = self.world.verdict(&visit, &model).rating.filter(|_| self.rating) {
            self.rate(&decision, rating).await;
        }
        Visited { regret: self.regret(&visit, &model), model }
    }

    fn regret(&self, visit: &Visit, model: &str) -> f64 {
        let best = self.world.best(visit, &MODELS).unwrap();
        self.world.chance(visit, best) - self.world.chance(visit, model)
    }

    async fn rate(&self, decision: &str, rating: Rating) {
        let mut body = match rating {
            Rating::Thumbs(true) => json!({ "thumbs": "up" }),
            Rating::Thumbs(false) => json!({ "thumbs": "down" }),
            Rating::Stars(stars) => json!({ "rating": stars }),
            Rating::Correct(right) => json!({ "correct": right }),
        };
        body["decision_id"] = json!(decision);
        assert_eq!(self.gateway.post("/api/feedback", body).await.status(), 200);
        // Learning comes a moment later; on a busy machine a retune may hold it up for hundreds of visits. What comes
        // while a retune reads the log may wait for the next one.
        let rated = self.rated.fetch_add(1, Ordering::Relaxed) + 1;
        let learner = &self.gateway.app.gateway.learner;
        settle(|| learner.status().learned_from + 10 >= rated, "ratings were not learned from").await;
    }

    async fn visits(&self, from: u64, until: u64) -> Vec<Visited> {
        let mut all = Vec::new();
        for number in from..until {
            all.push(self.visit(number).await);
        }
        all
    }

    async fn policy(&self) -> Value {
        serde_json::from_str(&self.gateway.admin("/api/admin/policy").await).unwrap()
    }
}

fn mean_regret(visited: &[Visited]) -> f64 {
    visited.iter().map(|visit| visit.regret).sum::<f64>() / visited.len() as f64
}

fn shares(visited: &[Visited]) -> BTreeMap<&str, f64> {
    let mut shares = BTreeMap::new();
    for visit in visited {
        *shares.entry(visit.model.as_str()).or_default() += 1.0 / visited.len() as f64;
    }
    shares
}

#[tokio::test]
async fn regret_flattens_and_drift_is_followed() {
    let mut town = Town::start("", World::steady(3)).await;
    let visited = town.visits(0, 1200).await;
    let (early, late) = (mean_regret(&visited[..100]), mean_regret(&visited[900..]));
    assert!(late < early * 0.75, "regret {early:.3} at first, {late:.3} at last");
    // A retune comes by itself, if not at once: it rests between two.
    let mut policy = town.policy().await;
    for _ in 0..200 {
        if policy["versions"].as_array().unwrap().len() > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        policy = town.policy().await;
    }
    assert!(policy["versions"].as_array().unwrap().len() > 1, "it was never retuned: {policy}");
    assert!(policy["status"]["learned_from"].as_u64().unwrap() > 200, "{policy}");

    // The favourite becomes useless.
    let shares_before = shares(&visited[900..]);
    let (favourite, before) = shares_before.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    let drift = Drift { model: (*favourite).to_owned(), from: 1200, change: Change::Skill(-4.0) };
    town.world.drift.push(drift);
    let after = town.visits(1200, 2000).await;
    let left = shares(&after[600..]).get(favourite).copied().unwrap_or(0.0);
    assert!(left < before * 0.35, "{favourite}: {before:.2} of the visits before, {left:.2} after it broke");
    town.gateway.stop().await;
}

/// Per task the share of visits that went to the model that is best at it on average, and how many visits there were.
fn right(world: &World, visited: &[Visited], from: u64) -> f64 {
    let mut chances: BTreeMap<_, BTreeMap<&str, f64>> = BTreeMap::new();
    for number in 0..3000 {
        let visit = world.visit(number);
        for model in MODELS {
            *chances.entry(visit.prompt.task).or_default().entry(model).or_default() += world.chance(&visit, model);
        }
    }
    let best = |task| chances[task].iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(model, _)| *model);
    let hits = visited
        .iter()
        .zip(from..)
        .filter(|(visit, number)| best(&world.visit(*number).prompt.task) == Some(visit.model.as_str()));
    hits.count() as f64 / visited.len() as f64
}

#[tokio::test]
async fn each_task_finds_its_model() {
    let town = Town::start("[classifier]\nenabled = true\nbudget_ms = 10000\n", World::steady(11)).await;
    let classifier = town.gateway.app.gateway.classifier.clone();
    for _ in 0..6000 {
        if !classifier.is_loading() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let visited = town.visits(0, 2000).await;
    let policy = town.policy().await;
    if policy["status"]["space"] == "" {
        // No head is built in, or it could not be loaded: then all prompts look alike, which other tests cover.
        eprintln!("skipped: the classifier gives no features: {:?}", classifier.status());
        town.gateway.stop().await;
        return;
    }
    let (early, late) = (right(&town.world, &visited[..400], 0), right(&town.world, &visited[1400..], 1400));
    assert!(late > early + 0.05, "{early:.2} of the visits went to the right model at first, {late:.2} at last");
    let (early, late) = (mean_regret(&visited[..400]), mean_regret(&visited[1400..]));
    assert!(late < early * 0.9, "regret {early:.3} at first, {late:.3} at last");
    town.gateway.stop().await;
}

#[tokio::test]
async fn without_feedback_nothing_drifts() {
    let mut town = Town::start("", World::steady(3)).await;
    town.rating = false;
    let ask = json!({ "messages": [{ "role": "user", "content": "hi" }], "routing": { "models": MODELS } });
    let propensities = async |town: &Town| -> BTreeMap<String, u64> {
        let told: Value = town.gateway.post("/api/route", ask.clone()).await.json().await.unwrap();
        let candidates = told["candidates"].as_array().unwrap();
        let name = |it: &Value| it["model"].as_str().unwrap().to_owned();
        candidates.iter().map(|it| (name(it), (it["quality"].as_f64().unwrap() * 1e6) as u64)).collect()
    };
    let before = propensities(&town).await;
    town.visits(0, 150).await;
    assert_eq!(propensities(&town).await, before);
    let status = town.policy().await["status"].clone();
    assert_eq!((&status["live"], &status["revision"]), (&json!(1), &json!(0)), "{status}");
    // Two dry runs were sampled, too. Nobody judged any: after some hundreds more, fewer will be try-outs.
    assert_eq!((&status["unjudged"], &status["curiosity"]), (&json!(152), &json!(1.0)), "{status}");
    town.rating = true;
    let learner = town.gateway.app.gateway.learner.clone();
    let mut number = 150;
    while town.rated.load(Ordering::Relaxed) == 0 {
        town.visit(number).await;
        number += 1;
    }
    settle(|| learner.unjudged() < 152, "a judgement was not noticed").await;
    town.gateway.stop().await;
}

#[tokio::test]
async fn each_prediction_is_accounted_for() {
    // However busy the machine is, each prompt is read.
    let config = "[classifier]\nenabled = true\nbudget_ms = 10000\n\
        [[rules]]\nname = 'coders'\nexplore = true\nwhen = { task = ['code', 'debug', 'math', 'reasoning'] }\n";
    let town = Town::start(config, World::steady(3)).await;
    let classifier = town.gateway.app.gateway.classifier.clone();
    for _ in 0..600 {
        if !classifier.is_loading() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    town.visits(0, 60).await;
    let learner = &town.gateway.app.gateway.learner;
    settle(|| learner.status().revision > 10, "nothing was learned").await;
    let body = json!({
        "messages": [{ "role": "user", "content": "Prove that 17 x 23 = 391, and write `fn product()` in Rust." }],
        "routing": { "models": MODELS },
    });
    let told: Value = town.gateway.post("/api/route", body).await.json().await.unwrap();
    let id = told["decision_id"].as_str().unwrap();
    let is_coders = ["code", "debug", "math", "reasoning"].contains(&told["task"].as_str().unwrap());
    assert_eq!(told["rules"], if is_coders { json!(["coders"]) } else { json!([]) }, "{}", told["task"]);
    // At once: who knows a decision's id finds it, written or not.
    let look = async || -> Value {
        serde_json::from_str(&town.gateway.admin(&format!("/api/admin/decisions/{id}")).await).unwrap()
    };
    let kept = look().await;
    assert_eq!(kept.get("verdict"), Some(&Value::Null));
    let thumb = json!({ "decision_id": id, "thumbs": "up" });
    assert_eq!(town.gateway.post("/api/feedback", thumb).await.status(), 200);
    assert_eq!(look().await["verdict"], 1.0);
    let kept = kept["decision"]["candidates"].as_array().unwrap();
    let candidates = told["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), MODELS.len());
    let mut factors = std::collections::BTreeSet::new();
    for candidate in candidates {
        let account = candidate["account"].as_array().unwrap();
        let sum: f64 = account.iter().map(|part| part["by"].as_f64().unwrap()).sum();
        assert!((sum - candidate["quality"].as_f64().unwrap()).abs() < 1e-4, "{candidate}");
        factors.extend(account.iter().map(|part| part["factor"].as_str().unwrap().to_owned()));
        let same = kept.iter().find(|other| other["model"] == candidate["model"]).unwrap();
        assert_eq!(same["account"], candidate["account"], "the log has what the dry run told");
    }
    for factor in ["base", "task", "length", "code", "similar_prompts", "learned_level"] {
        assert!(factors.contains(factor), "{factor} is not among {factors:?}");
    }
    town.gateway.stop().await;
}

#[tokio::test]
async fn operators_retune_promote_pin_and_roll_back() {
    let town = Town::start("", World::steady(3)).await;
    town.visits(0, 150).await;
    let act = async |path: &str, body: Value| -> (u16, Value) {
        let url = town.gateway.admin_url(&format!("/api/admin/policy/{path}"));
        let response = town.gateway.http.post(url).body(body.to_string()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    };
    assert_eq!(act("rollback", json!({})).await.0, 400, "there is nothing before the first");
    let (status, told) = act("retune", json!({})).await;
    assert_eq!(status, 200, "{told}");
    // By the rule or by hand: what the rule thinks of so few ratings hangs on when each of them came.
    let (status, told) = act("promote", json!({ "version": 2 })).await;
    assert_eq!((status, &told["live"]), (200, &json!(2)), "{told}");
    let (_, told) = act("rollback", json!({})).await;
    assert_eq!(told["live"], 1, "{told}");
    assert!(told["hold_until_ms"].is_i64(), "nothing new for a while: {told}");
    assert_eq!(act("retune", json!({})).await.1["live"], 1);
    let (_, told) = act("pin", json!({ "version": 2 })).await;
    assert_eq!((&told["live"], &told["pinned"]), (&json!(2), &json!(2)));
    assert_eq!(act("promote", json!({ "version": 99 })).await.0, 404);
    assert_eq!(act("unpin", json!({})).await.1["pinned"], Value::Null);
    assert_eq!(act("promote", json!({ "version": 1 })).await.1["live"], 1);
    let audit = town.gateway.app.gateway.store.audits(20).unwrap();
    for action in ["policy.rollback", "policy.retune", "policy.pin", "policy.unpin", "policy.promote"] {
        assert!(audit.iter().any(|act| act.action == action), "{action} is not in {audit:?}");
    }
    town.gateway.stop().await;
}

#[tokio::test]
async fn in_shadow_the_weights_choose_and_the_policy_is_heard() {
    let town = Town::start("", World::steady(3)).await;
    let url = town.gateway.admin_url("/api/admin/policy/mode");
    let put = async |body: Value| town.gateway.http.put(&url).body(body.to_string()).send().await.unwrap().status();
    assert_eq!(put(json!({ "mode": "live", "rollout": 2.0 })).await, 400);
    assert_eq!(put(json!({ "mode": "shadow" })).await, 200);
    let ask = json!({ "messages": [{ "role": "user", "content": "hi" }], "routing": { "models": MODELS } });
    let told: Value = town.gateway.post("/api/route", ask.clone()).await.json().await.unwrap();
    assert_eq!(told["mode"], "weighted");
    assert!(told["shadow"]["model"].is_string(), "{told}");
    assert_eq!((&told["policy_version"], &told["shadow"]["policy_version"]), (&json!(0), &json!(1)), "{told}");
    assert_eq!(put(json!({ "mode": "live", "rollout": 0.3 })).await, 200);
    let mut learned = 0;
    for number in 0..100 {
        let body = json!({ "messages": [{ "role": "user", "content": format!("hi {number}") }], "routing": { "models": MODELS } });
        let told: Value = town.gateway.post("/api/route", body).await.json().await.unwrap();
        learned += u32::from(told["mode"] == "learned");
    }
    assert!((12..=50).contains(&learned), "{learned} of 100 at a share of 0.3");
    for mode in ["shadow", "live"] {
        assert_eq!(put(json!({ "mode": mode })).await, 200);
    }
    assert_eq!(town.policy().await["status"]["rollout"], 0.3, "who says nothing of the share changes nothing of it");
    town.gateway.stop().await;
}

#[tokio::test]
async fn what_was_taken_in_is_there_after_a_restart() {
    let town = Town::start("", World::steady(3)).await;
    town.visits(0, 120).await;
    let learner = &town.gateway.app.gateway.learner;
    settle(|| learner.status().revision > 20, "nothing was learned").await;
    let learned_from = learner.status().learned_from;
    let lengths = town.gateway.app.gateway.lengths.kept();
    let gateway = town.gateway.restart().await;
    let again = &gateway.app.gateway;
    assert_eq!(again.lengths.kept(), lengths, "how long answers are is known, too");
    settle(|| again.learner.status().learned_from >= learned_from, "what was learned is gone").await;
    gateway.stop().await;
}

#[tokio::test]
async fn choices_that_nobody_judged_are_still_counted_after_a_restart() {
    let mut town = Town::start("", World::steady(3)).await;
    town.rating = false;
    town.visits(0, 20).await;
    let ask = json!({ "messages": [{ "role": "user", "content": "hi" }], "routing": { "models": MODELS } });
    for _ in 0..5 {
        assert_eq!(town.gateway.post("/api/route", ask.clone()).await.status(), 200);
    }
    assert_eq!(town.gateway.app.gateway.learner.unjudged(), 25, "dry runs, too");
    let gateway = town.gateway.restart().await;
    let learner = &gateway.app.gateway.learner;
    assert_eq!(learner.unjudged(), 25);
    settle(|| learner.status().last_retune.at_ms.is_some(), "the log was not read").await;
    assert_eq!(learner.unjudged(), 25);
    gateway.stop().await;
}

#[tokio::test]
async fn a_budget_makes_routing_cheaper() {
    let spend = async |extra: &str| -> f64 {
        let town = Town::start(extra, World::steady(3)).await;
        let mut spent = 0.0;
        for number in 0..250 {
            let body = json!({
                "messages": [{ "role": "user", "content": format!("question {number}") }],
                "routing": { "models": MODELS, "objective": { "cost_per_usd": 0.0, "latency_per_s": 0.0 } },
            });
            let told: Value = town.gateway.post("/api/chat", body).await.json().await.unwrap();
            spent += if number < 150 { 0.0 } else { told["cost_usd"].as_f64().unwrap() };
        }
        town.gateway.stop().await;
        spent
    };
    let free = spend("").await;
    let held = spend("[budget]\nusd_per_hour = 0.0001\n").await;
    assert!(held < free * 0.5, "${held:.5} under a budget far too small, ${free:.5} without");
}
