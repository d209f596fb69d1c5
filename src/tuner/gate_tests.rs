//! The gate, against worlds whose truth is known.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::bandit::{Observation, Reward, Settings};
use crate::protocol::{DecisionId, ModelName};
use crate::tuner::lesson::{self, LoggedCandidate};

/// A log of `count` choices between two models drawn evenly, `a` liked with 0.8 and `b` with 0.4.
fn log(count: u64, seed: u64) -> Vec<Lesson> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let way = |model: &str| LoggedCandidate {
        model: ModelName::from(model),
        prior: 0.6,
        grounds: crate::bandit::Grounds::Likened,
        cost_usd: 0.0,
        latency_s: None,
        switching_usd: 0.0,
        propensity: 0.5,
    };
    (0..count)
        .map(|number| {
            let chosen = usize::from(rng.random::<f64>() < 0.5);
            let liked = rng.random::<f64>() < [0.8, 0.4][chosen];
            let candidates = vec![way("a"), way("b")];
            Lesson {
                id: DecisionId(uuid::Uuid::from_u128(u128::from(number))),
                at_ms: number as i64,
                learnable_at_ms: number as i64,
                model: candidates[chosen].model.clone(),
                features: Vec::new(),
                kind: String::new(),
                space: String::new(),
                prior: 0.6,
                grounds: crate::bandit::Grounds::Likened,
                reward: Reward::new(f64::from(u8::from(liked))).unwrap(),
                weight: 1.0,
                signal: None,
                choice: Some(SampledChoice { candidates, chosen, tradeoff: crate::bandit::Tradeoff::default() }),
            }
        })
        .collect()
}

fn gain(lessons: &[Lesson], live: &Snapshot, new: &Snapshot, gate: &Gate) -> Option<Gain> {
    let all: Vec<&Lesson> = lessons.iter().collect();
    // `live` has learned from them as much as `new`.
    super::gain((Evidence::Judgements, &all), (live, &trained_on(lessons)), (new, lessons), gate)
}

/// The knowledge of a version that was made of `lessons`, and has taken in nothing since.
fn trained_on(lessons: &[Lesson]) -> Knowledge {
    Knowledge { trained_on: Some(TrainedOn::new("", lessons, lessons)), since_ms: i64::MAX, judgements: 0 }
}

/// A policy that was taught that a model is always as good as `reward`.
fn taught(lessons: &[(&str, f64)]) -> Snapshot {
    let mut policy = Snapshot::new(Settings::default()).unwrap();
    for (model, reward) in lessons {
        let model = ModelName::from(*model);
        let one = Observation {
            model: &model,
            context: crate::bandit::Context::default(),
            prior: 0.6,
            grounds: crate::bandit::Grounds::Likened,
            reward: Reward::new(*reward).unwrap(),
            weight: 1.0,
            judged: true,
        };
        policy.learn(std::iter::repeat_n(one, 300));
    }
    policy
}

#[test]
fn the_same_policy_gains_exactly_nothing_and_may_take_over() {
    let (policy, gate) = (taught(&[("a", 0.9)]), Gate::default());
    let gain = gain(&log(200, 1), &policy, &policy, &gate);
    let gain = gain.unwrap();
    assert_eq!((gain.choices, gain.mean, gain.lower, gain.upper), (200, 0.0, 0.0, 0.0));
    let (ruling, why) = rule(Some(&gain), &gate);
    assert_eq!((ruling, &*why), (Ruling::Promote, "it would choose as the live version does in all of 200 choices"));
    let as_good = Gain { mean: 0.000_04, lower: -0.000_01, upper: 0.000_14, ..gain };
    assert_eq!(rule(Some(&as_good), &gate).1, "a gain of +0.0000 (+0.0000 to +0.0001) over 200 choices");
}

#[test]
fn a_better_policy_takes_over_and_a_worse_one_is_refused() {
    let gate = Gate::default();
    let (right, wrong) = (taught(&[("a", 1.0), ("b", 0.0)]), taught(&[("a", 0.0), ("b", 1.0)]));
    let lessons = log(800, 2);
    let up = gain(&lessons, &wrong, &right, &gate).unwrap();
    // From always b to always a: 0.4 more.
    assert!((up.mean - 0.4).abs() < 0.1 && up.lower < 0.4 && up.upper > 0.4, "{up:?}");
    assert_eq!(rule(Some(&up), &gate).0, Ruling::Promote);
    let down = gain(&lessons, &right, &wrong, &gate).unwrap();
    assert_eq!(rule(Some(&down), &gate).0, Ruling::Refuse);
    assert!(down.effective > 300.0 && down.clipped == 0.0, "{down:?}");
    let told: Vec<(Method, bool)> =
        up.methods.iter().map(|gained| (gained.method, gained.low < 0.4 && gained.high > 0.4)).collect();
    assert_eq!(told, [(Method::Ips, true), (Method::Snips, true), (Method::DoublyRobust, true)], "{up:?}");
    assert_eq!((up.methods[2].value, up.methods[2].low), (up.mean, up.lower), "the rule goes by the last");
    let value = |estimates: &[Estimate]| estimates[2].value;
    assert!((value(&down.live) - 0.8).abs() < 0.08 && (value(&down.new) - 0.4).abs() < 0.08, "{down:?}");
}

#[test]
fn too_little_or_too_uncertain_waits() {
    let gate = Gate { tolerance: 0.0, ..Gate::default() };
    let (one, other) = (taught(&[("a", 0.62)]), taught(&[("b", 0.62)]));
    assert_eq!(rule(gain(&log(10, 3), &one, &other, &gate).as_ref(), &gate).0, Ruling::Wait);
    assert_eq!(rule(gain(&[], &one, &other, &gate).as_ref(), &gate).0, Ruling::Wait);
    let known = gain(&log(100, 3), &one, &other, &gate).unwrap();
    let uncertain = Gain { mean: 0.01, lower: -0.2, upper: 0.22, ..known };
    assert_eq!(rule(Some(&uncertain), &gate).0, Ruling::Wait);
}

#[test]
fn one_requests_own_weights_do_not_decide_for_all() {
    let gate = Gate::default();
    let (one, other) = (taught(&[("a", 0.9)]), taught(&[("b", 0.9)]));
    let mut lessons = log(100, 6);
    for lesson in &mut lessons {
        lesson.choice.as_mut().unwrap().candidates[0].cost_usd = 0.02;
    }
    let fair = gain(&lessons, &one, &other, &gate).unwrap();
    for weight in [1e6, -1.7e308, f64::INFINITY, f64::NAN] {
        lessons[50].choice.as_mut().unwrap().tradeoff.cost_per_usd = weight;
        let gain = gain(&lessons, &one, &other, &gate).unwrap();
        assert!((gain.mean - fair.mean).abs() < 0.05, "{weight}: {gain:?}, without {fair:?}");
    }
}

#[test]
fn what_the_log_never_shows_waits() {
    let gate = Gate::default();
    let mut lessons = log(200, 4);
    for lesson in &mut lessons {
        // Always `a`, which was all but sure of it.
        lesson.model = ModelName::from("a");
        let drawn = lesson.choice.as_mut().unwrap();
        drawn.chosen = 0;
        (drawn.candidates[0].propensity, drawn.candidates[1].propensity) = (0.99, 0.01);
    }
    let (one, other) = (taught(&[("a", 1.0), ("b", 0.0)]), taught(&[("a", 0.0), ("b", 1.0)]));
    let gain = gain(&lessons, &one, &other, &gate).unwrap();
    let (ruling, why) = rule(Some(&gain), &gate);
    assert!(ruling == Ruling::Wait && why.contains("log covers"), "{why}: {gain:?}");
}

#[test]
fn beside_an_imported_log_what_nobody_learned_need_not_be_spoken_of() {
    let gate = Gate::default();
    let mut lessons = log(400, 4);
    for lesson in &mut lessons {
        // Always `a`, with success, where a policy of day one would have taken `b`.
        (lesson.model, lesson.reward) = (ModelName::from("a"), Reward::new(1.0).unwrap());
        let drawn = lesson.choice.as_mut().unwrap();
        drawn.chosen = 0;
        (drawn.candidates[0].propensity, drawn.candidates[1].propensity) = (0.99, 0.01);
        drawn.candidates[1].prior = 0.9;
    }
    let (untaught, new) = (taught(&[]), taught(&[("a", 1.0), ("b", 0.0)]));
    let known = gain(&lessons, &untaught, &new, &gate).unwrap();
    let (ruling, why) = rule(Some(&known), &gate);
    assert!(ruling == Ruling::Promote && known.support > 0.8, "{why}: {known:?}");
    let taught_once = taught(&[("c", 0.5)]);
    let of_both = gain(&lessons, &taught_once, &new, &gate).unwrap();
    assert!(of_both.support < 0.8, "{of_both:?}");
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    let gate = Gate { confidence: 0.9, ..Gate::default() };
    let (right, wrong) = (taught(&[("a", 1.0), ("b", 0.0)]), taught(&[("a", 0.0), ("b", 1.0)]));
    let covered = (0..200).filter(|seed| {
        let gain = gain(&log(300, 100 + seed), &wrong, &right, &gate).unwrap();
        (gain.lower..=gain.upper).contains(&0.4)
    });
    let share = covered.count() as f64 / 200.0;
    assert!((0.83..=0.97).contains(&share), "{share}");
}

#[test]
fn a_log_of_another_time_does_not_hold_what_is_sure() {
    let gate = Gate::default();
    let known = gain(&log(100, 3), &taught(&[]), &taught(&[("a", 0.8), ("b", 0.4)]), &gate).unwrap();
    let ruling = |moved, support, lower, effective| {
        rule(Some(&Gain { moved, support, lower, upper: 0.5, effective, ..known.clone() }), &gate).0
    };
    assert_eq!(ruling(0.01, 0.3, -0.001, 50.0), Ruling::Promote, "it does as the live one does");
    assert_eq!(ruling(0.5, 0.3, -0.001, 50.0), Ruling::Wait);
    assert_eq!(ruling(0.9, 0.55, 0.37, 150.0), Ruling::Promote, "a gain beyond doubt");
    assert_eq!(ruling(0.9, 0.3, 0.37, 800.0), Ruling::Wait, "of which too little speaks");
    assert_eq!(ruling(0.9, 0.55, 0.37, 60.0), Ruling::Wait, "or too few choices");
}

#[test]
fn what_the_live_policy_has_not_learned_from_the_new_one_is_asked_as_if_it_had_not_either() {
    // Of 24 kinds of work both models do each equally well: what a policy makes of 400 judgements is noise.
    let policy = || Snapshot::new(Settings::default()).unwrap();
    let (mut flattered, mut fair) = (0.0, 0.0);
    for seed in 0..20 {
        let lessons = noise(400, 24, seed);
        let mut new = policy();
        new.learn(lessons.iter().map(Lesson::observation));
        let all: Vec<&Lesson> = lessons.iter().collect();
        let gained = |knowledge| {
            let new = (&new, &lessons[..]);
            let gain = super::gain((Evidence::Judgements, &all), (&policy(), &knowledge), new, &Gate::default());
            gain.unwrap().mean / 20.0
        };
        flattered += gained(trained_on(&lessons));
        fair += gained(Knowledge::only_since(0));
        let taken_in = Knowledge { since_ms: 199, judgements: 199, ..trained_on(&lessons[..200]) };
        assert_eq!(gained(taken_in), gained(trained_on(&lessons[..399])));
    }
    assert!(flattered > 0.03, "it is measured on what it has learned by heart: {flattered}");
    assert!(fair.abs() < 0.01, "there is nothing to be gained: {fair}");
}

/// A log of `kinds` kinds of work in which both models do equally well.
fn noise(count: u64, kinds: usize, seed: u64) -> Vec<Lesson> {
    let mut rng = SmallRng::seed_from_u64(1_000 + seed);
    let mut lessons = log(count, seed);
    for (number, lesson) in lessons.iter_mut().enumerate() {
        lesson.kind = format!("kind {}", number % kinds);
        lesson.reward = Reward::new(f64::from(u8::from(rng.random::<f64>() < 0.5))).unwrap();
    }
    lessons
}

#[test]
fn an_import_into_a_store_that_has_learned_promises_and_threatens_nothing() {
    let gate = Gate::default();
    let (mut noted, mut not_noted) = (0.0, 0.0);
    for seed in 0..20 {
        // 400 were learned. 150 more were imported since, and say that they are older.
        let mut lessons = noise(550, 24, seed);
        lessons.iter_mut().for_each(|lesson| lesson.learnable_at_ms = 0);
        let policy_of = |lessons: &[Lesson]| {
            let mut policy = Snapshot::new(Settings::default()).unwrap();
            policy.learn(lessons.iter().map(Lesson::observation));
            policy
        };
        let (live, new) = (policy_of(&lessons[150..]), policy_of(&lessons));
        let all: Vec<&Lesson> = lessons.iter().collect();
        let gained = |trained_on: Option<TrainedOn>| {
            let knowledge = Knowledge { trained_on, since_ms: 1, judgements: 0 };
            let gain =
                super::gain((Evidence::Judgements, &all), (&live, &knowledge), (&new, &lessons), &gate).unwrap();
            assert!(gain.is_fair || rule(Some(&gain), &gate).0 != Ruling::Refuse, "{gain:?}");
            gain.mean / 20.0
        };
        noted += gained(trained_on(&lessons[150..]).trained_on);
        not_noted += gained(None);
    }
    assert!(noted.abs() < 0.015, "there is nothing to be gained or lost: {noted}");
    assert!(not_noted < 2.0 * noted - 0.01, "the live one alone knows most of it by heart: {not_noted}, {noted}");
}

#[test]
fn two_kinds_of_work_in_turn_are_no_halves() {
    for seed in 0..3 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut lessons = log(600, seed);
        for (number, lesson) in lessons.iter_mut().enumerate() {
            let kind = number % 2;
            lesson.kind = ["extract", "write"][kind].into();
            let good = [[0.9, 0.4], [0.4, 0.9]][kind][lesson.choice.as_ref().unwrap().chosen];
            lesson.reward = Reward::new(f64::from(u8::from(rng.random::<f64>() < good))).unwrap();
        }
        let live = Snapshot::new(Settings::default()).unwrap();
        let mut new = live.clone();
        new.learn(lessons.iter().map(Lesson::observation));
        let all: Vec<&Lesson> = lessons.iter().collect();
        let knowledge = Knowledge::only_since(0);
        let gain = super::gain((Evidence::Judgements, &all), (&live, &knowledge), (&new, &lessons), &Gate::default());
        let gain = gain.unwrap();
        // From each of both half of the time to the better one: 0.25.
        assert!(gain.mean > 0.15 && gain.lower > 0.0, "{gain:?}");
    }
}

/// What `count` unrated requests teach: `a` is the better model at both kinds of work, with fewer empty answers, and
/// mostly asked for the one that is hard.
fn unrated(count: u64, seed: u64, empty: [[f64; 2]; 2]) -> lesson::Lessons {
    use crate::store::{Entry, Signal};
    use crate::tuner::lesson::tests::{decision, outcome};
    let mut rng = SmallRng::seed_from_u64(seed);
    let map = crate::config::RewardMap::default();
    let mut collected = lesson::Collected::new(&map, 20_000);
    for number in (1..=count).rev() {
        let mut decision = decision(number);
        let kind = usize::from(rng.random::<f64>() < 0.4);
        (decision.task, decision.features) = (Some(["hard", "easy"][kind].into()), Vec::new());
        let shares = [[0.8, 0.2], [0.1, 0.9]][kind];
        let chosen = usize::from(rng.random::<f64>() >= shares[0]);
        for (at, way) in decision.candidates.iter_mut().enumerate() {
            (way.prior, way.grounds) = (Some([0.8, 0.75][at]), crate::bandit::Grounds::Likened);
            way.propensity = shares[at];
        }
        decision.chosen = decision.candidates[chosen].model.clone();
        let mut outcome = outcome(&decision);
        let is_empty = rng.random::<f64>() < empty[kind][chosen];
        outcome.signals.extend(is_empty.then_some(Signal::Empty));
        collected.take(&Entry { decision, outcome: Some(outcome), feedback: Vec::new() }, None);
    }
    collected.finish()
}

/// What signals say that a policy that was made of them gains over one that knows nothing: as the gate has it, and as
/// the policy itself does on this log.
fn by_signals(lessons: &lesson::Lessons) -> Option<(Gain, Gain)> {
    let live = Snapshot::new(Settings::default()).unwrap();
    let mut new = live.clone();
    new.learn(lessons.learned.iter().map(Lesson::observation));
    let (rests_on, evidence) = evidence(&lessons.learned, &lessons.unjudged, 30);
    let gain = |knowledge| {
        super::gain((rests_on, &evidence), (&live, &knowledge), (&new, &lessons.learned), &Gate::default())
            .filter(|gain| gain.rests_on == Evidence::Signals)
    };
    Some((gain(Knowledge::only_since(0))?, gain(trained_on(&lessons.unjudged))?))
}

#[test]
fn where_signals_mislead_a_policy_the_gate_sees_what_it_would_do() {
    for seed in 0..4 {
        let lessons = unrated(2000, seed, [[0.40, 0.55], [0.0, 0.02]]);
        let (claimed, itself) = by_signals(&lessons).unwrap();
        assert!(itself.upper < 0.0, "it takes the better model for the worse one: {itself:?}");
        assert!((claimed.mean - itself.mean).abs() < 0.03 && claimed.upper < 0.0, "{claimed:?} of {itself:?}");
        assert_eq!(rule(Some(&claimed), &Gate { tolerance: 0.0, ..Gate::default() }).0, Ruling::Wait);
    }
}

#[test]
fn equal_rates_of_signals_promise_nothing() {
    let claimed = |seed| by_signals(&unrated(600, seed, [[0.2, 0.2], [0.2, 0.2]])).map_or(0.0, |gains| gains.0.mean);
    let mean = (0..60).map(claimed).sum::<f64>() / 60.0;
    assert!(mean.abs() < 0.005, "{mean}");
}
