//! How long choosing takes, features given. The target is a 99th percentile below 50 microseconds for 50 models.

use pointsman::bandit::{Candidate, Context, Grounds, Observation, PolicyKind, Reward, Settings, Snapshot, Tradeoff};
use pointsman::protocol::ModelName;

use std::time::Instant;

fn main() {
    percentiles();
    divan::main();
}

const FEATURES: usize = 32;
/// Kinds of work, as many as a policy tells apart.
const KINDS: [&str; 16] = [
    "code",
    "chat",
    "mathematics",
    "translation",
    "summary",
    "extraction",
    "law",
    "medicine",
    "history",
    "physics",
    "tools",
    "writing",
    "economics",
    "planning",
    "quiz",
    "other",
];
/// Choices of which the percentiles are taken.
const CHOICES: usize = 50_000;

/// Single choices by the shipped settings, one measured after the other, half of the models likened.
fn percentiles() {
    let (snapshot, names) = learned(50, Settings::default().policy);
    let features = features();
    let candidates = candidates(&names);
    let tradeoff = Tradeoff { cost_per_usd: 20.0, latency_per_s: 0.01 };
    let one = |at: usize| {
        let context = Context { features: &features, space: "bench", kind: KINDS[at % KINDS.len()] };
        let start = Instant::now();
        divan::black_box(snapshot.choose(&context, &candidates, &tradeoff, true, (at % 100) as f64 / 100.0));
        start.elapsed()
    };
    for at in 0..1000 {
        one(at);
    }
    let mut took: Vec<f64> = (0..CHOICES).map(|at| one(at).as_secs_f64() * 1e6).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((CHOICES - 1) as f64 * share) as usize];
    println!(
        "{CHOICES} choices among 50 models, {FEATURES} features, {} kinds of work: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.0} us",
        KINDS.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
}

/// Half of the models were measured, half are likened.
fn grounds(at: usize) -> Grounds {
    if at.is_multiple_of(2) { Grounds::Fitted } else { Grounds::Likened }
}

/// A policy that has learned a thousand judgements of each of `models`.
fn learned(models: usize, policy: PolicyKind) -> (Snapshot, Vec<ModelName>) {
    let names: Vec<ModelName> = (0..models).map(|at| ModelName::new(format!("vendor/model-{at}"))).collect();
    let mut snapshot = Snapshot::new(Settings { policy, ..Settings::default() }).unwrap_or_else(|e| panic!("{e}"));
    let features = features();
    for round in 0..100 {
        snapshot.learn(names.iter().enumerate().map(|(at, model)| Observation {
            model,
            context: Context { features: &features, space: "bench", kind: KINDS[(at + round) % KINDS.len()] },
            prior: 0.5 + 0.3 * (at as f64 / models as f64),
            grounds: grounds(at),
            reward: Reward::new(f64::from((at + round) % 3 == 0)).unwrap_or_else(|e| panic!("{e}")),
            weight: 10.0,
            judged: true,
        }));
    }
    (snapshot, names)
}

fn features() -> Vec<f32> {
    (0..FEATURES).map(|at| ((at * 37 % 11) as f32 - 5.0) / 3.0).collect()
}

fn candidates(names: &[ModelName]) -> Vec<Candidate<'_>> {
    let count = names.len() as f64;
    names
        .iter()
        .enumerate()
        .map(|(at, model)| Candidate {
            model,
            prior: 0.5 + 0.3 * (at as f64 / count),
            grounds: grounds(at),
            cost_usd: 0.001,
            latency_s: Some(1.0),
            switching_usd: 0.0,
        })
        .collect()
}

#[divan::bench(args = ["greedy", "epsilon_greedy", "lin_ucb", "thompson", "inverse_gap"], sample_count = 2000)]
fn choose_among_50(bencher: divan::Bencher<'_, '_>, policy: &str) {
    let policy = PolicyKind::named(policy).unwrap_or(PolicyKind::Greedy);
    let (snapshot, names) = learned(50, policy);
    let (features, candidates) = (features(), candidates(&names));
    let context = Context { features: &features, space: "bench", kind: KINDS[0] };
    let tradeoff = Tradeoff { cost_per_usd: 20.0, latency_per_s: 0.01 };
    bencher.bench_local(|| snapshot.choose(&context, &candidates, &tradeoff, true, divan::black_box(0.4)));
}

/// What a retune costs, without the log's reading: 1,000 judgements over 14 models.
#[divan::bench(sample_count = 20)]
fn learn_1000_over_14(bencher: divan::Bencher<'_, '_>) {
    let (snapshot, names) = learned(14, PolicyKind::Thompson { scale: 1.0 });
    let features = features();
    let reward = Reward::new(1.0).unwrap_or_else(|e| panic!("{e}"));
    bencher.with_inputs(|| snapshot.clone()).bench_local_values(|mut snapshot| {
        snapshot.learn((0..1000).map(|at| Observation {
            model: &names[at % names.len()],
            context: Context { features: &features, space: "bench", kind: KINDS[at % KINDS.len()] },
            prior: 0.6,
            grounds: Grounds::Fitted,
            reward,
            weight: 1.0,
            judged: true,
        }));
        snapshot
    });
}
