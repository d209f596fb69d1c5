//! A head over two models: one that is good at prompts with positive states, one at the others.

use super::*;
use crate::classifier::encoder::Pooling;
use crate::classifier::reading::EstimateSource;
use crate::classifier::stats;

fn identity(size: usize) -> Matrix {
    let mut matrix = Matrix::zeros(size, size);
    (0..size).for_each(|at| matrix.row_mut(at)[at] = 1.0);
    matrix
}

fn projection(size: usize) -> Projection {
    Projection { mean: vec![0.0; size], scale: vec![1.0; size], turn: identity(size) }
}

/// Two states, one latent. The memory agrees with the trunk.
pub(crate) fn head() -> Head {
    let arm =
        |source: &str, model: &str| ArmNote { source: source.into(), model: model.into(), mean: 0.5, prompts: 10 };
    let statistics = Description::statistics_of_this_program();
    let input = 2 + stats::COUNT;
    let mut past = Matrix::zeros(input, 2);
    past.row_mut(0)[0] = 2.0;
    let vectors = Matrix::of(2, 2, vec![1.0, 0.0, -1.0, 0.0]);
    let mut memory = Memory::default();
    memory.add(vec![0, 1], &vectors, |row, arm| Some(if row == arm { 1.0 } else { 0.0 }));
    let mut tasks = Matrix::zeros(input + 1, 2);
    tasks.row_mut(0).copy_from_slice(&[1.0, -1.0]);
    let description = Description {
        format: description::FORMAT,
        name: "two".into(),
        version: String::new(),
        space: "s".into(),
        encoder: "e".into(),
        pooling: Pooling::mean_of(1),
        max_tokens: 16,
        statistics,
        pooled: 2,
        projected: 2,
        hidden: 1,
        latent: 1,
        context: 2,
        arms: vec![arm("made", "plus"), arm("made", "minus")],
        tasks: vec!["up".into(), "down".into()],
        shelves: memory.shelves.clone(),
        recall: Recall { neighbours: 2, sharpness: 4.0, settle: 0.1 },
        familiarity: Familiarity { neighbours: 1, near: 0.9, far: 0.1 },
        trust: Vec::new(),
        kinds: Vec::new(),
        likeness: Likeness([("new-*".to_owned(), vec![Evidence { arm: "made/plus".into(), weight: 2.0 }])].into()),
        trained_on: vec!["made".into()],
        seed: 1,
    };
    let parts = Parts {
        input: Input {
            states: projection(2),
            mean: vec![0.0; stats::COUNT],
            scale: vec![0.0; stats::COUNT],
            key: [1.0, 0.0, 0.0],
            key_states: 2,
        },
        trunk: Trunk { first: Matrix::zeros(input, 1), bias: vec![0.0], second: Matrix::zeros(1, 2), past },
        arms: Arms {
            ability: Matrix::of(2, 1, vec![1.0, -1.0]),
            level: vec![0.0; 2],
            calibration: Matrix::of(2, CALIBRATION, [0.0, 1.0, 0.5, 0.0, 1.0, 0.5, 0.0].repeat(2)),
            plain: Matrix::zeros(2, stats::COUNT + 1),
            tokens: Matrix::of(2, 3, vec![0.0, 0.0, 4.625, 0.0, 0.0, -1000.0]),
        },
        memory,
        kinds: Kinds::default(),
        z: projection(2),
        tasks,
        latents: Matrix::of(3, 2, vec![1.0, 0.0, -1.0, 0.0, 0.0, 0.0]),
    };
    Head::new(description, parts).unwrap()
}

fn read(head: &Head, states: [f32; 2]) -> HeadReading {
    head.read(&states, &TextStats::of("What?"))
}

#[test]
fn what_a_prompt_demands_decides_who_does_well() {
    let head = head();
    let plus = head.ability("plus", None, None).unwrap();
    let minus = head.ability("minus", None, None).unwrap();
    let quality = |states, ability: &Ability| head.estimate(&read(&head, states), ability).quality;
    assert!(quality([1.0, 0.0], &plus) > 0.9 && quality([1.0, 0.0], &minus) < 0.1);
    assert!(quality([-1.0, 0.0], &plus) < 0.1 && quality([-1.0, 0.0], &minus) > 0.9);
    assert_eq!(head.task_name(&read(&head, [1.0, 0.0])), Some("up"));
    assert_eq!(head.task_name(&read(&head, [-1.0, 0.0])), Some("down"));
}

#[test]
fn far_from_everything_seen_the_text_statistics_alone_are_believed() {
    let head = head();
    let near = read(&head, [1.0, 0.05]);
    let far = read(&head, [0.05, 1.0]);
    assert_eq!(near.familiarity, 1.0);
    assert_eq!(far.familiarity, 0.0);
    assert_eq!(far.log_odds, [0.0, 0.0], "the plain part of this head says one half");
    assert!(near.log_odds[0] > 2.0);
}

#[test]
fn far_from_a_sources_prompts_its_models_differ_by_their_means_alone() {
    let plain = head();
    let mut parts = plain.parts().clone();
    let mut description = plain.description().clone();
    // Two more models, measured by a source with prompts elsewhere.
    description.arms.extend(["other-plus", "other-minus"].map(|model| ArmNote {
        source: "elsewhere".into(),
        model: model.into(),
        mean: 0.5,
        prompts: 10,
    }));
    (description.arms[2].mean, description.arms[3].mean) = (0.4, 0.8);
    parts.arms.ability = Matrix::of(4, 1, vec![1.0, -1.0, 1.0, -1.0]);
    parts.arms.level = vec![0.0; 4];
    parts.arms.calibration = Matrix::of(4, CALIBRATION, [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0].repeat(4));
    parts.arms.plain = Matrix::zeros(4, stats::COUNT + 1);
    parts.arms.tokens = Matrix::of(4, 3, [0.0, 0.0, -1000.0].repeat(4));
    parts.memory.add(vec![2, 3], &Matrix::of(1, 2, vec![0.0, 1.0]), |_, _| Some(1.0));
    description.shelves = parts.memory.shelves.clone();
    let believing = Head::new(description.clone(), parts.clone()).unwrap();
    description.trust = vec![Familiarity { neighbours: 1, near: 0.9, far: 0.1 }; 2];
    let doubting = Head::new(description.clone(), parts.clone()).unwrap();
    let (all, own) = (read(&believing, [1.0, 0.0]).log_odds, read(&doubting, [1.0, 0.0]).log_odds);
    assert!(all[2] > all[3], "the trunk has its opinion on them");
    assert_eq!(own[..2], all[..2], "the first source has just such prompts");
    let difference = logit(0.8) - logit(0.4);
    assert!((own[3] - own[2] - difference).abs() < 1e-5, "{own:?}");
    assert!((own[2] + own[3] - all[2] - all[3]).abs() < 1e-5, "what they share stays: {own:?} {all:?}");
    for name in ["other-plus", "other-minus", "plus"] {
        let made = doubting.estimate(&read(&doubting, [1.0, 0.3]), &doubting.ability(name, None, None).unwrap());
        let sum = f64::from(made.odds.base + made.odds.moved.iter().sum::<f32>());
        assert!((1.0 / (1.0 + (-sum).exp()) - made.quality).abs() < 1e-5, "{name}: the account is the whole");
    }
    description.trust.pop();
    assert!(Head::new(description, parts).is_err(), "every source or none");
}

#[test]
fn the_context_is_bounded_whatever_comes_in() {
    let reading = read(&head(), [1e9, -1e9]);
    assert!(reading.z.iter().all(|value| value.abs() <= BOUND), "{:?}", reading.z);
    assert!(reading.log_odds.iter().all(|value| value.is_finite()));
}

#[test]
fn tokens_are_told_where_any_outcome_did() {
    let head = head();
    let reading = read(&head, [1.0, 0.0]);
    let tokens = |name| head.estimate(&reading, &head.ability(name, None, None).unwrap()).output_tokens;
    assert!((tokens("plus").unwrap() - 4.625_f64.exp()).abs() < 0.1);
    assert_eq!(tokens("minus"), None);
}

#[test]
fn a_new_model_borrows_and_its_score_moves_the_level() {
    let head = head();
    let mean = |ability: &Ability| {
        [1.0, -1.0].map(|x| head.estimate(&read(&head, [x, 0.0]), ability).quality).iter().sum::<f64>() / 2.0
    };
    let like = head.ability("mine", Some("plus"), None).unwrap();
    assert_eq!(like.source, EstimateSource::Like("plus".into()));
    assert_eq!(like.parts, [(0, 1.0)]);
    let shipped = head.ability("new-3", None, Some(0.9)).unwrap();
    assert_eq!(shipped.source, EstimateSource::Like("made/plus".into()));
    assert!(mean(&shipped) > mean(&like) + 0.15, "{} {}", mean(&shipped), mean(&like));
    let scored = head.ability("stranger", None, Some(0.8)).unwrap();
    assert_eq!(scored.source, EstimateSource::Score);
    assert!((mean(&scored) - 0.8).abs() < 0.02, "{}", mean(&scored));
    assert_eq!(head.ability("stranger", None, None), None);
    assert_eq!(head.ability("made/minus", None, Some(0.99)).unwrap().source, EstimateSource::Learned);
}

#[test]
fn what_a_source_finds_hard_sets_no_two_models_apart() {
    let one_source = head();
    let mut head = head();
    head.description.arms[1].source = "other".into();
    let borrow = |like: &str| one_source.ability("mine", Some(like), Some(0.7)).unwrap();
    let together = |head: &Head, borrows: bool| {
        let (mut plus, mut minus) = (borrow("plus"), borrow("minus"));
        let contender = |ability| Contender { ability, borrows, score: Some(0.7) };
        head.on_common_ground(&mut [contender(&mut plus), contender(&mut minus)]);
        (plus, minus)
    };
    let reading = read(&head, [1.0, 0.05]);
    let quality = |ability: &Ability| head.estimate(&reading, ability).quality;
    let (plus, minus) = (borrow("plus"), borrow("minus"));
    assert!(quality(&plus) > quality(&minus) + 0.5, "each alone");
    assert_eq!(together(&one_source, true), (plus.clone(), minus.clone()), "all evidence is of one source");
    assert_eq!(together(&head, false), (plus, minus), "measured ones keep what was measured");
    // Each arm is all that there is of its source, so nothing tells it apart from others there.
    let (plus, minus) = together(&head, true);
    assert!((quality(&plus) - quality(&minus)).abs() < 1e-5, "{} {}", quality(&plus), quality(&minus));
    for ability in [&plus, &minus] {
        let odds = head.estimate(&reading, ability).odds;
        let sum = f64::from(odds.base + odds.moved.iter().sum::<f32>());
        assert!((1.0 / (1.0 + (-sum).exp()) - quality(ability)).abs() < 1e-5, "the summands are the whole");
    }
}

/// The tests' head, with a third model from a source of its own that finds hard what `plus` finds easy.
pub(crate) fn of_two_sources() -> Head {
    let plain = head();
    let mut parts = plain.parts().clone();
    let mut description = plain.description().clone();
    description.arms.push(ArmNote { source: "elsewhere".into(), model: "third".into(), mean: 0.7, prompts: 10 });
    parts.arms.ability = Matrix::of(3, 1, vec![1.0, -1.0, -0.5]);
    parts.arms.level = vec![0.0, 0.0, 1.0];
    parts.arms.calibration = Matrix::of(3, CALIBRATION, [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0].repeat(3));
    parts.arms.plain = Matrix::zeros(3, stats::COUNT + 1);
    parts.arms.tokens = Matrix::of(3, 3, [0.0, 0.0, -1000.0].repeat(3));
    parts.memory.add(vec![2], &Matrix::of(1, 2, vec![0.0, 1.0]), |_, _| Some(1.0));
    description.shelves = parts.memory.shelves.clone();
    Head::new(description, parts).unwrap()
}

#[test]
fn a_model_like_a_measured_one_stands_where_that_one_does_and_others_come_to_it() {
    let head = of_two_sources();
    let like = |model: &str, score| head.ability("mine", Some(model), score).unwrap();
    let measured = |model: &str| head.ability(model, None, None).unwrap();
    let told = |ability: &Ability| {
        [[1.0, 0.0], [0.3, 0.0], [-1.0, 0.2]].map(|at| ability.log_odds(&read(&head, at).log_odds))
    };
    let close = |one: [f32; 3], other: [f32; 3]| one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-5);
    let plus = told(&measured("plus"));
    let ground =
        [[1.0, 0.0], [0.3, 0.0], [-1.0, 0.2]].map(|at| read(&head, at).log_odds[..2].iter().sum::<f32>() / 2.0);
    for third_is_measured in [false, true] {
        let (mut known, mut twin, mut other) = (measured("plus"), like("plus", None), like("third", None));
        let (mut scored, mut minus) = (like("plus", Some(0.8)), like("minus", None));
        let contender = |ability, borrows, score| Contender { ability, borrows, score };
        head.on_common_ground(&mut [
            contender(&mut known, false, None),
            contender(&mut twin, true, None),
            contender(&mut scored, true, Some(0.8)),
            contender(&mut minus, true, None),
            contender(&mut other, !third_is_measured, None),
        ]);
        assert_eq!(told(&known), plus, "measured");
        assert_eq!(told(&twin), plus, "like it");
        let level = scored.shift;
        assert!(
            level.abs() > 0.1 && close(told(&scored), plus.map(|odds| odds + level)),
            "its score moves the level alone"
        );
        if third_is_measured {
            assert_eq!(told(&other), told(&measured("third")));
            assert!(
                !minus.lift.is_empty(),
                "two sources have measured models, and what others stand on is their mean"
            );
        } else {
            assert_eq!(told(&minus), told(&measured("minus")), "of the measured one's source");
            // It is all that there is of its source, so nothing tells it apart from others there.
            assert!(close(told(&other), ground), "{:?} {ground:?}", told(&other));
        }
    }
}

#[test]
fn a_head_survives_its_file() {
    let head = head();
    let bytes = head.to_bytes().unwrap();
    let again = Head::from_bytes(&bytes).unwrap();
    assert_eq!(again.description(), head.description());
    // As text, because unknown tokens are NaN, which equals nothing.
    let told = |head: &Head| format!("{:?}", read(head, [0.7, 0.1]));
    assert_eq!(told(&again), told(&head));
    assert_eq!(again.to_bytes().unwrap(), bytes);
    let versioned = head.versioned().unwrap();
    let version = versioned.description().version.clone();
    assert_eq!(version.len(), 12);
    let again = Head::from_bytes(&versioned.to_bytes().unwrap()).unwrap();
    assert_eq!(again.versioned().unwrap().description().version, version, "the version is not part of itself");
}

#[test]
fn a_cut_or_foreign_file_is_refused() {
    let bytes = head().to_bytes().unwrap();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(Head::from_bytes(&bytes[..length]).is_err());
    }
}

#[test]
fn other_statistics_than_this_programs_are_refused() {
    let head = head();
    let mut description = head.description().clone();
    description.statistics[0] = "another".into();
    let refused = Head::new(description, head.parts().clone()).unwrap_err().to_string();
    assert!(refused.contains("train it again"), "{refused}");
}

#[test]
fn the_builtin_head_belongs_to_the_builtin_encoder_and_has_evidence_for_every_model_of_the_defaults() {
    let model = crate::classifier::Model::load(&crate::config::Classifier::default()).unwrap();
    let head = model.load_head("builtin").unwrap().expect("a builtin head");
    let defaults: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
    let states = |prompt: &str| model.encode_batch(&[prompt], &head.description().pooling).unwrap().remove(0);
    let read = |prompt: &str| head.read(&states(prompt), &TextStats::of(prompt));
    let code = read("Write a Python function that merges two sorted lists, with tests.");
    for (name, settings) in defaults["models"].as_table().unwrap() {
        let score = settings.get("score").and_then(toml::Value::as_float);
        let ability = head.ability(name, None, score).expect(name);
        assert!(matches!(ability.source, EstimateSource::Like(_) | EstimateSource::Learned), "{name}: {ability:?}");
        let quality = head.estimate(&code, &ability).quality;
        assert!((0.2..=1.0).contains(&quality), "{name}: {quality}");
    }
    let task = |prompt: &str| head.task_name(&read(prompt)).map(str::to_owned);
    assert_eq!(task("Translate into German: The train leaves at nine."), Some("translation".into()));
    assert_eq!(task("Write a Python function that merges two sorted lists, with tests."), Some("code".into()));
    assert_eq!(task("Solve 3x + 7 = 25 for x and show the steps."), Some("math".into()));
    assert!(code.z.len() <= 32 && code.z.iter().all(|z| z.abs() <= BOUND));
    assert!(head.description().trained_on.iter().all(|source| source != "routerdc7" && source != "bfcl"));
}
