//! The baselines: simple routers that a head has to beat.

use std::collections::BTreeSet;

use super::tfidf::Tfidf;
use super::{Judged, Router};
use crate::classifier::head::sigmoid;
use crate::train::dataset::{Dataset, Outcome, Record, Split};

/// All baselines that the data allows, with notes on those that it does not.
pub fn baselines(judged: Judged<'_>) -> (Vec<Router>, Vec<String>) {
    let dataset = judged.dataset;
    let mut routers = vec![constant(judged, "random", |_, _| 0.5)];
    let trained: Vec<bool> = (0..dataset.sources.len() as u32).map(|source| is_trained(judged, source)).collect();
    let of = |row: &usize| dataset.records[*row].source as usize;
    let without: BTreeSet<usize> = judged.rows.iter().map(of).filter(|source| !trained[*source]).collect();
    let mut notes = Vec::new();
    if !without.is_empty() {
        let names: Vec<&str> = without.iter().map(|source| dataset.sources[*source].as_str()).collect();
        let some = judged.rows.iter().map(of).any(|source| trained[source]);
        let whose = if some { format!(" for {}", names.join(", ")) } else { String::new() };
        let has_other = without.iter().any(|source| dataset.of_source(*source as u32, Split::Train).next().is_some());
        let lacks =
            if has_other { "The data's train has none of the judged models" } else { "The data has no train" };
        notes.push(format!(
            "{lacks}{whose}: prompt length, task mean and TF-IDF are left out there (kNN, too, where the head's memory \
             lacks the models), and the best single model is the one that is best on the judged prompts."
        ));
        if !some {
            return (routers, notes);
        }
    }
    let means = Means::of(dataset);
    routers.push(constant(judged, "best single", |_, outcome| means.arm(outcome)));
    routers.push(by_length(judged));
    routers.push(constant(judged, "task mean", |record, outcome| means.task(record, outcome)));
    routers.push(by_words(judged));
    for router in &mut routers[1..] {
        let untold = router.quality.iter_mut().zip(judged.rows).filter(|(_, row)| !trained[of(row)]);
        untold.for_each(|(quality, _)| quality.clear());
    }
    (routers, notes)
}

/// The models of a source that have an outcome among the judged prompts.
pub fn run_models(judged: Judged<'_>, source: u32) -> BTreeSet<u32> {
    let records = judged.rows.iter().map(|row| &judged.dataset.records[*row]);
    let own = records.filter(|record| record.source == source);
    own.flat_map(|record| record.outcomes.iter().map(|outcome| outcome.arm)).collect()
}

/// Whether the data's train has any outcome of the judged models of a source.
pub fn is_trained(judged: Judged<'_>, source: u32) -> bool {
    let run = run_models(judged, source);
    let mut train = judged.dataset.of_source(source, Split::Train);
    train.any(|record| record.outcomes.iter().any(|outcome| run.contains(&outcome.arm)))
}

fn constant(judged: Judged<'_>, name: &str, of: impl Fn(&Record, &Outcome) -> f32) -> Router {
    let row = |row: &usize| {
        let record = &judged.dataset.records[*row];
        record.outcomes.iter().map(|outcome| of(record, outcome)).collect()
    };
    Router { name: name.into(), quality: judged.rows.iter().map(row).collect(), calibrated: name != "random" }
}

/// Means over the training prompts.
struct Means {
    arms: Vec<(f64, f64)>,
    /// By task and arm.
    tasks: std::collections::HashMap<(u32, u32), (f64, f64)>,
}

impl Means {
    fn of(dataset: &Dataset) -> Self {
        let mut means = Self { arms: vec![(0.0, 0.0); dataset.arms.len()], tasks: std::collections::HashMap::new() };
        for record in dataset.of(Split::Train) {
            for outcome in &record.outcomes {
                for sum in [
                    &mut means.arms[outcome.arm as usize],
                    means.tasks.entry((record.task, outcome.arm)).or_default(),
                ] {
                    sum.0 += f64::from(outcome.score);
                    sum.1 += 1.0;
                }
            }
        }
        means
    }

    fn arm(&self, outcome: &Outcome) -> f32 {
        let (sum, count) = self.arms[outcome.arm as usize];
        if count > 0.0 { (sum / count) as f32 } else { 0.5 }
    }

    /// The mean of the task, smoothed towards the arm's mean as if that had been seen three times.
    fn task(&self, record: &Record, outcome: &Outcome) -> f32 {
        let (sum, count) = self.tasks.get(&(record.task, outcome.arm)).copied().unwrap_or_default();
        ((sum + 3.0 * f64::from(self.arm(outcome))) / (count + 3.0)) as f32
    }
}

/// A logistic regression on the logarithm of the prompt's length for each model, by Newton's method.
fn by_length(judged: Judged<'_>) -> Router {
    let dataset = judged.dataset;
    let length = |record: &Record| (record.prompt.len() as f64).ln_1p() / 5.0 - 1.0;
    let mut cases: Vec<Vec<(f64, f64)>> = vec![Vec::new(); dataset.arms.len()];
    for record in dataset.of(Split::Train) {
        let length = length(record);
        record.outcomes.iter().for_each(|o| cases[o.arm as usize].push((length, f64::from(o.score))));
    }
    let lines: Vec<(f64, f64)> = cases.iter().map(|cases| line(cases)).collect();
    let mut router = constant(judged, "prompt length", |record, outcome| {
        let (level, slope) = lines[outcome.arm as usize];
        sigmoid((level + slope * length(record)) as f32)
    });
    router.calibrated = true;
    router
}

/// Level and slope of a logistic regression with a light ridge.
fn line(cases: &[(f64, f64)]) -> (f64, f64) {
    let (mut level, mut slope) = (0.0, 0.0);
    for _ in 0..12 {
        let (mut g, mut h) = ([0.0, slope], [1e-6, 0.0, 1.0]);
        for (x, y) in cases {
            let p = 1.0 / (1.0 + f64::exp(-(level + slope * x)));
            let weight = (p * (1.0 - p)).max(1e-6);
            g[0] += p - y;
            g[1] += (p - y) * x;
            h[0] += weight;
            h[1] += weight * x;
            h[2] += weight * x * x;
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        if determinant.abs() < 1e-12 {
            break;
        }
        // Where length separates the outcomes, full steps would overshoot.
        level -= ((h[2] * g[0] - h[1] * g[1]) / determinant).clamp(-2.0, 2.0);
        slope -= ((h[0] * g[1] - h[1] * g[0]) / determinant).clamp(-2.0, 2.0);
    }
    (level.clamp(-15.0, 15.0), slope.clamp(-15.0, 15.0))
}

fn by_words(judged: Judged<'_>) -> Router {
    let mut quality = vec![Vec::new(); judged.rows.len()];
    for source in 0..judged.dataset.sources.len() as u32 {
        let own = |at: &usize| judged.dataset.records[judged.rows[*at]].source == source;
        let rows: Vec<usize> = (0..judged.rows.len()).filter(own).collect();
        if rows.is_empty() {
            continue;
        }
        let fitted = Tfidf::fit(judged.dataset, source);
        for row in rows {
            let record = &judged.dataset.records[judged.rows[row]];
            quality[row] =
                fitted.as_ref().map_or_else(|| vec![0.5; record.outcomes.len()], |fitted| fitted.predictions(record));
        }
    }
    Router { name: "TF-IDF logistic".into(), quality, calibrated: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::Arm;

    /// Prompts about apples go well with the first model, about pears with the second; apples are short.
    fn data() -> Dataset {
        let mut records = Vec::new();
        for at in 0..60u32 {
            let apples = at % 2 == 0;
            let outcome =
                |arm: u32, good: bool| Outcome { arm, score: f32::from(u8::from(good)), ..Outcome::default() };
            let prompt = if apples { format!("apples {at}") } else { format!("tell me about pears number {at}") };
            records.push(Record {
                id: format!("{at}").into(),
                source: 0,
                task: u32::from(apples),
                split: if at < 50 { Split::Train } else { Split::Test },
                prompt: prompt.into(),
                group: u64::from(at),
                origin: None,
                outcomes: [outcome(0, apples), outcome(1, !apples)].into(),
                weight: 1.0,
            });
        }
        let arm = |model: &str| Arm { source: 0, model: model.into() };
        Dataset {
            sources: vec!["s".into()],
            tasks: vec!["p".into(), "a".into()],
            arms: vec![arm("x"), arm("y")],
            records,
            ..Dataset::default()
        }
    }

    #[test]
    fn each_baseline_learns_what_it_can_see() {
        let dataset = data();
        let rows: Vec<usize> = (50..60).collect();
        let judged = Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 };
        let (routers, notes) = baselines(judged);
        assert!(notes.is_empty());
        let names: Vec<&str> = routers.iter().map(|router| router.name.as_str()).collect();
        assert_eq!(names, ["random", "best single", "prompt length", "task mean", "TF-IDF logistic"]);
        for router in &routers[2..] {
            for (at, row) in rows.iter().enumerate() {
                let apples = row % 2 == 0;
                let [x, y] = router.quality[at][..] else { panic!("two models") };
                assert_eq!(x > y, apples, "{} on row {row}: {x} {y}", router.name);
            }
        }
        assert!((routers[1].quality[0][0] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_source_without_train_beside_one_that_has_it_is_said_to_have_none() {
        let mut dataset = data();
        dataset.sources.push("u".into());
        dataset.arms.extend([Arm { source: 1, model: "x".into() }, Arm { source: 1, model: "y".into() }]);
        for record in dataset.records.iter_mut().skip(58) {
            record.source = 1;
            record.outcomes.iter_mut().for_each(|outcome| outcome.arm += 2);
        }
        let rows: Vec<usize> = (50..60).collect();
        let judged = Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 };
        let (routers, notes) = baselines(judged);
        assert!(notes[0].contains("no train for u"), "{notes:?}");
        assert!(routers[1..].iter().all(|router| router.quality[8].is_empty() && !router.quality[7].is_empty()));
        let judged = super::super::judge("h", judged, &routers, None, &|_| "learned".into());
        let names = |at: usize| judged.sources[at].routers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>();
        assert_eq!((names(0).len(), names(1)), (5, vec!["random"]));
    }

    #[test]
    fn a_train_of_other_models_is_not_called_none() {
        let mut dataset = data();
        dataset.arms.push(Arm { source: 0, model: "z".into() });
        for record in dataset.records.iter_mut().filter(|record| record.split == Split::Train) {
            record.outcomes = [Outcome { arm: 2, ..record.outcomes[0] }].into();
        }
        let rows: Vec<usize> = (50..60).collect();
        let (_, notes) = baselines(Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 });
        assert!(notes[0].starts_with("The data's train has none of the judged models: prompt length"), "{notes:?}");
    }

    #[test]
    fn without_train_what_needs_it_is_left_out_and_said() {
        let mut dataset = data();
        dataset.records.retain(|record| record.split == Split::Test);
        let rows: Vec<usize> = (0..10).collect();
        let (routers, notes) = baselines(Judged { dataset: &dataset, split: Split::Test, rows: &rows, seed: 1 });
        assert_eq!(routers.len(), 1);
        assert!(notes[0].contains("no train"));
    }
}
