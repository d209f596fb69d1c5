//! Every policy, same promises, fixed seeds.

#![allow(clippy::unwrap_used)] // a panic here is the failure report

use pointsman::bandit::{
    Candidate, Choice, Context, Grounds, MAX_FEATURES, Observation, PolicyKind, Reward, Settings, Snapshot, Tradeoff,
};
use pointsman::protocol::ModelName;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One recorded judgement, owned.
#[derive(Debug, Clone)]
struct Seen {
    model: usize,
    features: Vec<f32>,
    kind: &'static str,
    prior: f64,
    grounds: Grounds,
    reward: f64,
    weight: f64,
}

const SPACE: &str = "encoder-a/4";

fn names(count: usize) -> Vec<ModelName> {
    (0..count).map(|at| ModelName::new(format!("model-{at}"))).collect()
}

fn learn(snapshot: &mut Snapshot, names: &[ModelName], seen: &[Seen]) {
    snapshot.learn(seen.iter().map(|seen| Observation {
        model: &names[seen.model],
        context: Context { features: &seen.features, space: SPACE, kind: seen.kind },
        prior: seen.prior,
        grounds: seen.grounds,
        reward: Reward::new(seen.reward).unwrap(),
        weight: seen.weight,
        judged: true,
    }));
}

fn candidates<'a>(names: &'a [ModelName], priors: &[f64]) -> Vec<Candidate<'a>> {
    names
        .iter()
        .zip(priors)
        .enumerate()
        .map(|(at, (model, prior))| Candidate {
            model,
            prior: *prior,
            grounds: if at % 3 == 0 { Grounds::Likened } else { Grounds::Fitted },
            cost_usd: 0.001 * at as f64,
            latency_s: (at % 2 == 0).then_some(0.5),
            switching_usd: 0.0,
        })
        .collect()
}

fn settings(policy: PolicyKind) -> Settings {
    Settings { policy, ..Settings::default() }
}

fn seen(models: usize) -> impl Strategy<Value = Seen> {
    let grounds = prop_oneof![Just(Grounds::Fitted), Just(Grounds::Likened), Just(Grounds::Nothing)];
    let features = prop_oneof![Just(vec![]), prop::collection::vec(-3.0f32..3.0, 4)];
    let kind = prop::sample::select(vec!["", "code", "math"]);
    (0..models, features, kind, 0.0f64..=1.0, grounds, 0.0f64..=1.0, 0.1f64..3.0).prop_map(
        |(model, features, kind, prior, grounds, reward, weight)| Seen {
            model,
            features,
            kind,
            prior,
            grounds,
            reward,
            weight,
        },
    )
}

fn any_policy() -> impl Strategy<Value = PolicyKind> {
    prop::sample::select(PolicyKind::ALL.to_vec())
}

fn close(a: &Choice, b: &Choice) -> bool {
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    near(&a.propensities, &b.propensities) && near(&a.utilities, &b.utilities) && near(&a.spreads, &b.spreads)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn propensities_are_probabilities_above_the_floor(
        policy in any_policy(),
        log in prop::collection::vec(seen(6), 0..60),
        priors in prop::collection::vec(0.0f64..=1.0, 1..12),
        features in prop::collection::vec(-3.0f32..3.0, 4),
        (cost, latency, chance) in (0.0f64..100.0, 0.0f64..1.0, 0.0f64..1.0),
    ) {
        let names = names(12);
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        learn(&mut snapshot, &names, &log);
        let candidates = candidates(&names, &priors);
        let context = Context { features: &features, space: SPACE, kind: "" };
        let tradeoff = Tradeoff { cost_per_usd: cost, latency_per_s: latency };
        let choice = snapshot.choose(&context, &candidates, &tradeoff, true, chance).unwrap();
        prop_assert!((choice.propensities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let floor = snapshot.settings().floor(candidates.len());
        prop_assert!(choice.propensities.iter().all(|share| *share >= floor - 1e-12 && *share <= 1.0 + 1e-12));
        prop_assert!(choice.propensities[choice.chosen] > 0.0);
        prop_assert_eq!(choice.order[0], choice.chosen);
        let mut order = choice.order.clone();
        order.sort_unstable();
        prop_assert_eq!(order, (0..candidates.len()).collect::<Vec<_>>());
        prop_assert!(choice.qualities.iter().all(|quality| (0.0..=1.0).contains(quality)));
        prop_assert!(choice.spreads.iter().all(|spread| spread.is_finite() && *spread >= 0.0));
        let favourite = (0..candidates.len()).max_by(|a, b| choice.utilities[*a].total_cmp(&choice.utilities[*b])).unwrap();
        let is_favourite = choice.utilities[choice.chosen] >= choice.utilities[favourite];
        prop_assert_eq!(choice.explored, !is_favourite);
        for (at, candidate) in candidates.iter().enumerate() {
            prop_assert!((snapshot.quality(&context, candidate) - choice.qualities[at]).abs() < 1e-12);
        }
    }

    #[test]
    fn who_is_half_as_curious_tries_half_as_much_and_says_so(
        policy in any_policy(),
        log in prop::collection::vec(seen(5), 0..60),
        priors in prop::collection::vec(0.0f64..=1.0, 1..8),
        kind in prop::sample::select(vec!["", "code", "math"]),
        (curiosity, chance) in (0.0f64..=1.0, 0.0f64..1.0),
    ) {
        let names = names(8);
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        learn(&mut snapshot, &names, &log);
        let (candidates, tradeoff) = (candidates(&names, &priors), Tradeoff::default());
        let context = Context { features: &[], space: SPACE, kind };
        let of = |curiosity| snapshot.choose_as_curious(&context, &candidates, &tradeoff, curiosity, chance).unwrap();
        let (none, some, full) = (of(0.0), of(curiosity), of(1.0));
        prop_assert_eq!(&full, &snapshot.choose(&context, &candidates, &tradeoff, true, chance).unwrap());
        prop_assert_eq!(&none, &snapshot.choose(&context, &candidates, &tradeoff, false, chance).unwrap());
        prop_assert!((some.propensities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        // The floor stays whatever the curiosity is.
        let floor = if curiosity > 0.0 { snapshot.settings().floor(candidates.len()) } else { 0.0 };
        for ((none, some), full) in none.propensities.iter().zip(&some.propensities).zip(&full.propensities) {
            prop_assert!(*some >= floor - 1e-12);
            let expected = curiosity * full + (1.0 - curiosity) * none;
            prop_assert!((some - expected).abs() <= floor * priors.len() as f64 + 1e-12, "{} {}", some, expected);
        }
        // The draw goes by these propensities.
        let (mut left, mut drawn) = (chance, None);
        for (at, share) in some.propensities.iter().enumerate() {
            left -= share;
            drawn = drawn.or((left < 0.0).then_some(at));
        }
        prop_assert!(curiosity == 0.0 || drawn.is_none_or(|drawn| drawn == some.chosen));
    }

    #[test]
    fn without_exploration_the_best_by_utility_is_certain(
        policy in any_policy(),
        log in prop::collection::vec(seen(5), 0..60),
        priors in prop::collection::vec(0.0f64..=1.0, 1..8),
        chance in 0.0f64..1.0,
    ) {
        let names = names(8);
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        learn(&mut snapshot, &names, &log);
        let candidates = candidates(&names, &priors);
        let tradeoff = Tradeoff { cost_per_usd: 10.0, latency_per_s: 0.1 };
        let choice = snapshot.choose(&Context::default(), &candidates, &tradeoff, false, chance).unwrap();
        prop_assert_eq!(choice.propensities[choice.chosen], 1.0);
        prop_assert_eq!(choice.propensities.iter().sum::<f64>(), 1.0);
        prop_assert!(!choice.explored);
        prop_assert!(choice.utilities.iter().all(|utility| *utility <= choice.utilities[choice.chosen]));
    }

    #[test]
    fn learning_in_pieces_is_learning_at_once(
        policy in any_policy(),
        log in prop::collection::vec(seen(4), 1..120),
        cut in 0usize..120,
        half_life in prop_oneof![Just(None), (20.0f64..500.0).prop_map(Some)],
    ) {
        let names = names(5);
        let cut = cut.min(log.len());
        let settings = Settings { half_life, ..settings(policy) };
        let mut at_once = Snapshot::new(settings).unwrap();
        learn(&mut at_once, &names, &log);
        let mut in_pieces = Snapshot::new(settings).unwrap();
        learn(&mut in_pieces, &names, &log[..cut]);
        // And through storage, as a restart in between would.
        let stored = rmp_serde::to_vec_named(&in_pieces).unwrap();
        let mut in_pieces: Snapshot = rmp_serde::from_slice(&stored).unwrap();
        learn(&mut in_pieces, &names, &log[cut..]);
        let candidates = candidates(&names, &[0.5, 0.6, 0.7, 0.4, 0.3]);
        let context = Context { features: &[0.5, -1.0, 2.0, 0.1], space: SPACE, kind: "" };
        let a = at_once.choose(&context, &candidates, &Tradeoff::default(), true, 0.3).unwrap();
        let b = in_pieces.choose(&context, &candidates, &Tradeoff::default(), true, 0.3).unwrap();
        prop_assert!(close(&a, &b), "{a:?}\n{b:?}");
    }

    #[test]
    fn snapshots_come_back_as_they_were(policy in any_policy(), log in prop::collection::vec(seen(4), 0..50)) {
        let names = names(4);
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        learn(&mut snapshot, &names, &log);
        snapshot.version = 7;
        let packed: Snapshot = rmp_serde::from_slice(&rmp_serde::to_vec_named(&snapshot).unwrap()).unwrap();
        prop_assert_eq!(&packed, &snapshot);
        let text: Snapshot = serde_json::from_str(&serde_json::to_string(&snapshot).unwrap()).unwrap();
        prop_assert_eq!(text.learned_from(), snapshot.learned_from());
        // An earlier program did not count judgements apart.
        let mut earlier = serde_json::to_value(&snapshot).unwrap();
        earlier.as_object_mut().unwrap().remove("judged");
        let earlier: Snapshot = serde_json::from_value(earlier).unwrap();
        prop_assert_eq!(earlier.curiosity(20_000), snapshot.curiosity(20_000));
    }

    #[test]
    fn rewards_out_of_range_do_not_come_in(value in prop_oneof![-10.0f64..10.0, Just(f64::NAN), Just(f64::INFINITY)]) {
        prop_assert_eq!(Reward::new(value).is_ok(), (0.0..=1.0).contains(&value));
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Reward>(&text).is_ok(), (0.0..=1.0).contains(&value));
    }
}

#[test]
fn choices_fall_as_often_as_they_say() {
    let names = names(5);
    let mut rng = StdRng::seed_from_u64(5);
    for policy in PolicyKind::ALL {
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        let log: Vec<Seen> = (0..200)
            .map(|at| Seen {
                model: at % 4,
                features: vec![rng.random_range(-1.0..1.0), 0.0, 1.0, 0.5],
                kind: "",
                prior: 0.6,
                grounds: Grounds::Fitted,
                reward: f64::from(rng.random::<f64>() < 0.5 + 0.03 * (at % 4) as f64),
                weight: 1.0,
            })
            .collect();
        learn(&mut snapshot, &names, &log);
        let candidates = candidates(&names, &[0.6; 5]);
        let context = Context { features: &[0.2, 0.0, 1.0, 0.5], space: SPACE, kind: "" };
        let draws = 20_000;
        let mut counts = [0.0; 5];
        let mut said = vec![];
        for _ in 0..draws {
            let choice = snapshot.choose(&context, &candidates, &Tradeoff::default(), true, rng.random()).unwrap();
            counts[choice.chosen] += 1.0 / f64::from(draws);
            said = choice.propensities;
        }
        for (count, said) in counts.iter().zip(&said) {
            let error = 4.0 * (said * (1.0 - said) / f64::from(draws)).sqrt() + 1e-9;
            assert!((count - said).abs() <= error, "{}: said {said}, happened {count}", policy.name());
        }
    }
}

#[test]
fn day_one_is_the_classifier() {
    let names = names(4);
    for policy in PolicyKind::ALL {
        let snapshot = Snapshot::new(settings(policy)).unwrap();
        let priors = [0.31, 0.92, 0.05, 0.66];
        let candidates = candidates(&names, &priors);
        let context = Context { features: &[1.0; 4], space: SPACE, kind: "" };
        let choice = snapshot.choose(&context, &candidates, &Tradeoff::default(), false, 0.0).unwrap();
        assert_eq!(choice.qualities, priors, "{}", policy.name());
        assert_eq!(choice.order, [1, 3, 0, 2]);
    }
}

#[test]
fn models_come_and_go_and_what_was_learned_stays() {
    let names = names(3);
    for policy in PolicyKind::ALL {
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        let good: Vec<Seen> = (0..200)
            .map(|_| Seen {
                model: 0,
                features: vec![],
                kind: "",
                prior: 0.5,
                grounds: Grounds::Nothing,
                reward: 1.0,
                weight: 1.0,
            })
            .collect();
        learn(&mut snapshot, &names, &good);
        let everybody = candidates(&names, &[0.5, 0.5, 0.5]);
        let all = snapshot.choose(&Context::default(), &everybody, &Tradeoff::default(), false, 0.0).unwrap();
        assert_eq!(all.chosen, 0);
        // It is away; the others share what there is.
        let rest = snapshot.choose(&Context::default(), &everybody[1..], &Tradeoff::default(), true, 0.5).unwrap();
        assert_eq!(rest.propensities.len(), 2);
        assert!((rest.propensities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let back = snapshot.choose(&Context::default(), &everybody, &Tradeoff::default(), false, 0.0).unwrap();
        assert_eq!(back, all);
        assert!(snapshot.choose(&Context::default(), &[], &Tradeoff::default(), true, 0.0).is_none());
    }
}

#[test]
fn feedback_moves_the_choice_by_context() {
    let names = names(2);
    let mut rng = StdRng::seed_from_u64(11);
    for policy in PolicyKind::ALL {
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        // The first is good where the feature is positive, the second where it is negative.
        let log: Vec<Seen> = (0..2000)
            .map(|at| {
                let side: f32 = if rng.random() { 1.0 } else { -1.0 };
                let good = (side > 0.0) == (at % 2 == 0);
                Seen {
                    model: at % 2,
                    features: vec![side, 0.0, 0.0, 0.0],
                    kind: "",
                    prior: 0.5,
                    grounds: Grounds::Fitted,
                    reward: f64::from(rng.random::<f64>() < if good { 0.8 } else { 0.2 }),
                    weight: 1.0,
                }
            })
            .collect();
        learn(&mut snapshot, &names, &log);
        let candidates = candidates(&names, &[0.5, 0.5]);
        for (side, wanted) in [(1.0, 0), (-1.0, 1)] {
            let features = [side, 0.0, 0.0, 0.0];
            let context = Context { features: &features, space: SPACE, kind: "" };
            let choice = snapshot.choose(&context, &candidates, &Tradeoff::default(), false, 0.0).unwrap();
            assert_eq!(choice.chosen, wanted, "{}", policy.name());
        }
        // Features of another make are not mistaken for these.
        let elsewhere = Context { features: &[5.0, 0.0, 0.0, 0.0], space: "encoder-b/4", kind: "" };
        let without = snapshot.choose(&elsewhere, &candidates, &Tradeoff::default(), false, 0.0).unwrap();
        let none = snapshot.choose(&Context::default(), &candidates, &Tradeoff::default(), false, 0.0).unwrap();
        assert_eq!(without.qualities, none.qualities);
    }
}

#[test]
fn a_changed_model_is_left_within_150_feedbacks() {
    let names = names(2);
    let mut rng = StdRng::seed_from_u64(3);
    let mut snapshot = Snapshot::new(Settings::default()).unwrap();
    let mut judge = |snapshot: &mut Snapshot, model: usize, share: f64| {
        let reward = f64::from(rng.random::<f64>() < share);
        let seen =
            Seen { model, features: vec![], kind: "", prior: 0.7, grounds: Grounds::Fitted, reward, weight: 1.0 };
        learn(snapshot, &names, &[seen]);
    };
    for _ in 0..1000 {
        judge(&mut snapshot, 0, 0.9);
        judge(&mut snapshot, 1, 0.7);
    }
    let favourite = |snapshot: &Snapshot| {
        let candidates = candidates(&names, &[0.7, 0.7]);
        snapshot.choose(&Context::default(), &candidates, &Tradeoff::default(), false, 0.0).unwrap().chosen
    };
    assert_eq!(favourite(&snapshot), 0);
    let left = (1..=150).find(|_| {
        judge(&mut snapshot, 0, 0.4);
        favourite(&snapshot) == 1
    });
    assert!(left.is_some());
}

#[test]
fn work_that_comes_in_blocks_by_its_kind_is_learned_as_well_as_mixed() {
    let names = names(2);
    let kinds = ["code", "extraction"];
    // The first is good at code alone, the second fair at both.
    let liked = [[0.95, 0.35], [0.55, 0.85]];
    for block in [1, 67, 200] {
        let mut rng = StdRng::seed_from_u64(5);
        let mut snapshot = Snapshot::new(Settings::default()).unwrap();
        for at in 0..1600 {
            let kind = at / block % 2;
            let model = rng.random_range(0..2);
            let reward = f64::from(u8::from(rng.random::<f64>() < liked[model][kind]));
            let (kind, grounds) = (kinds[kind], Grounds::Likened);
            let seen = Seen { model, features: vec![], kind, prior: 0.65, grounds, reward, weight: 1.0 };
            learn(&mut snapshot, &names, &[seen]);
        }
        let candidates = candidates(&names, &[0.65, 0.65]);
        let best = kinds.map(|kind| {
            let context = Context { kind, ..Context::default() };
            snapshot.choose(&context, &candidates, &Tradeoff::default(), false, 0.0).unwrap().chosen
        });
        assert_eq!(best, [0, 1], "in blocks of {block}");
        assert!(snapshot.arms().all(|arm| arm.shifts == 0 && arm.weight > 500.0), "in blocks of {block}");
    }
}

#[test]
fn utilities_weigh_cost_and_latency() {
    let names = names(2);
    let snapshot = Snapshot::new(Settings::default()).unwrap();
    let mut both = candidates(&names, &[0.7, 0.8]);
    let chosen = |both: &[Candidate<'_>], cost_per_usd, latency_per_s| {
        let tradeoff = Tradeoff { cost_per_usd, latency_per_s };
        snapshot.choose(&Context::default(), both, &tradeoff, false, 0.0).unwrap().chosen
    };
    assert_eq!(chosen(&both, 0.0, 0.0), 1);
    assert_eq!(chosen(&both, 200.0, 0.0), 0); // a tenth of a cent is worth 0.2
    both[1].cost_usd = 0.0;
    both[1].switching_usd = 0.001;
    assert_eq!(chosen(&both, 200.0, 0.0), 0); // so is a prompt cache thrown away
    both[0].latency_s = Some(3.0);
    assert_eq!(chosen(&both, 200.0, 0.1), 1); // unknown latency is not counted
}

#[test]
fn broken_snapshots_and_settings_are_refused() {
    let wrong = Settings { floor: 0.9, ..Settings::default() };
    assert!(Snapshot::new(wrong).unwrap_err().to_string().contains("floor"));
    let wrong = Settings { half_life: Some(0.0), ..Settings::default() };
    assert!(Snapshot::new(wrong).is_err());
    let names = names(1);
    let mut snapshot = Snapshot::new(Settings::default()).unwrap();
    let seen = Seen {
        model: 0,
        features: vec![1.0; 4],
        kind: "",
        prior: 0.5,
        grounds: Grounds::Fitted,
        reward: 1.0,
        weight: 1.0,
    };
    learn(&mut snapshot, &names, &[seen]);
    let mut text = serde_json::to_value(&snapshot).unwrap();
    text["features"] = 3.into();
    let error = serde_json::from_value::<Snapshot>(text.clone()).unwrap_err();
    assert!(error.to_string().contains("model-0"), "{error}");
    text["features"] = (MAX_FEATURES + 1).into();
    assert!(serde_json::from_value::<Snapshot>(text).is_err());
}

#[test]
fn weights_that_are_no_weights_teach_nothing() {
    let names = names(1);
    let mut snapshot = Snapshot::new(Settings::default()).unwrap();
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let seen =
            Seen { model: 0, features: vec![], kind: "", prior: 0.5, grounds: Grounds::Fitted, reward: 1.0, weight };
        learn(&mut snapshot, &names, &[seen]);
    }
    assert_eq!(snapshot.learned_from(), 0);
}

#[test]
fn a_prior_that_is_no_number_ruins_nothing() {
    let names = names(3);
    for policy in PolicyKind::ALL {
        let mut snapshot = Snapshot::new(settings(policy)).unwrap();
        let (features, grounds) = (vec![1.0], Grounds::Fitted);
        let broken = Seen { model: 0, features, kind: "", prior: f64::NAN, grounds, reward: 1.0, weight: 1.0 };
        learn(&mut snapshot, &names, &[broken]);
        let context = Context { features: &[1.0], space: SPACE, kind: "" };
        let candidates = candidates(&names, &[0.5, 0.6, 0.7]);
        let choice = snapshot.choose(&context, &candidates, &Tradeoff::default(), true, 0.5).unwrap();
        assert!(choice.utilities.iter().all(|utility| utility.is_finite()), "{policy:?}");
        assert!((choice.propensities.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{policy:?}");
    }
}

#[test]
fn what_moves_all_models_alike_is_no_reason_to_try_one() {
    let names = names(3);
    let candidates: Vec<Candidate<'_>> = candidates(&names, &[0.7, 0.65, 0.6])
        .into_iter()
        .map(|candidate| Candidate { cost_usd: 0.0, latency_s: None, grounds: Grounds::Likened, ..candidate })
        .collect();
    let shares = |common_lean: f64| {
        let snapshot = Snapshot::new(Settings { common_lean, ..Settings::default() }).unwrap().in_space(SPACE, 4);
        let context = Context { features: &[2.0, -1.0, 1.5, 0.5], space: SPACE, kind: "" };
        snapshot.choose(&context, &candidates, &Tradeoff::default(), true, 0.5).unwrap().propensities
    };
    assert_eq!(shares(0.001), shares(10.0));
}

#[test]
fn between_models_that_were_measured_there_is_less_trying_than_between_likened_ones() {
    let names = names(3);
    let best = |grounds: Grounds| {
        let candidates: Vec<Candidate<'_>> = candidates(&names, &[0.7, 0.65, 0.6])
            .into_iter()
            .map(|candidate| Candidate { cost_usd: 0.0, latency_s: None, grounds, ..candidate })
            .collect();
        let snapshot = Snapshot::new(Settings::default()).unwrap();
        snapshot.choose(&Context::default(), &candidates, &Tradeoff::default(), true, 0.5).unwrap().propensities[0]
    };
    assert!(best(Grounds::Fitted) > 0.99 && best(Grounds::Likened) < 0.9);
}

#[test]
fn a_prompt_that_was_not_read_takes_nothing_from_a_measured_model() {
    let names = names(1);
    let spread = |last: Grounds| {
        let mut snapshot = Snapshot::new(Settings::default()).unwrap();
        let seen =
            |grounds| Seen { model: 0, features: vec![], kind: "", prior: 0.7, grounds, reward: 0.7, weight: 1.0 };
        learn(&mut snapshot, &names, &vec![seen(Grounds::Fitted); 5]);
        learn(&mut snapshot, &names, &[seen(last)]);
        let candidates = candidates(&names, &[0.7]);
        snapshot.choose(&Context::default(), &candidates, &Tradeoff::default(), true, 0.5).unwrap().spreads[0]
    };
    assert!((spread(Grounds::Fitted) - spread(Grounds::Likened)).abs() < 1e-12);
}
