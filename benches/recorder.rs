//! How many decisions a second the log takes, and how long the one who hands them over is held up. The target is 5,000
//! decisions a second on two cores with answers unaffected. `cargo bench --bench recorder -- DIR` writes to a disk of
//! choice.

use std::error::Error;
use std::time::{Duration, Instant};

use pointsman::config;
use pointsman::protocol::{DecisionId, ModelName};
use pointsman::store::{DecisionRecord, OutcomeRecord, OutcomeStatus, Store};
use pointsman::tuner::Recorder;
use serde_json::json;

/// Seconds of each round.
const SECONDS: u64 = 8;

/// What each decision looks like, but for its id.
fn decision() -> Result<DecisionRecord, serde_json::Error> {
    let candidate = |at: usize| {
        json!({ "model": format!("vendor/model-{at}"), "grounds": "likened", "prior": 0.6, "quality": 0.61,
            "quality_source": "like gpt-4o", "cost_usd": 0.001, "latency_s": 1.5, "utility": 0.6, "propensity": 0.1 })
    };
    serde_json::from_value(json!({
        "id": DecisionId(uuid::Uuid::nil()), "at_ms": 1, "features": vec![0.5; 32], "feature_space": "bench", "task": "code",
        "candidates": (0..10).map(candidate).collect::<Vec<_>>(), "chosen": "vendor/model-0", "propensity": 0.1,
        "policy_version": 1, "policy_revision": 1, "tradeoff": { "cost_per_usd": 0, "latency_per_s": 0 },
        "explore": true, "mode": "learned", "reason": "the best by expected utility",
    }))
}

fn outcome(id: DecisionId) -> OutcomeRecord {
    OutcomeRecord {
        model: Some(ModelName::from("vendor/model-0")),
        attempts: 1,
        cost_usd: Some(0.001),
        latency_ms: Some(12.5),
        ..OutcomeRecord::ended(id, 2, OutcomeStatus::Ok)
    }
}

/// Hands over `rate` decisions a second, each with its outcome, evenly spread.
fn round(recorder: &Recorder, rate: u64, like: &DecisionRecord) {
    let before = recorder.status();
    let began = Instant::now();
    let total = rate * SECONDS;
    let mut held: Vec<Duration> = Vec::with_capacity(total as usize);
    for number in 0..total {
        let due = Duration::from_secs_f64(number as f64 / rate as f64);
        while began.elapsed() < due {
            std::thread::sleep(Duration::from_micros(200));
        }
        let id = DecisionId(uuid::Uuid::now_v7());
        let (decision, outcome) = (DecisionRecord { id, ..like.clone() }, outcome(id));
        let start = Instant::now();
        recorder.decision(decision);
        recorder.outcome(outcome);
        held.push(start.elapsed());
    }
    let offered = began.elapsed().as_secs_f64();
    while recorder.status().queued > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let written = began.elapsed().as_secs_f64();
    held.sort_unstable();
    let at = |share: f64| held[((held.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let after = recorder.status();
    println!(
        "{:>6.0} offered/s: {:.0} kept/s, {} dropped, {} lost; handing over took {:.1} us (median), {:.1} us (p99), {:.0} us (p99.9)",
        total as f64 / offered,
        (after.decisions - before.decisions) as f64 / written,
        after.dropped - before.dropped,
        after.lost - before.lost,
        at(0.5),
        at(0.99),
        at(0.999),
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let own = tempfile::tempdir()?;
    let dir = given.map_or_else(|| own.path().to_owned(), std::path::PathBuf::from);
    let (store, _) = Store::open(&dir, &config::Store::default(), 0)?;
    let (recorder, writer, mut news) = Recorder::start(store)?;
    let like = decision()?;
    for rate in [1_000, 5_000, 10_000, 20_000] {
        round(&recorder, rate, &like);
        while news.try_recv().is_ok() {}
    }
    writer.close();
    Ok(())
}
