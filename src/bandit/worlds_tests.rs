//! Worlds in which the learner has to find its way.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::protocol::ModelName;

const VISITS: usize = 2000;
const KINDS: usize = 12;

/// How often which model's answers are liked: three specialists, one that is fair at everything, and one that is not.
fn liked(model: usize, kind: usize) -> f64 {
    match model {
        0 if kind < 2 => 0.95,
        1 if (2..5).contains(&kind) => 0.95,
        2 if (5..9).contains(&kind) => 0.95,
        0..=2 => 0.4,
        3 => 0.65,
        _ => 0.3,
    }
}

/// Candidates of which the same is expected.
fn alike(models: &[ModelName; 5], grounds: Grounds) -> [Candidate<'_>; 5] {
    let prior = 0.7;
    models.each_ref().map(|model| Candidate {
        model,
        prior,
        grounds,
        cost_usd: 0.0,
        latency_s: None,
        switching_usd: 0.0,
    })
}

/// The share of its own work that each specialist gets in the last quarter of the visits, of which three in four are
/// judged and three in twenty taken for other work.
fn shares_of_specialists(grounds: Grounds, seed: u64) -> [f64; 3] {
    let models = ["coder", "mather", "linguist", "round", "cheap"].map(ModelName::from);
    let kinds: Vec<String> = (0..KINDS).map(|kind| format!("kind {kind}")).collect();
    let candidates = alike(&models, grounds);
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut policy = Snapshot::new(Settings::default()).unwrap();
    let (mut own, mut all) = ([0.0; 3], [0.0; 3]);
    for visit in 0..VISITS {
        let kind = rng.random_range(0..KINDS);
        let read = if rng.random::<f64>() < 0.15 { rng.random_range(0..KINDS) } else { kind };
        let context = Context { kind: &kinds[read], ..Context::default() };
        let chosen = policy.choose(&context, &candidates, &Tradeoff::default(), true, rng.random()).unwrap().chosen;
        if let Some(specialist) = (0..3).find(|model| visit >= VISITS * 3 / 4 && liked(*model, kind) > 0.9) {
            all[specialist] += 1.0;
            own[specialist] += f64::from(u8::from(chosen == specialist));
        }
        let reward = f64::from(u8::from(rng.random::<f64>() < liked(chosen, kind)));
        if rng.random::<f64>() < 0.75 {
            let reward = Reward::new(reward).unwrap();
            policy.learn([Observation {
                model: &models[chosen],
                context,
                prior: 0.7,
                grounds,
                reward,
                weight: 1.0,
                judged: true,
            }]);
        }
    }
    [0, 1, 2].map(|specialist| own[specialist] / all[specialist])
}

#[test]
fn whoever_is_good_at_some_work_alone_is_found() {
    for grounds in [Grounds::Likened, Grounds::Nothing] {
        let shares: Vec<f64> = (0..16).flat_map(|seed| shares_of_specialists(grounds, seed)).collect();
        let lost = shares.iter().filter(|share| **share < 0.2).count();
        assert!(lost <= 2, "{lost} of {} never got their work: {grounds:?}", shares.len());
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!(mean > 0.8, "{grounds:?}: {mean}");
    }
}

/// The share of visits in the last quarter that go to whom they like, where models are liked for work that no label tells
/// apart, but the features do.
fn share_of_the_liked(seed: u64) -> f64 {
    const FEATURES: usize = 16;
    const REGIONS: usize = 4;
    let models = ["a", "b", "c", "d", "e"].map(ModelName::from);
    let grounds = Grounds::Likened;
    let candidates = alike(&models, grounds);
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut normal = move || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    let centres: Vec<Vec<f64>> = (0..REGIONS).map(|_| (0..FEATURES).map(|_| normal()).collect()).collect();
    let mut rng = SmallRng::seed_from_u64(seed + 1000);
    let mut policy = Snapshot::new(Settings::default()).unwrap();
    let (mut right, mut all) = (0.0, 0.0);
    for visit in 0..VISITS {
        let region = rng.random_range(0..REGIONS);
        let features: Vec<f32> = centres[region].iter().map(|centre| (centre + 0.7 * normal()) as f32).collect();
        let context = Context { kind: "knowledge", features: &features, space: "head" };
        let chosen = policy.choose(&context, &candidates, &Tradeoff::default(), true, rng.random()).unwrap().chosen;
        if visit >= VISITS * 3 / 4 {
            all += 1.0;
            right += f64::from(u8::from(chosen == region));
        }
        let is_liked = rng.random::<f64>() < if chosen == region { 0.9 } else { 0.35 };
        policy.learn([Observation {
            model: &models[chosen],
            context,
            prior: 0.7,
            grounds,
            reward: Reward::new(f64::from(u8::from(is_liked))).unwrap(),
            weight: 1.0,
            judged: true,
        }]);
    }
    right / all
}

#[test]
fn whoever_is_good_at_work_without_a_label_is_found() {
    let shares: Vec<f64> = (0..8).map(share_of_the_liked).collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!(mean > 0.9, "{mean}: {shares:?}");
}
