//! Fits over a world that is easy to know: the sign of the first state says which of two models does well.

use rand::RngExt;

use super::*;
use crate::train::dataset::{Outcome, Record};

/// A table of random inputs and outcomes, all of them for training.
pub(super) fn table(rows: usize, inputs: usize, arms: u32) -> Table {
    let mut rng = StdRng::seed_from_u64(3);
    let values = (0..rows * inputs).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    let outcome = |arm: u32, score: f32| Outcome { arm, score, ..Outcome::default() };
    let outcomes = (0..rows).map(|row| (0..arms).map(|arm| outcome(arm, ((row as u32 + arm) % 2) as f32)).collect());
    Table::of(Matrix::of(rows, inputs, values), outcomes.collect(), [(0..rows).collect(), Vec::new(), Vec::new()])
}

/// 300 prompts in two sources of two models each.
fn world() -> (Dataset, Matrix) {
    let mut rng = StdRng::seed_from_u64(11);
    let mut pooled = Matrix::zeros(300, 6);
    let mut records = Vec::new();
    for row in 0..300 {
        pooled.row_mut(row).iter_mut().for_each(|value| *value = rng.random_range(-1.0f32..1.0));
        let source = (row % 2) as u32;
        let up = pooled.row(row)[0] > 0.0;
        let mut outcome = |arm: u32, likes_up: bool| Outcome {
            arm,
            score: f32::from(u8::from((likes_up == up) ^ (rng.random::<f32>() < 0.1))),
            output_tokens: (arm == 0).then_some(if up { 400.0 } else { 20.0 }),
            ..Outcome::default()
        };
        let outcomes = [outcome(2 * source, true), outcome(2 * source + 1, false)];
        let split = if row < 200 { Split::Train } else { Split::Val };
        let prompt = format!("Prompt {row}?");
        let id = format!("{row}");
        let task = u32::from(up);
        records.push(Record {
            id: id.into(),
            source,
            task,
            split,
            prompt: prompt.into(),
            group: row as u64,
            origin: None,
            outcomes: outcomes.into(),
            weight: 1.0,
        });
    }
    let arm = |source: u32, model: &str| Arm { source, model: model.into() };
    let dataset = Dataset {
        sources: vec!["a".into(), "b".into()],
        tasks: vec!["math".into(), "code/up".into()],
        arms: vec![arm(0, "x"), arm(0, "y"), arm(1, "x"), arm(1, "z")],
        records,
        ..Dataset::default()
    };
    (dataset, pooled)
}

fn settings() -> FitSettings {
    let trunk =
        TrunkSettings { hidden: 8, latent: 3, batch: 16, rate: 1e-2, dropout: 0.1, ..TrunkSettings::default() };
    FitSettings { projected: 4, context: 4, trunk, key_states: 4, neighbours: 8, ..FitSettings::default() }
}

fn fitted(dataset: &Dataset, pooled: &Matrix) -> Fitted {
    let origin = Origin { encoder: "e".into(), pooling: Pooling::mean_of(1), max_tokens: 8 };
    let labelled = Labelled { pooled: Matrix::zeros(0, 6), ..Labelled::default() };
    let material = Material { dataset, pooled, labelled: &labelled, origin: &origin };
    fit("w-1", Likeness::default(), &material, &settings(), &()).unwrap()
}

#[test]
fn a_fitted_head_knows_who_does_well_on_prompts_it_has_not_seen() {
    let (dataset, pooled) = world();
    let Fitted { head, compared, curve, held_out } = fitted(&dataset, &pooled);
    let mut right = 0;
    let val: Vec<usize> = (200..300).collect();
    for row in &val {
        let reading = head.read(pooled.row(*row), &TextStats::of(&dataset.records[*row].prompt));
        let up = pooled.row(*row)[0] > 0.0;
        right += usize::from((reading.log_odds[0] > reading.log_odds[1]) == up);
        assert!(reading.z.len() == 4 && reading.z.iter().all(|z| z.is_finite()));
    }
    // A tenth of the outcomes is noise, and of the val prompts that are least like train's, differences are not
    // believed.
    assert!(right > 70, "{right} of 100");
    let trust = &head.description().trust;
    assert_eq!(trust.len(), 2, "each source says what is near to it");
    assert!(trust.iter().all(|trust| trust.near > trust.far && trust.near < 1.0), "{trust:?}");
    let strong = head.read(&[0.9, 0.0, 0.0, 0.0, 0.0, 0.0], &TextStats::of("Prompt 1?"));
    let weak = head.read(&[-0.9, 0.0, 0.0, 0.0, 0.0, 0.0], &TextStats::of("Prompt 1?"));
    assert!(strong.log_tokens[0] > weak.log_tokens[0] + 1.0, "{} {}", strong.log_tokens[0], weak.log_tokens[0]);
    assert!(strong.log_tokens[1].is_nan());
    assert_eq!(head.task_name(&strong), Some("code"));
    assert_eq!(head.task_name(&weak), Some("math"));
    assert_eq!(compared.iter().filter(|one| one.chosen).count(), 1);
    let loss = |name| compared.iter().find(|one| one.name == name).unwrap().log_loss;
    assert!(loss("item-response trunk") < loss("text statistics") - 0.1);
    let best = curve.iter().map(|epoch| epoch.log_loss).fold(f64::INFINITY, f64::min);
    assert!(best < curve[0].log_loss && curve[0].trunks == settings().trunk.members, "{curve:?}");
    let mut halves: Vec<usize> = held_out.iter().flat_map(|half| half.rows.clone()).collect();
    halves.sort_unstable();
    assert_eq!((halves, held_out[0].rows.len()), (val, 50));
    assert_ne!(held_out[0].calibration, held_out[1].calibration);
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let (dataset, pooled) = world();
    let bytes = || fitted(&dataset, &pooled).head.to_bytes().unwrap();
    assert_eq!(bytes(), bytes());
}

/// Stops at the first step.
pub(in crate::train) struct Unwilling;

impl Progress for Unwilling {
    fn begin(&self, _: Stage, _: u64) {}

    fn at(&self, _: u64, _: &str) -> Result<(), Stopped> {
        Err(Stopped)
    }

    fn end(&self) {}
}

#[test]
fn a_stop_is_heard() {
    let (dataset, pooled) = world();
    let origin = Origin { encoder: "e".into(), pooling: Pooling::mean_of(1), max_tokens: 8 };
    let labelled = Labelled::default();
    let material = Material { dataset: &dataset, pooled: &pooled, labelled: &labelled, origin: &origin };
    let stopped = fit("w-1", Likeness::default(), &material, &settings(), &Unwilling);
    assert!(matches!(stopped, Err(FitError::Stopped(_))));
}

#[test]
fn without_training_prompts_there_is_no_head() {
    let (mut dataset, pooled) = world();
    dataset.records.iter_mut().for_each(|record| record.split = Split::Val);
    let origin = Origin { encoder: "e".into(), pooling: Pooling::mean_of(1), max_tokens: 8 };
    let labelled = Labelled::default();
    let material = Material { dataset: &dataset, pooled: &pooled, labelled: &labelled, origin: &origin };
    let empty = fit("w-1", Likeness::default(), &material, &settings(), &());
    assert!(matches!(empty, Err(FitError::Empty(Split::Train))));
}
