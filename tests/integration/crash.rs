//! `kill -9`, again and again, in the middle of load, feedback and retunes: what was acknowledged is there, the store
//! opens, and the policy in force is one that was promoted.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pointsman::bandit::Snapshot;
use pointsman::config;
use pointsman::protocol::DecisionId;
use pointsman::sandbox::Sandbox;
use pointsman::store::{Entry, OpenState, Order, SnapshotState, Span, Store};
use serde_json::json;
use tokio::sync::Mutex;

use crate::support::http;
use crate::support::process::{BINARY, Process};

/// Times the process is killed.
const KILLS: u64 = 50;

/// Callers at once.
const CALLERS: usize = 4;

/// Feedbacks acknowledged between two kills, however slow the machine.
const LEAST_ACKNOWLEDGED: usize = 3;

/// Kills before which a policy is put in force for sure. The longer the log, the longer a retune: later ones meet what
/// they meet.
const SURE_SWAPS: u64 = 8;

/// A feedback that was acknowledged: its decision, and its own id.
type Acknowledged = (String, String);

/// Asks and rates until told to stop; what was acknowledged is noted.
async fn call(http: reqwest::Client, proxy: String, stop: Arc<AtomicBool>, noted: Arc<Mutex<Vec<Acknowledged>>>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let body =
            json!({ "messages": [{ "role": "user", "content": format!("question {number}") }], "max_tokens": 5 });
        let Ok(answer) = http.post(format!("{proxy}/api/chat")).body(body.to_string()).send().await else {
            break;
        };
        let Some(decision) = answer.headers().get("x-pointsman-decision").cloned() else { continue };
        let decision = decision.to_str().unwrap().to_owned();
        let id = uuid::Uuid::now_v7().to_string();
        let score = f64::from(number % 10) / 10.0;
        let body = json!({ "decision_id": decision, "score": score, "id": id }).to_string();
        let Ok(answer) = http.post(format!("{proxy}/api/feedback")).body(body).send().await else { break };
        if answer.status() == 200 {
            noted.lock().await.push((decision, id));
        }
    }
}

/// Retunes without pause, and puts in force what came of it: the gate would refuse most of what chance ratings teach,
/// and kills are to meet swaps.
async fn retune(http: reqwest::Client, admin: String, stop: Arc<AtomicBool>, promoted: Arc<AtomicUsize>) {
    let policy = format!("{admin}/api/admin/policy");
    while !stop.load(Ordering::Relaxed) {
        if http.post(format!("{policy}/retune")).send().await.is_err() {
            break;
        }
        let Ok(answer) = http.get(&policy).send().await else { break };
        let Ok(view) = answer.json::<serde_json::Value>().await else { break };
        let newest = json!({ "version": view["versions"][0]["version"] });
        if http.post(format!("{policy}/promote")).body(newest.to_string()).send().await.is_err() {
            break;
        }
        promoted.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks without rating, many times at once, so that kills meet blocks of decisions.
async fn ask(http: reqwest::Client, proxy: String, stop: Arc<AtomicBool>) {
    let body = json!({ "messages": [{ "role": "user", "content": "a question" }], "max_tokens": 5 }).to_string();
    while !stop.load(Ordering::Relaxed) {
        if http.post(format!("{proxy}/api/chat")).body(body.clone()).send().await.is_err() {
            break;
        }
    }
}

/// Opens what a kill left behind and looks whether all is there. Returns the live version.
fn inspect(data: &Path, noted: &[Acknowledged]) -> u64 {
    let (store, report) = Store::open(data, &config::Store::default(), 0).unwrap();
    assert_eq!(report, OpenState::Opened);
    assert_eq!(store.health().damaged, 0, "a record cannot be read");
    for (decision, id) in noted {
        let entry = store.entry(decision.parse::<DecisionId>().unwrap()).unwrap();
        let found = entry.is_some_and(|entry| entry.feedback.iter().any(|feedback| feedback.id == *id));
        assert!(found, "feedback {id} on {decision} was acknowledged and is gone");
    }
    // Every decision of the walk, in a block or alone, is found by its id with the same things come of it.
    let mut walked = 0;
    let newest = |entry: Entry| {
        assert_eq!(store.entry(entry.decision.id).unwrap().as_ref(), Some(&entry));
        walked += 1;
        walked < 500
    };
    store.walk(&Span::default(), Order::Newest, newest).unwrap();
    let live = store.live_version().unwrap().unwrap();
    let policy = store.policy::<Snapshot>(live).unwrap().expect("the live policy cannot be read");
    assert_eq!(policy.version, live);
    let record = store.snapshot(live).unwrap().unwrap();
    // Between the pointer and the note beside it a crash leaves the note behind; the next start writes it.
    let noted = record.state == SnapshotState::Promoted || record.promoted_at_ms.is_none();
    assert!(noted, "{record:?} is in force");
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_fifty_kills() {
    let sandbox = Sandbox::remembering().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings = format!(
        "{}\n[server]\ndata_dir = 'data'\n[classifier]\nenabled = false\n[store]\nkeep_snapshots = 5\n[learning.guard]\nenabled = false\n",
        sandbox.settings()
    );
    std::fs::write(dir.path().join("crash.toml"), settings).unwrap();
    let http = http();
    let start = || {
        let mut command = Command::new(BINARY);
        command.envs([Sandbox::variable()]);
        Process::start(command, dir.path(), &["--config", "crash.toml"]).expect("it does not start after a kill")
    };
    let noted = Arc::new(Mutex::new(Vec::new()));
    let mut versions = std::collections::BTreeSet::new();
    for kill in 0..KILLS {
        let process = start();
        let stop = Arc::new(AtomicBool::new(false));
        let promoted = Arc::new(AtomicUsize::new(0));
        let retunes = retune(http.clone(), process.admin.clone(), Arc::clone(&stop), Arc::clone(&promoted));
        let mut tasks = vec![tokio::spawn(retunes)];
        let before = noted.lock().await.len();
        for _ in 0..CALLERS {
            let (http, proxy) = (http.clone(), process.proxy.clone());
            tasks.push(tokio::spawn(ask(http.clone(), proxy.clone(), Arc::clone(&stop))));
            tasks.push(tokio::spawn(call(http, proxy, Arc::clone(&stop), Arc::clone(&noted))));
        }
        // Another moment each time.
        tokio::time::sleep(Duration::from_millis(60 + kill * 37 % 240)).await;
        let patience = Instant::now() + Duration::from_secs(30);
        let swapped = || kill >= SURE_SWAPS || promoted.load(Ordering::Relaxed) > 0;
        while !swapped() || noted.lock().await.len() < before + LEAST_ACKNOWLEDGED {
            assert!(
                Instant::now() < patience,
                "kill {kill} meets nothing: {} promoted, {} acknowledged",
                promoted.load(Ordering::Relaxed),
                noted.lock().await.len() - before
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(process);
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap();
        }
        let so_far = noted.lock().await.clone();
        let data = dir.path().join("data");
        versions.insert(tokio::task::spawn_blocking(move || inspect(&data, &so_far)).await.unwrap());
    }
    let count = noted.lock().await.len();
    assert!(count > 100, "only {count} feedbacks were acknowledged in between: nothing was tried");
    assert!(versions.len() > 3, "the policy never changed: {versions:?}");
    sandbox.stop().await;
}
